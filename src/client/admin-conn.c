/* SPDX-License-Identifier: MIT */
#include "client/admin-private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* Before the attempt after a failed one; a master that restarts needs a moment. */
#define BACKOFF_MIN_MSECS 50
#define BACKOFF_MAX_MSECS 1000
/* In a row: connections that end before the broker has said anything; that end instead of an answer (what was asked may
 * be what killed it, so not for ever); that are told to go to the successor (which may not be there yet). */
#define CLOSED_MAX 3u
#define BYES_MAX 10u
#define OUT_MAX 65536u

/* The connection is gone. What was sent and has not ended is asked again or lost. */
static void disconnect(struct mauth_admin *admin, int64_t pause_msecs)
{
	struct admin_queue waiting = admin->queue;
	struct admin_request *req;

	(void)close(admin->fd);
	admin->fd = -1;
	admin->ready = false;
	mauth_wire_reader_free(&admin->reader);
	mauth_buf_free(&admin->out);
	admin->unanswered = 0;
	admin->queue.first = NULL;
	for (uint32_t i = 0; i < admin->last_id; i++) {
		req = admin->by_id[i];
		if (req == NULL || !req->sent)
			continue;
		req->sent = req->answered = false;
		admin_queue_push(req->again ? &admin->queue : &admin->lost, req);
	}
	while ((req = admin_queue_pop(&waiting)) != NULL)
		admin_queue_push(&admin->queue, req);
	admin->attempt_at = admin_now_msecs() + pause_msecs;
	admin->give_up_at = admin->attempt_at + admin->timeout_msecs;
	admin->backoff_msecs = BACKOFF_MIN_MSECS;
}

static void greet(struct mauth_admin *admin)
{
	mauth_buf_puts(&admin->out, MAUTH_WIRE_VERSION_LINE);
	mauth_wire_begin(&admin->out, "CLIENT");
	mauth_wire_str(&admin->out, "name", admin->name);
	mauth_wire_num(&admin->out, "pid", getpid());
	mauth_wire_str(&admin->out, "by", admin->by);
	mauth_wire_end(&admin->out);
}

bool admin_try_connect(struct mauth_admin *admin)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd, error;

	if (strlen(admin->path) >= sizeof(addr.sun_path)) {
		errno = ENAMETOOLONG;
		return false;
	}
	memcpy(addr.sun_path, admin->path, strlen(admin->path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return false;
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
		error = errno;
		(void)close(fd);
		errno = error;
		return false;
	}
	admin->fd = fd;
	admin->version_seen = admin->ready = admin->heard = admin->fresh = false;
	admin->unknown = 0;
	greet(admin);
	return true;
}

enum mauth_status admin_fail_connect(const struct mauth_admin *admin, int error, struct mauth_error *error_r)
{
	enum mauth_status status = error == EACCES || error == EPERM ? MAUTH_CONFIG : MAUTH_TEMPORARY;

	return mauth_fail(error_r, status, error, "cannot connect to the broker at %s: %s", admin->path,
			  strerror(error));
}

enum mauth_status admin_reconnect(struct mauth_admin *admin, struct mauth_error *error_r)
{
	if (admin_try_connect(admin))
		return MAUTH_OK;
	if (admin_now_msecs() >= admin->give_up_at)
		return admin_fail_connect(admin, errno, error_r);
	admin->attempt_at = admin_now_msecs() + admin->backoff_msecs;
	if (admin->backoff_msecs < BACKOFF_MAX_MSECS)
		admin->backoff_msecs *= 2;
	return MAUTH_OK;
}

enum mauth_status admin_bye(struct mauth_admin *admin, struct mauth_error *error_r)
{
	if (++admin->byes > BYES_MAX)
		return mauth_fail(error_r, MAUTH_TEMPORARY, 0, "the broker at %s is restarted again and again",
				  admin->path);
	disconnect(admin, BACKOFF_MIN_MSECS * (admin->byes - 1));
	return MAUTH_OK;
}

static enum mauth_status connection_ended(struct mauth_admin *admin, struct mauth_error *error_r)
{
	unsigned int *count = admin->heard ? &admin->losses : &admin->unheard;

	if (++*count > CLOSED_MAX)
		return mauth_fail(error_r, MAUTH_TEMPORARY, 0, "the broker at %s closes connections instead of "
				  "answering", admin->path);
	disconnect(admin, BACKOFF_MIN_MSECS * *count);
	return MAUTH_OK;
}

static void fill_out(struct mauth_admin *admin)
{
	struct admin_request *req;

	while (admin->ready && admin->queue.first != NULL && admin->out.size < OUT_MAX &&
	       (admin->window == 0 || admin->unanswered < admin->window)) {
		req = admin_queue_pop(&admin->queue);
		mauth_buf_append(&admin->out, req->line.data, req->line.size);
		req->sent = true;
		admin->unanswered++;
	}
}

void admin_send(struct mauth_admin *admin)
{
	ssize_t size;

	fill_out(admin);
	while (admin->out.size > 0) {
		size = send(admin->fd, admin->out.data, admin->out.size, MSG_NOSIGNAL);
		if (size < 0) {
			/* A broker that is gone may have left something to read, and then there is an end of file. */
			if (errno != EAGAIN && errno != EINTR)
				mauth_buf_clear(&admin->out);
			return;
		}
		mauth_buf_consume(&admin->out, (size_t)size);
	}
}

enum mauth_status admin_receive(struct mauth_admin *admin, struct mauth_error *error_r)
{
	char data[MAUTH_LINE_MAX];
	ssize_t size;

	size = recv(admin->fd, data, sizeof(data), 0);
	if (size < 0 && (errno == EAGAIN || errno == EINTR))
		return MAUTH_OK;
	if (size <= 0)
		return connection_ended(admin, error_r);
	admin->heard = true;
	mauth_buf_append(&admin->reader.in, data, (size_t)size);
	mauth_wipe(data, (size_t)size);
	return MAUTH_OK;
}
