/* SPDX-License-Identifier: MIT */
#include "sqlite_world.h"

#include "core/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

void use_dir(struct sqlite_world *f, const char *dir)
{
	snprintf(f->dir, sizeof(f->dir), "%s", dir);
	snprintf(f->path, sizeof(f->path), "%s/modernauth.db", f->dir);
	snprintf(f->wal, sizeof(f->wal), "%s-wal", f->path);
	snprintf(f->shm, sizeof(f->shm), "%s-shm", f->path);
}

int sqlite_world_set_up(void **state)
{
	struct sqlite_world *f = mauth_new(sizeof(*f));
	char dir[] = "/tmp/modernauth-test-XXXXXX";

	if (mkdtemp(dir) == NULL)
		return -1;
	use_dir(f, dir);
	fake_sinks_init(&f->sinks);
	f->loop = poll_loop_new();
	f->thread = mauth_worker_thread_new(poll_loop_loop(f->loop), &f->sinks.log);
	*state = f;
	return 0;
}

int sqlite_world_tear_down(void **state)
{
	struct sqlite_world *f = *state;
	int rc;

	mauth_sqlite_close(&f->sqlite);
	mauth_worker_thread_free(&f->thread);
	poll_loop_free(&f->loop);
	fake_sinks_free(&f->sinks);
	unlink(f->path);
	unlink(f->wal);
	unlink(f->shm);
	/* Fails if something else was left behind. */
	rc = rmdir(f->dir);
	free(f);
	return rc;
}

enum mauth_status open_with(struct sqlite_world *f, const struct mauth_worker *worker)
{
	enum mauth_status status;

	memset(&f->error, 0, sizeof(f->error));
	status = mauth_sqlite_open(f->dir, worker, &f->sinks.log, &f->sqlite, &f->error);
	if (status == MAUTH_OK)
		f->store = mauth_sqlite_store(f->sqlite);
	else
		assert_null(f->sqlite);
	return status;
}

enum mauth_status open_store(struct sqlite_world *f)
{
	return open_with(f, mauth_worker_thread_worker(f->thread));
}

void reopen(struct sqlite_world *f)
{
	mauth_sqlite_close(&f->sqlite);
	assert_int_equal(open_store(f), MAUTH_OK);
}

void write_ended(const struct mauth_error *error, void *context)
{
	struct sqlite_world *f = context;

	f->ends++;
	if (error != NULL) {
		f->failures++;
		f->error = *error;
	}
	f->all_done = f->ends == f->wanted;
}

void start_write(struct sqlite_world *f, const char *name, const char *value, size_t size)
{
	const struct mauth_store_row row = { .kind = "enrolment", .name = name, .value = value, .size = size };

	f->wanted++;
	f->all_done = false;
	mauth_store_write(f->store, &row, 1, write_ended, f);
}

bool finish_writes(struct sqlite_world *f)
{
	unsigned int before = f->failures;

	assert_true(f->all_done || poll_loop_run_until(f->loop, &f->all_done, 60000));
	return f->failures == before;
}

bool put_value(struct sqlite_world *f, const char *name, const char *value)
{
	start_write(f, name, value, value == NULL ? 0 : strlen(value));
	return finish_writes(f);
}

void assert_value(struct sqlite_world *f, const char *name, const char *expected)
{
	struct mauth_secret *value = NULL;
	enum mauth_status status = mauth_store_get(f->store, "enrolment", name, &value, &f->error);

	if (expected == NULL) {
		assert_int_equal(status, MAUTH_USER_UNKNOWN);
		assert_null(value);
		return;
	}
	assert_int_equal(status, MAUTH_OK);
	assert_string_equal(mauth_secret_expose(value), expected);
	assert_int_equal(mauth_secret_size(value), strlen(expected));
	mauth_secret_free(&value);
}
