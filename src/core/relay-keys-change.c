/* SPDX-License-Identifier: MIT */
#include "core/relay-keys-private.h"

#include "core/devices.h"
#include "core/exceptions.h"
#include "core/upn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A use is worth a commit this often. */
#define USE_WRITE_SECS 3600

enum write_kind { WRITE_ADD, WRITE_USE, WRITE_DELETE };

/* A row on its way to the disk: it outlives the picture. */
struct relay_key_write {
	struct relay_key_write *next, **link;
	struct mauth_relay_keys *keys;       /* NULL: gone meanwhile */
	enum write_kind kind;
	struct relay_key *key;
	int64_t use;                         /* what is written of it */
	mauth_relay_key_change_fn *done;     /* NULL: nobody waits */
	void *context;
};

/* -- writing ------------------------------------------------------------------------------------------------ */

static void say(const struct relay_key_write *write, const char *holds, const struct mauth_error *error,
		struct mauth_error *reported)
{
	mauth_fail(reported, error->status, error->code, "%s: %s", holds, error->text);
	memcpy(reported->advice, error->advice, sizeof(reported->advice));
	mauth_log(write->keys->deps.log, MAUTH_ERROR, "relay key %s (%s): %s", write->key->pub.id, write->key->pub.name,
		  reported->text);
}

static void unlink_removed(struct mauth_relay_keys *keys, struct relay_key *key)
{
	struct relay_key **at = &keys->removed;

	while (*at != key)
		at = &(*at)->next;
	*at = key->next;
	key->loose = true;
}

/* Whatever the store said is what the picture knows now. */
static void settle(struct relay_key_write *write, const struct mauth_error *error, struct mauth_error *reported)
{
	struct mauth_relay_keys *keys = write->keys;
	struct relay_key *key = write->key;

	switch (write->kind) {
	case WRITE_ADD:
		keys->adding--;
		if (error != NULL) {
			say(write, "it has not been added", error, reported);
			return;
		}
		key->loose = false;
		relay_key_insert(keys, key);
		return;
	case WRITE_USE:
		/* One that failed is written with the next look. */
		if (error == NULL)
			key->written_use = write->use;
		return;
	case WRITE_DELETE:
		if (error != NULL)
			say(write,
			    "it is removed and opens nothing any more, but would be back after a restart: the store is tried "
			    "again in a few seconds",
			    error, reported);
		else if (!key->loose)
			unlink_removed(keys, key);
		return;
	}
}

static void written(const struct mauth_error *error, void *context)
{
	struct relay_key_write *write = context;
	struct relay_key *key = write->key;
	struct mauth_error reported;

	if (error != NULL)
		reported = *error;
	key->writing--;
	if (write->keys != NULL) {
		*write->link = write->next;
		if (write->next != NULL)
			write->next->link = write->link;
		settle(write, error, &reported);
	}
	if (write->done != NULL)
		write->done(&key->pub, error == NULL ? NULL : &reported, write->context);
	if (key->loose && key->writing == 0)
		relay_key_free(key);
	free(write);
}

static void start(struct mauth_relay_keys *keys, enum write_kind kind, struct relay_key *key,
		  mauth_relay_key_change_fn *done, void *context)
{
	struct relay_key_write *write = mauth_new(sizeof(*write));
	struct mauth_buf value = { 0 };
	struct mauth_store_row row = { .kind = MAUTH_RELAY_KEY_KIND, .name = key->pub.id };

	*write = (struct relay_key_write){
		.keys = keys, .kind = kind, .key = key, .use = key->pub.last_used_at, .done = done, .context = context,
		.next = keys->writes, .link = &keys->writes,
	};
	if (write->next != NULL)
		write->next->link = &write->next;
	keys->writes = write;
	key->writing++;
	if (kind != WRITE_DELETE) {
		mauth_relay_key_encode(&key->pub, &value);
		row.value = value.data;
		row.size = value.size;
	}
	mauth_store_write(keys->deps.store, &row, 1, written, write);
	mauth_buf_free(&value);
}

/* What is being written goes when that is done. */
static void loosen(struct relay_key **at)
{
	while (*at != NULL) {
		struct relay_key *key = *at;

		if (key->writing == 0) {
			at = &key->next;
			continue;
		}
		*at = key->next;
		key->loose = true;
	}
}

void relay_keys_change_close(struct mauth_relay_keys *keys)
{
	bool follows = keys->deps.store->follows;

	for (struct relay_key *key = keys->removed; key != NULL; key = key->next) {
		if (key->writing == 0)
			start(keys, WRITE_DELETE, key, NULL, NULL);
	}
	for (struct relay_key *key = keys->oldest; key != NULL; key = key->next) {
		if (!follows && key->pub.last_used_at != key->written_use && key->writing == 0)
			start(keys, WRITE_USE, key, NULL, NULL);
	}
	loosen(&keys->oldest);
	loosen(&keys->removed);
	for (struct relay_key_write *write = keys->writes; write != NULL; write = write->next)
		write->keys = NULL;
}

/* -- adding ------------------------------------------------------------------------------------------------- */

static const struct relay_key *find(const struct mauth_relay_keys *keys, const char *which)
{
	const struct relay_key *key = keys->oldest;

	while (key != NULL && strcmp(key->pub.id, which) != 0 && strcmp(key->pub.name, which) != 0)
		key = key->next;
	return key;
}

static bool is_being_added(const struct mauth_relay_keys *keys, const char *name)
{
	for (const struct relay_key_write *write = keys->writes; write != NULL; write = write->next) {
		if (write->kind == WRITE_ADD && strcmp(write->key->pub.name, name) == 0)
			return true;
	}
	return false;
}

static enum mauth_status copy_identities(const struct mauth_relay_key_new *from, struct mauth_relay_key *key,
					 struct mauth_error *error_r)
{
	if (from->identities_count == 0 || from->identities_count > MAUTH_RELAY_IDENTITIES_MAX)
		return mauth_fail(error_r, MAUTH_CONFIG, 0, "a relay key is for 1 to %u identities, and this one for %zu",
				  MAUTH_RELAY_IDENTITIES_MAX, from->identities_count);
	key->identities = mauth_new_array(from->identities_count + 1, sizeof(*key->identities));
	for (size_t i = 0; i < from->identities_count; i++) {
		char *pattern = key->identities[i] = mauth_strdup(from->identities[i]);

		mauth_lowercase(pattern);
		/* One without a domain would never match: identities are UPNs. */
		if (!mauth_exception_user_is_good(pattern) || strpbrk(pattern, "@*") == NULL)
			return mauth_fail(error_r, MAUTH_CONFIG, 0, "identity \"%.100s\"; an address or a pattern like "
					  "\"scanner@contoso.com\" or \"*@contoso.com\" was expected", from->identities[i]);
	}
	return MAUTH_OK;
}

static enum mauth_status check_new(const struct mauth_relay_keys *keys, const struct mauth_relay_key_new *from,
				   struct mauth_error *error_r)
{
	if (from->name == NULL || !mauth_relay_key_name_is_good(from->name))
		return mauth_fail(error_r, MAUTH_CONFIG, 0, "a relay key needs a name of 1 to %u octets without blanks",
				  MAUTH_RELAY_KEY_NAME_MAX);
	if (find(keys, from->name) != NULL || is_being_added(keys, from->name))
		return mauth_fail(error_r, MAUTH_CONFIG, 0, "there is a relay key \"%s\" already; remove it, or take another name",
				  from->name);
	if (from->expires_at != 0 && from->expires_at <= mauth_wall_secs(keys->deps.loop))
		return mauth_fail(error_r, MAUTH_CONFIG, 0, "the end of the relay key lies in the past");
	if (keys->count + keys->adding >= MAUTH_RELAY_KEYS_MAX)
		return mauth_fail(error_r, MAUTH_CONFIG, 0, "there are %u relay keys already; remove some", MAUTH_RELAY_KEYS_MAX);
	return MAUTH_OK;
}

static char *clean_dup(const char *text, size_t max)
{
	char *copy = mauth_new(max + 1);

	mauth_clean_copy(copy, max + 1, text, strlen(text));
	return copy;
}

enum mauth_status mauth_relay_keys_add(struct mauth_relay_keys *keys, const struct mauth_relay_key_new *from,
				       struct mauth_secret **secret_r, mauth_relay_key_change_fn *done, void *context,
				       struct mauth_error *error_r)
{
	struct mauth_secret *secret, *typed;
	struct relay_key *key;

	if (check_new(keys, from, error_r) != MAUTH_OK)
		return MAUTH_CONFIG;
	key = mauth_new(sizeof(*key));
	if (copy_identities(from, &key->pub, error_r) != MAUTH_OK) {
		relay_key_free(key);
		return MAUTH_CONFIG;
	}
	key->pub.name = mauth_strdup(from->name);
	key->pub.created_at = mauth_wall_secs(keys->deps.loop);
	key->pub.expires_at = from->expires_at;
	key->pub.by = clean_dup(from->by == NULL || *from->by == '\0' ? "unknown" : from->by, MAUTH_RELAY_KEY_BY_MAX);
	key->pub.uid = from->uid;
	mauth_device_id_new(key->pub.id);
	mauth_random(key->pub.salt, sizeof(key->pub.salt));
	secret = mauth_device_generate();
	typed = mauth_device_typed(secret);
	relay_key_verifier(keys, &key->pub, typed, key->pub.verifier);
	mauth_secret_free(&typed);
	key->loose = true;
	keys->adding++;
	*secret_r = secret;
	start(keys, WRITE_ADD, key, done, context);
	return MAUTH_OK;
}

/* -- removing, last uses ------------------------------------------------------------------------------------ */

enum mauth_status mauth_relay_keys_remove(struct mauth_relay_keys *keys, const char *which,
					  mauth_relay_key_change_fn *done, void *context, struct mauth_error *error_r)
{
	const struct relay_key *found = find(keys, which);
	struct relay_key **at = &keys->oldest, *key;

	if (found == NULL) {
		mauth_fail(error_r, MAUTH_USER_UNKNOWN, 0, "there is no relay key \"%.64s\"", which);
		if (error_r != NULL)
			snprintf(error_r->advice, sizeof(error_r->advice), "doveadm modernauth relay list");
		return MAUTH_USER_UNKNOWN;
	}
	while (*at != found)
		at = &(*at)->next;
	key = *at;
	*at = key->next;
	keys->count--;
	key->next = keys->removed;
	keys->removed = key;
	start(keys, WRITE_DELETE, key, done, context);
	return MAUTH_OK;
}

void mauth_relay_keys_tend(struct mauth_relay_keys *keys)
{
	/* One writer: who follows keeps last uses to himself. */
	if (keys->deps.store->follows)
		return;
	for (struct relay_key *key = keys->oldest; key != NULL; key = key->next) {
		if (key->pub.last_used_at - key->written_use >= USE_WRITE_SECS && key->writing == 0)
			start(keys, WRITE_USE, key, NULL, NULL);
	}
	for (struct relay_key *key = keys->removed; key != NULL; key = key->next) {
		if (key->writing == 0)
			start(keys, WRITE_DELETE, key, NULL, NULL);
	}
}
