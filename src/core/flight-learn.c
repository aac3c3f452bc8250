/* SPDX-License-Identifier: MIT */
#include "core/flight-private.h"

#include "core/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

static void drop_token(struct flight *flight)
{
	struct mauth_cache *cache = flight->flights->deps.cache;
	struct mauth_cache_entry *entry = mauth_cache_find(cache, flight_key(flight), flight->group->upn);

	if (entry != NULL && (flight->grant != MAUTH_GRANT_PASSWORD || mauth_cache_verify(cache, entry, flight->password)))
		mauth_cache_drop(cache, &entry);
}

/* What Entra says of an enrolment is not about a password. */
static void learn_enrolment_refusal(struct flight *flight)
{
	struct mauth_enrolments *enrolments = *flight->flights->deps.enrolments;

	if (enrolments == NULL || !revokes(flight->result.status))
		return;
	flight->flights->stats.refused++;
	mauth_enrolments_refusal(enrolments, flight->tenant->name, flight->group->upn, flight->generation,
				 &flight->result.error, flight->result.ids.code);
}

/* An account that is not forwarded for a while: somebody guesses, or a forgotten device has an old password. */
static void account_locked(const struct flight *flight)
{
	const struct mauth_log *log = flight->flights->deps.log;
	const struct mauth_field fields[] = {
		MAUTH_FIELD_STR("tenant", flight->tenant->name),
		MAUTH_FIELD_STR("by", flight->result.status == MAUTH_LOCKED ? "entra" : "us"),
		MAUTH_FIELD_STR("user", flight->group->upn),
	};

	if (log->event != NULL)
		log->event(log->context, "modernauth_account_locked", 0, fields, sizeof(fields) / sizeof(fields[0]));
}

static void learn_refusal(struct flight *flight)
{
	const struct mauth_flight_deps *deps = &flight->flights->deps;
	const struct mauth_flight_result *result = &flight->result;
	bool locked_now;

	/* Nor does a code that we do not know: it may mean anything. */
	if (revokes(result->status) && flight->reply.verdict.code != 0)
		drop_token(flight);
	if (flight->grant == MAUTH_GRANT_ENROLLED)
		learn_enrolment_refusal(flight);
	if (flight->grant != MAUTH_GRANT_PASSWORD)
		return;
	if (!revokes(result->status) && result->status != MAUTH_LOCKED && result->ids.code != MAUTH_AADSTS_LOOP)
		return;
	flight->flights->stats.refused++;
	locked_now = mauth_shield_refused(
		deps->shield, flight->tenant->key, flight->group->upn, flight->password, result->status, result->ids.code,
		flight->reply.verdict.counts && result->status == MAUTH_BAD_CREDENTIALS,
		mauth_lockout_threshold(deps->config, flight->tenant));
	if (locked_now)
		account_locked(flight);
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
		.tenant = flight_key(flight), .upn = flight->group->upn, .password = flight->password,
		.token = flight->reply.token, .expires_in = flight->reply.expires_in,
		.refresh_in = refresh_in(deps->config, &flight->reply),
	};

	flight->flights->stats.succeeded++;
	if (flight->grant == MAUTH_GRANT_PASSWORD)
		mauth_shield_accepted(deps->shield, flight->tenant->key, item.upn, item.password);
	flight_tenant_state(flight)->refused_codes[flight->credential] = 0;
	mauth_cache_put(deps->cache, &item);
	result->token = flight->reply.token;
	result->expires_at = mauth_wall_secs(deps->loop) + flight->reply.expires_in;
	mauth_token_id(mauth_secret_expose(result->token), mauth_secret_size(result->token), result->token_id);
}

void flight_finish(struct flight *flight, enum mauth_status status)
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

/* -- is it the right token? -- */

/* Its enrolment has gone since it was asked for. */
static bool is_revoked(const struct flight *flight)
{
	const struct mauth_enrolments *enrolments = *flight->flights->deps.enrolments;

	return flight->grant == MAUTH_GRANT_ENROLLED && enrolments != NULL &&
	       mauth_enrolments_find(enrolments, flight->tenant->name, flight->group->upn) == NULL;
}

static void finish_revoked(struct flight *flight)
{
	mauth_fail(&flight->result.error, MAUTH_INTERACTION, 0, "the enrolment was revoked while Entra was asked");
	flight_finish(flight, MAUTH_INTERACTION);
}

static void rotation_done(const struct mauth_error *error, void *context)
{
	struct flight_rotation *rotation = context;
	struct flight *flight = rotation->flight;

	free(rotation);
	if (flight == NULL)
		return;
	flight->rotation = NULL;
	if (is_revoked(flight)) {
		finish_revoked(flight);
		return;
	}
	if (error == NULL) {
		flight_finish(flight, MAUTH_OK);
		return;
	}
	/* The old refresh token is still in the store, the new one stays in memory until it can be written. */
	flight->result.error = *error;
	flight->flights->stats.failed++;
	flight_finish(flight, MAUTH_TEMPORARY);
}

/* A refresh token is on disk before anything that came with it is used: a crash must find one that works. */
static void keep_rotation(struct flight *flight)
{
	struct mauth_enrolments *enrolments = *flight->flights->deps.enrolments;

	if (enrolments == NULL) {
		mauth_fail(&flight->result.error, MAUTH_TEMPORARY, 0, "the store of enrolments was closed");
		flight_finish(flight, MAUTH_TEMPORARY);
		return;
	}
	/* Entra takes the old one as well (entra-docs refresh-tokens.md): whose rows they are renews it. */
	if (mauth_enrolments_follows(enrolments)) {
		flight_finish(flight, MAUTH_OK);
		return;
	}
	flight->rotation = mauth_new(sizeof(*flight->rotation));
	flight->rotation->flight = flight;
	mauth_enrolments_rotated(enrolments, flight->tenant->name, flight->group->upn, flight->generation,
				 flight->reply.refresh_token, rotation_done, flight->rotation);
}

static bool is_owner(const struct flight *flight)
{
	const struct mauth_enrolments *enrolments = *flight->flights->deps.enrolments;
	const char *upn = flight->reply.upn;

	if (flight->grant == MAUTH_GRANT_ENROLLED)
		return enrolments == NULL || mauth_enrolments_is_owner(enrolments, flight->tenant->name,
								       flight->group->upn, upn, flight->reply.oid);
	return upn[0] == '\0' || strcasecmp(upn, flight->group->upn) == 0;
}

void flight_judge_token(struct flight *flight)
{
	/* Nobody signed in: it is the tenant's. */
	if (flight->grant == MAUTH_GRANT_APP) {
		flight_finish(flight, MAUTH_OK);
		return;
	}
	if (is_revoked(flight)) {
		finish_revoked(flight);
		return;
	}
	/* Where the token can be read, it must be the token of who logged in. */
	if (!is_owner(flight)) {
		mauth_fail(&flight->result.error, MAUTH_CONFIG, 0, "Entra's token for %s belongs to %s",
			   flight->group->upn, flight->reply.upn[0] != '\0' ? flight->reply.upn : "another object id");
		snprintf(flight->result.error.advice, sizeof(flight->result.error.advice), "%s",
			 flight->grant == MAUTH_GRANT_ENROLLED ? "enrol the user again" :
			 "log in with the user principal name, or set upn_domain of the tenant");
		flight_finish(flight, MAUTH_CONFIG);
		return;
	}
	if (flight->grant == MAUTH_GRANT_ENROLLED)
		keep_rotation(flight);
	else
		flight_finish(flight, MAUTH_OK);
}

/* -- what the application proves itself with -- */

enum mauth_status flight_proof(struct mauth_flights *flights, const struct mauth_tenant *tenant,
			       struct mauth_entra_proof *proof_r, struct mauth_error *error_r)
{
	struct tenant_state *state = &flights->tenants[tenant->index];
	const struct mauth_credential *credential = &tenant->credentials[state->credential];

	*proof_r = (struct mauth_entra_proof){ NULL, NULL };
	if (tenant->credentials_count == 0)
		return MAUTH_OK;
	if (credential->key == NULL) {
		proof_r->secret = credential->secret;
		return MAUTH_OK;
	}
	return mauth_assertion_get(&state->assertions[state->credential], credential->key, tenant->client_id,
				   tenant->token_url, mauth_wall_secs(flights->deps.loop), &proof_r->assertion, error_r);
}

/* Codes by which Entra says that it cannot verify our signature: the key, or an algorithm it does not take. */
static bool signature_refused(int code)
{
	return code == 700027 || code == 50012 || code == 50013;
}

/* Is there another algorithm to try? Another flight may have found that out since this one was sent. */
static bool may_sign_otherwise(struct flight *flight)
{
	struct mauth_assertion *assertion = &flight_tenant_state(flight)->assertions[flight->credential];

	if (flight->tenant->credentials_count == 0 || flight->tenant->credentials[flight->credential].key == NULL ||
	    !signature_refused(flight->result.ids.code) ||
	    (assertion->alg == flight->alg && !mauth_assertion_refused(assertion)))
		return false;
	mauth_log(flight->flights->deps.log, MAUTH_WARNING, "tenant %s: Entra cannot read the PS256 assertion (AADSTS%d), "
		  "trying RS256", flight->tenant->name, flight->result.ids.code);
	return true;
}

/* The next credential is the tenant's from now on: another flight may have found that out, too. */
bool mauth_flights_proof_refused(struct mauth_flights *flights, const struct mauth_tenant *tenant, size_t credential,
				 const struct mauth_error *error, size_t *tried)
{
	struct tenant_state *state = &flights->tenants[tenant->index];
	size_t next = (credential + 1) % (tenant->credentials_count > 0 ? tenant->credentials_count : 1);

	state->refused_codes[credential] = error->code;
	if (++*tried >= tenant->credentials_count)
		return false;
	if (state->credential == credential) {
		state->credential = next;
		mauth_log(flights->deps.log, MAUTH_ERROR,
			  "tenant %s: Entra refuses %s (%s), using %s from now on; to do: %s", tenant->name,
			  tenant->credentials[credential].path, error->text, tenant->credentials[next].path,
			  error->advice);
	}
	return true;
}

static bool may_change_credential(struct flight *flight, unsigned int http_status)
{
	/* HTTP 401 is about the application: invalid_client (RFC 6749, section 5.2). */
	if (http_status != 401 && !signature_refused(flight->result.ids.code))
		return false;
	return mauth_flights_proof_refused(flight->flights, flight->tenant, flight->credential, &flight->result.error,
					   &flight->credentials_refused);
}

bool flight_may_prove_otherwise(struct flight *flight, unsigned int http_status)
{
	return may_sign_otherwise(flight) || may_change_credential(flight, http_status);
}
