/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_DOVEADM_BATCH_H
#define MAUTH_DOVEADM_BATCH_H
/* The users of a batch enrolment and how far they are: read from one file, kept in another. */

#include "modernauth/modernauth.h"

#include <stdio.h>

#define MAUTH_BATCH_ROWS_MAX 10000u

enum mauth_batch_state {
	MAUTH_BATCH_NOT_ASKED,
	MAUTH_BATCH_PENDING,             /* there is a code */
	MAUTH_BATCH_ENROLLED,
	MAUTH_BATCH_EXPIRED,             /* nobody entered the code in time */
	MAUTH_BATCH_FAILED,
	MAUTH_BATCH_STATES
};
const char *mauth_batch_state_name(enum mauth_batch_state state);

struct mauth_batch_row {
	unsigned int line;               /* of the input; 0: only in an earlier output, and kept there */
	char *user, *account, *mailbox, *device;     /* of the input, all but user may be NULL */
	enum mauth_batch_state state;
	char *real_account, *real_mailbox;   /* as the broker has them */
	char *code, *uri, *error;
	int64_t expires_at;
	struct mauth_secret *password;
	/* for the one who runs it */
	bool open;                       /* has been asked, and the broker has not ended it */
};
struct mauth_batch {
	struct mauth_batch_row *rows;    /* those of the input come first, in its order */
	size_t count, alloc;
	size_t asked;                    /* rows of the input */
};

/* Reads the input: a header, of "user" and any of "account", "mailbox", "device"; then a user a line.
 * MAUTH_CONFIG: error_r names line and column. */
enum mauth_status mauth_batch_read(struct mauth_batch *batch, FILE *file, const char *name,
				   struct mauth_error *error_r);
/* Reads what an earlier run has written. */
enum mauth_status mauth_batch_resume(struct mauth_batch *batch, FILE *file, const char *name,
				     struct mauth_error *error_r);
/* Writes the output. */
void mauth_batch_write(const struct mauth_batch *batch, FILE *file);
void mauth_batch_free(struct mauth_batch *batch);

/* A text of a row gets a new value. */
void mauth_batch_set(char **text, const char *value);

#endif
