/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_AUDIT_SEAL_H
#define MAUTH_AUDIT_SEAL_H
/* This broker as a writer of the chain (core/chain.h) in the audit file: what stands before, between and behind the records. */

#include "core/chain-note.h"
#include "modernauth/loop.h"

/* Records between two checkpoints, and how long the last ones may wait for theirs. */
#define MAUTH_AUDIT_CHECKPOINT_RECORDS 1000u
#define MAUTH_AUDIT_CHECKPOINT_MSECS 60000u

struct mauth_audit_seal;
/* head_path: a file of ours, elsewhere, with the number of the last checkpoint: an audit that lacks it was cut or exchanged while
 * no broker ran. NULL: none. key must outlive it. */
struct mauth_audit_seal *mauth_audit_seal_new(const struct mauth_chain_key *key, const char *head_path,
					      const struct mauth_loop *loop);
void mauth_audit_seal_free(struct mauth_audit_seal **seal);

/* A file has been opened that we did not have open before; tail: its last octets, from the begin of a line on. */
void mauth_audit_seal_opened(struct mauth_audit_seal *seal, const char *tail, size_t size);
/* The same octets of the file that we write to, before a checkpoint: the end of another broker, which may be gone by now, is in our
 * next note, so that nobody can take it away. */
void mauth_audit_seal_look_around(struct mauth_audit_seal *seal, const char *tail, size_t size);
/* Half a line was found at its end. */
void mauth_audit_seal_torn(struct mauth_audit_seal *seal, const char *data, size_t size);

/* Appends to out what is to be written for lines, NULL for a checkpoint alone. Then written() says whether it was. */
void mauth_audit_seal_lines(struct mauth_audit_seal *seal, const char *lines, size_t size, struct mauth_buf *out);
/* The same for the last line of a file that was renamed, or of all; false: there is nothing to say, and written() is not due. */
bool mauth_audit_seal_last(struct mauth_audit_seal *seal, enum mauth_chain_note_kind kind, struct mauth_buf *out);
void mauth_audit_seal_written(struct mauth_audit_seal *seal, bool written);
/* From now on the number of the last checkpoint goes to head_path only when it is said to be on disk: after a power failure it
 * must not be ahead of the file. Is called before any record. */
void mauth_audit_seal_defer(struct mauth_audit_seal *seal);
/* Of the last checkpoint that is in the file; and: it is on disk. */
uint64_t mauth_audit_seal_signed(const struct mauth_audit_seal *seal);
void mauth_audit_seal_on_disk(struct mauth_audit_seal *seal, uint64_t number);
/* Are there records behind the last checkpoint? */
bool mauth_audit_seal_is_due(const struct mauth_audit_seal *seal);
/* Where this writer stands. */
const struct mauth_chain_writer *mauth_audit_seal_writer(const struct mauth_audit_seal *seal);

#endif
