/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_MAILBOX_H
#define MAUTH_MAILBOX_H
/* Which login, whose token, whose mailbox: usually one and the same, but an admin can map a login to another account or
 * mailbox, and where a rule has mailboxes "anna\shared@contoso.com" asks for one that is not anna's. */

#include "core/config.h"

struct mauth_mailbox {
	const struct mauth_tenant *tenant;   /* of all three */
	char login[MAUTH_USER_MAX + 1];      /* the UPN of who logs in: device passwords and enrolments are under it */
	char account[MAUTH_USER_MAX + 1];    /* whose token is used */
	char mailbox[MAUTH_USER_MAX + 1];    /* what is opened: XOAUTH2 user= */
	const struct mauth_map *map;         /* that decided; NULL: none */
	bool asked_mailbox;                  /* the client named a mailbox that login alone would not open: only if
						mauth_rule_allows_mailbox() */
};

/* Takes apart what the client sent. MAUTH_NOT_OURS and MAUTH_BAD_CREDENTIALS as mauth_upn_from_login(); MAUTH_NOT_OURS
 * also if login, account and mailbox are not of one tenant. MAUTH_POLICY: the client asked for another mailbox than the
 * one that the login is mapped to. *r is untouched on failure. */
enum mauth_status mauth_mailbox_resolve(const struct mauth_config *config, const char *login, struct mauth_mailbox *r,
					struct mauth_error *error_r);

/* An address of a tenant as people write it, in a domain of its logins or in its upn_domain: name_r is the UPN.
 * MAUTH_NOT_OURS: it is of another tenant. */
enum mauth_status mauth_mailbox_address(const struct mauth_config *config, const struct mauth_tenant *tenant,
					const char *address, char name_r[static MAUTH_USER_MAX + 1],
					struct mauth_error *error_r);

#endif
