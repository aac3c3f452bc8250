/* SPDX-License-Identifier: MIT */
#ifndef MODERNAUTH_HTTP_H
#define MODERNAUTH_HTTP_H
/* The HTTP client that the host lends. Implementations verify TLS, speak HTTPS only, follow no redirect and read no
 * more than MAUTH_REPLY_MAX octets of body. src/net/http-curl.c is the real one, tests script a fake. */

#include "modernauth/modernauth.h"

struct mauth_http_call;

struct mauth_http_header {
	const char *name, *value;
};

struct mauth_http_request {
	const char *url;                         /* https://... */
	const struct mauth_secret *form;         /* POST with application/x-www-form-urlencoded; NULL: GET */
	const struct mauth_http_header *headers; /* besides Content-Type and Accept */
	size_t headers_count;
	const struct mauth_secret *bearer;       /* Authorization: Bearer ...; NULL: none */
	const char *ca_file;                     /* PEM trust anchors; NULL: the system's */
	const char *proxy;                       /* "http://host:port"; NULL: https_proxy/no_proxy of the environment */
	unsigned int timeout_msecs;              /* from start to the last octet, measured by us, queueing included */
};

/* What came back. Strings live only during the callback. */
struct mauth_http_reply {
	unsigned int status;                     /* 200, 400, ... */
	const char *body;                        /* wiped after the callback */
	size_t body_size;
	const char *retry_after;                 /* the raw header values, "" if absent */
	const char *date;
	const char *request_id;                  /* x-ms-request-id */
	const char *content_type;
	const char *location;                    /* of a redirect, which nobody follows */
	unsigned int http_version;               /* 10, 11, 20 */
	int64_t duration_usecs;
};

/* Exactly one call, never before start() has returned, none after cancel(). Either reply or error is set:
 * error->status is MAUTH_TEMPORARY (no connection, TLS broken off), MAUTH_TIMEOUT, MAUTH_CONFIG (certificate not
 * trusted, bad URL or proxy; error->advice says what to mend) or MAUTH_PROTOCOL (too large, not HTTP). */
typedef void mauth_http_fn(const struct mauth_http_reply *reply, const struct mauth_error *error, void *context);

struct mauth_http_vfuncs {
	struct mauth_http_call *(*start)(void *http, const struct mauth_http_request *request,
					 mauth_http_fn *done, void *context);
	/* *call becomes NULL. */
	void (*cancel)(void *http, struct mauth_http_call **call);
};

struct mauth_http {
	const struct mauth_http_vfuncs *v;
	void *context;
};

static inline struct mauth_http_call *
mauth_http_start(const struct mauth_http *http, const struct mauth_http_request *request, mauth_http_fn *done,
		 void *context)
{
	return http->v->start(http->context, request, done, context);
}

static inline void mauth_http_cancel(const struct mauth_http *http, struct mauth_http_call **call)
{
	if (*call != NULL)
		http->v->cancel(http->context, call);
	*call = NULL;
}

#endif
