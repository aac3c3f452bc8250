/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_EXCEPTIONS_PRIVATE_H
#define MAUTH_EXCEPTIONS_PRIVATE_H
/* What exceptions.c and exceptions-change.c share. */

#include "core/exceptions.h"

struct exception {
	struct mauth_exception pub;          /* must be first */
	struct exception *next;
	unsigned int writing;                /* writes of it that are under way */
	bool unwritten;                      /* what is in the store is not what is here */
	bool loose;                          /* in neither list: goes with its last write */
};

struct exception_write;

struct mauth_exceptions {
	struct mauth_exceptions_deps deps;
	struct exception *newest;            /* in effect or ended, the newest first */
	struct exception *removed;           /* in effect no more, but still in the store */
	size_t count, adding;
	struct exception_write *writes;      /* under way */
};

/* Puts it where its age belongs. */
void exception_insert(struct mauth_exceptions *exceptions, struct exception *exception);
void exception_free(struct exception *exception);
/* Lets go of what is being written, and tries once more to delete what was removed. */
void exceptions_change_close(struct mauth_exceptions *exceptions);

#endif
