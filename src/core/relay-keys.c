/* SPDX-License-Identifier: MIT */
#include "core/relay-keys-private.h"

#include "core/devices.h"
#include "core/policy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct mauth_relay_keys *mauth_relay_keys_new(const struct mauth_relay_keys_deps *deps)
{
	struct mauth_relay_keys *keys = mauth_new(sizeof(*keys));

	keys->deps = *deps;
	return keys;
}

void relay_key_free(struct relay_key *key)
{
	mauth_relay_key_clear(&key->pub);
	free(key);
}

static void free_list(struct relay_key *list)
{
	while (list != NULL) {
		struct relay_key *next = list->next;

		relay_key_free(list);
		list = next;
	}
}

void mauth_relay_keys_free(struct mauth_relay_keys **keys)
{
	struct mauth_relay_keys *k = *keys;

	if (k == NULL)
		return;
	relay_keys_change_close(k);
	free_list(k->oldest);
	free_list(k->removed);
	free(k);
	*keys = NULL;
}

void relay_key_insert(struct mauth_relay_keys *keys, struct relay_key *key)
{
	struct relay_key **at = &keys->oldest;

	while (*at != NULL && ((*at)->pub.created_at < key->pub.created_at ||
			       ((*at)->pub.created_at == key->pub.created_at && strcmp((*at)->pub.id, key->pub.id) < 0)))
		at = &(*at)->next;
	key->next = *at;
	*at = key;
	keys->count++;
}

enum mauth_status mauth_relay_keys_load(struct mauth_relay_keys *keys, const struct mauth_store_row *row,
					struct mauth_error *error_r)
{
	struct relay_key *key = mauth_new(sizeof(*key));

	/* More than there may be is nobody's work but a fault's. */
	if (!mauth_relay_key_id_is_good(row->name) || keys->count >= 2 * (size_t)MAUTH_RELAY_KEYS_MAX ||
	    !mauth_relay_key_decode(row->value, row->size, &key->pub)) {
		relay_key_free(key);
		return mauth_fail(error_r, MAUTH_CONFIG, 0, "the store's relay key \"%.100s\" cannot be read", row->name);
	}
	snprintf(key->pub.id, sizeof(key->pub.id), "%s", row->name);
	key->written_use = key->pub.last_used_at;
	relay_key_insert(keys, key);
	return MAUTH_OK;
}

enum mauth_status mauth_relay_keys_follow(struct mauth_relay_keys *keys, const struct mauth_store_row *row,
					  struct mauth_error *error_r)
{
	struct relay_key **at = &keys->oldest, *old;
	enum mauth_status status;

	while (*at != NULL && strcmp((*at)->pub.id, row->name) != 0)
		at = &(*at)->next;
	old = *at;
	status = row->value == NULL ? MAUTH_OK : mauth_relay_keys_load(keys, row, error_r);
	if (status != MAUTH_OK || old == NULL)
		return status;
	/* The new one may stand before it. */
	for (at = &keys->oldest; *at != old; at = &(*at)->next)
		;
	*at = old->next;
	keys->count--;
	old->loose = true;
	if (old->writing == 0)
		relay_key_free(old);
	return MAUTH_OK;
}

size_t mauth_relay_keys_count(const struct mauth_relay_keys *keys)
{
	return keys->count;
}

const struct mauth_relay_key *mauth_relay_keys_next(const struct mauth_relay_keys *keys, const struct mauth_relay_key *key)
{
	return (const struct mauth_relay_key *)(key == NULL ? keys->oldest : ((const struct relay_key *)key)->next);
}

/* -- checking ----------------------------------------------------------------------------------------------- */

void relay_key_verifier(const struct mauth_relay_keys *keys, const struct mauth_relay_key *key,
			const struct mauth_secret *typed, unsigned char verifier_r[static MAUTH_VERIFIER_SIZE])
{
	char name[sizeof(MAUTH_RELAY_KEY_KIND) + MAUTH_RELAY_KEY_ID_SIZE];

	/* Apart from device passwords, which have the same key of the store. */
	snprintf(name, sizeof(name), "%s/%s", MAUTH_RELAY_KEY_KIND, key->id);
	mauth_verifier(keys->deps.key, key->salt, 0, name, typed, verifier_r);
}

/* The one whose key that is. Which one matches does not show in the time that is taken. */
static struct relay_key *find_owner(const struct mauth_relay_keys *keys, const struct mauth_secret *secret)
{
	struct mauth_secret *typed = mauth_device_typed(secret);
	struct relay_key *owner = NULL;

	for (struct relay_key *key = keys->oldest; key != NULL; key = key->next) {
		unsigned char verifier[MAUTH_VERIFIER_SIZE];

		relay_key_verifier(keys, &key->pub, typed, verifier);
		if (mauth_equal_secret(verifier, key->pub.verifier, sizeof(verifier)))
			owner = key;
	}
	mauth_secret_free(&typed);
	return owner;
}

bool mauth_relay_key_is_for(const struct mauth_relay_key *key, const char *identity)
{
	for (char *const *pattern = key->identities; *pattern != NULL; pattern++) {
		if (mauth_glob_match(*pattern, identity))
			return true;
	}
	return false;
}

enum mauth_status mauth_relay_keys_check(const struct mauth_relay_keys *keys, const struct mauth_secret *secret,
					 const char *identity, const struct mauth_relay_key **key_r,
					 struct mauth_error *error_r)
{
	const struct relay_key *owner = find_owner(keys, secret);
	const struct mauth_relay_key *key = owner == NULL ? NULL : &owner->pub;
	enum mauth_status status = MAUTH_OK;
	const char *advice = "";

	*key_r = key;
	if (key == NULL) {
		status = mauth_fail(error_r, MAUTH_BAD_CREDENTIALS, 0, "wrong relay key");
		advice = "doveadm modernauth relay add NAME --identity ADDRESS prints one for smtp_sasl_password_maps";
	} else if (key->expires_at != 0 && mauth_wall_secs(keys->deps.loop) >= key->expires_at) {
		status = mauth_fail(error_r, MAUTH_EXPIRED, 0, "the relay key \"%s\" has ended", key->name);
		advice = "make a new one: doveadm modernauth relay add";
	} else if (!mauth_relay_key_is_for(key, identity)) {
		status = mauth_fail(error_r, MAUTH_POLICY, 0, "the relay key \"%s\" is not for %.320s", key->name, identity);
		advice = "make one with this --identity: doveadm modernauth relay add (relay list shows what each is for)";
	}
	if (status != MAUTH_OK && error_r != NULL)
		snprintf(error_r->advice, sizeof(error_r->advice), "%s", advice);
	return status;
}

void mauth_relay_keys_used(struct mauth_relay_keys *keys, const char *id)
{
	for (struct relay_key *key = keys->oldest; key != NULL; key = key->next) {
		if (strcmp(key->pub.id, id) == 0)
			key->pub.last_used_at = mauth_wall_secs(keys->deps.loop);
	}
}
