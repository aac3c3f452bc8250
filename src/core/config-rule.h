/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_CONFIG_RULE_H
#define MAUTH_CONFIG_RULE_H
/* What those who read one section rule share. */

#include "core/config-load.h"
#include "core/policy.h"

struct rule_loader {
	struct mauth_loader *loader;
	const struct mauth_conf_section *section;
	struct mauth_rule *rule;
	struct mauth_error *error_r;
};

/* config-rule-users.c: users, domains, users_file. */
enum mauth_status mauth_load_rule_users(struct rule_loader *r);
/* config-rule-terms.c: mechanisms, client_ids, tls; days, hours; action, message, until, then, notice_days. */
enum mauth_status mauth_load_rule_client(struct rule_loader *r);
enum mauth_status mauth_load_rule_times(struct rule_loader *r);
enum mauth_status mauth_load_rule_action(struct rule_loader *r);

#endif
