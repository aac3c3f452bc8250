/* SPDX-License-Identifier: MIT */
#ifndef FAKE_HTTP_H
#define FAKE_HTTP_H
/* A scripted HTTP client: calls wait until the test answers them. */

#include "fake_loop.h"
#include "modernauth/http.h"

struct fake_http;
struct fake_http *fake_http_new(struct fake_loop *loop);
void fake_http_free(struct fake_http **http);
const struct mauth_http *fake_http_http(struct fake_http *http);

unsigned int fake_http_started(const struct fake_http *http);   /* ever */
unsigned int fake_http_open(const struct fake_http *http);      /* waiting for an answer */
/* Of the oldest open call; these fail the test if there is none. */
const char *fake_http_url(const struct fake_http *http);
const char *fake_http_form(const struct fake_http *http);       /* "" for GET */
const char *fake_http_header(const struct fake_http *http, const char *name);   /* "" if absent */
const char *fake_http_bearer(const struct fake_http *http);     /* "" if absent */
void fake_http_reply(struct fake_http *http, unsigned int status, const char *body, const char *retry_after);
void fake_http_fail(struct fake_http *http, enum mauth_status status);
/* A token reply for upn (a JWT-shaped token that names it), good for expires_in seconds. */
void fake_http_token(struct fake_http *http, const char *upn, unsigned int expires_in);
/* The same for an account with this object id, with a refresh token unless that is NULL. */
void fake_http_refreshed(struct fake_http *http, const char *upn, const char *oid, const char *refresh_token,
			 unsigned int expires_in);
/* The endpoint's reply to who wants a device code: "DEVICE-NUMBER", to be typed as "USER-NUMBER" within 900 s, and
 * asked for every 5 s. */
void fake_http_device_code(struct fake_http *http, unsigned int number);
/* Entra's error reply with this code. */
void fake_http_aadsts(struct fake_http *http, unsigned int status, const char *error, int code);

#endif
