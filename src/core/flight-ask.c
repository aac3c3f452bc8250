/* SPDX-License-Identifier: MIT */
#include "core/flight-private.h"

#include "core/mem.h"

#include <stdio.h>
#include <string.h>

#define RETRY_MSECS 250u
/* Entra does not know our app or its credential: it would say so to every login, and count them. */
#define CONFIG_PAUSE_MSECS 10000
/* A retry that could not be answered in this time is not begun. */
#define RETRY_MIN_LEFT_MSECS 1000

static void flight_event(const struct flight *flight, enum mauth_status status)
{
	const struct mauth_log *log = flight->flights->deps.log;
	const struct mauth_field fields[] = {
		MAUTH_FIELD_STR("tenant", flight->tenant->name),
		MAUTH_FIELD_STR("grant", mauth_grant_name(flight->grant)),
		MAUTH_FIELD_STR("status", mauth_status_name(status)),
		MAUTH_FIELD_NUM("code", flight->result.ids.code),
		MAUTH_FIELD_NUM("http_status", flight->result.ids.http_status),
		MAUTH_FIELD_STR("correlation_id", flight->result.ids.correlation_id),
		MAUTH_FIELD_STR("trace_id", flight->result.ids.trace_id),
	};

	if (log->event != NULL)
		log->event(log->context, "modernauth_token_request_finished", flight->asked_wall, fields,
			   sizeof(fields) / sizeof(fields[0]));
	mauth_log(log, MAUTH_DEBUG, "token request for tenant %s ended: status=%s code=%d http=%u client-request-id=%s "
		  "trace_id=%s", flight->tenant->name, mauth_status_name(status), flight->result.ids.code,
		  flight->result.ids.http_status, flight->result.ids.correlation_id, flight->result.ids.trace_id);
}

static void retry_now(void *context)
{
	struct flight *flight = context;

	flight->retry = NULL;
	/* Others may have opened the breaker meanwhile. */
	if (!mauth_breaker_allow(&flight_tenant_state(flight)->breaker, flights_now_msecs(flight->flights), NULL)) {
		flight->flights->stats.failed++;
		flight_finish(flight, flight->result.error.status);
		return;
	}
	flight->flights->stats.retried++;
	flight_ask(flight);
}

static int64_t left_msecs(const struct flight *flight)
{
	return flight->started_msecs + flight->flights->deps.config->request_timeout_msecs - flights_now_msecs(flight->flights);
}

/* One retry, for failures that say nothing but "not now". */
static bool flight_retry(struct flight *flight)
{
	uint32_t random;

	if (flight->retried || left_msecs(flight) < RETRY_MSECS * 2 + RETRY_MIN_LEFT_MSECS ||
	    flight_tenant_state(flight)->breaker.open_until > flights_now_msecs(flight->flights))
		return false;
	mauth_random(&random, sizeof(random));
	flight->retried = true;
	mauth_entra_reply_clear(&flight->reply);
	flight->retry = mauth_timer_add(flight->flights->deps.loop, RETRY_MSECS + random % RETRY_MSECS, retry_now, flight);
	return true;
}

/* cause: why it has opened; NULL: it has closed. */
static void breaker_event(const struct flight *flight, unsigned int secs, const char *cause)
{
	const struct mauth_log *log = flight->flights->deps.log;
	const struct mauth_field fields[] = {
		MAUTH_FIELD_STR("tenant", flight->tenant->name),
		MAUTH_FIELD_STR("cause", cause),
		MAUTH_FIELD_NUM("pause_secs", secs),
	};

	if (log->event != NULL)
		log->event(log->context, cause != NULL ? "modernauth_breaker_opened" : "modernauth_breaker_closed", 0, fields,
			   cause != NULL ? sizeof(fields) / sizeof(fields[0]) : 1);
}

static void breaker_failed(struct flight *flight, unsigned int retry_after_secs)
{
	struct mauth_breaker *breaker = &flight_tenant_state(flight)->breaker;
	unsigned int secs;

	if (!mauth_breaker_failure(breaker, flights_now_msecs(flight->flights), retry_after_secs))
		return;
	secs = (unsigned int)((breaker->open_until - flights_now_msecs(flight->flights) + 999) / 1000);
	breaker_event(flight, secs, retry_after_secs > 0 ? "asked_to_wait" : "failures");
	mauth_log(flight->flights->deps.log, MAUTH_ERROR,
		  "tenant %s: no token requests for %u s: %s (%s). Users with a live token keep logging in, the "
		  "others get a temporary failure", flight->tenant->name, secs,
		  retry_after_secs > 0 ? "Entra asks to wait" : "too many failures in a row", flight->result.error.text);
}

static void breaker_succeeded(struct flight *flight)
{
	struct mauth_breaker *breaker = &flight_tenant_state(flight)->breaker;
	bool was_open = breaker->open_until != 0;

	mauth_breaker_success(breaker, flights_now_msecs(flight->flights));
	if (was_open && breaker->open_until == 0)
		breaker_event(flight, 0, NULL);
}

static void realm_answered(enum mauth_realm realm, void *context)
{
	struct flight *flight = context;

	flight->realm = NULL;
	if (realm == MAUTH_REALM_FEDERATED) {
		flight->reply.verdict.counts = false;
		mauth_fail(&flight->result.error, MAUTH_CONFIG, flight->result.ids.code,
			   "AADSTS%d in a federated domain: Entra does not check passwords of %s itself",
			   flight->result.ids.code, strrchr(flight->group->upn, '@') + 1);
		snprintf(flight->result.error.advice, sizeof(flight->result.error.advice), "%s",
			 "enable password hash sync and a home realm discovery policy with "
			 "AllowCloudPasswordValidation for the app, or use another grant for this domain");
		flight_finish(flight, MAUTH_CONFIG);
		return;
	}
	flight_finish(flight, MAUTH_BAD_CREDENTIALS);
}

static void judge_bad_password(struct flight *flight)
{
	struct mauth_flights *flights = flight->flights;
	enum mauth_realm realm;

	if (!flight->tenant->user_realm)
		realm = MAUTH_REALM_MANAGED;
	else if (!mauth_realm_known(flights->realms, flight->tenant, flight->group->upn, &realm)) {
		flight->realm = mauth_realm_ask(flights->realms, flight->tenant, flight->group->upn, realm_answered,
						flight);
		return;
	}
	realm_answered(realm, flight);
}

static void copy_ids(struct flight *flight, const struct mauth_http_reply *reply)
{
	struct mauth_flight_ids *ids = &flight->result.ids;

	ids->http_status = reply->status;
	ids->code = flight->reply.verdict.code;
	snprintf(ids->suberror, sizeof(ids->suberror), "%s", flight->reply.suberror);
	snprintf(ids->policy_id, sizeof(ids->policy_id), "%s", flight->reply.policy_id);
	if (flight->reply.trace_id[0] != '\0')
		snprintf(ids->trace_id, sizeof(ids->trace_id), "%s", flight->reply.trace_id);
	else
		mauth_clean_copy(ids->trace_id, sizeof(ids->trace_id), reply->request_id, strlen(reply->request_id));
}

/* HTTP 401 is about the app, not about the user (entra-docs: invalid_client). */
static void remember_config_error(struct flight *flight, unsigned int http_status)
{
	struct tenant_state *state = flight_tenant_state(flight);

	if (flight->result.error.status != MAUTH_CONFIG || http_status != 401)
		return;
	state->config_error = flight->result.error;
	state->config_until = flights_now_msecs(flight->flights) + CONFIG_PAUSE_MSECS;
}

/* Not now, for whatever reason. */
static void judge_temporary(struct flight *flight, const struct mauth_http_reply *reply, enum mauth_status status)
{
	unsigned int wait_secs = mauth_entra_retry_after(reply->retry_after, reply->date,
							 mauth_wall_secs(flight->flights->deps.loop));

	if (wait_secs == 0 && reply->status == 429)
		wait_secs = 5;
	if (flight->result.ids.code == MAUTH_AADSTS_LOOP && wait_secs == 0)
		breaker_succeeded(flight);
	else
		breaker_failed(flight, wait_secs);
	/* What Entra says with 4xx, or with 200 in a way that nobody can read, it would say again. */
	if (wait_secs == 0 && reply->status >= 500 && flight_retry(flight))
		return;
	flight->flights->stats.failed++;
	flight_finish(flight, status);
}

static void entra_answered(struct flight *flight, const struct mauth_http_reply *reply)
{
	const struct mauth_flight_deps *deps = &flight->flights->deps;
	enum mauth_status status;

	status = mauth_entra_parse(deps->config->aadsts, reply->status, reply->body, reply->body_size, &flight->reply,
				   &flight->result.error);
	copy_ids(flight, reply);
	flight_event(flight, status);
	if (status == MAUTH_TEMPORARY || status == MAUTH_PROTOCOL) {
		judge_temporary(flight, reply, status);
		return;
	}
	breaker_succeeded(flight);
	if (status == MAUTH_OK) {
		flight_judge_token(flight);
	} else if (flight_may_prove_otherwise(flight, reply->status)) {
		mauth_entra_reply_clear(&flight->reply);
		flight_ask(flight);
	} else if (flight->grant == MAUTH_GRANT_PASSWORD && status == MAUTH_BAD_CREDENTIALS && flight->reply.verdict.counts) {
		judge_bad_password(flight);
	} else {
		remember_config_error(flight, reply->status);
		flight_finish(flight, status);
	}
}

static void flight_answered(const struct mauth_http_reply *reply, const struct mauth_error *error, void *context)
{
	struct flight *flight = context;

	flight->call = NULL;
	mauth_limiter_leave(&flight_tenant_state(flight)->limiter, &flight->slot, reply != NULL);
	mauth_secret_free(&flight->form);
	if (reply != NULL) {
		entra_answered(flight, reply);
		return;
	}
	flight->result.error = *error;
	/* Not those of an earlier try */
	flight->result.ids.code = 0;
	flight->result.ids.http_status = 0;
	flight->result.ids.suberror[0] = flight->result.ids.trace_id[0] = flight->result.ids.policy_id[0] = '\0';
	flight_event(flight, error->status);
	breaker_failed(flight, 0);
	if (error->status == MAUTH_TEMPORARY && flight_retry(flight))
		return;
	flight->flights->stats.failed++;
	flight_finish(flight, error->status);
}

/* Failing before anything was sent must look like failing later: through the loop. */
static void fail_later(void *context)
{
	struct flight *flight = context;

	flight->retry = NULL;
	mauth_breaker_abandoned(&flight_tenant_state(flight)->breaker);
	flight->flights->stats.failed++;
	flight_finish(flight, flight->result.error.status);
}

static struct mauth_secret *make_form(struct flight *flight, struct mauth_error *error_r)
{
	const struct mauth_flight_deps *deps = &flight->flights->deps;
	const struct mauth_tenant *tenant = flight->tenant;
	struct mauth_secret *refresh_token = NULL, *form;
	struct mauth_entra_proof proof;

	flight->credential = flight_tenant_state(flight)->credential;
	if (flight_proof(flight->flights, tenant, &proof, error_r) != MAUTH_OK)
		return NULL;
	flight->alg = flight_tenant_state(flight)->assertions[flight->credential].alg;
	switch (flight->grant) {
	case MAUTH_GRANT_PASSWORD:
		return mauth_entra_password_form(tenant, flight->group->upn, flight->password, &proof);
	case MAUTH_GRANT_APP:
		return mauth_entra_app_form(tenant, strcmp(flight->group->upn, MAUTH_FLIGHT_GRAPH) == 0 ?
					    tenant->graph_scope : tenant->app_scope, &proof);
	case MAUTH_GRANT_ENROLLED:
		if (*deps->enrolments == NULL) {
			mauth_fail(error_r, MAUTH_TEMPORARY, 0, "the store of enrolments is not open");
			return NULL;
		}
		if (mauth_enrolments_token(*deps->enrolments, tenant->name, flight->group->upn, &refresh_token,
					   &flight->generation, error_r) != MAUTH_OK)
			return NULL;
		form = mauth_entra_refresh_form(tenant, refresh_token, &proof);
		mauth_secret_free(&refresh_token);
		return form;
	case MAUTH_GRANT_COUNT:
		break;
	}
	mauth_fail(error_r, MAUTH_CONFIG, 0, "no such grant");
	return NULL;
}

static void ask_now(struct flight *flight)
{
	struct mauth_flights *flights = flight->flights;
	const struct mauth_flight_deps *deps = &flights->deps;
	const struct mauth_tenant *tenant = flight->tenant;
	char guid[MAUTH_GUID_SIZE];
	int64_t left = left_msecs(flight);

	mauth_guid(guid);
	snprintf(flight->result.ids.correlation_id, sizeof(flight->result.ids.correlation_id), "%s", guid);
	flight->form = make_form(flight, &flight->result.error);
	if (flight->form == NULL) {
		flight->retry = mauth_timer_add(deps->loop, 0, fail_later, flight);
		return;
	}
	flight->asked_wall = mauth_wall_usecs(deps->loop);
	flights->stats.requests++;

	const struct mauth_http_header headers[] = {
		{ "client-request-id", guid },
		{ "return-client-request-id", "true" },
		/* As MSAL does: asks for real 429 with Retry-After. */
		{ "x-ms-lib-capability", "retry-after, h429" },
	};
	const struct mauth_http_request request = {
		.url = tenant->token_url, .form = flight->form,
		.headers = headers, .headers_count = sizeof(headers) / sizeof(headers[0]),
		.ca_file = tenant->ca_file, .proxy = tenant->proxy,
		.timeout_msecs = left < 1 ? 1 : (unsigned int)left,
	};
	flight->call = mauth_http_start(deps->http, &request, flight_answered, flight);
}

/* A flight that has stood in line ends without having been sent. */
static void not_asked(struct flight *flight, enum mauth_status status)
{
	mauth_fail(&flight->result.error, status, 0, "Entra does not answer (%u token requests are open): this one was not sent",
		   flight_tenant_state(flight)->limiter.open);
	mauth_breaker_abandoned(&flight_tenant_state(flight)->breaker);
	flight->flights->stats.failed++;
	flight_finish(flight, status);
}

static void waited_in_vain(void *context)
{
	struct flight *flight = context;

	flight->retry = NULL;
	not_asked(flight, MAUTH_TIMEOUT);
}

static void may_ask(void *context)
{
	struct flight *flight = context;

	mauth_timer_remove(flight->flights->deps.loop, &flight->retry);
	/* What ended those that were open may have opened the breaker. */
	if (flight_tenant_state(flight)->breaker.open_until > flights_now_msecs(flight->flights))
		not_asked(flight, MAUTH_TEMPORARY);
	else
		ask_now(flight);
}

void flight_ask(struct flight *flight)
{
	struct mauth_limiter *limiter = &flight_tenant_state(flight)->limiter;
	int64_t left = left_msecs(flight);

	if (mauth_limiter_enter(limiter, &flight->slot, may_ask, flight)) {
		ask_now(flight);
		return;
	}
	flight->retry = mauth_timer_add(flight->flights->deps.loop, left < 1 ? 1 : (unsigned int)left, waited_in_vain, flight);
	if (limiter->waiting == 1)
		mauth_log(flight->flights->deps.log, MAUTH_WARNING, "tenant %s: Entra answers none of %u token requests, further "
			  "ones wait. Users with a live token keep logging in", flight->tenant->name, limiter->open);
}
