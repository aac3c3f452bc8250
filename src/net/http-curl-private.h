/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_HTTP_CURL_PRIVATE_H
#define MAUTH_HTTP_CURL_PRIVATE_H
/* What the files of http-curl share. Nobody else includes this. */

#include "core/mem.h"
#include "net/http-curl.h"

#include <curl/curl.h>

/* 20 HTTP/2 connections of 100 streams (RFC 9113 5.1.2: servers should take at least 100) carry 2,000 requests at once,
 * and 20 TLS handshakes are soon done. More are opened only where a server speaks HTTP/1.1 only. */
#define SHARED_CONNECTIONS 20u
#define STREAMS_MAX 250u
#define CONNECTIONS_DEFAULT 100u
#define TRIES_MAX 3u               /* of a request that the server has refused unseen */
#define RETIRED_MAX 2u
#define HEADERS_MAX 16384u
#define CONNECT_MSECS 5000u
#define UNACKED_MSECS 10000u       /* octets that the peer's kernel has not confirmed for this long end a connection */
#define IDLE_SECS 60u
#define TRUST_SECS 600u            /* trust anchors are read again after this */
#define NAME_SIZE 300u             /* "host:port" */
#define HEADER_SIZE 128u
#define LOCATION_SIZE 1024u

struct pool_socket {
	struct pool_socket *next, **back;        /* back: where the pointer to this one is */
	struct pool *pool;
	struct mauth_watch *watch;
	curl_socket_t fd;                        /* curl's */
	int own_fd;                              /* the duplicate that is watched; -1: none could be had */
	int what;                                /* CURL_POLL_* */
};

/* A curl multi handle: connections that calls share. There is one for new calls. When a connection of it is suspect,
 * it is retired: its calls stay with it, and it goes with the last of them. */
struct pool {
	struct mauth_http_curl *http;
	CURLM *multi;
	struct mauth_timer *timer;       /* curl's */
	struct mauth_timer *nudge;
	struct pool_socket *sockets;
	unsigned int calls;
};

struct mauth_http_curl {
	struct mauth_http http;
	const struct mauth_loop *loop;
	const struct mauth_log *log;
	char *user_agent;
	CURLSH *share;                   /* names and TLS sessions, for all pools */
	struct pool *pool;               /* for new calls; NULL until the first */
	struct pool *retired[RETIRED_MAX];
	struct mauth_timer *tidy;
	unsigned int max_connections, connect_msecs;
	bool serial_seen;                /* a server speaks HTTP/1.1 only: its calls cannot share connections */
	unsigned int calls;
};

struct mauth_http_call {
	struct mauth_http_curl *http;
	struct pool *pool;               /* NULL: not with curl */
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
	char location[LOCATION_SIZE];
	bool body_too_large, headers_too_large;

	unsigned int attempts;           /* connections that the request was given to */
	bool multiplexed, retry_known;   /* of the first attempt, see on_ready() */
	bool given_up;
	char curl_text[CURL_ERROR_SIZE];
};

/* http-curl-memory.c: initialises libcurl once per process, with an allocator that wipes what it frees. */
bool mauth_http_curl_global_init(void);

/* http-curl-pool.c */
struct pool *pool_new(struct mauth_http_curl *http);       /* NULL: no memory */
void pool_free(struct pool **pool);
bool pool_add(struct pool *pool, struct mauth_http_call *call);
void pool_remove(struct mauth_http_call *call);
/* A server that does not speak HTTP/2 has answered. */
void pool_serial_seen(struct pool *pool);
/* Soon lets curl read from every connection of the pool, whether the kernel has something or not. Where a server says
 * farewell in TLS but does not close, curl tells only one of the requests on that connection; the others would wait
 * for their deadline. Each that ends nudges the pool again. */
void pool_nudge(struct pool *pool);
/* CURLOPT_OPENSOCKETFUNCTION, context: the struct mauth_http_curl. The new socket often has the number of one that curl
 * has closed without telling, and curl then believes that it is watched already. */
curl_socket_t mauth_http_socket_open(void *context, curlsocktype purpose, struct curl_sockaddr *address);
/* http-curl.c: a call that setup makes ready; done is called as for any other. setup: what to do of
 * mauth_http_call_setup(). */
typedef enum mauth_status mauth_http_setup_fn(struct mauth_http_call *call, const void *request,
					      struct mauth_error *error_r);
struct mauth_http_call *mauth_http_call_new(struct mauth_http_curl *http, mauth_http_setup_fn *setup,
					    const void *request, unsigned int timeout_msecs, mauth_http_fn *done,
					    void *context);
void mauth_http_call_cancel(struct mauth_http_call **call);
/* http-curl.c: curl has ended call; tells the caller and frees it. */
void mauth_http_call_ended(struct mauth_http_call *call, CURLcode code);

/* http-curl-setup.c: checks the request's URL and proxy and makes call->easy. MAUTH_OK or why not. */
enum mauth_status mauth_http_call_setup(struct mauth_http_call *call, const struct mauth_http_request *request,
					struct mauth_error *error_r);

/* The TLS settings of all calls; the connection settings likewise. */
void mauth_http_call_set_tls(struct mauth_http_call *call, const char *ca_file);
void mauth_http_call_set_socket(struct mauth_http_call *call);

/* http-curl-error.c */
void mauth_http_call_error(struct mauth_http_call *call, CURLcode code, struct mauth_error *error_r);
void mauth_http_call_timeout_error(const struct mauth_http_call *call, struct mauth_error *error_r);

#endif
