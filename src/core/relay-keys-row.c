/* SPDX-License-Identifier: MIT */
#include "core/relay-keys.h"

#include "core/exceptions.h"
#include "core/json.h"

#include <stdlib.h>
#include <string.h>

#define TIME_MAX 253402300799            /* the last second of the year 9999 */
/* How the verifier was made, so that a later release may make it otherwise. */
#define SCHEME "hmac-sha256"

void mauth_relay_key_clear(struct mauth_relay_key *key)
{
	for (size_t i = 0; key->identities != NULL && key->identities[i] != NULL; i++)
		free(key->identities[i]);
	free(key->identities);
	free(key->name);
	free(key->by);
	key->identities = NULL;
	key->name = key->by = NULL;
	mauth_wipe(key->salt, sizeof(key->salt));
	mauth_wipe(key->verifier, sizeof(key->verifier));
}

bool mauth_relay_key_name_is_good(const char *name)
{
	char clean[MAUTH_RELAY_KEY_NAME_MAX + 1];
	size_t size = strnlen(name, sizeof(clean));

	if (size == 0 || size > MAUTH_RELAY_KEY_NAME_MAX || strchr(name, ' ') != NULL)
		return false;
	mauth_clean_copy(clean, sizeof(clean), name, size);
	return strcmp(clean, name) == 0;
}

bool mauth_relay_key_id_is_good(const char *id)
{
	return strlen(id) == MAUTH_RELAY_KEY_ID_SIZE - 1 &&
	       strspn(id, "abcdefghijklmnopqrstuvwxyz0123456789") == MAUTH_RELAY_KEY_ID_SIZE - 1;
}

/* -- writing -- */

void mauth_relay_key_encode(const struct mauth_relay_key *key, struct mauth_buf *to)
{
	json_t *row = json_object(), *identities = json_array();
	char *text;

	for (char *const *identity = key->identities; *identity != NULL; identity++)
		json_array_append_new(identities, json_string(*identity));
	json_object_set_new(row, "name", json_string(key->name));
	json_object_set_new(row, "identities", identities);
	json_object_set_new(row, "created_at", json_integer(key->created_at));
	json_object_set_new(row, "expires_at", json_integer(key->expires_at));
	json_object_set_new(row, "last_used_at", json_integer(key->last_used_at));
	json_object_set_new(row, "by", json_string(key->by));
	json_object_set_new(row, "uid", json_integer(key->uid));
	json_object_set_new(row, "scheme", json_string(SCHEME));
	json_object_set_new(row, "salt", mauth_json_octets(key->salt, sizeof(key->salt)));
	json_object_set_new(row, "verifier", mauth_json_octets(key->verifier, sizeof(key->verifier)));
	text = mauth_json_text(row);
	mauth_buf_puts(to, text);
	mauth_wipe(text, strlen(text));
	free(text);
	json_decref(row);
}

/* -- reading -- */

static bool read_time(const json_t *row, const char *name, int64_t *time_r)
{
	const json_t *value = json_object_get(row, name);

	if (!json_is_integer(value) || json_integer_value(value) < 0 || json_integer_value(value) > TIME_MAX)
		return false;
	*time_r = json_integer_value(value);
	return true;
}

/* What cannot be read must not become a key for everybody. */
static bool read_identities(const json_t *row, struct mauth_relay_key *key)
{
	const json_t *list = json_object_get(row, "identities");
	size_t count = json_array_size(list);

	if (count == 0 || count > MAUTH_RELAY_IDENTITIES_MAX)
		return false;
	key->identities = mauth_new_array(count + 1, sizeof(*key->identities));
	for (size_t i = 0; i < count; i++) {
		const char *identity = json_string_value(json_array_get(list, i));

		if (identity == NULL || !mauth_exception_user_is_good(identity))
			return false;
		key->identities[i] = mauth_strdup(identity);
	}
	return true;
}

static bool read_all(const json_t *row, struct mauth_relay_key *key)
{
	const char *name = mauth_json_str(row, "name"), *by = mauth_json_str(row, "by");
	const json_t *uid = json_object_get(row, "uid");

	if (!mauth_relay_key_name_is_good(name) || !json_is_integer(uid) ||
	    strnlen(by, MAUTH_RELAY_KEY_BY_MAX + 1) > MAUTH_RELAY_KEY_BY_MAX ||
	    strcmp(mauth_json_str(row, "scheme"), SCHEME) != 0)
		return false;
	key->name = mauth_strdup(name);
	key->by = mauth_strdup(by);
	key->uid = json_integer_value(uid);
	return read_identities(row, key) && read_time(row, "created_at", &key->created_at) &&
	       read_time(row, "expires_at", &key->expires_at) && read_time(row, "last_used_at", &key->last_used_at) &&
	       mauth_json_read_octets(row, "salt", key->salt, sizeof(key->salt)) &&
	       mauth_json_read_octets(row, "verifier", key->verifier, sizeof(key->verifier));
}

bool mauth_relay_key_decode(const char *value, size_t size, struct mauth_relay_key *key_r)
{
	json_t *row = mauth_json_object(value, size);
	struct mauth_relay_key key = { .name = NULL };
	bool good = row != NULL && read_all(row, &key);

	if (good)
		*key_r = key;
	else
		mauth_relay_key_clear(&key);
	json_decref(row);
	return good;
}
