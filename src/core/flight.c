/* SPDX-License-Identifier: MIT */
#include "core/flight-private.h"

#include "core/mem.h"

#include <stdlib.h>
#include <string.h>

/* Each costs curl some 20 KiB. */
#define FLIGHTS_MAX 12000u

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
	for (size_t i = 0; i < deps->config->tenants_count; i++)
		mauth_limiter_init(&flights->tenants[i].limiter, deps->loop);
	return flights;
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

/* Takes the whole list over, so that what joins meanwhile stands in another one; who came first is first in it. */
static void waiters_move(struct mauth_flight_waiter **from, struct mauth_flight_waiter **to)
{
	struct mauth_flight_waiter *waiter;

	*to = NULL;
	while ((waiter = *from) != NULL) {
		*from = waiter->next;
		if (waiter->next != NULL)
			waiter->next->link = from;
		waiter_link(waiter, to);
	}
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
	mauth_limiter_leave(&flight_tenant_state(flight)->limiter, &flight->slot, false);
	mauth_realm_cancel(&flight->realm);
	mauth_timer_remove(flights->deps.loop, &flight->retry);
	mauth_secret_free(&flight->password);
	mauth_secret_free(&flight->form);
	if (flight->rotation != NULL)
		flight->rotation->flight = NULL;
	mauth_entra_reply_clear(&flight->reply);
	flight->group->flying--;
	flights->stats.flying--;
	free(flight);
}

/* The only exit of a flight. */
void flight_end(struct flight *flight, const struct mauth_flight_result *result)
{
	struct mauth_flights *flights = flight->flights;
	struct group *group = flight->group;
	struct mauth_flight_waiter *waiters, *parked;

	waiters_move(&flight->waiters, &waiters);
	flight_free(flight);
	waiters_move(&group->parked, &parked);
	/* From here on callers' code runs: it may join or cancel, but nothing of this flight is left to touch. A new
	   flight of the same user keeps the group. */
	group->holds++;
	waiters_call(&waiters, result);
	waiters_call(&parked, NULL);
	group->holds--;
	group_release(flights, group);
}

void mauth_flights_stop(struct mauth_flights *flights)
{
	struct flight *flight, *next;

	for (flight = flights->all; flight != NULL; flight = next) {
		next = flight->all_next;
		flight_free(flight);
	}
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
	for (size_t i = 0; i < f->deps.config->tenants_count; i++) {
		for (size_t j = 0; j < MAUTH_CREDENTIALS_MAX; j++)
			mauth_assertion_clear(&f->tenants[i].assertions[j]);
	}
	free(f->tenants);
	mauth_realms_free(&f->realms);
	free(f);
	*flights = NULL;
}

static struct flight *flight_begin(struct mauth_flights *flights, struct group *group,
				   const struct mauth_flight_want *want, const unsigned char *verifier)
{
	struct flight *flight = mauth_new(sizeof(*flight));

	flight->flights = flights;
	flight->group = group;
	flight->tenant = want->tenant;
	flight->grant = want->grant;
	flight->password = mauth_secret_dup(want->password);
	memcpy(flight->verifier, verifier, sizeof(flight->verifier));
	flight->started_msecs = flights_now_msecs(flights);
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

enum mauth_status mauth_flights_may_begin(const struct mauth_flights *flights, const struct mauth_flight_want *want,
					  struct mauth_error *error_r)
{
	const struct mauth_tenant *tenant = want->tenant;
	const struct tenant_state *state = &flights->tenants[tenant->index];
	const struct mauth_breaker *breaker = &state->breaker;
	unsigned int left;

	if (state->config_until > flights_now_msecs(flights)) {
		if (error_r != NULL)
			*error_r = state->config_error;
		return MAUTH_CONFIG;
	}
	if (want->grant == MAUTH_GRANT_ENROLLED && *flights->deps.enrolments != NULL &&
	    mauth_enrolments_refused(*flights->deps.enrolments, tenant->name, want->account, error_r))
		return MAUTH_INTERACTION;
	if (flights->stats.flying >= FLIGHTS_MAX)
		return mauth_fail(error_r, MAUTH_TEMPORARY, 0, "%u token requests are under way already", FLIGHTS_MAX);
	if (!mauth_breaker_is_open(breaker, flights_now_msecs(flights), &left))
		return MAUTH_OK;
	if (breaker->asked_to_wait)
		return mauth_fail(error_r, MAUTH_TEMPORARY, 0, "Entra has asked for a pause (Retry-After), %u s left", left);
	return mauth_fail(error_r, MAUTH_TEMPORARY, 0, "Entra has failed %u times in a row, next try in %u s",
			  breaker->failures, left);
}

/* The flight that shares what is wanted, if there is one. */
static struct flight *flight_find(struct mauth_flights *flights, struct group *group,
				  const struct mauth_flight_want *want, unsigned char verifier_r[static MAUTH_VERIFIER_SIZE])
{
	memset(verifier_r, 0, MAUTH_VERIFIER_SIZE);
	if (want->grant != MAUTH_GRANT_PASSWORD)
		return group->flights;
	mauth_verifier(flights->deps.key, group->salt, want->tenant->key, group->upn, want->password, verifier_r);
	for (struct flight *flight = group->flights; flight != NULL; flight = flight->next) {
		if (mauth_equal_secret(flight->verifier, verifier_r, MAUTH_VERIFIER_SIZE))
			return flight;
	}
	return NULL;
}

/* More different passwords at once could lock the account. */
static bool must_line_up(struct mauth_flights *flights, const struct group *group, const struct mauth_flight_want *want)
{
	const struct mauth_tenant *tenant = want->tenant;

	return want->grant == MAUTH_GRANT_PASSWORD &&
	       group->flying >= mauth_shield_allowance(flights->deps.shield, tenant->key, group->upn,
						       mauth_lockout_threshold(flights->deps.config, tenant));
}

/* The flight, begun if need be; NULL: it has to wait (*parked_r) or may not begin (*error_r). */
static struct flight *flight_get(struct mauth_flights *flights, struct group *group, const struct mauth_flight_want *want,
				 bool *joined_r, bool *parked_r, struct mauth_error *error_r)
{
	unsigned char verifier[MAUTH_VERIFIER_SIZE];
	struct flight *flight = flight_find(flights, group, want, verifier);

	*parked_r = false;
	*joined_r = flight != NULL;
	if (flight != NULL)
		return flight;
	if (must_line_up(flights, group, want)) {
		*parked_r = true;
		return NULL;
	}
	if (mauth_flights_may_begin(flights, want, error_r) != MAUTH_OK ||
	    !mauth_breaker_allow(&flights->tenants[want->tenant->index].breaker, flights_now_msecs(flights), NULL))
		return NULL;
	return flight_begin(flights, group, want, verifier);
}

static struct group *group_of(struct mauth_flights *flights, const struct mauth_flight_want *want)
{
	return group_get(flights, want->tenant->keys[want->grant], want->account);
}

struct mauth_flight_waiter *mauth_flight_join(struct mauth_flights *flights, const struct mauth_flight_want *want,
					      mauth_flight_fn *done, void *context, bool *joined_r,
					      struct mauth_error *error_r)
{
	struct group *group = group_of(flights, want);
	struct mauth_flight_waiter *waiter;
	struct flight *flight;
	bool parked;

	flight = flight_get(flights, group, want, joined_r, &parked, error_r);
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

void mauth_flight_refresh(struct mauth_flights *flights, const struct mauth_flight_want *want)
{
	struct group *group;
	bool joined, parked;

	if (want->grant == MAUTH_GRANT_PASSWORD &&
	    mauth_shield_locked(flights->deps.shield, want->tenant->key, want->account) > 0)
		return;
	group = group_of(flights, want);
	if (flight_get(flights, group, want, &joined, &parked, NULL) == NULL)
		group_release(flights, group);
}

bool mauth_flights_realm(const struct mauth_flights *flights, const struct mauth_tenant *tenant, const char *upn,
			 enum mauth_realm *realm_r)
{
	return mauth_realm_known(flights->realms, tenant, upn, realm_r);
}

bool mauth_flights_federated(const struct mauth_flights *flights, const struct mauth_tenant *tenant, const char *upn)
{
	enum mauth_realm realm;

	return tenant->user_realm && mauth_realm_known(flights->realms, tenant, upn, &realm) &&
	       realm == MAUTH_REALM_FEDERATED;
}

struct mauth_realm_waiter *mauth_flights_ask_realm(struct mauth_flights *flights, const struct mauth_tenant *tenant,
						   const char *upn, mauth_realm_fn *done, void *context)
{
	enum mauth_realm realm;

	if (!tenant->user_realm || mauth_realm_known(flights->realms, tenant, upn, &realm))
		return NULL;
	return mauth_realm_ask(flights->realms, tenant, upn, done, context);
}

void mauth_flights_credential(const struct mauth_flights *flights, const struct mauth_tenant *tenant, size_t credential,
			      struct mauth_credential_state *state_r)
{
	const struct tenant_state *state = &flights->tenants[tenant->index];

	*state_r = (struct mauth_credential_state){ state->credential == credential, state->refused_codes[credential] };
}

enum mauth_status mauth_flights_proof(struct mauth_flights *flights, const struct mauth_tenant *tenant,
				      struct mauth_entra_proof *proof_r, size_t *credential_r,
				      struct mauth_error *error_r)
{
	*credential_r = flights->tenants[tenant->index].credential;
	return flight_proof(flights, tenant, proof_r, error_r);
}

bool mauth_flights_paused(const struct mauth_flights *flights, const struct mauth_tenant *tenant)
{
	return mauth_breaker_is_open(&flights->tenants[tenant->index].breaker, flights_now_msecs(flights), NULL);
}

void mauth_flights_stats(const struct mauth_flights *flights, struct mauth_flight_stats *stats_r)
{
	*stats_r = flights->stats;
}
