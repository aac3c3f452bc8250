/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_REQUEST_PRIVATE_H
#define MAUTH_REQUEST_PRIVATE_H
/* What request.c (the way of an attempt) and finish.c (its end) share. */

#include "core/request.h"

/* Where an attempt is. */
enum step {
	STEP_ROUTE,      /* whose user is this, what does he want to open, and what do the rules say? */
	STEP_SIDE,       /* is the mailbox in Exchange Online? */
	STEP_ACT,        /* do what they say */
	STEP_VERIFY,     /* has anybody here verified the password? */
	STEP_GRANT,      /* which way to a token is next? */
	STEP_ACCOUNT,    /* is the account that logs in enabled, where nobody else will ask? */
	STEP_CACHE,      /* a live token that this login may have? */
	STEP_SHIELD,     /* known to be refused? */
	STEP_FETCH,      /* ask Entra, alone or together */
	STEP_ENROL,      /* tell the user how to enrol */
	STEP_WAIT,
	STEP_FINISH
};

/* An attempt of an MTA: relay.c. */
struct login_relay {
	struct mauth_relay_client client;    /* its strings are: */
	char program[64], host[256];
	char key_id[MAUTH_RELAY_KEY_ID_SIZE], key_name[MAUTH_RELAY_KEY_NAME_MAX + 1];
};

struct mauth_login {
	struct mauth_login *next, **link;    /* in ready or waiting */
	struct mauth_broker *broker;
	enum step step;
	/* the attempt */
	char *user, *mechanism, *client_ip, *local_ip, *session, *client_id, *tls_protocol;
	struct mauth_secret *password;
	enum mauth_service service;
	unsigned int client_port, local_port, timeout_msecs;
	bool tls, verified_by_dovecot, check_only, password_is_token;
	struct login_relay *relay;           /* NULL: somebody logs in */
	mauth_login_fn *done;
	void *context;
	/* on the way */
	int64_t started_wall, started_mono;
	struct mauth_mailbox where;          /* tenant NULL: not known (yet) */
	struct mauth_verdict verdict;
	const struct mauth_rule *policy;     /* verdict.rule; NULL: the tenant's settings alone */
	const enum mauth_grant_type *grants;
	size_t grants_count, grants_at;      /* the one being tried */
	enum mauth_verified_by verified;     /* by whom besides Entra */
	bool federated;                      /* the password grant was left out for that */
	char device_id[MAUTH_DEVICE_ID_SIZE], device_name[MAUTH_DEVICE_NAME_MAX + 1];
	char skipped[MAUTH_TEXT_MAX];
	char *said_side;                     /* by an earlier passdb; NULL: nothing */
	enum mauth_side side;                /* UNKNOWN: not asked (yet) */
	enum mauth_side_source side_source;
	struct mauth_timer *deadline;
	struct mauth_flight_waiter *waiter;
	struct mauth_device_waiter *device_waiter;
	struct mauth_realm_waiter *realm_waiter;
	struct mauth_account_waiter *account_waiter;
	struct mauth_enrol_listener *enrol_listener;
	struct mauth_hybrid_waiter *side_waiter;
	struct login_hold *hold;             /* a call that cannot be cancelled is under way */
	bool account_known;                  /* as enabled */
	bool joined, asked, recorded;
	bool recorded_grant;                 /* as one that is let in */
	bool checked;                        /* the answer to check_only is that the password is right */
	bool basic;                          /* the answer is to use the client's own password */
	/* the outcome */
	const char *decision, *rule, *source;
	struct mauth_error error;
	struct mauth_flight_ids ids;
	struct mauth_secret *token;
	char token_id[MAUTH_TOKEN_ID_SIZE];
	int64_t expires_at;
};

/* What such a call is given: it outlives what it is about. */
struct login_hold {
	struct mauth_login *login;           /* NULL: gone meanwhile */
};

static inline bool login_has_grant(const struct mauth_login *login, enum mauth_grant_type grant)
{
	for (size_t i = 0; i < login->grants_count; i++) {
		if (login->grants[i] == grant)
			return true;
	}
	return false;
}

/* request.c */
enum step login_refuse(struct mauth_login *login, const char *rule, const struct mauth_error *error);
/* Goes on with step in the next turn of the loop. */
void login_make_ready(struct mauth_login *login, enum step step);
/* Waits for a callback, but not beyond the login's deadline. */
enum step login_wait(struct mauth_login *login);

/* request-policy.c */
void login_decide(struct mauth_login *login);
/* What is done, which for a client with a token of its own may be something else than verdict.action. */
enum mauth_action login_action(const struct mauth_login *login);
/* May it open the mailbox that it has asked for? */
enum mauth_status login_check_mailbox(const struct mauth_login *login, struct mauth_error *error_r);
/* Whose account it is, and the ways to a token that are open to it. */
void login_take_grants(struct mauth_login *login);
/* What the rule that denies says. */
void login_denied(const struct mauth_login *login, struct mauth_error *error_r);
enum step login_step_act(struct mauth_login *login);

/* request-side.c */
enum step login_step_side(struct mauth_login *login);

/* request-grant.c */
/* The one being tried, and the token that it would ask for. */
enum mauth_grant_type login_grant(const struct mauth_login *login);
struct mauth_flight_want login_want(const struct mauth_login *login);
/* NULL, or why this grant is not for this login. error_r: further words. */
const char *login_why_not(const struct mauth_login *login, struct mauth_error *error_r);
/* On to the next grant. */
void login_skip(struct mauth_login *login, const char *why);
/* No grant is left and none was tried: *error_r says why, the answer is the word for the record. */
const char *login_no_way(const struct mauth_login *login, struct mauth_error *error_r);
/* The same for a login that needs the store. */
const char *login_without_vault(const struct mauth_login *login, struct mauth_error *error_r);
/* Has Graph to say that the account is enabled before this grant's token is given? */
bool login_must_know_account(const struct mauth_login *login);
/* May the next grant be tried after login->error? A failure of our set-up or of the network leaves the other ways open; what
 * Entra says of the user closes them all. */
bool login_may_go_on(const struct mauth_login *login);
/* Is a cached token good enough without asking Entra; and if Entra cannot be asked? */
bool login_entry_serves(const struct mauth_broker *broker, const struct mauth_cache_entry *entry);
bool login_entry_falls_back(const struct mauth_broker *broker, const struct mauth_cache_entry *entry);
/* What a user with too many bad passwords is refused with. */
void login_locked(unsigned int left_secs, struct mauth_error *error_r);
enum step login_step_verify(struct mauth_login *login);
enum step login_step_grant(struct mauth_login *login);
enum step login_step_account(struct mauth_login *login);
enum step login_step_cache(struct mauth_login *login);
enum step login_step_shield(struct mauth_login *login);
enum step login_step_fetch(struct mauth_login *login);
/* A token that could not be renewed but lives is better than an outage: true if there is one, which is now the answer. */
bool login_fall_back(struct mauth_login *login);

/* relay.c */
struct login_relay *login_relay_new(const struct mauth_relay_client *client);
/* Is it a relay key that may ask for this identity? STEP_SIDE: yes. */
enum step login_relay_verify(struct mauth_login *login);
/* Does a token that serves logins live long enough? If not, it has to be fetched anew: but not with each request, where Entra gives
 * none that lives longer. */
bool login_relay_life_serves(struct mauth_login *login, struct mauth_cache_entry *entry);
bool login_relay_falls_back(const struct mauth_login *login, const struct mauth_cache_entry *entry);
void login_relay_counted(const struct mauth_login *login);
void login_relay_logged(const struct mauth_login *login);
/* The upstream has refused this token: the next request has another one fetched, but at most one a minute. false: it is treated
 * as a login's. */
bool relay_learn_refused(struct mauth_broker *broker, struct mauth_cache_entry *entry, bool shared);

/* self-service.c */
bool login_may_enrol(const struct mauth_login *login);
enum step login_step_enrol(struct mauth_login *login);
/* A password that is good once was right: another one is made, and told instead of an answer. */
enum step login_exchange_password(struct mauth_login *login);

/* Not the user's fault, nor anybody's who only waits. */
bool mauth_login_is_outage(enum mauth_status status);
void mauth_login_unlink(struct mauth_login *login);
void mauth_login_free(struct mauth_login *login);

/* How loud the log is about one that ended so. */
enum mauth_level login_level(enum mauth_status status);
/* Ends every login of broker->finishing: all are recorded in one write, and only then counted, told, answered and freed. */
void mauth_logins_finish(struct mauth_broker *broker);
/* Ends one whose client went away: recorded, counted, freed. */
void mauth_login_finish_gone(struct mauth_login *login);

#endif
