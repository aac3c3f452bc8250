/* SPDX-License-Identifier: MIT */
/* libauthdb_modernauth.so: what Dovecot looks for when a passdb says "driver = modernauth". */
#include "auth-common.h"
#include "module-dir.h"
#include "passdb.h"

#include "passdb/passdb-modernauth.h"

extern MAUTH_EXPORT const char *authdb_modernauth_version;
MAUTH_EXPORT void authdb_modernauth_init(struct module *module);
MAUTH_EXPORT void authdb_modernauth_deinit(void);

const char *authdb_modernauth_version = DOVECOT_ABI_VERSION;

void authdb_modernauth_init(struct module *module)
{
	passdb_register_module(&mauth_passdb_interface);
}

void authdb_modernauth_deinit(void)
{
	passdb_unregister_module(&mauth_passdb_interface);
}
