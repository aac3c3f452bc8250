/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_CHAIN_H
#define MAUTH_CHAIN_H
/* What makes the audit tamper-evident: each line ends in a member "chain" with the writer, a number and a code that depends on all
 * lines of that writer before it.
 *
 *     {...,"chain":{"w":"5f1c9a03","n":17,"mac":"9c1d..."}}
 *
 * A broker process is one writer: at a reload two of them append to one file, and neither can wait for the other. With
 * d(n) = SHA-256 of the line without the member, mac(n) = HMAC-SHA-256(key, mac(n-1) d(n) n): whoever has the key can tell which
 * line is wrong. h(n) = SHA-256(h(n-1) d(n) n mac(n)) needs no key. A checkpoint is a line whose member has h(n) and an Ed25519
 * signature of writer, n and h(n) as well: with the public key everything up to it can be checked. mac(0) and h(0) are made of
 * the writer's name. */

#include "core/mem.h"

#define MAUTH_CHAIN_HASH 32u
#define MAUTH_CHAIN_SIGNATURE 64u
#define MAUTH_CHAIN_WRITER_SIZE 9u      /* 8 hex digits */
/* Longest member, with the comma before it and the brace that ends the line. */
#define MAUTH_CHAIN_MEMBER_MAX 360u

/* -- keys -- */

struct mauth_chain_key;
/* A fresh pair of keys. */
struct mauth_chain_key *mauth_chain_key_new(void);
void mauth_chain_key_free(struct mauth_chain_key **key);
/* The text of the secret file (HMAC key and private key) and of the public one (PEM, "openssl pkey -pubin" reads it). */
struct mauth_secret *mauth_chain_key_text(const struct mauth_chain_key *key);
char *mauth_chain_key_public(const struct mauth_chain_key *key);
/* Reads either text; MAUTH_CONFIG: it is none. */
enum mauth_status mauth_chain_key_read(const struct mauth_secret *text, struct mauth_chain_key **key_r,
				       struct mauth_error *error_r);
/* Another one of a secret key: one key is for one thread. */
struct mauth_chain_key *mauth_chain_key_dup(const struct mauth_chain_key *key);
/* Can it check single lines, or checkpoints only? */
bool mauth_chain_key_is_secret(const struct mauth_chain_key *key);

/* -- writing -- */

/* Where a writer stands. Copied before lines are sealed, and put back if they could not be written. */
struct mauth_chain_state {
	uint64_t number;                     /* of the last line; 0: none yet */
	unsigned char head[MAUTH_CHAIN_HASH];        /* h(number) */
	unsigned char mac[MAUTH_CHAIN_HASH];         /* mac(number) */
};
struct mauth_chain_writer {
	const struct mauth_chain_key *key;
	char name[MAUTH_CHAIN_WRITER_SIZE];
	struct mauth_chain_state state;
};
/* A writer with a fresh name. key must be a secret one and outlive it. */
void mauth_chain_begin(struct mauth_chain_writer *writer, const struct mauth_chain_key *key);
/* Appends the lines, JSON objects that end in "}\n", to out with their member. */
void mauth_chain_seal(struct mauth_chain_writer *writer, const char *lines, size_t size, struct mauth_buf *out);
/* The same for one line that becomes a checkpoint. */
void mauth_chain_checkpoint(struct mauth_chain_writer *writer, const char *line, size_t size, struct mauth_buf *out);

/* -- reading -- */

/* A line taken apart. */
struct mauth_chain_line {
	char writer[MAUTH_CHAIN_WRITER_SIZE];
	uint64_t number;
	size_t body;                         /* octets of the line before the member */
	unsigned char mac[MAUTH_CHAIN_HASH];
	bool checkpoint;
	unsigned char head[MAUTH_CHAIN_HASH], signature[MAUTH_CHAIN_SIGNATURE];
};
/* line: without its "\n". false: it has no member, or not one of ours. */
bool mauth_chain_parse(const char *line, size_t size, struct mauth_chain_line *line_r);
/* The state before a writer's first line. */
void mauth_chain_first(const char *writer, struct mauth_chain_state *state_r);
/* Reads size octets as hex digits in lower case, one spelling for each, and moves *at behind them. */
bool mauth_chain_take_hex(const char **at, const char *end, unsigned char *data_r, size_t size);
/* d(n) of a line. */
void mauth_chain_body_hash(const struct mauth_chain_key *key, const char *line, const struct mauth_chain_line *parsed,
			   unsigned char hash_r[MAUTH_CHAIN_HASH]);
/* state becomes that after the line of that hash and number; its mac is the one that the line should have (secret keys), else mac, the
 * line's own. */
void mauth_chain_follow(const struct mauth_chain_key *key, struct mauth_chain_state *state, const unsigned char hash[MAUTH_CHAIN_HASH],
			uint64_t number, const unsigned char mac[MAUTH_CHAIN_HASH]);
/* Is the signature of a checkpoint right for what it says? */
bool mauth_chain_signature_is_right(const struct mauth_chain_key *key, const struct mauth_chain_line *line);

#endif
