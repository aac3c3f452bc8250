/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_POLICY_H
#define MAUTH_POLICY_H
/* Rules of modernauth.conf and the admin's exceptions from them: what is to be done with an attempt. Pure: time and
 * everything else is in the question. */

#include "core/config.h"
#include "core/network.h"

/* What happens to a password that a client sends. */
enum mauth_action {
	MAUTH_ACTION_UPGRADE,                /* a token is got, the session is opened with it */
	MAUTH_ACTION_MONITOR,                /* written down; the next passdb decides */
	MAUTH_ACTION_BASIC,                  /* written down, and passed to Exchange as it is */
	MAUTH_ACTION_DENY,                   /* refused, with a message for the user */
	MAUTH_ACTION_LOCAL,                  /* the mailbox is not in Exchange Online: the next passdb decides */
	MAUTH_ACTION_COUNT
};
const char *mauth_action_name(enum mauth_action action);
bool mauth_action_parse(const char *name, enum mauth_action *action_r);

/* What rules look at. */
struct mauth_policy_question {
	const char *user;                    /* the login as mauth_upn.name has it */
	enum mauth_service service;
	const char *client_ip;               /* NULL: unknown, in no network */
	const char *mechanism;               /* NULL: unknown */
	const char *client_id;               /* what the client calls itself; NULL: it does not say */
	bool tls;
	const char *tls_protocol;            /* "TLSv1.2"; NULL: not known, or no TLS */
	int64_t now;                         /* wall clock, seconds */
};

/* The condition "tls". Versions in the order of their age. */
enum mauth_tls_floor {
	MAUTH_TLS_ANY,
	MAUTH_TLS_NONE,                      /* only without */
	MAUTH_TLS_REQUIRED,                  /* of any version */
	MAUTH_TLS_1_0, MAUTH_TLS_1_1, MAUTH_TLS_1_2, MAUTH_TLS_1_3
};

#define MAUTH_DAY_MINUTES 1440u

/* Of a rule: what the tenant says, or something else. */
enum mauth_choice { MAUTH_AS_TENANT, MAUTH_YES, MAUTH_NO };

/* rule "name" { ... } */
struct mauth_rule {
	char *name;
	unsigned int line;
	/* conditions; an empty one is always true */
	unsigned int services;               /* bits 1 << enum mauth_service */
	struct mauth_network *networks;
	size_t networks_count;
	char **users;                        /* patterns, lower case, NULL-terminated; NULL: any */
	char **mechanisms, **client_ids;     /* patterns, NULL-terminated; NULL: any */
	enum mauth_tls_floor tls;
	unsigned int days;                   /* bits, Sunday is 1; 0: every day */
	unsigned int from_minute, to_minute; /* of the day in the server's zone, from <= t < to, over midnight if to <
						from; equal: all day */
	/* what it says */
	enum mauth_action action;
	int64_t until;                       /* wall clock, seconds: the first one at which "then" holds; 0: never */
	enum mauth_action then;
	unsigned int notice_days;            /* announced so many days before */
	char *message;                       /* for the user who is denied; NULL: ours */
	enum mauth_grant_type grants[MAUTH_GRANT_COUNT];
	size_t grants_count;                 /* 0: the tenant's */
	bool self_service;                   /* a user who is not enrolled is told how to */
	enum mauth_choice check_accounts;    /* see mauth_tenant.check_accounts */
	char **mailboxes;                    /* patterns of other mailboxes that "user\mailbox" may open; NULL: none */
};
void mauth_rule_free(struct mauth_rule **rule);

#define MAUTH_EXCEPTION_ID_SIZE 13u      /* with NUL */

/* What the rules say to an attempt, and core/exceptions.h after them. */
struct mauth_verdict {
	enum mauth_action action;
	const struct mauth_rule *rule;       /* the first that matches; NULL: none does, and the action is to upgrade */
	bool expired;                        /* rule->until is over: the action is what it said for then */
	/* of MAUTH_ACTION_MONITOR: what it would be if nothing were only watched */
	enum mauth_action would;
	const struct mauth_rule *would_rule;
	char exception[MAUTH_EXCEPTION_ID_SIZE];     /* the one that has made this of MAUTH_ACTION_DENY; "": none */
};
void mauth_policy_decide(const struct mauth_config *config, const struct mauth_policy_question *question,
			 struct mauth_verdict *verdict_r);
/* What rule says at that time. rule NULL: upgrade. */
enum mauth_action mauth_rule_action(const struct mauth_rule *rule, int64_t now);
/* Days from now on in which until is not over, the day of until included; until 0: UINT_MAX. */
unsigned int mauth_policy_days_left(int64_t until, int64_t now);
/* Days are the server's own. The first second after the day that has the second at (UTC) in it: what "until" that day
 * means. 0: no such day. */
int64_t mauth_policy_day_end(int64_t at);
/* The last day before until: "2027-03-31". */
#define MAUTH_DAY_TEXT_SIZE 16u
void mauth_policy_last_day(int64_t until, char text_r[static MAUTH_DAY_TEXT_SIZE]);

/* The first rule that matches; NULL: none does, the tenant alone decides. */
const struct mauth_rule *mauth_policy_find(const struct mauth_config *config, const struct mauth_policy_question *question);
/* Why a rule does not match: the first of its conditions that does not hold. */
enum mauth_condition {
	MAUTH_CONDITION_NONE,                /* all hold: it matches */
	MAUTH_CONDITION_PROTOCOLS, MAUTH_CONDITION_NETWORKS, MAUTH_CONDITION_TLS, MAUTH_CONDITION_USERS,
	MAUTH_CONDITION_MECHANISMS, MAUTH_CONDITION_CLIENT_IDS, MAUTH_CONDITION_TIME
};
enum mauth_condition mauth_rule_first_false(const struct mauth_rule *rule, const struct mauth_policy_question *question);
/* The day and the instant of an "until", for people: "2027-03-31, 2027-03-31T22:00:00Z". The day is the last one of the action,
 * in the server's zone. */
#define MAUTH_UNTIL_TEXT_SIZE 112u
void mauth_policy_until_text(int64_t until, char text_r[static MAUTH_UNTIL_TEXT_SIZE]);
/* Does a rule that names the client's mechanism decide? Rules that do not are about passwords, not about clients with a token. */
bool mauth_rule_names_mechanism(const struct mauth_rule *rule);
/* How tokens are obtained for whom rule (NULL: none) decides about in tenant. */
const enum mauth_grant_type *mauth_rule_grants(const struct mauth_rule *rule, const struct mauth_tenant *tenant, size_t *count_r);
/* Is Graph asked about accounts there? See mauth_tenant.check_accounts. */
bool mauth_rule_checks_accounts(const struct mauth_rule *rule, const struct mauth_tenant *tenant);
/* May a login that rule decides about open mailbox, which is not its own? rule NULL: no. */
bool mauth_rule_allows_mailbox(const struct mauth_rule *rule, const char *mailbox);

/* -- policy-index.c: which rules can match at all. Ten thousand rules are not tried one after the other. */
struct mauth_policy_index;
struct mauth_policy_index *mauth_policy_index_new(struct mauth_rule *const *rules, size_t count);
void mauth_policy_index_free(struct mauth_policy_index **index);
/* Is asked about candidates; true: it matches. */
typedef bool mauth_policy_match_fn(const struct mauth_rule *rule, bool user_matches, void *context);
/* The first rule, in the order of the file and from position from on, that match() accepts; count if there is none. user_matches:
 * one of its patterns is known to match. address NULL: unknown. */
size_t mauth_policy_index_find(const struct mauth_policy_index *index, size_t from, const char *user,
			       const struct mauth_address *address, mauth_policy_match_fn *match, void *context);

#endif
