/* SPDX-License-Identifier: MIT */
#include "fake_http.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <openssl/evp.h>

struct mauth_http_call {
	struct mauth_http_call *next;
	char *url, *form, *headers, *bearer;
	mauth_http_fn *done;
	void *context;
};

struct fake_http {
	struct mauth_http http;
	struct fake_loop *loop;
	struct mauth_http_call *calls;   /* oldest first */
	unsigned int started, tokens;
};

static struct mauth_http_call *
fake_start(void *context, const struct mauth_http_request *request, mauth_http_fn *done, void *done_context)
{
	struct fake_http *http = context;
	struct mauth_http_call *call = calloc(1, sizeof(*call)), **p;
	size_t size = 1;

	call->url = strdup(request->url);
	call->form = strdup(request->form == NULL ? "" : mauth_secret_expose(request->form));
	for (size_t i = 0; i < request->headers_count; i++)
		size += strlen(request->headers[i].name) + strlen(request->headers[i].value) + 3;
	call->headers = calloc(1, size);
	for (size_t i = 0; i < request->headers_count; i++)
		sprintf(call->headers + strlen(call->headers), "%s: %s\n", request->headers[i].name,
			request->headers[i].value);
	call->bearer = strdup(request->bearer == NULL ? "" : mauth_secret_expose(request->bearer));
	call->done = done;
	call->context = done_context;
	for (p = &http->calls; *p != NULL; p = &(*p)->next)
		;
	*p = call;
	http->started++;
	return call;
}

static void free_call(struct mauth_http_call *call)
{
	free(call->url);
	free(call->form);
	free(call->headers);
	free(call->bearer);
	free(call);
}

static void fake_cancel(void *context, struct mauth_http_call **call)
{
	struct fake_http *http = context;
	struct mauth_http_call **p;

	for (p = &http->calls; *p != NULL && *p != *call; p = &(*p)->next)
		;
	assert_non_null(*p);
	*p = (*call)->next;
	free_call(*call);
	*call = NULL;
}

static const struct mauth_http_vfuncs fake_vfuncs = { fake_start, fake_cancel };

struct fake_http *fake_http_new(struct fake_loop *loop)
{
	struct fake_http *http = calloc(1, sizeof(*http));

	http->http = (struct mauth_http){ &fake_vfuncs, http };
	http->loop = loop;
	return http;
}

void fake_http_free(struct fake_http **http)
{
	assert_null((*http)->calls);
	free(*http);
	*http = NULL;
}

const struct mauth_http *fake_http_http(struct fake_http *http)
{
	return &http->http;
}

unsigned int fake_http_started(const struct fake_http *http)
{
	return http->started;
}

unsigned int fake_http_open(const struct fake_http *http)
{
	unsigned int count = 0;

	for (const struct mauth_http_call *c = http->calls; c != NULL; c = c->next)
		count++;
	return count;
}

static const struct mauth_http_call *oldest(const struct fake_http *http)
{
	assert_non_null(http->calls);
	return http->calls;
}

const char *fake_http_url(const struct fake_http *http)
{
	return oldest(http)->url;
}

const char *fake_http_form(const struct fake_http *http)
{
	return oldest(http)->form;
}

const char *fake_http_bearer(const struct fake_http *http)
{
	return oldest(http)->bearer;
}

const char *fake_http_header(const struct fake_http *http, const char *name)
{
	static char value[512];
	char needle[128];
	const char *at;

	snprintf(needle, sizeof(needle), "%s: ", name);
	at = strstr(oldest(http)->headers, needle);
	if (at == NULL)
		return "";
	snprintf(value, sizeof(value), "%.*s", (int)strcspn(at + strlen(needle), "\n"), at + strlen(needle));
	return value;
}

static void finish(struct fake_http *http, const struct mauth_http_reply *reply, const struct mauth_error *error)
{
	struct mauth_http_call *call = http->calls;

	assert_non_null(call);
	http->calls = call->next;
	call->done(reply, error, call->context);
	free_call(call);
}

void fake_http_reply(struct fake_http *http, unsigned int status, const char *body, const char *retry_after)
{
	struct mauth_http_reply reply = {
		.status = status, .body = body, .body_size = strlen(body),
		.retry_after = retry_after == NULL ? "" : retry_after,
		.date = "", .request_id = "", .content_type = "application/json", .location = "", .http_version = 20,
	};

	finish(http, &reply, NULL);
}

void fake_http_fail(struct fake_http *http, enum mauth_status status)
{
	struct mauth_error error;

	mauth_fail(&error, status, 7, "scripted failure");
	finish(http, NULL, &error);
}

/* base64url of a payload, so that the token reads as a JWT */
static void fake_jwt(char *dest, size_t size, const char *upn, const char *oid, unsigned int serial)
{
	char payload[512], encoded[1024], *p;

	snprintf(payload, sizeof(payload), "{\"upn\":\"%s\",\"oid\":\"%s\",\"tid\":\"tid-1\",\"jti\":\"%u\"}", upn, oid,
		 serial);
	EVP_EncodeBlock((unsigned char *)encoded, (const unsigned char *)payload, (int)strlen(payload));
	for (p = encoded; *p != '\0'; p++) {
		if (*p == '+')
			*p = '-';
		else if (*p == '/')
			*p = '_';
		else if (*p == '=')
			*p = '\0';
		if (*p == '\0')
			break;
	}
	snprintf(dest, size, "eyJhbGciOiJub25lIn0.%s.c2ln", encoded);
}

void fake_http_token(struct fake_http *http, const char *upn, unsigned int expires_in)
{
	fake_http_refreshed(http, upn, "oid-1", NULL, expires_in);
}

void fake_http_refreshed(struct fake_http *http, const char *upn, const char *oid, const char *refresh_token,
			 unsigned int expires_in)
{
	char token[1200], body[2000];

	fake_jwt(token, sizeof(token), upn, oid, ++http->tokens);
	snprintf(body, sizeof(body), "{\"token_type\":\"Bearer\",\"expires_in\":%u,\"access_token\":\"%s\"%s%s%s}",
		 expires_in, token, refresh_token != NULL ? ",\"refresh_token\":\"" : "",
		 refresh_token != NULL ? refresh_token : "", refresh_token != NULL ? "\"" : "");
	fake_http_reply(http, 200, body, NULL);
}

void fake_http_device_code(struct fake_http *http, unsigned int number)
{
	char body[512];

	snprintf(body, sizeof(body),
		 "{\"device_code\":\"DEVICE-%u\",\"user_code\":\"USER-%u\","
		 "\"verification_uri\":\"https://microsoft.com/devicelogin\",\"expires_in\":900,\"interval\":5}",
		 number, number);
	fake_http_reply(http, 200, body, NULL);
}

void fake_http_aadsts(struct fake_http *http, unsigned int status, const char *error, int code)
{
	char body[512];

	snprintf(body, sizeof(body),
		 "{\"error\":\"%s\",\"error_description\":\"AADSTS%d: scripted. Trace ID: t Correlation ID: c\","
		 "\"error_codes\":[%d],\"trace_id\":\"trace-1\",\"correlation_id\":\"corr-1\"}", error, code, code);
	fake_http_reply(http, status, body, NULL);
}
