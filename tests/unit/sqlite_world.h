/* SPDX-License-Identifier: MIT */
#ifndef SQLITE_WORLD_H
#define SQLITE_WORLD_H
/* A directory, a real loop, a worker thread, and the embedded store between them. */

#include "fake_sinks.h"
#include "poll_loop.h"
#include "store/sqlite-private.h"
#include "store/worker.h"

struct sqlite_world {
	char dir[64], path[80], wal[96], shm[96];
	struct poll_loop *loop;
	struct fake_sinks sinks;
	struct mauth_worker_thread *thread;
	struct mauth_sqlite *sqlite;
	const struct mauth_store *store;
	struct mauth_error error;       /* of the last open, read or write */
	unsigned int ends, failures;    /* of writes */
	unsigned int wanted;            /* ends at which all_done becomes true */
	bool all_done;
};

/* For cmocka. The second fails if a file is left that is not one of the three. */
int sqlite_world_set_up(void **state);
int sqlite_world_tear_down(void **state);
void use_dir(struct sqlite_world *f, const char *dir);

enum mauth_status open_store(struct sqlite_world *f);
enum mauth_status open_with(struct sqlite_world *f, const struct mauth_worker *worker);
void reopen(struct sqlite_world *f);

/* The done() of a write, whose context is the world. */
void write_ended(const struct mauth_error *error, void *context);
/* Writes one enrolment; value NULL deletes it. */
void start_write(struct sqlite_world *f, const char *name, const char *value, size_t size);
/* Waits for all writes. Have they succeeded? */
bool finish_writes(struct sqlite_world *f);
bool put_value(struct sqlite_world *f, const char *name, const char *value);
/* expected NULL: there is no such enrolment. */
void assert_value(struct sqlite_world *f, const char *name, const char *expected);

#endif
