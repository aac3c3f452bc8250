/* SPDX-License-Identifier: MIT */
/* Passdbs before ours that take any password ("nopassword") have verified nothing, but Dovecot says "verified" of them as of
 * any other, and forgets the field before the next passdb is asked. So we look at their results ourselves: their
 * verify_plain is called through here. In auth workers too, where drivers that block verify; the note that is left behind
 * comes back with the other fields, and lies in the auth cache with them. */
#include "auth-common.h"
#include "auth.h"
#include "auth-fields.h"
#include "auth-request.h"
#include "hash.h"
#include "passdb.h"

#include "passdb/passdb-modernauth.h"
#include "modernauth/modernauth.h"

#define UNVERIFIED "modernauth_unverified"

struct watched {
	struct watched *next;
	struct passdb_module *module;
	void (*verify_plain)(struct auth_request *request, const char *password, verify_plain_callback_t *callback);
};

static struct watched *watched_modules;
/* Who waits for the result of an earlier passdb. */
static HASH_TABLE(struct auth_request *, verify_plain_callback_t *) waiting;

static void verified(enum passdb_result result, struct auth_request *request)
{
	verify_plain_callback_t *callback = hash_table_lookup(waiting, request);
	struct auth_fields *fields = request->fields.extra_fields;

	hash_table_remove(waiting, request);
	/* "noauthenticate" brings "nopassword" along, and is no "verified" for Dovecot either. */
	if (result == PASSDB_RESULT_OK && auth_fields_exists(fields, "nopassword") &&
	    !auth_fields_exists(fields, "noauthenticate"))
		auth_fields_add(fields, UNVERIFIED, "yes", AUTH_FIELD_FLAG_HIDDEN);
	callback(result, request);
}

static void watched_verify_plain(struct auth_request *request, const char *password, verify_plain_callback_t *callback)
{
	struct watched *watched = watched_modules;

	while (watched->module != request->passdb->passdb)
		watched = watched->next;
	hash_table_update(waiting, request, callback);
	watched->verify_plain(request, password, verified);
}

static void watch(struct passdb_module *module)
{
	struct watched *watched;

	if (strcmp(module->iface.name, mauth_passdb_interface.name) == 0 || module->iface.verify_plain == NULL ||
	    module->iface.verify_plain == watched_verify_plain)
		return;
	watched = i_new(struct watched, 1);
	watched->module = module;
	watched->verify_plain = module->iface.verify_plain;
	watched->next = watched_modules;
	watched_modules = watched;
	module->iface.verify_plain = watched_verify_plain;
}

void mauth_passdb_watch_earlier(void)
{
	/* Of each protocol; those that have no passdbs of their own share the default ones. */
	static const char *const services[] = { NULL, "imap", "pop3", "submission", "smtp", "doveadm" };

	if (!hash_table_is_created(waiting))
		hash_table_create_direct(&waiting, default_pool, 0);
	for (unsigned int i = 0; i < N_ELEMENTS(services); i++) {
		for (struct auth_passdb *block = auth_find_service(services[i])->passdbs; block != NULL; block = block->next)
			watch(block->passdb);
	}
}

void mauth_passdb_unwatch_earlier(void)
{
	struct watched *watched;

	while ((watched = watched_modules) != NULL) {
		watched_modules = watched->next;
		/* One that has ended before us has no functions any more. */
		if (watched->module->iface.verify_plain == watched_verify_plain)
			watched->module->iface.verify_plain = watched->verify_plain;
		i_free(watched);
	}
	/* Those that are still asked call back when they are ended, after us. */
	if (hash_table_is_created(waiting) && hash_table_count(waiting) == 0)
		hash_table_destroy(&waiting);
}

bool mauth_passdb_is_verified(const struct auth_request *request)
{
	return request->fields.skip_password_check && !auth_fields_exists(request->fields.extra_fields, UNVERIFIED);
}

void mauth_passdb_clear_note(struct auth_request *request)
{
	auth_fields_remove(request->fields.extra_fields, UNVERIFIED);
}
