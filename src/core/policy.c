/* SPDX-License-Identifier: MIT */
#include "core/policy.h"

#include <stdlib.h>

static void free_patterns(char **patterns)
{
	for (size_t i = 0; patterns != NULL && patterns[i] != NULL; i++)
		free(patterns[i]);
	free(patterns);
}

void mauth_rule_free(struct mauth_rule **rule)
{
	struct mauth_rule *old = *rule;

	if (old == NULL)
		return;
	*rule = NULL;
	free_patterns(old->users);
	free_patterns(old->mailboxes);
	free(old->networks);
	free(old->name);
	free(old);
}

static bool match_any(char *const *patterns, const char *text)
{
	for (; *patterns != NULL; patterns++) {
		if (mauth_glob_match(*patterns, text))
			return true;
	}
	return false;
}

static bool matches(const struct mauth_rule *rule, const struct mauth_policy_question *question)
{
	if (rule->services != 0 && (rule->services & (1u << question->service)) == 0)
		return false;
	if (rule->users != NULL && !match_any(rule->users, question->user))
		return false;
	return rule->networks_count == 0 ||
	       mauth_networks_contain(rule->networks, rule->networks_count, question->client_ip);
}

const struct mauth_rule *mauth_policy_find(const struct mauth_config *config,
					   const struct mauth_policy_question *question)
{
	for (size_t i = 0; i < config->rules_count; i++) {
		if (matches(config->rules[i], question))
			return config->rules[i];
	}
	return NULL;
}

bool mauth_rule_allows_mailbox(const struct mauth_rule *rule, const char *mailbox)
{
	return rule != NULL && rule->mailboxes != NULL && match_any(rule->mailboxes, mailbox);
}
