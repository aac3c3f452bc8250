/* SPDX-License-Identifier: MIT */
/* modernauth.conf, and what a configuration that was accepted may rely on. */

#include "core/mailbox.h"
#include "core/mem.h"
#include "core/policy.h"

#include "fuzz.h"

#include <string.h>

#define PATH "/fuzz.conf"
#define CANARY "what-the-environment-says"

struct input {
	const uint8_t *data;
	size_t size;
};

static enum mauth_status read_file(void *context, const char *path, bool secret, struct mauth_secret **content_r,
				   struct mauth_error *error_r)
{
	static const struct {
		const char *path, *content;
		bool loose;
	} files[] = {
		{ "/secret", "a~secret\n", false },
		{ "/loose", "x", true },
		{ "/codes", "50126 credential bad_credentials counts look at it\n", true },
		{ "/ca.pem", "-----BEGIN CERTIFICATE-----\n", true },
	};
	const struct input *input = context;

	if (strcmp(path, PATH) == 0) {
		*content_r = mauth_secret_new(input->data, input->size);
		return MAUTH_OK;
	}
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		if (strcmp(files[i].path, path) == 0 && !(secret && files[i].loose)) {
			*content_r = mauth_secret_new(files[i].content, strlen(files[i].content));
			return MAUTH_OK;
		}
	}
	return mauth_fail(error_r, MAUTH_CONFIG, 2, "%s: cannot be read", path);
}

static void check_refusal(const struct mauth_error *error)
{
	MUST(error->status == MAUTH_CONFIG);
	MUST(strncmp(error->text, PATH ":", strlen(PATH ":")) == 0);
	MUST(strtoul(error->text + strlen(PATH ":"), NULL, 10) > 0);
	MUST(mauth_is_utf8(error->text, strlen(error->text)));
	MUST(strstr(error->text, CANARY) == NULL);
}

static void check_text(const char *text)
{
	MUST(text != NULL && *text != '\0' && strlen(text) < 5000 && strstr(text, CANARY) == NULL);
}

static void check_tenant(const struct mauth_config *config, const struct mauth_tenant *tenant)
{
	check_text(tenant->name);
	check_text(tenant->scope);
	check_text(tenant->app_scope);
	check_text(tenant->device_code_url);
	check_text(tenant->token_url);
	MUST(strncmp(tenant->token_url, "https://", 8) == 0);
	MUST(strlen(tenant->client_id) == 36 && tenant->grants_count >= 1 && tenant->grants_count <= MAUTH_GRANT_COUNT);
	MUST(config->tenants[tenant->index] == tenant && tenant->domains[0] != NULL);
	MUST(tenant->credentials_count <= MAUTH_CREDENTIALS_MAX);
	MUST((tenant->client_secret == NULL) || mauth_secret_size(tenant->client_secret) == 8);
	for (size_t i = 0; tenant->domains[i] != NULL; i++)
		MUST(mauth_config_tenant_for(config, tenant->domains[i]) == tenant);
	for (size_t i = 0; i < MAUTH_SERVICE_COUNT; i++) {
		check_text(tenant->endpoints[i].host);
		MUST(tenant->endpoints[i].port >= 1 && tenant->endpoints[i].port <= 65535);
	}
}

static void check_patterns(char *const *patterns)
{
	MUST(patterns == NULL || patterns[0] != NULL);
	for (; patterns != NULL && *patterns != NULL; patterns++)
		check_text(*patterns);
}

static void check_rules(const struct mauth_config *config)
{
	MUST(config->rules_count <= 10000 && config->maps_count <= 1000);
	for (size_t i = 0; i < config->rules_count; i++) {
		const struct mauth_rule *rule = config->rules[i];

		check_text(rule->name);
		check_patterns(rule->users);
		check_patterns(rule->mailboxes);
		MUST(rule->services < 1u << MAUTH_SERVICE_COUNT && rule->grants_count <= MAUTH_GRANT_COUNT);
		for (size_t n = 0; n < rule->networks_count; n++)
			MUST(rule->networks[n].bits <= 128);
	}
	for (size_t i = 0; i < config->maps_count; i++) {
		const struct mauth_map *map = &config->maps[i];

		check_text(map->name);
		MUST(map->logins != NULL && (map->account != NULL || map->mailbox != NULL));
		check_patterns(map->logins);
	}
}

/* Logins of whatever the file calls its first tenant. */
static void check_names(const struct mauth_config *config)
{
	static const char *const domains[] = { "", "@contoso.com", "@b.example", "\\shared@contoso.com",
					       "@contoso.com+x" };

	for (size_t i = 0; i < sizeof(domains) / sizeof(domains[0]); i++) {
		char *login = mauth_printf("%.350s%s", config->tenants[0]->name, domains[i]);
		struct mauth_mailbox mailbox;
		struct mauth_error error;

		if (mauth_mailbox_resolve(config, login, &mailbox, &error) == MAUTH_OK) {
			struct mauth_policy_question question = { mailbox.login, MAUTH_SERVICE_POP3, "192.0.2.1" };
			const struct mauth_rule *rule = mauth_policy_find(config, &question);

			MUST(strchr(mailbox.login, '@') != NULL && strchr(mailbox.account, '@') != NULL);
			MUST(strchr(mailbox.mailbox, '@') != NULL && strchr(mailbox.mailbox, '\\') == NULL);
			MUST(!mailbox.asked_mailbox || strcmp(mailbox.login, mailbox.mailbox) != 0 ||
			     mailbox.map != NULL);
			mauth_rule_allows_mailbox(rule, mailbox.mailbox);
		}
		free(login);
	}
}

static void check_config(const struct mauth_config *config)
{
	check_text(config->state_dir);
	check_text(config->audit_path);
	MUST(config->state_dir[0] == '/' && config->audit_path[0] == '/');
	MUST(config->deadline_msecs > config->request_timeout_msecs && config->max_connections > 0);
	MUST(config->cache_max >= 1u << 20 && config->lockout_threshold > 0 && config->min_life_secs > 0);
	MUST(config->tenants_count >= 1 && config->tenants_count <= 1000 && config->domains_count <= 10000);
	for (size_t i = 0; i < config->tenants_count; i++)
		check_tenant(config, config->tenants[i]);
	check_rules(config);
	check_names(config);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = { data, size };
	struct mauth_config *config = NULL, *again = NULL;
	struct mauth_error error = { 0 };

	/* libFuzzer sees what is compared and writes the canary itself. */
	if (memmem(data, size, CANARY, strlen(CANARY)) != NULL)
		return 0;
	setenv("CANARY", CANARY, 1);
	if (mauth_config_load(PATH, read_file, &input, NULL, NULL, &config, &error) != MAUTH_OK) {
		check_refusal(&error);
		return 0;
	}
	check_config(config);
	/* libconfuse keeps state in globals: what one parse leaves there must not change the next. */
	MUST(mauth_config_load(PATH, read_file, &input, NULL, NULL, &again, &error) == MAUTH_OK);
	MUST(memcmp(config->tenants[0]->fingerprint, again->tenants[0]->fingerprint, 32) == 0);
	mauth_config_unref(&config);
	mauth_config_unref(&again);
	return 0;
}
