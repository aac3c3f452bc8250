/* SPDX-License-Identifier: MIT */
#ifndef VAULT_WORLD_H
#define VAULT_WORLD_H
/* A broker with a vault in a world of fakes (broker_world.h): the store and the key file are in memory, and outlive the
 * process that a test lets die. */

#include "broker_world.h"
#include "core/vault.h"
#include "fake_store.h"
#include "fake_worker.h"

#define BOB "bob@contoso.com"
#define CONTOSO "contoso"

struct vault_world {
	struct world w;                     /* its config is to be changed before vault_world_open() */
	struct fake_store *store;           /* writes end with the loop unless held */
	struct fake_worker *worker;         /* the same for scrypt */
	struct mauth_key_file key_file;
	char *keys;                         /* its text; NULL: there is none */
	unsigned int key_writes;
	bool keys_read_only;
	struct mauth_vault *vault;
};
void vault_world_begin(struct vault_world *world);
/* The broker and its vault. */
void vault_world_open(struct vault_world *world);
/* Both, with nothing changed in the configuration but the tenant's grants. */
void vault_world_open_with(struct vault_world *world, const char *letters);
/* The broker alone: its vault is not open, because of error (NULL: nobody has tried). */
void vault_world_open_without(struct vault_world *world, const struct mauth_error *error);
/* The vault of a broker that has none. */
enum mauth_status vault_world_try(struct vault_world *world, struct mauth_error *error_r);
/* The broker has no vault any more; what is being written is written. */
void vault_world_close(struct vault_world *world);
/* The process ends while nobody logs in, and another one opens the same store with the same keys. */
void vault_world_restart(struct vault_world *world);
/* world_end(), and nothing of world.secrets may be in clear in whatever the store was given. */
void vault_world_end(struct vault_world *world);

/* A rule for everybody. Lives as long as the configuration. */
struct mauth_rule *vault_world_rule(struct vault_world *world);
/* The tenant's grants by their letters and in this order: "EPA" is enrolled, password, app. */
void vault_world_grants(struct mauth_tenant *tenant, const char *letters);

/* account is enrolled with token, and object id "oid-1". */
void world_enrol(struct vault_world *world, const char *account, const char *token);
/* A generated device password of user; the caller frees. */
char *world_device(struct vault_world *world, const char *user, const char *name);
/* One that a person has chosen. */
void world_chosen_device(struct vault_world *world, const char *user, const char *name, const char *password);
void world_device_remove(struct vault_world *world, const char *user, const char *name);
const struct mauth_enrolment *world_enrolment(struct vault_world *world, const char *account);
/* The refresh token of account, or "" with none; lives until the next call. */
const char *world_refresh_token(struct vault_world *world, const char *account);

/* text is in the cache as a token that is good for an hour: ALICE's by password (GOOD), her enrolment's, or the
 * application's. */
void world_cache(struct vault_world *world, enum mauth_grant_type grant, const char *text);
/* Entra's answer to a refresh or to who has signed in: an hour's access token, and this refresh token. */
void world_refreshed(struct vault_world *world, const char *upn, const char *oid, const char *refresh_token);

/* An attempt over IMAP from 192.0.2.7, verified by an earlier passdb or not. */
void world_start_verified(struct vault_world *world, const char *user, const char *password, bool by_dovecot,
			  struct outcome *outcome);
/* It goes as far as it goes without Entra. */
struct outcome world_try(struct vault_world *world, const char *user, const char *password, bool by_dovecot);
/* Such an attempt of ALICE must have ended with status, without a request. */
struct outcome world_at_once(struct vault_world *world, const char *password, bool by_dovecot,
			     enum mauth_status status);
/* An attempt for which Entra is asked: the outcome that will be. */
struct outcome *world_ask(struct vault_world *world, const char *user, const char *password, bool by_dovecot);

#endif
