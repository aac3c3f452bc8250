/* SPDX-License-Identifier: MIT */
#include "net/forward-link.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define BACK_OFF_MSECS 1000u
#define BACK_OFF_MAX_MSECS 60000u
#define CONNECT_MSECS 10000u
/* What a peer that has vanished may leave unconfirmed before the kernel gives up. */
#define UNCONFIRMED_MSECS 30000u
#define ADDRESSES_MAX 8u

struct address {
	struct sockaddr_storage data;
	socklen_t size;
	int family;
};

/* Owned by the worker while it works; link is NULL if nobody wants the answer any more. */
struct resolving {
	struct mauth_link *link;
	char *host, port[8];
	int type, error;
	struct address addresses[ADDRESSES_MAX];
	size_t count;
};

enum state { IDLE, RESOLVING, CONNECTING, UP, WAITING };

struct mauth_link {
	enum mauth_transport transport;
	char *host;
	unsigned int port;
	const struct mauth_loop *loop;
	const struct mauth_worker *worker;
	struct mauth_link_callbacks callbacks;
	enum state state;
	int fd;
	struct mauth_watch *watch;
	struct mauth_timer *timer;           /* CONNECTING: too long; WAITING: the next attempt */
	unsigned int back_off;
	struct resolving *resolving;
	struct address addresses[ADDRESSES_MAX];
	size_t count, next;
};

static void connect_next(struct mauth_link *link, int error);

static void close_socket(struct mauth_link *link)
{
	mauth_watch_remove(link->loop, &link->watch);
	mauth_timer_remove(link->loop, &link->timer);
	if (link->fd >= 0)
		close(link->fd);
	link->fd = -1;
}

static void begin(struct mauth_link *link);

static void waited(void *context)
{
	struct mauth_link *link = context;

	link->timer = NULL;
	link->state = IDLE;
	begin(link);
}

static void fail(struct mauth_link *link, int code, const char *text)
{
	struct mauth_error error;

	close_socket(link);
	link->state = WAITING;
	link->timer = mauth_timer_add(link->loop, link->back_off, waited, link);
	link->back_off = link->back_off * 2 < BACK_OFF_MAX_MSECS ? link->back_off * 2 : BACK_OFF_MAX_MSECS;
	mauth_fail(&error, MAUTH_TEMPORARY, code, "%s", text);
	link->callbacks.down(link->callbacks.context, &error);
}

static void is_up(struct mauth_link *link)
{
	mauth_timer_remove(link->loop, &link->timer);
	link->state = UP;
	mauth_watch_set(link->loop, link->watch, true, false);
	link->callbacks.ready(link->callbacks.context);
}

/* Nobody answers syslog: what comes is the end. Of a datagram socket it is an error that belongs to an earlier one. */
static void readable(struct mauth_link *link)
{
	char data[512];
	ssize_t got = recv(link->fd, data, sizeof(data), MSG_DONTWAIT);

	if (got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR)))
		return;
	if (got == 0 && !mauth_link_is_stream(link))
		return;
	fail(link, got == 0 ? 0 : errno, got == 0 ? "the connection was closed" : strerror(errno));
}

static void connected(struct mauth_link *link)
{
	int error = 0;
	socklen_t size = sizeof(error);

	if (getsockopt(link->fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
		error = errno;
	if (error != 0)
		connect_next(link, error);
	else
		is_up(link);
}

static void watched(bool can_read, bool can_write, void *context)
{
	struct mauth_link *link = context;

	if (link->state == CONNECTING) {
		connected(link);
		return;
	}
	if (can_write) {
		mauth_watch_set(link->loop, link->watch, true, false);
		link->callbacks.ready(link->callbacks.context);
		/* Which may have found that it is broken. */
		if (link->state != UP)
			return;
	}
	if (can_read)
		readable(link);
}

static void too_long(void *context)
{
	struct mauth_link *link = context;

	link->timer = NULL;
	connect_next(link, ETIMEDOUT);
}

static int open_socket(struct mauth_link *link, const struct address *address)
{
	bool stream = mauth_link_is_stream(link);
	int on = 1;
	unsigned int unconfirmed = UNCONFIRMED_MSECS;

	link->fd = socket(address->family, (stream ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (link->fd < 0)
		return errno;
	if (stream) {
		(void)setsockopt(link->fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
		(void)setsockopt(link->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unconfirmed, sizeof(unconfirmed));
	}
	if (connect(link->fd, (const struct sockaddr *)&address->data, address->size) < 0)
		return errno;
	return 0;
}

/* The next address; error: what was wrong with the one before. */
static void connect_next(struct mauth_link *link, int error)
{
	close_socket(link);
	while (link->next < link->count) {
		error = open_socket(link, &link->addresses[link->next++]);
		if (error == 0 || error == EINPROGRESS) {
			link->state = CONNECTING;
			link->watch = mauth_watch_add(link->loop, link->fd, watched, link);
			if (error == 0) {
				is_up(link);
				return;
			}
			mauth_watch_set(link->loop, link->watch, false, true);
			link->timer = mauth_timer_add(link->loop, CONNECT_MSECS, too_long, link);
			return;
		}
		close_socket(link);
	}
	fail(link, error, error == EPROTOTYPE ? "it is no datagram socket" : strerror(error));
}

/* -- names -------------------------------------------------------------------------------------------------- */

static void resolve(struct resolving *r, int flags)
{
	struct addrinfo hints = { .ai_socktype = r->type, .ai_flags = AI_NUMERICSERV | flags }, *found = NULL;

	r->error = getaddrinfo(r->host, r->port, &hints, &found);
	for (struct addrinfo *at = found; r->error == 0 && at != NULL && r->count < ADDRESSES_MAX; at = at->ai_next) {
		struct address *address = &r->addresses[r->count++];

		memcpy(&address->data, at->ai_addr, at->ai_addrlen);
		address->size = at->ai_addrlen;
		address->family = at->ai_family;
	}
	if (found != NULL)
		freeaddrinfo(found);
}

static void free_resolving(struct resolving *r)
{
	free(r->host);
	free(r);
}

static void take_addresses(struct mauth_link *link, const struct resolving *r)
{
	memcpy(link->addresses, r->addresses, sizeof(link->addresses));
	link->count = r->count;
	link->next = 0;
}

static void resolve_work(void *job)
{
	resolve(job, AI_ADDRCONFIG);
}

static void resolve_done(void *job)
{
	struct resolving *r = job;
	struct mauth_link *link = r->link;
	int error = r->error;

	if (link != NULL) {
		link->resolving = NULL;
		take_addresses(link, r);
	}
	free_resolving(r);
	if (link == NULL)
		return;
	if (error != 0)
		fail(link, 0, gai_strerror(error));
	else
		connect_next(link, ENOENT);
}

/* An address needs nobody else. */
static void find_addresses(struct mauth_link *link)
{
	struct resolving *r = mauth_new(sizeof(*r));

	r->host = mauth_strdup(link->host);
	r->type = mauth_link_is_stream(link) ? SOCK_STREAM : SOCK_DGRAM;
	snprintf(r->port, sizeof(r->port), "%u", link->port % 65536);
	resolve(r, AI_NUMERICHOST);
	if (r->error != 0 && link->worker != NULL) {
		r->link = link;
		link->resolving = r;
		link->state = RESOLVING;
		link->worker->submit(link->worker->context, resolve_work, resolve_done, r);
		return;
	}
	take_addresses(link, r);
	free_resolving(r);
	connect_next(link, EADDRNOTAVAIL);
}

static void take_path(struct mauth_link *link)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	link->count = 0;
	link->next = 0;
	if (strlen(link->host) >= sizeof(address.sun_path)) {
		fail(link, ENAMETOOLONG, strerror(ENAMETOOLONG));
		return;
	}
	memcpy(address.sun_path, link->host, strlen(link->host) + 1);
	memcpy(&link->addresses[0].data, &address, sizeof(address));
	link->addresses[0].size = sizeof(address);
	link->addresses[0].family = AF_UNIX;
	link->count = 1;
	connect_next(link, ENOENT);
}

static void begin(struct mauth_link *link)
{
	if (link->transport == MAUTH_TRANSPORT_UNIX)
		take_path(link);
	else
		find_addresses(link);
}

/* ----------------------------------------------------------------------------------------------------------- */

struct mauth_link *mauth_link_new(const struct mauth_forward_target *target, const struct mauth_loop *loop,
				  const struct mauth_worker *worker, const struct mauth_link_callbacks *callbacks)
{
	struct mauth_link *link = mauth_new(sizeof(*link));

	link->transport = target->transport;
	link->host = mauth_strdup(target->host);
	link->port = target->port;
	link->loop = loop;
	link->worker = worker;
	link->callbacks = *callbacks;
	link->back_off = BACK_OFF_MSECS;
	link->fd = -1;
	return link;
}

void mauth_link_free(struct mauth_link **link)
{
	struct mauth_link *old = *link;

	if (old == NULL)
		return;
	*link = NULL;
	if (old->resolving != NULL)
		old->resolving->link = NULL;
	close_socket(old);
	free(old->host);
	free(old);
}


void mauth_link_want(struct mauth_link *link)
{
	if (link->state != IDLE)
		return;
	/* Not within the caller's turn: that is a login's. */
	link->state = WAITING;
	link->timer = mauth_timer_add(link->loop, 0, waited, link);
}

bool mauth_link_is_up(const struct mauth_link *link)
{
	return link->state == UP;
}

bool mauth_link_is_stream(const struct mauth_link *link)
{
	return link->transport == MAUTH_TRANSPORT_TCP;
}

enum mauth_link_result mauth_link_send(struct mauth_link *link, const char *data, size_t size, size_t *sent_r)
{
	ssize_t sent;

	if (link->state != UP)
		return MAUTH_LINK_LATER;
	do
		sent = send(link->fd, data + *sent_r, size - *sent_r, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (sent < 0 && errno == EINTR);
	if (sent < 0 && errno == EMSGSIZE)
		return MAUTH_LINK_TOO_LONG;
	/* ENOBUFS: the machine has no room for datagrams just now. */
	if (sent < 0 && errno != EAGAIN && errno != ENOBUFS) {
		fail(link, errno, strerror(errno));
		return MAUTH_LINK_LATER;
	}
	if (sent >= 0) {
		*sent_r += (size_t)sent;
		/* It works, so the next trouble is a new one. */
		link->back_off = BACK_OFF_MSECS;
		if (*sent_r == size)
			return MAUTH_LINK_SENT;
	}
	mauth_watch_set(link->loop, link->watch, true, true);
	return MAUTH_LINK_LATER;
}
