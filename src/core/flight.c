/* SPDX-License-Identifier: MIT */
#include "core/flight.h"

#include "core/assertion.h"
#include "core/breaker.h"
#include "core/mem.h"
#include "core/realm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Each costs curl some 20 KiB. */
#define FLIGHTS_MAX 12000u
#define RETRY_MSECS 250u
/* A retry that could not be answered in this time is not begun. */
#define RETRY_MIN_LEFT_MSECS 1000

/* Attempts and flights of one user. */
struct group {
	struct mauth_node node;
	struct flight *flights;
	struct mauth_flight_waiter *parked;  /* wait for an allowance */
	unsigned int flying, holds;
	unsigned char salt[MAUTH_SALT_SIZE];
	char upn[];
};

struct mauth_flight_waiter {
	struct mauth_flight_waiter *next, **link;
	mauth_flight_fn *done;
	void *context;
};

struct flight {
	struct flight *next, **link;         /* of the group */
	struct flight *all_next, **all_link;
	struct mauth_flights *flights;
	struct group *group;
	const struct mauth_tenant *tenant;
	struct mauth_secret *password, *form;
	unsigned char verifier[MAUTH_VERIFIER_SIZE];
	struct mauth_http_call *call;
	struct mauth_realm_waiter *realm;
	struct mauth_timer *retry;
	struct mauth_flight_waiter *waiters;
	struct mauth_flight_result result;
	struct mauth_entra_reply reply;
	int64_t started_msecs, asked_wall;
	enum mauth_assertion_alg alg;        /* of the assertion that was sent */
	bool retried;
};

struct tenant_state {
	struct mauth_breaker breaker;
	struct mauth_assertion assertion;
};

struct mauth_flights {
	struct mauth_flight_deps deps;
	struct mauth_realms *realms;
	struct mauth_table groups;
	struct tenant_state *tenants;        /* by mauth_tenant.index */
	struct flight *all;
	struct mauth_flight_stats stats;
};

static void flight_ask(struct flight *flight);

static const char *node_upn(const struct mauth_node *node)
{
	return ((const struct group *)node)->upn;
}

struct mauth_flights *mauth_flights_new(const struct mauth_flight_deps *deps)
{
	struct mauth_flights *flights = mauth_new(sizeof(*flights));

	flights->deps = *deps;
	flights->realms = mauth_realms_new(deps->loop, deps->http, deps->log);
	mauth_table_init(&flights->groups, deps->key, node_upn);
	flights->tenants = mauth_new_array(deps->config->tenants_count, sizeof(*flights->tenants));
	return flights;
}

static int64_t now_msecs(const struct mauth_flights *flights)
{
	return mauth_mono_msecs(flights->deps.loop);
}

static struct tenant_state *state_of(const struct flight *flight)
{
	return &flight->flights->tenants[flight->tenant->index];
}

unsigned int mauth_lockout_threshold(const struct mauth_config *config, const struct mauth_tenant *tenant)
{
	return tenant->us_government ? config->lockout_threshold_usgov : config->lockout_threshold;
}

static struct group *group_get(struct mauth_flights *flights, uint32_t tenant, const char *upn)
{
	struct group *group = (struct group *)mauth_table_find(&flights->groups, tenant, upn);
	size_t size = strlen(upn) + 1;

	if (group != NULL)
		return group;
	group = mauth_new(sizeof(*group) + size);
	memcpy(group->upn, upn, size);
	mauth_random(group->salt, sizeof(group->salt));
	mauth_table_insert(&flights->groups, &group->node, tenant, upn);
	return group;
}

static void group_release(struct mauth_flights *flights, struct group *group)
{
	if (group->flights != NULL || group->parked != NULL || group->holds > 0)
		return;
	mauth_table_remove(&flights->groups, &group->node);
	free(group);
}

static void waiter_link(struct mauth_flight_waiter *waiter, struct mauth_flight_waiter **list)
{
	waiter->next = *list;
	waiter->link = list;
	if (waiter->next != NULL)
		waiter->next->link = &waiter->next;
	*list = waiter;
}

/* Takes the whole list over, so that what joins meanwhile stands in another one. */
static void waiters_move(struct mauth_flight_waiter **from, struct mauth_flight_waiter **to)
{
	*to = *from;
	*from = NULL;
	if (*to != NULL)
		(*to)->link = to;
}

static void waiters_call(struct mauth_flight_waiter **list, const struct mauth_flight_result *result)
{
	struct mauth_flight_waiter *waiter;

	while ((waiter = *list) != NULL) {
		mauth_flight_fn *done = waiter->done;
		void *context = waiter->context;

		mauth_flight_cancel(&waiter);
		done(result, context);
	}
}

void mauth_flight_cancel(struct mauth_flight_waiter **waiter)
{
	if (*waiter == NULL)
		return;
	*(*waiter)->link = (*waiter)->next;
	if ((*waiter)->next != NULL)
		(*waiter)->next->link = (*waiter)->link;
	free(*waiter);
	*waiter = NULL;
}

static void flight_free(struct flight *flight)
{
	struct mauth_flights *flights = flight->flights;

	*flight->link = flight->next;
	if (flight->next != NULL)
		flight->next->link = flight->link;
	*flight->all_link = flight->all_next;
	if (flight->all_next != NULL)
		flight->all_next->all_link = flight->all_link;
	mauth_http_cancel(flights->deps.http, &flight->call);
	mauth_realm_cancel(&flight->realm);
	mauth_timer_remove(flights->deps.loop, &flight->retry);
	mauth_secret_free(&flight->password);
	mauth_secret_free(&flight->form);
	mauth_entra_reply_clear(&flight->reply);
	flight->group->flying--;
	flights->stats.flying--;
	free(flight);
}

void mauth_flights_stop(struct mauth_flights *flights)
{
	while (flights->all != NULL)
		flight_free(flights->all);
	while (flights->groups.oldest != NULL) {
		struct group *group = (struct group *)flights->groups.oldest;

		mauth_table_remove(&flights->groups, &group->node);
		free(group);
	}
}

void mauth_flights_free(struct mauth_flights **flights)
{
	struct mauth_flights *f = *flights;

	if (f == NULL)
		return;
	mauth_flights_stop(f);
	mauth_table_free(&f->groups);
	for (size_t i = 0; i < f->deps.config->tenants_count; i++)
		mauth_assertion_clear(&f->tenants[i].assertion);
	free(f->tenants);
	mauth_realms_free(&f->realms);
	free(f);
	*flights = NULL;
}

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

	if (revokes(result->status) && entry != NULL && mauth_cache_verify(deps->cache, entry, flight->password))
		mauth_cache_drop(deps->cache, &entry);
	if (!revokes(result->status) && result->status != MAUTH_LOCKED)
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

/* The only exit of a flight. */
static void flight_finish(struct flight *flight, enum mauth_status status)
{
	struct mauth_flights *flights = flight->flights;
	struct group *group = flight->group;
	struct mauth_flight_waiter *waiters, *parked;
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
	waiters_move(&flight->waiters, &waiters);
	flight_free(flight);
	waiters_move(&group->parked, &parked);
	/* From here on callers' code runs: it may join or cancel, but nothing of this flight is left to touch. A new
	   flight of the same user keeps the group. */
	group->holds++;
	waiters_call(&waiters, &result);
	waiters_call(&parked, NULL);
	group->holds--;
	group_release(flights, group);
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
	if (!mauth_breaker_allow(&state_of(flight)->breaker, now_msecs(flight->flights), NULL)) {
		flight->flights->stats.failed++;
		flight_finish(flight, flight->result.error.status);
		return;
	}
	flight->flights->stats.retried++;
	flight_ask(flight);
}

static int64_t left_msecs(const struct flight *flight)
{
	return flight->started_msecs + flight->flights->deps.config->request_timeout_msecs - now_msecs(flight->flights);
}

/* One retry, for failures that say nothing but "not now". */
static bool flight_retry(struct flight *flight)
{
	uint32_t random;

	if (flight->retried || left_msecs(flight) < RETRY_MSECS * 2 + RETRY_MIN_LEFT_MSECS ||
	    state_of(flight)->breaker.open_until > now_msecs(flight->flights))
		return false;
	mauth_random(&random, sizeof(random));
	flight->retried = true;
	mauth_entra_reply_clear(&flight->reply);
	flight->retry = mauth_timer_add(flight->flights->deps.loop, RETRY_MSECS + random % RETRY_MSECS, retry_now, flight);
	return true;
}

static void breaker_failed(struct flight *flight, unsigned int retry_after_secs)
{
	struct mauth_breaker *breaker = &state_of(flight)->breaker;

	if (!mauth_breaker_failure(breaker, now_msecs(flight->flights), retry_after_secs))
		return;
	mauth_log(flight->flights->deps.log, MAUTH_ERROR,
		  "tenant %s: no token requests for %u s: %s (%s). Users with a live token keep logging in, the "
		  "others get a temporary failure", flight->tenant->name,
		  (unsigned int)((breaker->open_until - now_msecs(flight->flights) + 999) / 1000),
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
	struct mauth_assertion *assertion = &state_of(flight)->assertion;

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

static void entra_answered(struct flight *flight, const struct mauth_http_reply *reply)
{
	const struct mauth_flight_deps *deps = &flight->flights->deps;
	unsigned int wait_secs;
	enum mauth_status status;

	status = mauth_entra_parse(deps->config->aadsts, reply->status, reply->body, reply->body_size, &flight->reply,
				   &flight->result.error);
	copy_ids(flight, reply);
	flight_event(flight, status);
	if (status == MAUTH_TEMPORARY || status == MAUTH_PROTOCOL) {
		wait_secs = mauth_entra_retry_after(reply->retry_after, reply->date, mauth_wall_secs(deps->loop));
		if (wait_secs == 0 && reply->status == 429)
			wait_secs = 5;
		breaker_failed(flight, wait_secs);
		/* What Entra says with 4xx, or with 200 in a way that nobody can read, it would say again. */
		if (wait_secs > 0 || reply->status < 500 || !flight_retry(flight)) {
			flight->flights->stats.failed++;
			flight_finish(flight, status);
		}
		return;
	}
	mauth_breaker_success(&state_of(flight)->breaker, now_msecs(flight->flights));
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
	mauth_breaker_abandoned(&state_of(flight)->breaker);
	flight->flights->stats.failed++;
	flight_finish(flight, flight->result.error.status);
}

static void flight_ask(struct flight *flight)
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
	    mauth_assertion_get(&state_of(flight)->assertion, tenant->assertion_key, tenant->client_id, tenant->token_url,
				mauth_wall_secs(deps->loop), &assertion, &flight->result.error) != MAUTH_OK) {
		flight->retry = mauth_timer_add(deps->loop, 0, fail_later, flight);
		return;
	}
	flight->alg = state_of(flight)->assertion.alg;
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

static struct flight *flight_begin(struct mauth_flights *flights, struct group *group,
				   const struct mauth_tenant *tenant, const struct mauth_secret *password,
				   const unsigned char *verifier)
{
	struct flight *flight = mauth_new(sizeof(*flight));

	flight->flights = flights;
	flight->group = group;
	flight->tenant = tenant;
	flight->password = mauth_secret_dup(password);
	memcpy(flight->verifier, verifier, sizeof(flight->verifier));
	flight->started_msecs = now_msecs(flights);
	flight->next = group->flights;
	flight->link = &group->flights;
	if (flight->next != NULL)
		flight->next->link = &flight->next;
	group->flights = flight;
	flight->all_next = flights->all;
	flight->all_link = &flights->all;
	if (flight->all_next != NULL)
		flight->all_next->all_link = &flight->all_next;
	flights->all = flight;
	group->flying++;
	flights->stats.flying++;
	flight_ask(flight);
	return flight;
}

static enum mauth_status may_begin(struct mauth_flights *flights, const struct mauth_tenant *tenant,
				   struct mauth_error *error_r)
{
	struct mauth_breaker *breaker = &flights->tenants[tenant->index].breaker;
	unsigned int left;

	if (flights->stats.flying >= FLIGHTS_MAX)
		return mauth_fail(error_r, MAUTH_TEMPORARY, 0, "%u token requests are under way already", FLIGHTS_MAX);
	if (mauth_breaker_allow(breaker, now_msecs(flights), &left))
		return MAUTH_OK;
	if (breaker->asked_to_wait)
		return mauth_fail(error_r, MAUTH_TEMPORARY, 0, "Entra has asked for a pause (Retry-After), %u s left", left);
	return mauth_fail(error_r, MAUTH_TEMPORARY, 0, "Entra has failed %u times in a row, next try in %u s",
			  breaker->failures, left);
}

/* The flight of this password, begun if need be; NULL: it has to wait (*parked_r) or may not begin (*error_r). */
static struct flight *flight_get(struct mauth_flights *flights, struct group *group, const struct mauth_tenant *tenant,
				 const struct mauth_secret *password, bool *joined_r, bool *parked_r,
				 struct mauth_error *error_r)
{
	unsigned char verifier[MAUTH_VERIFIER_SIZE];
	unsigned int threshold = mauth_lockout_threshold(flights->deps.config, tenant);

	*parked_r = false;
	mauth_verifier(flights->deps.key, group->salt, tenant->key, group->upn, password, verifier);
	for (struct flight *flight = group->flights; flight != NULL; flight = flight->next) {
		if (mauth_equal_secret(flight->verifier, verifier, sizeof(verifier))) {
			*joined_r = true;
			return flight;
		}
	}
	*joined_r = false;
	if (group->flying >= mauth_shield_allowance(flights->deps.shield, tenant->key, group->upn, threshold)) {
		*parked_r = true;
		return NULL;
	}
	if (may_begin(flights, tenant, error_r) != MAUTH_OK)
		return NULL;
	return flight_begin(flights, group, tenant, password, verifier);
}

struct mauth_flight_waiter *mauth_flight_join(struct mauth_flights *flights, const struct mauth_tenant *tenant,
					      const char *upn, const struct mauth_secret *password,
					      mauth_flight_fn *done, void *context, bool *joined_r,
					      struct mauth_error *error_r)
{
	struct group *group = group_get(flights, tenant->key, upn);
	struct mauth_flight_waiter *waiter;
	struct flight *flight;
	bool parked;

	flight = flight_get(flights, group, tenant, password, joined_r, &parked, error_r);
	if (flight == NULL && !parked) {
		group_release(flights, group);
		return NULL;
	}
	if (*joined_r)
		flights->stats.joined++;
	waiter = mauth_new(sizeof(*waiter));
	waiter->done = done;
	waiter->context = context;
	waiter_link(waiter, flight != NULL ? &flight->waiters : &group->parked);
	return waiter;
}

void mauth_flight_refresh(struct mauth_flights *flights, const struct mauth_tenant *tenant, const char *upn,
			  const struct mauth_secret *password)
{
	struct group *group;
	bool joined, parked;

	if (mauth_shield_locked(flights->deps.shield, tenant->key, upn) > 0)
		return;
	group = group_get(flights, tenant->key, upn);
	if (flight_get(flights, group, tenant, password, &joined, &parked, NULL) == NULL)
		group_release(flights, group);
}

void mauth_flights_stats(const struct mauth_flights *flights, struct mauth_flight_stats *stats_r)
{
	*stats_r = flights->stats;
}
