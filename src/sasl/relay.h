/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_SASL_RELAY_H
#define MAUTH_SASL_RELAY_H
/* Asks the broker's relay listener, and waits for the answer: SASL's client functions block. Uses one connection for each question, so
 * that a process that lives long holds none and never meets a broker that has gone in between. */

#include "modernauth/modernauth.h"

struct mauth_relay_question {
	const char *socket;
	const char *identity;
	const void *key;
	size_t key_size;
	const char *host;            /* the server, may be NULL */
	unsigned int min_life_secs;  /* of the token */
	unsigned int timeout_msecs;  /* for all of it */
};

/* What happened, and what to do about it. */
#define MAUTH_RELAY_REASON_MAX (2 * MAUTH_TEXT_MAX + 32)

/* Zero-initialise. If status is MAUTH_OK user and token are set, otherwise reason. */
struct mauth_relay_answer {
	enum mauth_status status;
	bool temporary;
	char reason[MAUTH_RELAY_REASON_MAX];
	char user[MAUTH_USER_MAX + 1];
	char token_id[MAUTH_TOKEN_ID_SIZE];
	char *token;
	size_t token_size;
};

void mauth_relay_token(const struct mauth_relay_question *question, struct mauth_relay_answer *answer_r);
/* Tells the broker that the server has refused a token, and what it said; best effort. */
void mauth_relay_refused(const struct mauth_relay_question *question, const char *token_id, const char *reply, size_t size);
/* Wipes and frees what is inside. */
void mauth_relay_answer_clear(struct mauth_relay_answer *answer);

#endif
