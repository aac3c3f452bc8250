/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_POLICY_H
#define MAUTH_POLICY_H
/* Rules of modernauth.conf: which of them decides about an attempt, and what it says. Pure: the first that matches wins. */

#include "core/config.h"
#include "core/network.h"

/* What rules look at. */
struct mauth_policy_question {
	const char *user;                    /* the login as mauth_upn.name has it */
	enum mauth_service service;
	const char *client_ip;               /* NULL: unknown, in no network */
};

/* rule "name" { ... } */
struct mauth_rule {
	char *name;
	unsigned int line;
	/* conditions; an empty one is always true */
	unsigned int services;               /* bits 1 << enum mauth_service */
	struct mauth_network *networks;
	size_t networks_count;
	char **users;                        /* patterns, lower case, NULL-terminated; NULL: any */
	/* what it says */
	enum mauth_grant_type grants[MAUTH_GRANT_COUNT];
	size_t grants_count;                 /* 0: the tenant's */
	bool self_service;                   /* a user who is not enrolled is told how to */
	char **mailboxes;                    /* patterns of other mailboxes that "user\mailbox" may open; NULL: none */
};
void mauth_rule_free(struct mauth_rule **rule);

/* NULL: none matches, the tenant alone decides. */
const struct mauth_rule *mauth_policy_find(const struct mauth_config *config, const struct mauth_policy_question *question);
/* May a login that rule decides about open mailbox, which is not its own? rule NULL: no. */
bool mauth_rule_allows_mailbox(const struct mauth_rule *rule, const char *mailbox);

#endif
