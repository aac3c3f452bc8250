/* SPDX-License-Identifier: MIT */
#include "net/http-curl-private.h"

#include <stdio.h>
#include <string.h>

/* What is added to a row's text. curl's own words only where they are about certificates and hold no URL: the text for
   a bad proxy, for one, repeats the proxy's password. */
enum detail { DETAIL_NONE, DETAIL_ERRNO, DETAIL_CURL };

static const struct error_row {
	CURLcode code;
	enum mauth_status status;
	enum detail detail;
	const char *text, *advice;
} error_rows[] = {
	{ CURLE_COULDNT_RESOLVE_HOST, MAUTH_TEMPORARY, DETAIL_NONE, "the name cannot be resolved",
	  "check the host name and this machine's DNS (getent hosts NAME)" },
	{ CURLE_COULDNT_RESOLVE_PROXY, MAUTH_TEMPORARY, DETAIL_NONE, "the proxy's name cannot be resolved",
	  "check the proxy setting or https_proxy, and this machine's DNS" },
	{ CURLE_COULDNT_CONNECT, MAUTH_TEMPORARY, DETAIL_ERRNO, "no connection",
	  "check that this machine may connect there (firewall, proxy)" },
	{ CURLE_OPERATION_TIMEDOUT, MAUTH_TEMPORARY, DETAIL_NONE, "no connection within 5 s",
	  "check that this machine may connect there (firewall, proxy)" },
	{ CURLE_SSL_CONNECT_ERROR, MAUTH_TEMPORARY, DETAIL_CURL, "the TLS handshake failed",
	  "the server must offer TLS 1.2 or later; a proxy that inspects TLS may be in between" },
	{ CURLE_SSL_CIPHER, MAUTH_CONFIG, DETAIL_CURL, "no common TLS cipher", "" },
	{ CURLE_PEER_FAILED_VERIFICATION, MAUTH_CONFIG, DETAIL_CURL, "its certificate is not trusted", NULL },
	{ CURLE_SSL_ISSUER_ERROR, MAUTH_CONFIG, DETAIL_CURL, "its certificate is not trusted", NULL },
	{ CURLE_SSL_INVALIDCERTSTATUS, MAUTH_CONFIG, DETAIL_CURL, "its certificate is not trusted", NULL },
	{ CURLE_SSL_CACERT_BADFILE, MAUTH_CONFIG, DETAIL_CURL, "the trust anchors cannot be read", NULL },
	{ CURLE_SSL_CERTPROBLEM, MAUTH_CONFIG, DETAIL_CURL, "TLS cannot be set up", "" },
	{ CURLE_SSL_ENGINE_INITFAILED, MAUTH_CONFIG, DETAIL_CURL, "TLS cannot be set up", "" },
	{ CURLE_URL_MALFORMAT, MAUTH_CONFIG, DETAIL_NONE, "the URL of the request is malformed",
	  "check the authority and tenant_id of the tenant" },
	{ CURLE_UNSUPPORTED_PROTOCOL, MAUTH_PROTOCOL, DETAIL_NONE, "what came back is not HTTP", "" },
	{ CURLE_WEIRD_SERVER_REPLY, MAUTH_PROTOCOL, DETAIL_NONE, "what came back is not HTTP", "" },
	{ CURLE_BAD_CONTENT_ENCODING, MAUTH_PROTOCOL, DETAIL_NONE, "the reply cannot be decoded", "" },
	{ CURLE_HTTP2, MAUTH_TEMPORARY, DETAIL_NONE, "the HTTP/2 connection broke before an answer", "" },
	{ CURLE_HTTP2_STREAM, MAUTH_TEMPORARY, DETAIL_NONE, "the server gave the request up", "" },
	{ CURLE_PARTIAL_FILE, MAUTH_TEMPORARY, DETAIL_NONE, "the connection ended before the reply was complete", "" },
	{ CURLE_GOT_NOTHING, MAUTH_TEMPORARY, DETAIL_NONE, "the connection ended without a reply", "" },
	{ CURLE_SEND_ERROR, MAUTH_TEMPORARY, DETAIL_NONE, "the connection broke while sending", "" },
	{ CURLE_RECV_ERROR, MAUTH_TEMPORARY, DETAIL_NONE, "the connection broke before an answer", "" },
	{ CURLE_PROXY, MAUTH_TEMPORARY, DETAIL_NONE, "the proxy does not answer as one", "check the proxy setting" },
};

static const struct error_row *find_row(CURLcode code)
{
	for (size_t i = 0; i < sizeof(error_rows) / sizeof(error_rows[0]); i++)
		if (error_rows[i].code == code)
			return &error_rows[i];
	return NULL;
}

static void advise_trust(const struct mauth_http_call *call, struct mauth_error *error)
{
	if (call->ca_file != NULL)
		(void)snprintf(error->advice, sizeof(error->advice),
			       "check that ca_file \"%s\" can be read and holds the CA that signed the certificate "
			       "of %s", call->ca_file, call->peer);
	else
		(void)snprintf(error->advice, sizeof(error->advice),
			       "install or update the system's CA certificates (ca-certificates), or set ca_file of "
			       "the tenant to the CA that signed the certificate of %s, a TLS-inspecting proxy's for one",
			       call->peer);
}

static void proxy_refused(const struct mauth_http_call *call, long code, struct mauth_error *error_r)
{
	/* 407 and 403 stay until somebody mends the set-up. */
	enum mauth_status status = code == 407 || code == 403 ? MAUTH_CONFIG : MAUTH_TEMPORARY;

	(void)mauth_fail(error_r, status, (int)code, "proxy %s answered %ld instead of connecting to %s", call->proxy,
			 code, call->peer);
	(void)snprintf(error_r->advice, sizeof(error_r->advice), "%s",
		       code == 407 ? "the proxy wants a user name and password: http://user:password@host:port"
				   : "allow CONNECT to this host and port on the proxy");
}

static void row_error(const struct mauth_http_call *call, const struct error_row *row, struct mauth_error *error_r)
{
	bool proxied = call->proxy[0] != '\0';
	const char *detail = "";
	long os_errno = 0;

	(void)curl_easy_getinfo(call->easy, CURLINFO_OS_ERRNO, &os_errno);
	if (row->detail == DETAIL_CURL)
		detail = call->curl_text;
	else if (row->detail == DETAIL_ERRNO && os_errno != 0)
		detail = strerror((int)os_errno);
	(void)mauth_fail(error_r, row->status, row->detail == DETAIL_ERRNO ? (int)os_errno : 0, "%s%s%s: %s%s%s",
			 call->peer, proxied ? " through proxy " : "", call->proxy, row->text,
			 *detail == '\0' ? "" : ": ", detail);
	if (row->advice == NULL)
		advise_trust(call, error_r);
	else
		(void)snprintf(error_r->advice, sizeof(error_r->advice), "%s", row->advice);
}

void mauth_http_call_error(struct mauth_http_call *call, CURLcode code, struct mauth_error *error_r)
{
	const struct error_row *row = find_row(code);
	long connect_code = 0;

	(void)curl_easy_getinfo(call->easy, CURLINFO_HTTP_CONNECTCODE, &connect_code);
	error_r->advice[0] = '\0';
	if (call->body_too_large || code == CURLE_FILESIZE_EXCEEDED)
		(void)mauth_fail(error_r, MAUTH_PROTOCOL, 0, "%s sent more than %u octets", call->peer,
				 MAUTH_REPLY_MAX);
	else if (call->headers_too_large)
		(void)mauth_fail(error_r, MAUTH_PROTOCOL, 0, "%s sent more than %u octets of headers", call->peer,
				 HEADERS_MAX);
	else if (call->given_up)
		(void)mauth_fail(error_r, MAUTH_TEMPORARY, 0,
				 "%s: the connection ended before an answer; the request was not sent again, the server "
				 "may have seen it",
				 call->peer);
	else if (connect_code >= 300 && call->attempts == 0)
		proxy_refused(call, connect_code, error_r);
	else if (row != NULL)
		row_error(call, row, error_r);
	else
		(void)mauth_fail(error_r, MAUTH_TEMPORARY, (int)code, "%s: %s", call->peer, curl_easy_strerror(code));
}

void mauth_http_call_timeout_error(const struct mauth_http_call *call, struct mauth_error *error_r)
{
	bool proxied = call->proxy[0] != '\0';

	(void)mauth_fail(error_r, MAUTH_TIMEOUT, 0, "%s%s%s: no %s within %u.%u s", call->peer,
			 proxied ? " through proxy " : "", call->proxy,
			 call->attempts > 0 ? "answer" : "free connection", call->timeout_msecs / 1000,
			 call->timeout_msecs % 1000 / 100);
	error_r->advice[0] = '\0';
}
