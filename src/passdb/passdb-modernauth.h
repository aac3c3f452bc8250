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

/* The preinit function of this release. */
extern struct passdb_module *mauth_passdb_preinit(pool_t pool, const char *args);

#endif
