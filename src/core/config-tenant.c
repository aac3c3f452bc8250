/* SPDX-License-Identifier: MIT */
#include "core/config-load.h"

#include "core/clouds.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#define NAME_MAX_SIZE 64u
#define SCOPES_MAX 8u

struct tenant_loader {
	struct mauth_loader *loader;
	const struct mauth_conf_section *section;
	struct mauth_tenant *tenant;
	const struct mauth_cloud *cloud;
	struct mauth_error *error_r;
};

static const struct mauth_conf_value *get(const struct tenant_loader *t, const char *name)
{
	return mauth_conf_get(t->section, name);
}

#define tenant_fail(t, ...) mauth_conf_fail((t)->error_r, (t)->loader->conf->path, (t)->section->line, __VA_ARGS__)

enum mauth_status mauth_load_name(struct mauth_loader *loader, const struct mauth_conf_section *section, char **name_r,
				  struct mauth_error *error_r)
{
	/* Rules are named for people, "the rest"; the names of others are words, for doveadm and metrics. */
	static const char allowed[] = " abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
	bool blanks = strcmp(section->kind, "rule") == 0;
	const char *name = section->title;
	size_t size = strlen(name);

	if (size == 0 || size > NAME_MAX_SIZE || strspn(name, blanks ? allowed : allowed + 1) != size || name[0] == ' ' ||
	    name[size - 1] == ' ')
		return mauth_conf_fail(error_r, loader->conf->path, section->line,
				       "%s \"%.100s\": the name appears in log and audit; up to %u letters, digits, "
				       "dots, hyphens and underscores%s were expected",
				       section->kind, name, NAME_MAX_SIZE, blanks ? ", and blanks between them," : "");
	*name_r = mauth_strdup(name);
	return MAUTH_OK;
}

static enum mauth_status load_name(struct tenant_loader *t)
{
	return mauth_load_name(t->loader, t->section, &t->tenant->name, t->error_r);
}

static enum mauth_status load_domains(struct tenant_loader *t)
{
	struct mauth_config *config = t->loader->config;
	const struct mauth_conf_value *first = get(t, "domains");
	size_t count = 0;

	if (first == NULL)
		return tenant_fail(t, "tenant \"%s\" has no domains; domains = {\"contoso.com\"} was expected",
				   t->tenant->name);
	for (const struct mauth_conf_value *value = first; value != NULL; value = mauth_conf_next(t->section, value))
		count++;
	t->tenant->domains = mauth_new_array(count + 1, sizeof(char *));
	config->domains = mauth_grow(config->domains, config->domains_count + count, sizeof(*config->domains));
	count = 0;
	for (const struct mauth_conf_value *value = first; value != NULL;
	     value = mauth_conf_next(t->section, value)) {
		if (mauth_conf_domain(value, &t->tenant->domains[count], t->error_r) != MAUTH_OK)
			return MAUTH_CONFIG;
		config->domains[config->domains_count++] = (struct mauth_config_domain){
			.name = t->tenant->domains[count++], .tenant = t->tenant, .line = value->line };
	}
	return MAUTH_OK;
}

static enum mauth_status load_ids(struct tenant_loader *t)
{
	static const char *const unusable[] = { "common", "consumers", "organizations" };
	const struct mauth_conf_value *tenant_id = get(t, "tenant_id"), *client_id = get(t, "client_id");

	if (tenant_id == NULL)
		return tenant_fail(
			t,
			"tenant \"%s\" has no tenant_id; the directory's GUID or one of its verified domains "
			"was expected",
			t->tenant->name);
	for (size_t i = 0; i < sizeof(unusable) / sizeof(unusable[0]); i++) {
		if (strcasecmp(tenant_id->text, unusable[i]) == 0)
			return mauth_conf_refuse(
				t->error_r, tenant_id,
				"tenant_id = \"%s\" names no directory, and Entra "
				"refuses the password grant there (AADSTS9001023); the directory's GUID or "
				"one of its verified domains was expected",
				tenant_id->text);
	}
	if (!mauth_conf_is_guid(tenant_id->text) && !mauth_conf_is_domain(tenant_id->text))
		return mauth_conf_refuse(t->error_r, tenant_id,
					 "tenant_id = \"%s\"; the directory's GUID or one of its "
					 "verified domains was expected",
					 tenant_id->text);
	if (client_id == NULL)
		return tenant_fail(t, "tenant \"%s\" has no client_id; the application's GUID was expected",
				   t->tenant->name);
	if (!mauth_conf_is_guid(client_id->text))
		return mauth_conf_refuse(t->error_r, client_id,
					 "client_id = \"%s\"; the application's GUID was expected",
					 client_id->text);
	t->tenant->tenant_id = mauth_strdup(tenant_id->text);
	t->tenant->client_id = mauth_strdup(client_id->text);
	return MAUTH_OK;
}

static enum mauth_status load_cloud(struct tenant_loader *t)
{
	const struct mauth_conf_value *value = get(t, "cloud");
	const char *name = value == NULL ? "worldwide" : value->text;

	t->cloud = mauth_cloud_find(name);
	if (t->cloud == NULL)
		return mauth_conf_fail(t->error_r, t->loader->conf->path, value == NULL ? t->section->line : value->line,
				       "cloud = \"%s\"; " MAUTH_CLOUD_NAMES " was expected", name);
	t->tenant->cloud = mauth_strdup(name);
	t->tenant->us_government = t->cloud->us_government;
	return MAUTH_OK;
}

static enum mauth_status load_urls(struct tenant_loader *t)
{
	static const char *const names[MAUTH_SERVICE_COUNT] = { [MAUTH_SERVICE_IMAP] = "imap",
								[MAUTH_SERVICE_POP3] = "pop3",
								[MAUTH_SERVICE_SUBMISSION] = "submission" };
	const struct mauth_conf_value *authority = get(t, "authority"), *proxy = get(t, "proxy"), *graph = get(t, "graph");
	struct mauth_tenant *tenant = t->tenant;

	if (authority == NULL)
		tenant->authority = mauth_strdup(t->cloud->authority);
	else if (mauth_conf_https_url(authority, &tenant->authority, t->error_r) != MAUTH_OK)
		return MAUTH_CONFIG;
	if (graph == NULL)
		tenant->graph = mauth_strdup(t->cloud->graph);
	else if (mauth_conf_https_url(graph, &tenant->graph, t->error_r) != MAUTH_OK)
		return MAUTH_CONFIG;
	tenant->graph_scope = mauth_printf("%s/.default", tenant->graph);
	tenant->token_url = mauth_printf("%s/%s/oauth2/v2.0/token", tenant->authority, tenant->tenant_id);
	tenant->device_code_url = mauth_printf("%s/%s/oauth2/v2.0/devicecode", tenant->authority, tenant->tenant_id);
	if (proxy != NULL && mauth_conf_proxy(proxy, &tenant->proxy, t->error_r) != MAUTH_OK)
		return MAUTH_CONFIG;
	for (enum mauth_service s = 0; s < MAUTH_SERVICE_COUNT; s++) {
		const struct mauth_conf_value *value = get(t, names[s]);

		if (value != NULL) {
			if (mauth_conf_endpoint(value, s, &tenant->endpoints[s], t->error_r) != MAUTH_OK)
				return MAUTH_CONFIG;
			continue;
		}
		tenant->endpoints[s] = t->cloud->endpoints[s];
		tenant->endpoints[s].host = mauth_strdup(t->cloud->endpoints[s].host);
	}
	return MAUTH_OK;
}

/* A scope is a URL of one resource with a permission behind it; a token is for one resource only. */
static enum mauth_status load_scope(struct tenant_loader *t)
{
	const struct mauth_conf_value *first = get(t, "scopes");
	const char *resource = t->cloud->resource;
	struct mauth_buf scope = { 0 };
	size_t count = 0, host = 0;

	if (first == NULL) {
		t->tenant->scope = mauth_printf("%s/IMAP.AccessAsUser.All %s/POP.AccessAsUser.All %s/SMTP.Send",
						resource, resource, resource);
		return MAUTH_OK;
	}
	for (const struct mauth_conf_value *value = first; value != NULL;
	     value = mauth_conf_next(t->section, value)) {
		const char *slash = strrchr(value->text, '/');
		char *url = NULL;

		if (++count > SCOPES_MAX || strncmp(value->text, "https://", 8) != 0 || slash <= value->text + 8 ||
		    slash[1] == '\0' || mauth_conf_https_url(value, &url, NULL) != MAUTH_OK) {
			mauth_buf_free(&scope);
			return mauth_conf_refuse(t->error_r, value,
						 "scopes: \"%s\"; up to %u scopes like "
						 "\"%s/IMAP.AccessAsUser.All\" were expected",
						 value->text, SCOPES_MAX, resource);
		}
		free(url);
		if (count == 1)
			host = (size_t)(slash - value->text);
		if (host != (size_t)(slash - value->text) || strncmp(first->text, value->text, host) != 0) {
			mauth_buf_free(&scope);
			return mauth_conf_refuse(t->error_r, value,
						 "scopes: \"%s\" is of another resource than \"%s\"; Entra "
						 "gives a token for one resource only",
						 value->text, first->text);
		}
		mauth_buf_puts(&scope, count > 1 ? " " : "");
		mauth_buf_puts(&scope, value->text);
	}
	t->tenant->scope = mauth_strdup(scope.data);
	mauth_buf_free(&scope);
	return MAUTH_OK;
}

/* Without a user there is nobody to ask for single permissions: the scope is all that an admin has granted. */
static enum mauth_status load_app_scope(struct tenant_loader *t)
{
	static const char end[] = "/.default";
	const struct mauth_conf_value *value = get(t, "app_scope");
	size_t size;

	if (value == NULL) {
		t->tenant->app_scope = mauth_printf("%s%s", t->cloud->app_resource, end);
		return MAUTH_OK;
	}
	size = strlen(value->text);
	if (mauth_conf_https_url(value, &t->tenant->app_scope, NULL) == MAUTH_OK && size > sizeof(end) - 1 &&
	    strcmp(value->text + size - (sizeof(end) - 1), end) == 0)
		return MAUTH_OK;
	return mauth_conf_refuse(t->error_r, value, "app_scope = \"%s\"; a scope like \"%s%s\" was expected",
				 value->text, t->cloud->app_resource, end);
}

/* -- how tokens are obtained -- */

enum mauth_status mauth_load_grants(const struct mauth_conf_section *section,
				    enum mauth_grant_type grants_r[static MAUTH_GRANT_COUNT], size_t *count_r,
				    struct mauth_error *error_r)
{
	const struct mauth_conf_value *value = mauth_conf_get(section, "grants");
	size_t count = 0;

	for (; value != NULL; value = mauth_conf_next(section, value)) {
		enum mauth_grant_type grant = MAUTH_GRANT_PASSWORD;

		while (grant < MAUTH_GRANT_COUNT && strcmp(value->text, mauth_grant_name(grant)) != 0)
			grant++;
		if (grant == MAUTH_GRANT_COUNT)
			return mauth_conf_refuse(error_r, value,
						 "grants: \"%s\"; \"password\", \"enrolled\" or \"app\" was expected",
						 value->text);
		for (size_t i = 0; i < count; i++) {
			if (grants_r[i] == grant)
				return mauth_conf_refuse(error_r, value, "grants: \"%s\" twice; once was expected",
							 value->text);
		}
		grants_r[count++] = grant;
	}
	*count_r = count;
	return MAUTH_OK;
}

enum mauth_status mauth_load_check_grants(const struct mauth_conf_section *section, const struct mauth_tenant *tenant,
					  struct mauth_error *error_r)
{
	const struct mauth_conf_value *value = mauth_conf_get(section, "grants");

	for (; value != NULL; value = mauth_conf_next(section, value)) {
		if (strcmp(value->text, mauth_grant_name(MAUTH_GRANT_PASSWORD)) == 0)
			continue;
		if (!tenant->verified_by_device && !tenant->verified_by_dovecot)
			return mauth_conf_refuse(error_r, value,
						 "grants: \"%s\", but verified_by of tenant \"%s\" is empty; app-only "
						 "and enrolled tokens are given only to users whose password was "
						 "verified, so \"device\", \"dovecot\" or both were expected there",
						 value->text, tenant->name);
		if (strcmp(value->text, mauth_grant_name(MAUTH_GRANT_APP)) == 0 && tenant->credentials_count == 0)
			return mauth_conf_refuse(error_r, value,
						 "grants: \"app\" needs a client secret or certificate, and tenant "
						 "\"%s\" has none; client_secret_file, or certificate_file and "
						 "private_key_file, was expected there",
						 tenant->name);
	}
	return MAUTH_OK;
}

static enum mauth_status load_grants(struct tenant_loader *t)
{
	struct mauth_tenant *tenant = t->tenant;

	if (mauth_load_grants(t->section, tenant->grants, &tenant->grants_count, t->error_r) != MAUTH_OK)
		return MAUTH_CONFIG;
	if (tenant->grants_count == 0)
		tenant->grants[tenant->grants_count++] = MAUTH_GRANT_PASSWORD;
	return MAUTH_OK;
}

static enum mauth_status load_verified_by(struct tenant_loader *t)
{
	const struct mauth_conf_value *value = get(t, "verified_by");
	struct mauth_tenant *tenant = t->tenant;

	tenant->verified_by_device = tenant->verified_by_dovecot = value == NULL;
	for (; value != NULL; value = mauth_conf_next(t->section, value)) {
		if (strcmp(value->text, "device") == 0)
			tenant->verified_by_device = true;
		else if (strcmp(value->text, "dovecot") == 0)
			tenant->verified_by_dovecot = true;
		else if (value->text[0] != '\0')
			return mauth_conf_refuse(t->error_r, value,
						 "verified_by: \"%s\"; \"device\" or \"dovecot\" was expected",
						 value->text);
	}
	return MAUTH_OK;
}

static enum mauth_status check_grants(struct tenant_loader *t)
{
	return mauth_load_check_grants(t->section, t->tenant, t->error_r);
}

static enum mauth_status load_credentials(struct tenant_loader *t)
{
	return mauth_load_credentials(t->loader, t->section, t->tenant, t->error_r);
}

static enum mauth_status load_hybrid(struct tenant_loader *t)
{
	return mauth_load_hybrid(t->loader, t->section, t->tenant, t->cloud->autodiscover, t->error_r);
}

static enum mauth_status load_rest(struct tenant_loader *t)
{
	const struct mauth_conf_value *upn_domain = get(t, "upn_domain"), *user_realm = get(t, "user_realm");
	const struct mauth_conf_value *ca_file = get(t, "ca_file"), *client_tokens = get(t, "client_tokens");
	const struct mauth_conf_value *check_accounts = get(t, "check_accounts");
	const struct mauth_secret *content;

	t->tenant->client_tokens = true;
	if (client_tokens != NULL && mauth_conf_bool(client_tokens, &t->tenant->client_tokens, t->error_r) != MAUTH_OK)
		return MAUTH_CONFIG;
	t->tenant->user_realm = true;
	if (user_realm != NULL && mauth_conf_bool(user_realm, &t->tenant->user_realm, t->error_r) != MAUTH_OK)
		return MAUTH_CONFIG;
	t->tenant->check_accounts = true;
	if (check_accounts != NULL &&
	    mauth_conf_bool(check_accounts, &t->tenant->check_accounts, t->error_r) != MAUTH_OK)
		return MAUTH_CONFIG;
	if (upn_domain != NULL && mauth_conf_domain(upn_domain, &t->tenant->upn_domain, t->error_r) != MAUTH_OK)
		return MAUTH_CONFIG;
	if (ca_file == NULL)
		return MAUTH_OK;
	if (mauth_conf_path(ca_file, &t->tenant->ca_file, t->error_r) != MAUTH_OK)
		return MAUTH_CONFIG;
	/* curl reads it too, but only at the first login. */
	return mauth_load_file(t->loader, ca_file, false, &content, t->error_r);
}

static void digest(const struct mauth_buf *buf, unsigned char digest_r[static 32])
{
	if (EVP_Digest(buf->data, buf->size, digest_r, NULL, EVP_sha256(), NULL) != 1)
		abort();        /* only without memory */
}

/* Whoever reads a token from the cache under this value gets what a fetch now would give. Neither the proxy nor
 * how the application proves itself changes whose token it is. */
static void make_fingerprint(struct mauth_tenant *tenant)
{
	const char *const parts[] = { "modernauth 1",
				      tenant->name,
				      tenant->tenant_id,
				      tenant->authority,
				      tenant->client_id,
				      tenant->scope,
				      tenant->app_scope,
				      tenant->graph_scope,
				      tenant->upn_domain != NULL ? tenant->upn_domain : "" };
	unsigned char of_grant[sizeof(tenant->fingerprint)];
	struct mauth_buf buf = { 0 };
	size_t size;

	/* With their NULs: no two lists of parts have the same octets. */
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		mauth_buf_append(&buf, parts[i], strlen(parts[i]) + 1);
	for (size_t i = 0; i < tenant->grants_count; i++)
		mauth_buf_putc(&buf, (char)('0' + tenant->grants[i]));
	digest(&buf, tenant->fingerprint);
	memcpy(&tenant->key, tenant->fingerprint, sizeof(tenant->key));
	size = buf.size;
	for (enum mauth_grant_type g = 0; g < MAUTH_GRANT_COUNT; g++) {
		buf.size = size;
		mauth_buf_puts(&buf, mauth_grant_name(g));
		digest(&buf, of_grant);
		memcpy(&tenant->keys[g], of_grant, sizeof(tenant->keys[g]));
	}
	/* One number less to mistake for another: what knows of no grants means this one. */
	tenant->keys[MAUTH_GRANT_PASSWORD] = tenant->key;
	mauth_buf_free(&buf);
}

enum mauth_status mauth_load_tenant(struct mauth_loader *loader, const struct mauth_conf_section *section,
				    struct mauth_error *error_r)
{
	static enum mauth_status (*const steps[])(struct tenant_loader *t) = {
		load_name, load_domains, load_ids, load_cloud, load_urls, load_scope, load_app_scope,
		load_grants, load_verified_by, load_rest, load_hybrid, load_credentials, check_grants,
	};
	struct mauth_config *config = loader->config;
	struct mauth_tenant *tenant = mauth_new(sizeof(*tenant));
	struct tenant_loader t = { .loader = loader, .section = section, .tenant = tenant, .error_r = error_r };

	tenant->index = config->tenants_count;
	config->tenants = mauth_grow(config->tenants, config->tenants_count + 1, sizeof(void *));
	config->tenants[config->tenants_count++] = tenant;
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		if (steps[i](&t) != MAUTH_OK)
			return MAUTH_CONFIG;
	}
	make_fingerprint(tenant);
	return MAUTH_OK;
}
