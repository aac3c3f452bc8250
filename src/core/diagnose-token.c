/* SPDX-License-Identifier: MIT */
#include "core/diagnose.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Microsoft's own applications, the same in every tenant. */
#define EXCHANGE_APP_ID "00000002-0000-0ff1-ce00-000000000000"
#define GRAPH_APP_ID "00000003-0000-0000-c000-000000000000"

/* "Authenticate an IMAP, POP or SMTP connection using OAuth" */
static const struct right {
	const char *protocol, *delegated, *application;
} rights[MAUTH_SERVICE_COUNT] = {
	[MAUTH_SERVICE_IMAP] = { "IMAP", "IMAP.AccessAsUser.All", "IMAP.AccessAsApp" },
	[MAUTH_SERVICE_POP3] = { "POP3", "POP.AccessAsUser.All", "POP.AccessAsApp" },
	[MAUTH_SERVICE_SUBMISSION] = { "SMTP", "SMTP.Send", "SMTP.SendAsApp" },
};

void mauth_diag_token(struct mauth_diag_row *row, enum mauth_grant_type grant, const struct mauth_error *error,
		      const char *policy_id, int64_t life_secs)
{
	char life[64];

	if (error == NULL) {
		mauth_diag_duration(life, sizeof(life), life_secs);
		mauth_diag_pass(row, "Entra gave a token for %s", life);
		return;
	}
	mauth_diag_error(row, error);
	if (policy_id[0] != '\0') {
		struct mauth_diag_row with = *row;

		mauth_diag_fail(row, "%s; Conditional Access policy %s", with.seen, policy_id);
		mauth_diag_fix(row, "%s", with.fix);
		mauth_diag_fix(
			row,
			"Entra admin center > Protection > Conditional Access > the policy whose address ends in %s > "
			"Exclude this app or this server's address",
			policy_id);
	}
	if (grant == MAUTH_GRANT_PASSWORD && error->status == MAUTH_INTERACTION)
		mauth_diag_fix(
			row, "or do without the password: grants = {\"enrolled\"} in modernauth.conf, doveadm reload, "
			     "doveadm modernauth enroll USER");
}

/* Is word one of the words in text? */
static bool has_word(const char *text, const char *word)
{
	const size_t size = strlen(word);

	for (const char *at = strstr(text, word); at != NULL; at = strstr(at + 1, word))
		if ((at == text || at[-1] == ' ') && (at[size] == ' ' || at[size] == '\0'))
			return true;
	return false;
}

static bool is_exchange(const char *audience)
{
	return strcmp(audience, EXCHANGE_APP_ID) == 0 || strstr(audience, "://outlook") != NULL ||
	       strstr(audience, "://partner.outlook.cn") != NULL || strstr(audience, "://ps.outlook.com") != NULL;
}

static void wrong_audience(struct mauth_diag_row *row, const struct mauth_tenant *tenant, enum mauth_grant_type grant,
			   const char *audience)
{
	bool graph = strstr(audience, "://graph.microsoft") != NULL || strcmp(audience, GRAPH_APP_ID) == 0;

	mauth_diag_fail(row, "the token is for %s%s and not for Exchange, which refuses it (aud)", audience,
			graph ? " (Microsoft Graph)" : "");
	if (grant == MAUTH_GRANT_APP)
		mauth_diag_fix(row,
			       "app_scope = \"https://outlook.office365.com/.default\" in tenant \"%s\" of "
			       "modernauth.conf (or leave it out), doveadm reload",
			       tenant->name);
	else
		mauth_diag_fix(row,
			       "leave scopes out of tenant \"%s\" in modernauth.conf, or begin each with "
			       "https://outlook.office.com/; doveadm reload; doveadm modernauth forget USER",
			       tenant->name);
}

static void append_word(char *text, size_t size, const char *separator, const char *word)
{
	size_t used = strlen(text);

	(void)snprintf(text + used, size - used, "%s%s", used > 0 ? separator : "", word);
}

static void missing_rights(struct mauth_diag_row *row, const struct mauth_tenant *tenant, bool app, unsigned int have)
{
	char missing[160] = "", protocols[32] = "";

	for (enum mauth_service service = 0; service < MAUTH_SERVICE_COUNT; service++) {
		if (have & 1u << service)
			continue;
		append_word(missing, sizeof(missing), ", ",
			    app ? rights[service].application : rights[service].delegated);
		append_word(protocols, sizeof(protocols), ", ", rights[service].protocol);
	}
	/* Some leave out on purpose what they do not use. */
	if (have == 0)
		mauth_diag_fail(row, "the token lacks %s (%s)", missing, app ? "roles" : "scp");
	else
		mauth_diag_warn(row, "the token lacks %s (%s): no %s with it", missing, app ? "roles" : "scp",
				protocols);
	if (app)
		mauth_diag_fix(row,
			       "Entra admin center > App registrations > the app (client_id %s) > API permissions > "
			       "Add > APIs my organization uses > Office 365 Exchange Online > Application "
			       "permissions: %s; then Grant admin consent",
			       tenant->client_id, missing);
	else
		mauth_diag_fix(row,
			       "Entra admin center > App registrations > the app (client_id %s) > API permissions > "
			       "Add > Microsoft Graph > Delegated permissions: %s; then Grant admin consent; and "
			       "check scopes in modernauth.conf",
			       tenant->client_id, missing);
}

unsigned int mauth_diag_rights(struct mauth_diag_row *row, const struct mauth_tenant *tenant,
			       enum mauth_grant_type grant, const struct mauth_secret *token, const char *tenant_id)
{
	const bool app = grant == MAUTH_GRANT_APP;
	const unsigned int all = (1u << MAUTH_SERVICE_COUNT) - 1;
	unsigned int have = 0;
	struct mauth_jwt claims;

	if (!mauth_jwt_read(mauth_secret_expose(token), mauth_secret_size(token), &claims)) {
		mauth_diag_warn(row, "the token cannot be read here; Exchange decides");
		return all;
	}
	if (!is_exchange(claims.aud)) {
		wrong_audience(row, tenant, grant, claims.aud);
		return 0;
	}
	if (tenant_id[0] != '\0' && claims.tid[0] != '\0' && strcasecmp(tenant_id, claims.tid) != 0) {
		mauth_diag_fail(row, "the token is of tenant %s and not of %s (tid)", claims.tid, tenant_id);
		mauth_diag_fix(
			row,
			"tenant_id = \"%s\" in tenant \"%s\" of modernauth.conf if that is where the mailboxes are; "
			"doveadm reload",
			claims.tid, tenant->name);
		return 0;
	}
	for (enum mauth_service service = 0; service < MAUTH_SERVICE_COUNT; service++)
		if (has_word(app ? claims.roles : claims.scp,
			     app ? rights[service].application : rights[service].delegated))
			have |= 1u << service;
	if (have != all)
		missing_rights(row, tenant, app, have);
	else
		mauth_diag_pass(row, "for Exchange, of the right tenant, with %s", app ? claims.roles : claims.scp);
	return have;
}
