/* SPDX-License-Identifier: MIT */
#ifndef TEST_CONFIG_TREE_H
#define TEST_CONFIG_TREE_H
/* A configuration built by hand: what the broker does must not depend on how the file is read. */

#include "core/config.h"

/* The defaults and the tenant "contoso" with the domain contoso.com, which has a client secret and does not ask
 * the user realm. One reference, the caller's. */
struct mauth_config *test_config_new(void);
/* One more tenant; lives as long as config. */
struct mauth_tenant *test_config_add(struct mauth_config *config, const char *name, const char *domain);
/* The tenant's application is a public client: it has no credential any more. */
void test_config_make_public(struct mauth_tenant *tenant);
/* The tenant authenticates with a certificate instead. */
void test_config_sign(struct mauth_tenant *tenant);

#endif
