/* SPDX-License-Identifier: MIT */
#include "net/http-curl-private.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* Retired pools go when their last call has. That is done from the loop: the last call may end within the pool. */
static void on_tidy(void *context)
{
	struct mauth_http_curl *http = context;

	http->tidy = NULL;
	for (unsigned int i = 0; i < RETIRED_MAX; i++)
		if (http->retired[i] != NULL && http->retired[i]->calls == 0)
			pool_free(&http->retired[i]);
}

static void call_leave(struct mauth_http_call *call)
{
	struct mauth_http_curl *http = call->http;
	struct pool *pool = call->pool;

	pool_remove(call);
	if (pool != NULL && pool != http->pool && pool->calls == 0 && http->tidy == NULL)
		http->tidy = mauth_timer_add(http->loop, 0, on_tidy, http);
}

static bool call_join(struct mauth_http_call *call)
{
	struct mauth_http_curl *http = call->http;

	if (http->pool == NULL)
		http->pool = pool_new(http);
	return http->pool != NULL && pool_add(http->pool, call);
}

/* Either the server is slow, or its connection is dead without having been closed: then the next calls must not go the
 * same way. With enough retired pools under way it is the server. */
static void retire_pool_of(struct mauth_http_call *call)
{
	struct mauth_http_curl *http = call->http;

	if (!call->multiplexed || call->headers_size > 0 || call->pool != http->pool)
		return;
	for (unsigned int i = 0; i < RETIRED_MAX; i++) {
		if (http->retired[i] != NULL)
			continue;
		http->retired[i] = http->pool;
		http->pool = NULL;
		mauth_log(http->log, MAUTH_DEBUG, "http: %s does not answer, new requests use new connections",
			  call->peer);
		return;
	}
}

static void call_free(struct mauth_http_call *call)
{
	call_leave(call);
	mauth_timer_remove(call->http->loop, &call->timer);
	if (call->easy != NULL)
		curl_easy_cleanup(call->easy);
	/* One of them may be a token. */
	for (struct curl_slist *header = call->headers; header != NULL; header = header->next)
		mauth_wipe(header->data, strlen(header->data));
	curl_slist_free_all(call->headers);
	mauth_secret_free(&call->form);
	mauth_buf_free(&call->body);
	free(call->ca_file);
	call->http->calls--;
	free(call);
}

/* The only way to the caller: curl has let go of the call, and nothing of ours is touched after it but the call. */
static void call_deliver(struct mauth_http_call *call, const struct mauth_http_reply *reply,
			 const struct mauth_error *error)
{
	mauth_http_fn *done = call->done;

	call->done = NULL;
	done(reply, error, call->context);
	call_free(call);
}

static void deliver_error(struct mauth_http_call *call, const struct mauth_error *error)
{
	mauth_log(call->http->log, MAUTH_DEBUG, "http: %s (%s)", error->text, mauth_status_name(error->status));
	call_deliver(call, NULL, error);
}

static void on_failed_start(void *context)
{
	struct mauth_http_call *call = context;

	call->timer = NULL;
	deliver_error(call, &call->error);
}

static void on_deadline(void *context)
{
	struct mauth_http_call *call = context;
	struct mauth_error error;

	call->timer = NULL;
	mauth_http_call_timeout_error(call, &error);
	retire_pool_of(call);
	call_leave(call);
	deliver_error(call, &error);
}

static unsigned int http_version(CURL *easy)
{
	long version = 0;

	(void)curl_easy_getinfo(easy, CURLINFO_HTTP_VERSION, &version);
	if (version == CURL_HTTP_VERSION_1_0)
		return 10;
	return version == CURL_HTTP_VERSION_2_0 ? 20 : 11;
}

static void deliver_reply(struct mauth_http_call *call)
{
	struct mauth_http_curl *http = call->http;
	struct mauth_http_reply reply = {
		.body = call->body.data == NULL ? "" : call->body.data,
		.body_size = call->body.size,
		.retry_after = call->retry_after,
		.date = call->date,
		.request_id = call->request_id,
		.content_type = call->content_type,
		.location = call->location,
		.http_version = http_version(call->easy),
		.duration_usecs = mauth_mono_usecs(http->loop) - call->started_usecs,
	};
	long status = 0;

	(void)curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
	reply.status = (unsigned int)status;
	if (reply.http_version < 20 && http->pool != NULL)
		pool_serial_seen(http->pool);
	mauth_log(http->log, MAUTH_DEBUG, "http: %s answered %u (HTTP/%u, %zu octets, %lld ms, attempt %u)", call->peer,
		  reply.status, reply.http_version, reply.body_size, (long long)(reply.duration_usecs / 1000),
		  call->attempts);
	call_deliver(call, &reply, NULL);
}

/* curl sends a refused request again by itself (see on_ready()), unless a GOAWAY refused the only stream of the
 * connection: that it reports, without a text, as CURLE_HTTP2. The same comes of a server that breaks the rules of
 * HTTP/2 framing, which is too rare to give up every login that meets a server about to close an idle connection. */
static bool refused_unseen(const struct mauth_http_call *call, CURLcode code)
{
	return code == CURLE_HTTP2 && call->attempts < TRIES_MAX && call->retry_known && call->curl_text[0] == '\0' &&
	       call->headers_size == 0;
}

void mauth_http_call_ended(struct mauth_http_call *call, CURLcode code)
{
	struct mauth_error error;

	if (code != CURLE_OK && call->multiplexed)
		pool_nudge(call->pool);
	if (refused_unseen(call, code)) {
		call_leave(call);
		if (call_join(call))
			return;
	}
	mauth_timer_remove(call->http->loop, &call->timer);
	if (code != CURLE_OK)
		mauth_http_call_error(call, code, &error);
	call_leave(call);
	if (code == CURLE_OK)
		deliver_reply(call);
	else
		deliver_error(call, &error);
}

static bool share_open(struct mauth_http_curl *http)
{
	if (http->share != NULL)
		return true;
	http->share = curl_share_init();
	if (http->share == NULL)
		return false;
	(void)curl_share_setopt(http->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_DNS);
	(void)curl_share_setopt(http->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION);
	return true;
}

static bool call_begin(struct mauth_http_call *call, mauth_http_setup_fn *setup, const void *request)
{
	struct mauth_http_curl *http = call->http;

	if (!mauth_http_curl_global_init() || !share_open(http)) {
		(void)mauth_fail(&call->error, MAUTH_TEMPORARY, 0, "libcurl cannot be initialised");
		return false;
	}
	if (setup(call, request, &call->error) != MAUTH_OK)
		return false;
	if (call_join(call))
		return true;
	(void)mauth_fail(&call->error, MAUTH_TEMPORARY, 0, "libcurl does not take the request");
	return false;
}

struct mauth_http_call *mauth_http_call_new(struct mauth_http_curl *http, mauth_http_setup_fn *setup,
					    const void *request, unsigned int timeout_msecs, mauth_http_fn *done,
					    void *context)
{
	struct mauth_http_call *call = mauth_new(sizeof(*call));

	call->http = http;
	call->done = done;
	call->context = context;
	call->started_usecs = mauth_mono_usecs(http->loop);
	call->timeout_msecs = timeout_msecs;
	http->calls++;
	if (call_begin(call, setup, request))
		call->timer = mauth_timer_add(http->loop, call->timeout_msecs, on_deadline, call);
	else
		call->timer = mauth_timer_add(http->loop, 0, on_failed_start, call);
	return call;
}

void mauth_http_call_cancel(struct mauth_http_call **call_p)
{
	struct mauth_http_call *call = *call_p;

	*call_p = NULL;
	/* From within its own callback there is nothing left to cancel. */
	if (call->done != NULL)
		call_free(call);
}

static enum mauth_status setup_request(struct mauth_http_call *call, const void *request, struct mauth_error *error_r)
{
	return mauth_http_call_setup(call, request, error_r);
}

static struct mauth_http_call *http_start(void *context, const struct mauth_http_request *request, mauth_http_fn *done,
					  void *done_context)
{
	return mauth_http_call_new(context, setup_request, request, request->timeout_msecs, done, done_context);
}

static void http_cancel(void *context, struct mauth_http_call **call)
{
	(void)context;
	mauth_http_call_cancel(call);
}

static const struct mauth_http_vfuncs http_vfuncs = {
	.start = http_start,
	.cancel = http_cancel,
};

struct mauth_http_curl *mauth_http_curl_new(const struct mauth_http_curl_settings *settings,
					    const struct mauth_loop *loop, const struct mauth_log *log)
{
	struct mauth_http_curl *http = mauth_new(sizeof(*http));

	http->http.v = &http_vfuncs;
	http->http.context = http;
	http->loop = loop;
	http->log = log;
	http->user_agent = mauth_strdup(settings->user_agent);
	http->connect_msecs = settings->connect_msecs == 0 ? CONNECT_MSECS : settings->connect_msecs;
	http->max_connections = settings->max_connections == 0 ? CONNECTIONS_DEFAULT : settings->max_connections;
	return http;
}

void mauth_http_curl_free(struct mauth_http_curl **http_p)
{
	struct mauth_http_curl *http = *http_p;

	if (http == NULL)
		return;
	*http_p = NULL;
	assert(http->calls == 0);
	mauth_timer_remove(http->loop, &http->tidy);
	pool_free(&http->pool);
	for (unsigned int i = 0; i < RETIRED_MAX; i++)
		pool_free(&http->retired[i]);
	if (http->share != NULL)
		(void)curl_share_cleanup(http->share);
	free(http->user_agent);
	free(http);
}

const struct mauth_http *mauth_http_curl_http(struct mauth_http_curl *http)
{
	return &http->http;
}
