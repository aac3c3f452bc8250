/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_PROBE_CURL_H
#define MAUTH_PROBE_CURL_H
/* mauth_prober on the connections of a mauth_http_curl of its own: one whose HTTP calls are those of logins must not be
 * lent, a probe's connections would count among theirs. */

#include "modernauth/probe.h"
#include "net/http-curl.h"

struct mauth_prober_curl;

struct mauth_prober_curl *mauth_prober_curl_new(struct mauth_http_curl *http, const struct mauth_loop *loop);
/* No probe may be open, nor a callback be running. Before http is freed. */
void mauth_prober_curl_free(struct mauth_prober_curl **prober);
const struct mauth_prober *mauth_prober_curl_prober(struct mauth_prober_curl *prober);

#endif
