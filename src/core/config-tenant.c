/* SPDX-License-Identifier: MIT */
#include "core/config-load.h"

#include "core/assertion.h"
#include "core/clouds.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#define CLIENT_SECRET_MAX 4096u
#define TENANT_NAME_MAX 64u
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

static enum mauth_status load_name(struct tenant_loader *t)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
	const char *name = t->section->title;
	size_t size = strlen(name);

	if (size == 0 || size > TENANT_NAME_MAX || strspn(name, allowed) != size)
		return tenant_fail(
			t,
			"tenant \"%.100s\": the name appears in log and audit; up to %u letters, digits, dots, "
			"hyphens and underscores were expected",
			name, TENANT_NAME_MAX);
	t->tenant->name = mauth_strdup(name);
	return MAUTH_OK;
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
	const struct mauth_conf_value *authority = get(t, "authority"), *proxy = get(t, "proxy");
	struct mauth_tenant *tenant = t->tenant;

	if (authority == NULL)
		tenant->authority = mauth_strdup(t->cloud->authority);
	else if (mauth_conf_https_url(authority, &tenant->authority, t->error_r) != MAUTH_OK)
		return MAUTH_CONFIG;
	tenant->token_url = mauth_printf("%s/%s/oauth2/v2.0/token", tenant->authority, tenant->tenant_id);
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

static enum mauth_status load_grants(struct tenant_loader *t)
{
	const struct mauth_conf_value *value = get(t, "grants");

	t->tenant->grants[0] = MAUTH_GRANT_PASSWORD;
	t->tenant->grants_count = 1;
	for (size_t count = 0; value != NULL; value = mauth_conf_next(t->section, value)) {
		if (strcmp(value->text, "password") != 0)
			return mauth_conf_refuse(t->error_r, value,
						 "grants: \"%s\"; \"password\" was expected, this version "
						 "knows no other",
						 value->text);
		if (++count > 1)
			return mauth_conf_refuse(t->error_r, value, "grants: \"password\" twice; once was expected");
	}
	return MAUTH_OK;
}

static enum mauth_status load_rest(struct tenant_loader *t)
{
	const struct mauth_conf_value *upn_domain = get(t, "upn_domain"), *user_realm = get(t, "user_realm");
	const struct mauth_conf_value *ca_file = get(t, "ca_file");
	const struct mauth_secret *content;

	t->tenant->user_realm = true;
	if (user_realm != NULL && mauth_conf_bool(user_realm, &t->tenant->user_realm, t->error_r) != MAUTH_OK)
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

/* -- what the application proves itself with -- */

static enum mauth_status read_named(struct tenant_loader *t, const struct mauth_conf_value *value, bool secret,
				    const struct mauth_secret **content_r)
{
	char *path = NULL;

	if (mauth_conf_path(value, &path, t->error_r) != MAUTH_OK)
		return MAUTH_CONFIG;
	free(path);
	return mauth_load_file(t->loader, value, secret, content_r, t->error_r);
}

static enum mauth_status load_client_secret(struct tenant_loader *t, const struct mauth_conf_value *value)
{
	const struct mauth_secret *content = NULL;
	const char *data;
	size_t size;

	if (read_named(t, value, true, &content) != MAUTH_OK)
		return MAUTH_CONFIG;
	data = mauth_secret_expose(content);
	size = mauth_secret_size(content);
	/* Editors and echo end a file with a newline that is no part of the secret. */
	while (size > 0 && (data[size - 1] == '\n' || data[size - 1] == '\r'))
		size--;
	if (size == 0)
		return mauth_conf_refuse(t->error_r, value,
					 "client_secret_file: %s is empty; the secret's value was expected",
					 value->text);
	if (size > CLIENT_SECRET_MAX)
		return mauth_conf_refuse(t->error_r, value,
					 "client_secret_file: %s has more than %u octets; one secret was "
					 "expected",
					 value->text, CLIENT_SECRET_MAX);
	for (size_t i = 0; i < size; i++) {
		if ((unsigned char)data[i] < 0x20 || data[i] == 0x7f)
			return mauth_conf_refuse(t->error_r, value,
						 "client_secret_file: %s has control characters or more "
						 "than one line; one secret was expected",
						 value->text);
	}
	t->tenant->client_secret = mauth_secret_new(data, size);
	if (mauth_conf_is_guid(mauth_secret_expose(t->tenant->client_secret)))
		mauth_load_warn(t->loader, value->line,
				"client_secret_file: %s looks like the secret's ID; Entra wants "
				"its value (AADSTS7000215)",
				value->text);
	return MAUTH_OK;
}

static enum mauth_status load_credentials(struct tenant_loader *t)
{
	const struct mauth_conf_value *secret = get(t, "client_secret_file"), *key = get(t, "private_key_file");
	const struct mauth_conf_value *certificate = get(t, "certificate_file");
	const struct mauth_secret *certificate_pem = NULL, *key_pem = NULL;
	struct mauth_error error;

	if (secret != NULL && (certificate != NULL || key != NULL))
		return mauth_conf_refuse(
			t->error_r, certificate != NULL ? certificate : key,
			"tenant \"%s\" has a client secret and a certificate; one of them was expected",
			t->tenant->name);
	if ((certificate == NULL) != (key == NULL))
		return mauth_conf_refuse(t->error_r, certificate != NULL ? certificate : key,
					 "%s without %s; a certificate and its private key were expected",
					 certificate != NULL ? "certificate_file" : "private_key_file",
					 certificate != NULL ? "private_key_file" : "certificate_file");
	if (secret != NULL)
		return load_client_secret(t, secret);
	if (certificate == NULL)
		return MAUTH_OK;
	/* The key first: a file that has both in it is then read as the secret it is. */
	if (read_named(t, key, true, &key_pem) != MAUTH_OK ||
	    read_named(t, certificate, false, &certificate_pem) != MAUTH_OK)
		return MAUTH_CONFIG;
	if (mauth_assertion_key_new(certificate_pem, key_pem, &t->tenant->assertion_key, &error) != MAUTH_OK)
		return mauth_conf_refuse(t->error_r, certificate, "certificate_file and private_key_file: %s",
					 error.text);
	return MAUTH_OK;
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
				      tenant->upn_domain != NULL ? tenant->upn_domain : "" };
	struct mauth_buf buf = { 0 };

	/* With their NULs: no two lists of parts have the same octets. */
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		mauth_buf_append(&buf, parts[i], strlen(parts[i]) + 1);
	for (size_t i = 0; i < tenant->grants_count; i++)
		mauth_buf_putc(&buf, (char)('0' + tenant->grants[i]));
	if (EVP_Digest(buf.data, buf.size, tenant->fingerprint, NULL, EVP_sha256(), NULL) != 1)
		abort();        /* only without memory */
	mauth_buf_free(&buf);
	memcpy(&tenant->key, tenant->fingerprint, sizeof(tenant->key));
}

enum mauth_status mauth_load_tenant(struct mauth_loader *loader, const struct mauth_conf_section *section,
				    struct mauth_error *error_r)
{
	static enum mauth_status (*const steps[])(struct tenant_loader *t) = {
		load_name, load_domains, load_ids, load_cloud, load_urls, load_scope, load_grants, load_rest,
		load_credentials,
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
