/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_BROKER_RELAY_H
#define MAUTH_BROKER_RELAY_H
/* The relay role: MTAs ask for tokens with a relay key, and what they were given last is known by their process, so that what
 * became of their mail can be joined with it. */

#include "broker/session.h"
#include "core/relay.h"

/* What a process of the MTA was given last. */
struct mauth_relay_memory {
	pid_t pid;
	uint64_t started;                    /* of the process, in the kernel's ticks: a pid comes again; 0: not known */
	int64_t at;                          /* monotonic msecs */
	int64_t uid;
	char identity[2 * MAUTH_USER_MAX + 2], session[64], program[64], host[256];
	char key_id[16], key_name[72], token_id[MAUTH_TOKEN_ID_SIZE];      /* "": none */
	char reason[2 * MAUTH_TEXT_MAX];     /* why it was given no token, "" if it was */
	char transport[32];                  /* of Postfix, whose process it is; "": not known */
};

struct mauth_relay_state;
struct mauth_relay_state *mauth_relay_state_new(void);
void mauth_relay_state_free(struct mauth_relay_state **state);
/* What this process was given; NULL: nothing, or too long ago. Lives until the next turn of the loop. */
const struct mauth_relay_memory *mauth_relay_remembered(struct mauth_service_state *service, pid_t pid);
/* Postfix hands open connections from process to process: by whose login does one deliver that was given nothing? By the one that all
 * others of its transport were given, if that is one: without its token and session, which are not known. */
bool mauth_relay_guess(struct mauth_service_state *service, pid_t pid, struct mauth_relay_memory *memory_r);

struct mauth_relay_client mauth_relay_client_of(const struct mauth_relay_memory *memory);
/* All of them, for a successor, and one of a predecessor's. */
void mauth_relay_each(const struct mauth_service_state *service,
		      void (*fn)(const struct mauth_relay_memory *memory, void *context), void *context);
void mauth_relay_adopt(struct mauth_service_state *service, const struct mauth_relay_memory *memory);

/* When the process began, in the kernel's ticks; 0: nobody says. */
uint64_t mauth_relay_process_started(pid_t pid);

/* The verbs of the role. */
bool mauth_relay_handle(struct mauth_session *session, const struct mauth_wire_line *line);
/* As mauth_verbs_cancel_all(). */
void mauth_relay_cancel_all(struct mauth_session *session, bool abandon);

#endif
