/* SPDX-License-Identifier: MIT */
#include "config_files.h"
#include "core/clouds.h"
#include "core/diagnose.h"
#include "core/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define NOW 1795708800                   /* Thu, 26 Nov 2026 16:00:00 GMT */
#define DAY 86400
#define TENANT_GUID "c0000000-0000-4000-8000-000000000001"
#define EXCHANGE "https://outlook.office365.com"
#define APP_ROLES "\"roles\":[\"IMAP.AccessAsApp\",\"POP.AccessAsApp\",\"SMTP.SendAsApp\"]"
#define SCP "\"scp\":\"IMAP.AccessAsUser.All POP.AccessAsUser.All SMTP.Send\""

static struct mauth_tenant contoso = {
	.name = (char[]){ "contoso" },
	.tenant_id = (char[]){ "contoso.com" },
	.cloud = (char[]){ "worldwide" },
	.client_id = (char[]){ "app-id" },
	.user_realm = true,
};

static void expect(const struct mauth_diag_row *row, enum mauth_diag_result result, const char *seen, const char *fix)
{
	if (row->result != result || strstr(row->seen, seen) == NULL ||
	    (fix == NULL ? row->fix[0] != '\0' : strstr(row->fix, fix) == NULL))
		fail_msg("%s: \"%s\", fix \"%s\"; expected %s: \"%s\", fix \"%s\"", mauth_diag_result_name(row->result),
			 row->seen, row->fix, mauth_diag_result_name(result), seen, fix == NULL ? "" : fix);
}

/* -- rows --------------------------------------------------------------------------------------------------- */

static void what_peers_say_stays_one_line_and_within_bounds(void **state)
{
	char *much = mauth_new(5000);
	struct mauth_diag_row row;

	memset(much, 'x', 4999);
	mauth_diag_fail(&row, "a\r\nb\tc %s", much);
	assert_null(strpbrk(row.seen, "\r\n\t"));
	assert_int_equal(strlen(row.seen), sizeof(row.seen) - 1);
	assert_string_equal(row.fix, "");
	mauth_diag_fix(&row, "first");
	mauth_diag_fix(&row, "second\n");
	assert_string_equal(row.fix, "first; second?");
	for (int i = 0; i < 3; i++)
		mauth_diag_fix(&row, "%s", much);
	assert_int_equal(strlen(row.fix), sizeof(row.fix) - 1);
	free(much);
}

static void errors_keep_their_advice(void **state)
{
	struct mauth_error error = { .text = "seen", .advice = "do this" };
	struct mauth_diag_row row;

	mauth_diag_error(&row, &error);
	expect(&row, MAUTH_DIAG_FAIL, "seen", "do this");
	error.advice[0] = '\0';
	mauth_diag_error(&row, &error);
	expect(&row, MAUTH_DIAG_FAIL, "seen", NULL);
}

/* -- this machine ------------------------------------------------------------------------------------------- */

static void permissions_of_files(void **state)
{
	static const struct {
		unsigned int mode;
		bool secret;
		enum mauth_diag_result result;
		const char *fix;
	} rows[] = {
		{ 0100600, true, MAUTH_DIAG_PASS, NULL }, { 0100640, true, MAUTH_DIAG_PASS, NULL },
		{ 0100644, true, MAUTH_DIAG_FAIL, "chmod o= /s" }, { 0100601, true, MAUTH_DIAG_FAIL, "chmod o= /s" },
		{ 0100660, true, MAUTH_DIAG_WARN, "chmod go-w /s" }, { 0100644, false, MAUTH_DIAG_PASS, NULL },
		{ 0100666, false, MAUTH_DIAG_WARN, "chmod go-w /s" },
	};
	struct mauth_diag_row row;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		mauth_diag_file(&row, "/s", rows[i].mode, rows[i].secret);
		expect(&row, rows[i].result, "/s", rows[i].fix);
	}
}

static void ends_of_credentials(void **state)
{
	struct mauth_secret *secret = mauth_secret_new("x", 1);
	struct mauth_credential certificate = { .path = (char[]){"/c.pem"}, .not_after = NOW + 40 * DAY };
	struct mauth_credential password = { .path = (char[]){"/s"}, .secret = secret };
	struct mauth_diag_row row;

	mauth_diag_credential(&row, &certificate, NOW, 30 * DAY, 0);
	expect(&row, MAUTH_DIAG_PASS, "certificate /c.pem, 40 days left", NULL);
	mauth_diag_credential(&row, &certificate, NOW, 40 * DAY, 0);
	expect(&row, MAUTH_DIAG_WARN, "ends in 40 days", "openssl req");
	mauth_diag_credential(&row, &certificate, NOW + 42 * DAY, 30 * DAY, 0);
	expect(&row, MAUTH_DIAG_FAIL, "ended 2 days ago", "Certificates & secrets > Certificates");
	mauth_diag_credential(&row, &certificate, NOW, 30 * DAY, 700027);
	expect(&row, MAUTH_DIAG_FAIL, "AADSTS700027", "upload");
	mauth_diag_credential(&row, &password, NOW, 30 * DAY, 0);
	expect(&row, MAUTH_DIAG_PASS, "client_secret_expires", NULL);
	password.not_after = NOW - 1;
	mauth_diag_credential(&row, &password, NOW, 30 * DAY, 0);
	expect(&row, MAUTH_DIAG_FAIL, "client secret /s ended", "New client secret");
	mauth_secret_free(&secret);
}

static void clocks(void **state)
{
	static const struct {
		const char *date;
		enum mauth_diag_result result;
		const char *seen;
	} rows[] = {
		{ "Thu, 26 Nov 2026 16:00:00 GMT", MAUTH_DIAG_PASS, "within 0 s" },
		{ "Thu, 26 Nov 2026 16:00:59 GMT", MAUTH_DIAG_PASS, "within 59 s" },
		{ "Thu, 26 Nov 2026 16:01:00 GMT", MAUTH_DIAG_WARN, "1 min 0 s behind" },
		{ "Thu, 26 Nov 2026 15:50:00 GMT", MAUTH_DIAG_FAIL, "10 min 0 s ahead of" },
		{ "Thu, 26 Nov 2026 16:04:00 GMT", MAUTH_DIAG_FAIL, "4 min 0 s behind" },
		{ "Mon, 23 Nov 2026 16:00:00 GMT", MAUTH_DIAG_FAIL, "3 days ahead" },
		{ "yesterday", MAUTH_DIAG_WARN, "no date" }, { "", MAUTH_DIAG_WARN, "no date" },
	};
	struct mauth_diag_row row;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		mauth_diag_clock(&row, rows[i].date, NOW);
		expect(&row, rows[i].result, rows[i].seen, rows[i].result == MAUTH_DIAG_PASS ? NULL : "chronyc");
	}
}

/* -- the tenant --------------------------------------------------------------------------------------------- */

static struct mauth_aadsts_table *table;

static struct mauth_diag_tenant found(const char *members)
{
	char *body = mauth_printf("{\"token_endpoint\":\"https://l/" TENANT_GUID "/oauth2/v2.0/token\",%s}", members);
	struct mauth_diag_tenant tenant;
	struct mauth_error error;

	assert_int_equal(mauth_diag_read_tenant(table, 200, body, strlen(body), &tenant, &error), MAUTH_OK);
	free(body);
	return tenant;
}

static void clouds_are_told_apart(void **state)
{
	static const struct {
		const char *members, *cloud;
	} rows[] = {
		{ "\"cloud_instance_name\":\"microsoftonline.com\",\"tenant_region_scope\":\"EU\"", "worldwide" },
		{ "\"cloud_instance_name\":\"microsoftonline.com\",\"tenant_region_scope\":\"NA\",\"tenant_region_sub_"
		  "scope\":\"GCC\"",
		  "gcc" },
		{ "\"cloud_instance_name\":\"microsoftonline.us\",\"tenant_region_scope\":\"USGov\"", "gcc-high" },
		{ "\"cloud_instance_name\":\"microsoftonline.us\",\"tenant_region_scope\":\"USG\",\"tenant_region_sub_"
		  "scope\":\"DODCON\"",
		  "gcc-high" },
		{ "\"cloud_instance_name\":\"microsoftonline.us\",\"tenant_region_scope\":\"USG\",\"tenant_region_sub_"
		  "scope\":\"DOD\"",
		  "dod" },
		{ "\"cloud_instance_name\":\"microsoftonline.com\",\"tenant_region_scope\":\"USG\",\"tenant_region_sub_"
		  "scope\":\"DOD\"",
		  "dod" },
		{ "\"cloud_instance_name\":\"partner.microsoftonline.cn\",\"tenant_region_scope\":\"AS\"", "china" },
		{ "\"cloud_instance_name\":\"elsewhere.example\"", "" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct mauth_diag_tenant tenant = found(rows[i].members);

		assert_string_equal(tenant.cloud, rows[i].cloud);
		assert_string_equal(tenant.tenant_id, TENANT_GUID);
		if (*rows[i].cloud != '\0')
			assert_non_null(mauth_cloud_find(rows[i].cloud));
	}
}

static void the_wrong_cloud_is_named(void **state)
{
	struct mauth_diag_tenant tenant =
		found("\"cloud_instance_name\":\"microsoftonline.us\",\"tenant_region_scope\":\"USG\"");
	struct mauth_diag_row row;

	mauth_diag_cloud(&row, &contoso, &tenant);
	expect(&row, MAUTH_DIAG_FAIL, "cloud is \"worldwide\", but the tenant lives in \"gcc-high\"",
	       "cloud = \"gcc-high\"");
	tenant = found("\"cloud_instance_name\":\"microsoftonline.com\",\"tenant_region_sub_scope\":\"GCC\"");
	mauth_diag_cloud(&row, &contoso, &tenant);
	expect(&row, MAUTH_DIAG_PASS, "worldwide", NULL);
	tenant = found("\"cloud_instance_name\":\"x\"");
	mauth_diag_cloud(&row, &contoso, &tenant);
	expect(&row, MAUTH_DIAG_WARN, "does not say", "gcc-high");
}

static void a_tenant_that_is_not_there(void **state)
{
	static const char body[] =
		"{\"error\":\"invalid_tenant\",\"error_description\":\"AADSTS90002: Tenant 'x' not found.\","
		"\"error_codes\":[90002]}";
	struct mauth_diag_tenant tenant = { 0 };
	struct mauth_diag_row row;
	struct mauth_error error = { 0 };

	assert_int_equal(mauth_diag_read_tenant(table, 400, body, strlen(body), &tenant, &error), MAUTH_CONFIG);
	assert_int_equal(error.code, 90002);
	assert_non_null(strstr(error.advice, "tenant_id"));
	assert_int_equal(mauth_diag_read_tenant(table, 200, "<html>", 6, &tenant, &error), MAUTH_PROTOCOL);
	assert_int_not_equal(mauth_diag_read_tenant(table, 503, "<html>", 6, &tenant, &error), MAUTH_OK);
	mauth_diag_tenant(&row, &contoso, &tenant);
	expect(&row, MAUTH_DIAG_WARN, "no tenant of its own", "tenant_id = ");
	(void)snprintf(tenant.tenant_id, sizeof(tenant.tenant_id), TENANT_GUID);
	mauth_diag_tenant(&row, &contoso, &tenant);
	expect(&row, MAUTH_DIAG_PASS, TENANT_GUID, NULL);
}

static void realms(void **state)
{
	struct mauth_tenant cloud_passwords = contoso;
	struct mauth_diag_row row;

	cloud_passwords.user_realm = false;
	mauth_diag_realm(&row, &contoso, "d", MAUTH_REALM_MANAGED, true, false);
	expect(&row, MAUTH_DIAG_PASS, "managed", NULL);
	mauth_diag_realm(&row, &contoso, "d", MAUTH_REALM_FEDERATED, true, false);
	expect(&row, MAUTH_DIAG_FAIL, "50126", "enroll");
	mauth_diag_realm(&row, &contoso, "d", MAUTH_REALM_FEDERATED, true, true);
	expect(&row, MAUTH_DIAG_WARN, "federated", "enroll");
	mauth_diag_realm(&row, &contoso, "d", MAUTH_REALM_FEDERATED, false, true);
	expect(&row, MAUTH_DIAG_PASS, "federated", NULL);
	mauth_diag_realm(&row, &cloud_passwords, "d", MAUTH_REALM_FEDERATED, true, false);
	expect(&row, MAUTH_DIAG_PASS, "user_realm = false", NULL);
	mauth_diag_realm(&row, &contoso, "d", MAUTH_REALM_UNKNOWN, true, false);
	expect(&row, MAUTH_DIAG_WARN, "does not know the domain d", "Domain names");
}

/* -- tokens ------------------------------------------------------------------------------------------------- */

static struct mauth_secret *token_of(const char *claims)
{
	struct mauth_buf text = { 0 };
	struct mauth_secret *token;

	mauth_buf_puts(&text, "e30.");
	mauth_base64url_encode(&text, claims, strlen(claims));
	mauth_buf_puts(&text, ".sig");
	token = mauth_secret_new(text.data, text.size);
	mauth_buf_free(&text);
	return token;
}

static void what_tokens_are_good_for(void **state)
{
	static const struct {
		const char *claims;
		enum mauth_grant_type grant;
		unsigned int have;
		enum mauth_diag_result result;
		const char *seen, *fix;
	} rows[] = {
		{ "{\"aud\":\"" EXCHANGE "\",\"tid\":\"" TENANT_GUID "\"," APP_ROLES "}", MAUTH_GRANT_APP, 7,
		  MAUTH_DIAG_PASS, "IMAP.AccessAsApp", NULL },
		{ "{\"aud\":\"00000002-0000-0ff1-ce00-000000000000\"," SCP "}", MAUTH_GRANT_PASSWORD, 7,
		  MAUTH_DIAG_PASS, "SMTP.Send", NULL },
		{ "{\"aud\":\"https://outlook.office.com\"," SCP "}", MAUTH_GRANT_ENROLLED, 7, MAUTH_DIAG_PASS,
		  "SMTP.Send", NULL },
		/* a user's permissions are none of the application's, and a longer word is another one */
		{ "{\"aud\":\"" EXCHANGE "\"," SCP "}", MAUTH_GRANT_APP, 0, MAUTH_DIAG_FAIL, "IMAP.AccessAsApp",
		  "Application permissions" },
		{ "{\"aud\":\"" EXCHANGE "\",\"scp\":\"IMAP.AccessAsUser.Allx xSMTP.Send\"}", MAUTH_GRANT_PASSWORD, 0,
		  MAUTH_DIAG_FAIL, "IMAP.AccessAsUser.All, POP.AccessAsUser.All, SMTP.Send", "Delegated permissions" },
		{ "{\"aud\":\"" EXCHANGE "\",\"roles\":[\"SMTP.SendAsApp\",7,\"a b\"]}", MAUTH_GRANT_APP, 4,
		  MAUTH_DIAG_WARN, "no IMAP, POP3 with it", "IMAP.AccessAsApp, POP.AccessAsApp" },
		{ "{\"aud\":\"https://graph.microsoft.com\"," SCP "}", MAUTH_GRANT_PASSWORD, 0, MAUTH_DIAG_FAIL,
		  "Microsoft Graph", "scopes" },
		{ "{\"aud\":\"00000003-0000-0000-c000-000000000000\"," APP_ROLES "}", MAUTH_GRANT_APP, 0,
		  MAUTH_DIAG_FAIL, "Microsoft Graph", "app_scope" },
		{ "{\"aud\":\"https://graph.microsoft.us\"," SCP "}", MAUTH_GRANT_PASSWORD, 0, MAUTH_DIAG_FAIL,
		  "Microsoft Graph", "scopes" },
		{ "{" SCP "}", MAUTH_GRANT_PASSWORD, 0, MAUTH_DIAG_FAIL, "not for Exchange", "scopes" },
		{ "{\"aud\":\"" EXCHANGE "\",\"tid\":\"f0000000-0000-4000-8000-000000000002\"," SCP "}",
		  MAUTH_GRANT_PASSWORD, 0, MAUTH_DIAG_FAIL, "of tenant f0000000", "tenant_id = \"f0000000" },
	};
	struct mauth_secret *opaque = mauth_secret_new("opaque", 6);
	struct mauth_diag_row row;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct mauth_secret *token = token_of(rows[i].claims);

		assert_int_equal(mauth_diag_rights(&row, &contoso, rows[i].grant, token, TENANT_GUID), rows[i].have);
		expect(&row, rows[i].result, rows[i].seen, rows[i].fix);
		mauth_secret_free(&token);
	}
	assert_int_equal(mauth_diag_rights(&row, &contoso, MAUTH_GRANT_APP, opaque, TENANT_GUID), 7);
	expect(&row, MAUTH_DIAG_WARN, "cannot be read", NULL);
	mauth_secret_free(&opaque);
}

static void refused_tokens(void **state)
{
	struct mauth_error error = { .status = MAUTH_INTERACTION, .text = "AADSTS53003", .advice = "see the log" };
	struct mauth_diag_row row;

	mauth_diag_token(&row, MAUTH_GRANT_APP, NULL, "", 3600);
	expect(&row, MAUTH_DIAG_PASS, "1 h 0 min", NULL);
	mauth_diag_token(&row, MAUTH_GRANT_APP, &error, "", 0);
	expect(&row, MAUTH_DIAG_FAIL, "AADSTS53003", "see the log");
	assert_null(strstr(row.fix, "enroll"));
	mauth_diag_token(&row, MAUTH_GRANT_PASSWORD, &error, "policy-7", 0);
	expect(&row, MAUTH_DIAG_FAIL, "AADSTS53003; Conditional Access policy policy-7",
	       "see the log; Entra admin center");
	expect(&row, MAUTH_DIAG_FAIL, "", "policy-7");
	expect(&row, MAUTH_DIAG_FAIL, "", "enroll");
}

/* -- mail --------------------------------------------------------------------------------------------------- */

static void mail_hosts(void **state)
{
	const struct mauth_endpoint endpoint = { "outlook.office365.com", 993, MAUTH_TLS_IMPLICIT };
	const struct mauth_probe_result good = {
		.logged_in = true, .completed = true, .reply = "", .address = "192.0.2.1"
	};
	const struct mauth_probe_result odd = { .reply = "220 ftp", .address = "" };
	struct mauth_error error = { .status = MAUTH_CONFIG, .text = "certificate" };
	struct mauth_diag_row row;

	mauth_diag_host(&row, &endpoint, &good, NULL, NULL);
	expect(&row, MAUTH_DIAG_PASS, "outlook.office365.com:993 answers at 192.0.2.1", NULL);
	mauth_diag_host(&row, &endpoint, &odd, NULL, NULL);
	expect(&row, MAUTH_DIAG_FAIL, "220 ftp", "check host");
	mauth_diag_host(&row, &endpoint, NULL, &error, "/ca.pem");
	expect(&row, MAUTH_DIAG_FAIL, "certificate", "ssl_ca = <");
	error.status = MAUTH_TIMEOUT;
	mauth_diag_host(&row, &endpoint, NULL, &error, "/ca.pem");
	expect(&row, MAUTH_DIAG_FAIL, "certificate", "let this machine out to outlook.office365.com port 993");
}

struct mailbox_row {
	enum mauth_service service;
	enum mauth_grant_type grant;
	bool foreign, fits, works, taken;
	bool logged_in, completed;
	const char *reply;
	enum mauth_diag_result result;
	const char *first, *also, *never;    /* how the fix begins, what else is in it, what must not be */
};

static void judge_mailbox(const struct mailbox_row *it)
{
	struct mauth_mailbox where = { .account = "a@x.test", .mailbox = "a@x.test" };
	const struct mauth_probe_result probe = {
		.logged_in = it->logged_in, .completed = it->completed, .reply = it->reply, .address = ""
	};
	const struct mauth_diag_mailbox facts = {
		.where = &where, .service = it->service, .grant = it->grant, .token_fits = it->fits, .probe = &probe,
		.other_service_works = it->works, .other_service_takes_token = it->taken, .client_id = "app-id",
	};
	const char *first;
	struct mauth_diag_row row;

	if (it->foreign)
		(void)snprintf(where.mailbox, sizeof(where.mailbox), "shared@x.test");
	mauth_diag_mailbox(&row, &facts);
	expect(&row, it->result, it->reply, it->result == MAUTH_DIAG_PASS ? NULL : it->also);
	first = it->first == NULL ? row.fix : strstr(row.fix, it->first);
	if (first == NULL || (strstr(row.fix, "; ") != NULL && first > strstr(row.fix, "; ")))
		fail_msg("\"%s\" does not begin with \"%s\" (%s)", row.fix, it->first, it->reply);
	if (it->never != NULL && strstr(row.fix, it->never) != NULL)
		fail_msg("\"%s\" has \"%s\" (%s)", row.fix, it->never, it->reply);
}

static void mailboxes(void **state)
{
#define NOT_CONNECTED "A003 BAD User is authenticated but not connected."
	static const struct mailbox_row rows[] = {
		{ MAUTH_SERVICE_IMAP, MAUTH_GRANT_APP, false, true, false, false, true, true, "A003 OK done",
		  MAUTH_DIAG_PASS, NULL, "", NULL },
		/* nothing works: the permission; the other one works: the switch */
		{ MAUTH_SERVICE_IMAP, MAUTH_GRANT_APP, false, true, false, true, true, false, NOT_CONNECTED,
		  MAUTH_DIAG_FAIL, "Add-MailboxPermission -Identity a@x.test", "-ImapEnabled", "New-ServicePrincipal" },
		{ MAUTH_SERVICE_IMAP, MAUTH_GRANT_APP, false, true, true, true, true, false, NOT_CONNECTED,
		  MAUTH_DIAG_FAIL, "Set-CASMailbox a@x.test -ImapEnabled $true", "Add-MailboxPermission",
		  "Get-EXOMailbox" },
		{ MAUTH_SERVICE_POP3, MAUTH_GRANT_PASSWORD, false, true, false, true, true, false,
		  "-ERR Server Unavailable. 21", MAUTH_DIAG_FAIL, "Set-CASMailbox a@x.test -PopEnabled $true",
		  "Get-EXOMailbox", "Add-MailboxPermission" },
		{ MAUTH_SERVICE_IMAP, MAUTH_GRANT_ENROLLED, true, true, false, true, true, false, NOT_CONNECTED,
		  MAUTH_DIAG_FAIL, "Add-MailboxPermission -Identity shared@x.test -User a@x.test", "-ImapEnabled",
		  NULL },
		{ MAUTH_SERVICE_IMAP, MAUTH_GRANT_APP, false, false, false, true, true, false, NOT_CONNECTED,
		  MAUTH_DIAG_FAIL, "\"rights\"", "Add-MailboxPermission", NULL },
		/* refused */
		{ MAUTH_SERVICE_IMAP, MAUTH_GRANT_APP, false, true, false, false, false, false,
		  "A002 NO AUTHENTICATE failed.", MAUTH_DIAG_FAIL, "Get-ServicePrincipal | Where AppId -eq app-id",
		  "New-ServicePrincipal -AppId app-id", NULL },
		{ MAUTH_SERVICE_IMAP, MAUTH_GRANT_PASSWORD, false, true, false, false, false, false,
		  "A002 NO AUTHENTICATE failed.", MAUTH_DIAG_FAIL, "Get-EXOMailbox", "", "ServicePrincipal" },
		{ MAUTH_SERVICE_SUBMISSION, MAUTH_GRANT_APP, false, true, false, true, false, false,
		  "535 5.7.3 unsuccessful", MAUTH_DIAG_FAIL, "Add-RecipientPermission a@x.test", "SendAs",
		  "New-ServicePrincipal" },
		{ MAUTH_SERVICE_SUBMISSION, MAUTH_GRANT_APP, false, true, false, false, false, false,
		  "535 5.7.3 unsuccessful", MAUTH_DIAG_FAIL, "Get-ServicePrincipal", "Set-CASMailbox", NULL },
		/* SMTP's own words */
		{ MAUTH_SERVICE_SUBMISSION, MAUTH_GRANT_APP, false, true, true, true, false, false,
		  "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant.",
		  MAUTH_DIAG_FAIL, NULL, "Set-TransportConfig -SmtpClientAuthenticationDisabled $false",
		  "ServicePrincipal" },
		{ MAUTH_SERVICE_SUBMISSION, MAUTH_GRANT_APP, false, true, true, true, false, false,
		  "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Mailbox.",
		  MAUTH_DIAG_FAIL, NULL, "Set-CASMailbox a@x.test -SmtpClientAuthenticationDisabled $false",
		  "Set-TransportConfig" },
		{ MAUTH_SERVICE_SUBMISSION, MAUTH_GRANT_APP, false, true, true, true, false, false,
		  "535 5.7.139 Authentication unsuccessful, user is locked by your organization's security defaults "
		  "policy.",
		  MAUTH_DIAG_FAIL, NULL, "Manage security defaults", NULL },
		{ MAUTH_SERVICE_SUBMISSION, MAUTH_GRANT_APP, false, true, true, true, false, false,
		  "535 5.7.139 Authentication unsuccessful, the request did not meet the criteria to be authenticated",
		  MAUTH_DIAG_FAIL, NULL, "Conditional Access", NULL },
		{ MAUTH_SERVICE_SUBMISSION, MAUTH_GRANT_APP, false, true, true, true, false, false,
		  "535 5.7.139 Authentication unsuccessful, basic authentication is disabled.", MAUTH_DIAG_FAIL, NULL,
		  "AllowBasicAuthSmtp", NULL },
		{ MAUTH_SERVICE_SUBMISSION, MAUTH_GRANT_APP, false, true, true, true, false, false,
		  "550 5.7.30 Basic authentication is not supported for Client Submission.", MAUTH_DIAG_FAIL, NULL,
		  "rewrites AUTH", NULL },
		{ MAUTH_SERVICE_SUBMISSION, MAUTH_GRANT_APP, false, true, true, true, false, false,
		  "432 4.3.2 Concurrent connections limit exceeded.", MAUTH_DIAG_FAIL, NULL, "three", NULL },
		{ MAUTH_SERVICE_SUBMISSION, MAUTH_GRANT_APP, false, true, true, true, false, false, "421 4.3.2 busy",
		  MAUTH_DIAG_FAIL, NULL, "status.cloud.microsoft", NULL },
		{ MAUTH_SERVICE_SUBMISSION, MAUTH_GRANT_APP, false, true, true, true, false, false,
		  "501 5.5.127 Invalid XOAUTH2 auth data - Token will expire soon", MAUTH_DIAG_FAIL, NULL,
		  "forget a@x.test", NULL },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		judge_mailbox(&rows[i]);
}

static void a_mailbox_that_was_not_reached(void **state)
{
	const struct mauth_error error = { .status = MAUTH_TIMEOUT, .text = "no answer within 30 s" };
	const struct mauth_mailbox where = { .account = "a@x.test", .mailbox = "a@x.test" };
	struct mauth_diag_row row;

	mauth_diag_mailbox(&row, &(struct mauth_diag_mailbox){ .where = &where, .error = &error, .client_id = "" });
	expect(&row, MAUTH_DIAG_FAIL, "no answer within 30 s", NULL);
}

/* -- the line of a protocol --------------------------------------------------------------------------------- */

static void protocols(void **state)
{
	static const struct {
		struct mauth_diag_protocol facts;
		const char *seen;
	} rows[] = {
		{ { MAUTH_SERVICE_POP3, NOW, "tickets", "upgraded", 130, 12, 3 },
		  "basic at Microsoft: off   here: upgraded (rule \"tickets\", 130 days left)   last 30 days: 12 "
		  "users, 3 clients" },
		{ { MAUTH_SERVICE_IMAP, NOW, NULL, "upgraded", -1, -1, -1 },
		  "basic at Microsoft: off   here: upgraded" },
		{ { MAUTH_SERVICE_IMAP, NOW, NULL, NULL, 0, 0, 0 },
		  "basic at Microsoft: off   here: not served (0 days left)   last 30 days: 0 users, 0 clients" },
		/* the last second of 2026 and the first of 2027 */
		{ { MAUTH_SERVICE_SUBMISSION, 1798761599, NULL, "upgraded", -1, -1, -1 },
		  "basic at Microsoft: on where the tenant allows it, until the end of December 2026   here: "
		  "upgraded" },
		{ { MAUTH_SERVICE_SUBMISSION, 1798761600, NULL, "upgraded", -1, -1, -1 },
		  "basic at Microsoft: off by default, an admin can still turn it on   here: upgraded" },
	};
	struct mauth_diag_row row;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		mauth_diag_protocol(&row, &rows[i].facts);
		assert_string_equal(row.seen, rows[i].seen);
		assert_int_equal(row.result, MAUTH_DIAG_PASS);
	}
}

static int make_table(void **state)
{
	table = mauth_aadsts_new();
	return 0;
}

static int free_table(void **state)
{
	mauth_aadsts_free(&table);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_peers_say_stays_one_line_and_within_bounds),
		cmocka_unit_test(errors_keep_their_advice),
		cmocka_unit_test(permissions_of_files),
		cmocka_unit_test(ends_of_credentials),
		cmocka_unit_test(clocks),
		cmocka_unit_test(clouds_are_told_apart),
		cmocka_unit_test(the_wrong_cloud_is_named),
		cmocka_unit_test(a_tenant_that_is_not_there),
		cmocka_unit_test(realms),
		cmocka_unit_test(what_tokens_are_good_for),
		cmocka_unit_test(refused_tokens),
		cmocka_unit_test(mail_hosts),
		cmocka_unit_test(mailboxes),
		cmocka_unit_test(a_mailbox_that_was_not_reached),
		cmocka_unit_test(protocols),
	};

	return cmocka_run_group_tests(tests, make_table, free_table);
}
