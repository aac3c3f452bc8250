/* SPDX-License-Identifier: MIT */
#include "core/request-private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* With less life than this a token is not worth handing out even when no other can be had. */
#define LIFE_MIN_SECS 10
/* Attempts whose records are written together: most of what one write() costs, without keeping the first waiting. */
#define FINISH_TOGETHER 64u

static void run_turn(void *context)
{
	struct mauth_broker *broker = context;

	broker->turn = NULL;
	mauth_logins_turn(broker);
}

void mauth_login_unlink(struct mauth_login *login)
{
	struct mauth_broker *broker = login->broker;

	if (login->link == NULL)
		return;
	if (broker->ready_tail == &login->next)
		broker->ready_tail = login->link;
	if (broker->finishing_tail == &login->next)
		broker->finishing_tail = login->link;
	*login->link = login->next;
	if (login->next != NULL)
		login->next->link = login->link;
	login->link = NULL;
	login->next = NULL;
}

static void append_login(struct mauth_login *login, struct mauth_login ***tail)
{
	login->link = *tail;
	**tail = login;
	*tail = &login->next;
}

static void make_ready(struct mauth_login *login, enum step step)
{
	struct mauth_broker *broker = login->broker;

	mauth_login_unlink(login);
	login->step = step;
	append_login(login, &broker->ready_tail);
	if (broker->turn == NULL)
		broker->turn = mauth_timer_add(broker->host.loop, 0, run_turn, broker);
}

static void make_waiting(struct mauth_login *login)
{
	struct mauth_broker *broker = login->broker;

	mauth_login_unlink(login);
	login->next = broker->waiting;
	login->link = &broker->waiting;
	if (login->next != NULL)
		login->next->link = &login->next;
	broker->waiting = login;
}

struct mauth_login *mauth_login_start(struct mauth_broker *broker, const struct mauth_attempt *attempt,
				      mauth_login_fn *done, void *context)
{
	struct mauth_login *login = mauth_new(sizeof(*login));

	login->broker = broker;
	login->user = mauth_strdup(attempt->user);
	login->password = mauth_secret_dup(attempt->password);
	login->service = attempt->service;
	login->mechanism = mauth_strdup(attempt->mechanism);
	login->client_ip = mauth_strdup(attempt->client_ip);
	login->local_ip = mauth_strdup(attempt->local_ip);
	login->client_port = attempt->client_port;
	login->local_port = attempt->local_port;
	login->tls = attempt->tls;
	login->session = mauth_strdup(attempt->session);
	login->client_id = mauth_strdup(attempt->client_id);
	login->verified_by_dovecot = attempt->verified_by_dovecot;
	login->timeout_msecs = broker->config->deadline_msecs;
	if (attempt->timeout_msecs > 0 && attempt->timeout_msecs < login->timeout_msecs)
		login->timeout_msecs = attempt->timeout_msecs;
	login->done = done;
	login->context = context;
	login->decision = "refuse";
	login->started_wall = mauth_wall_usecs(broker->host.loop);
	login->started_mono = mauth_mono_usecs(broker->host.loop);
	broker->stats.logins++;
	broker->stats.open++;
	make_ready(login, STEP_ROUTE);
	return login;
}

void mauth_login_free(struct mauth_login *login)
{
	mauth_login_unlink(login);
	mauth_flight_cancel(&login->waiter);
	mauth_timer_remove(login->broker->host.loop, &login->deadline);
	login->broker->stats.open--;
	free(login->user);
	free(login->mechanism);
	free(login->client_ip);
	free(login->local_ip);
	free(login->session);
	free(login->client_id);
	mauth_secret_free(&login->password);
	mauth_secret_free(&login->token);
	free(login);
}

static enum step refuse(struct mauth_login *login, const char *rule, const struct mauth_error *error)
{
	login->rule = rule;
	login->error = *error;
	return STEP_FINISH;
}

static enum step step_route(struct mauth_login *login)
{
	struct mauth_error error;
	enum mauth_status status;
	size_t size = mauth_secret_size(login->password);

	status = mauth_upn_from_login(login->broker->config, login->user, &login->upn, &error);
	if (status == MAUTH_NOT_OURS)
		login->decision = "not-ours";
	if (status != MAUTH_OK)
		return refuse(login, status == MAUTH_NOT_OURS ? "no tenant" : "user name", &error);
	/* An empty password is never right (AADSTS50056), and a sign-in attempt without one is noise in Entra's log. */
	if (size == 0 || size > MAUTH_PASSWORD_MAX) {
		mauth_fail(&error, MAUTH_BAD_CREDENTIALS, 0, size == 0 ? "empty password" : "password longer than %u octets",
			   MAUTH_PASSWORD_MAX);
		return refuse(login, "password form", &error);
	}
	return STEP_CACHE;
}

/* Takes the entry's token as the answer. */
static enum step grant_cached(struct mauth_login *login, struct mauth_cache_entry *entry)
{
	login->token = mauth_cache_token(entry);
	mauth_cache_token_id(entry, login->token_id);
	login->expires_at = mauth_wall_secs(login->broker->host.loop) + mauth_cache_life(login->broker->cache, entry);
	login->decision = "upgrade";
	login->rule = "tenant";
	login->source = "cache";
	return STEP_FINISH;
}

static struct mauth_cache_entry *own_entry(struct mauth_login *login)
{
	struct mauth_cache *cache = login->broker->cache;
	struct mauth_cache_entry *entry = mauth_cache_find(cache, login->upn.tenant->key, login->upn.name);

	return entry != NULL && mauth_cache_verify(cache, entry, login->password) ? entry : NULL;
}

static enum step step_cache(struct mauth_login *login)
{
	struct mauth_broker *broker = login->broker;
	struct mauth_cache_entry *entry = own_entry(login);
	int64_t now = mauth_mono_msecs(broker->host.loop) / 1000;

	if (entry == NULL)
		return STEP_SHIELD;
	/* The upstream did not want this token: fetch another, but not with every login if it wants none at all. */
	if (entry->refused && now >= entry->refused_until)
		return STEP_SHIELD;
	if (mauth_cache_life(broker->cache, entry) < broker->config->min_life_secs)
		return STEP_SHIELD;
	if (now >= entry->refresh_mono && !broker->paused) {
		/* Nobody waits for this one; a failure is tried again by a later login, not by each. */
		entry->refresh_mono = now + 60;
		mauth_flight_refresh(broker->flights, login->upn.tenant, login->upn.name, login->password);
	}
	return grant_cached(login, entry);
}

static enum step step_shield(struct mauth_login *login)
{
	struct mauth_broker *broker = login->broker;
	uint32_t tenant = login->upn.tenant->key;
	const struct mauth_aadsts_row *row;
	struct mauth_refusal refusal;
	struct mauth_error error;
	unsigned int left;

	if (mauth_shield_remembers(broker->shield, tenant, login->upn.name, login->password, &refusal)) {
		row = mauth_aadsts_find(broker->config->aadsts, refusal.code);
		login->flight.code = refusal.code;
		broker->stats.from_memory++;
		mauth_fail(&error, refusal.status, refusal.code,
			   "AADSTS%d: %s (remembered, Entra was not asked; asked again in %u s)", refusal.code,
			   row == NULL ? "refused" : row->meaning, refusal.left_secs);
		if (row != NULL)
			snprintf(error.advice, sizeof(error.advice), "%s", row->advice);
		return refuse(login, "remembered refusal", &error);
	}
	left = mauth_shield_locked(broker->shield, tenant, login->upn.name);
	if (left == 0)
		return STEP_FETCH;
	broker->stats.from_memory++;
	mauth_fail(&error, MAUTH_LOCKED, 0, "too many bad passwords for this user: not forwarded to Entra for %u s", left);
	snprintf(error.advice, sizeof(error.advice), "%s",
		 "find the device that sends old passwords (the audit names its address) and correct it");
	return refuse(login, "lock-out shield", &error);
}

/* A fresh token could not be had for reasons that are not the user's: an old one that still lives will do. */
static enum step fall_back(struct mauth_login *login)
{
	struct mauth_cache_entry *entry = own_entry(login);

	if (entry == NULL || entry->refused || mauth_cache_life(login->broker->cache, entry) < LIFE_MIN_SECS)
		return STEP_FINISH;
	memset(&login->error, 0, sizeof(login->error));
	return grant_cached(login, entry);
}

static void flight_done(const struct mauth_flight_result *result, void *context)
{
	struct mauth_login *login = context;

	login->waiter = NULL;
	if (result == NULL) {
		make_ready(login, STEP_CACHE);
		return;
	}
	login->flight = *result;
	login->flight.token = NULL;
	login->rule = "tenant";
	if (result->status == MAUTH_OK) {
		login->token = mauth_secret_dup(result->token);
		memcpy(login->token_id, result->token_id, sizeof(login->token_id));
		login->expires_at = result->expires_at;
		login->decision = "upgrade";
		login->source = login->joined ? "joined" : "fetched";
	} else {
		login->error = result->error;
		login->error.status = result->status;
	}
	make_ready(login, STEP_FINISH);
}

static void deadline_passed(void *context)
{
	struct mauth_login *login = context;

	login->deadline = NULL;
	/* The answer came just in time and waits for its turn. */
	if (login->step == STEP_FINISH)
		return;
	mauth_flight_cancel(&login->waiter);
	login->rule = "deadline";
	mauth_fail(&login->error, MAUTH_TIMEOUT, 0, "no answer from Entra within %u ms", login->timeout_msecs);
	make_ready(login, STEP_FINISH);
}

/* An outage, or a lock-out, says nothing against the password that was verified for the cached token. */
static bool may_fall_back(const struct mauth_login *login)
{
	return login->token == NULL && login->upn.tenant != NULL &&
	       (mauth_login_is_outage(login->error.status) || login->error.status == MAUTH_LOCKED);
}

static enum step step_fetch(struct mauth_login *login)
{
	struct mauth_broker *broker = login->broker;
	int64_t used = (mauth_mono_usecs(broker->host.loop) - login->started_mono) / 1000;
	int64_t left = login->timeout_msecs - used;

	if (!broker->paused) {
		login->asked = true;
		login->waiter = mauth_flight_join(broker->flights, login->upn.tenant, login->upn.name, login->password,
						  flight_done, login, &login->joined, &login->error);
		if (login->waiter == NULL) {
			login->rule = login->error.status == MAUTH_CONFIG ? "remembered error" : "breaker";
			login->flight.code = login->error.code;
			return STEP_FINISH;
		}
	}
	if (login->deadline == NULL)
		login->deadline = mauth_timer_add(broker->host.loop, left < 1 ? 1 : (unsigned int)left, deadline_passed,
						  login);
	return STEP_WAIT;
}

static void make_finishing(struct mauth_login *login)
{
	if (may_fall_back(login))
		(void)fall_back(login);
	append_login(login, &login->broker->finishing_tail);
}

static void advance(struct mauth_login *login)
{
	for (;;) {
		switch (login->step) {
		case STEP_ROUTE:
			login->step = step_route(login);
			break;
		case STEP_CACHE:
			login->step = step_cache(login);
			break;
		case STEP_SHIELD:
			login->step = step_shield(login);
			break;
		case STEP_FETCH:
			login->step = step_fetch(login);
			break;
		case STEP_WAIT:
			make_waiting(login);
			return;
		case STEP_FINISH:
			make_finishing(login);
			return;
		}
	}
}

void mauth_logins_turn(struct mauth_broker *broker)
{
	/* What callbacks start meanwhile is for the next turn: the loop must see its descriptors in between. */
	struct mauth_login *batch = broker->ready, *login;
	unsigned int count = 0;

	if (batch != NULL)
		batch->link = &batch;
	broker->ready = NULL;
	broker->ready_tail = &broker->ready;
	while ((login = batch) != NULL) {
		mauth_login_unlink(login);
		advance(login);
		if (++count % FINISH_TOGETHER == 0)
			mauth_logins_finish(broker);
	}
	mauth_logins_finish(broker);
	if (broker->ready != NULL && broker->turn == NULL)
		broker->turn = mauth_timer_add(broker->host.loop, 0, run_turn, broker);
}

void mauth_broker_turn(struct mauth_broker *broker)
{
	if (broker->ready == NULL)
		return;
	mauth_timer_remove(broker->host.loop, &broker->turn);
	mauth_logins_turn(broker);
}

void mauth_logins_wake(struct mauth_broker *broker)
{
	struct mauth_login *login, *next;

	/* make_ready() only relinks: nobody's code runs in this loop. */
	for (login = broker->waiting; login != NULL; login = next) {
		next = login->next;
		if (login->waiter == NULL)
			make_ready(login, STEP_CACHE);
	}
}

void mauth_login_cancel(struct mauth_login **login)
{
	struct mauth_login *gone = *login;

	*login = NULL;
	/* Without done it is being answered: its own callback is what calls us. */
	if (gone == NULL || gone->done == NULL)
		return;
	gone->rule = "client went away";
	mauth_secret_free(&gone->token);
	gone->decision = "refuse";
	mauth_fail(&gone->error, MAUTH_CANCELLED, 0, "the front end went away before the answer");
	mauth_login_finish_gone(gone);
}

void mauth_login_abandon(struct mauth_login **login)
{
	if (*login != NULL && (*login)->done != NULL)
		mauth_login_free(*login);
	*login = NULL;
}
