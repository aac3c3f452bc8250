/* SPDX-License-Identifier: MIT */
#include "core/config-rule.h"

#include "core/upn.h"

#include <stdlib.h>
#include <string.h>

static const struct mauth_conf_value *get(const struct rule_loader *r, const char *name)
{
	return mauth_conf_get(r->section, name);
}

static size_t count_values(const struct mauth_conf_section *section, const struct mauth_conf_value *value)
{
	size_t count = 0;

	for (; value != NULL; value = mauth_conf_next(section, value))
		count++;
	return count;
}

/* -- patterns of names -- */

bool mauth_load_concerns(const char *pattern, const struct mauth_tenant *tenant)
{
	const char *at = strchr(pattern, '@');

	if (at == NULL)
		return strpbrk(pattern, "*?") != NULL;
	if (tenant->upn_domain != NULL)
		return mauth_glob_match(at + 1, tenant->upn_domain);
	for (size_t i = 0; tenant->domains[i] != NULL; i++) {
		if (mauth_glob_match(at + 1, tenant->domains[i]))
			return true;
	}
	return false;
}

bool mauth_load_concerns_any(const struct mauth_config *config, const char *pattern)
{
	const char *at = strchr(pattern, '@');
	const struct mauth_tenant *tenant = at == NULL ? NULL : mauth_config_tenant_for(config, at + 1);

	/* Nearly always; and ten thousand patterns are not compared with ten thousand domains. */
	if (tenant != NULL && mauth_load_concerns(pattern, tenant))
		return true;
	for (size_t i = 0; i < config->tenants_count; i++) {
		if (mauth_load_concerns(pattern, config->tenants[i]))
			return true;
	}
	return false;
}

bool mauth_load_is_pattern(const char *text)
{
	size_t size = strlen(text);

	return size > 0 && size <= MAUTH_USER_MAX && strpbrk(text, " \t") == NULL;
}

enum mauth_status mauth_load_patterns(struct mauth_loader *loader, const struct mauth_conf_section *section,
				      const char *name, char ***patterns_r, struct mauth_error *error_r)
{
	const struct mauth_conf_value *value = mauth_conf_get(section, name);
	size_t count = 0;

	*patterns_r = NULL;
	if (value == NULL)
		return MAUTH_OK;
	*patterns_r = mauth_new_array(count_values(section, value) + 1, sizeof(**patterns_r));
	for (; value != NULL; value = mauth_conf_next(section, value)) {
		char *pattern;

		if (!mauth_load_is_pattern(value->text))
			return mauth_conf_refuse(error_r, value,
						 "%s: \"%.100s\"; a pattern like \"anna@contoso.com\" or "
						 "\"*@contoso.com\" was expected",
						 name, value->text);
		pattern = (*patterns_r)[count++] = mauth_strdup(value->text);
		mauth_lowercase(pattern);
		if (!mauth_load_concerns_any(loader->config, pattern))
			mauth_load_warn(loader, value->line,
					"%s: \"%s\" matches nobody; names are compared as user principal names, which "
					"end in a tenant's domain or its upn_domain",
					name, value->text);
	}
	return MAUTH_OK;
}

/* -- one rule -- */

static enum mauth_status load_protocols(struct rule_loader *r)
{
	const struct mauth_conf_value *value = get(r, "protocols");

	for (; value != NULL; value = mauth_conf_next(r->section, value)) {
		enum mauth_service service = MAUTH_SERVICE_SUBMISSION;

		/* What everybody else calls it. */
		if (strcmp(value->text, "smtp") != 0 && !mauth_service_parse(value->text, &service))
			return mauth_conf_refuse(r->error_r, value,
						 "protocols: \"%s\"; \"imap\", \"pop3\" or \"submission\" was expected",
						 value->text);
		r->rule->services |= 1u << service;
	}
	return MAUTH_OK;
}

static enum mauth_status load_networks(struct rule_loader *r)
{
	const struct mauth_conf_value *value = get(r, "networks");
	struct mauth_rule *rule = r->rule;

	if (value == NULL)
		return MAUTH_OK;
	rule->networks = mauth_new_array(count_values(r->section, value), sizeof(*rule->networks));
	for (; value != NULL; value = mauth_conf_next(r->section, value)) {
		const char *why = "";

		if (!mauth_network_parse(value->text, &rule->networks[rule->networks_count], &why))
			return mauth_conf_refuse(r->error_r, value, "networks: \"%.100s\"; %s", value->text, why);
		rule->networks_count++;
	}
	return MAUTH_OK;
}

static bool rule_concerns(const struct mauth_rule *rule, const struct mauth_tenant *tenant)
{
	for (size_t i = 0; rule->users != NULL && rule->users[i] != NULL; i++) {
		if (mauth_load_concerns(rule->users[i], tenant))
			return true;
	}
	return rule->users == NULL;
}

static enum mauth_status load_grants(struct rule_loader *r)
{
	const struct mauth_config *config = r->loader->config;
	struct mauth_rule *rule = r->rule;

	if (mauth_load_grants(r->section, rule->grants, &rule->grants_count, r->error_r) != MAUTH_OK)
		return MAUTH_CONFIG;
	for (size_t i = 0; i < config->tenants_count; i++) {
		const struct mauth_tenant *tenant = config->tenants[i];

		/* The cheap question first: usually no tenant has anything against it. */
		if (mauth_load_check_grants(r->section, tenant, NULL) != MAUTH_OK && rule_concerns(rule, tenant))
			return mauth_load_check_grants(r->section, tenant, r->error_r);
	}
	return MAUTH_OK;
}

static bool has_enrolled(const enum mauth_grant_type *grants, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (grants[i] == MAUTH_GRANT_ENROLLED)
			return true;
	}
	return false;
}

/* Is there anybody whom this rule concerns and who can enrol? */
static bool may_enrol(const struct mauth_config *config, const struct mauth_rule *rule)
{
	bool found = has_enrolled(rule->grants, rule->grants_count);

	for (size_t i = 0; i < config->tenants_count && rule->grants_count == 0 && !found; i++) {
		const struct mauth_tenant *tenant = config->tenants[i];

		found = has_enrolled(tenant->grants, tenant->grants_count) && rule_concerns(rule, tenant);
	}
	return found;
}

static enum mauth_status load_self_service(struct rule_loader *r)
{
	const struct mauth_conf_value *value = get(r, "self_service");
	struct mauth_rule *rule = r->rule;

	if (value == NULL)
		return MAUTH_OK;
	if (mauth_conf_bool(value, &rule->self_service, r->error_r) != MAUTH_OK)
		return MAUTH_CONFIG;
	if (rule->self_service && rule->networks_count == 0)
		mauth_load_warn(r->loader, value->line,
				"rule \"%s\": self_service without networks; whoever reaches this server can have a "
				"code made out in a user's name and talk him into entering it (device code phishing), "
				"so name the networks that you trust",
				rule->name);
	if (rule->self_service && !may_enrol(r->loader->config, rule))
		mauth_load_warn(r->loader, value->line,
				"rule \"%s\": self_service, but no \"enrolled\" in the grants of those whom it "
				"concerns; nothing is done with an enrolment",
				rule->name);
	return MAUTH_OK;
}

static enum mauth_status load_check_accounts(struct rule_loader *r)
{
	const struct mauth_conf_value *value = get(r, "check_accounts");
	bool check;

	if (value == NULL)
		return MAUTH_OK;
	if (mauth_conf_bool(value, &check, r->error_r) != MAUTH_OK)
		return MAUTH_CONFIG;
	r->rule->check_accounts = check ? MAUTH_YES : MAUTH_NO;
	return MAUTH_OK;
}

static enum mauth_status load_mailboxes(struct rule_loader *r)
{
	return mauth_load_patterns(r->loader, r->section, "mailboxes", &r->rule->mailboxes, r->error_r);
}

enum mauth_status mauth_load_rule(struct mauth_loader *loader, const struct mauth_conf_section *section,
				  struct mauth_error *error_r)
{
	static enum mauth_status (*const steps[])(struct rule_loader *r) = {
		load_protocols, mauth_load_rule_users, load_networks, mauth_load_rule_client, mauth_load_rule_times, load_grants,
		load_self_service, load_mailboxes, load_check_accounts, mauth_load_rule_action,
	};
	struct mauth_config *config = loader->config;
	struct mauth_rule *rule = mauth_new(sizeof(*rule));
	struct rule_loader r = { .loader = loader, .section = section, .rule = rule, .error_r = error_r };

	rule->line = section->line;
	config->rules = mauth_grow(config->rules, config->rules_count + 1, sizeof(*config->rules));
	config->rules[config->rules_count++] = rule;
	if (mauth_load_name(loader, section, &rule->name, error_r) != MAUTH_OK)
		return MAUTH_CONFIG;
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		if (steps[i](&r) != MAUTH_OK)
			return MAUTH_CONFIG;
	}
	return MAUTH_OK;
}
