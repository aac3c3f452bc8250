/* SPDX-License-Identifier: MIT */
#ifndef MODERNAUTH_CLIENT_H
#define MODERNAUTH_CLIENT_H
/* Client of the broker's socket (src/client/PROTOCOL.md), for plugins with an event loop. One connection, opened at
 * the first request, reopened with back-off (50 ms .. 5 s) when lost; requests may be sent while it is down.
 *
 * A broker that says BYE hands over to its successor: open requests are sent again on a new connection and nobody
 * notices. A connection that breaks without BYE answers its open LOGINs with MAUTH_TEMPORARY (they might be what
 * broke it) and keeps its reports for the next connection. */

#include "modernauth/log.h"
#include "modernauth/loop.h"
#include "modernauth/modernauth.h"

struct mauth_client;
struct mauth_client_request;

struct mauth_client_settings {
	const char *path;                /* the socket */
	const char *name;                /* of this client, for the broker's log: "auth", "imap-login" */
	const char *config_path;         /* modernauth.conf as this client was told; NULL: not told */
	unsigned int max_open;           /* more open requests than this are refused at once; 0: 20,000 */
	unsigned int max_reports;        /* reports kept while the broker is away, the oldest goes first; 0: 10,000 */
};

/* Strings and the token live only during the callback. */
struct mauth_client_reply {
	enum mauth_status status;
	const char *reason;              /* for the user, "" if there is none */
	bool is_final;                   /* by rule nobody else may let the client in */
	bool reason_is_secret;           /* it holds a device password: not for any log */
	const struct mauth_secret *token;   /* NULL unless status is MAUTH_OK, and not basic or checked */
	bool checked;                    /* the answer to check_only: the password is right. The rest is not set */
	bool basic;                      /* the client's own password goes upstream: nobody here has verified it, so this is
					    no answer to whoever opens no session there */
	const char *token_id;
	const char *mailbox;
	const char *host;
	unsigned int port;
	enum mauth_tls_mode tls;
};
typedef void mauth_client_login_fn(const struct mauth_client_reply *reply, void *context);

/* loop and log must outlive the client. */
struct mauth_client *mauth_client_new(const struct mauth_client_settings *settings, const struct mauth_loop *loop,
				      const struct mauth_log *log);
/* Answers every open request with MAUTH_TEMPORARY, then frees. Sets *client to NULL. Reports that the broker has not
 * confirmed are waited for, at most a second, and once more on a fresh connection. */
void mauth_client_free(struct mauth_client **client);

/* Exactly one callback, never before this returns, none after cancel. When attempt->timeout_msecs have passed
 * without an answer the status is MAUTH_TIMEOUT. The attempt is copied; the copy is wiped. */
struct mauth_client_request *mauth_client_login(struct mauth_client *client, const struct mauth_attempt *attempt,
						mauth_client_login_fn *done, void *context);
/* Does a tenant of ours serve this user? MAUTH_OK (never with a token) or MAUTH_NOT_OURS. */
struct mauth_client_request *mauth_client_lookup(struct mauth_client *client, const char *user,
						 enum mauth_service service, unsigned int timeout_msecs,
						 mauth_client_login_fn *done, void *context);
void mauth_client_cancel(struct mauth_client_request **request);

/* Tells the broker what the upstream said; kept and sent again until the broker has confirmed it. That a token was accepted
 * may be told up to 20 ms later, together with what else comes until then. */
void mauth_client_report(struct mauth_client *client, const struct mauth_upstream_report *report);
/* The same for the end of a session that was accepted; told up to 20 ms later, too. result and reply of about are not used. */
void mauth_client_report_end(struct mauth_client *client, const struct mauth_upstream_report *about,
			     const struct mauth_session_end *end);
/* The same, at once: the upstream has accepted the token, and then said (about->reply) that there is no mailbox behind it. */
void mauth_client_report_unconnected(struct mauth_client *client, const struct mauth_upstream_report *about);

#endif
