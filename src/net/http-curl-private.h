/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_HTTP_CURL_PRIVATE_H
#define MAUTH_HTTP_CURL_PRIVATE_H
/* What the files of http-curl share. Nobody else includes this. */

#include "core/mem.h"
#include "net/http-curl.h"

#include <curl/curl.h>

/* A lane is one curl multi handle with its own connections. Given 2,000 requests at once, one multi handle puts 100 on
 * the connection that it knows to speak HTTP/2 and all others on the second one while that is still connecting, where
 * they wait in rows of as many as the server takes (seen with curl 7.88). So no lane is given more than one
 * connection's worth of calls while another one has room, and lanes connect side by side. */
#define LANES_MAX 20u
#define LANE_CALLS 100u            /* RFC 9113 5.1.2: servers should take at least 100 streams */
#define CONNECTIONS_DEFAULT 100u
#define ORIGINS_MAX 32u
#define HEADERS_MAX (16u * 1024u)
#define CONNECT_MSECS 5000u
#define UNACKED_MSECS 10000u       /* octets that the peer's kernel has not confirmed for this long end a connection */
#define IDLE_SECS 60u
#define NAME_SIZE 300u             /* "host:port" */
#define HEADER_SIZE 128u

struct lane_socket {
	struct lane_socket *prev, *next;
	struct lane *lane;
	struct mauth_watch *watch;
	curl_socket_t fd;
};

struct lane {
	struct mauth_http_curl *http;
	CURLM *multi;                    /* NULL until the first call */
	struct mauth_timer *timer;       /* curl's */
	struct mauth_timer *nudge;
	struct lane_socket *sockets;
	unsigned int calls;
	bool retired;                    /* its connections are suspect: begins anew once it has no calls */
};

/* What is known of a server: whether calls to it can share a connection. */
struct origin {
	char name[NAME_SIZE];
	bool serial;                     /* speaks HTTP/1.1 only */
};

struct mauth_http_curl {
	struct mauth_http http;
	const struct mauth_loop *loop;
	const struct mauth_log *log;
	char *user_agent;
	CURLSH *share;                   /* names and TLS sessions, for all lanes */
	struct lane lanes[LANES_MAX];
	unsigned int lanes_count, lane_connections;
	struct origin origins[ORIGINS_MAX];
	unsigned int origins_count, origins_next;
	unsigned int calls;
};

struct mauth_http_call {
	struct mauth_http_curl *http;
	struct lane *lane;               /* NULL: not with curl */
	CURL *easy;
	mauth_http_fn *done;
	void *context;
	struct mauth_timer *timer;       /* the deadline; or the turn in which a call that failed at once says so */
	int64_t started_usecs;
	unsigned int timeout_msecs;
	char peer[NAME_SIZE], proxy[NAME_SIZE];
	char *ca_file;
	struct curl_slist *headers;
	struct mauth_secret *form;       /* curl reads it in place */
	struct mauth_error error;        /* of a call that failed at once */

	struct mauth_buf body;
	size_t headers_size;
	char retry_after[HEADER_SIZE], date[HEADER_SIZE], request_id[HEADER_SIZE], content_type[HEADER_SIZE];
	bool body_too_large, headers_too_large;

	unsigned int attempts;           /* connections that the request was given to */
	bool multiplexed, retry_known;   /* of the first attempt, see on_ready() */
	bool given_up;
	char curl_text[CURL_ERROR_SIZE];
};

/* http-curl-memory.c: initialises libcurl once per process, with an allocator that wipes what it frees. */
bool mauth_http_curl_global_init(void);

/* http-curl-lane.c */
void lane_init(struct lane *lane, struct mauth_http_curl *http);
void lane_deinit(struct lane *lane);
/* The lane that a new call to an origin should use. */
struct lane *lane_choose(struct mauth_http_curl *http, bool serial);
bool lane_add(struct lane *lane, struct mauth_http_call *call);
void lane_remove(struct mauth_http_call *call);
/* Soon lets curl read from every connection of the lane, whether the kernel has something or not. Where a server says
 * farewell in TLS but does not close, curl tells only one of the requests on that connection; the others would wait
 * for their deadline. Each that ends nudges the lane again. */
void lane_nudge(struct lane *lane);
/* http-curl.c: curl has ended call; tells the caller and frees it. */
void mauth_http_call_ended(struct mauth_http_call *call, CURLcode code);

/* http-curl-setup.c: checks the request's URL and proxy and makes call->easy. MAUTH_OK or why not. */
enum mauth_status mauth_http_call_setup(struct mauth_http_call *call, const struct mauth_http_request *request,
					struct mauth_error *error_r);

/* http-curl-error.c */
void mauth_http_call_error(struct mauth_http_call *call, CURLcode code, struct mauth_error *error_r);
void mauth_http_call_timeout_error(const struct mauth_http_call *call, struct mauth_error *error_r);

#endif
