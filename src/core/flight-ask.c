/* SPDX-License-Identifier: MIT */
#include "core/flight-private.h"

#include "core/mem.h"

#include <stdio.h>
#include <string.h>

#define RETRY_MSECS 250u
/* AADSTS50196: "the client is in a loop", said of one user. */
#define LOOP_DETECTED 50196
/* Entra does not know our app or its credential: it would say so to every login, and count them. */
#define CONFIG_PAUSE_MSECS 10000
/* A retry that could not be answered in this time is not begun. */
#define RETRY_MIN_LEFT_MSECS 1000

/* A refusal that says something about the account takes effect at once: the cached token of this password goes. A
 * lock-out or an outage says nothing of the kind. */
static bool revokes(enum mauth_status status)
{
	switch (status) {
	case MAUTH_BAD_CREDENTIALS:
	case MAUTH_USER_UNKNOWN:
	case MAUTH_DISABLED:
	case MAUTH_EXPIRED:
	case MAUTH_INTERACTION:
		return true;
	case MAUTH_OK:
	case MAUTH_LOCKED:
	case MAUTH_POLICY:
	case MAUTH_NOT_OURS:
	case MAUTH_CONFIG:
	case MAUTH_TEMPORARY:
	case MAUTH_TIMEOUT:
	case MAUTH_PROTOCOL:
	case MAUTH_AUDIT:
	case MAUTH_CANCELLED:
	case MAUTH_STATUS_COUNT:
		return false;
	}
	return false;
}

static void learn_refusal(struct flight *flight)
{
	const struct mauth_flight_deps *deps = &flight->flights->deps;
	const struct mauth_flight_result *result = &flight->result;
	struct mauth_cache_entry *entry = mauth_cache_find(deps->cache, flight->tenant->key, flight->group->upn);

	/* Nor does a code that we do not know: it may mean anything. */
	if (revokes(result->status) && flight->reply.verdict.code != 0 && entry != NULL &&
	    mauth_cache_verify(deps->cache, entry, flight->password))
		mauth_cache_drop(deps->cache, &entry);
	if (!revokes(result->status) && result->status != MAUTH_LOCKED && result->code != LOOP_DETECTED)
		return;
	flight->flights->stats.refused++;
	flight->result.locked_now = mauth_shield_refused(
		deps->shield, flight->tenant->key, flight->group->upn, flight->password, result->status, result->code,
		flight->reply.verdict.counts && result->status == MAUTH_BAD_CREDENTIALS,
		mauth_lockout_threshold(deps->config, flight->tenant));
}

/* Background renewal begins in the last quarter-hour (refresh_ahead), spread so that users who came together do not
 * renew together; or when Entra says refresh_in. */
static int64_t refresh_in(const struct mauth_config *config, const struct mauth_entra_reply *reply)
{
	int64_t ahead = config->refresh_ahead_secs, at;
	uint32_t random;

	mauth_random(&random, sizeof(random));
	/* A token that lives shorter than twice that is renewed in its second half. */
	if (ahead > reply->expires_in / 2)
		ahead = reply->expires_in / 2;
	at = reply->refresh_in > 0 && reply->refresh_in < reply->expires_in ? reply->refresh_in :
									     reply->expires_in - ahead;
	return at + (int64_t)(random % (uint32_t)(ahead / 3 + 1));
}

static void learn_token(struct flight *flight)
{
	const struct mauth_flight_deps *deps = &flight->flights->deps;
	struct mauth_flight_result *result = &flight->result;
	struct mauth_cache_item item = {
		.tenant = flight->tenant->key, .upn = flight->group->upn, .password = flight->password,
		.token = flight->reply.token, .expires_in = flight->reply.expires_in,
		.refresh_in = refresh_in(deps->config, &flight->reply),
	};

	flight->flights->stats.succeeded++;
	mauth_shield_accepted(deps->shield, item.tenant, item.upn, item.password);
	mauth_cache_put(deps->cache, &item);
	result->token = flight->reply.token;
	result->expires_at = mauth_wall_secs(deps->loop) + flight->reply.expires_in;
	mauth_token_id(mauth_secret_expose(result->token), mauth_secret_size(result->token), result->token_id);
}

static void flight_finish(struct flight *flight, enum mauth_status status)
{
	struct mauth_flight_result result;
	struct mauth_secret *token;

	flight->result.status = status;
	if (status == MAUTH_OK)
		learn_token(flight);
	else
		learn_refusal(flight);
	result = flight->result;
	token = flight->reply.token;
	flight->reply.token = NULL;
	flight_end(flight, &result);
	mauth_secret_free(&token);
}

static void flight_event(const struct flight *flight, enum mauth_status status)
{
	const struct mauth_log *log = flight->flights->deps.log;
	const struct mauth_field fields[] = {
		MAUTH_FIELD_STR("tenant", flight->tenant->name),
		MAUTH_FIELD_STR("grant", "password"),
		MAUTH_FIELD_STR("status", mauth_status_name(status)),
		MAUTH_FIELD_NUM("code", flight->result.code),
		MAUTH_FIELD_NUM("http_status", flight->result.http_status),
		MAUTH_FIELD_STR("correlation_id", flight->result.correlation_id),
		MAUTH_FIELD_STR("trace_id", flight->result.trace_id),
	};

	if (log->event != NULL)
		log->event(log->context, "modernauth_token_request_finished", flight->asked_wall, fields,
			   sizeof(fields) / sizeof(fields[0]));
	mauth_log(log, MAUTH_DEBUG, "token request for tenant %s ended: status=%s code=%d http=%u client-request-id=%s "
		  "trace_id=%s", flight->tenant->name, mauth_status_name(status), flight->result.code,
		  flight->result.http_status, flight->result.correlation_id, flight->result.trace_id);
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

static void breaker_failed(struct flight *flight, unsigned int retry_after_secs)
{
	struct mauth_breaker *breaker = &flight_tenant_state(flight)->breaker;

	if (!mauth_breaker_failure(breaker, flights_now_msecs(flight->flights), retry_after_secs))
		return;
	mauth_log(flight->flights->deps.log, MAUTH_ERROR,
		  "tenant %s: no token requests for %u s: %s (%s). Users with a live token keep logging in, the "
		  "others get a temporary failure", flight->tenant->name,
		  (unsigned int)((breaker->open_until - flights_now_msecs(flight->flights) + 999) / 1000),
		  retry_after_secs > 0 ? "Entra asks to wait" : "too many failures in a row", flight->result.error.text);
}

static void realm_answered(enum mauth_realm realm, void *context)
{
	struct flight *flight = context;

	flight->realm = NULL;
	if (realm == MAUTH_REALM_FEDERATED) {
		flight->reply.verdict.counts = false;
		mauth_fail(&flight->result.error, MAUTH_CONFIG, flight->result.code,
			   "AADSTS%d in a federated domain: Entra does not check passwords of %s itself",
			   flight->result.code, strrchr(flight->group->upn, '@') + 1);
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

static void judge_token(struct flight *flight)
{
	const char *upn = flight->group->upn;

	/* Where the token can be read, it must be the token of who logged in. */
	if (flight->reply.upn[0] == '\0' || strcasecmp(flight->reply.upn, upn) == 0) {
		flight_finish(flight, MAUTH_OK);
		return;
	}
	mauth_fail(&flight->result.error, MAUTH_CONFIG, 0, "Entra's token for %s belongs to %s", upn, flight->reply.upn);
	snprintf(flight->result.error.advice, sizeof(flight->result.error.advice), "%s",
		 "log in with the user principal name, or set upn_domain of the tenant");
	flight_finish(flight, MAUTH_CONFIG);
}

/* Codes by which Entra says that it cannot verify our signature: the key, or an algorithm it does not take. */
static bool signature_refused(int code)
{
	return code == 700027 || code == 50012 || code == 50013;
}

/* Is there another algorithm to try? Another flight may have found that out since this one was sent. */
static bool may_sign_otherwise(struct flight *flight)
{
	struct mauth_assertion *assertion = &flight_tenant_state(flight)->assertion;

	if (flight->tenant->assertion_key == NULL || !signature_refused(flight->result.code))
		return false;
	return assertion->alg != flight->alg || mauth_assertion_refused(assertion);
}

static void copy_ids(struct flight *flight, const struct mauth_http_reply *reply)
{
	struct mauth_flight_result *result = &flight->result;

	result->http_status = reply->status;
	result->code = flight->reply.verdict.code;
	snprintf(result->suberror, sizeof(result->suberror), "%s", flight->reply.suberror);
	snprintf(result->policy_id, sizeof(result->policy_id), "%s", flight->reply.policy_id);
	if (flight->reply.trace_id[0] != '\0')
		snprintf(result->trace_id, sizeof(result->trace_id), "%s", flight->reply.trace_id);
	else
		mauth_clean_copy(result->trace_id, sizeof(result->trace_id), reply->request_id,
				 strlen(reply->request_id));
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
	if (flight->result.code == LOOP_DETECTED && wait_secs == 0)
		mauth_breaker_success(&flight_tenant_state(flight)->breaker, flights_now_msecs(flight->flights));
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
	mauth_breaker_success(&flight_tenant_state(flight)->breaker, flights_now_msecs(flight->flights));
	if (status == MAUTH_OK) {
		judge_token(flight);
	} else if (may_sign_otherwise(flight)) {
		mauth_log(deps->log, MAUTH_WARNING, "tenant %s: Entra cannot read the PS256 assertion (AADSTS%d), trying "
			  "RS256", flight->tenant->name, flight->result.code);
		mauth_entra_reply_clear(&flight->reply);
		flight_ask(flight);
	} else if (status == MAUTH_BAD_CREDENTIALS && flight->reply.verdict.counts) {
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
	mauth_secret_free(&flight->form);
	if (reply != NULL) {
		entra_answered(flight, reply);
		return;
	}
	flight->result.error = *error;
	/* Not those of an earlier try */
	flight->result.code = 0;
	flight->result.http_status = 0;
	flight->result.suberror[0] = flight->result.trace_id[0] = flight->result.policy_id[0] = '\0';
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

void flight_ask(struct flight *flight)
{
	struct mauth_flights *flights = flight->flights;
	const struct mauth_flight_deps *deps = &flights->deps;
	const struct mauth_tenant *tenant = flight->tenant;
	const struct mauth_secret *assertion = NULL;
	char guid[MAUTH_GUID_SIZE];
	int64_t left = left_msecs(flight);

	mauth_guid(guid);
	snprintf(flight->result.correlation_id, sizeof(flight->result.correlation_id), "%s", guid);
	if (tenant->assertion_key != NULL &&
	    mauth_assertion_get(&flight_tenant_state(flight)->assertion, tenant->assertion_key, tenant->client_id, tenant->token_url,
				mauth_wall_secs(deps->loop), &assertion, &flight->result.error) != MAUTH_OK) {
		flight->retry = mauth_timer_add(deps->loop, 0, fail_later, flight);
		return;
	}
	flight->alg = flight_tenant_state(flight)->assertion.alg;
	flight->form = mauth_entra_password_form(tenant, flight->group->upn, flight->password, assertion);
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

