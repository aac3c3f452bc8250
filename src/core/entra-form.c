/* SPDX-License-Identifier: MIT */
#include "core/entra.h"

#include "core/mem.h"

#include <stdlib.h>
#include <string.h>

/* Everything but RFC 3986's unreserved characters, whatever the locale. */
static void append_encoded(struct mauth_buf *buf, const char *data, size_t size)
{
	static const char hex[] = "0123456789ABCDEF";

	for (size_t i = 0; i < size; i++) {
		unsigned char c = (unsigned char)data[i];

		if ((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
		    c == '.' || c == '_' || c == '~') {
			mauth_buf_putc(buf, (char)c);
			continue;
		}
		mauth_buf_putc(buf, '%');
		mauth_buf_putc(buf, hex[c >> 4]);
		mauth_buf_putc(buf, hex[c & 15]);
	}
}

static void append_parameter(struct mauth_buf *form, const char *name, const char *value)
{
	if (form->size > 0)
		mauth_buf_putc(form, '&');
	mauth_buf_puts(form, name);
	mauth_buf_putc(form, '=');
	append_encoded(form, value, strlen(value));
}

static void append_secret(struct mauth_buf *form, const char *name, const struct mauth_secret *value)
{
	append_parameter(form, name, "");
	append_encoded(form, mauth_secret_expose(value), mauth_secret_size(value));
}

/* One or the other; an app without either is public, and Entra refuses a public app that sends one. */
static void append_proof(struct mauth_buf *form, const struct mauth_entra_proof *proof)
{
	if (proof->assertion != NULL) {
		append_parameter(form, "client_assertion_type",
				 "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
		append_secret(form, "client_assertion", proof->assertion);
	} else if (proof->secret != NULL) {
		append_secret(form, "client_secret", proof->secret);
	}
}

static void begin_form(struct mauth_buf *form, const struct mauth_tenant *tenant, const char *grant_type)
{
	append_parameter(form, "grant_type", grant_type);
	append_parameter(form, "client_id", tenant->client_id);
}

/* The scopes with those that make Entra send a refresh token, and an ID token that says who signed in. */
static void append_enrolled_scope(struct mauth_buf *form, const struct mauth_tenant *tenant)
{
	char *scope = mauth_printf("%s openid profile offline_access", tenant->scope);

	append_parameter(form, "scope", scope);
	free(scope);
}

static struct mauth_secret *end_form(struct mauth_buf *form)
{
	struct mauth_secret *secret = mauth_secret_new(form->data, form->size);

	mauth_buf_free(form);
	return secret;
}

struct mauth_secret *mauth_entra_password_form(const struct mauth_tenant *tenant, const char *upn,
					       const struct mauth_secret *password,
					       const struct mauth_entra_proof *proof)
{
	struct mauth_buf form = { 0 };

	begin_form(&form, tenant, "password");
	append_parameter(&form, "scope", tenant->scope);
	append_parameter(&form, "username", upn);
	append_secret(&form, "password", password);
	append_proof(&form, proof);
	return end_form(&form);
}

struct mauth_secret *mauth_entra_refresh_form(const struct mauth_tenant *tenant,
					      const struct mauth_secret *refresh_token,
					      const struct mauth_entra_proof *proof)
{
	struct mauth_buf form = { 0 };

	begin_form(&form, tenant, "refresh_token");
	append_enrolled_scope(&form, tenant);
	append_secret(&form, "refresh_token", refresh_token);
	append_proof(&form, proof);
	return end_form(&form);
}

struct mauth_secret *mauth_entra_app_form(const struct mauth_tenant *tenant, const char *scope,
					  const struct mauth_entra_proof *proof)
{
	struct mauth_buf form = { 0 };

	begin_form(&form, tenant, "client_credentials");
	append_parameter(&form, "scope", scope);
	append_proof(&form, proof);
	return end_form(&form);
}

struct mauth_secret *mauth_entra_device_code_form(const struct mauth_tenant *tenant)
{
	struct mauth_buf form = { 0 };

	append_parameter(&form, "client_id", tenant->client_id);
	append_enrolled_scope(&form, tenant);
	return end_form(&form);
}

struct mauth_secret *mauth_entra_device_poll_form(const struct mauth_tenant *tenant,
						  const struct mauth_secret *device_code,
						  const struct mauth_entra_proof *proof)
{
	struct mauth_buf form = { 0 };

	begin_form(&form, tenant, "urn:ietf:params:oauth:grant-type:device_code");
	append_secret(&form, "device_code", device_code);
	append_proof(&form, proof);
	return end_form(&form);
}

static char *url_about(const char *base, const char *path, const char *user, const char *query)
{
	struct mauth_buf url = { 0 };
	char *copy;

	mauth_buf_puts(&url, base);
	mauth_buf_puts(&url, path);
	append_encoded(&url, user, strlen(user));
	mauth_buf_puts(&url, query);
	copy = mauth_strndup(url.data, url.size);
	mauth_buf_free(&url);
	return copy;
}

char *mauth_entra_account_url(const struct mauth_tenant *tenant, const char *upn)
{
	return url_about(tenant->graph, "/v1.0/users/", upn, "?$select=accountEnabled,id");
}

char *mauth_entra_realm_url(const struct mauth_tenant *tenant, const char *upn)
{
	return url_about(tenant->authority, "/common/userrealm/", upn, "?api-version=1.0");
}

char *mauth_entra_autodiscover_url(const struct mauth_tenant *tenant, const char *address)
{
	return url_about(tenant->autodiscover, "/autodiscover/autodiscover.json/v1.0/", address, "?Protocol=AutodiscoverV1");
}
