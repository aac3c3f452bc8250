/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_ADMIN_PRIVATE_H
#define MAUTH_ADMIN_PRIVATE_H
/* What the files of the administration client share: admin.c (the interface, requests, waiting), admin-conn.c (the
 * connection), admin-reply.c (what the broker says on it). */

#include "client/wire.h"
#include "modernauth/admin.h"

struct admin_request {
	struct admin_request *next;      /* in the queue or among the lost */
	uint32_t id;
	bool again;                      /* may be asked again after a restart */
	bool sent, answered;             /* answered: with a first line */
	struct mauth_buf line;
};

struct admin_queue {
	struct admin_request *first, **end;
};

struct mauth_admin {
	char *path, *name, *by;
	unsigned int timeout_msecs, window;
	const int *stop_fd;

	int fd;                          /* -1: down */
	bool version_seen, ready;        /* of this connection, as the next two */
	bool heard;
	bool fresh;                      /* what there was to read has just been read */
	unsigned int unknown;
	unsigned int unheard, losses, byes;      /* in a row */
	int64_t give_up_at;              /* monotonic; while down or not ready */
	int64_t attempt_at, backoff_msecs;
	struct mauth_wire_reader reader;
	struct mauth_buf out;

	struct admin_queue queue, lost;
	struct admin_request **by_id;    /* [id - 1], NULL when it has ended */
	uint32_t last_id, by_id_alloc;
	unsigned int unanswered;

	struct mauth_wire_line line;
	struct mauth_admin_reply reply;
	char texts[MAUTH_LINE_MAX + 2 * MAUTH_ADMIN_FIELDS_MAX];
	struct mauth_error dead;         /* not MAUTH_OK: the end */
};

int64_t admin_now_msecs(void);
void admin_queue_push(struct admin_queue *queue, struct admin_request *req);
struct admin_request *admin_queue_pop(struct admin_queue *queue);
void admin_request_end(struct mauth_admin *admin, struct admin_request *req);

/* admin-conn.c */

/* One attempt, which does not wait. errno tells why it failed. */
bool admin_try_connect(struct mauth_admin *admin);
enum mauth_status admin_fail_connect(const struct mauth_admin *admin, int error, struct mauth_error *error_r);
/* The time for another attempt has come. */
enum mauth_status admin_reconnect(struct mauth_admin *admin, struct mauth_error *error_r);
/* Ends the connection, since the broker said BYE. */
enum mauth_status admin_bye(struct mauth_admin *admin, struct mauth_error *error_r);
/* What is there without waiting. */
enum mauth_status admin_receive(struct mauth_admin *admin, struct mauth_error *error_r);
/* What can be sent without waiting: the requests of the queue, as far as the window allows. */
void admin_send(struct mauth_admin *admin);

/* admin-reply.c */

/* *reply_r stays NULL if the line is not for anybody who waits. */
enum mauth_status admin_handle_line(struct mauth_admin *admin, char *text, size_t size,
				    const struct mauth_admin_reply **reply_r, struct mauth_error *error_r);
/* The answer of ours to the first of the lost. */
const struct mauth_admin_reply *admin_lose(struct mauth_admin *admin);

#endif
