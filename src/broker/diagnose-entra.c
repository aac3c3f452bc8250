/* SPDX-License-Identifier: MIT */
#include "broker/diagnose-private.h"

#include "core/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Checks that ask Entra. Enrolled tokens and passwords go the way of logins (core/flight.h): a refresh token rotates,
 * and a wrong password counts. The rest is asked on connections of the diagnosis' own. */

static void ask(struct diagnosis *diagnosis, const char *url, struct mauth_secret *form, mauth_http_fn *done)
{
	char guid[MAUTH_GUID_SIZE];

	mauth_guid(guid);
	const struct mauth_http_header headers[] = { { "client-request-id", guid },
						     { "return-client-request-id", "true" } };
	const struct mauth_http_request request = {
		.url = url, .form = form, .headers = headers, .headers_count = 2, .ca_file = diagnosis->tenant->ca_file,
		.proxy = diagnosis->tenant->proxy, .timeout_msecs = DIAG_TIMEOUT_MSECS,
	};

	diagnosis->call = mauth_http_start(mauth_http_curl_http(diagnosis->http), &request, done, diagnosis);
	mauth_secret_free(&form);
}

/* -- authority, clock, tenant, cloud ------------------------------------------------------------------------ */

static void say_authority(struct diagnosis *diagnosis, const struct mauth_http_reply *reply,
			  const struct mauth_error *error)
{
	const struct mauth_tenant *tenant = diagnosis->tenant;
	struct mauth_diag_row row;

	if (error != NULL)
		mauth_diag_error(&row, error);
	else
		mauth_diag_pass(&row, "%s answers in %lld ms%s, certificate trusted", tenant->authority,
				(long long)(reply->duration_usecs / 1000),
				tenant->proxy != NULL ? " through the proxy" : "");
	if (error != NULL && row.fix[0] == '\0')
		mauth_diag_fix(&row,
			       "let this machine out to %s port 443, or set proxy of tenant \"%s\" in modernauth.conf",
			       tenant->authority, tenant->name);
	else if (error != NULL && error->status == MAUTH_CONFIG && error->code == 0)
		mauth_diag_fix(&row,
			       "if something on the way intercepts TLS: exempt %s there, or put its CA into the "
			       "ca_file of tenant \"%s\"",
			       tenant->authority, tenant->name);
	diagnosis_say(diagnosis, "authority", NULL, &row);
}

static void discovered(const struct mauth_http_reply *reply, const struct mauth_error *error, void *context)
{
	struct diagnosis *diagnosis = context;
	struct mauth_diag_row row;
	struct mauth_error failure;

	diagnosis->call = NULL;
	say_authority(diagnosis, reply, error);
	if (reply != NULL) {
		const int64_t half = reply->duration_usecs / 2000000;

		mauth_diag_clock(&row, reply->date, mauth_wall_secs(diagnosis->service->loop) - half);
		diagnosis_say(diagnosis, "clock", NULL, &row);
		if (mauth_diag_read_tenant(diagnosis->config->aadsts, reply->status, reply->body, reply->body_size,
					   &diagnosis->found, &failure) == MAUTH_OK) {
			diagnosis->have |= DIAG_TENANT;
			mauth_diag_tenant(&row, diagnosis->tenant, &diagnosis->found);
			diagnosis_say(diagnosis, "tenant", NULL, &row);
			mauth_diag_cloud(&row, diagnosis->tenant, &diagnosis->found);
			diagnosis_say(diagnosis, "cloud", NULL, &row);
		} else {
			mauth_diag_error(&row, &failure);
			diagnosis_say(diagnosis, "tenant", NULL, &row);
		}
	}
	diagnosis_next(diagnosis);
}

void diag_authority(struct diagnosis *diagnosis)
{
	char *url = mauth_printf("%s/%s/v2.0/.well-known/openid-configuration", diagnosis->tenant->authority,
				 diagnosis->tenant->tenant_id);

	ask(diagnosis, url, NULL, discovered);
	free(url);
}

/* -- the application ---------------------------------------------------------------------------------------- */

static bool uses(const struct diagnosis *diagnosis, enum mauth_grant_type grant)
{
	return mauth_config_has_grant(diagnosis->config, diagnosis->tenant, grant);
}

static void say_rights(struct diagnosis *diagnosis, enum mauth_grant_type grant, const struct mauth_secret *token)
{
	struct mauth_diag_row row;

	diagnosis->rights[grant] = mauth_diag_rights(&row, diagnosis->tenant, grant, token, diagnosis->found.tenant_id);
	diagnosis_say(diagnosis, "rights", mauth_grant_name(grant), &row);
}

/* The application's own request proves the credential whatever the grants are; its token is only used for "app". */
static void application_answered(const struct mauth_http_reply *reply, const struct mauth_error *error, void *context)
{
	struct diagnosis *diagnosis = context;
	const bool app = uses(diagnosis, MAUTH_GRANT_APP);
	struct mauth_entra_reply parts = { 0 };
	struct mauth_diag_row row;
	struct mauth_error failure;
	enum mauth_status status;

	diagnosis->call = NULL;
	if (reply == NULL) {
		mauth_diag_error(&row, error);
		diagnosis_say(diagnosis, "application", NULL, &row);
		diagnosis_next(diagnosis);
		return;
	}
	status = mauth_entra_parse(diagnosis->config->aadsts, reply->status, reply->body, reply->body_size, &parts,
				   &failure);
	if (status == MAUTH_OK)
		mauth_diag_pass(&row, "Entra accepts %s with its credential", diagnosis->tenant->client_id);
	else if (app || reply->status == 401 || failure.status == MAUTH_CONFIG)
		mauth_diag_token(&row, MAUTH_GRANT_APP, &failure, parts.policy_id, 0);
	else
		mauth_diag_warn(&row, "%s", failure.text);
	diagnosis_say(diagnosis, "application", NULL, &row);
	if (status == MAUTH_OK && app) {
		diagnosis->tokens[MAUTH_GRANT_APP] = parts.token;
		parts.token = NULL;
		mauth_diag_token(&row, MAUTH_GRANT_APP, NULL, "", parts.expires_in);
		diagnosis_say(diagnosis, "token", mauth_grant_name(MAUTH_GRANT_APP), &row);
		say_rights(diagnosis, MAUTH_GRANT_APP, diagnosis->tokens[MAUTH_GRANT_APP]);
	}
	mauth_entra_reply_clear(&parts);
	diagnosis_next(diagnosis);
}

static void public_answered(const struct mauth_http_reply *reply, const struct mauth_error *error, void *context)
{
	struct diagnosis *diagnosis = context;
	struct mauth_device_code code = { 0 };
	struct mauth_entra_reply parts;
	struct mauth_diag_row row;
	struct mauth_error failure;

	diagnosis->call = NULL;
	if (reply == NULL)
		mauth_diag_error(&row, error);
	else if (mauth_entra_parse_device_code(diagnosis->config->aadsts, reply->status, reply->body, reply->body_size,
					       &code, &parts, &failure) == MAUTH_OK)
		/* The code that came with it is forgotten and ends by itself. */
		mauth_diag_pass(&row, "Entra knows %s as a public client", diagnosis->tenant->client_id);
	else
		mauth_diag_error(&row, &failure);
	mauth_device_code_clear(&code);
	diagnosis_say(diagnosis, "application", NULL, &row);
	diagnosis_next(diagnosis);
}

void diag_application(struct diagnosis *diagnosis)
{
	const struct mauth_tenant *tenant = diagnosis->tenant;
	struct mauth_flights *flights = mauth_broker_lend_flights(diagnosis->service->broker);
	struct mauth_entra_proof proof;
	struct mauth_diag_row row;
	struct mauth_error error;
	size_t credential;

	if (tenant->credentials_count == 0) {
		ask(diagnosis, tenant->device_code_url, mauth_entra_device_code_form(tenant), public_answered);
		return;
	}
	if (mauth_flights_proof(flights, tenant, &proof, &credential, &error) != MAUTH_OK) {
		mauth_diag_error(&row, &error);
		diagnosis_say(diagnosis, "application", NULL, &row);
		diagnosis_next(diagnosis);
		return;
	}
	ask(diagnosis, tenant->token_url, mauth_entra_app_form(tenant, tenant->app_scope, &proof), application_answered);
}

/* -- the realm of each domain ------------------------------------------------------------------------------- */

static void realm_answered(const struct mauth_http_reply *reply, const struct mauth_error *error, void *context)
{
	struct diagnosis *diagnosis = context;
	const bool other = uses(diagnosis, MAUTH_GRANT_ENROLLED) || uses(diagnosis, MAUTH_GRANT_APP);
	const char *domain = diagnosis->have & DIAG_USER ? strrchr(diagnosis->where.account, '@') + 1 :
			     diagnosis->tenant->domains[diagnosis->part];
	struct mauth_diag_row row;

	diagnosis->call = NULL;
	if (reply == NULL)
		mauth_diag_error(&row, error);
	else
		mauth_diag_realm(&row, diagnosis->tenant, domain,
				 mauth_entra_parse_realm(reply->status, reply->body, reply->body_size),
				 uses(diagnosis, MAUTH_GRANT_PASSWORD), other);
	diagnosis_say(diagnosis, "realm", domain, &row);
	diagnosis->part++;
	if (diagnosis->have & DIAG_USER || diagnosis->tenant->domains[diagnosis->part] == NULL)
		diagnosis_next(diagnosis);
	else
		diagnosis_part(diagnosis);
}

/* Entra answers for a domain, whoever stands before the "@". */
void diag_realms(struct diagnosis *diagnosis)
{
	char *upn = diagnosis->have & DIAG_USER ? mauth_strdup(diagnosis->where.account) :
		    mauth_printf("diagnose@%s", diagnosis->tenant->domains[diagnosis->part]);
	char *url = mauth_entra_realm_url(diagnosis->tenant, upn);

	ask(diagnosis, url, NULL, realm_answered);
	free(url);
	free(upn);
}

/* -- tokens of users ---------------------------------------------------------------------------------------- */

static void token_done(struct diagnosis *diagnosis, const struct mauth_flight_result *result,
		       const struct mauth_error *error)
{
	const enum mauth_grant_type grant = (enum mauth_grant_type)diagnosis->part;
	const int64_t now = mauth_wall_secs(diagnosis->service->loop);
	struct mauth_diag_row row;

	mauth_diag_token(&row, grant, error, result == NULL ? "" : result->ids.policy_id,
			 result == NULL ? 0 : result->expires_at - now);
	if (error != NULL && grant == MAUTH_GRANT_ENROLLED && error->status == MAUTH_INTERACTION)
		mauth_diag_fix(&row, "doveadm modernauth enroll %s", diagnosis->where.login);
	diagnosis_say(diagnosis, "token", mauth_grant_name(grant), &row);
	if (error == NULL) {
		diagnosis->tokens[grant] = mauth_secret_dup(result->token);
		say_rights(diagnosis, grant, result->token);
	}
	diagnosis->part++;
	diagnosis_part(diagnosis);
}

static void token_answered(const struct mauth_flight_result *result, void *context)
{
	struct diagnosis *diagnosis = context;
	struct mauth_error error;

	diagnosis->waiter = NULL;
	if (result == NULL && !diagnosis->asked_again) {
		/* It stood in line behind another password of the same user. */
		diagnosis->asked_again = true;
		diagnosis_part(diagnosis);
		return;
	}
	if (result == NULL)
		mauth_fail(&error, MAUTH_TEMPORARY, 0, "logins of this user with other passwords are under way");
	token_done(diagnosis, result, result == NULL ? &error : result->status != MAUTH_OK ? &result->error : NULL);
}

static void ask_token(struct diagnosis *diagnosis, enum mauth_grant_type grant)
{
	const struct mauth_flight_want want = {
		.tenant = diagnosis->tenant, .grant = grant, .account = diagnosis->where.account,
		.password = grant == MAUTH_GRANT_PASSWORD ? diagnosis->password : NULL,
	};
	struct mauth_error error = { .status = MAUTH_OK };
	bool joined;

	diagnosis->waiter = mauth_flight_join(mauth_broker_lend_flights(diagnosis->service->broker), &want,
					      token_answered, diagnosis, &joined, &error);
	if (diagnosis->waiter == NULL)
		token_done(diagnosis, NULL, &error);
}

static void skip_token(struct diagnosis *diagnosis, enum mauth_grant_type grant)
{
	struct mauth_diag_row row;

	if (!(diagnosis->have & DIAG_USER)) {
		mauth_diag_skip(&row, "no user was named");
		mauth_diag_fix(&row, "doveadm modernauth diagnose --user USER");
	} else {
		mauth_diag_skip(&row, "it takes the user's password");
		mauth_diag_fix(&row, "doveadm modernauth diagnose --user %s --password-prompt", diagnosis->where.login);
	}
	diagnosis_say(diagnosis, "token", mauth_grant_name(grant), &row);
	diagnosis->part++;
	diagnosis_part(diagnosis);
}

void diag_tokens(struct diagnosis *diagnosis)
{
	enum mauth_grant_type grant = (enum mauth_grant_type)diagnosis->part;

	/* The application's own has been asked for. */
	while (grant < MAUTH_GRANT_COUNT && (grant == MAUTH_GRANT_APP || !uses(diagnosis, grant)))
		grant = (enum mauth_grant_type)++diagnosis->part;
	if (grant == MAUTH_GRANT_COUNT)
		diagnosis_next(diagnosis);
	else if (!(diagnosis->have & DIAG_USER) || (grant == MAUTH_GRANT_PASSWORD && diagnosis->password == NULL))
		skip_token(diagnosis, grant);
	else
		ask_token(diagnosis, grant);
}
