/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_COMPAT_H
#define MAUTH_COMPAT_H
/* Every difference between the Dovecot releases that the plugins meet, by capability: meson.build asks the
 * installed headers, since distributions patch them without changing a version. Macros only: auth and login
 * plugins share this file but not their headers. */

#include "compat/mauth-compat.h"

/* --- auth: struct auth_request ------------------------------------------------------------------------------- */

/* The protocol that the client speaks: "imap", "pop3", ... */
#if MAUTH_HAVE_AUTH_FIELDS_PROTOCOL
#  define MAUTH_REQUEST_PROTOCOL(request) ((request)->fields.protocol)
#else
#  define MAUTH_REQUEST_PROTOCOL(request) ((request)->fields.service)
#endif

/* Real TLS on the client's connection. "secured" alone is also said of localhost and trusted networks. */
#if MAUTH_HAVE_AUTH_FIELDS_CONN_SECURED
#  define MAUTH_REQUEST_IS_TLS(request) ((request)->fields.conn_secured == AUTH_REQUEST_CONN_SECURED_TLS)
#  define MAUTH_REQUEST_IS_SECURED(request) ((request)->fields.conn_secured != AUTH_REQUEST_CONN_SECURED_NONE)
#else
#  define MAUTH_REQUEST_IS_TLS(request) ((request)->fields.secured == AUTH_REQUEST_SECURED_TLS)
#  define MAUTH_REQUEST_IS_SECURED(request) ((request)->fields.secured != AUTH_REQUEST_SECURED_NONE)
#endif

/* The descriptor of the auth client's connection, and what waits to be read there. Needs auth-request-handler-private.h. */
#if MAUTH_HAVE_AUTH_CLIENT_CONN
#  define MAUTH_REQUEST_CLIENT_FD(request) ((request)->handler->conn->conn.fd_in)
#  define MAUTH_REQUEST_CLIENT_OUTPUT(request) ((request)->handler->conn->conn.output)
#else
#  define MAUTH_REQUEST_CLIENT_FD(request) ((request)->handler->conn->fd)
#  define MAUTH_REQUEST_CLIENT_OUTPUT(request) ((request)->handler->conn->output)
#endif

/* A passdb block's own filters: patterns of users, names of mechanisms; NULL is all. */
#if MAUTH_HAVE_AUTH_PASSDB_FILTERS
#  define MAUTH_PASSDB_USERNAME_FILTER(block) ((block)->username_filter)
#else
#  define MAUTH_PASSDB_USERNAME_FILTER(block) ((block)->passdb->username_filter)
#endif
#if MAUTH_HAVE_AUTH_PASSDB_MECHANISMS_FILTER
#  define MAUTH_PASSDB_MECHANISMS(block) ((block)->mechanisms_filter)
#elif MAUTH_HAVE_AUTH_PASSDB_FILTERS
#  define MAUTH_PASSDB_MECHANISMS(block) ((block)->mechanisms)
#else
#  define MAUTH_PASSDB_MECHANISMS(block) ((block)->passdb->mechanisms)
#endif

/* --- login: the proxy ---------------------------------------------------------------------------------------- */

#if MAUTH_HAVE_LOGIN_PROXY_SERVER_OSTREAM
#  define mauth_proxy_ostream login_proxy_get_server_ostream
#  define mauth_proxy_istream login_proxy_get_server_istream
#else
#  define mauth_proxy_ostream login_proxy_get_ostream
#  define mauth_proxy_istream login_proxy_get_istream
#endif

#if MAUTH_HAVE_AUTH_PROXY_SSL_FLAGS
#  define MAUTH_PROXY_STARTTLS AUTH_PROXY_SSL_FLAG_STARTTLS
#else
#  define MAUTH_PROXY_STARTTLS PROXY_SSL_FLAG_STARTTLS
#endif

/* "The upstream refused the login, and the client has been told." The distributions' security updates split the
 * upstream releases' one type in three. */
#if MAUTH_HAVE_PROXY_FAILURE_AUTH_REPLIED
#  define MAUTH_PROXY_FAILURE_REPLIED LOGIN_PROXY_FAILURE_TYPE_AUTH_REPLIED
#else
#  define MAUTH_PROXY_FAILURE_REPLIED LOGIN_PROXY_FAILURE_TYPE_AUTH
#endif
/* Further types that mean "refused", as case labels. */
#if MAUTH_HAVE_PROXY_FAILURE_AUTH_REPLIED
#  define MAUTH_CASE_PROXY_FAILURE_NOT_REPLIED case LOGIN_PROXY_FAILURE_TYPE_AUTH_NOT_REPLIED:
#else
#  define MAUTH_CASE_PROXY_FAILURE_NOT_REPLIED
#endif
#if MAUTH_HAVE_PROXY_FAILURE_LIMIT_REACHED
#  define MAUTH_CASE_PROXY_FAILURE_LIMIT case LOGIN_PROXY_FAILURE_TYPE_AUTH_LIMIT_REACHED_REPLIED:
#else
#  define MAUTH_CASE_PROXY_FAILURE_LIMIT
#endif
#if MAUTH_HAVE_PROXY_FAILURE_REDIRECT
#  define MAUTH_CASE_PROXY_FAILURE_REDIRECT case LOGIN_PROXY_FAILURE_TYPE_AUTH_REDIRECT:
#else
#  define MAUTH_CASE_PROXY_FAILURE_REDIRECT
#endif

#if MAUTH_HAVE_DSASL_RESULT
#  define MAUTH_DSASL_OK DSASL_CLIENT_RESULT_OK
#  define MAUTH_DSASL_SET_EVENT(set, event) ((set)->event_parent = (event))
#else
#  define MAUTH_DSASL_OK 0
#  define MAUTH_DSASL_SET_EVENT(set, event)
#endif

#endif
