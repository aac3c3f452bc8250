/* SPDX-License-Identifier: MIT */
#include "client/admin-private.h"

#include <string.h>

/* Lines that nobody understands; a newer broker may have some. */
#define UNKNOWN_MAX 20u

_Static_assert(MAUTH_ADMIN_FIELDS_MAX == MAUTH_WIRE_FIELDS_MAX, "a reply holds all fields of a line");

static enum mauth_status hello(struct mauth_admin *admin, char *text, size_t size, struct mauth_error *error_r)
{
	struct mauth_wire_line *line = &admin->line;
	const char *why, *role;

	if (!mauth_wire_parse(text, size, false, line, &why))
		return mauth_fail(error_r, MAUTH_PROTOCOL, 0, "who listens on %s is not a broker: %s", admin->path,
				  why);
	if (!admin->version_seen) {
		if (strcmp(line->verb, "VERSION") != 0 || line->count < 3 ||
		    strcmp(line->fields[0].value, "modernauth") != 0 || strcmp(line->fields[1].value, "1") != 0)
			return mauth_fail(error_r, MAUTH_PROTOCOL, 0, "who listens on %s is not a broker of this "
					  "version", admin->path);
		admin->version_seen = true;
		return MAUTH_OK;
	}
	role = strcmp(line->verb, "READY") == 0 ? mauth_wire_get(line, "role") : NULL;
	if (role == NULL || strcmp(role, "admin") != 0)
		return mauth_fail(error_r, MAUTH_PROTOCOL, 0, "%s is not the broker's socket for administration",
				  admin->path);
	admin->ready = true;
	admin->unheard = 0;
	return MAUTH_OK;
}

static bool parse_kind(const char *verb, enum mauth_admin_kind *kind_r)
{
	static const struct {
		const char *verb;
		enum mauth_admin_kind kind;
	} kinds[] = {
		{ "ROW", MAUTH_ADMIN_ROW }, { "NOTE", MAUTH_ADMIN_NOTE }, { "CODE", MAUTH_ADMIN_CODE },
		{ "OK", MAUTH_ADMIN_OK }, { "FAIL", MAUTH_ADMIN_FAIL }, { "BAD", MAUTH_ADMIN_FAIL },
	};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (strcmp(verb, kinds[i].verb) == 0) {
			*kind_r = kinds[i].kind;
			return true;
		}
	}
	return false;
}

static bool is_secret_key(const char *key)
{
	static const char suffix[] = "password";
	size_t size = strlen(key);

	return size >= strlen(suffix) && strcmp(key + size - strlen(suffix), suffix) == 0;
}

static const char *put_text(char **pos, const char *text, size_t size)
{
	char *begin = *pos;

	mauth_clean_copy(begin, size + 1, text, size);
	*pos += strlen(begin) + 1;
	return begin;
}

/* The fields of the line as texts that may be shown. All are not longer than the line; each may need a NUL more. */
static void fill_texts(struct mauth_admin *admin)
{
	struct mauth_admin_reply *reply = &admin->reply;
	char *pos = admin->texts;

	reply->count = 0;
	for (size_t i = 0; i < admin->line.count; i++) {
		const struct mauth_wire_field *field = &admin->line.fields[i];
		struct mauth_admin_field *text = &reply->fields[reply->count];

		if (is_secret_key(field->key))
			continue;
		text->key = put_text(&pos, field->key, strlen(field->key));
		text->value = put_text(&pos, field->value, field->size);
		reply->count++;
	}
}

static void set_advice(struct mauth_error *error, const char *advice)
{
	if (advice != NULL)
		mauth_clean_copy(error->advice, sizeof(error->advice), advice, strlen(advice));
}

static void fill_error(struct mauth_admin_reply *reply, bool is_bad)
{
	const char *code = mauth_admin_get(reply, "code"), *reason = mauth_admin_get(reply, "reason");
	enum mauth_status status;

	if (is_bad) {
		(void)mauth_fail(&reply->error, MAUTH_PROTOCOL, 0, "the broker does not understand this request: %s",
				 reason != NULL ? reason : "no reason given");
		set_advice(&reply->error, "install doveadm's plugin and the broker from the same version, then restart "
			   "Dovecot");
		return;
	}
	if (code == NULL || !mauth_status_parse(code, &status) || status == MAUTH_OK)
		status = MAUTH_PROTOCOL;
	(void)mauth_fail(&reply->error, status, 0, "%s", reason != NULL && *reason != '\0' ? reason :
			 mauth_status_name(status));
	set_advice(&reply->error, mauth_admin_get(reply, "advice"));
}

static enum mauth_status handle_reply(struct mauth_admin *admin, char *text, size_t size,
				      const struct mauth_admin_reply **reply_r, struct mauth_error *error_r)
{
	struct mauth_admin_reply *reply = &admin->reply;
	struct admin_request *req;
	const char *why;

	if (!mauth_wire_parse(text, size, true, &admin->line, &why))
		return mauth_fail(error_r, MAUTH_PROTOCOL, 0, "the broker's answer cannot be understood: %s", why);
	if (!parse_kind(admin->line.verb, &reply->kind)) {
		if (++admin->unknown > UNKNOWN_MAX)
			return mauth_fail(error_r, MAUTH_PROTOCOL, 0, "the broker speaks another protocol");
		return MAUTH_OK;
	}
	req = admin->line.id <= admin->last_id ? admin->by_id[admin->line.id - 1] : NULL;
	if (req == NULL || !req->sent)
		return MAUTH_OK;

	reply->id = req->id;
	memset(&reply->error, 0, sizeof(reply->error));
	fill_texts(admin);
	if (reply->kind == MAUTH_ADMIN_FAIL)
		fill_error(reply, strcmp(admin->line.verb, "BAD") == 0);
	if (!req->answered)
		admin->unanswered--;
	req->answered = true;
	admin->losses = admin->byes = 0;
	if (reply->kind == MAUTH_ADMIN_OK || reply->kind == MAUTH_ADMIN_FAIL)
		admin_request_end(admin, req);
	*reply_r = reply;
	return MAUTH_OK;
}

enum mauth_status admin_handle_line(struct mauth_admin *admin, char *text, size_t size,
				    const struct mauth_admin_reply **reply_r, struct mauth_error *error_r)
{
	if (!admin->ready)
		return hello(admin, text, size, error_r);
	if (strcmp(text, "BYE") == 0 || strncmp(text, "BYE\t", 4) == 0)
		return admin_bye(admin, error_r);
	if (strcmp(text, "BAD\t0") == 0 || strncmp(text, "BAD\t0\t", 6) == 0)
		return mauth_fail(error_r, MAUTH_PROTOCOL, 0, "the broker does not understand this client");
	return handle_reply(admin, text, size, reply_r, error_r);
}

const struct mauth_admin_reply *admin_lose(struct mauth_admin *admin)
{
	struct mauth_admin_reply *reply = &admin->reply;
	struct admin_request *req = admin_queue_pop(&admin->lost);

	admin->line.count = reply->count = 0;
	memset(&reply->error, 0, sizeof(reply->error));
	reply->id = req->id;
	reply->kind = MAUTH_ADMIN_FAIL;
	(void)mauth_fail(&reply->error, MAUTH_TEMPORARY, 0, "the broker was restarted before it answered");
	set_advice(&reply->error, "run the command again");
	admin_request_end(admin, req);
	return reply;
}
