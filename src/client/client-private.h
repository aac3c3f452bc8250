/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_CLIENT_PRIVATE_H
#define MAUTH_CLIENT_PRIVATE_H
/* What the files of the client share: client.c (the interface), client-conn.c (the connection and what the broker
 * says on it), client-request.c (requests and their lists). */

#include "client/wire.h"
#include "modernauth/client.h"

/* KIND_REPORT: several verbs, all of which are sent again until the broker has confirmed them */
enum client_kind { KIND_LOGIN, KIND_LOOKUP, KIND_REPORT };

struct client_list {
	struct mauth_client_request *first, *last;
};

struct mauth_client_request {
	struct mauth_client_request *prev, *next, *same_bucket;
	struct client_list *list;
	struct mauth_client *client;
	uint32_t id;
	enum client_kind kind;
	const char *verb;
	bool check_only;                 /* LOGIN: an answer without a token is wanted */
	enum mauth_status early;         /* not MAUTH_OK: decided before anything was sent */
	struct mauth_buf fields;         /* of the line; kept since a BYE may ask for it again */
	int64_t started_msecs;
	unsigned int timeout_msecs;
	struct mauth_timer *timer;
	mauth_client_login_fn *done;
	void *context;
};

struct client_conn {
	struct mauth_client *client;
	unsigned int refs;
	int fd;
	struct mauth_watch *watch;
	struct mauth_timer *timer;       /* until the hello, or after a failed write */
	struct mauth_wire_reader reader;
	struct mauth_buf out;
	bool spoken, hello, mute, dead;  /* spoken: something has come; mute: nothing is written any more */
};

#define BUCKETS 1024u
#define ANSWER_MARGIN_MSECS 500

struct mauth_client {
	unsigned int refs;
	char *path, *name, *config_path;
	unsigned int max_open, max_reports;
	const struct mauth_loop *loop;
	const struct mauth_log *log;

	struct client_conn *conn;               /* NULL: down */
	struct client_conn *old;                /* said BYE; closed when its successor is connected */
	struct mauth_timer *reconnect, *idle, *report_retry;
	struct mauth_timer *soon;        /* while it runs, what is to be sent gathers in the queue */
	unsigned int soon_msecs, gathered;   /* requests, while it runs */
	unsigned int unheard;            /* connections in a row that ended before the broker said hello */
	unsigned int backoff_msecs;      /* before the attempt after the next failure */
	int64_t next_attempt_msecs;
	int64_t logged_usecs;            /* when "cannot connect" was last said; 0: not in this outage */

	struct client_list queue, sent, doomed; /* every request is in one of them */
	struct mauth_client_request *buckets[BUCKETS];
	uint32_t last_id;
	unsigned int open, reports;
	uint64_t reports_lost;
	bool destroyed;
};

/* client-request.c */

void client_list_remove(struct mauth_client_request *req);
void client_list_append(struct client_list *list, struct mauth_client_request *req);
void client_list_prepend(struct client_list *list, struct mauth_client_request *req);
/* A new one at the end of the queue, with an id of its own. */
struct mauth_client_request *client_request_new(struct mauth_client *client, enum client_kind kind);
struct mauth_client_request *client_request_find(const struct mauth_client *client, uint32_t id);
/* Without calling back. */
void client_request_free(struct mauth_client_request *req);
/* Frees req, then calls back. The callback may do anything, also free the client: touch nothing of it then. */
void client_request_finish(struct mauth_client_request *req, const struct mauth_client_reply *reply);
void client_request_fail(struct mauth_client_request *req, enum mauth_status status);
/* Appends the line that asks for req. */
void client_request_write(const struct mauth_client_request *req, struct mauth_buf *out);

/* client-conn.c: only what is said to call back does so. */

void client_unref(struct mauth_client *client);
/* Connects now; a failure is dealt with later by a timer. */
void client_connect(struct mauth_client *client);
/* Sees to it that the queue is being served, now. */
void client_wake(struct mauth_client *client);
/* The same within msecs: what comes until then goes along. */
void client_wake_within(struct mauth_client *client, unsigned int msecs);
/* What was sent must be sent again, before anything younger. */
void client_requeue(struct mauth_client *client);
/* Tells the broker that nobody waits for req any more, if it was asked. */
void client_send_cancel(struct mauth_client *client, const struct mauth_client_request *req);
/* Waits outside of the loop, but not for long, until the broker has confirmed the reports. May call back. */
void client_drain(struct mauth_client *client);
/* Writes what there is and what can be written without waiting. */
void client_conn_pump(struct client_conn *conn);
void client_conn_close(struct client_conn **conn);
/* When nothing is open the connection is closed after a while. */
void client_may_idle(struct mauth_client *client);

#endif
