/* SPDX-License-Identifier: MIT */
#include "core/account-check.h"

#include "core/breaker.h"
#include "core/limiter.h"
#include "core/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A user who is disabled is out within the life of a token, which Entra makes an hour: so is he here. */
#define GOOD_MSECS (3600 * 1000)
/* From here on it is asked again in the background, spread so that those who came together do not ask together. */
#define REFRESH_MSECS (2400 * 1000)
#define REFRESH_SPREAD_MSECS (600 * 1000)
/* A background question that failed: the next try is for a later login, not for each. */
#define REFRESH_PAUSE_MSECS (60 * 1000)
/* "No" is remembered just long enough to spare Graph a client's retries: who is enabled again gets in soon. */
#define REFUSED_MSECS (60 * 1000)
/* Without permission Graph would say so to every login. */
#define CONFIG_PAUSE_MSECS 10000
/* The token must live until Graph has read it. */
#define TOKEN_LIFE_MIN_SECS 60
/* Some 6 MiB. */
#define ACCOUNTS_MAX 20000u

struct mauth_account_waiter {
	struct mauth_account_waiter *next, **link;
	mauth_account_fn *done;
	void *context;
};

struct account {
	struct mauth_node node;
	struct mauth_accounts *accounts;
	const struct mauth_tenant *tenant;
	/* the last answer; times are monotonic msecs */
	enum mauth_status status;            /* MAUTH_STATUS_COUNT: none */
	int64_t good_until, refresh_at;
	/* the question under way */
	bool asking, again;                  /* again: with a fresh token, since Graph did not like the first one */
	bool forgotten;                      /* meanwhile: its answer is for those who wait, and not kept */
	int64_t began_at;
	struct mauth_flight_waiter *token;
	struct mauth_http_call *call;
	struct mauth_limiter_slot slot;
	struct mauth_timer *deadline;        /* while it stands in line */
	struct mauth_account_waiter *waiters;
	char upn[];
};

struct tenant_state {
	struct mauth_breaker breaker;
	struct mauth_limiter limiter;
	struct mauth_error config_error;     /* what Graph said of our app, good until: */
	int64_t config_until;
};

struct mauth_accounts {
	struct mauth_accounts_deps deps;
	struct mauth_table table;
	struct tenant_state *tenants;        /* by mauth_tenant.index */
};

static const char *node_upn(const struct mauth_node *node)
{
	return ((const struct account *)node)->upn;
}

static struct tenant_state *state_of(const struct account *account)
{
	return &account->accounts->tenants[account->tenant->index];
}

static int64_t now_msecs(const struct mauth_accounts *accounts)
{
	return mauth_mono_msecs(accounts->deps.loop);
}

static unsigned int left_msecs(const struct account *account)
{
	const struct mauth_accounts *accounts = account->accounts;
	int64_t left = account->began_at + accounts->deps.config->request_timeout_msecs - now_msecs(accounts);

	return left < 1 ? 1 : (unsigned int)left;
}

struct mauth_accounts *mauth_accounts_new(const struct mauth_accounts_deps *deps)
{
	struct mauth_accounts *accounts = mauth_new(sizeof(*accounts));

	accounts->deps = *deps;
	mauth_table_init(&accounts->table, deps->key, node_upn);
	accounts->tenants = mauth_new_array(deps->config->tenants_count, sizeof(*accounts->tenants));
	for (size_t i = 0; i < deps->config->tenants_count; i++)
		mauth_limiter_init(&accounts->tenants[i].limiter, deps->loop);
	return accounts;
}

static void stop_asking(struct account *account, bool answered)
{
	const struct mauth_accounts_deps *deps = &account->accounts->deps;

	mauth_flight_cancel(&account->token);
	mauth_http_cancel(deps->http, &account->call);
	mauth_timer_remove(deps->loop, &account->deadline);
	mauth_limiter_leave(&state_of(account)->limiter, &account->slot, answered);
	account->asking = false;
}

static void account_free(struct account *account)
{
	stop_asking(account, false);
	mauth_table_remove(&account->accounts->table, &account->node);
	free(account);
}

void mauth_accounts_stop(struct mauth_accounts *accounts)
{
	for (struct mauth_node *node = accounts->table.oldest; node != NULL; node = node->newer)
		stop_asking((struct account *)node, false);
}

void mauth_accounts_free(struct mauth_accounts **accounts)
{
	if (*accounts == NULL)
		return;
	while ((*accounts)->table.oldest != NULL)
		account_free((struct account *)(*accounts)->table.oldest);
	mauth_table_free(&(*accounts)->table);
	free((*accounts)->tenants);
	free(*accounts);
	*accounts = NULL;
}

/* -- what is known ------------------------------------------------------------------------------------------ */

static struct account *account_find(const struct mauth_accounts *accounts, const struct mauth_tenant *tenant,
				    const char *upn)
{
	return (struct account *)mauth_table_find(&accounts->table, tenant->key, upn);
}

/* Makes room for another one: the least recently used that nobody asks about goes. */
static bool make_room(struct mauth_accounts *accounts)
{
	struct mauth_node *node = accounts->table.oldest;

	if (accounts->table.count < ACCOUNTS_MAX)
		return true;
	while (node != NULL && ((struct account *)node)->asking)
		node = node->newer;
	if (node == NULL)
		return false;
	account_free((struct account *)node);
	return true;
}

static struct account *account_get(struct mauth_accounts *accounts, const struct mauth_tenant *tenant, const char *upn)
{
	struct account *account = account_find(accounts, tenant, upn);
	size_t size = strlen(upn) + 1;

	if (account != NULL || !make_room(accounts))
		return account;
	account = mauth_new(sizeof(*account) + size);
	account->accounts = accounts;
	account->tenant = tenant;
	account->status = MAUTH_STATUS_COUNT;
	memcpy(account->upn, upn, size);
	mauth_table_insert(&accounts->table, &account->node, tenant->key, upn);
	return account;
}

bool mauth_account_known(struct mauth_accounts *accounts, const struct mauth_tenant *tenant, const char *upn,
			 enum mauth_status *status_r, struct mauth_error *error_r)
{
	struct account *account = account_find(accounts, tenant, upn);

	if (account == NULL || account->status == MAUTH_STATUS_COUNT || account->good_until <= now_msecs(accounts))
		return false;
	mauth_table_touch(&accounts->table, &account->node);
	*status_r = mauth_entra_account_error(upn, account->status, error_r);
	return true;
}

void mauth_account_forget(struct mauth_accounts *accounts, const struct mauth_tenant *tenant, const char *upn)
{
	struct account *account = account_find(accounts, tenant, upn);

	if (account == NULL)
		return;
	account->status = MAUTH_STATUS_COUNT;
	account->forgotten = account->asking;
}

/* The answer to a question that was sent at account->began_at: what has happened since is not in it. */
static void learn(struct account *account, enum mauth_status status)
{
	uint32_t random;

	if (account->forgotten)
		return;
	mauth_random(&random, sizeof(random));
	account->status = status;
	account->good_until = account->began_at + (status == MAUTH_OK ? GOOD_MSECS : REFUSED_MSECS);
	account->refresh_at = account->began_at + REFRESH_MSECS + random % REFRESH_SPREAD_MSECS;
}

/* -- asking ------------------------------------------------------------------------------------------------- */

/* The only exit of a question. */
static void finish(struct account *account, const struct mauth_error *error)
{
	struct mauth_accounts *accounts = account->accounts;
	struct mauth_account_waiter *waiter, *waiters = account->waiters;
	enum mauth_status status = error == NULL ? MAUTH_OK : error->status;

	if (status == MAUTH_OK || status == MAUTH_DISABLED || status == MAUTH_USER_UNKNOWN)
		learn(account, status);
	else
		account->refresh_at = now_msecs(accounts) + REFRESH_PAUSE_MSECS;
	stop_asking(account, false);
	mauth_log(accounts->deps.log, MAUTH_DEBUG, "tenant %s: Microsoft Graph was asked about the account %.320s: %s",
		  account->tenant->name, account->upn, error == NULL ? "enabled" : error->text);
	/* From here on callers' code runs, which may ask again or free the account: the list is ours. */
	account->waiters = NULL;
	if (waiters != NULL)
		waiters->link = &waiters;
	while ((waiter = waiters) != NULL) {
		mauth_account_fn *done = waiter->done;
		void *context = waiter->context;

		mauth_account_cancel(&waiter);
		done(error, context);
	}
}

static struct mauth_flight_want want_of(const struct mauth_tenant *tenant)
{
	return (struct mauth_flight_want){ .tenant = tenant, .grant = MAUTH_GRANT_APP, .account = MAUTH_FLIGHT_GRAPH };
}

static struct mauth_cache_entry *cached_token(const struct account *account)
{
	struct mauth_cache *cache = account->accounts->deps.cache;
	struct mauth_cache_entry *entry = mauth_cache_find(cache, account->tenant->keys[MAUTH_GRANT_APP],
							   MAUTH_FLIGHT_GRAPH);

	return entry != NULL && mauth_cache_life(cache, entry) >= TOKEN_LIFE_MIN_SECS ? entry : NULL;
}

/* This token is not good, or will be better once an admin has done something about it. */
static void drop_token(const struct account *account)
{
	struct mauth_cache_entry *entry = cached_token(account);

	if (entry != NULL)
		mauth_cache_drop(account->accounts->deps.cache, &entry);
}

static void breaker_failed(struct account *account, unsigned int retry_after_secs, const struct mauth_error *error)
{
	struct mauth_accounts *accounts = account->accounts;
	struct mauth_breaker *breaker = &state_of(account)->breaker;

	if (mauth_breaker_failure(breaker, now_msecs(accounts), retry_after_secs))
		mauth_log(accounts->deps.log, MAUTH_ERROR, "tenant %s: Microsoft Graph is not asked about accounts for %u s: %s "
			  "(%s). Accounts that it has said something about within the hour keep logging in, the others get a "
			  "temporary failure", account->tenant->name,
			  (unsigned int)((breaker->open_until - now_msecs(accounts) + 999) / 1000),
			  retry_after_secs > 0 ? "it asks to wait" : "too many failures in a row", error->text);
}

static enum mauth_status proceed(struct account *account, struct mauth_error *error_r);

/* Asks once more if the first token was refused: it may have been revoked. */
static bool may_ask_again(struct account *account, unsigned int http_status, struct mauth_error *error_r)
{
	if (http_status != 401 || account->again)
		return false;
	account->again = true;
	return proceed(account, error_r) == MAUTH_OK;
}

static void graph_answered(struct account *account, const struct mauth_http_reply *reply)
{
	const struct mauth_accounts_deps *deps = &account->accounts->deps;
	struct tenant_state *state = state_of(account);
	struct mauth_error error;
	enum mauth_status status = mauth_entra_parse_account(account->upn, reply->status, reply->body, reply->body_size, &error);
	unsigned int wait_secs = mauth_entra_retry_after(reply->retry_after, reply->date, mauth_wall_secs(deps->loop));

	if (status == MAUTH_TEMPORARY || status == MAUTH_PROTOCOL) {
		breaker_failed(account, wait_secs == 0 && reply->status == 429 ? 5 : wait_secs, &error);
		finish(account, &error);
		return;
	}
	mauth_breaker_success(&state->breaker, now_msecs(account->accounts));
	if (status == MAUTH_CONFIG) {
		/* Permissions are in the token: with a fresh one a new one shows. */
		drop_token(account);
		if (may_ask_again(account, reply->status, &error))
			return;
		if (error.status == MAUTH_CONFIG) {
			state->config_error = error;
			state->config_until = now_msecs(account->accounts) + CONFIG_PAUSE_MSECS;
		}
	}
	finish(account, status == MAUTH_OK ? NULL : &error);
}

static void http_done(const struct mauth_http_reply *reply, const struct mauth_error *error, void *context)
{
	struct account *account = context;
	struct mauth_error copy;

	account->call = NULL;
	mauth_limiter_leave(&state_of(account)->limiter, &account->slot, reply != NULL);
	if (reply != NULL) {
		graph_answered(account, reply);
		return;
	}
	mauth_fail(&copy, error->status, error->code, "Microsoft Graph: %.480s", error->text);
	snprintf(copy.advice, sizeof(copy.advice), "%s", error->advice);
	breaker_failed(account, 0, &copy);
	finish(account, &copy);
}

/* It ends without having been sent. */
static void not_sent(struct account *account, enum mauth_status status)
{
	struct mauth_error error;

	mauth_fail(&error, status, 0, "Microsoft Graph does not answer (%u requests are open): this one was not sent",
		   state_of(account)->limiter.open);
	mauth_breaker_abandoned(&state_of(account)->breaker);
	finish(account, &error);
}

static void send_now(struct account *account)
{
	const struct mauth_accounts_deps *deps = &account->accounts->deps;
	const struct mauth_tenant *tenant = account->tenant;
	struct mauth_cache_entry *entry = cached_token(account);
	struct mauth_secret *token;
	char *url;

	if (entry == NULL) {
		not_sent(account, MAUTH_TEMPORARY);
		return;
	}
	token = mauth_cache_token(entry);
	url = mauth_entra_account_url(tenant, account->upn);
	account->call = mauth_http_start(deps->http, &(struct mauth_http_request){
		.url = url, .bearer = token, .ca_file = tenant->ca_file, .proxy = tenant->proxy,
		.timeout_msecs = left_msecs(account),
	}, http_done, account);
	free(url);
	mauth_secret_free(&token);
}

static void waited_in_vain(void *context)
{
	struct account *account = context;

	account->deadline = NULL;
	not_sent(account, MAUTH_TIMEOUT);
}

static void may_send(void *context)
{
	struct account *account = context;

	mauth_timer_remove(account->accounts->deps.loop, &account->deadline);
	/* What ended those that were open may have opened the breaker. */
	if (state_of(account)->breaker.open_until > now_msecs(account->accounts))
		not_sent(account, MAUTH_TEMPORARY);
	else
		send_now(account);
}

/* There is a token. */
static void send_in_turn(struct account *account)
{
	if (mauth_limiter_enter(&state_of(account)->limiter, &account->slot, may_send, account))
		send_now(account);
	else
		account->deadline = mauth_timer_add(account->accounts->deps.loop, left_msecs(account), waited_in_vain, account);
}

static void token_done(const struct mauth_flight_result *result, void *context)
{
	struct account *account = context;
	struct mauth_error error;

	account->token = NULL;
	if (result != NULL && result->status == MAUTH_OK) {
		send_in_turn(account);
		return;
	}
	mauth_fail(&error, result == NULL ? MAUTH_TEMPORARY : result->status, result == NULL ? 0 : result->ids.code,
		   "no token to ask Microsoft Graph about the account with: %.400s",
		   result == NULL ? "nobody was asked" : result->error.text);
	if (result != NULL)
		snprintf(error.advice, sizeof(error.advice), "%s", result->error.advice);
	/* Whatever Entra says of the application is not about this user. */
	if (error.status == MAUTH_DISABLED || error.status == MAUTH_USER_UNKNOWN)
		error.status = MAUTH_CONFIG;
	mauth_breaker_abandoned(&state_of(account)->breaker);
	finish(account, &error);
}

/* Calls nobody back before it returns. */
static enum mauth_status proceed(struct account *account, struct mauth_error *error_r)
{
	const struct mauth_flight_want want = want_of(account->tenant);
	bool joined;

	if (cached_token(account) != NULL) {
		send_in_turn(account);
		return MAUTH_OK;
	}
	account->token = mauth_flight_join(account->accounts->deps.flights, &want, token_done, account, &joined, error_r);
	return account->token != NULL ? MAUTH_OK : error_r->status;
}

static enum mauth_status begin(struct account *account, struct mauth_error *error_r)
{
	struct tenant_state *state = state_of(account);
	int64_t now = now_msecs(account->accounts);
	enum mauth_status status;
	unsigned int left;

	if (state->config_until > now) {
		*error_r = state->config_error;
		return MAUTH_CONFIG;
	}
	if (!mauth_breaker_allow(&state->breaker, now, &left))
		return mauth_fail(error_r, MAUTH_TEMPORARY, 0, "Microsoft Graph %s, next try in %u s",
				  state->breaker.asked_to_wait ? "has asked for a pause (Retry-After)" : "has failed too often",
				  left);
	account->began_at = now;
	account->again = account->forgotten = false;
	account->asking = true;
	status = proceed(account, error_r);
	if (status == MAUTH_OK)
		return MAUTH_OK;
	account->asking = false;
	mauth_breaker_abandoned(&state->breaker);
	return status;
}

void mauth_account_refresh(struct mauth_accounts *accounts, const struct mauth_tenant *tenant, const char *upn)
{
	struct account *account = account_find(accounts, tenant, upn);
	struct mauth_error error;

	if (account == NULL || account->asking || account->refresh_at > now_msecs(accounts))
		return;
	if (begin(account, &error) != MAUTH_OK)
		account->refresh_at = now_msecs(accounts) + REFRESH_PAUSE_MSECS;
}

struct mauth_account_waiter *mauth_account_ask(struct mauth_accounts *accounts, const struct mauth_tenant *tenant,
					       const char *upn, mauth_account_fn *done, void *context,
					       struct mauth_error *error_r)
{
	struct account *account = account_get(accounts, tenant, upn);
	struct mauth_account_waiter *waiter;

	if (account == NULL) {
		mauth_fail(error_r, MAUTH_TEMPORARY, 0, "Microsoft Graph is being asked about %u accounts already", ACCOUNTS_MAX);
		return NULL;
	}
	if (!account->asking && begin(account, error_r) != MAUTH_OK)
		return NULL;
	waiter = mauth_new(sizeof(*waiter));
	waiter->done = done;
	waiter->context = context;
	waiter->next = account->waiters;
	waiter->link = &account->waiters;
	if (waiter->next != NULL)
		waiter->next->link = &waiter->next;
	account->waiters = waiter;
	return waiter;
}

void mauth_account_cancel(struct mauth_account_waiter **waiter)
{
	if (*waiter == NULL)
		return;
	*(*waiter)->link = (*waiter)->next;
	if ((*waiter)->next != NULL)
		(*waiter)->next->link = (*waiter)->link;
	free(*waiter);
	*waiter = NULL;
}

/* -- handing over ------------------------------------------------------------------------------------------- */

bool mauth_accounts_next(const struct mauth_accounts *accounts, const struct mauth_node **at,
			 struct mauth_account_fact *fact_r)
{
	const struct mauth_node *node = *at == NULL ? accounts->table.oldest : (*at)->newer;
	int64_t now = now_msecs(accounts);

	for (; node != NULL; node = node->newer) {
		const struct account *account = (const struct account *)node;

		if (account->status == MAUTH_STATUS_COUNT || account->good_until <= now)
			continue;
		*at = node;
		*fact_r = (struct mauth_account_fact){
			.upn = account->upn, .tenant = node->tenant, .status = account->status,
			.good_until = account->good_until, .refresh_at = account->refresh_at,
		};
		return true;
	}
	return false;
}

void mauth_accounts_adopt(struct mauth_accounts *accounts, const struct mauth_tenant *tenant,
			  const struct mauth_account_fact *fact)
{
	int64_t good = fact->status == MAUTH_OK ? GOOD_MSECS : REFUSED_MSECS, latest = now_msecs(accounts) + good;
	struct account *account;

	if (fact->status != MAUTH_OK && fact->status != MAUTH_DISABLED && fact->status != MAUTH_USER_UNKNOWN)
		return;
	account = account_get(accounts, tenant, fact->upn);
	if (account == NULL || account->asking || account->status != MAUTH_STATUS_COUNT)
		return;
	account->status = fact->status;
	account->good_until = fact->good_until < latest ? fact->good_until : latest;
	account->refresh_at = fact->refresh_at;
}
