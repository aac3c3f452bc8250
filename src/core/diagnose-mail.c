/* SPDX-License-Identifier: MIT */
#include "core/diagnose.h"

#include <stdio.h>
#include <string.h>

/* What is said at Exchange and at Microsoft, and the commands that change it. */

static const char *const command_names[MAUTH_SERVICE_COUNT] = {
	[MAUTH_SERVICE_IMAP] = "SELECT INBOX", [MAUTH_SERVICE_POP3] = "STAT", [MAUTH_SERVICE_SUBMISSION] = "AUTH",
};

void mauth_diag_host(struct mauth_diag_row *row, const struct mauth_endpoint *endpoint,
		     const struct mauth_probe_result *probe, const struct mauth_error *error, const char *login_ca)
{
	if (error == NULL && probe->logged_in) {
		mauth_diag_pass(row, "%s:%u answers at %s, certificate trusted%s%s", endpoint->host, endpoint->port,
				probe->address, login_ca != NULL ? " by the login processes, " : "",
				login_ca != NULL ? login_ca : "");
		return;
	}
	if (error == NULL) {
		mauth_diag_fail(row, "%s:%u does not speak the protocol that was expected: %s", endpoint->host,
				endpoint->port, probe->reply[0] != '\0' ? probe->reply : "it said nothing");
		mauth_diag_fix(
			row,
			"check host, port and imaps:// or smtp:// in modernauth.conf; a firewall that looks into mail "
			"sessions may be in between");
		return;
	}
	mauth_diag_error(row, error);
	if (error->status == MAUTH_CONFIG && login_ca != NULL)
		mauth_diag_fix(
			row,
			"ssl_ca = </etc/ssl/certs/ca-certificates.crt (or the CA of who intercepts TLS on the way) in "
			"conf.d/10-modernauth.conf instead of %s; doveadm reload",
			login_ca);
	else if (error->status == MAUTH_TIMEOUT || error->status == MAUTH_TEMPORARY)
		mauth_diag_fix(row,
			       "let this machine out to %s port %u (sessions go there directly, not through the proxy)",
			       endpoint->host, endpoint->port);
}

/* -- SMTP AUTH ---------------------------------------------------------------------------------------------- */

static const struct smtp_row {
	const char *needle, *meaning, *fix;  /* %s in fix: the mailbox */
} smtp_rows[] = {
	{ "SmtpClientAuthentication is disabled for the Tenant", "SMTP AUTH is off in the tenant",
	  "Exchange Online PowerShell: Set-CASMailbox %s -SmtpClientAuthenticationDisabled $false (this mailbox "
	  "alone); or Set-TransportConfig -SmtpClientAuthenticationDisabled $false (the whole tenant)" },
	{ "SmtpClientAuthentication is disabled for the Mailbox", "SMTP AUTH is off for this mailbox",
	  "Exchange Online PowerShell: Set-CASMailbox %s -SmtpClientAuthenticationDisabled $false" },
	{ "security defaults", "security defaults forbid SMTP AUTH",
	  "Entra admin center > Overview > Properties > Manage security defaults: replace them by Conditional Access "
	  "policies; then Set-CASMailbox %s -SmtpClientAuthenticationDisabled $false" },
	{ "did not meet the criteria", "a policy of the tenant refuses this sign-in",
	  "Entra admin center > Sign-in logs > the sign-in > Conditional Access names the policy: exclude this app "
	  "for %s" },
	{ "basic authentication is disabled", "Exchange takes this for basic authentication",
	  "Get-AuthenticationPolicy and Get-User %s | fl AuthenticationPolicy: AllowBasicAuthSmtp must not matter for "
	  "OAuth; check that nothing between here and Exchange rewrites AUTH" },
	{ "5.7.30 ", "Exchange takes no basic authentication for client submission any more",
	  "check that nothing between here and Exchange rewrites AUTH for %s" },
	{ "432 4.3.2", "three connections of this mailbox are open already",
	  "wait, or send less at once as %s; Exchange allows three" },
	{ "421 ", "Exchange is busy", "try again later, or look at https://status.cloud.microsoft (%s)" },
	{ "Token will expire soon", "the token is too old for this endpoint", "doveadm modernauth forget %s" },
};

static bool judge_smtp_words(struct mauth_diag_row *row, const struct mauth_diag_mailbox *facts)
{
	const char *mailbox = facts->where->mailbox, *reply = facts->probe->reply;

	for (size_t i = 0; i < sizeof(smtp_rows) / sizeof(smtp_rows[0]); i++) {
		const struct smtp_row *known = &smtp_rows[i];
		const char *place = strstr(known->fix, "%s");

		if (strstr(reply, known->needle) == NULL)
			continue;
		mauth_diag_fail(row, "%s: %s", known->meaning, reply);
		mauth_diag_fix(row, "%.*s%s%s", (int)(place - known->fix), known->fix, mailbox, place + 2);
		return true;
	}
	return false;
}

/* -- causes ------------------------------------------------------------------------------------------------- */

static void fix_rights(struct mauth_diag_row *row, const struct mauth_diag_mailbox *facts)
{
	mauth_diag_fix(row, "first mend the token's permissions (see the check \"rights\")");
}

/* "Using the incorrect Object ID will cause an authentication failure": the app registration's instead of the
 * enterprise application's, or none was ever registered with Exchange. */
static void fix_principal(struct mauth_diag_row *row, const struct mauth_diag_mailbox *facts)
{
	mauth_diag_fix(row,
		       "Exchange Online PowerShell: Get-ServicePrincipal | Where AppId -eq %s | fl ObjectId must show "
		       "the object id of the enterprise application (Entra admin center > Enterprise applications > "
		       "the app > Overview > Object ID), not the app registration's",
		       facts->client_id);
	mauth_diag_fix(
		row,
		"if not: Remove-ServicePrincipal <the wrong one>, New-ServicePrincipal -AppId %s -ObjectId "
		"<enterprise application's object id>, then Add-MailboxPermission again",
		facts->client_id);
}

static void fix_mailbox_permission(struct mauth_diag_row *row, const struct mauth_diag_mailbox *facts)
{
	const struct mauth_mailbox *where = facts->where;

	if (facts->grant == MAUTH_GRANT_APP && facts->service == MAUTH_SERVICE_SUBMISSION)
		mauth_diag_fix(row,
			       "Exchange Online PowerShell: Add-RecipientPermission %s -Trustee <ServicePrincipal id> "
			       "-AccessRights SendAs",
			       where->mailbox);
	else if (facts->grant == MAUTH_GRANT_APP)
		mauth_diag_fix(
			row,
			"Exchange Online PowerShell: Add-MailboxPermission -Identity %s -User <ServicePrincipal id> "
			"-AccessRights FullAccess (Get-ServicePrincipal | Where AppId -eq %s)",
			where->mailbox, facts->client_id);
	else if (strcmp(where->account, where->mailbox) != 0)
		mauth_diag_fix(row,
			       "Exchange Online PowerShell: Add-MailboxPermission -Identity %s -User %s -AccessRights "
			       "FullAccess",
			       where->mailbox, where->account);
}

static void fix_switch(struct mauth_diag_row *row, const struct mauth_diag_mailbox *facts)
{
	static const char *const switches[MAUTH_SERVICE_COUNT] = {
		[MAUTH_SERVICE_IMAP] = "-ImapEnabled $true", [MAUTH_SERVICE_POP3] = "-PopEnabled $true",
		[MAUTH_SERVICE_SUBMISSION] = "-SmtpClientAuthenticationDisabled $false",
	};

	mauth_diag_fix(row, "Exchange Online PowerShell: Set-CASMailbox %s %s", facts->where->mailbox,
		       switches[facts->service]);
}

static void fix_mailbox(struct mauth_diag_row *row, const struct mauth_diag_mailbox *facts)
{
	mauth_diag_fix(
		row,
		"Get-EXOMailbox %s must show a mailbox with a licence in Exchange Online, with this primary address",
		facts->where->mailbox);
}

/* The token is good, the mailbox is not to be had with it. Where the other protocol works it is this one's switch;
 * where nothing works it is rather a permission. */
static void not_connected(struct mauth_diag_row *row, const struct mauth_diag_mailbox *facts)
{
	const bool foreign = facts->grant == MAUTH_GRANT_APP ||
			     strcmp(facts->where->account, facts->where->mailbox) != 0;

	mauth_diag_fail(row, "logged in, but the mailbox is not opened (%s): %s", command_names[facts->service],
			facts->probe->reply);
	if (!facts->token_fits)
		fix_rights(row, facts);
	if (facts->other_service_works || !foreign) {
		fix_switch(row, facts);
		fix_mailbox_permission(row, facts);
	} else {
		fix_mailbox_permission(row, facts);
		fix_switch(row, facts);
	}
	if (!facts->other_service_works)
		fix_mailbox(row, facts);
}

static void refused(struct mauth_diag_row *row, const struct mauth_diag_mailbox *facts)
{
	const bool foreign = strcmp(facts->where->account, facts->where->mailbox) != 0;

	mauth_diag_fail(row, "Exchange refuses the login: %s", facts->probe->reply);
	if (!facts->token_fits)
		fix_rights(row, facts);
	/* SMTP says the same for everything: what IMAP or POP3 shows is worth more. */
	if (facts->service == MAUTH_SERVICE_SUBMISSION && (facts->other_service_takes_token || foreign))
		fix_mailbox_permission(row, facts);
	if (facts->grant == MAUTH_GRANT_APP && !facts->other_service_takes_token)
		fix_principal(row, facts);
	if (facts->service == MAUTH_SERVICE_SUBMISSION)
		fix_switch(row, facts);
	if (!facts->other_service_works)
		fix_mailbox(row, facts);
}

void mauth_diag_mailbox(struct mauth_diag_row *row, const struct mauth_diag_mailbox *facts)
{
	if (facts->error != NULL)
		mauth_diag_error(row, facts->error);
	else if (facts->probe->logged_in && facts->probe->completed)
		mauth_diag_pass(row, "%s: %s", command_names[facts->service], facts->probe->reply);
	else if (facts->probe->logged_in)
		not_connected(row, facts);
	else if (facts->service != MAUTH_SERVICE_SUBMISSION || !judge_smtp_words(row, facts))
		refused(row, facts);
}

/* -- the line of a protocol --------------------------------------------------------------------------------- */

static const struct basic_row {
	enum mauth_service service;
	const char *from, *state;
} basic_rows[] = {
#define ROW(service, from, state) { MAUTH_SERVICE_ ## service, from, state },
#include "core/basic-auth.def"
#undef ROW
};

/* "2026-12-01T00:00:00" as an HTTP date is what there is a reader for. */
static int64_t first_second(const char *day)
{
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	const size_t month = (size_t)((day[5] - '0') * 10 + (day[6] - '0') - 1);
	char date[64];
	int64_t secs = 0;

	(void)snprintf(date, sizeof(date), "Day, %.2s %.3s %.4s 00:00:00 GMT", day + 8, months + month * 3, day);
	(void)mauth_http_date(date, &secs);
	return secs;
}

static const char *basic_now(enum mauth_service service, int64_t now)
{
	const struct basic_row *found = NULL;

	for (size_t i = 0; i < sizeof(basic_rows) / sizeof(basic_rows[0]); i++)
		if (basic_rows[i].service == service && (found == NULL || first_second(basic_rows[i].from) <= now))
			found = &basic_rows[i];
	return found == NULL ? "not known" : found->state;
}

void mauth_diag_protocol(struct mauth_diag_row *row, const struct mauth_diag_protocol *facts)
{
	char rule[192] = "", left[48] = "", used[96] = "";

	if (facts->days_left >= 0)
		(void)snprintf(left, sizeof(left), "%s%lld days left", facts->rule != NULL ? ", " : "",
			       (long long)facts->days_left);
	if (facts->rule != NULL)
		(void)snprintf(rule, sizeof(rule), " (rule \"%.120s\"%s)", facts->rule, left);
	else if (left[0] != '\0')
		(void)snprintf(rule, sizeof(rule), " (%s)", left);
	if (facts->users >= 0)
		(void)snprintf(used, sizeof(used), "   last 30 days: %lld users, %lld clients", (long long)facts->users,
			       (long long)facts->clients);
	mauth_diag_pass(row, "basic at Microsoft: %s   here: %s%s%s", basic_now(facts->service, facts->now),
			facts->action != NULL ? facts->action : "not served", rule, used);
}
