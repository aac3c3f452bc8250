/* SPDX-License-Identifier: MIT */
#include "test_config_tree.h"

#include "core/aadsts.h"
#include "core/assertion.h"
#include "core/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

static int compare_domains(const void *a, const void *b)
{
	return strcmp(((const struct mauth_config_domain *)a)->name, ((const struct mauth_config_domain *)b)->name);
}

struct mauth_tenant *test_config_add(struct mauth_config *config, const char *name, const char *domain)
{
	static const unsigned int ports[MAUTH_SERVICE_COUNT] = { 993, 995, 587 };
	struct mauth_tenant *tenant = mauth_new(sizeof(*tenant));

	tenant->name = mauth_strdup(name);
	tenant->domains = mauth_new_array(2, sizeof(*tenant->domains));
	tenant->domains[0] = mauth_strdup(domain);
	tenant->tenant_id = mauth_printf("%s.onmicrosoft.com", name);
	tenant->cloud = mauth_strdup("worldwide");
	tenant->client_id = mauth_strdup("9e5f94bc-e8a4-4e73-b8be-63364c29d753");
	tenant->credentials[0].secret = mauth_secret_new("client-secret-value", 19);
	tenant->credentials[0].path = mauth_strdup("/etc/modernauth.secret");
	tenant->credentials_count = 1;
	tenant->client_secret = tenant->credentials[0].secret;
	tenant->grants[0] = MAUTH_GRANT_PASSWORD;
	tenant->grants_count = 1;
	tenant->verified_by_device = tenant->verified_by_dovecot = true;
	tenant->client_tokens = true;
	tenant->side_by_passdb = true;
	tenant->mailbox_default = MAUTH_SIDE_CLOUD;
	tenant->autodiscover = mauth_strdup("https://outlook.example");
	tenant->authority = mauth_strdup("https://login.example");
	tenant->token_url = mauth_printf("https://login.example/%s/oauth2/v2.0/token", tenant->tenant_id);
	tenant->device_code_url = mauth_printf("https://login.example/%s/oauth2/v2.0/devicecode", tenant->tenant_id);
	tenant->graph = mauth_strdup("https://graph.example");
	tenant->graph_scope = mauth_strdup("https://graph.example/.default");
	tenant->app_scope = mauth_strdup("https://outlook.example/.default");
	tenant->scope = mauth_strdup("https://outlook.example/IMAP.AccessAsUser.All");
	for (size_t i = 0; i < MAUTH_SERVICE_COUNT; i++) {
		tenant->endpoints[i].host = mauth_printf("%s.outlook.example", mauth_service_name((enum mauth_service)i));
		tenant->endpoints[i].port = ports[i];
		tenant->endpoints[i].tls = i == MAUTH_SERVICE_SUBMISSION ? MAUTH_TLS_STARTTLS : MAUTH_TLS_IMPLICIT;
	}
	tenant->index = config->tenants_count;
	/* Neither the index nor small: nobody may take one for the other. */
	tenant->key = 0xc0ffee00u + (uint32_t)config->tenants_count;
	for (uint32_t g = 0; g < MAUTH_GRANT_COUNT; g++)
		tenant->keys[g] = 0xdeca0000u + (uint32_t)config->tenants_count * MAUTH_GRANT_COUNT + g;

	config->tenants = mauth_grow(config->tenants, config->tenants_count + 1, sizeof(*config->tenants));
	config->tenants[config->tenants_count++] = tenant;
	config->domains = mauth_grow(config->domains, config->domains_count + 1, sizeof(*config->domains));
	config->domains[config->domains_count++] =
		(struct mauth_config_domain){ .name = tenant->domains[0], .tenant = tenant, .line = 1 };
	qsort(config->domains, config->domains_count, sizeof(*config->domains), compare_domains);
	return tenant;
}

struct mauth_config *test_config_new(void)
{
	struct mauth_config *config = mauth_new(sizeof(*config));

	config->refcount = 1;
	config->path = mauth_strdup("/etc/modernauth.conf");
	config->audit_required = true;
	config->cache_max = 64u << 20;
	config->deadline_msecs = 20000;
	config->request_timeout_msecs = 15000;
	config->refresh_ahead_secs = 900;
	config->min_life_secs = 300;
	config->max_connections = 100;
	config->bad_password_secs = 900;
	config->lockout_threshold = 5;
	config->lockout_threshold_usgov = 2;
	config->lockout_window_secs = 600;
	config->lockout_secs = 600;
	config->explain_to_client = true;
	config->mailbox_separators = mauth_strdup("\\");
	config->keep_alive_secs = 30 * 86400;
	config->expiry_warning_secs = 14 * 86400;
	config->credential_warning_secs = 30 * 86400;
	config->self_service_per_hour = 60;
	config->aadsts = mauth_aadsts_new();
	test_config_add(config, "contoso", "contoso.com");
	return config;
}

static struct mauth_secret *take_pem(BIO *bio)
{
	char *data;
	long size = BIO_get_mem_data(bio, &data);
	struct mauth_secret *pem = mauth_secret_new(data, (size_t)size);

	BIO_free(bio);
	return pem;
}

/* A certificate for key by key itself. */
static X509 *new_certificate(EVP_PKEY *key)
{
	X509 *certificate = X509_new();
	X509_NAME *name = X509_get_subject_name(certificate);

	ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
	X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
	X509_gmtime_adj(X509_getm_notAfter(certificate), 86400);
	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"test", -1, -1, 0);
	X509_set_issuer_name(certificate, name);
	X509_set_pubkey(certificate, key);
	assert_true(X509_sign(certificate, key, EVP_sha256()) > 0);
	return certificate;
}

void test_config_make_public(struct mauth_tenant *tenant)
{
	for (size_t i = 0; i < tenant->credentials_count; i++) {
		mauth_secret_free(&tenant->credentials[i].secret);
		mauth_assertion_key_free(&tenant->credentials[i].key);
		free(tenant->credentials[i].path);
	}
	memset(tenant->credentials, 0, sizeof(tenant->credentials));
	tenant->credentials_count = 0;
	tenant->client_secret = NULL;
	tenant->assertion_key = NULL;
}

void test_config_sign(struct mauth_tenant *tenant)
{
	EVP_PKEY *key = EVP_RSA_gen(2048);
	X509 *certificate = new_certificate(key);
	BIO *key_bio = BIO_new(BIO_s_mem()), *certificate_bio = BIO_new(BIO_s_mem());
	struct mauth_secret *key_pem, *certificate_pem;
	struct mauth_error error;

	assert_true(PEM_write_bio_PrivateKey(key_bio, key, NULL, NULL, 0, NULL, NULL));
	assert_true(PEM_write_bio_X509(certificate_bio, certificate));
	key_pem = take_pem(key_bio);
	certificate_pem = take_pem(certificate_bio);
	test_config_make_public(tenant);
	if (mauth_assertion_key_new(certificate_pem, key_pem, &tenant->credentials[0].key, &error) != MAUTH_OK)
		fail_msg("%s", error.text);
	tenant->credentials[0].path = mauth_strdup("/etc/modernauth.pem");
	tenant->credentials[0].not_after = mauth_assertion_key_not_after(tenant->credentials[0].key);
	tenant->credentials_count = 1;
	tenant->assertion_key = tenant->credentials[0].key;
	mauth_secret_free(&key_pem);
	mauth_secret_free(&certificate_pem);
	X509_free(certificate);
	EVP_PKEY_free(key);
}
