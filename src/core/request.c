/* SPDX-License-Identifier: MIT */
#include "core/request-private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

void login_make_ready(struct mauth_login *login, enum step step)
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
	login->tls_protocol = mauth_strdup(attempt->tls_protocol);
	login->verified_by_dovecot = attempt->verified_by_dovecot;
	login->check_only = attempt->check_only;
	login->password_is_token = attempt->password_is_token;
	login->said_side = mauth_strdup(attempt->mailbox_side);
	login->relay = attempt->relay == NULL ? NULL : login_relay_new(attempt->relay);
	login->timeout_msecs = broker->config->deadline_msecs;
	if (attempt->timeout_msecs > 0 && attempt->timeout_msecs < login->timeout_msecs)
		login->timeout_msecs = attempt->timeout_msecs;
	login->done = done;
	login->context = context;
	login->decision = "refuse";
	login->started_wall = mauth_wall_usecs(broker->host.loop);
	login->started_mono = mauth_mono_usecs(broker->host.loop);
	if (login->relay == NULL)
		broker->stats.logins++;
	broker->stats.open++;
	login_make_ready(login, STEP_ROUTE);
	return login;
}

void mauth_login_free(struct mauth_login *login)
{
	mauth_login_unlink(login);
	mauth_flight_cancel(&login->waiter);
	mauth_device_cancel(&login->device_waiter);
	mauth_realm_cancel(&login->realm_waiter);
	mauth_account_cancel(&login->account_waiter);
	mauth_enrol_unlisten(&login->enrol_listener);
	mauth_hybrid_cancel(&login->side_waiter);
	if (login->hold != NULL)
		login->hold->login = NULL;
	mauth_timer_remove(login->broker->host.loop, &login->deadline);
	login->broker->stats.open--;
	free(login->user);
	free(login->mechanism);
	free(login->client_ip);
	free(login->local_ip);
	free(login->session);
	free(login->client_id);
	free(login->tls_protocol);
	free(login->said_side);
	free(login->relay);
	mauth_secret_free(&login->password);
	mauth_secret_free(&login->token);
	free(login);
}

enum step login_refuse(struct mauth_login *login, const char *rule, const struct mauth_error *error)
{
	login->rule = rule;
	login->error = *error;
	return STEP_FINISH;
}

static enum step step_route(struct mauth_login *login)
{
	struct mauth_error error;
	enum mauth_status status;

	/* A login that had to wait for the store begins anew. */
	login->grants_at = 0;
	login->grants_count = 0;
	login->skipped[0] = '\0';
	login->federated = login->account_known = false;
	login->verified = MAUTH_VERIFIED_NONE;
	status = mauth_mailbox_resolve(login->broker->config, login->user, &login->where, &error);
	if (status != MAUTH_OK)
		login->where.tenant = NULL;
	if (status == MAUTH_NOT_OURS)
		login->decision = "not-ours";
	if (status != MAUTH_OK)
		return login_refuse(login, status == MAUTH_NOT_OURS ? "no tenant" : "user name", &error);
	if (login->relay != NULL)
		return login_relay_verify(login);
	login_decide(login);
	return STEP_SIDE;
}

static void deadline_passed(void *context)
{
	struct mauth_login *login = context;

	login->deadline = NULL;
	/* The answer came just in time and waits for its turn. */
	if (login->step == STEP_FINISH)
		return;
	mauth_flight_cancel(&login->waiter);
	mauth_device_cancel(&login->device_waiter);
	mauth_realm_cancel(&login->realm_waiter);
	mauth_account_cancel(&login->account_waiter);
	mauth_enrol_unlisten(&login->enrol_listener);
	mauth_hybrid_cancel(&login->side_waiter);
	login->rule = "deadline";
	mauth_fail(&login->error, MAUTH_TIMEOUT, 0, "no answer from Entra within %u ms", login->timeout_msecs);
	login_make_ready(login, STEP_FINISH);
}

enum step login_wait(struct mauth_login *login)
{
	const struct mauth_loop *loop = login->broker->host.loop;
	int64_t left = login->timeout_msecs - (mauth_mono_usecs(loop) - login->started_mono) / 1000;

	if (login->deadline == NULL)
		login->deadline = mauth_timer_add(loop, left < 1 ? 1 : (unsigned int)left, deadline_passed, login);
	return STEP_WAIT;
}

/* An outage, or a lock-out, says nothing against the password that was verified for the cached token. */
static bool may_fall_back(const struct mauth_login *login)
{
	return login->token == NULL && login->where.tenant != NULL && login->grants_at < login->grants_count &&
	       (mauth_login_is_outage(login->error.status) || login->error.status == MAUTH_LOCKED);
}

static void make_finishing(struct mauth_login *login)
{
	if (may_fall_back(login))
		(void)login_fall_back(login);
	if (login->check_only && login->token != NULL) {
		login->checked = true;
		login->decision = "verify";
	}
	append_login(login, &login->broker->finishing_tail);
}

static void advance(struct mauth_login *login)
{
	for (;;) {
		switch (login->step) {
		case STEP_ROUTE:
			login->step = step_route(login);
			break;
		case STEP_SIDE:
			login->step = login_step_side(login);
			break;
		case STEP_ACT:
			login->step = login_step_act(login);
			break;
		case STEP_VERIFY:
			login->step = login_step_verify(login);
			break;
		case STEP_GRANT:
			login->step = login_step_grant(login);
			break;
		case STEP_ACCOUNT:
			login->step = login_step_account(login);
			break;
		case STEP_CACHE:
			login->step = login_step_cache(login);
			break;
		case STEP_SHIELD:
			login->step = login_step_shield(login);
			break;
		case STEP_FETCH:
			login->step = login_step_fetch(login);
			break;
		case STEP_ENROL:
			login->step = login_step_enrol(login);
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
		if (login->waiter == NULL && login->device_waiter == NULL && login->realm_waiter == NULL &&
		    login->account_waiter == NULL && login->enrol_listener == NULL && login->side_waiter == NULL &&
		    login->hold == NULL)
			login_make_ready(login, STEP_ROUTE);
	}
}

void mauth_logins_leave_vault(struct mauth_broker *broker)
{
	struct mauth_login *login, *next;

	for (login = broker->waiting; login != NULL; login = next) {
		next = login->next;
		if (login->device_waiter == NULL && login->hold == NULL)
			continue;
		mauth_device_cancel(&login->device_waiter);
		if (login->hold != NULL)
			login->hold->login = NULL;
		login->hold = NULL;
		login_make_ready(login, STEP_ROUTE);
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
	gone->basic = gone->checked = false;
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
