/* SPDX-License-Identifier: MIT */
#include "config_files.h"
#include "core/assertion.h"
#include "core/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#define GUID "9e5f94bc-e8a4-4e73-b8be-63364c29d753"

static struct mauth_config *load_or_fail(const char *text, const struct config_file *files)
{
	struct mauth_error error;
	struct mauth_config *config = config_files_load(text, files, &error);

	if (config == NULL)
		fail_msg("refused: %s", error.text);
	return config;
}

/* -- what a configuration may leave out -- */

static void defaults_are_those_of_the_documentation(void **state)
{
	struct mauth_config *config = load_or_fail(TENANT(""), NULL);
	const struct mauth_tenant *tenant = config->tenants[0];

	assert_string_equal(config->path, CONFIG_PATH);
	assert_string_equal(config->state_dir, "/var/lib/dovecot/modernauth");
	assert_string_equal(config->audit_path, "/var/log/dovecot/modernauth-audit.jsonl");
	assert_true(config->audit_required);
	assert_false(config->audit_group);
	assert_int_equal(config->audit_keep_secs, 0);
	assert_int_equal(config->audit_max_size, 0);
	assert_int_equal(config->privacy_users, MAUTH_USERS_CLEAR);
	assert_false(config->privacy_ips);
	assert_null(config->privacy_key_file);
	assert_null(config->default_domain);
	assert_int_equal(config->cache_max, 64 << 20);
	assert_int_equal(config->deadline_msecs, 20000);
	assert_int_equal(config->request_timeout_msecs, 15000);
	assert_int_equal(config->refresh_ahead_secs, 900);
	assert_int_equal(config->min_life_secs, 300);
	assert_int_equal(config->max_connections, 100);
	assert_int_equal(config->bad_password_secs, 900);
	assert_int_equal(config->lockout_threshold, 5);
	assert_int_equal(config->lockout_threshold_usgov, 2);
	assert_int_equal(config->lockout_window_secs, 600);
	assert_int_equal(config->lockout_secs, 600);
	assert_true(config->explain_to_client);
	assert_string_equal(config->auth_user, "dovecot");
	assert_string_equal(config->login_user, "dovenull");
	assert_string_equal(config->relay_user, "postfix");
	assert_null(config->key_file);
	assert_int_equal(config->keep_alive_secs, 30 * 86400);
	assert_int_equal(config->expiry_warning_secs, 14 * 86400);
	assert_int_equal(config->credential_warning_secs, 30 * 86400);
	assert_true(config->inventory);
	assert_int_equal(config->inventory_max, 100000);
	assert_int_equal(config->inventory_keep_secs, 400 * 86400);
	assert_false(config->self_service_generated);
	assert_int_equal(config->self_service_per_hour, 60);
	assert_string_equal(config->mailbox_separators, "\\");
	assert_null(config->notice_mail_to);
	assert_null(config->notice_mail_from);
	assert_string_equal(config->notice_sendmail, "/usr/sbin/sendmail");
	assert_null(config->notice_command);
	assert_non_null(config->aadsts);
	assert_int_equal(config->files_count, 0);
	assert_string_equal(mauth_secret_expose(config->text), TENANT(""));

	assert_string_equal(tenant->name, "contoso");
	assert_string_equal(tenant->cloud, "worldwide");
	assert_false(tenant->us_government);
	assert_string_equal(tenant->authority, "https://login.microsoftonline.com");
	assert_string_equal(tenant->token_url,
			    "https://login.microsoftonline.com/contoso.onmicrosoft.com/oauth2/v2.0/token");
	assert_string_equal(tenant->scope, "https://outlook.office.com/IMAP.AccessAsUser.All "
			    "https://outlook.office.com/POP.AccessAsUser.All https://outlook.office.com/SMTP.Send");
	assert_string_equal(tenant->device_code_url,
			    "https://login.microsoftonline.com/contoso.onmicrosoft.com/oauth2/v2.0/devicecode");
	assert_string_equal(tenant->app_scope, "https://outlook.office365.com/.default");
	assert_int_equal(tenant->grants_count, 1);
	assert_int_equal(tenant->grants[0], MAUTH_GRANT_PASSWORD);
	assert_true(tenant->verified_by_device);
	assert_true(tenant->verified_by_dovecot);
	assert_true(tenant->side_by_passdb);
	assert_false(tenant->side_by_map);
	assert_false(tenant->side_by_autodiscover);
	assert_null(tenant->mailbox_map);
	assert_int_equal(tenant->mailbox_default, MAUTH_SIDE_CLOUD);
	assert_true(tenant->client_tokens);
	assert_int_equal(tenant->credentials_count, 0);
	assert_true(tenant->user_realm);
	assert_true(tenant->check_accounts);
	assert_string_equal(tenant->graph, "https://graph.microsoft.com");
	assert_string_equal(tenant->graph_scope, "https://graph.microsoft.com/.default");
	assert_null(tenant->upn_domain);
	assert_null(tenant->client_secret);
	assert_null(tenant->assertion_key);
	mauth_config_unref(&config);
	assert_null(config);
}

static void every_setting_arrives_where_it_belongs(void **state)
{
	static const struct config_file files[] = { { "/s", "the secret\r\n", 0, false },
						    { "/ca.pem", "pem", 0, true },
						    { "/codes", "50126 credential bad_credentials counts hm\n", 0,
						      true },
						    { "/p", "modernauth-privacy-key: "
							    "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n", 0, false },
						    { 0 } };
	struct mauth_config *config = load_or_fail(
		"state_dir = /s/d\ndefault_domain = \"Contoso.com\" cache_max = \"2 MiB\" deadline = 30s\n"
		"request_timeout = \"2500ms\" refresh_ahead = 1h min_life = \"10m\" max_connections = 7\n"
		"replies = uniform aadsts_file = /codes auth_user = a login_user = 'b' relay_user = \"c\"\n"
		"key_file = /keys keep_alive = 80d expiry_warning = \"1440h\" credential_warning = 1d\n"
		"self_service_password = generated self_service_codes_per_hour = 5 mailbox_separators = \"+\\\\#\"\n"
		"inventory = no inventory_max = 100 inventory_keep = 30d\n"
		"audit { path = /a.jsonl required = no durability = group keep = 400d max_size = \"10 GiB\" } # comment\n"
		"privacy { users = pseudonym ips = prefix key_file = /p }\n"
		"notice { mail_to = \"a+b@c.example\" mail_from = d@localhost sendmail = /s/m command = \"/c\" }\n"
		"lockout { threshold = 6 threshold_us_government = 1 window = 1m duration = 2m remember = 3m }\n"
		"tenant contoso { /* a\n comment */ domains = {\"Contoso.COM\", b.example}\n tenant_id = " GUID
		"\n"
		"cloud = \"gcc-high\" client_id = " GUID " client_secret_file = /s\n"
		"grants = {app, password, enrolled} verified_by = device client_tokens = off\n"
		"app_scope = \"https://a.example/x/.default\" client_secret_expires = \"2028-02-29\"\n"
		"mailbox_sources = {map, autodiscover} mailbox_map = /etc/boxes mailbox_default = onprem\n"
		"autodiscover = \"https://ad.example/\"\n"
		"upn_domain = \"Fabrikam.com\" user_realm = false scopes = {\"https://o.example/A\", "
		"\"https://o.example/B\"}\n"
		"check_accounts = no graph = \"https://graph.example:8444/\"\n"
		"authority = \"https://login.example:8443/\" ca_file = /ca.pem proxy = \"http://p.example:3128\"\n"
		"imap = \"imap://i.example\" pop3 = \"pop3s://127.0.0.1:9995/\" submission = "
		"\"smtps://[::1]:4650\" }",
		files);
	const struct mauth_tenant *tenant = config->tenants[0];

	assert_string_equal(config->state_dir, "/s/d");
	assert_string_equal(config->default_domain, "contoso.com");
	assert_int_equal(config->cache_max, 2 << 20);
	assert_int_equal(config->deadline_msecs, 30000);
	assert_int_equal(config->request_timeout_msecs, 2500);
	assert_int_equal(config->refresh_ahead_secs, 3600);
	assert_int_equal(config->min_life_secs, 600);
	assert_int_equal(config->max_connections, 7);
	assert_false(config->explain_to_client);
	assert_string_equal(config->auth_user, "a");
	assert_string_equal(config->login_user, "b");
	assert_string_equal(config->relay_user, "c");
	assert_string_equal(config->audit_path, "/a.jsonl");
	assert_false(config->audit_required);
	assert_true(config->audit_group);
	assert_int_equal(config->audit_keep_secs, 400 * 86400);
	assert_int_equal(config->audit_max_size, (uint64_t)10 << 30);
	assert_int_equal(config->privacy_users, MAUTH_USERS_PSEUDONYM);
	assert_true(config->privacy_ips);
	assert_string_equal(config->privacy_key_file, "/p");
	assert_int_equal(mauth_secret_size(config->privacy_key), 32);
	assert_int_equal(config->lockout_threshold, 6);
	assert_int_equal(config->lockout_threshold_usgov, 1);
	assert_int_equal(config->lockout_window_secs, 60);
	assert_int_equal(config->lockout_secs, 120);
	assert_int_equal(config->bad_password_secs, 180);
	assert_int_equal(config->files_count, 4);
	assert_string_equal(config->key_file, "/keys");
	assert_int_equal(config->keep_alive_secs, 80 * 86400);
	assert_int_equal(config->expiry_warning_secs, 60 * 86400);
	assert_int_equal(config->credential_warning_secs, 86400);
	assert_false(config->inventory);
	assert_int_equal(config->inventory_max, 100);
	assert_int_equal(config->inventory_keep_secs, 30 * 86400);
	assert_true(config->self_service_generated);
	assert_int_equal(config->self_service_per_hour, 5);
	assert_string_equal(config->mailbox_separators, "+\\#");
	assert_string_equal(config->notice_mail_to, "a+b@c.example");
	assert_string_equal(config->notice_mail_from, "d@localhost");
	assert_string_equal(config->notice_sendmail, "/s/m");
	assert_string_equal(config->notice_command, "/c");

	assert_string_equal(tenant->domains[0], "contoso.com");
	assert_string_equal(tenant->domains[1], "b.example");
	assert_null(tenant->domains[2]);
	assert_true(tenant->us_government);
	assert_string_equal(mauth_secret_expose(tenant->client_secret), "the secret");
	assert_int_equal(tenant->credentials_count, 1);
	assert_string_equal(tenant->credentials[0].path, "/s");
	assert_int_equal(tenant->credentials[0].not_after, 1835481599);         /* 2028-02-29 23:59:59 */
	assert_int_equal(tenant->grants_count, 3);
	assert_int_equal(tenant->grants[0], MAUTH_GRANT_APP);
	assert_int_equal(tenant->grants[1], MAUTH_GRANT_PASSWORD);
	assert_int_equal(tenant->grants[2], MAUTH_GRANT_ENROLLED);
	assert_true(tenant->verified_by_device);
	assert_false(tenant->verified_by_dovecot);
	assert_false(tenant->client_tokens);
	assert_string_equal(tenant->app_scope, "https://a.example/x/.default");
	assert_string_equal(tenant->device_code_url, "https://login.example:8443/" GUID "/oauth2/v2.0/devicecode");
	assert_false(tenant->side_by_passdb);
	assert_true(tenant->side_by_map);
	assert_true(tenant->side_by_autodiscover);
	assert_string_equal(tenant->mailbox_map, "/etc/boxes");
	assert_string_equal(tenant->autodiscover, "https://ad.example");
	assert_int_equal(tenant->mailbox_default, MAUTH_SIDE_ONPREM);
	assert_string_equal(tenant->upn_domain, "fabrikam.com");
	assert_false(tenant->user_realm);
	assert_false(tenant->check_accounts);
	assert_string_equal(tenant->graph, "https://graph.example:8444");
	assert_string_equal(tenant->graph_scope, "https://graph.example:8444/.default");
	assert_string_equal(tenant->scope, "https://o.example/A https://o.example/B");
	assert_string_equal(tenant->authority, "https://login.example:8443");
	assert_string_equal(tenant->token_url, "https://login.example:8443/" GUID "/oauth2/v2.0/token");
	assert_string_equal(tenant->ca_file, "/ca.pem");
	assert_string_equal(tenant->proxy, "http://p.example:3128");
	assert_string_equal(tenant->endpoints[MAUTH_SERVICE_IMAP].host, "i.example");
	assert_int_equal(tenant->endpoints[MAUTH_SERVICE_IMAP].port, 143);
	assert_int_equal(tenant->endpoints[MAUTH_SERVICE_IMAP].tls, MAUTH_TLS_STARTTLS);
	assert_string_equal(tenant->endpoints[MAUTH_SERVICE_POP3].host, "127.0.0.1");
	assert_int_equal(tenant->endpoints[MAUTH_SERVICE_POP3].port, 9995);
	assert_int_equal(tenant->endpoints[MAUTH_SERVICE_POP3].tls, MAUTH_TLS_IMPLICIT);
	assert_string_equal(tenant->endpoints[MAUTH_SERVICE_SUBMISSION].host, "::1");
	assert_int_equal(tenant->endpoints[MAUTH_SERVICE_SUBMISSION].port, 4650);
	mauth_config_unref(&config);
}

static void clouds_have_their_own_hosts(void **state)
{
	static const struct {
		const char *cloud, *authority, *scope_begins, *app_scope, *graph, *imap, *submission, *autodiscover;
		bool us_government;
	} clouds[] = {
		{ "worldwide", "https://login.microsoftonline.com", "https://outlook.office.com/IMAP.",
		  "https://outlook.office365.com/.default",
		  "https://graph.microsoft.com",
		  "outlook.office365.com", "smtp.office365.com",
		  "https://outlook.office365.com", false },
		{ "gcc", "https://login.microsoftonline.com", "https://outlook.office.com/IMAP.",
		  "https://outlook.office365.com/.default",
		  "https://graph.microsoft.com",
		  "outlook.office365.com", "smtp.office365.com",
		  "https://outlook.office365.com", false },
		{ "gcc-high", "https://login.microsoftonline.us", "https://outlook.office365.us/IMAP.",
		  "https://outlook.office365.us/.default",
		  "https://graph.microsoft.us",
		  "outlook.office365.us", "smtp.office365.us",
		  "https://outlook.office365.us", true },
		{ "dod", "https://login.microsoftonline.us", "https://outlook-dod.office365.us/IMAP.",
		  "https://outlook-dod.office365.us/.default",
		  "https://dod-graph.microsoft.us",
		  "outlook-dod.office365.us", "outlook-dod.office365.us",
		  "https://outlook-dod.office365.us", true },
		{ "china", "https://login.partner.microsoftonline.cn", "https://partner.outlook.cn/IMAP.",
		  "https://partner.outlook.cn/.default",
		  "https://microsoftgraph.chinacloudapi.cn",
		  "partner.outlook.cn", "smtp.partner.outlook.cn",
		  "https://partner.outlook.cn", false },
	};

	for (size_t i = 0; i < sizeof(clouds) / sizeof(clouds[0]); i++) {
		char text[512];
		struct mauth_config *config;
		const struct mauth_tenant *tenant;

		snprintf(text, sizeof(text), "tenant \"contoso\" {\n" TENANT_BODY "cloud = \"%s\" }",
			 clouds[i].cloud);
		config = load_or_fail(text, NULL);
		tenant = config->tenants[0];
		assert_string_equal(tenant->cloud, clouds[i].cloud);
		assert_string_equal(tenant->authority, clouds[i].authority);
		assert_string_equal(tenant->autodiscover, clouds[i].autodiscover);
		assert_memory_equal(tenant->scope, clouds[i].scope_begins, strlen(clouds[i].scope_begins));
		assert_string_equal(tenant->app_scope, clouds[i].app_scope);
		assert_string_equal(tenant->graph, clouds[i].graph);
		assert_string_equal(tenant->endpoints[MAUTH_SERVICE_IMAP].host, clouds[i].imap);
		assert_int_equal(tenant->endpoints[MAUTH_SERVICE_IMAP].port, 993);
		assert_string_equal(tenant->endpoints[MAUTH_SERVICE_POP3].host, clouds[i].imap);
		assert_int_equal(tenant->endpoints[MAUTH_SERVICE_POP3].port, 995);
		assert_string_equal(tenant->endpoints[MAUTH_SERVICE_SUBMISSION].host, clouds[i].submission);
		assert_int_equal(tenant->endpoints[MAUTH_SERVICE_SUBMISSION].port, 587);
		assert_int_equal(tenant->endpoints[MAUTH_SERVICE_SUBMISSION].tls, MAUTH_TLS_STARTTLS);
		assert_int_equal(tenant->us_government, clouds[i].us_government);
		mauth_config_unref(&config);
	}
}

/* -- what is refused, and how -- */

static const struct config_file broken_files[] = {
	{ "/secret", "value\n", 0, false },
	{ "/loose", "value\n", 0, true },
	{ "/empty", "\n\r\n", 0, false },
	{ "/two-lines", "one\ntwo\n", 0, false },
	{ "/nul", "a\0b", 3, false },
	{ "/codes", "50126 credential nonsense - x\n", 0, false },
	{ "/not-pem", "x", 0, false },
	{ 0 }
};

#define T(extra) "tenant \"contoso\" {\n" TENANT_BODY extra "\n}\n"     /* extra is on line 5 */
#define P CONFIG_PATH ":"

static const struct broken {
	const char *text, *message;
} broken[] = {
#define CASE(text_, message_) { text_, message_ },
#include "config_broken.def"
#undef CASE
};

static void broken_configurations_are_refused_with_file_line_and_reason(void **state)
{
	for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
		struct mauth_error error = { 0 };
		struct mauth_config *config = config_files_load(broken[i].text, broken_files, &error);

		if (config != NULL)
			fail_msg("accepted: %s", broken[i].text);
		assert_string_equal(error.text, broken[i].message);
		assert_int_equal(error.status, MAUTH_CONFIG);
	}
}

static void errors_of_files_name_both_places(void **state)
{
	struct mauth_error error;

	assert_null(config_files_load("aadsts_file = /codes\n" T(""), broken_files, &error));
	assert_memory_equal(error.text, P "1: aadsts_file: /codes:1: ", strlen(P "1: aadsts_file: /codes:1: "));
	assert_null(config_files_load(T("certificate_file = /not-pem private_key_file = /not-pem"), broken_files,
				      &error));
	assert_memory_equal(error.text, P "5: certificate_file and private_key_file: ",
			    strlen(P "5: certificate_file and private_key_file: "));
}

static void libconfuse_writes_nothing_to_stderr(void **state)
{
	FILE *sink = tmpfile();
	int saved = dup(STDERR_FILENO);
	struct mauth_error error;

	assert_non_null(sink);
	assert_int_equal(dup2(fileno(sink), STDERR_FILENO), STDERR_FILENO);
	for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++)
		assert_null(config_files_load(broken[i].text, broken_files, &error));
	assert_int_equal(dup2(saved, STDERR_FILENO), STDERR_FILENO);
	close(saved);
	fseek(sink, 0, SEEK_END);
	assert_int_equal(ftell(sink), 0);
	fclose(sink);
}

static void a_refusal_leaves_the_result_alone(void **state)
{
	struct config_file files[] = { { CONFIG_PATH, "x", 0, false }, { 0 } };
	struct mauth_config *config = (struct mauth_config *)files;
	struct mauth_error error;

	assert_int_equal(mauth_config_load(CONFIG_PATH, config_files_read, files, NULL, NULL, &config, &error),
			 MAUTH_CONFIG);
	assert_ptr_equal(config, files);
	assert_int_equal(mauth_config_load("/none", config_files_read, files, NULL, NULL, &config, &error),
			 MAUTH_CONFIG);
	assert_string_equal(error.text, "/none: No such file or directory");
	assert_int_equal(mauth_config_load(CONFIG_PATH, config_files_read, files, NULL, NULL, &config, NULL),
			 MAUTH_CONFIG);
}

/* -- bounds -- */

static char *many_tenants_from(unsigned int from, unsigned int tenants, unsigned int domains)
{
	struct mauth_buf buf = { 0 };
	char *text;

	for (unsigned int t = from; t < from + tenants; t++) {
		mauth_buf_printf(&buf, "tenant t%u {\ndomains = {", t);
		for (unsigned int d = 0; d < domains; d++)
			mauth_buf_printf(&buf, "%s\"d%u.t%u.example\"", d > 0 ? ", " : "", d, t);
		mauth_buf_printf(&buf, "}\ntenant_id = t%u.example client_id = " GUID "\n}\n", t);
	}
	text = mauth_strdup(buf.data);
	mauth_buf_free(&buf);
	return text;
}

static char *many_tenants(unsigned int tenants, unsigned int domains)
{
	return many_tenants_from(0, tenants, domains);
}

static void a_thousand_tenants_with_ten_thousand_domains_are_found(void **state)
{
	char *text = many_tenants(1000, 10);
	struct mauth_config *config = load_or_fail(text, NULL);
	const struct mauth_tenant *tenant = mauth_config_tenant_for(config, "D9.T777.Example");

	assert_non_null(tenant);
	assert_string_equal(tenant->name, "t777");
	assert_int_equal(tenant->index, 777);
	assert_null(mauth_config_tenant_for(config, "t777.example"));
	assert_null(mauth_config_tenant_for(config, ""));
	mauth_config_unref(&config);
	free(text);
}

static void more_than_the_bounds_is_refused(void **state)
{
	struct mauth_error error;
	char *text = many_tenants(1001, 1);

	assert_null(config_files_load(text, NULL, &error));
	assert_string_equal(error.text, P "4004: more than 1000 tenants");
	free(text);
	text = many_tenants(10, 1001);
	assert_null(config_files_load(text, NULL, &error));
	assert_string_equal(error.text, P "38: more than 10000 domains");
	free(text);
	text = mauth_new(MAUTH_CONFIG_MAX + 2);
	memset(text, '\n', MAUTH_CONFIG_MAX + 1);
	assert_null(config_files_load(text, NULL, &error));
	assert_string_equal(error.text, P "1: more than 4194304 octets");
	memset(text, '{', MAUTH_CONFIG_MAX);
	text[MAUTH_CONFIG_MAX] = '\0';
	assert_null(config_files_load(text, NULL, &error));
	assert_string_equal(error.text,
			    P "1: \"{\" inside a list; sections do not nest deeper than a list in a section");
	memset(text, 'a', MAUTH_CONFIG_MAX);
	assert_null(config_files_load(text, NULL, &error));
	assert_string_equal(error.text, P "1: a word of more than 4096 octets");
	text[0] = '"';
	assert_null(config_files_load(text, NULL, &error));
	assert_string_equal(error.text, P "1: a string of more than 4096 octets");
	free(text);
}

static void a_client_secret_has_a_longest_size(void **state)
{
	char *secret = mauth_new(4098);
	const struct config_file files[] = { { "/secret", secret, 0, false }, { 0 } };
	struct mauth_error error;
	struct mauth_config *config;

	memset(secret, 's', 4096);
	config = load_or_fail(T("client_secret_file = /secret"), files);
	assert_int_equal(mauth_secret_size(config->tenants[0]->client_secret), 4096);
	mauth_config_unref(&config);
	secret[4096] = 's';
	assert_null(config_files_load(T("client_secret_file = /secret"), files, &error));
	assert_string_equal(error.text, P "5: client_secret_file: /secret has more than 4096 octets; one secret was "
			    "expected");
	free(secret);
}

/* -- certificates, files, warnings, fingerprints, life -- */

static char *bio_text(BIO *bio)
{
	char *data;
	long size = BIO_get_mem_data(bio, &data);
	char *text = mauth_strndup(data, (size_t)size);

	BIO_free(bio);
	return text;
}

static void make_pem(char **certificate_r, char **key_r)
{
	EVP_PKEY *key = EVP_RSA_gen(2048);
	X509 *certificate = X509_new();
	BIO *certificate_bio = BIO_new(BIO_s_mem()), *key_bio = BIO_new(BIO_s_mem());

	X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
	X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
	X509_set_pubkey(certificate, key);
	X509_sign(certificate, key, EVP_sha256());
	PEM_write_bio_X509(certificate_bio, certificate);
	PEM_write_bio_PrivateKey(key_bio, key, NULL, NULL, 0, NULL, NULL);
	X509_free(certificate);
	EVP_PKEY_free(key);
	*certificate_r = bio_text(certificate_bio);
	*key_r = bio_text(key_bio);
}

static void a_certificate_and_its_key_are_loaded(void **state)
{
	char *certificate, *key, *both;
	struct mauth_config *config;

	make_pem(&certificate, &key);
	both = mauth_printf("%s%s", certificate, key);
	config = load_or_fail(
		T("certificate_file = /c\nprivate_key_file = /k"),
		(struct config_file[]){ { "/c", certificate, 0, true }, { "/k", key, 0, false }, { 0 } });
	assert_non_null(config->tenants[0]->assertion_key);
	assert_int_equal(config->files_count, 2);
	mauth_config_unref(&config);
	/* One file with both in it is read once, as a secret. */
	config = load_or_fail(T("certificate_file = /b\nprivate_key_file = /b"),
			      (struct config_file[]){ { "/b", both, 0, false }, { 0 } });
	assert_non_null(config->tenants[0]->assertion_key);
	assert_int_equal(config->files_count, 1);
	mauth_config_unref(&config);
	free(certificate);
	free(key);
	free(both);
}

static void a_secret_may_overlap_with_its_successor_and_with_certificates(void **state)
{
	char *certificate, *key, *second_certificate, *second_key;
	const struct mauth_tenant *tenant;
	struct mauth_config *config;

	make_pem(&certificate, &key);
	make_pem(&second_certificate, &second_key);
	config = load_or_fail(
		T("client_secret_file = {/old, /new} client_secret_expires = {\"2027-03-01\", \"2029-03-01\"}\n"
		  "certificate_file = {/c, /d} private_key_file = {/k, /l} grants = app"),
		(struct config_file[]){ { "/c", certificate, 0, true }, { "/k", key, 0, false },
					{ "/d", second_certificate, 0, true }, { "/l", second_key, 0, false },
					{ "/old", "old one\n", 0, false }, { "/new", "new one", 0, false }, { 0 } });
	tenant = config->tenants[0];
	assert_int_equal(tenant->credentials_count, MAUTH_CREDENTIALS_MAX);
	assert_string_equal(tenant->credentials[0].path, "/c");
	assert_string_equal(tenant->credentials[1].path, "/d");
	assert_string_equal(tenant->credentials[2].path, "/old");
	assert_string_equal(tenant->credentials[3].path, "/new");
	assert_ptr_equal(tenant->assertion_key, tenant->credentials[0].key);
	assert_null(tenant->credentials[0].secret);
	assert_int_equal(tenant->credentials[1].not_after, mauth_assertion_key_not_after(tenant->credentials[1].key));
	assert_ptr_equal(tenant->client_secret, tenant->credentials[2].secret);
	assert_null(tenant->credentials[2].key);
	assert_string_equal(mauth_secret_expose(tenant->credentials[2].secret), "old one");
	assert_int_equal(tenant->credentials[2].not_after, 1803945599);
	assert_string_equal(mauth_secret_expose(tenant->credentials[3].secret), "new one");
	assert_int_equal(tenant->credentials[3].not_after, 1867103999);
	mauth_config_unref(&config);
	free(certificate);
	free(key);
	free(second_certificate);
	free(second_key);
}

static void nobody_may_be_trusted_where_only_entra_decides(void **state)
{
	struct mauth_config *config = load_or_fail(T("verified_by = {}"), NULL);

	assert_false(config->tenants[0]->verified_by_device);
	assert_false(config->tenants[0]->verified_by_dovecot);
	mauth_config_unref(&config);
	config = load_or_fail(T("mailbox_sources = {}"), NULL);
	assert_false(config->tenants[0]->side_by_passdb);
	mauth_config_unref(&config);
}

static void a_secret_read_before_as_no_secret_is_checked_again(void **state)
{
	const struct config_file files[] = { { "/f", "50126 credential bad_credentials counts x\n", 0, true },
					     { 0 } };
	struct mauth_error error;

	assert_null(config_files_load("aadsts_file = /f\n" T("client_secret_file = /f"), files, &error));
	assert_string_equal(error.text, P "6: client_secret_file: /f may be used by everybody");
}

static void remember_warning(void *context, const char *text)
{
	mauth_buf_puts(context, text);
	mauth_buf_puts(context, "\n");
}

static void odd_settings_are_accepted_with_a_warning(void **state)
{
	struct config_file files[] = {
		{ CONFIG_PATH, "min_life = 20m\nlockout {\nthreshold = 10\nthreshold_us_government = 3 }\n"
		  T("cloud = dod client_secret_file = /s mailbox_map = /boxes"), 0, false },
		{ "/s", GUID, 0, false },
		{ 0 }
	};
	struct mauth_buf warnings = { 0 };
	struct mauth_config *config = NULL;

	assert_int_equal(mauth_config_load(CONFIG_PATH, config_files_read, files, remember_warning, &warnings,
					   &config, NULL),
			 MAUTH_OK);
	assert_string_equal(warnings.data,
		P "9: mailbox_map is never read: mailbox_sources does not have \"map\"\n"
		P "9: client_secret_file: /s looks like the secret's ID; Entra wants its value (AADSTS7000215)\n"
		P "1: refresh_ahead is shorter than min_life: tokens are never renewed in the background\n"
		P "3: lockout threshold 10 is no protection; Entra itself locks an account after 10 bad passwords\n"
		P "4: lockout threshold_us_government 3 is no protection; Entra for US Government locks an account "
		"after 3 bad passwords\n");
	mauth_buf_free(&warnings);
	mauth_config_unref(&config);
}

static void the_fingerprint_changes_with_what_decides_the_token(void **state)
{
	static const struct {
		const char *text;
		bool same;
	} others[] = {
		{ T(""), true },
		{ T("proxy = \"http://p:1\" user_realm = no imap = \"imaps://x\""), true },
		{ "deadline = 30s\n" T("client_secret_file = /secret"), true },
		{ T("upn_domain = b.com"), false },
		{ T("client_tokens = no verified_by = dovecot"), true },
		{ T("cloud = gcc-high"), false },
		{ T("app_scope = \"https://outlook.office.com/.default\""), false },
		{ T("graph = \"https://graph.example\""), false },
		{ T("check_accounts = false"), true },
		{ T("grants = {password, enrolled}"), false },
		{ T("authority = \"https://login.microsoftonline.us\""), false },
		{ T("scopes = {\"https://outlook.office.com/IMAP.AccessAsUser.All\"}"), false },
		{ "tenant \"other\" {\n" TENANT_BODY "}", false },
		{ "tenant contoso { domains = {contoso.com} tenant_id = c.onmicrosoft.com client_id = " GUID " }",
		  false },
		{ "tenant contoso { domains = {contoso.com} tenant_id = contoso.onmicrosoft.com client_id = "
		  "00000000-0000-0000-0000-000000000000 }",
		  false },
	};
	struct mauth_config *first = load_or_fail(T(""), NULL);

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		struct mauth_config *other = load_or_fail(others[i].text, broken_files);

		if ((memcmp(first->tenants[0]->fingerprint, other->tenants[0]->fingerprint, 32) == 0) !=
		    others[i].same)
			fail_msg("fingerprint of %s", others[i].text);
		mauth_config_unref(&other);
	}
	mauth_config_unref(&first);
}

/* Two tenants with a key in common, one of two thousand million pairs. */
#define TWIN_A 11811u
#define TWIN_B 36027u

struct found_key {
	uint32_t key;
	unsigned int name;
};

static int compare_found(const void *a, const void *b)
{
	uint32_t left = ((const struct found_key *)a)->key, right = ((const struct found_key *)b)->key;

	return left == right ? 0 : left < right ? -1 : 1;
}

/* Looks for two tenants of the names t0, t1, ... that have a key in common. */
static void find_twins(void)
{
	static struct found_key keys[150000];
	size_t count = 0;

	for (unsigned int from = 0; count + 3000 <= sizeof(keys) / sizeof(keys[0]); from += 1000) {
		char *text = many_tenants_from(from, 1000, 1);
		struct mauth_config *config = config_files_load(text, NULL, NULL);

		free(text);
		for (unsigned int t = 0; config != NULL && t < config->tenants_count; t++) {
			for (size_t g = 0; g < MAUTH_GRANT_COUNT; g++)
				keys[count++] = (struct found_key){ config->tenants[t]->keys[g], from + t };
		}
		mauth_config_unref(&config);
	}
	qsort(keys, count, sizeof(keys[0]), compare_found);
	for (size_t i = 1; i < count; i++) {
		if (keys[i - 1].key == keys[i].key)
			print_message("same key: t%u and t%u\n", keys[i - 1].name, keys[i].name);
	}
}

static void tenants_that_share_a_key_are_refused(void **state)
{
	struct mauth_error error;
	char *a = many_tenants_from(TWIN_A, 1, 1), *b = many_tenants_from(TWIN_B, 1, 1);
	char *text = mauth_printf("%s%s", a, b);
	char *message = mauth_printf(P "5: tenant \"t%u\" cannot be told from tenant \"t%u\" by the checksum that "
				     "names it in tables; give it another name", TWIN_B, TWIN_A);
	struct mauth_config *config = config_files_load(text, NULL, &error);

	if (config != NULL) {
		find_twins();
		fail_msg("the fingerprint has changed: put one of the pairs above into TWIN_A and TWIN_B");
	}
	assert_string_equal(error.text, message);
	free(a);
	free(b);
	free(text);
	free(message);
}

static void the_last_reference_frees(void **state)
{
	struct mauth_config *config = load_or_fail(T(""), NULL), *second = mauth_config_ref(config);

	mauth_config_unref(&config);
	assert_string_equal(second->tenants[0]->name, "contoso");
	mauth_config_unref(&second);
	mauth_config_unref(&second);    /* NULL is allowed */
}

/* -- the real reader -- */

struct scratch {
	char dir[64], file[96];
};

static void write_file(const char *path, const char *content, size_t size, mode_t mode)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_int_equal(fwrite(content, 1, size, file), size);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(chmod(path, mode), 0);
}

static int scratch_new(void **state)
{
	struct scratch *scratch = mauth_new(sizeof(*scratch));

	strcpy(scratch->dir, "/tmp/modernauth-test-XXXXXX");
	if (mkdtemp(scratch->dir) == NULL)
		return -1;
	snprintf(scratch->file, sizeof(scratch->file), "%s/file", scratch->dir);
	*state = scratch;
	return 0;
}

static int scratch_free(void **state)
{
	struct scratch *scratch = *state;

	unlink(scratch->file);
	rmdir(scratch->dir);
	free(scratch);
	return 0;
}

static void the_reader_reads_regular_files(void **state)
{
	struct scratch *scratch = *state;
	struct mauth_secret *content = NULL;

	write_file(scratch->file, "a\0b\n", 4, 0644);
	assert_int_equal(mauth_config_read_file(NULL, scratch->file, false, &content, NULL), MAUTH_OK);
	assert_int_equal(mauth_secret_size(content), 4);
	assert_memory_equal(mauth_secret_expose(content), "a\0b\n", 4);
	mauth_secret_free(&content);
	write_file(scratch->file, "", 0, 0644);
	assert_int_equal(mauth_config_read_file(NULL, scratch->file, false, &content, NULL), MAUTH_OK);
	assert_int_equal(mauth_secret_size(content), 0);
	mauth_secret_free(&content);
}

static void the_reader_refuses_secrets_that_others_may_use(void **state)
{
	static const mode_t good[] = { 0600, 0400, 0640, 0660 }, bad[] = { 0604, 0602, 0601, 0644, 0666 };
	struct scratch *scratch = *state;
	struct mauth_secret *content = NULL;
	struct mauth_error error;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		write_file(scratch->file, "s", 1, good[i]);
		assert_int_equal(mauth_config_read_file(NULL, scratch->file, true, &content, &error), MAUTH_OK);
		mauth_secret_free(&content);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		write_file(scratch->file, "s", 1, bad[i]);
		assert_int_equal(mauth_config_read_file(NULL, scratch->file, true, &content, &error), MAUTH_CONFIG);
		assert_non_null(strstr(error.text, "may be used by everybody"));
		assert_null(content);
	}
}

static void the_reader_refuses_what_is_no_file_or_too_long(void **state)
{
	struct scratch *scratch = *state;
	struct mauth_secret *content = NULL;
	struct mauth_error error;
	char *data = mauth_new(MAUTH_CONFIG_MAX + 1);

	assert_int_equal(mauth_config_read_file(NULL, scratch->dir, false, &content, &error), MAUTH_CONFIG);
	assert_non_null(strstr(error.text, "is not a regular file"));
	assert_int_equal(mauth_config_read_file(NULL, scratch->file, false, &content, &error), MAUTH_CONFIG);
	assert_non_null(strstr(error.text, "No such file"));
	write_file(scratch->file, data, MAUTH_CONFIG_MAX, 0600);
	assert_int_equal(mauth_config_read_file(NULL, scratch->file, true, &content, &error), MAUTH_OK);
	mauth_secret_free(&content);
	write_file(scratch->file, data, MAUTH_CONFIG_MAX + 1, 0600);
	assert_int_equal(mauth_config_read_file(NULL, scratch->file, true, &content, &error), MAUTH_CONFIG);
	assert_non_null(strstr(error.text, "more than 4194304 octets"));
	unlink(scratch->file);
	assert_int_equal(mkfifo(scratch->file, 0600), 0);
	assert_int_equal(mauth_config_read_file(NULL, scratch->file, true, &content, &error), MAUTH_CONFIG);
	assert_non_null(strstr(error.text, "is not a regular file"));
	free(data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults_are_those_of_the_documentation),
		cmocka_unit_test(every_setting_arrives_where_it_belongs),
		cmocka_unit_test(clouds_have_their_own_hosts),
		cmocka_unit_test(broken_configurations_are_refused_with_file_line_and_reason),
		cmocka_unit_test(errors_of_files_name_both_places),
		cmocka_unit_test(libconfuse_writes_nothing_to_stderr),
		cmocka_unit_test(a_refusal_leaves_the_result_alone),
		cmocka_unit_test(a_thousand_tenants_with_ten_thousand_domains_are_found),
		cmocka_unit_test(more_than_the_bounds_is_refused),
		cmocka_unit_test(a_client_secret_has_a_longest_size),
		cmocka_unit_test(a_certificate_and_its_key_are_loaded),
		cmocka_unit_test(a_secret_may_overlap_with_its_successor_and_with_certificates),
		cmocka_unit_test(nobody_may_be_trusted_where_only_entra_decides),
		cmocka_unit_test(a_secret_read_before_as_no_secret_is_checked_again),
		cmocka_unit_test(odd_settings_are_accepted_with_a_warning),
		cmocka_unit_test(the_fingerprint_changes_with_what_decides_the_token),
		cmocka_unit_test(tenants_that_share_a_key_are_refused),
		cmocka_unit_test(the_last_reference_frees),
		cmocka_unit_test_setup_teardown(the_reader_reads_regular_files, scratch_new, scratch_free),
		cmocka_unit_test_setup_teardown(the_reader_refuses_secrets_that_others_may_use, scratch_new,
						scratch_free),
		cmocka_unit_test_setup_teardown(the_reader_refuses_what_is_no_file_or_too_long, scratch_new,
						scratch_free),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
