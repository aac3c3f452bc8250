/* SPDX-License-Identifier: MIT */
#include "net/http-curl-private.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

/* Octets; curl's defaults are 64 and 16 KiB, its least for the first is 16. */
#define UPLOAD_BUFFER 16384L
#define RECEIVE_BUFFER 8192L

static size_t on_body(char *data, size_t size, size_t count, void *context)
{
	struct mauth_http_call *call = context;
	size_t octets = size * count;

	if (octets > MAUTH_REPLY_MAX - call->body.size) {
		call->body_too_large = true;
		return CURL_WRITEFUNC_ERROR;
	}
	mauth_buf_append(&call->body, data, octets);
	return octets;
}

/* A value that does not fit is left out: half a date or half a number would be worse than none. */
static void keep_header(char *dest, size_t dest_size, const char *value, size_t size)
{
	while (size > 0 && (*value == ' ' || *value == '\t')) {
		value++;
		size--;
	}
	while (size > 0 && (value[size - 1] == '\r' || value[size - 1] == '\n' || value[size - 1] == ' '))
		size--;
	if (size < dest_size)
		mauth_clean_copy(dest, dest_size, value, size);
}

static size_t on_header(char *data, size_t size, size_t count, void *context)
{
	struct mauth_http_call *call = context;
	const struct {
		const char *name;
		char *dest;
		size_t dest_size;
	} wanted[] = {
		{ "Retry-After:", call->retry_after, HEADER_SIZE },
		{ "Date:", call->date, HEADER_SIZE },
		{ "x-ms-request-id:", call->request_id, HEADER_SIZE },
		{ "Content-Type:", call->content_type, HEADER_SIZE },
		{ "Location:", call->location, LOCATION_SIZE },
	};
	size_t octets = size * count;

	if (octets > HEADERS_MAX - call->headers_size) {
		call->headers_too_large = true;
		return CURL_WRITEFUNC_ERROR;
	}
	call->headers_size += octets;
	/* A status line begins a new set: what a 1xx reply said is not part of the answer. */
	if (octets > 5 && memcmp(data, "HTTP/", 5) == 0)
		for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
			wanted[i].dest[0] = '\0';
	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		size_t name = strlen(wanted[i].name);

		if (octets > name && strncasecmp(data, wanted[i].name, name) == 0)
			keep_header(wanted[i].dest, wanted[i].dest_size, data + name, octets - name);
	}
	return octets;
}

static bool speaks_http2(CURL *easy)
{
	const struct curl_tlssessioninfo *tls = NULL;
	const unsigned char *alpn = NULL;
	unsigned int size = 0;

	if (curl_easy_getinfo(easy, CURLINFO_TLS_SSL_PTR, &tls) != CURLE_OK || tls == NULL ||
	    tls->backend != CURLSSLBACKEND_OPENSSL || tls->internals == NULL)
		return false;
	SSL_get0_alpn_selected(tls->internals, &alpn, &size);
	return size == 2 && memcmp(alpn, "h2", 2) == 0;
}

/* A connection is about to be given the request. curl comes here again when the connection was a shared one and ended
 * before an octet of the reply; by itself it would send the request up to six times. A wrong password that is sent
 * twice counts twice against the account, so that is fine only if the server cannot have acted on the request: if it
 * refused the HTTP/2 stream (REFUSED_STREAM, or a GOAWAY that does not cover it). curl names no reason, but everything
 * else that breaks an HTTP/2 connection leaves a text. */
static int on_ready(void *context, char *remote_ip, char *local_ip, int remote_port, int local_port)
{
	struct mauth_http_call *call = context;
	bool text = call->curl_text[0] != '\0';

	if (call->attempts++ == 0) {
		call->multiplexed = speaks_http2(call->easy);
		call->retry_known = call->multiplexed && !text;
		return CURL_PREREQFUNC_OK;
	}
	if (call->attempts <= TRIES_MAX && call->retry_known && !text)
		return CURL_PREREQFUNC_OK;
	call->given_up = true;
	return CURL_PREREQFUNC_ABORT;
}

/* Without it a connection whose network has silently gone takes requests until the kernel gives up, 15 minutes
 * later. */
static int on_socket_made(void *context, curl_socket_t fd, curlsocktype purpose)
{
	unsigned int msecs = UNACKED_MSECS;

	(void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &msecs, sizeof(msecs));
	return CURL_SOCKOPT_OK;
}

static CURLcode on_tls_context(CURL *easy, void *ssl_ctx, void *context)
{
	/* OpenSSL decrypts in place and would leave tokens in its buffers. */
	SSL_CTX_set_options(ssl_ctx, SSL_OP_CLEANSE_PLAINTEXT);
	return CURLE_OK;
}

static enum mauth_status config_error(struct mauth_error *error_r, const char *text, const char *advice)
{
	enum mauth_status status = mauth_fail(error_r, MAUTH_CONFIG, 0, "%s", text);

	(void)snprintf(error_r->advice, sizeof(error_r->advice), "%s", advice);
	return status;
}

/* "host:port" of url if it is one that may be used. credentials: "user:password@" may be in it. */
static bool url_name(const char *url, const char *const *schemes, bool credentials, char name_r[static NAME_SIZE])
{
	CURLU *parts = curl_url();
	char *scheme = NULL, *host = NULL, *port = NULL, *user = NULL;
	bool good = false;

	if (parts != NULL && curl_url_set(parts, CURLUPART_URL, url, 0) == CURLUE_OK &&
	    curl_url_get(parts, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
	    curl_url_get(parts, CURLUPART_HOST, &host, 0) == CURLUE_OK && strlen(host) < NAME_SIZE - 8 &&
	    curl_url_get(parts, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK &&
	    (credentials || curl_url_get(parts, CURLUPART_USER, &user, 0) == CURLUE_NO_USER)) {
		for (; *schemes != NULL; schemes++)
			good = good || strcmp(*schemes, scheme) == 0;
		(void)snprintf(name_r, NAME_SIZE, "%s:%s", host, port);
	}
	curl_free(scheme);
	curl_free(host);
	curl_free(port);
	curl_free(user);
	curl_url_cleanup(parts);
	return good;
}

static enum mauth_status set_proxy(struct mauth_http_call *call, const char *proxy, struct mauth_error *error_r)
{
	static const char *const schemes[] = { "http", "https", NULL };
	struct mauth_buf url = { 0 };
	bool from_environment = proxy == NULL, good;

	if (proxy == NULL)
		proxy = getenv("https_proxy");
	if (proxy == NULL)
		proxy = getenv("HTTPS_PROXY");
	if (proxy == NULL || *proxy == '\0') {
		(void)curl_easy_setopt(call->easy, CURLOPT_PROXY, "");
		return MAUTH_OK;
	}
	/* The environment variable customarily comes without a scheme; the text may hold a password. */
	mauth_buf_puts(&url, strstr(proxy, "://") == NULL ? "http://" : "");
	mauth_buf_puts(&url, proxy);
	good = url_name(url.data, schemes, true, call->proxy);
	if (good) {
		(void)curl_easy_setopt(call->easy, CURLOPT_PROXY, url.data);
		(void)curl_easy_setopt(call->easy, CURLOPT_PROXYAUTH, (long)CURLAUTH_BASIC);
		(void)curl_easy_setopt(call->easy, CURLOPT_HTTPPROXYTUNNEL, 1L);
		(void)curl_easy_setopt(call->easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
		(void)curl_easy_setopt(call->easy, CURLOPT_PROXY_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
		if (!from_environment)
			(void)curl_easy_setopt(call->easy, CURLOPT_NOPROXY, "");
	}
	mauth_buf_free(&url);
	if (good)
		return MAUTH_OK;
	call->proxy[0] = '\0';
	return config_error(error_r,
			    from_environment ? "the environment's https_proxy is not the URL of an HTTP proxy"
					     : "the proxy setting is not the URL of an HTTP proxy",
			    "write it as http://host:port or https://host:port");
}

static bool header_ok(const char *text)
{
	return strpbrk(text, "\r\n") == NULL;
}

static enum mauth_status set_headers(struct mauth_http_call *call, const struct mauth_http_request *request,
				     struct mauth_error *error_r)
{
	/* curl must not ask before it sends a form; nor is there anything to accept but JSON. */
	call->headers = curl_slist_append(call->headers, "Accept: application/json");
	call->headers = curl_slist_append(call->headers, "Expect:");
	for (size_t i = 0; i < request->headers_count; i++) {
		const struct mauth_http_header *header = &request->headers[i];
		char *line;

		if (!header_ok(header->name) || !header_ok(header->value))
			return config_error(error_r, "a request header would have a line break in it", "");
		line = mauth_printf("%s: %s", header->name, header->value);
		call->headers = curl_slist_append(call->headers, line);
		free(line);
	}
	if (request->bearer != NULL) {
		char *line;

		if (!header_ok(mauth_secret_expose(request->bearer)))
			return config_error(error_r, "a bearer token would have a line break in it", "");
		line = mauth_printf("Authorization: Bearer %s", mauth_secret_expose(request->bearer));
		call->headers = curl_slist_append(call->headers, line);
		mauth_wipe(line, strlen(line));
		free(line);
	}
	(void)curl_easy_setopt(call->easy, CURLOPT_HTTPHEADER, call->headers);
	return MAUTH_OK;
}

void mauth_http_call_set_tls(struct mauth_http_call *call, const char *ca_file)
{
	CURL *easy = call->easy;

	(void)curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	(void)curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
	(void)curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
	(void)curl_easy_setopt(easy, CURLOPT_SSL_CTX_FUNCTION, on_tls_context);
	call->ca_file = mauth_strdup(ca_file);
	/* Reading the system's bundle takes some 30 ms, in which nothing else happens. curl keeps what it has read if
	   it comes from a file alone, and takes connections for alike only if they have the same file. */
	if (ca_file == NULL)
		ca_file = curl_version_info(CURLVERSION_NOW)->cainfo;
	if (ca_file == NULL)
		return;
	(void)curl_easy_setopt(easy, CURLOPT_CAINFO, ca_file);
	(void)curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
#if LIBCURL_VERSION_NUM >= 0x075700
	(void)curl_easy_setopt(easy, CURLOPT_CA_CACHE_TIMEOUT, (long)TRUST_SECS);
#endif
}

void mauth_http_call_set_socket(struct mauth_http_call *call)
{
	CURL *easy = call->easy;

	(void)curl_easy_setopt(easy, CURLOPT_SHARE, call->http->share);
	(void)curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	(void)curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)call->http->connect_msecs);
	(void)curl_easy_setopt(easy, CURLOPT_SOCKOPTFUNCTION, on_socket_made);
	(void)curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, mauth_http_socket_open);
	(void)curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, call->http);
}

static void set_connection(struct mauth_http_call *call)
{
	CURL *easy = call->easy;

	mauth_http_call_set_socket(call);
	(void)curl_easy_setopt(easy, CURLOPT_MAXAGE_CONN, (long)IDLE_SECS);
	(void)curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
	(void)curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, 30L);
	(void)curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, 10L);
	(void)curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
	/* Rather wait for the connection that is being made, it will most likely take us along. */
	(void)curl_easy_setopt(easy, CURLOPT_PIPEWAIT, 1L);
	(void)curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, on_ready);
	(void)curl_easy_setopt(easy, CURLOPT_PREREQDATA, call);
	/* Each request has both, and they are wiped as they are, used or not. Forms and replies are some 2 to 5 KB; a longer one
	   only takes another turn. */
	(void)curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, UPLOAD_BUFFER);
	(void)curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, RECEIVE_BUFFER);
}

static void set_transfer(struct mauth_http_call *call, const struct mauth_http_request *request)
{
	CURL *easy = call->easy;

	(void)curl_easy_setopt(easy, CURLOPT_PRIVATE, call);
	(void)curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, call->curl_text);
	(void)curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
	(void)curl_easy_setopt(easy, CURLOPT_WRITEDATA, call);
	(void)curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
	(void)curl_easy_setopt(easy, CURLOPT_HEADERDATA, call);
	(void)curl_easy_setopt(easy, CURLOPT_MAXFILESIZE, (long)MAUTH_REPLY_MAX);
	(void)curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
#if LIBCURL_VERSION_NUM >= 0x075500
	(void)curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "https");
#else
	(void)curl_easy_setopt(easy, CURLOPT_PROTOCOLS, (long)CURLPROTO_HTTPS);
#endif
	(void)curl_easy_setopt(easy, CURLOPT_URL, request->url);
	if (call->http->user_agent != NULL)
		(void)curl_easy_setopt(easy, CURLOPT_USERAGENT, call->http->user_agent);
	if (call->form == NULL)
		return;
	(void)curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)mauth_secret_size(call->form));
	(void)curl_easy_setopt(easy, CURLOPT_POSTFIELDS, mauth_secret_expose(call->form));
}

enum mauth_status mauth_http_call_setup(struct mauth_http_call *call, const struct mauth_http_request *request,
					struct mauth_error *error_r)
{
	static const char *const schemes[] = { "https", NULL };
	enum mauth_status status;

	if (!mauth_http_curl_global_init() || (call->easy = curl_easy_init()) == NULL)
		return mauth_fail(error_r, MAUTH_TEMPORARY, 0, "libcurl cannot be initialised");
	if (!url_name(request->url, schemes, false, call->peer)) {
		(void)snprintf(call->peer, sizeof(call->peer), "%s", "the server");
		return config_error(error_r, "the URL of the request is not an https:// URL",
				    "the authority of a tenant must begin with https:// and hold no user name");
	}
	if (request->form != NULL)
		call->form = mauth_secret_dup(request->form);
	set_transfer(call, request);
	set_connection(call);
	mauth_http_call_set_tls(call, request->ca_file);
	status = set_headers(call, request, error_r);
	if (status != MAUTH_OK)
		return status;
	return set_proxy(call, request->proxy, error_r);
}
