/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_PSEUDONYMS_H
#define MAUTH_PSEUDONYMS_H
/* Whose pseudonyms are whose: with privacy { users = "pseudonym" } the broker keeps the names, sealed, in the store. Only their
 * pseudonyms are in memory. Bounded: anybody can make names by guessing, so names that never came in have a small part of their own. */

#include "core/vault.h"

/* Rows: name "PSEUDONYM/PERIOD", value the sealed name. The second kind are those that have never come in. */
#define MAUTH_PSEUDONYM_KIND "pseudonym"
#define MAUTH_PSEUDONYM_NEW_KIND "pseudonym-new"

#define MAUTH_PSEUDONYMS_MAX 200000u
#define MAUTH_PSEUDONYMS_NEW_MAX 20000u

struct mauth_pseudonyms;
/* keep_secs: a name is forgotten when its last record is older, which retention has deleted by then; 0: never. */
struct mauth_pseudonyms *mauth_pseudonyms_new(const struct mauth_loop *loop, const struct mauth_log *log, int64_t keep_secs);
void mauth_pseudonyms_free(struct mauth_pseudonyms **pseudonyms);

/* The store is open: reads what it has, writes what it lacks. vault outlives its use here, until close. */
void mauth_pseudonyms_open(struct mauth_pseudonyms *pseudonyms, struct mauth_vault *vault);
/* Gives the store what it does not have yet. Names that are noted from now on wait for the next open. */
void mauth_pseudonyms_close(struct mauth_pseudonyms *pseudonyms);

/* A record with this pseudonym is being written; works: it says that a login, or what else it is about, has succeeded. */
void mauth_pseudonyms_note(struct mauth_pseudonyms *pseudonyms, const char *pseudonym, const char *name, bool works);
/* The name, new and the caller's. MAUTH_USER_UNKNOWN: nobody knows it. */
enum mauth_status mauth_pseudonyms_find(struct mauth_pseudonyms *pseudonyms, const char *pseudonym, char **name_r,
					struct mauth_error *error_r);
/* Forgets whose it is. true: done is called once it is off the disk, never before this returns; false: the disk had nothing of it. */
bool mauth_pseudonyms_forget(struct mauth_pseudonyms *pseudonyms, const char *pseudonym, mauth_store_done_fn *done, void *context);
/* Deletes what the store of vault has of all this, since nobody is to know any more; how many names. */
size_t mauth_pseudonyms_erase_all(const struct mauth_loop *loop, const struct mauth_log *log, struct mauth_vault *vault);
size_t mauth_pseudonyms_count(const struct mauth_pseudonyms *pseudonyms);

#endif
