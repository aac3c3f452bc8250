/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_SQLITE_FOLLOW_H
#define MAUTH_SQLITE_FOLLOW_H
/* What other processes write into the embedded store: looked for twice a second, which costs a read of shared memory while
 * nobody writes, and found by comparing rows in the worker, off the loop. */

#include "modernauth/log.h"
#include "modernauth/loop.h"
#include "modernauth/store.h"
#include "modernauth/worker.h"

struct mauth_sqlite_follow;

/* row->value NULL: it was deleted. Some rows a turn of the loop; may not free the follower. */
typedef void mauth_sqlite_changed_fn(const struct mauth_store_row *row, void *context);

struct mauth_sqlite_follow_deps {
	const char *dir;
	const char *const *kinds;        /* whose rows; ends in NULL; lives on */
	const struct mauth_loop *loop;
	const struct mauth_log *log;
	const struct mauth_worker *worker;
	mauth_sqlite_changed_fn *changed;
	void *context;
};
/* Tells changes from now on: whoever reads all rows after this has missed nothing. Writes of one's own are told as well. */
struct mauth_sqlite_follow *mauth_sqlite_follow_new(const struct mauth_sqlite_follow_deps *deps);
/* The worker must live until its jobs are done. */
void mauth_sqlite_follow_free(struct mauth_sqlite_follow **follow);

#endif
