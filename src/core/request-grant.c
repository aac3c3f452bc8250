/* SPDX-License-Identifier: MIT */
/* The middle of an attempt: who has verified the password, and which way leads to a token. */
#include "core/request-private.h"

#include <stdio.h>
#include <string.h>

/* With less life than this a token is not worth handing out even when no other can be had. */
#define LIFE_MIN_SECS 10

enum mauth_grant_type login_grant(const struct mauth_login *login)
{
	return login->grants[login->grants_at];
}

struct mauth_flight_want login_want(const struct mauth_login *login)
{
	enum mauth_grant_type grant = login_grant(login);

	return (struct mauth_flight_want){
		.tenant = login->where.tenant, .grant = grant,
		.account = grant == MAUTH_GRANT_APP ? "" : login->where.account,
		.password = grant == MAUTH_GRANT_PASSWORD ? login->password : NULL,
	};
}

/* -- has anybody here verified the password? ---------------------------------------------------------------- */

static bool wants_verified(const struct mauth_login *login)
{
	return login_has_grant(login, MAUTH_GRANT_ENROLLED) || login_has_grant(login, MAUTH_GRANT_APP);
}

static void device_computed(void *context)
{
	struct mauth_login *login = context;

	login->device_waiter = NULL;
	login_make_ready(login, STEP_VERIFY);
}

static enum step compute_device(struct mauth_login *login, const struct mauth_device_question *question)
{
	struct mauth_error error;

	login->device_waiter = mauth_devices_compute(mauth_vault_devices(login->broker->vault), question, device_computed, login,
						     &error);
	return login->device_waiter != NULL ? login_wait(login) : login_refuse(login, "device passwords", &error);
}

static enum step take_device(struct mauth_login *login, const struct mauth_device *device)
{
	login->verified = MAUTH_VERIFIED_DEVICE;
	snprintf(login->device_id, sizeof(login->device_id), "%s", device->id);
	snprintf(login->device_name, sizeof(login->device_name), "%s", device->name);
	if (strcmp(device->name, MAUTH_ENROL_ONE_TIME) == 0)
		return login_exchange_password(login);
	return STEP_GRANT;
}

static enum step ask_devices(struct mauth_login *login)
{
	struct mauth_devices *devices = mauth_vault_devices(login->broker->vault);
	const struct mauth_device_question question = {
		.tenant = login->where.tenant->name, .user = login->where.login, .password = login->password,
		.service = login->service, .client_ip = login->client_ip,
	};
	const struct mauth_device *device;
	struct mauth_error error;

	if (!mauth_devices_has(devices, question.tenant, question.user))
		return STEP_GRANT;
	switch (mauth_devices_check(devices, &question, &device, &error)) {
	case MAUTH_DEVICE_MATCH:
		return take_device(login, device);
	case MAUTH_DEVICE_WAIT:
		return compute_device(login, &question);
	case MAUTH_DEVICE_REFUSED:
		snprintf(login->device_id, sizeof(login->device_id), "%s", device->id);
		snprintf(login->device_name, sizeof(login->device_name), "%s", device->name);
		return login_refuse(login, "device password", &error);
	case MAUTH_DEVICE_NO_MATCH:
		break;
	}
	return STEP_GRANT;
}

const char *login_without_vault(const struct mauth_login *login, struct mauth_error *error_r)
{
	*error_r = login->broker->vault_error;
	if (error_r->status == MAUTH_OK)
		mauth_fail(error_r, MAUTH_CONFIG, 0, "the store is not open");
	return "store";
}

/* Without the store nobody can say whether this is a device password, and a token that Entra itself has given for this very
 * password is the only one that may still be used. */
static enum step without_vault(struct mauth_login *login)
{
	struct mauth_cache *cache = login->broker->cache;
	const struct mauth_cache_entry *entry;
	struct mauth_error error;
	const char *rule;

	for (size_t i = 0; i < login->grants_count; i++) {
		login->grants_at = i;
		entry = login_grant(login) != MAUTH_GRANT_PASSWORD ? NULL :
			mauth_cache_find(cache, login->where.tenant->keys[MAUTH_GRANT_PASSWORD], login->where.account);
		if (entry != NULL && mauth_cache_verify(cache, entry, login->password))
			return STEP_CACHE;
	}
	login->grants_at = 0;
	/* A successor opens the store when its predecessor has left. */
	if (login->broker->paused)
		return login_wait(login);
	rule = login_without_vault(login, &error);
	return login_refuse(login, rule, &error);
}

enum step login_step_verify(struct mauth_login *login)
{
	const struct mauth_tenant *tenant = login->where.tenant;

	if (login->relay != NULL)
		return STEP_GRANT;
	if (login->verified_by_dovecot && tenant->verified_by_dovecot) {
		login->verified = MAUTH_VERIFIED_DOVECOT;
		return login->broker->vault == NULL && login_has_grant(login, MAUTH_GRANT_ENROLLED) && login->broker->paused ?
			login_wait(login) : STEP_GRANT;
	}
	if (!tenant->verified_by_device)
		return STEP_GRANT;
	/* Also where only Entra's passwords are wanted: a device password is not to be sent there. */
	if (login->broker->vault != NULL)
		return ask_devices(login);
	return wants_verified(login) ? without_vault(login) : STEP_GRANT;
}

/* -- which way to a token ----------------------------------------------------------------------------------- */

static const char is_federated[] = "the domain is federated";

void login_skip(struct mauth_login *login, const char *why)
{
	size_t used = strlen(login->skipped);

	login->federated = login->federated || why == is_federated;
	/* Cut where it is full. */
	if (snprintf(login->skipped + used, sizeof(login->skipped) - used, "%s%s: %s", used > 0 ? "; " : "",
		     mauth_grant_name(login_grant(login)), why) < 0)
		login->skipped[used] = '\0';
	login->grants_at++;
}

const char *login_why_not(const struct mauth_login *login, struct mauth_error *error_r)
{
	const struct mauth_broker *broker = login->broker;

	if (login_grant(login) == MAUTH_GRANT_PASSWORD) {
		if (login->verified == MAUTH_VERIFIED_DEVICE)
			return "a device password is none of Entra's";
		if (login->relay != NULL)
			return "a relay key is none of Entra's";
		if (login->grants_count > 1 &&
		    mauth_flights_federated(broker->flights, login->where.tenant, login->where.account))
			return is_federated;
		return NULL;
	}
	if (login->verified == MAUTH_VERIFIED_NONE)
		return "nobody here has verified the password";
	if (login_grant(login) == MAUTH_GRANT_APP)
		return NULL;
	if (broker->vault == NULL) {
		*error_r = broker->vault_error;
		return error_r->status == MAUTH_OK ? "the store is not open" : error_r->text;
	}
	return mauth_enrolments_usable(broker->enrolments, login->where.tenant, login->where.account, error_r) == MAUTH_OK ? NULL :
		error_r->text;
}

static bool has_devices(const struct mauth_login *login)
{
	return login->broker->vault != NULL && mauth_devices_has(mauth_vault_devices(login->broker->vault),
								 login->where.tenant->name, login->where.login);
}

const char *login_no_way(const struct mauth_login *login, struct mauth_error *error_r)
{
	/* The password may be right for all that we know. Whoever has device passwords should have sent one. */
	if (login->verified == MAUTH_VERIFIED_NONE && login->federated && !has_devices(login)) {
		mauth_fail(error_r, MAUTH_CONFIG, 0, "nobody here can verify the password: %s is federated, and no earlier passdb has "
			   "accepted it", strrchr(login->where.account, '@') + 1);
		snprintf(error_r->advice, sizeof(error_r->advice), "doveadm modernauth enroll %.320s, or a passdb before ours (skip = "
			 "unauthenticated)", login->where.account);
		return "grants";
	}
	/* Nobody knows whether there is one. */
	if (login->verified != MAUTH_VERIFIED_NONE && login->broker->vault == NULL &&
	    login_has_grant(login, MAUTH_GRANT_ENROLLED))
		return login_without_vault(login, error_r);
	if (login->verified == MAUTH_VERIFIED_NONE) {
		mauth_fail(error_r, MAUTH_BAD_CREDENTIALS, 0, "no device password of this login, and no earlier passdb has "
			   "accepted the password");
		snprintf(error_r->advice, sizeof(error_r->advice), "if the user should get in: doveadm modernauth device add %.320s NAME, "
			 "or a passdb before ours (skip = unauthenticated)", login->where.login);
		return "tenant";
	}
	mauth_fail(error_r, MAUTH_INTERACTION, 0, "the %s is right, but there is no way to a token (%.400s)",
		   login->relay != NULL ? "relay key" : "password", login->skipped);
	snprintf(error_r->advice, sizeof(error_r->advice), "doveadm modernauth enroll %.320s", login->where.account);
	snprintf(error_r->tell, sizeof(error_r->tell), "This mailbox is not connected to Exchange Online. Ask your administrator.");
	return "grants";
}

/* No way is open. */
static enum step no_way(struct mauth_login *login)
{
	struct mauth_error error;
	const char *rule;

	if (login_may_enrol(login))
		return STEP_ENROL;
	rule = login_no_way(login, &error);
	return login_refuse(login, rule, &error);
}

enum step login_step_grant(struct mauth_login *login)
{
	struct mauth_error error = { .status = MAUTH_OK };
	const char *why;

	while (login->grants_at < login->grants_count) {
		why = login_why_not(login, &error);
		if (why == NULL)
			return STEP_ACCOUNT;
		login_skip(login, why);
	}
	return no_way(login);
}

bool login_may_go_on(const struct mauth_login *login)
{
	const struct mauth_enrolment *enrolment;

	if (login->grants_at + 1 >= login->grants_count)
		return false;
	if (mauth_login_is_outage(login->error.status))
		return true;
	if (login_grant(login) != MAUTH_GRANT_ENROLLED || login->broker->enrolments == NULL)
		return false;
	enrolment = mauth_enrolments_find(login->broker->enrolments, login->where.tenant->name, login->where.account);
	return enrolment != NULL && enrolment->code != 0;
}

/* This way has failed with login->error. */
static enum step grant_failed(struct mauth_login *login)
{
	size_t at = login->grants_at;
	struct mauth_error first = login->error, error;

	if ((mauth_login_is_outage(first.status) || first.status == MAUTH_LOCKED) && login_fall_back(login))
		return STEP_FINISH;
	/* The password is right, and Entra wants to see the user: so be it. */
	if (first.status == MAUTH_INTERACTION && login_grant(login) == MAUTH_GRANT_PASSWORD && login_may_enrol(login))
		return STEP_ENROL;
	if (!login_may_go_on(login))
		return STEP_FINISH;
	login_skip(login, first.text);
	while (login->grants_at < login->grants_count) {
		const char *why = login_why_not(login, &error);

		if (why == NULL)
			return STEP_ACCOUNT;
		login_skip(login, why);
	}
	/* There is none left: it stays the one that the record and the fallback are about. */
	login->grants_at = at;
	return STEP_FINISH;
}

/* -- is the account enabled? -------------------------------------------------------------------------------- */

/* Where an earlier passdb has verified the password, it has looked at the account; an enrolment and a password are the user's,
 * and Entra looks at him. With the application's token and a device password nobody has. */
bool login_must_know_account(const struct mauth_login *login)
{
	return login_grant(login) == MAUTH_GRANT_APP && login->verified == MAUTH_VERIFIED_DEVICE &&
	       mauth_rule_checks_accounts(login->policy, login->where.tenant);
}

static enum step account_refused(struct mauth_login *login, const struct mauth_error *error)
{
	login->rule = "account check";
	login->error = *error;
	return grant_failed(login);
}

static void account_checked(const struct mauth_error *error, void *context)
{
	struct mauth_login *login = context;

	login->account_waiter = NULL;
	login->account_known = error == NULL;
	login_make_ready(login, error == NULL ? STEP_CACHE : account_refused(login, error));
}

static enum step ask_account(struct mauth_login *login)
{
	struct mauth_error error;

	/* While the predecessor is there, no token can be had to ask with. */
	if (login->broker->paused)
		return login_wait(login);
	login->asked = true;
	login->account_waiter = mauth_account_ask(login->broker->accounts, login->where.tenant, login->where.login,
						  account_checked, login, &error);
	return login->account_waiter != NULL ? login_wait(login) : account_refused(login, &error);
}

enum step login_step_account(struct mauth_login *login)
{
	struct mauth_accounts *accounts = login->broker->accounts;
	const struct mauth_tenant *tenant = login->where.tenant;
	enum mauth_status status;
	struct mauth_error error;

	login->account_known = false;
	if (!login_must_know_account(login))
		return STEP_CACHE;
	if (!mauth_account_known(accounts, tenant, login->where.login, &status, &error))
		return ask_account(login);
	if (status != MAUTH_OK)
		return account_refused(login, &error);
	if (!login->broker->paused)
		mauth_account_refresh(accounts, tenant, login->where.login);
	login->account_known = true;
	return STEP_CACHE;
}

/* -- cached ------------------------------------------------------------------------------------------------- */

/* The token that this login may have: that of its own password, or one that needs no other proof than login->verified. */
static struct mauth_cache_entry *own_entry(struct mauth_login *login)
{
	const struct mauth_flight_want want = login_want(login);
	struct mauth_cache *cache = login->broker->cache;
	struct mauth_cache_entry *entry = mauth_cache_find(cache, want.tenant->keys[want.grant], want.account);

	if (entry == NULL)
		return NULL;
	if (want.grant == MAUTH_GRANT_PASSWORD)
		return mauth_cache_verify(cache, entry, login->password) ? entry : NULL;
	/* Whatever led here. */
	if (login_must_know_account(login) && !login->account_known)
		return NULL;
	return login->verified != MAUTH_VERIFIED_NONE && !entry->bound ? entry : NULL;
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
	memset(&login->error, 0, sizeof(login->error));
	return STEP_FINISH;
}

static enum step checked_here(struct mauth_login *login)
{
	login->checked = true;
	login->decision = "verify";
	login->rule = "tenant";
	memset(&login->error, 0, sizeof(login->error));
	return STEP_FINISH;
}

bool login_entry_serves(const struct mauth_broker *broker, const struct mauth_cache_entry *entry)
{
	/* The upstream did not want this token: fetch another, but not with every login if it wants none at all. */
	if (entry->refused && mauth_mono_msecs(broker->host.loop) / 1000 >= entry->refused_until)
		return false;
	return mauth_cache_life(broker->cache, entry) >= broker->config->min_life_secs;
}

bool login_entry_falls_back(const struct mauth_broker *broker, const struct mauth_cache_entry *entry)
{
	return !entry->refused && mauth_cache_life(broker->cache, entry) >= LIFE_MIN_SECS;
}

enum step login_step_cache(struct mauth_login *login)
{
	struct mauth_broker *broker = login->broker;
	int64_t now = mauth_mono_msecs(broker->host.loop) / 1000;
	struct mauth_cache_entry *entry;
	enum step miss = login_grant(login) == MAUTH_GRANT_PASSWORD ? STEP_SHIELD : STEP_FETCH;

	/* Nobody waits for a token, so none is fetched: while Entra is away, device passwords are right or wrong all the same. */
	if (login->check_only && login->verified != MAUTH_VERIFIED_NONE)
		return checked_here(login);
	entry = own_entry(login);
	if (entry == NULL || !login_entry_serves(broker, entry) ||
	    (login->relay != NULL && !login_relay_life_serves(login, entry)))
		return miss;
	if (now >= entry->refresh_mono && !broker->paused) {
		const struct mauth_flight_want want = login_want(login);

		/* Nobody waits for this one; a failure is tried again by a later login, not by each. */
		entry->refresh_mono = now + 60;
		mauth_flight_refresh(broker->flights, &want);
	}
	return grant_cached(login, entry);
}

bool login_fall_back(struct mauth_login *login)
{
	struct mauth_cache_entry *entry = own_entry(login);

	if (entry == NULL || !login_entry_falls_back(login->broker, entry) ||
	    (login->relay != NULL && !login_relay_falls_back(login, entry)))
		return false;
	(void)grant_cached(login, entry);
	return true;
}

void login_locked(unsigned int left_secs, struct mauth_error *error_r)
{
	mauth_fail(error_r, MAUTH_LOCKED, 0, "too many bad passwords for this user: not forwarded to Entra for %u s", left_secs);
	snprintf(error_r->advice, sizeof(error_r->advice), "%s",
		 "find the device that sends old passwords (the audit names its address) and correct it");
}

enum step login_step_shield(struct mauth_login *login)
{
	struct mauth_broker *broker = login->broker;
	uint32_t tenant = login->where.tenant->key;
	const struct mauth_aadsts_row *row;
	struct mauth_refusal refusal;
	struct mauth_error error;
	unsigned int left;

	if (mauth_shield_remembers(broker->shield, tenant, login->where.account, login->password, &refusal)) {
		row = mauth_aadsts_find(broker->config->aadsts, refusal.code);
		login->ids.code = refusal.code;
		broker->stats.from_memory++;
		mauth_fail(&error, refusal.status, refusal.code,
			   "AADSTS%d: %s (remembered, Entra was not asked; asked again in %u s)", refusal.code,
			   row == NULL ? "refused" : row->meaning, refusal.left_secs);
		if (row != NULL)
			snprintf(error.advice, sizeof(error.advice), "%s", row->advice);
		return login_refuse(login, "remembered refusal", &error);
	}
	left = mauth_shield_locked(broker->shield, tenant, login->where.account);
	if (left == 0)
		return STEP_FETCH;
	broker->stats.from_memory++;
	login_locked(left, &error);
	return login_refuse(login, "lock-out shield", &error);
}

/* -- fetched ------------------------------------------------------------------------------------------------ */

static void flight_done(const struct mauth_flight_result *result, void *context)
{
	struct mauth_login *login = context;

	login->waiter = NULL;
	if (result == NULL) {
		login_make_ready(login, STEP_CACHE);
		return;
	}
	login->ids = result->ids;
	login->rule = "tenant";
	if (result->status == MAUTH_OK) {
		login->token = mauth_secret_dup(result->token);
		memcpy(login->token_id, result->token_id, sizeof(login->token_id));
		login->expires_at = result->expires_at;
		login->decision = "upgrade";
		login->source = login->joined ? "joined" : "fetched";
		memset(&login->error, 0, sizeof(login->error));
		login_make_ready(login, STEP_FINISH);
		return;
	}
	login->error = result->error;
	login->error.status = result->status;
	login_make_ready(login, grant_failed(login));
}

static void realm_answered(enum mauth_realm realm, void *context)
{
	struct mauth_login *login = context;

	login->realm_waiter = NULL;
	/* Looks at the same grant again, and leaves it out if need be. */
	login_make_ready(login, STEP_GRANT);
}

/* A password that Entra cannot check is not sent there where another way may be open: true while that is being found out. */
static bool must_ask_realm(struct mauth_login *login)
{
	if (login_grant(login) != MAUTH_GRANT_PASSWORD || login->grants_count < 2 || login->broker->paused)
		return false;
	login->realm_waiter = mauth_flights_ask_realm(login->broker->flights, login->where.tenant, login->where.account,
						      realm_answered, login);
	return login->realm_waiter != NULL;
}

enum step login_step_fetch(struct mauth_login *login)
{
	struct mauth_broker *broker = login->broker;
	const struct mauth_flight_want want = login_want(login);

	if (must_ask_realm(login))
		return login_wait(login);
	if (!broker->paused) {
		login->asked = true;
		login->waiter = mauth_flight_join(broker->flights, &want, flight_done, login, &login->joined, &login->error);
		if (login->waiter == NULL) {
			login->rule = login->error.status == MAUTH_CONFIG ? "remembered error" :
				      mauth_login_is_outage(login->error.status) ? "breaker" : "remembered refusal";
			login->ids.code = login->error.code;
			return grant_failed(login);
		}
	}
	return login_wait(login);
}
