/* SPDX-License-Identifier: MIT */
/* Who would verify the password, and which way to a token would be taken. */
#include "core/explain-private.h"

#include <stdio.h>
#include <string.h>

static struct mauth_cache_entry *cached(const struct explaining *e)
{
	const struct mauth_flight_want want = login_want(&e->login);

	return mauth_cache_find(e->login.broker->cache, want.tenant->keys[want.grant], want.account);
}

/* -- one grant ---------------------------------------------------------------------------------------------- */

static void say_realm(const struct explaining *e)
{
	const struct mauth_login *login = &e->login;
	const char *domain = strrchr(login->where.account, '@') + 1;
	enum mauth_realm realm = MAUTH_REALM_UNKNOWN;

	if (!login->where.tenant->user_realm)
		return;
	if (!mauth_flights_realm(login->broker->flights, login->where.tenant, login->where.account, &realm))
		explain_say(e, "realm", domain, "not asked yet");
	else if (realm == MAUTH_REALM_FEDERATED)
		explain_say(e, "realm", domain, "federated: Entra cannot check its passwords, unless their hashes are synchronised");
	else
		explain_say(e, "realm", domain, realm == MAUTH_REALM_MANAGED ? "managed" : "unknown");
}

static void say_shield(const struct explaining *e)
{
	const struct mauth_login *login = &e->login;
	uint32_t tenant = login->where.tenant->key;
	unsigned int refusals = mauth_shield_refusals(login->broker->shield, tenant, login->where.account);
	unsigned int left = mauth_shield_locked(login->broker->shield, tenant, login->where.account);

	if (refusals > 0)
		explain_say(e, "lock-out", "refusals", "%u passwords of this user are remembered as refused", refusals);
	if (left > 0)
		explain_say(e, "lock-out", "locked", "not forwarded to Entra for %u s", left);
}

static void say_credentials(const struct explaining *e)
{
	const struct mauth_tenant *tenant = e->login.where.tenant;

	for (size_t i = 0; i < tenant->credentials_count; i++) {
		const struct mauth_credential *credential = &tenant->credentials[i];
		int64_t left = (credential->not_after - mauth_wall_secs(e->login.broker->host.loop)) / 86400;
		struct mauth_credential_state state;
		char ends[48] = "";

		mauth_flights_credential(e->login.broker->flights, tenant, i, &state);
		if (credential->not_after > 0)
			snprintf(ends, sizeof(ends), ", %lld days left", (long long)left);
		explain_say(e, "credential", credential->path, "%s%s%s", state.in_use ? "in use" : "in reserve", ends,
			    state.refused_code != 0 ? ", refused by Entra" : "");
	}
}

/* What Graph has said of who logs in. */
static enum mauth_status ask_account(const struct mauth_login *login, bool *known_r, struct mauth_error *error_r)
{
	enum mauth_status status = MAUTH_OK;

	*known_r = mauth_account_known(login->broker->accounts, login->where.tenant, login->where.login, &status, error_r);
	return *known_r ? status : MAUTH_OK;
}

static void say_account(struct explaining *e)
{
	struct mauth_login *login = &e->login;
	struct mauth_error error;
	enum mauth_status status;
	bool known;

	login->verified = MAUTH_VERIFIED_DEVICE;
	if (!login_must_know_account(login))
		return;
	status = ask_account(login, &known, &error);
	explain_say(e, "account", login->where.login, "%s", !known ? "Graph has not been asked yet" : status == MAUTH_OK ?
		    "enabled, says Graph" : error.text);
}

static void say_token(const struct explaining *e, const char *grant)
{
	const struct mauth_broker *broker = e->login.broker;
	const struct mauth_cache_entry *entry = cached(e);
	char id[MAUTH_TOKEN_ID_SIZE];

	if (entry == NULL) {
		explain_say(e, "token", grant, "none in cache");
		return;
	}
	mauth_cache_token_id(entry, id);
	explain_say(e, "token", grant, "%s, %d minutes left%s%s", id, (int)(mauth_cache_life(broker->cache, entry) / 60),
		    entry->bound ? ", for who sends the password that it was got with" : "",
		    entry->refused ? ", refused by Exchange" : "");
}

static void say_entra(const struct explaining *e, const char *grant)
{
	const struct mauth_flight_want want = login_want(&e->login);
	struct mauth_error error;

	if (e->login.broker->paused)
		explain_say(e, "entra", grant, "is not asked now: this broker waits for its predecessor to end");
	else if (mauth_flights_may_begin(e->login.broker->flights, &want, &error) == MAUTH_OK)
		explain_say(e, "entra", grant, "may be asked");
	else
		explain_say(e, "entra", grant, "is not asked now: %s", error.text);
}

static void say_grant(struct explaining *e)
{
	struct mauth_login *login = &e->login;
	enum mauth_grant_type grant = login_grant(login);
	const char *name = mauth_grant_name(grant), *why;
	struct mauth_error error = { .status = MAUTH_OK };

	/* As if somebody had verified it: who that would be is said elsewhere. */
	login->verified = grant == MAUTH_GRANT_PASSWORD ? MAUTH_VERIFIED_NONE : MAUTH_VERIFIED_DOVECOT;
	why = login_why_not(login, &error);
	explain_say(e, "grant", name, "%s%s", why == NULL ? "usable" : "skipped: ", why == NULL ? "" : why);
	if (grant == MAUTH_GRANT_PASSWORD) {
		say_realm(e);
		say_shield(e);
	}
	if (grant == MAUTH_GRANT_APP) {
		say_credentials(e);
		say_account(e);
	}
	say_token(e, name);
	if (why == NULL)
		say_entra(e, name);
}

/* -- who verifies ------------------------------------------------------------------------------------------- */

static bool usable_here(const struct mauth_device *device, const struct mauth_login *login)
{
	int64_t now = mauth_wall_secs(login->broker->host.loop);

	return (device->expires_at == 0 || now < device->expires_at) &&
	       (device->services == 0 || (device->services & 1u << login->service) != 0) &&
	       (device->networks_count == 0 ||
		mauth_networks_contain(device->networks, device->networks_count, login->client_ip));
}

/* How many device passwords of the login would be accepted. */
static unsigned int say_devices(const struct explaining *e)
{
	const struct mauth_login *login = &e->login;
	unsigned int count = 0, usable = 0;

	if (!login->where.tenant->verified_by_device) {
		explain_say(e, "verifier", "device password", "not taken (verified_by of the tenant)");
		return 0;
	}
	if (login->broker->vault == NULL) {
		explain_say(e, "verifier", "device password", "not known: %s", login->broker->vault_error.status == MAUTH_OK ?
			    "the store is not open" : login->broker->vault_error.text);
		return 0;
	}
	for (const struct mauth_device *device = mauth_devices_of(mauth_vault_devices(login->broker->vault),
								  login->where.tenant->name, login->where.login);
	     device != NULL; device = device->next) {
		count++;
		usable += usable_here(device, login);
	}
	explain_say(e, "verifier", "device password", "%u of %u may be used here", usable, count);
	return usable;
}

/* -- which way ---------------------------------------------------------------------------------------------- */

/* How a token would be had by the grant; false: not at all, login->error says why. */
static bool try_grant(struct explaining *e, char *how_r, size_t size)
{
	struct mauth_login *login = &e->login;
	const struct mauth_flight_want want = login_want(login);
	const struct mauth_cache_entry *entry = cached(e);
	const char *bound = entry != NULL && entry->bound ? ", if it was got with this password" : "";
	const char *graph = "";
	unsigned int left = 0;
	bool known = true;

	if (login_must_know_account(login)) {
		if (ask_account(login, &known, &login->error) != MAUTH_OK)
			return false;
		graph = known ? "" : ", once Graph says that the account is enabled";
	}
	if (entry != NULL && login_entry_serves(login->broker, entry)) {
		snprintf(how_r, size, "token in cache%s%s", bound, graph);
		return true;
	}
	if (want.grant == MAUTH_GRANT_PASSWORD)
		left = mauth_shield_locked(login->broker->shield, want.tenant->key, want.account);
	if (left > 0)
		login_locked(left, &login->error);
	else if (mauth_flights_may_begin(login->broker->flights, &want, &login->error) == MAUTH_OK) {
		snprintf(how_r, size, "token fetched from Entra%s", graph);
		return true;
	}
	if (!known || entry == NULL || !login_entry_falls_back(login->broker, entry) ||
	    !(mauth_login_is_outage(login->error.status) || login->error.status == MAUTH_LOCKED))
		return false;
	snprintf(how_r, size, "token in cache%s, since Entra is not asked now", bound);
	return true;
}

/* The store has to be open before anybody can say that a password is no device password. */
static bool needs_store(const struct mauth_login *login)
{
	return login->verified == MAUTH_VERIFIED_NONE && login->where.tenant->verified_by_device && login->broker->vault == NULL &&
	       (login_has_grant(login, MAUTH_GRANT_ENROLLED) || login_has_grant(login, MAUTH_GRANT_APP));
}

static void say_no_way(const struct explaining *e, const char *name, const char *who)
{
	struct mauth_error error;

	if (login_may_enrol(&e->login)) {
		explain_say(e, "outcome", name, "a login%s would be refused, and told how to enrol (self_service)", who);
		return;
	}
	(void)login_no_way(&e->login, &error);
	explain_refused(e, name, who, &error);
}

/* As in login_step_verify(): without the store only a token that Entra has given for the password itself is given. true: there
 * is one, or the store is not needed. */
static bool go_to_verified(struct explaining *e)
{
	struct mauth_login *login = &e->login;

	login->grants_at = 0;
	if (!needs_store(login))
		return true;
	for (size_t i = 0; i < login->grants_count; i++) {
		login->grants_at = i;
		if (login_grant(login) == MAUTH_GRANT_PASSWORD && cached(e) != NULL)
			return true;
	}
	return false;
}

/* Goes the way that a login verified like this would go. */
static void say_outcome(struct explaining *e, const char *name, const char *who, enum mauth_verified_by verified)
{
	struct mauth_login *login = &e->login;
	struct mauth_error why_error = { .status = MAUTH_OK };
	bool tried = false;
	char how[128];

	login->verified = verified;
	login->skipped[0] = '\0';
	login->federated = false;
	memset(&login->error, 0, sizeof(login->error));
	if (!go_to_verified(e)) {
		(void)login_without_vault(login, &login->error);
		explain_refused(e, name, who, &login->error);
		return;
	}
	while (login->grants_at < login->grants_count) {
		const char *why = login_why_not(login, &why_error);

		if (why == NULL && try_grant(e, how, sizeof(how))) {
			explain_say(e, "outcome", name, "a login%s would be upgraded with grant %s (%s)", who,
				    mauth_grant_name(login_grant(login)), how);
			return;
		}
		tried = tried || why == NULL;
		if (why == NULL && !login_may_go_on(login))
			break;
		login_skip(login, why == NULL ? login->error.text : why);
	}
	if (tried)
		explain_refused(e, name, who, &login->error);
	else
		say_no_way(e, name, who);
}

void explain_grants(struct explaining *e)
{
	struct mauth_login *login = &e->login;
	const struct mauth_tenant *tenant = login->where.tenant;
	bool wants_verified = login_has_grant(login, MAUTH_GRANT_ENROLLED) || login_has_grant(login, MAUTH_GRANT_APP);
	unsigned int devices;

	for (login->grants_at = 0; login->grants_at < login->grants_count; login->grants_at++)
		say_grant(e);
	explain_say(e, "verifier", "earlier passdb",
		    tenant->verified_by_dovecot ? "taken, if there is one" : "not taken (verified_by of the tenant)");
	devices = say_devices(e);
	if (login_has_grant(login, MAUTH_GRANT_PASSWORD))
		explain_say(e, "verifier", "Entra", "by the password grant");
	say_outcome(e, "password", " with the right password", MAUTH_VERIFIED_NONE);
	if (devices > 0)
		say_outcome(e, "device password", " with a device password", MAUTH_VERIFIED_DEVICE);
	if (wants_verified && tenant->verified_by_dovecot)
		say_outcome(e, "earlier passdb", " that an earlier passdb has accepted", MAUTH_VERIFIED_DOVECOT);
}
