/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_DIAGNOSE_H
#define MAUTH_DIAGNOSE_H
/* What the facts that "doveadm modernauth diagnose" has gathered come down to, and what to do about them. Pure: the
 * facts are gathered by src/broker/diagnose*.c, everything here is a function of them. */

#include "core/entra.h"
#include "core/jwt.h"
#include "core/mailbox.h"
#include "core/policy.h"
#include "modernauth/probe.h"

enum mauth_diag_result { MAUTH_DIAG_PASS, MAUTH_DIAG_WARN, MAUTH_DIAG_FAIL, MAUTH_DIAG_SKIP };
/* "pass", "warn", "fail", "skip". */
const char *mauth_diag_result_name(enum mauth_diag_result result);

struct mauth_diag_row {
	enum mauth_diag_result result;
	char seen[768];                      /* one line */
	char fix[1280]; /* commands or clicks, several separated by "; "; "" if there is nothing to do */
};
void mauth_diag_pass(struct mauth_diag_row *row, const char *fmt, ...) MAUTH_PRINTF(2, 3);
void mauth_diag_warn(struct mauth_diag_row *row, const char *fmt, ...) MAUTH_PRINTF(2, 3);
void mauth_diag_fail(struct mauth_diag_row *row, const char *fmt, ...) MAUTH_PRINTF(2, 3);
void mauth_diag_skip(struct mauth_diag_row *row, const char *fmt, ...) MAUTH_PRINTF(2, 3);
/* Appends to what is to be done. */
void mauth_diag_fix(struct mauth_diag_row *row, const char *fmt, ...) MAUTH_PRINTF(2, 3);
/* A failure as it stands: text, code and policy are seen, the advice is the fix. */
void mauth_diag_error(struct mauth_diag_row *row, const struct mauth_error *error);

/* Text that names a file others may read, of its mode; secret: must it be the owner's alone? */
void mauth_diag_file(struct mauth_diag_row *row, const char *path, unsigned int mode, bool secret);
/* A credential of tenant, now: wall clock, seconds. refused_code: AADSTS with which Entra has refused it, 0: it has
 * not. */
void mauth_diag_credential(struct mauth_diag_row *row, const struct mauth_credential *credential, int64_t now,
			   unsigned int warning_secs, int refused_code);
/* Entra's Date header against our clock, when half of the exchange was over. */
void mauth_diag_clock(struct mauth_diag_row *row, const char *date, int64_t now);
/* "5 h 3 min", for people. */
void mauth_diag_duration(char *text, size_t size, int64_t secs);

/* What the tenant's openid-configuration says. */
struct mauth_diag_tenant {
	char tenant_id[64];                  /* GUID, "" if it does not say */
	char cloud[32];                      /* of our presets, "" if unknown */
	char instance[64], region[16], sub_region[16];
};
/* MAUTH_OK, or why the tenant cannot be found. */
enum mauth_status mauth_diag_read_tenant(const struct mauth_aadsts_table *table, unsigned int http_status,
					 const char *body, size_t size, struct mauth_diag_tenant *tenant_r,
					 struct mauth_error *error_r);
void mauth_diag_tenant(struct mauth_diag_row *row, const struct mauth_tenant *tenant,
		       const struct mauth_diag_tenant *found);
void mauth_diag_cloud(struct mauth_diag_row *row, const struct mauth_tenant *tenant,
		      const struct mauth_diag_tenant *found);
/* domain with the grants that its logins have. */
void mauth_diag_realm(struct mauth_diag_row *row, const struct mauth_tenant *tenant, const char *domain,
		      enum mauth_realm realm, bool password_grant, bool other_grant);

/* How a token was obtained, or not. policy_id: of Conditional Access, "" if none. */
void mauth_diag_token(struct mauth_diag_row *row, enum mauth_grant_type grant, const struct mauth_error *error,
		      const char *policy_id, int64_t life_secs);
/* What a token is good for. tenant_id: GUID of the tenant as Entra says, "" if not known. Bits 1 << service of what it
 * is good for. */
unsigned int mauth_diag_rights(struct mauth_diag_row *row, const struct mauth_tenant *tenant,
			       enum mauth_grant_type grant, const struct mauth_secret *token, const char *tenant_id);

/* A mail host without a login: reached, and its certificate trusted? */
void mauth_diag_host(struct mauth_diag_row *row, const struct mauth_endpoint *endpoint,
		     const struct mauth_probe_result *probe, const struct mauth_error *error, const char *login_ca);

/* A mailbox through one service. */
struct mauth_diag_mailbox {
	const struct mauth_mailbox *where;
	enum mauth_service service;
	enum mauth_grant_type grant;         /* of the token that was used */
	bool token_fits;                     /* mauth_diag_rights() says that it is good for this service */
	/* one of both */
	const struct mauth_probe_result *probe;
	const struct mauth_error *error;
	bool other_service_works;            /* the same mailbox with the same token through IMAP or POP3 */
	bool other_service_takes_token;      /* and so knows the application */
	const char *client_id;
};
void mauth_diag_mailbox(struct mauth_diag_row *row, const struct mauth_diag_mailbox *facts);

/* The line of one protocol, after the tests of "Diag: Enable Basic Auth in EXO". */
struct mauth_diag_protocol {
	enum mauth_service service;
	int64_t now;                         /* wall clock, seconds */
	const char *rule;                    /* that decides for whom was asked about; NULL: the tenant alone */
	const char *action;                  /* "upgraded", ...; NULL: the service has no endpoint */
	int64_t days_left;                   /* until the rule ends; -1: it does not */
	int64_t users, clients;              /* of the last 30 days; -1: not known */
};
void mauth_diag_protocol(struct mauth_diag_row *row, const struct mauth_diag_protocol *facts);

#endif
