/* SPDX-License-Identifier: MIT */
#include "net/http-curl-private.h"

#include <stdlib.h>

/* curl's multi interface on the lent loop. Two rules: curl is never called from within a callback of its own, and
 * nothing of the caller's runs before curl has returned. */

static void lane_drain(struct lane *lane)
{
	CURLMsg *msg;
	int left;

	/* The callers' callbacks may start and cancel calls, which may even renew the lane. */
	while (lane->multi != NULL && (msg = curl_multi_info_read(lane->multi, &left)) != NULL) {
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
	struct lane_socket *sock = context;
	struct lane *lane = sock->lane;
	int running, mask = (readable ? CURL_CSELECT_IN : 0) | (writable ? CURL_CSELECT_OUT : 0);

	(void)curl_multi_socket_action(lane->multi, sock->fd, mask, &running);
	lane_drain(lane);
}

static void on_timer(void *context)
{
	struct lane *lane = context;
	int running;

	lane->timer = NULL;
	(void)curl_multi_socket_action(lane->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	lane_drain(lane);
}

static void on_nudge(void *context)
{
	struct lane *lane = context;
	curl_socket_t *fds;
	size_t count = 0;
	int running;

	lane->nudge = NULL;
	for (const struct lane_socket *sock = lane->sockets; sock != NULL; sock = sock->next)
		count++;
	fds = mauth_new_array(count + 1, sizeof(*fds));
	count = 0;
	for (const struct lane_socket *sock = lane->sockets; sock != NULL; sock = sock->next)
		fds[count++] = sock->fd;
	for (size_t i = 0; i < count; i++)
		(void)curl_multi_socket_action(lane->multi, fds[i], CURL_CSELECT_IN, &running);
	free(fds);
	lane_drain(lane);
}

void lane_nudge(struct lane *lane)
{
	if (lane->nudge == NULL)
		lane->nudge = mauth_timer_add(lane->http->loop, 0, on_nudge, lane);
}

static int on_curl_timer(CURLM *multi, long msecs, void *context)
{
	struct lane *lane = context;

	mauth_timer_remove(lane->http->loop, &lane->timer);
	if (msecs >= 0)
		lane->timer = mauth_timer_add(lane->http->loop, (unsigned int)msecs, on_timer, lane);
	return 0;
}

static struct lane_socket *lane_socket_new(struct lane *lane, curl_socket_t fd)
{
	struct lane_socket *sock = mauth_new(sizeof(*sock));

	sock->lane = lane;
	sock->fd = fd;
	sock->watch = mauth_watch_add(lane->http->loop, fd, on_socket_event, sock);
	sock->next = lane->sockets;
	if (sock->next != NULL)
		sock->next->prev = sock;
	lane->sockets = sock;
	return sock;
}

static void lane_socket_free(struct lane_socket **sock_p)
{
	struct lane_socket *sock = *sock_p;

	*sock_p = NULL;
	if (sock->prev == NULL)
		sock->lane->sockets = sock->next;
	else
		sock->prev->next = sock->next;
	if (sock->next != NULL)
		sock->next->prev = sock->prev;
	mauth_watch_remove(sock->lane->http->loop, &sock->watch);
	free(sock);
}

static int on_curl_socket(CURL *easy, curl_socket_t fd, int what, void *context, void *socket_context)
{
	struct lane *lane = context;
	struct lane_socket *sock = socket_context;

	if (what == CURL_POLL_REMOVE) {
		if (sock != NULL)
			lane_socket_free(&sock);
		(void)curl_multi_assign(lane->multi, fd, NULL);
		return 0;
	}
	if (sock == NULL) {
		sock = lane_socket_new(lane, fd);
		(void)curl_multi_assign(lane->multi, fd, sock);
	}
	mauth_watch_set(lane->http->loop, sock->watch, (what & CURL_POLL_IN) != 0, (what & CURL_POLL_OUT) != 0);
	return 0;
}

static void lane_open(struct lane *lane)
{
	lane->multi = curl_multi_init();
	if (lane->multi == NULL)
		return;
	(void)curl_multi_setopt(lane->multi, CURLMOPT_SOCKETFUNCTION, on_curl_socket);
	(void)curl_multi_setopt(lane->multi, CURLMOPT_SOCKETDATA, lane);
	(void)curl_multi_setopt(lane->multi, CURLMOPT_TIMERFUNCTION, on_curl_timer);
	(void)curl_multi_setopt(lane->multi, CURLMOPT_TIMERDATA, lane);
	(void)curl_multi_setopt(lane->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_MULTIPLEX);
	(void)curl_multi_setopt(lane->multi, CURLMOPT_MAX_CONCURRENT_STREAMS, (long)LANE_CALLS);
	(void)curl_multi_setopt(lane->multi, CURLMOPT_MAX_HOST_CONNECTIONS, (long)lane->http->lane_connections);
}

static void lane_close(struct lane *lane)
{
	if (lane->multi != NULL)
		(void)curl_multi_cleanup(lane->multi);
	lane->multi = NULL;
	mauth_timer_remove(lane->http->loop, &lane->timer);
	mauth_timer_remove(lane->http->loop, &lane->nudge);
	while (lane->sockets != NULL) {
		struct lane_socket *sock = lane->sockets;

		lane_socket_free(&sock);
	}
	lane->retired = false;
}

void lane_init(struct lane *lane, struct mauth_http_curl *http)
{
	lane->http = http;
}

void lane_deinit(struct lane *lane)
{
	lane_close(lane);
}

/* Rather a lane with sound connections, then the one with fewer calls. */
static bool lane_better(const struct lane *a, const struct lane *b)
{
	bool a_suspect = a->retired && a->calls > 0;
	bool b_suspect = b->retired && b->calls > 0;

	if (a_suspect != b_suspect)
		return b_suspect;
	return a->calls < b->calls;
}

struct lane *lane_choose(struct mauth_http_curl *http, bool serial)
{
	struct lane *best = &http->lanes[0];

	for (unsigned int i = 0; i < http->lanes_count; i++) {
		struct lane *lane = &http->lanes[i];

		/* Shared connections are filled one after the other: few of them, always warm. */
		if (!serial && lane->calls < LANE_CALLS && !(lane->retired && lane->calls > 0))
			return lane;
		if (lane_better(lane, best))
			best = lane;
	}
	return best;
}

bool lane_add(struct lane *lane, struct mauth_http_call *call)
{
	if (lane->retired && lane->calls == 0)
		lane_close(lane);
	if (lane->multi == NULL)
		lane_open(lane);
	if (lane->multi == NULL || curl_multi_add_handle(lane->multi, call->easy) != CURLM_OK)
		return false;
	call->lane = lane;
	lane->calls++;
	return true;
}

void lane_remove(struct mauth_http_call *call)
{
	struct lane *lane = call->lane;

	if (lane == NULL)
		return;
	call->lane = NULL;
	lane->calls--;
	(void)curl_multi_remove_handle(lane->multi, call->easy);
}
