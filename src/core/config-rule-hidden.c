/* SPDX-License-Identifier: MIT */
#include "core/config-load.h"

#include "core/policy.h"

#include <stdlib.h>
#include <string.h>

#define ALL_SERVICES ((1u << MAUTH_SERVICE_COUNT) - 1)

/* -- rules with the same conditions ------------------------------------------------------------------------ */

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

static void append_list(struct mauth_buf *buf, const char *name, char *const *words)
{
	size_t count = 0;
	char **sorted;

	if (words == NULL)
		return;
	while (words[count] != NULL)
		count++;
	sorted = mauth_new_array(count + 1, sizeof(*sorted));
	memcpy(sorted, words, count * sizeof(*sorted));
	mauth_buf_printf(buf, "\n%s", name);
	append_sorted(buf, sorted, count);
	free(sorted);
}

static void append_terms(struct mauth_buf *buf, const struct mauth_rule *rule)
{
	append_list(buf, "mechanisms", rule->mechanisms);
	append_list(buf, "client_ids", rule->client_ids);
	if (rule->tls != MAUTH_TLS_ANY)
		mauth_buf_printf(buf, "\ntls %u", (unsigned int)rule->tls);
	if (rule->days != 0 || rule->from_minute != rule->to_minute)
		mauth_buf_printf(buf, "\ntime %u %u %u", rule->days, rule->from_minute, rule->to_minute);
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
	append_terms(&buf, rule);
	text = mauth_strdup(buf.data);
	mauth_buf_free(&buf);
	return text;
}

/* A rule that only watches hides nothing: those behind it say what would be. */
static bool hides(const struct mauth_rule *rule)
{
	return rule->action != MAUTH_ACTION_MONITOR && (rule->until == 0 || rule->then != MAUTH_ACTION_MONITOR);
}

/* hidden_by[i]: the first rule that hides others and has the conditions of rule i, or i itself. */
static void find_equals(const struct mauth_config *config, size_t *hidden_by, size_t *unconditional_r)
{
	size_t count = config->rules_count, first = count;
	struct conditions *all = mauth_new_array(count, sizeof(*all));

	for (size_t i = 0; i < count; i++)
		all[i] = (struct conditions){ conditions_text(config->rules[i]), i };
	qsort(all, count, sizeof(*all), compare_conditions);
	*unconditional_r = count;
	for (size_t i = 0; i < count; i++) {
		if (first < count && strcmp(all[first].text, all[i].text) != 0)
			first = count;
		if (first == count && hides(config->rules[all[i].index]))
			first = i;
		hidden_by[all[i].index] = first == count ? all[i].index : all[first].index;
		if (first == i && all[i].text[0] == '\0')
			*unconditional_r = all[i].index;
	}
	for (size_t i = 0; i < count; i++)
		free(all[i].text);
	free(all);
}

/* -- rules within the conditions of others ------------------------------------------------------------------ */

/* Comparing each with each is for files that a person writes. */
#define COMPARED_MAX 500u

/* Does every name that inner matches match outer, too? Only if it is plain to see. */
static bool pattern_covers(const char *outer, const char *inner)
{
	/* A "?" would take inner's "*" for a letter. */
	return mauth_glob_match(outer, inner) && (strchr(outer, '?') == NULL || strpbrk(inner, "*?") == NULL);
}

static bool list_covers(char *const *outer, char *const *inner)
{
	if (outer == NULL || inner == NULL)
		return outer == NULL;
	for (; *inner != NULL; inner++) {
		char *const *at = outer;

		while (*at != NULL && !pattern_covers(*at, *inner))
			at++;
		if (*at == NULL)
			return false;
	}
	return true;
}

static bool networks_cover(const struct mauth_rule *outer, const struct mauth_rule *inner)
{
	if (outer->networks_count == 0 || inner->networks_count == 0)
		return outer->networks_count == 0;
	for (size_t i = 0; i < inner->networks_count; i++) {
		size_t at = 0;

		while (at < outer->networks_count && !mauth_network_includes(&outer->networks[at], &inner->networks[i]))
			at++;
		if (at == outer->networks_count)
			return false;
	}
	return true;
}

static bool terms_cover(const struct mauth_rule *outer, const struct mauth_rule *inner)
{
	bool always = outer->days == 0 && outer->from_minute == outer->to_minute;
	bool same_time = outer->days == inner->days && outer->from_minute == inner->from_minute &&
			 outer->to_minute == inner->to_minute;

	if (!always && !same_time)
		return false;
	return outer->tls == MAUTH_TLS_ANY || outer->tls == inner->tls ||
	       (outer->tls >= MAUTH_TLS_REQUIRED && inner->tls >= outer->tls);
}

/* Whatever matches inner matches outer, which comes first. */
static bool rule_covers(const struct mauth_rule *outer, const struct mauth_rule *inner)
{
	unsigned int outer_services = outer->services == 0 ? ALL_SERVICES : outer->services;
	unsigned int inner_services = inner->services == 0 ? ALL_SERVICES : inner->services;

	return (inner_services & ~outer_services) == 0 && terms_cover(outer, inner) && networks_cover(outer, inner) &&
	       list_covers(outer->mechanisms, inner->mechanisms) && list_covers(outer->client_ids, inner->client_ids) &&
	       list_covers(outer->users, inner->users);
}

static void warn_covered(struct mauth_loader *loader, const size_t *hidden_by, size_t end)
{
	const struct mauth_config *config = loader->config;

	for (size_t i = 1; i < end && config->rules_count <= COMPARED_MAX; i++) {
		const struct mauth_rule *rule = config->rules[i];

		if (hidden_by[i] != i)
			continue;
		for (size_t at = 0; at < i; at++) {
			const struct mauth_rule *other = config->rules[at];

			if (!hides(other) || !rule_covers(other, rule))
				continue;
			mauth_load_warn(loader, rule->line,
					"rule \"%s\" never matches: whatever it is about matches rule \"%s\" (line %u), "
					"which comes first",
					rule->name, other->name, other->line);
			break;
		}
	}
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
	warn_covered(loader, hidden_by, unconditional < config->rules_count ? unconditional + 1 : config->rules_count);
	/* One warning says it for all that follow. */
	if (unconditional + 1 < config->rules_count)
		mauth_load_warn(loader, config->rules[unconditional + 1]->line,
				"rule \"%s\" and what follows it never match: rule \"%s\" (line %u) has no conditions "
				"and comes first",
				config->rules[unconditional + 1]->name, config->rules[unconditional]->name,
				config->rules[unconditional]->line);
	free(hidden_by);
}
