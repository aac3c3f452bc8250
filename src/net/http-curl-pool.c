/* SPDX-License-Identifier: MIT */
#include "net/http-curl-private.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* curl's multi interface on the lent loop. Two rules: curl is never called from within a callback of its own, and
 * nothing of the caller's runs before curl has returned. */

static void pool_drain(struct pool *pool)
{
	CURLMsg *msg;
	int left;

	/* The callers' callbacks may start and cancel calls. They may not free the pool: see pools_tidy(). */
	while ((msg = curl_multi_info_read(pool->multi, &left)) != NULL) {
		struct mauth_http_call *call = NULL;
		CURLcode code = msg->data.result;

		if (msg->msg != CURLMSG_DONE)
			continue;
		(void)curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &call);
		mauth_http_call_ended(call, code);
	}
}

static void on_socket_event(bool readable, bool writable, void *context)
{
	struct pool_socket *sock = context;
	struct pool *pool = sock->pool;
	int running, mask = (readable ? CURL_CSELECT_IN : 0) | (writable ? CURL_CSELECT_OUT : 0);

	(void)curl_multi_socket_action(pool->multi, sock->fd, mask, &running);
	pool_drain(pool);
}

static void on_timer(void *context)
{
	struct pool *pool = context;
	int running;

	pool->timer = NULL;
	(void)curl_multi_socket_action(pool->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	pool_drain(pool);
}

static void on_nudge(void *context)
{
	struct pool *pool = context;
	curl_socket_t *fds;
	size_t count = 0;
	int running;

	pool->nudge = NULL;
	for (const struct pool_socket *sock = pool->sockets; sock != NULL; sock = sock->next)
		count++;
	fds = mauth_new_array(count + 1, sizeof(*fds));
	count = 0;
	for (const struct pool_socket *sock = pool->sockets; sock != NULL; sock = sock->next)
		fds[count++] = sock->fd;
	for (size_t i = 0; i < count; i++)
		(void)curl_multi_socket_action(pool->multi, fds[i], CURL_CSELECT_IN, &running);
	free(fds);
	pool_drain(pool);
}

void pool_nudge(struct pool *pool)
{
	if (pool->nudge == NULL)
		pool->nudge = mauth_timer_add(pool->http->loop, 0, on_nudge, pool);
}

static int on_curl_timer(CURLM *multi, long msecs, void *context)
{
	struct pool *pool = context;

	mauth_timer_remove(pool->http->loop, &pool->timer);
	if (msecs >= 0)
		pool->timer = mauth_timer_add(pool->http->loop, (unsigned int)msecs, on_timer, pool);
	return 0;
}

/* A duplicate is watched, not curl's own descriptor: curl 7.88 closes a connection that was not established yet (TCP or TLS
 * still under way) before it says CURL_POLL_REMOVE, and Dovecot's loop panics when it is to forget a descriptor that is
 * closed, or that is somebody else's by then. */
static void pool_socket_watch(struct pool_socket *sock)
{
	sock->own_fd = fcntl(sock->fd, F_DUPFD_CLOEXEC, 0);
	sock->watch = mauth_watch_add(sock->pool->http->loop, sock->own_fd != -1 ? sock->own_fd : sock->fd,
				      on_socket_event, sock);
}

static void pool_socket_unwatch(struct pool_socket *sock)
{
	mauth_watch_remove(sock->pool->http->loop, &sock->watch);
	if (sock->own_fd != -1)
		(void)close(sock->own_fd);
}

static struct pool_socket *pool_socket_new(struct pool *pool, curl_socket_t fd)
{
	struct pool_socket *sock = mauth_new(sizeof(*sock));

	sock->pool = pool;
	sock->fd = fd;
	pool_socket_watch(sock);
	sock->next = pool->sockets;
	sock->back = &pool->sockets;
	if (sock->next != NULL)
		sock->next->back = &sock->next;
	pool->sockets = sock;
	return sock;
}

static void pool_socket_free(struct pool_socket **sock_p)
{
	struct pool_socket *sock = *sock_p;

	*sock_p = NULL;
	*sock->back = sock->next;
	if (sock->next != NULL)
		sock->next->back = sock->back;
	pool_socket_unwatch(sock);
	free(sock);
}

static void pool_socket_set(struct pool_socket *sock)
{
	mauth_watch_set(sock->pool->http->loop, sock->watch, (sock->what & CURL_POLL_IN) != 0,
			(sock->what & CURL_POLL_OUT) != 0);
}

static void pool_socket_opened(struct pool *pool, curl_socket_t fd)
{
	for (struct pool_socket *sock = pool == NULL ? NULL : pool->sockets; sock != NULL; sock = sock->next) {
		if (sock->fd != fd)
			continue;
		pool_socket_unwatch(sock);
		pool_socket_watch(sock);
		pool_socket_set(sock);
	}
}

curl_socket_t mauth_http_socket_open(void *context, curlsocktype purpose, struct curl_sockaddr *address)
{
	struct mauth_http_curl *http = context;
	int fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);

	if (fd == -1)
		return CURL_SOCKET_BAD;
	pool_socket_opened(http->pool, fd);
	for (unsigned int i = 0; i < RETIRED_MAX; i++)
		pool_socket_opened(http->retired[i], fd);
	return fd;
}

static int on_curl_socket(CURL *easy, curl_socket_t fd, int what, void *context, void *socket_context)
{
	struct pool *pool = context;
	struct pool_socket *sock = socket_context;

	if (what == CURL_POLL_REMOVE) {
		if (sock != NULL)
			pool_socket_free(&sock);
		(void)curl_multi_assign(pool->multi, fd, NULL);
		return 0;
	}
	if (sock == NULL) {
		sock = pool_socket_new(pool, fd);
		(void)curl_multi_assign(pool->multi, fd, sock);
	}
	sock->what = what;
	pool_socket_set(sock);
	return 0;
}

static void pool_set_limit(struct pool *pool)
{
	const struct mauth_http_curl *http = pool->http;
	unsigned int limit = http->max_connections;

	if (!http->serial_seen && limit > SHARED_CONNECTIONS)
		limit = SHARED_CONNECTIONS;
	(void)curl_multi_setopt(pool->multi, CURLMOPT_MAX_HOST_CONNECTIONS, (long)limit);
}

struct pool *pool_new(struct mauth_http_curl *http)
{
	CURLM *multi = curl_multi_init();
	struct pool *pool;

	if (multi == NULL)
		return NULL;
	pool = mauth_new(sizeof(*pool));
	pool->http = http;
	pool->multi = multi;
	(void)curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_curl_socket);
	(void)curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, pool);
	(void)curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_curl_timer);
	(void)curl_multi_setopt(multi, CURLMOPT_TIMERDATA, pool);
	(void)curl_multi_setopt(multi, CURLMOPT_PIPELINING, (long)CURLPIPE_MULTIPLEX);
	(void)curl_multi_setopt(multi, CURLMOPT_MAX_CONCURRENT_STREAMS, (long)STREAMS_MAX);
	pool_set_limit(pool);
	return pool;
}

void pool_free(struct pool **pool_p)
{
	struct pool *pool = *pool_p;

	if (pool == NULL)
		return;
	*pool_p = NULL;
	(void)curl_multi_cleanup(pool->multi);
	mauth_timer_remove(pool->http->loop, &pool->timer);
	mauth_timer_remove(pool->http->loop, &pool->nudge);
	while (pool->sockets != NULL) {
		struct pool_socket *sock = pool->sockets;

		pool_socket_free(&sock);
	}
	free(pool);
}

void pool_serial_seen(struct pool *pool)
{
	if (pool->http->serial_seen)
		return;
	pool->http->serial_seen = true;
	pool_set_limit(pool);
}

bool pool_add(struct pool *pool, struct mauth_http_call *call)
{
	if (curl_multi_add_handle(pool->multi, call->easy) != CURLM_OK)
		return false;
	call->pool = pool;
	pool->calls++;
	return true;
}

void pool_remove(struct mauth_http_call *call)
{
	struct pool *pool = call->pool;

	if (pool == NULL)
		return;
	call->pool = NULL;
	pool->calls--;
	(void)curl_multi_remove_handle(pool->multi, call->easy);
}
