/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_SESSION_H
#define MAUTH_SESSION_H
/* One connection of a client: hello, lines in, lines out, limits. */

#include "broker/service.h"

struct open_login;
struct admin_op;
struct relay_op;
struct mauth_confirmation;
struct session_hold;
struct mauth_import;

#define MAUTH_OPEN_BUCKETS 4096u
/* Reports whose records are written together */
#define MAUTH_REPORTS_TOGETHER 64u

struct mauth_session {
	struct mauth_session *next, **link;
	struct mauth_service_state *service;
	enum mauth_role role;
	uid_t uid;                           /* the peer's */
	pid_t pid;                           /* the same; 0: of another namespace */
	int fd;
	struct mauth_watch *watch;
	struct mauth_timer *flush, *hello_timer, *stall;
	struct mauth_wire_reader reader;
	struct mauth_buf out;
	char name[64], by[64];               /* what the client says: its own, and who sits there (admin sessions) */
	unsigned int malformed, open_count, reports_count;
	uint32_t reports[MAUTH_REPORTS_TOGETHER];   /* ids; not on record yet */
	struct mauth_confirmation *confirmations;   /* reports whose records are on their way to the disk */
	struct session_hold *hold;           /* admin sessions only: replies wait for the same */
	size_t tellable;                     /* octets at the begin of out that have waited for it */
	struct open_login **open;            /* MAUTH_OPEN_BUCKETS, auth sessions only */
	struct relay_op *relays;             /* relay sessions only: what has not been answered yet */
	unsigned int relay_count;
	struct admin_op *ops;                /* admin sessions only: what has not ended yet */
	struct mauth_import *import;         /* the same: lines of an export that have come */
	bool version_seen, hello_seen, other_config, bye, ended;
	bool mute;                           /* the peer reads no more, but what it has sent still counts */
};

/* Takes fd over. The peer's uid must be one that the role allows; otherwise the connection is closed and *error_r says so. */
enum mauth_status mauth_session_new(struct mauth_service_state *service, enum mauth_role role, int fd,
				    struct mauth_error *error_r);
/* Of MTAs: each process of Postfix has one of each kind. What is left is for Dovecot's. */
#define MAUTH_MTA_CLIENTS_MAX 1024u

/* Who is that, and may he? MAUTH_CONFIG: no, and *error_r says who may. */
struct ucred;
enum mauth_status mauth_session_check_peer(const struct mauth_service_state *service, enum mauth_role role, int fd,
					   struct ucred *peer_r, struct mauth_error *error_r);
/* Open logins are cancelled. Tells settings.client_gone. */
void mauth_session_end(struct mauth_session *session);
/* Sends what was appended to session->out, at the end of this turn of the loop. */
void mauth_session_flush(struct mauth_session *session);
/* BYE: forgets the open requests, which the client will send to our successor. */
void mauth_session_bye(struct mauth_session *session);
/* Whether requests may be read depends on the service's phase: looks again. */
void mauth_session_update(struct mauth_session *session);

/* verbs.c: one request of a session that has said hello. false: malformed. The session may be gone afterwards only if
 * session->ended was set. */
bool mauth_verb_handle(struct mauth_session *session, struct mauth_wire_line *line);
/* admin.c: the verbs of the admin role. */
bool mauth_admin_handle(struct mauth_session *session, const struct mauth_wire_line *line);
/* Little of what was sent is unread: whoever has more to send may go on. */
void mauth_admin_drained(struct mauth_session *session);
/* Nobody listens any more; what was begun goes on. */
void mauth_admin_forget_all(struct mauth_session *session);

/* After the last of the lines that were read together: records what has been reported, then confirms it. */
void mauth_verbs_confirm(struct mauth_session *session);
/* Nobody listens any more. */
void mauth_verbs_forget_reports(struct mauth_session *session);
void mauth_verbs_cancel_all(struct mauth_session *session, bool abandon);

/* session-hold.c: how much of session->out may be sent. What an admin is told waits until the record of it is on disk, where
 * that is promised; then mauth_session_write() is called again. */
size_t mauth_session_tellable(struct mauth_session *session);
void mauth_session_sent(struct mauth_session *session, size_t size);
void mauth_session_unhold(struct mauth_session *session);
/* Sends as much as may be sent and fits. */
void mauth_session_write(struct mauth_session *session);

#endif
