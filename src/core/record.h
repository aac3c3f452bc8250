/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_RECORD_H
#define MAUTH_RECORD_H
/* Audit records: one line of JSON per attempt, and one for what the upstream answered. ECS names where ECS has one
 * (elastic/ecs 9.x), ours below "modernauth". The writer can take no struct mauth_secret. */

#include "core/mem.h"
#include "modernauth/audit.h"
#include "modernauth/log.h"

struct mauth_exception;
struct mauth_relay_key;

/* Everything known about one attempt when it ends. Strings may be NULL: the field is then left out. User-supplied text
 * is escaped and cut (user 320 octets, client_id 512, others 256). */
struct mauth_attempt_record {
	bool withdrawn;                              /* an earlier record of it says what nobody was told: this is what became of it */
	int64_t started_usecs, duration_usecs;       /* wall clock; monotonic difference */
	const char *session;
	const char *user, *upn, *domain;             /* as typed; as resolved; */
	const char *tenant_name, *tenant_id, *cloud;
	enum mauth_service service;
	const char *mechanism;
	const char *client_ip, *local_ip;
	unsigned int client_port, local_port;
	bool tls;
	const char *tls_protocol;
	const char *client_id;
	const char *decision;                        /* "upgrade", "verify", "pass", "basic", "refuse", "deny", "monitor", "local", "not-ours";
							verify: whoever asked opens no session */
	const char *would, *would_rule;              /* monitor: what would have happened otherwise, and which rule says so */
	const char *exception;                       /* the id of the exception that let it pass the rule */
	const char *rule;                            /* what decided: "tenant contoso", "shield", "remembered bad password" */
	enum mauth_verified_by verified_by;
	const char *grant;                           /* "password", "enrolled", "app", "client-token"; NULL if no token was wanted */
	const char *skipped;                         /* grants that were not used, and why: "enrolled: not enrolled; app: ..." */
	const char *account, *mailbox;               /* if they are not the login: whose token, what is opened */
	const char *mailbox_side, *mailbox_source;   /* "cloud" or "onprem", and who says so: "passdb", "map", ... */
	const char *device_id, *device_name;         /* of the device password that verified the login */
	const char *token_source;                    /* "cache", "fetched", "joined", "client" */
	const char *token_id;
	int64_t token_expires_at;                    /* 0: none */
	enum mauth_status status;
	int code;                                    /* AADSTS, 0: none */
	const char *suberror;
	const char *correlation_id, *trace_id;
	unsigned int http_status;
	const char *policy_id;
	const char *reason;                          /* one line for a person */
	const char *upstream_host;
	unsigned int upstream_port;
	const struct mauth_relay_client *relay;      /* who asks is an MTA; NULL: somebody logs in */
};
/* Appends the line (with LF) to buf. */
void mauth_record_attempt(struct mauth_buf *buf, const struct mauth_attempt_record *record);

/* The second leg. tenant fields may be NULL. wall_usecs: now. */
struct mauth_upstream_record {
	int64_t wall_usecs;
	const struct mauth_upstream_report *report;
	const char *upn, *domain, *tenant_name, *tenant_id, *cloud;
	const char *advice;                          /* what the refusal means, NULL if nothing is known */
};
void mauth_record_upstream(struct mauth_buf *buf, const struct mauth_upstream_record *record);

/* What became of a mail, or of one recipient of it, that an MTA has handed to the upstream with a token of ours. */
struct mauth_relay_outcome;
struct mauth_relay_record {
	int64_t wall_usecs;
	const struct mauth_relay_outcome *outcome;
	const char *upn, *domain, *tenant_name, *tenant_id, *cloud;
	const char *advice;                          /* NULL: nothing is known */
};
void mauth_record_relay(struct mauth_buf *buf, const struct mauth_relay_record *record);
/* The third: how a session that was accepted has ended. */
void mauth_record_session_end(struct mauth_buf *buf, const struct mauth_upstream_record *record,
			      const struct mauth_session_end *end);
/* The upstream accepted the token and then said (report->reply) that there is no mailbox behind it. */
void mauth_record_unconnected(struct mauth_buf *buf, const struct mauth_upstream_record *record);
/* Did the upstream end it because the token has? By its words: for people, nothing is decided with it. */
bool mauth_session_is_token_end(const struct mauth_session_end *end);

/* What an admin, or a user by himself, has changed: enrolments, device passwords, exceptions, keys. Strings may be
 * NULL. */
struct mauth_change_record {
	int64_t wall_usecs;
	const char *action;                          /* "enrolment-finished", "device-added", ... */
	const char *actor;                           /* "doveadm", "self-service" */
	const char *client_ip;
	const char *login, *account, *mailbox, *tenant_name, *tenant_id;
	const char *device_id, *device_name;
	const struct mauth_relay_key *relay_key;     /* that was made or removed */
	const struct mauth_exception *exception;     /* that was added, removed, or has ended */
	const char *by;                              /* the admin, as doveadm says; with */
	int64_t uid;                                 /* that of the process that asked */
	const char *pseudonym;                       /* that was revealed, or whose name was erased */
	const char *reason;                          /* why, as the admin says */
	const struct mauth_error *error;             /* NULL: it is done */
};
void mauth_record_change(struct mauth_buf *buf, const struct mauth_change_record *record);
/* Records it and says it in the log, too. A record that cannot be written is an error line: what was changed stays changed. */
void mauth_record_and_log_change(const struct mauth_audit_sink *audit, const struct mauth_log *log,
				 const struct mauth_change_record *record);

struct mauth_config_picture;
/* The service has begun with a configuration, or the configuration is another than the last one on record. */
struct mauth_config_record {
	int64_t wall_usecs;
	const char *action;                          /* "service-started", "configuration-changed", "mailbox-map-changed" */
	const char *version;                         /* ours; NULL: it does not matter here */
	int64_t uid;                                 /* of the process that read it */
	const char *path;
	const unsigned char *digest, *previous;      /* SHA-256 of the file, and of the last one on record; NULL: none is */
	const struct mauth_config_picture *picture;  /* with the other files that it names; NULL: there are none */
	const char *const *changes;                  /* "rule scanners: changed", NULL-terminated; NULL: none */
	int64_t changes_count;                       /* of which these are the first */
};
void mauth_record_config(struct mauth_buf *buf, const struct mauth_config_record *record);

/* Entra's word for a protocol: "IMAP4", "POP3", "Authenticated SMTP" (howto-customize-filter-logs.md). */
const char *mauth_record_protocol(enum mauth_service service);

#endif
