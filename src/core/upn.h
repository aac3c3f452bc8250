/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_UPN_H
#define MAUTH_UPN_H
/* User names: from what a client typed to the UPN that Entra knows. */

#include "core/config.h"

struct mauth_upn {
	char name[MAUTH_USER_MAX + 1];   /* the UPN, lower case: cache key and XOAUTH2 user= */
	const struct mauth_tenant *tenant;
};

/* Splits, validates and completes user (default_domain, upn_domain). MAUTH_NOT_OURS: no tenant serves the domain, or
 * the name is no address; MAUTH_BAD_CREDENTIALS: longer than MAUTH_USER_MAX, or has control characters, spaces or
 * invalid UTF-8 (such a user cannot exist, Entra need not be asked). */
enum mauth_status mauth_upn_from_login(const struct mauth_config *config, const char *user,
				       struct mauth_upn *upn_r, struct mauth_error *error_r);
/* ASCII lower case in place. */
void mauth_lowercase(char *str);

#endif
