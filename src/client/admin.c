/* SPDX-License-Identifier: MIT */
#include "client/admin-private.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define TIMEOUT_MSECS 10000u
/* Between attempts to connect for the first time. */
#define PAUSE_MSECS 50

int64_t admin_now_msecs(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* --- requests ------------------------------------------------------------------------------------------------ */

void admin_queue_push(struct admin_queue *queue, struct admin_request *req)
{
	req->next = NULL;
	if (queue->first == NULL)
		queue->end = &queue->first;
	*queue->end = req;
	queue->end = &req->next;
}

struct admin_request *admin_queue_pop(struct admin_queue *queue)
{
	struct admin_request *req = queue->first;

	if (req != NULL)
		queue->first = req->next;
	return req;
}

void admin_request_end(struct mauth_admin *admin, struct admin_request *req)
{
	if (req->sent && !req->answered)
		admin->unanswered--;
	admin->by_id[req->id - 1] = NULL;
	mauth_buf_free(&req->line);
	free(req);
}

enum mauth_status mauth_admin_ask(struct mauth_admin *admin, const char *verb, const struct mauth_admin_field *fields,
				  uint32_t *id_r, struct mauth_error *error_r)
{
	uint32_t id = admin->last_id + 1;
	struct mauth_buf line = { NULL, 0, 0 };
	struct admin_request *req;

	mauth_wire_begin(&line, verb);
	mauth_wire_id(&line, id);
	for (; fields->key != NULL; fields++)
		mauth_wire_str(&line, fields->key, fields->value);
	mauth_wire_end(&line);
	if (line.size > MAUTH_LINE_MAX) {
		mauth_buf_free(&line);
		return mauth_fail(error_r, MAUTH_CONFIG, 0, "a request of more than %u octets", MAUTH_LINE_MAX);
	}

	if (id > admin->by_id_alloc) {
		admin->by_id_alloc = admin->by_id_alloc == 0 ? 16 : admin->by_id_alloc * 2;
		admin->by_id = mauth_grow(admin->by_id, admin->by_id_alloc, sizeof(struct admin_request *));
	}
	req = mauth_new(sizeof(*req));
	req->id = id;
	req->again = strcmp(verb, "ENROLL") == 0;
	req->line = line;
	admin->by_id[id - 1] = req;
	admin->last_id = id;
	admin_queue_push(&admin->queue, req);
	*id_r = id;
	return MAUTH_OK;
}

/* --- waiting ------------------------------------------------------------------------------------------------- */

static bool has_stopped(const struct mauth_admin *admin)
{
	struct pollfd fd = { .events = POLLIN };

	if (admin->stop_fd == NULL)
		return false;
	fd.fd = *admin->stop_fd;
	return poll(&fd, 1, 0) > 0;
}

/* Until something can be done, but not beyond deadline. */
static enum mauth_status wait_for_work(struct mauth_admin *admin, int64_t deadline, struct mauth_error *error_r)
{
	struct pollfd fds[2] = {
		{ .fd = admin->stop_fd != NULL ? *admin->stop_fd : -1, .events = POLLIN },
		{ .fd = admin->fd, .events = admin->out.size > 0 ? POLLIN | POLLOUT : POLLIN },
	};
	int64_t until = deadline, wait;

	if (admin->fd < 0 && admin->queue.first != NULL && admin->attempt_at < until)
		until = admin->attempt_at;
	if (admin->fd >= 0 && !admin->ready && admin->give_up_at < until)
		until = admin->give_up_at;
	wait = until - admin_now_msecs();
	if (wait < 0)
		wait = 0;
	/* poll() takes an int; who waits for longer comes round again. */
	if (poll(fds, 2, wait > 60000 ? 60000 : (int)wait) < 0)
		return errno == EINTR ? MAUTH_OK :
			mauth_fail(error_r, MAUTH_TEMPORARY, errno, "poll() failed: %s", strerror(errno));
	if (fds[0].revents != 0)
		return mauth_fail(error_r, MAUTH_CANCELLED, 0, "interrupted");
	return MAUTH_OK;
}

/* One thing: a line, an attempt to connect, reading, or sending and waiting. */
static enum mauth_status step(struct mauth_admin *admin, int64_t deadline, const struct mauth_admin_reply **reply_r,
			      struct mauth_error *error_r)
{
	bool overflow = false;
	char *text;
	size_t size;

	if (admin->lost.first != NULL) {
		*reply_r = admin_lose(admin);
		return MAUTH_OK;
	}
	if (admin->fd >= 0 && mauth_wire_next(&admin->reader, &text, &size, &overflow))
		return admin_handle_line(admin, text, size, reply_r, error_r);
	if (overflow)
		return mauth_fail(error_r, MAUTH_PROTOCOL, 0, "the broker's answer is longer than %u octets",
				  MAUTH_LINE_MAX);
	if (admin->fd >= 0 && !admin->ready && admin_now_msecs() >= admin->give_up_at)
		return mauth_fail(error_r, MAUTH_TIMEOUT, 0, "the broker at %s does not say hello", admin->path);
	if (admin->fd < 0 && admin->queue.first != NULL && admin_now_msecs() >= admin->attempt_at)
		return admin_reconnect(admin, error_r);

	/* A BYE is read before anything is asked that the broker would not answer any more. */
	if (admin->fd >= 0 && !admin->fresh) {
		admin->fresh = true;
		return admin_receive(admin, error_r);
	}
	admin->fresh = false;
	if (admin->fd >= 0)
		admin_send(admin);
	return wait_for_work(admin, deadline, error_r);
}

static enum mauth_status die(struct mauth_admin *admin, const struct mauth_error *error)
{
	if (admin->fd >= 0)
		(void)close(admin->fd);
	admin->fd = -1;
	admin->dead = *error;
	return error->status;
}

enum mauth_status mauth_admin_next(struct mauth_admin *admin, unsigned int timeout_msecs,
				   const struct mauth_admin_reply **reply_r, struct mauth_error *error_r)
{
	int64_t deadline = admin_now_msecs() + timeout_msecs;
	const struct mauth_admin_reply *reply = NULL;
	struct mauth_error error = admin->dead;

	admin->fresh = false;
	/* A broker that never stops talking must not keep anybody from stopping. */
	if (has_stopped(admin))
		return mauth_fail(error_r, MAUTH_CANCELLED, 0, "interrupted");
	while (error.status == MAUTH_OK && reply == NULL) {
		if (step(admin, deadline, &reply, &error) != MAUTH_OK || reply != NULL)
			break;
		if (admin_now_msecs() >= deadline)
			return mauth_fail(error_r, MAUTH_TIMEOUT, 0, "the broker does not answer");
	}
	if (error.status == MAUTH_OK) {
		*reply_r = reply;
		return MAUTH_OK;
	}
	if (error_r != NULL)
		*error_r = error;
	return error.status == MAUTH_CANCELLED ? error.status : die(admin, &error);
}

/* --- the connection ------------------------------------------------------------------------------------------ */

/* Until the hello is complete. */
static enum mauth_status first_connection(struct mauth_admin *admin, struct mauth_error *error_r)
{
	const struct mauth_admin_reply *reply = NULL;
	enum mauth_status status = MAUTH_OK;

	/* Where nobody listens nobody will in a moment, but a full backlog passes. */
	while (!admin_try_connect(admin)) {
		if (errno != EAGAIN || admin_now_msecs() >= admin->give_up_at)
			return admin_fail_connect(admin, errno, error_r);
		(void)poll(NULL, 0, PAUSE_MSECS);
	}
	while (status == MAUTH_OK && !admin->ready) {
		/* Closed before a word: at a reload the master may do that to those whom nobody has accepted. */
		if (admin->fd < 0 && admin_now_msecs() >= admin->attempt_at)
			status = admin_reconnect(admin, error_r);
		if (status == MAUTH_OK)
			status = step(admin, admin->fd < 0 ? admin->attempt_at : admin->give_up_at, &reply, error_r);
	}
	/* The broker may have been the first to speak. */
	if (status == MAUTH_OK)
		admin_send(admin);
	return status;
}

enum mauth_status mauth_admin_open(const struct mauth_admin_settings *settings, struct mauth_admin **admin_r,
				   struct mauth_error *error_r)
{
	struct mauth_admin *admin = mauth_new(sizeof(*admin));
	enum mauth_status status;

	admin->path = mauth_strdup(settings->path);
	admin->name = mauth_strdup(settings->name);
	admin->by = mauth_strdup(settings->by);
	admin->timeout_msecs = settings->timeout_msecs > 0 ? settings->timeout_msecs : TIMEOUT_MSECS;
	admin->window = settings->window;
	admin->stop_fd = settings->stop_fd;
	admin->fd = -1;
	admin->backoff_msecs = PAUSE_MSECS;
	admin->give_up_at = admin_now_msecs() + admin->timeout_msecs;
	status = first_connection(admin, error_r);
	if (status != MAUTH_OK)
		mauth_admin_close(&admin);
	else
		*admin_r = admin;
	return status;
}

void mauth_admin_close(struct mauth_admin **_admin)
{
	struct mauth_admin *admin = *_admin;

	*_admin = NULL;
	if (admin == NULL)
		return;
	if (admin->fd >= 0)
		(void)close(admin->fd);
	for (uint32_t i = 0; i < admin->last_id; i++) {
		if (admin->by_id[i] != NULL)
			admin_request_end(admin, admin->by_id[i]);
	}
	free(admin->by_id);
	mauth_wire_reader_free(&admin->reader);
	mauth_buf_free(&admin->out);
	free(admin->path);
	free(admin->name);
	free(admin->by);
	free(admin);
}

/* --- replies ------------------------------------------------------------------------------------------------- */

const char *mauth_admin_get(const struct mauth_admin_reply *reply, const char *key)
{
	for (size_t i = reply->count; i-- > 0;) {
		if (strcmp(reply->fields[i].key, key) == 0)
			return reply->fields[i].value;
	}
	return NULL;
}

bool mauth_admin_num(const struct mauth_admin_reply *reply, const char *key, int64_t *num_r)
{
	const char *value = mauth_admin_get(reply, key);
	int64_t num = 0;

	if (value == NULL || *value == '\0')
		return false;
	for (; *value != '\0'; value++) {
		if (*value < '0' || *value > '9' || num > (INT64_MAX - 9) / 10)
			return false;
		num = num * 10 + (*value - '0');
	}
	*num_r = num;
	return true;
}

struct mauth_secret *mauth_admin_secret(const struct mauth_admin *admin, const char *key)
{
	const struct mauth_wire_field *field = mauth_wire_find(&admin->line, key);

	return field == NULL ? NULL : mauth_secret_new(field->value, field->size);
}
