/* SPDX-License-Identifier: MIT */
#ifndef MODERNAUTH_H
#define MODERNAUTH_H
/* dovecot-modernauth: the words every module shares.
 *
 * Statuses, errors, secrets, attempts and grants. Nothing here knows Dovecot, curl or sockets. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#  define MAUTH_PRINTF(fmt, first) __attribute__((format(printf, fmt, first)))
#  define MAUTH_MUST_USE __attribute__((warn_unused_result))
#  define MAUTH_EXPORT __attribute__((visibility("default")))
#else
#  define MAUTH_PRINTF(fmt, first)
#  define MAUTH_MUST_USE
#  define MAUTH_EXPORT
#endif

/* Sizes that a peer could otherwise choose, in octets. */
#define MAUTH_USER_MAX 320u             /* RFC 5321: 64 local + "@" + 255 domain */
#define MAUTH_PASSWORD_MAX 1024u
#define MAUTH_TOKEN_MAX 12288u          /* Dovecot's auth reply line ends at 16 KiB */
#define MAUTH_REPLY_MAX 65536u          /* a reply of the token endpoint */
#define MAUTH_LINE_MAX 16384u           /* a line of the broker's wire protocol */
#define MAUTH_CONFIG_MAX 4194304u
#define MAUTH_TEXT_MAX 512u             /* a text for a person: log, reply, audit */
#define MAUTH_TELL_MAX 256u             /* a text for the user of a mail program, one line of ASCII */

/* How something ended. A closed set: switch over it without default, so that the compiler names every
 * place that a new status must visit. */
enum mauth_status {
	MAUTH_OK = 0,
	MAUTH_BAD_CREDENTIALS,  /* this password is not this user's: the only status that may count as a failed login */
	MAUTH_USER_UNKNOWN,     /* the tenant has no such user */
	MAUTH_LOCKED,           /* not asked: Entra, or our shield, has locked the account for a while */
	MAUTH_DISABLED,         /* the account must not log in until an admin changes it */
	MAUTH_EXPIRED,          /* the password has expired */
	MAUTH_INTERACTION,      /* MFA, consent of the user or a policy: no password can help */
	MAUTH_POLICY,           /* refused by a rule of ours */
	MAUTH_NOT_OURS,         /* no tenant of ours serves this domain: the next passdb decides */
	MAUTH_CONFIG,           /* our set-up or the tenant's must be mended by an admin */
	MAUTH_TEMPORARY,        /* Entra, the network or a peer failed; trying later may help */
	MAUTH_TIMEOUT,          /* our own deadline passed */
	MAUTH_PROTOCOL,         /* a peer said something that cannot be understood */
	MAUTH_AUDIT,            /* the record could not be written and the audit is required */
	MAUTH_CANCELLED,        /* the one who asked no longer wants the answer */
	MAUTH_STATUS_COUNT
};

/* The word of a status on the wire and in the audit: "ok", "bad_credentials", ... Never NULL. */
const char *mauth_status_name(enum mauth_status status);
/* The status called name; false if there is none and *status_r is untouched. */
bool mauth_status_parse(const char *name, enum mauth_status *status_r);

/* A failure, by value: decide with status and code, show text. text never holds a secret, is valid UTF-8
 * and has no control characters; advice says what to do about it and may be "". */
struct mauth_error {
	enum mauth_status status;
	int code;                        /* AADSTS number, HTTP status, errno; 0 if none */
	char text[MAUTH_TEXT_MAX];
	char advice[MAUTH_TEXT_MAX];
	char tell[MAUTH_TELL_MAX];       /* what the user himself is to read, ""; not for the log, see tell_is_secret */
	bool is_final;                   /* a rule denies: no other passdb may let the client in */
	bool tell_is_secret;             /* tell holds a device password */
};

/* Fills *error_r (NULL is allowed) and returns status, so that "return mauth_fail(...)" reads straight down. */
enum mauth_status mauth_fail(struct mauth_error *error_r, enum mauth_status status, int code,
			     const char *fmt, ...) MAUTH_PRINTF(4, 5);

/* A secret: octets that are wiped when freed and that printf, the log and the audit cannot take.
 * Owned by whoever called mauth_secret_new(). */
struct mauth_secret;
struct mauth_secret *mauth_secret_new(const void *data, size_t size);
struct mauth_secret *mauth_secret_dup(const struct mauth_secret *secret);
/* Wipes and frees *secret and sets it to NULL. NULL is allowed. */
void mauth_secret_free(struct mauth_secret **secret);
/* The octets, followed by a NUL that is not counted; they live as long as the secret.
 * Whoever calls this is looked at in review (tests/style holds the list of files that may). */
const char *mauth_secret_expose(const struct mauth_secret *secret);
size_t mauth_secret_size(const struct mauth_secret *secret);
/* Equal in constant time for equal sizes. */
bool mauth_secret_equal(const struct mauth_secret *a, const struct mauth_secret *b);

/* Who checked that this password belongs to this user. */
enum mauth_verified_by {
	MAUTH_VERIFIED_NONE = 0,
	MAUTH_VERIFIED_ENTRA,            /* the password grant */
	MAUTH_VERIFIED_DOVECOT,          /* an earlier passdb (skip_password_check) */
	MAUTH_VERIFIED_DEVICE,           /* a device password of ours */
	MAUTH_VERIFIED_CLIENT_TOKEN,     /* nobody here: the client brought a token of its own, Exchange judges it */
	MAUTH_VERIFIED_RELAY,            /* a relay key of ours: who asks is an MTA */
};
const char *mauth_verified_by_name(enum mauth_verified_by by);

enum mauth_service { MAUTH_SERVICE_IMAP, MAUTH_SERVICE_POP3, MAUTH_SERVICE_SUBMISSION, MAUTH_SERVICE_COUNT };
/* Dovecot's name: "imap", "pop3", "submission". */
const char *mauth_service_name(enum mauth_service service);
bool mauth_service_parse(const char *name, enum mauth_service *service_r);

/* An MTA that logs in at Exchange Online itself. NULL: unknown. */
struct mauth_relay_client {
	int64_t pid, uid;                /* of the process that asks, as the kernel says */
	const char *program;             /* what it calls itself: "postfix/smtp" */
	const char *host;                /* the server that it logs in to */
	unsigned int min_life_secs;      /* a token that lives no longer is of no use to it */
	const char *key_id, *key_name;   /* its relay key, once that is known */
};

/* One login attempt, as the front end saw it. All strings are the caller's and need live only for the call
 * they are given to; NULL means unknown. */
struct mauth_attempt {
	const char *user;                /* as the client sent it (after Dovecot's own normalisation) */
	const struct mauth_secret *password;
	enum mauth_service service;
	const char *mechanism;           /* "PLAIN", "LOGIN", ... */
	const char *client_ip, *local_ip;
	unsigned int client_port, local_port;
	bool tls;                        /* real TLS on the client's side, not merely "secured" */
	const char *tls_protocol;        /* "TLSv1.2", as OpenSSL names it */
	const char *session;             /* Dovecot's session id: joins the records of one session */
	const char *client_id;           /* what the client calls itself (IMAP ID), unparsed */
	bool verified_by_dovecot;        /* an earlier passdb accepted the password */
	bool check_only;                 /* whoever asks opens no session: is the password right? Postfix's smtpd, doveadm auth test */
	bool password_is_token;          /* XOAUTH2 or OAUTHBEARER: what stands in password is the client's own token */
	const char *mailbox_side;        /* what an earlier passdb says of the mailbox: "cloud", "onprem"; NULL: nothing */
	unsigned int timeout_msecs;      /* how long the front end will wait; 0: the configured deadline */
	const struct mauth_relay_client *relay;   /* who asks is an MTA, password its relay key; NULL: a login */
};

enum mauth_tls_mode { MAUTH_TLS_IMPLICIT, MAUTH_TLS_STARTTLS };

/* Where a session goes. */
struct mauth_endpoint {
	const char *host;
	unsigned int port;
	enum mauth_tls_mode tls;
};

/* What a login is answered with when it may proceed. Lives only during the callback. */
struct mauth_grant {
	bool checked;                        /* the password is right; it was asked for no more, and nothing else is set */
	const struct mauth_secret *token;    /* the access token; NULL: the client's own password goes upstream, nobody here
						has verified it */
	const char *token_id;                /* names the token without revealing it, see mauth_token_id(); "basic" */
	const char *mailbox;                 /* XOAUTH2 user= */
	const struct mauth_endpoint *endpoint;
	int64_t expires_at;                  /* wall clock, seconds since the epoch */
	bool cached;
	enum mauth_verified_by verified_by;
	const char *relay_key_id, *relay_key_name;   /* for an MTA: by which it may have it */
};

#define MAUTH_TOKEN_ID_SIZE 33u
/* The first 16 octets of the token's SHA-256 in hex: enough to tell tokens apart, useless to log in with. */
void mauth_token_id(const void *token, size_t size, char id_r[static MAUTH_TOKEN_ID_SIZE]);

/* What the upstream (Exchange Online) said when the session was opened with a token. */
enum mauth_upstream_result {
	MAUTH_UPSTREAM_ACCEPTED,
	MAUTH_UPSTREAM_REFUSED,          /* it answered, and the answer was no */
	MAUTH_UPSTREAM_FAILED,           /* no answer: connection, TLS or protocol */
	MAUTH_UPSTREAM_COUNT
};
const char *mauth_upstream_result_name(enum mauth_upstream_result result);
bool mauth_upstream_result_parse(const char *name, enum mauth_upstream_result *result_r);

struct mauth_upstream_report {
	const char *user;                /* login name, as in the attempt */
	const char *mailbox;             /* XOAUTH2 user= that was used */
	enum mauth_service service;
	enum mauth_upstream_result result;
	const char *reply;               /* the upstream's own words; sanitised and cut by the receiver */
	const char *token_id;
	const char *session;
	const char *client_ip, *local_ip;
	unsigned int client_port, local_port;
	const char *host, *host_ip;      /* upstream */
	unsigned int port;
	const char *tls_protocol, *tls_cipher;   /* of the client's connection, NULL without TLS */
	const struct mauth_relay_client *relay;  /* who has used the token is an MTA; NULL: a login process */
};

/* Whose doing it was that a session ended which the upstream had accepted. */
enum mauth_ended_by {
	MAUTH_ENDED_BY_CLIENT,
	MAUTH_ENDED_BY_SERVER,           /* the upstream */
	MAUTH_ENDED_BY_FRONT_END,        /* the login process was told to stop, or an admin kicked the user */
	MAUTH_ENDED_BY_COUNT
};
/* "client", "server", "front-end" */
const char *mauth_ended_by_name(enum mauth_ended_by by);
bool mauth_ended_by_parse(const char *name, enum mauth_ended_by *by_r);

/* How such a session ended. Strings may be NULL, and need live only for the call. */
struct mauth_session_end {
	enum mauth_ended_by by;
	int64_t at_usecs;                /* wall clock of whoever reports it; 0: now */
	int64_t duration_usecs;          /* since the upstream's yes; monotonic */
	uint64_t bytes_in, bytes_out;    /* from the client to the upstream and back, since that yes */
	const char *reason;              /* what the front end says of it: an error of a connection, "Kicked by admin" */
	const char *said;                /* the upstream's last words, if it ended the session: "* BYE ..." */
};

#endif
