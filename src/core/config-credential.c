/* SPDX-License-Identifier: MIT */
#include "core/config-load.h"

#include "core/assertion.h"

#include <stdlib.h>
#include <string.h>

#define CLIENT_SECRET_MAX 4096u
/* The old and the new one, while one replaces the other. */
#define FILES_MAX 2u

struct credential_loader {
	struct mauth_loader *loader;
	const struct mauth_conf_section *section;
	struct mauth_tenant *tenant;
	struct mauth_error *error_r;
};

/* A setting that names files. */
struct files {
	const struct mauth_conf_value *values[FILES_MAX];
	size_t count;
};

static enum mauth_status get_files(const struct credential_loader *c, const char *name, struct files *files_r)
{
	const struct mauth_conf_value *value = mauth_conf_get(c->section, name);
	struct files files = { 0 };

	for (; value != NULL; value = mauth_conf_next(c->section, value)) {
		if (files.count == FILES_MAX)
			return mauth_conf_refuse(c->error_r, value,
						 "%s: more than %u files; the one in use and the one that replaces it "
						 "were expected",
						 name, FILES_MAX);
		for (size_t i = 0; i < files.count; i++) {
			if (strcmp(files.values[i]->text, value->text) == 0)
				return mauth_conf_refuse(c->error_r, value, "%s: \"%s\" twice; once was expected", name,
							 value->text);
		}
		files.values[files.count++] = value;
	}
	*files_r = files;
	return MAUTH_OK;
}

static enum mauth_status read_named(const struct credential_loader *c, const struct mauth_conf_value *value,
				    bool secret, const struct mauth_secret **content_r)
{
	char *path = NULL;

	if (mauth_conf_path(value, &path, c->error_r) != MAUTH_OK)
		return MAUTH_CONFIG;
	free(path);
	return mauth_load_file(c->loader, value, secret, content_r, c->error_r);
}

static struct mauth_credential *add(struct mauth_tenant *tenant, const struct mauth_conf_value *value)
{
	struct mauth_credential *credential = &tenant->credentials[tenant->credentials_count++];

	credential->path = mauth_strdup(value->text);
	return credential;
}

static enum mauth_status load_secret(const struct credential_loader *c, const struct mauth_conf_value *value,
				     int64_t not_after)
{
	const struct mauth_secret *content = NULL;
	struct mauth_credential *credential;
	const char *data;
	size_t size;

	if (read_named(c, value, true, &content) != MAUTH_OK)
		return MAUTH_CONFIG;
	data = mauth_secret_expose(content);
	size = mauth_secret_size(content);
	/* Editors and echo end a file with a newline that is no part of the secret. */
	while (size > 0 && (data[size - 1] == '\n' || data[size - 1] == '\r'))
		size--;
	if (size == 0)
		return mauth_conf_refuse(c->error_r, value,
					 "client_secret_file: %s is empty; the secret's value was expected",
					 value->text);
	if (size > CLIENT_SECRET_MAX)
		return mauth_conf_refuse(c->error_r, value,
					 "client_secret_file: %s has more than %u octets; one secret was "
					 "expected",
					 value->text, CLIENT_SECRET_MAX);
	for (size_t i = 0; i < size; i++) {
		if ((unsigned char)data[i] < 0x20 || data[i] == 0x7f)
			return mauth_conf_refuse(c->error_r, value,
						 "client_secret_file: %s has control characters or more "
						 "than one line; one secret was expected",
						 value->text);
	}
	credential = add(c->tenant, value);
	credential->secret = mauth_secret_new(data, size);
	credential->not_after = not_after;
	if (c->tenant->client_secret == NULL)
		c->tenant->client_secret = credential->secret;
	if (mauth_conf_is_guid(mauth_secret_expose(credential->secret)))
		mauth_load_warn(c->loader, value->line,
				"client_secret_file: %s looks like the secret's ID; Entra wants "
				"its value (AADSTS7000215)",
				value->text);
	return MAUTH_OK;
}

static enum mauth_status load_secrets(const struct credential_loader *c)
{
	const struct mauth_conf_value *date = mauth_conf_get(c->section, "client_secret_expires");
	const struct mauth_conf_value *first_date = date;
	int64_t ends[FILES_MAX] = { 0 };
	struct files files = { 0 };
	size_t dates = 0;

	if (get_files(c, "client_secret_file", &files) != MAUTH_OK)
		return MAUTH_CONFIG;
	for (; date != NULL; date = mauth_conf_next(c->section, date), dates++) {
		int64_t end;

		if (mauth_conf_date(date, &end, c->error_r) != MAUTH_OK)
			return MAUTH_CONFIG;
		if (dates < FILES_MAX)
			ends[dates] = end;
	}
	if (first_date != NULL && dates != files.count)
		return mauth_conf_refuse(c->error_r, first_date,
					 "client_secret_expires and client_secret_file differ in length (%zu and %zu); "
					 "a date for every file was expected, in the same order",
					 dates, files.count);
	for (size_t i = 0; i < files.count; i++) {
		if (load_secret(c, files.values[i], ends[i]) != MAUTH_OK)
			return MAUTH_CONFIG;
	}
	return MAUTH_OK;
}

static enum mauth_status load_certificate(const struct credential_loader *c, const struct mauth_conf_value *certificate,
					  const struct mauth_conf_value *key)
{
	const struct mauth_secret *certificate_pem = NULL, *key_pem = NULL;
	struct mauth_assertion_key *assertion_key = NULL;
	struct mauth_credential *credential;
	struct mauth_error error;

	/* The key first: a file that has both in it is then read as the secret it is. */
	if (read_named(c, key, true, &key_pem) != MAUTH_OK ||
	    read_named(c, certificate, false, &certificate_pem) != MAUTH_OK)
		return MAUTH_CONFIG;
	if (mauth_assertion_key_new(certificate_pem, key_pem, &assertion_key, &error) != MAUTH_OK)
		return mauth_conf_refuse(c->error_r, certificate, "certificate_file and private_key_file: %s",
					 error.text);
	credential = add(c->tenant, certificate);
	credential->key = assertion_key;
	credential->not_after = mauth_assertion_key_not_after(assertion_key);
	if (c->tenant->assertion_key == NULL)
		c->tenant->assertion_key = assertion_key;
	return MAUTH_OK;
}

static enum mauth_status load_certificates(const struct credential_loader *c)
{
	struct files certificates = { 0 }, keys = { 0 };

	if (get_files(c, "certificate_file", &certificates) != MAUTH_OK ||
	    get_files(c, "private_key_file", &keys) != MAUTH_OK)
		return MAUTH_CONFIG;
	if (certificates.count != keys.count && (certificates.count == 0 || keys.count == 0))
		return mauth_conf_refuse(c->error_r, certificates.count > 0 ? certificates.values[0] : keys.values[0],
					 "%s without %s; a certificate and its private key were expected",
					 certificates.count > 0 ? "certificate_file" : "private_key_file",
					 certificates.count > 0 ? "private_key_file" : "certificate_file");
	if (certificates.count != keys.count)
		return mauth_conf_refuse(c->error_r, certificates.values[0],
					 "certificate_file and private_key_file differ in length (%zu and %zu); a "
					 "private key for every certificate was expected, in the same order",
					 certificates.count, keys.count);
	for (size_t i = 0; i < certificates.count; i++) {
		if (load_certificate(c, certificates.values[i], keys.values[i]) != MAUTH_OK)
			return MAUTH_CONFIG;
	}
	return MAUTH_OK;
}

enum mauth_status mauth_load_credentials(struct mauth_loader *loader, const struct mauth_conf_section *section,
					 struct mauth_tenant *tenant, struct mauth_error *error_r)
{
	struct credential_loader c = { .loader = loader, .section = section, .tenant = tenant, .error_r = error_r };

	_Static_assert(2 * FILES_MAX <= MAUTH_CREDENTIALS_MAX, "room for all of them");
	/* The order in which they are tried: what never leaves this machine goes before what Entra is shown. */
	if (load_certificates(&c) != MAUTH_OK)
		return MAUTH_CONFIG;
	return load_secrets(&c);
}
