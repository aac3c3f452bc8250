/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_PASSDB_MODERNAUTH_H
#define MAUTH_PASSDB_MODERNAUTH_H
/* The passdb "modernauth": asks the broker and translates its answer into Dovecot's words. Include
 * auth-common.h and passdb.h before this. */

#include "modernauth/client.h"

/* Dovecot gives up on a request after 150 s and knows no cancel: whatever is slower than that is lost. */
#define MAUTH_PASSDB_TIMEOUT_MIN_MSECS 1000u
#define MAUTH_PASSDB_TIMEOUT_MAX_MSECS 120000u
#define MAUTH_PASSDB_TIMEOUT_MSECS 20000u
/* The extra field by which an earlier passdb says where the mailbox is: "cloud" or "onprem". */
#define MAUTH_SIDE_FIELD "modernauth_mailbox"

/* Strings live as long as the module. */
struct mauth_passdb_settings {
	const char *config_path;         /* modernauth.conf, which the broker must have read too */
	const char *socket_path;
	unsigned int timeout_msecs;
};

extern struct passdb_module_interface mauth_passdb_interface;

/* The module, allocated from pool. What differs between Dovecot's releases is how the settings come about and how
 * this is called: passdb-preinit-*.c. */
struct passdb_module *mauth_passdb_new(pool_t pool, const struct mauth_passdb_settings *settings);

/* passdb-earlier.c. Watches what the other passdbs accept; called by each of ours, at the init of a process and at its end. */
void mauth_passdb_watch_earlier(void);
void mauth_passdb_unwatch_earlier(void);
/* Has an earlier passdb accepted this very password? One that takes any ("nopassword") has not. */
bool mauth_passdb_is_verified(const struct auth_request *request);
/* Before an answer of ours: what was noted is nobody else's business. */
void mauth_passdb_clear_note(struct auth_request *request);

/* The preinit function of this release. */
extern struct passdb_module *mauth_passdb_preinit(pool_t pool, const char *args);

#endif
