/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_LOGIN_SESSION_H
#define MAUTH_LOGIN_SESSION_H
/* One proxied login of ours: what must be told to the broker about it, and where its protocol stands. Include
 * login-common.h and client-common.h before this. */

#include "modernauth/modernauth.h"

enum pop3_step { POP3_BANNER, POP3_STLS, POP3_CONTINUATION, POP3_RESULT };

struct mauth_login_session {
	union login_client_module_context module_ctx;
	/* False: somebody else's session, in which nothing may be changed. The rest is only set if true. */
	bool ours;
	bool basic;                      /* the client's own password goes upstream, in Dovecot's own way */
	bool tls_noted;
	bool reported;
	bool challenged;                 /* the upstream has sent an error as a challenge (see sasl.h) */
	enum pop3_step pop3_step;
	char *token_id, *mailbox, *host, *host_ip, *tls_protocol, *tls_cipher;
	unsigned int port;
	struct mauth_login_ear *ear;     /* from the upstream's yes until the session ends; NULL before and after */
};

struct mauth_login_session *mauth_login_session(struct client *client);

/* At the begin of every attempt to reach the upstream: finds out whether this session is ours. */
void mauth_login_session_begin(struct client *client);
/* Tells the broker, once per session. reply may be NULL. */
void mauth_login_session_report(struct client *client, enum mauth_upstream_result result, const char *reply);
void mauth_login_session_clear(struct mauth_login_session *session);
/* What every report says about the session. Lives as long as the session and this turn of the loop. */
void mauth_login_session_about(struct client *client, struct mauth_upstream_report *about_r);

/* Ends the connection to the upstream, which has broken its protocol. */
void mauth_login_protocol_error(struct client *client, const char *what, const char *line);

/* The vfuncs of each protocol: like proxy_parse_line, for sessions of ours. */
int mauth_pop3_parse_line(struct client *client, const char *line);
int mauth_imap_parse_line(struct client *client, const char *line);
int mauth_submission_parse_line(struct client *client, const char *line);
const char *mauth_pop3_step_name(enum pop3_step step);

/* XOAUTH2 lets a server explain a refusal in a challenge, and wait for an empty answer before it says no. Dovecot
 * takes that for a broken protocol and would retry. Gives what proxy_parse_line must return. */
int mauth_login_answer_challenge(struct client *client, const char *line);

/* ended.c: what becomes of a session after the upstream's yes, when Dovecot only copies octets. */
void mauth_login_ended_init(void);
void mauth_login_ended_deinit(void);
/* In mauth_login_session_begin(): the events about this client are ours. */
void mauth_login_ended_watch(struct client *client);
void mauth_login_ended_forget(struct mauth_login_session *session);

/* ear.c: listens to both sides after the upstream's yes. */
struct mauth_login_heard {
	struct istream_private *stream;  /* NULL: it is gone */
	ssize_t (*read)(struct istream_private *stream);     /* its own */
};
struct mauth_login_ear {
	struct client *client;
	uint64_t base_in, base_out;      /* octets of the login, which are not the session's */
	int64_t began_usecs;             /* monotonic */
	struct mauth_login_heard from_server, from_client;
	/* Looking for a mailbox that is not there: octets that are still looked at, of which so many are literal, and the
	   size of the literal that the line may be announcing */
	unsigned int left, literal, announced;
	bool announcing;
	unsigned int line_used;
	char line[192];                  /* of which this is the line that has not ended yet, as far as there is room */
	bool logged_out;                 /* the last that the client said is that it goes */
	char said[192];                  /* the farewell at the end of what was heard last, "" */
};
void mauth_login_ear_begin(struct mauth_login_ear *ear, struct istream *from_server, struct istream *from_client);
void mauth_login_ear_end(struct mauth_login_ear *ear);

/* plugin.c: the connection to the broker, made when it is wanted first. */
struct mauth_client *mauth_login_broker(void);

#endif
