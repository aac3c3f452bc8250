/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_HTTP_CURL_H
#define MAUTH_HTTP_CURL_H
/* mauth_http on libcurl's multi interface: HTTP/2 where offered, connections kept and shared, HTTPS only. */

#include "modernauth/http.h"
#include "modernauth/log.h"
#include "modernauth/loop.h"

struct mauth_http_curl;

struct mauth_http_curl_settings {
	const char *user_agent;
	unsigned int max_connections;    /* to one host; 0: 100 */
	unsigned int connect_msecs;      /* until a connection, TLS included, is given up; 0: 5,000 */
};
/* Creates curl's multi handle at the first request (curl may start threads; privileges are dropped by then). */
struct mauth_http_curl *mauth_http_curl_new(const struct mauth_http_curl_settings *settings,
					    const struct mauth_loop *loop, const struct mauth_log *log);
/* No call may be open, nor a callback be running. */
void mauth_http_curl_free(struct mauth_http_curl **http);
const struct mauth_http *mauth_http_curl_http(struct mauth_http_curl *http);

#endif
