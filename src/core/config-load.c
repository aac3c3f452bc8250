/* SPDX-License-Identifier: MIT */
#include "core/config-load.h"

#include "core/aadsts.h"
#include "core/policy.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A thousand tenants with a bundle of trust anchors each are no reason to use up the machine's memory. */
#define FILES_OCTETS_MAX ((size_t)64 << 20)

#define SECOND INT64_C(1000)
#define MINUTE (60 * SECOND)
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)

void mauth_load_warn(struct mauth_loader *loader, unsigned int line, const char *fmt, ...)
{
	char raw[MAUTH_TEXT_MAX], text[MAUTH_TEXT_MAX];
	va_list args;
	int size;

	if (loader->warn == NULL)
		return;
	size = snprintf(raw, sizeof(raw), "%.200s:%u: ", loader->conf->path, line);
	va_start(args, fmt);
	vsnprintf(raw + size, sizeof(raw) - (size_t)size, fmt, args);
	va_end(args);
	mauth_clean_copy(text, sizeof(text), raw, strlen(raw));
	loader->warn(loader->warn_context, text);
}

/* -- settings of the whole -- */

/* Every one an unsigned int of struct mauth_config. */
static const struct time_setting {
	const char *section, *name;
	size_t offset;
	int64_t min, max, standard;     /* msecs */
	int64_t unit;                   /* of the field, in msecs */
} times[] = {
	/* Dovecot itself gives up on a login after 150 s. */
	{ "", "deadline", offsetof(struct mauth_config, deadline_msecs), SECOND, 2 * MINUTE, 20 * SECOND, 1 },
	{ "", "request_timeout", offsetof(struct mauth_config, request_timeout_msecs), SECOND / 2, 2 * MINUTE,
	  15 * SECOND, 1 },
	/* Tokens live 60 to 90 minutes. */
	{ "", "refresh_ahead", offsetof(struct mauth_config, refresh_ahead_secs), 0, 24 * HOUR, 15 * MINUTE,
	  SECOND },
	{ "", "min_life", offsetof(struct mauth_config, min_life_secs), 10 * SECOND, 50 * MINUTE, 5 * MINUTE,
	  SECOND },
	/* A refresh token ends after 90 days without use. */
	{ "", "keep_alive", offsetof(struct mauth_config, keep_alive_secs), DAY, 80 * DAY, 30 * DAY, SECOND },
	{ "", "expiry_warning", offsetof(struct mauth_config, expiry_warning_secs), DAY, 60 * DAY, 14 * DAY, SECOND },
	{ "", "credential_warning", offsetof(struct mauth_config, credential_warning_secs), DAY, 365 * DAY, 30 * DAY,
	  SECOND },
	{ "", "inventory_keep", offsetof(struct mauth_config, inventory_keep_secs), DAY, 3650 * DAY, 400 * DAY, SECOND },
	{ "lockout", "remember", offsetof(struct mauth_config, bad_password_secs), SECOND, 24 * HOUR, 15 * MINUTE,
	  SECOND },
	{ "lockout", "window", offsetof(struct mauth_config, lockout_window_secs), SECOND, 24 * HOUR, 10 * MINUTE,
	  SECOND },
	{ "lockout", "duration", offsetof(struct mauth_config, lockout_secs), SECOND, 24 * HOUR, 10 * MINUTE,
	  SECOND },
};

static const struct number_setting {
	const char *section, *name;
	size_t offset;
	unsigned int min, max, standard;
} numbers[] = {
	{ "", "max_connections", offsetof(struct mauth_config, max_connections), 1, 1000, 100 },
	{ "", "self_service_codes_per_hour", offsetof(struct mauth_config, self_service_per_hour), 1, 10000, 60 },
	{ "", "inventory_max", offsetof(struct mauth_config, inventory_max), 100, 1000000, 100000 },
	{ "lockout", "threshold", offsetof(struct mauth_config, lockout_threshold), 1, 16, 5 },
	{ "lockout", "threshold_us_government", offsetof(struct mauth_config, lockout_threshold_usgov), 1, 16, 2 },
};

static const struct mauth_conf_value *setting(const struct mauth_loader *loader, const char *section,
					      const char *name)
{
	return mauth_conf_get(mauth_conf_section(loader->conf, section), name);
}

/* The field of the configuration at offset. */
static unsigned int *field(struct mauth_config *config, size_t offset)
{
	return (unsigned int *)(void *)((char *)config + offset);
}

static enum mauth_status load_numbers(struct mauth_loader *loader, struct mauth_error *error_r)
{
	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
		const struct time_setting *s = &times[i];
		const struct mauth_conf_value *value = setting(loader, s->section, s->name);
		int64_t msecs = s->standard;

		if (value != NULL && mauth_conf_time(value, s->min, s->max, &msecs, error_r) != MAUTH_OK)
			return MAUTH_CONFIG;
		*field(loader->config, s->offset) = (unsigned int)(msecs / s->unit);
	}
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		const struct number_setting *s = &numbers[i];
		const struct mauth_conf_value *value = setting(loader, s->section, s->name);
		unsigned int number = s->standard;

		if (value != NULL && mauth_conf_number(value, s->min, s->max, &number, error_r) != MAUTH_OK)
			return MAUTH_CONFIG;
		*field(loader->config, s->offset) = number;
	}
	return MAUTH_OK;
}

typedef enum mauth_status string_fn(const struct mauth_conf_value *value, char **str_r, struct mauth_error *error_r);

/* None of them may be part of a domain, and all of them can be typed into a mail client. */
static enum mauth_status load_separators(const struct mauth_conf_value *value, char **str_r,
					 struct mauth_error *error_r)
{
	size_t size = strlen(value->text);

	if (size > 3 || strspn(value->text, "\\+/%!#~") != size)
		return mauth_conf_refuse(error_r, value,
					 "mailbox_separators = \"%s\"; up to three of the characters \\ + / %% ! # ~ "
					 "were expected, or \"\" for none", value->text);
	*str_r = mauth_strdup(value->text);
	return MAUTH_OK;
}

static enum mauth_status load_strings(struct mauth_loader *loader, struct mauth_error *error_r)
{
	static const struct {
		const char *section, *name, *standard;
		size_t offset;
		string_fn *read;
	} strings[] = {
		{ "", "state_dir", "/var/lib/dovecot/modernauth", offsetof(struct mauth_config, state_dir),
		  mauth_conf_path },
		{ "", "key_file", NULL, offsetof(struct mauth_config, key_file), mauth_conf_path },
		{ "", "default_domain", NULL, offsetof(struct mauth_config, default_domain), mauth_conf_domain },
		{ "", "auth_user", "dovecot", offsetof(struct mauth_config, auth_user), mauth_conf_user },
		{ "", "login_user", "dovenull", offsetof(struct mauth_config, login_user), mauth_conf_user },
		{ "", "relay_user", MAUTH_RELAY_USER, offsetof(struct mauth_config, relay_user), mauth_conf_user },
		{ "", "mailbox_separators", "\\", offsetof(struct mauth_config, mailbox_separators),
		  load_separators },
		{ "audit", "path", "/var/log/dovecot/modernauth-audit.jsonl",
		  offsetof(struct mauth_config, audit_path), mauth_conf_path },
		{ "notice", "mail_to", NULL, offsetof(struct mauth_config, notice_mail_to), mauth_conf_address },
		{ "notice", "mail_from", NULL, offsetof(struct mauth_config, notice_mail_from), mauth_conf_address },
		{ "notice", "sendmail", "/usr/sbin/sendmail", offsetof(struct mauth_config, notice_sendmail),
		  mauth_conf_path },
		{ "notice", "command", NULL, offsetof(struct mauth_config, notice_command), mauth_conf_path },
	};

	for (size_t i = 0; i < sizeof(strings) / sizeof(strings[0]); i++) {
		const struct mauth_conf_value *value = setting(loader, strings[i].section, strings[i].name);
		char **str = (char **)(void *)((char *)loader->config + strings[i].offset);

		if (value == NULL)
			*str = mauth_strdup(strings[i].standard);
		else if (strings[i].read(value, str, error_r) != MAUTH_OK)
			return MAUTH_CONFIG;
	}
	return MAUTH_OK;
}

static enum mauth_status load_replies(struct mauth_loader *loader, struct mauth_error *error_r)
{
	const struct mauth_conf_value *value = setting(loader, "", "replies");

	loader->config->explain_to_client = value == NULL || strcmp(value->text, "explain") == 0;
	if (value != NULL && !loader->config->explain_to_client && strcmp(value->text, "uniform") != 0)
		return mauth_conf_refuse(error_r, value, "replies = \"%s\"; \"explain\" or \"uniform\" was expected",
					 value->text);
	return MAUTH_OK;
}

static enum mauth_status load_self_service(struct mauth_loader *loader, struct mauth_error *error_r)
{
	const struct mauth_conf_value *value = setting(loader, "", "self_service_password");

	loader->config->self_service_generated = value != NULL && strcmp(value->text, "generated") == 0;
	if (value != NULL && !loader->config->self_service_generated && strcmp(value->text, "typed") != 0)
		return mauth_conf_refuse(error_r, value,
					 "self_service_password = \"%s\"; \"typed\" or \"generated\" was expected",
					 value->text);
	return MAUTH_OK;
}

static enum mauth_status load_aadsts(struct mauth_loader *loader, struct mauth_error *error_r)
{
	const struct mauth_conf_value *value = setting(loader, "", "aadsts_file");
	const struct mauth_secret *content = NULL;
	struct mauth_error error;
	char *path = NULL;
	enum mauth_status status;

	loader->config->aadsts = mauth_aadsts_new();
	if (value == NULL)
		return MAUTH_OK;
	if (mauth_conf_path(value, &path, error_r) != MAUTH_OK)
		return MAUTH_CONFIG;
	free(path);
	if (mauth_load_file(loader, value, false, &content, error_r) != MAUTH_OK)
		return MAUTH_CONFIG;
	status = mauth_aadsts_override(loader->config->aadsts, value->text, mauth_secret_expose(content),
				       mauth_secret_size(content), &error);
	return status == MAUTH_OK ? MAUTH_OK : mauth_conf_refuse(error_r, value, "aadsts_file: %s", error.text);
}

static enum mauth_status load_globals(struct mauth_loader *loader, struct mauth_error *error_r)
{
	const struct mauth_conf_value *cache_max = setting(loader, "", "cache_max");
	const struct mauth_conf_value *inventory = setting(loader, "", "inventory");
	struct mauth_config *config = loader->config;

	config->cache_max = 64u << 20;
	config->inventory = true;
	if (cache_max != NULL && mauth_conf_size(cache_max, 1u << 20, (uint64_t)16 << 30, &config->cache_max,
						 error_r) != MAUTH_OK)
		return MAUTH_CONFIG;
	if (inventory != NULL && mauth_conf_bool(inventory, &config->inventory, error_r) != MAUTH_OK)
		return MAUTH_CONFIG;
	if (load_numbers(loader, error_r) != MAUTH_OK || load_strings(loader, error_r) != MAUTH_OK ||
	    load_replies(loader, error_r) != MAUTH_OK || load_self_service(loader, error_r) != MAUTH_OK)
		return MAUTH_CONFIG;
	if (load_aadsts(loader, error_r) != MAUTH_OK || mauth_load_audit(loader, error_r) != MAUTH_OK)
		return MAUTH_CONFIG;
	return mauth_load_privacy(loader, error_r);
}

/* -- what holds between settings -- */

static unsigned int line_of(const struct mauth_loader *loader, const char *section, const char *name)
{
	const struct mauth_conf_value *value = setting(loader, section, name);

	return value == NULL ? 1 : value->line;
}

static int compare_domains(const void *a, const void *b)
{
	return strcmp(((const struct mauth_config_domain *)a)->name, ((const struct mauth_config_domain *)b)->name);
}

/* Tenants have added their domains in the order of the file. */
static enum mauth_status sort_domains(struct mauth_loader *loader, struct mauth_error *error_r)
{
	struct mauth_config *config = loader->config;
	struct mauth_config_domain *domains = config->domains;

	if (config->domains_count > 0)
		qsort(domains, config->domains_count, sizeof(*domains), compare_domains);
	for (size_t i = 1; i < config->domains_count; i++) {
		const struct mauth_config_domain *a = &domains[i - 1], *b = &domains[i];

		if (strcmp(a->name, b->name) != 0)
			continue;
		if (a->line > b->line) {
			a = &domains[i];
			b = &domains[i - 1];
		}
		return mauth_conf_fail(error_r, config->path, b->line,
				       "the domain \"%s\" belongs to tenant \"%s\" already "
				       "(line %u); a domain has one tenant",
				       b->name, a->tenant->name, a->line);
	}
	return MAUTH_OK;
}

static void warn_lockout(struct mauth_loader *loader)
{
	const struct mauth_config *config = loader->config;
	bool us_government = false;

	for (size_t i = 0; i < config->tenants_count; i++)
		us_government = us_government || config->tenants[i]->us_government;
	if (config->lockout_threshold >= 10)
		mauth_load_warn(loader, line_of(loader, "lockout", "threshold"), "lockout threshold %u is no "
				"protection; Entra itself locks an account after 10 bad passwords",
				config->lockout_threshold);
	if (us_government && config->lockout_threshold_usgov >= 3)
		mauth_load_warn(
			loader, line_of(loader, "lockout", "threshold_us_government"),
			"lockout "
			"threshold_us_government %u is no protection; Entra for US Government locks an account "
			"after 3 bad passwords",
			config->lockout_threshold_usgov);
}

static unsigned int line_of_tenant(const struct mauth_loader *loader, size_t index)
{
	for (size_t i = 0; i < loader->conf->count; i++) {
		const struct mauth_conf_section *section = &loader->conf->sections[i];

		if (strcmp(section->kind, "tenant") == 0 && index-- == 0)
			return section->line;
	}
	return 1;
}

struct tenant_key {
	uint32_t key;
	const struct mauth_tenant *tenant;
};

static int compare_keys(const void *a, const void *b)
{
	uint32_t left = ((const struct tenant_key *)a)->key, right = ((const struct tenant_key *)b)->key;

	return left == right ? 0 : left < right ? -1 : 1;
}

/* A token is found by such a key: two equal ones, however unlikely, would hand out somebody else's. */
static enum mauth_status check_keys(const struct mauth_loader *loader, struct mauth_error *error_r)
{
	const struct mauth_config *config = loader->config;
	struct tenant_key *keys = mauth_new_array(config->tenants_count * MAUTH_GRANT_COUNT, sizeof(*keys));
	enum mauth_status status = MAUTH_OK;
	size_t count = 0;

	for (size_t i = 0; i < config->tenants_count; i++) {
		const struct mauth_tenant *tenant = config->tenants[i];

		/* The password grant's is the tenant's own. */
		for (size_t g = 0; g < MAUTH_GRANT_COUNT; g++)
			keys[count++] = (struct tenant_key){ tenant->keys[g], tenant };
	}
	qsort(keys, count, sizeof(*keys), compare_keys);
	for (size_t i = 1; status == MAUTH_OK && i < count; i++) {
		const struct mauth_tenant *a = keys[i - 1].tenant, *b = keys[i].tenant;
		const struct mauth_tenant *later = a->index > b->index ? a : b;

		if (keys[i - 1].key == keys[i].key)
			status = mauth_conf_fail(error_r, config->path, line_of_tenant(loader, later->index),
						 "tenant \"%s\" cannot be told from tenant \"%s\" by the checksum that "
						 "names it in tables; give it another name",
						 later->name, (later == a ? b : a)->name);
	}
	free(keys);
	return status;
}

/* What rules and maps rely on. */
static enum mauth_status check_tenants(struct mauth_loader *loader, struct mauth_error *error_r)
{
	if (loader->config->tenants_count == 0)
		return mauth_conf_fail(error_r, loader->config->path, 1,
				       "no tenant; tenant \"name\" { ... } was expected");
	if (sort_domains(loader, error_r) != MAUTH_OK)
		return MAUTH_CONFIG;
	return check_keys(loader, error_r);
}

static enum mauth_status check_whole(struct mauth_loader *loader, struct mauth_error *error_r)
{
	const struct mauth_config *config = loader->config;

	if (config->request_timeout_msecs >= config->deadline_msecs)
		return mauth_conf_fail(
			error_r, config->path,
			line_of(loader, "",
				setting(loader, "", "request_timeout") != NULL ? "request_timeout" : "deadline"),
			"request_timeout is %u ms and deadline is %u ms; a login outlives its requests, "
			"so the deadline must be the longer one",
			config->request_timeout_msecs, config->deadline_msecs);
	if (config->default_domain != NULL && mauth_config_tenant_for(config, config->default_domain) == NULL)
		return mauth_conf_fail(
			error_r, config->path, line_of(loader, "", "default_domain"),
			"default_domain = \"%s\" belongs to no tenant; one of the tenants' domains was "
			"expected",
			config->default_domain);
	if (config->refresh_ahead_secs < config->min_life_secs)
		mauth_load_warn(loader, line_of(loader, "", "refresh_ahead"),
				"refresh_ahead is shorter than min_life: "
				"tokens are never renewed in the background");
	warn_lockout(loader);
	return MAUTH_OK;
}

/* -- files -- */

/* Reads the file at path, at most once; *missing_r: there is none. value says who wants it, NULL: a default. */
static enum mauth_status load_file(struct mauth_loader *loader, const char *path, const struct mauth_conf_value *value, bool secret,
				   bool *missing_r, const struct mauth_secret **content_r, struct mauth_error *error_r)
{
	struct mauth_config *config = loader->config;
	const char *name = value == NULL ? "a default" : value->name;
	unsigned int line = value == NULL ? 1 : value->line;
	struct mauth_error error = { .text = "cannot be read" };
	struct mauth_secret *content = NULL;
	size_t n = config->files_count;

	for (size_t i = 0; i < n; i++) {
		if (strcmp(config->files[i].path, path) == 0 && (loader->read_as_secret[i] || !secret)) {
			*content_r = config->files[i].content;
			return MAUTH_OK;
		}
	}
	if (loader->read_file(loader->read_context, path, secret, &content, &error) != MAUTH_OK) {
		*missing_r = error.code == ENOENT;
		return mauth_conf_fail(error_r, config->path, line, "%s: %s", name, error.text);
	}
	loader->files_octets += mauth_secret_size(content);
	if (loader->files_octets > FILES_OCTETS_MAX || mauth_secret_size(content) > MAUTH_CONFIG_MAX) {
		mauth_secret_free(&content);
		return mauth_conf_fail(error_r, config->path, line, "%s: the file, or all files together, are too large", name);
	}
	config->files = mauth_grow(config->files, n + 1, sizeof(*config->files));
	loader->read_as_secret = mauth_grow(loader->read_as_secret, n + 1, sizeof(*loader->read_as_secret));
	config->files[n] = (struct mauth_config_file){ mauth_strdup(path), content, secret };
	loader->read_as_secret[n] = secret;
	config->files_count++;
	*content_r = content;
	return MAUTH_OK;
}

enum mauth_status mauth_load_file(struct mauth_loader *loader, const struct mauth_conf_value *value, bool secret,
				  const struct mauth_secret **content_r, struct mauth_error *error_r)
{
	bool missing;

	return load_file(loader, value->text, value, secret, &missing, content_r, error_r);
}

enum mauth_status mauth_load_file_if_any(struct mauth_loader *loader, const char *path, const struct mauth_conf_value *value,
					 const struct mauth_secret **content_r, struct mauth_error *error_r)
{
	bool missing = false;
	struct mauth_error error;

	*content_r = NULL;
	if (load_file(loader, path, value, true, &missing, content_r, &error) == MAUTH_OK || missing)
		return MAUTH_OK;
	*error_r = error;
	return MAUTH_CONFIG;
}

typedef enum mauth_status load_section_fn(struct mauth_loader *loader, const struct mauth_conf_section *section,
					  struct mauth_error *error_r);

static enum mauth_status load_sections(struct mauth_loader *loader, const char *kind, load_section_fn *load,
				       struct mauth_error *error_r)
{
	for (size_t i = 0; i < loader->conf->count; i++) {
		const struct mauth_conf_section *section = &loader->conf->sections[i];

		if (strcmp(section->kind, kind) == 0 && load(loader, section, error_r) != MAUTH_OK)
			return MAUTH_CONFIG;
	}
	return MAUTH_OK;
}

static enum mauth_status load_all(struct mauth_loader *loader, struct mauth_error *error_r)
{
	if (load_globals(loader, error_r) != MAUTH_OK ||
	    load_sections(loader, "tenant", mauth_load_tenant, error_r) != MAUTH_OK ||
	    check_tenants(loader, error_r) != MAUTH_OK ||
	    load_sections(loader, "rule", mauth_load_rule, error_r) != MAUTH_OK ||
	    load_sections(loader, "map", mauth_load_map, error_r) != MAUTH_OK)
		return MAUTH_CONFIG;
	loader->config->policy_index = mauth_policy_index_new(loader->config->rules, loader->config->rules_count);
	mauth_load_warn_rules(loader);
	return check_whole(loader, error_r);
}

enum mauth_status mauth_config_load(const char *path, mauth_config_read_fn *read_file, void *read_context,
				    void (*warn)(void *context, const char *text), void *warn_context,
				    struct mauth_config **config_r, struct mauth_error *error_r)
{
	struct mauth_loader loader = { .read_file = read_file, .read_context = read_context, .warn = warn,
				       .warn_context = warn_context };
	struct mauth_error error = { .text = "cannot be read" };
	struct mauth_secret *text = NULL;
	struct mauth_conf *conf;
	enum mauth_status status;

	if (read_file(read_context, path, false, &text, &error) != MAUTH_OK)
		return mauth_fail(error_r, MAUTH_CONFIG, error.code, "%s", error.text);
	status = mauth_conf_parse(path, mauth_secret_expose(text), mauth_secret_size(text), &conf, error_r);
	if (status != MAUTH_OK) {
		mauth_secret_free(&text);
		return status;
	}
	loader.conf = conf;
	loader.config = mauth_new(sizeof(*loader.config));
	loader.config->refcount = 1;
	loader.config->path = mauth_strdup(path);
	loader.config->text = text;
	status = load_all(&loader, error_r);
	mauth_conf_free(&conf);
	free(loader.read_as_secret);
	if (status != MAUTH_OK) {
		mauth_config_unref(&loader.config);
		return MAUTH_CONFIG;
	}
	*config_r = loader.config;
	return MAUTH_OK;
}
