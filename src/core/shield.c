/* SPDX-License-Identifier: MIT */
#include "core/shield.h"

#include "core/mem.h"

#include <stdlib.h>
#include <string.h>

/* Users with a refusal; a spray over more names than this forgets the oldest. About 1 KiB each. */
#define SHIELD_USERS_MAX 65536u
#define REPEATS_MAX 4u
/* Not 0: the monotonic clock begins there when a machine starts. */
#define NEVER_SEEN (INT64_MIN / 2)

struct mauth_shield {
	struct mauth_table table;
	const struct mauth_loop *loop;
	const struct mauth_verifier_key *key;
	struct mauth_shield_settings settings;
};

static struct mauth_shield_user *user_of(struct mauth_node *node)
{
	return (struct mauth_shield_user *)node;       /* node is the first member */
}

static const char *node_upn(const struct mauth_node *node)
{
	return ((const struct mauth_shield_user *)node)->upn;
}

static int64_t now_secs(const struct mauth_shield *shield)
{
	return mauth_mono_msecs(shield->loop) / 1000;
}

struct mauth_shield *mauth_shield_new(const struct mauth_loop *loop, const struct mauth_verifier_key *key,
				      const struct mauth_shield_settings *settings)
{
	struct mauth_shield *shield = mauth_new(sizeof(*shield));

	mauth_table_init(&shield->table, key, node_upn);
	shield->loop = loop;
	shield->key = key;
	shield->settings = *settings;
	return shield;
}

static void user_free(struct mauth_shield *shield, struct mauth_shield_user *user)
{
	mauth_table_remove(&shield->table, &user->node);
	mauth_wipe(user, sizeof(*user));
	free(user);
}

void mauth_shield_free(struct mauth_shield **shield)
{
	if (*shield == NULL)
		return;
	while ((*shield)->table.oldest != NULL)
		user_free(*shield, user_of((*shield)->table.oldest));
	mauth_table_free(&(*shield)->table);
	free(*shield);
	*shield = NULL;
}

static struct mauth_shield_user *user_find(const struct mauth_shield *shield, uint32_t tenant, const char *upn)
{
	struct mauth_node *node = mauth_table_find(&shield->table, tenant, upn);

	return node == NULL ? NULL : user_of(node);
}

static struct mauth_shield_user *user_add(struct mauth_shield *shield, uint32_t tenant, const char *upn)
{
	size_t size = strlen(upn) + 1;
	struct mauth_shield_user *user = mauth_new(sizeof(*user) + size);

	memcpy(user->upn, upn, size);
	mauth_random(user->salt, sizeof(user->salt));
	mauth_table_insert(&shield->table, &user->node, tenant, upn);
	if (shield->table.count > SHIELD_USERS_MAX)
		user_free(shield, user_of(shield->table.oldest));
	return user;
}

static bool slot_in_window(const struct mauth_shield *shield, const struct mauth_shield_slot *slot, int64_t now)
{
	return slot->until != 0 && slot->counts != 0 && slot->seen + shield->settings.window_secs > now;
}

static unsigned int bad_in_window(const struct mauth_shield *shield, const struct mauth_shield_user *user, int64_t now)
{
	unsigned int count = 0;

	for (size_t i = 0; i < MAUTH_SHIELD_SLOTS; i++)
		count += slot_in_window(shield, &user->slots[i], now);
	return count;
}

/* The slot of this verifier, remembered or already expired, or NULL. Looks at all slots, whatever it finds. */
static struct mauth_shield_slot *slot_find(struct mauth_shield_user *user, const unsigned char *verifier)
{
	struct mauth_shield_slot *found = NULL;

	for (size_t i = 0; i < MAUTH_SHIELD_SLOTS; i++) {
		if (mauth_equal_secret(user->slots[i].verifier, verifier, MAUTH_VERIFIER_SIZE) &&
		    user->slots[i].until != 0)
			found = &user->slots[i];
	}
	return found;
}

bool mauth_shield_remembers(struct mauth_shield *shield, uint32_t tenant, const char *upn,
			    const struct mauth_secret *password, struct mauth_refusal *refusal_r)
{
	struct mauth_shield_user *user = user_find(shield, tenant, upn);
	unsigned char verifier[MAUTH_VERIFIER_SIZE];
	const struct mauth_shield_slot *slot;
	int64_t now = now_secs(shield);

	if (user == NULL)
		return false;
	mauth_verifier(shield->key, user->salt, tenant, upn, password, verifier);
	slot = slot_find(user, verifier);
	if (slot == NULL || slot->until <= now)
		return false;
	mauth_table_touch(&shield->table, &user->node);
	refusal_r->status = (enum mauth_status)slot->status;
	refusal_r->code = slot->code;
	refusal_r->left_secs = (unsigned int)(slot->until - now);
	return true;
}

unsigned int mauth_shield_locked(struct mauth_shield *shield, uint32_t tenant, const char *upn)
{
	const struct mauth_shield_user *user = user_find(shield, tenant, upn);
	int64_t now = now_secs(shield);

	return user == NULL || user->locked_until <= now ? 0 : (unsigned int)(user->locked_until - now);
}

unsigned int mauth_shield_refusals(struct mauth_shield *shield, uint32_t tenant, const char *upn)
{
	const struct mauth_shield_user *user = user_find(shield, tenant, upn);
	int64_t now = now_secs(shield);
	unsigned int count = 0;

	for (size_t i = 0; user != NULL && i < MAUTH_SHIELD_SLOTS; i++)
		count += user->slots[i].until > now;
	return count;
}

/* More than there are slots could never be counted. */
static unsigned int reachable(unsigned int threshold)
{
	return threshold < MAUTH_SHIELD_SLOTS ? threshold : MAUTH_SHIELD_SLOTS;
}

unsigned int mauth_shield_allowance(struct mauth_shield *shield, uint32_t tenant, const char *upn,
				    unsigned int threshold)
{
	const struct mauth_shield_user *user = user_find(shield, tenant, upn);
	unsigned int bad = user == NULL ? 0 : bad_in_window(shield, user, now_secs(shield));

	threshold = reachable(threshold);
	return bad + 1 >= threshold ? 1 : threshold - bad;
}

/* A slot for one more password: a free one, else the one that is forgotten first. */
static struct mauth_shield_slot *slot_take(struct mauth_shield_user *user)
{
	struct mauth_shield_slot *best = &user->slots[0];

	for (size_t i = 1; i < MAUTH_SHIELD_SLOTS; i++) {
		if (user->slots[i].until < best->until)
			best = &user->slots[i];
	}
	memset(best, 0, sizeof(*best));
	return best;
}

bool mauth_shield_refused(struct mauth_shield *shield, uint32_t tenant, const char *upn,
			  const struct mauth_secret *password, enum mauth_status status, int code, bool counts,
			  unsigned int threshold)
{
	struct mauth_shield_user *user = user_find(shield, tenant, upn);
	unsigned char verifier[MAUTH_VERIFIER_SIZE];
	struct mauth_shield_slot *slot;
	int64_t now = now_secs(shield);

	if (user == NULL)
		user = user_add(shield, tenant, upn);
	if (status == MAUTH_LOCKED) {
		/* Whether this password is right is not known, so it is not remembered. */
		user->locked_until = now + shield->settings.lockout_secs;
		return true;
	}
	mauth_verifier(shield->key, user->salt, tenant, upn, password, verifier);
	slot = slot_find(user, verifier);
	if (slot == NULL) {
		slot = slot_take(user);
		memcpy(slot->verifier, verifier, sizeof(verifier));
	} else if (counts && slot->counts != 0 && slot->repeats < REPEATS_MAX) {
		slot->repeats++;
	}
	slot->seen = now;
	slot->status = (uint8_t)status;
	slot->code = code;
	slot->counts = counts;
	/* Only a wrong password stays wrong: an admin may enable the account or exempt it from MFA at any time. */
	slot->until = now + (counts ? (int64_t)shield->settings.remember_secs << slot->repeats :
				      (int64_t)shield->settings.other_secs);
	if (!counts || bad_in_window(shield, user, now) < reachable(threshold))
		return false;
	user->locked_until = now + shield->settings.lockout_secs;
	return true;
}

void mauth_shield_accepted(struct mauth_shield *shield, uint32_t tenant, const char *upn,
			   const struct mauth_secret *password)
{
	struct mauth_shield_user *user = user_find(shield, tenant, upn);
	unsigned char verifier[MAUTH_VERIFIER_SIZE];
	struct mauth_shield_slot *slot;

	if (user == NULL)
		return;
	mauth_verifier(shield->key, user->salt, tenant, upn, password, verifier);
	slot = slot_find(user, verifier);
	if (slot != NULL)
		memset(slot, 0, sizeof(*slot));
	user->locked_until = 0;
	/* Entra's own counter starts anew with a success as well. The other passwords stay bad. */
	for (size_t i = 0; i < MAUTH_SHIELD_SLOTS; i++)
		user->slots[i].seen = NEVER_SEEN;
}

const struct mauth_shield_user *mauth_shield_next(const struct mauth_shield *shield,
						  const struct mauth_shield_user *user)
{
	return (const struct mauth_shield_user *)(user == NULL ? shield->table.oldest : user->node.newer);
}

unsigned int mauth_shield_forget(struct mauth_shield *shield, uint32_t tenant, const char *upn)
{
	struct mauth_shield_user *user = user_find(shield, tenant, upn);
	unsigned int count = 0;

	if (user == NULL)
		return 0;
	for (size_t i = 0; i < MAUTH_SHIELD_SLOTS; i++)
		count += user->slots[i].until > now_secs(shield);
	user_free(shield, user);
	return count;
}

void mauth_shield_adopt(struct mauth_shield *shield, const struct mauth_shield_user *from, uint32_t tenant,
			const char *upn)
{
	struct mauth_shield_user *user = user_find(shield, tenant, upn);

	if (user == NULL)
		user = user_add(shield, tenant, upn);
	memcpy(user->salt, from->salt, sizeof(user->salt));
	memcpy(user->slots, from->slots, sizeof(user->slots));
	user->locked_until = from->locked_until;
}

size_t mauth_shield_count(const struct mauth_shield *shield)
{
	return shield->table.count;
}
