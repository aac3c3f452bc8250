/* SPDX-License-Identifier: MIT */
#include "core/config-load.h"

#include "core/policy.h"
#include "core/upn.h"

#include <stdlib.h>
#include <string.h>

#define ALL_SERVICES ((1u << MAUTH_SERVICE_COUNT) - 1)

struct rule_loader {
	struct mauth_loader *loader;
	const struct mauth_conf_section *section;
	struct mauth_rule *rule;
	struct mauth_error *error_r;
};

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

static bool concerns_any(const struct mauth_config *config, const char *pattern)
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
		size_t size = strlen(value->text);
		char *pattern;

		if (size == 0 || size > MAUTH_USER_MAX || strpbrk(value->text, " \t") != NULL)
			return mauth_conf_refuse(error_r, value,
						 "%s: \"%.100s\"; a pattern like \"anna@contoso.com\" or "
						 "\"*@contoso.com\" was expected",
						 name, value->text);
		pattern = (*patterns_r)[count++] = mauth_strdup(value->text);
		mauth_lowercase(pattern);
		if (!concerns_any(loader->config, pattern))
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

static enum mauth_status load_users(struct rule_loader *r)
{
	return mauth_load_patterns(r->loader, r->section, "users", &r->rule->users, r->error_r);
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

static enum mauth_status load_mailboxes(struct rule_loader *r)
{
	return mauth_load_patterns(r->loader, r->section, "mailboxes", &r->rule->mailboxes, r->error_r);
}

enum mauth_status mauth_load_rule(struct mauth_loader *loader, const struct mauth_conf_section *section,
				  struct mauth_error *error_r)
{
	static enum mauth_status (*const steps[])(struct rule_loader *r) = {
		load_protocols, load_users, load_networks, load_grants, load_self_service, load_mailboxes,
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

/* -- rules that others hide -- */

/* The conditions of a rule as one text, equal for equal ones whatever their order; "" if there are none. */
struct conditions {
	char *text;
	size_t index;
};

static int compare_strings(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int compare_conditions(const void *a, const void *b)
{
	const struct conditions *left = a, *right = b;
	int order = strcmp(left->text, right->text);

	return order != 0 ? order : left->index < right->index ? -1 : left->index > right->index;
}

static void append_sorted(struct mauth_buf *buf, char **words, size_t count)
{
	if (count > 0)
		qsort(words, count, sizeof(*words), compare_strings);
	for (size_t i = 0; i < count; i++) {
		if (i == 0 || strcmp(words[i - 1], words[i]) != 0)
			mauth_buf_printf(buf, " %s", words[i]);
	}
}

static bool any_user(const struct mauth_rule *rule)
{
	for (size_t i = 0; rule->users != NULL && rule->users[i] != NULL; i++) {
		if (strcmp(rule->users[i], "*") == 0)
			return true;
	}
	return rule->users == NULL;
}

static char *conditions_text(const struct mauth_rule *rule)
{
	struct mauth_buf buf = { 0 };
	char **words = NULL, *text;
	bool any = any_user(rule);
	size_t count = 0;

	mauth_buf_puts(&buf, "");
	if (rule->services != 0 && rule->services != ALL_SERVICES)
		mauth_buf_printf(&buf, "%u", rule->services);
	while (!any && rule->users[count] != NULL)
		count++;
	words = mauth_new_array(count + 1, sizeof(*words));
	for (size_t i = 0; i < count; i++)
		words[i] = rule->users[i];
	append_sorted(&buf, words, count);
	free(words);
	words = mauth_new_array(rule->networks_count + 1, sizeof(*words));
	for (size_t i = 0; i < rule->networks_count; i++) {
		char network[MAUTH_NETWORK_TEXT_SIZE];

		mauth_network_format(&rule->networks[i], network);
		/* No user has a blank in his name. */
		words[i] = mauth_printf(" %s", network);
	}
	append_sorted(&buf, words, rule->networks_count);
	for (size_t i = 0; i < rule->networks_count; i++)
		free(words[i]);
	free(words);
	text = mauth_strdup(buf.data);
	mauth_buf_free(&buf);
	return text;
}

/* hidden_by[i]: the first rule with the conditions of rule i, or i itself. */
static void find_equals(const struct mauth_config *config, size_t *hidden_by, size_t *unconditional_r)
{
	size_t count = config->rules_count, first = 0;
	struct conditions *all = mauth_new_array(count, sizeof(*all));

	for (size_t i = 0; i < count; i++)
		all[i] = (struct conditions){ conditions_text(config->rules[i]), i };
	qsort(all, count, sizeof(*all), compare_conditions);
	*unconditional_r = all[0].text[0] == '\0' ? all[0].index : count;
	for (size_t i = 0; i < count; i++) {
		if (strcmp(all[first].text, all[i].text) != 0)
			first = i;
		hidden_by[all[i].index] = all[first].index;
	}
	for (size_t i = 0; i < count; i++)
		free(all[i].text);
	free(all);
}

void mauth_load_warn_rules(struct mauth_loader *loader)
{
	const struct mauth_config *config = loader->config;
	size_t *hidden_by, unconditional;

	if (config->rules_count == 0)
		return;
	hidden_by = mauth_new_array(config->rules_count, sizeof(*hidden_by));
	find_equals(config, hidden_by, &unconditional);
	for (size_t i = 0; i < config->rules_count && i <= unconditional; i++) {
		const struct mauth_rule *rule = config->rules[i], *other = config->rules[hidden_by[i]];

		if (rule != other)
			mauth_load_warn(loader, rule->line,
					"rule \"%s\" never matches: rule \"%s\" (line %u) has the same conditions and "
					"comes first",
					rule->name, other->name, other->line);
	}
	/* One warning says it for all that follow. */
	if (unconditional + 1 < config->rules_count)
		mauth_load_warn(loader, config->rules[unconditional + 1]->line,
				"rule \"%s\" and what follows it never match: rule \"%s\" (line %u) has no conditions "
				"and comes first",
				config->rules[unconditional + 1]->name, config->rules[unconditional]->name,
				config->rules[unconditional]->line);
	free(hidden_by);
}
