/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_SHIELD_H
#define MAUTH_SHIELD_H
/* The lock-out shield: what Entra has refused is not sent again, and a user with too many different bad passwords is not
 * forwarded for a while, so that neither a phone with an old password nor an attacker locks the account at Microsoft
 * (smart lockout: 10 attempts, 3 in US Government clouds; howto-password-smart-lockout.md). */

#include "core/aadsts.h"
#include "core/table.h"
#include "modernauth/loop.h"

struct mauth_shield_settings {
	unsigned int remember_secs;      /* a bad password, doubled with each refusal, at most 16 times */
	unsigned int other_secs;         /* other refusals of this user and password: MFA, disabled, expired */
	unsigned int window_secs;        /* for counting different bad passwords */
	unsigned int lockout_secs;
};

struct mauth_shield;
/* loop and key must outlive the shield. */
struct mauth_shield *mauth_shield_new(const struct mauth_loop *loop, const struct mauth_verifier_key *key,
				      const struct mauth_shield_settings *settings);
void mauth_shield_free(struct mauth_shield **shield);

/* A refusal that is remembered for exactly this password. */
struct mauth_refusal {
	enum mauth_status status;
	int code;                        /* AADSTS */
	unsigned int left_secs;
};
bool mauth_shield_remembers(struct mauth_shield *shield, uint32_t tenant, const char *upn,
			    const struct mauth_secret *password, struct mauth_refusal *refusal_r);
/* Seconds during which this user is not forwarded; 0 if he is. */
unsigned int mauth_shield_locked(struct mauth_shield *shield, uint32_t tenant, const char *upn);
/* How many passwords of this user are remembered as refused. */
unsigned int mauth_shield_refusals(struct mauth_shield *shield, uint32_t tenant, const char *upn);
/* How many requests with different passwords may be under way for this user without risking more than threshold bad
 * ones: threshold minus the bad ones in the window, at least 1. */
unsigned int mauth_shield_allowance(struct mauth_shield *shield, uint32_t tenant, const char *upn,
				    unsigned int threshold);

/* Entra refused this password with status and code. counts: it is one more bad password. true: that was one too many,
 * the user is now locked here. MAUTH_LOCKED locks at once. */
bool mauth_shield_refused(struct mauth_shield *shield, uint32_t tenant, const char *upn,
			  const struct mauth_secret *password, enum mauth_status status, int code, bool counts,
			  unsigned int threshold);
/* Entra accepted this password: the count begins anew, the lock is lifted. */
void mauth_shield_accepted(struct mauth_shield *shield, uint32_t tenant, const char *upn,
			   const struct mauth_secret *password);

/* An admin says that it is forgotten: how many refusals that were. */
unsigned int mauth_shield_forget(struct mauth_shield *shield, uint32_t tenant, const char *upn);

/* For handing over to a successor that uses the same key. Times are monotonic seconds of this machine. */
#define MAUTH_SHIELD_SLOTS 16u
struct mauth_shield_slot {
	unsigned char verifier[MAUTH_VERIFIER_SIZE];
	int64_t seen, until;             /* monotonic seconds; until 0: free */
	int32_t code;
	uint8_t status, repeats, counts;
};
struct mauth_shield_user {
	struct mauth_node node;
	int64_t locked_until;
	unsigned char salt[MAUTH_SALT_SIZE];
	struct mauth_shield_slot slots[MAUTH_SHIELD_SLOTS];
	char upn[];
};
const struct mauth_shield_user *mauth_shield_next(const struct mauth_shield *shield,
						  const struct mauth_shield_user *user);
void mauth_shield_adopt(struct mauth_shield *shield, const struct mauth_shield_user *user, uint32_t tenant,
			const char *upn);
size_t mauth_shield_count(const struct mauth_shield *shield);

#endif
