/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_DIAGNOSE_PRIVATE_H
#define MAUTH_DIAGNOSE_PRIVATE_H
/* What diagnose*.c share: a run of checks, one after the other. Each gathers facts, has core/diagnose*.c judge them,
 * says rows and goes on with diagnosis_next(), or with diagnosis_part() to its own next part. None waits longer than
 * its timeout. */

#include "broker/admin-private.h"
#include "core/diagnose.h"
#include "net/probe-curl.h"

#define DIAG_TIMEOUT_MSECS 20000u
/* Exchange takes nine seconds to refuse a token over POP3. */
#define DIAG_MAIL_TIMEOUT_MSECS 30000u

/* What an earlier check has found, and a later one needs. */
enum {
	DIAG_TENANT = 1 << 0,                /* Entra answers and knows the tenant */
	DIAG_USER = 1 << 1,                  /* a user was named */
};

struct diagnosis;
struct diag_check {
	const char *name;
	unsigned int needs;
	void (*start)(struct diagnosis *diagnosis);
};

/* What a mail host said, kept until all have answered. */
struct diag_answer {
	bool asked, logged_in, completed;
	enum mauth_grant_type grant;
	char reply[400], address[64];
	struct mauth_error error;            /* MAUTH_OK: it answered */
};

struct diagnosis {
	struct admin_op *op;
	struct mauth_service_state *service;
	struct mauth_config *config;
	struct mauth_mailbox where;          /* with DIAG_USER */
	char *only_tenant, *login_ca;
	struct mauth_secret *password;

	const struct diag_check *checks;     /* of this stage */
	size_t checks_count, check, part;
	size_t tenant_at;
	unsigned int have;                   /* DIAG_* */
	struct mauth_timer *turn;

	/* One of these is under way, on connections of the diagnosis' own. */
	struct mauth_http_curl *http;
	struct mauth_prober_curl *prober;
	struct mauth_http_call *call;
	struct mauth_probe *probe;
	struct mauth_flight_waiter *waiter;
	struct mauth_account_waiter *account;
	bool asked_again;

	/* of this tenant */
	const struct mauth_tenant *tenant;
	struct mauth_diag_tenant found;
	struct mauth_secret *tokens[MAUTH_GRANT_COUNT];
	unsigned int rights[MAUTH_GRANT_COUNT];      /* bits of services */
	struct diag_answer answers[MAUTH_SERVICE_COUNT];
};

/* diagnose.c: subject names what of the check, NULL: there is only one. */
void diagnosis_say(struct diagnosis *diagnosis, const char *check, const char *subject,
		   const struct mauth_diag_row *row);
void diagnosis_next(struct diagnosis *diagnosis);
void diagnosis_part(struct diagnosis *diagnosis);

/* diagnose-local.c */
void diag_configuration(struct diagnosis *diagnosis);
void diag_files(struct diagnosis *diagnosis);
void diag_store(struct diagnosis *diagnosis);
void diag_credentials(struct diagnosis *diagnosis);
void diag_protocols(struct diagnosis *diagnosis);

/* diagnose-entra.c */
void diag_authority(struct diagnosis *diagnosis);
void diag_application(struct diagnosis *diagnosis);
void diag_realms(struct diagnosis *diagnosis);
void diag_tokens(struct diagnosis *diagnosis);

/* diagnose-account.c */
void diag_account(struct diagnosis *diagnosis);

/* diagnose-mail.c */
void diag_hosts(struct diagnosis *diagnosis);
void diag_mailboxes(struct diagnosis *diagnosis);

#endif
