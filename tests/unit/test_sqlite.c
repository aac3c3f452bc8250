/* SPDX-License-Identifier: MIT */
#include "core/mem.h"
#include "sqlite_world.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* -- rows -- */

static void what_was_written_is_read_and_survives(void **state)
{
	struct sqlite_world *f = *state;

	assert_int_equal(open_store(f), MAUTH_OK);
	assert_value(f, "alice", NULL);
	assert_true(put_value(f, "alice", "1"));
	assert_true(put_value(f, "bob", ""));
	assert_value(f, "alice", "1");
	assert_true(put_value(f, "alice", "two"));
	reopen(f);
	assert_value(f, "alice", "two");
	assert_value(f, "bob", "");
	assert_true(put_value(f, "alice", NULL));
	assert_true(put_value(f, "nobody", NULL));
	assert_value(f, "alice", NULL);
	reopen(f);
	assert_value(f, "alice", NULL);
	assert_value(f, "bob", "");
}

static void a_write_of_many_rows_is_one(void **state)
{
	static const struct mauth_store_row rows[] = {
		{ "enrolment", "alice", "1", 1 },
		{ "enrolment", "alice", NULL, 0 },
		{ "enrolment", "bob", "\0\1\2", 3 },
		{ "device", "bob", "x", 1 },
		{ "enrolment", "bob", "3", 1 },
	};
	struct sqlite_world *f = *state;

	assert_int_equal(open_store(f), MAUTH_OK);
	f->wanted = 2;
	mauth_store_write(f->store, rows, 5, write_ended, f);
	mauth_store_write(f->store, NULL, 0, write_ended, f);
	assert_int_equal(f->ends, 0);
	assert_true(finish_writes(f));
	assert_value(f, "alice", NULL);
	assert_value(f, "bob", "3");
}

static enum mauth_status list_row(const struct mauth_store_row *row, void *context, struct mauth_error *error_r)
{
	struct mauth_buf *list = context;

	mauth_buf_printf(list, "%s/%s=", row->kind, row->name);
	mauth_buf_append(list, row->value, row->size);
	mauth_buf_putc(list, ' ');
	return strcmp(row->name, "stop") == 0 ? mauth_fail(error_r, MAUTH_POLICY, 0, "enough") : MAUTH_OK;
}

static void rows_are_walked_in_order(void **state)
{
	static const struct mauth_store_row rows[] = {
		{ "enrolment", "b\xc3\xa4r", "5", 1 }, { "device", "zoe", "1", 1 }, { "enrolment", "Bob", "3", 1 },
		{ "enrolment", "alice", "", 0 },       { "device", "", "0", 1 },    { "z", "stop", "6", 1 },
		{ "z", "the rest", "7", 1 },
	};
	struct sqlite_world *f = *state;
	struct mauth_buf list = { 0 };

	assert_int_equal(open_store(f), MAUTH_OK);
	f->wanted = 1;
	mauth_store_write(f->store, rows, 7, write_ended, f);
	assert_true(finish_writes(f));
	assert_int_equal(mauth_store_each(f->store, "enrolment", list_row, &list, &f->error), MAUTH_OK);
	assert_string_equal(list.data, "enrolment/Bob=3 enrolment/alice= enrolment/b\xc3\xa4r=5 ");
	mauth_buf_clear(&list);
	assert_int_equal(mauth_store_each(f->store, NULL, list_row, &list, &f->error), MAUTH_POLICY);
	assert_string_equal(f->error.text, "enough");
	assert_string_equal(list.data, "device/=0 device/zoe=1 enrolment/Bob=3 enrolment/alice= enrolment/b\xc3\xa4r=5 "
				       "z/stop=6 ");
	mauth_buf_clear(&list);
	assert_int_equal(mauth_store_each(f->store, "none", list_row, &list, &f->error), MAUTH_OK);
	assert_int_equal(list.size, 0);
	mauth_buf_free(&list);
}

static void what_is_too_large_or_no_text_is_refused(void **state)
{
	struct sqlite_world *f = *state;
	char name[MAUTH_STORE_NAME_MAX + 2], *value = mauth_new(MAUTH_STORE_VALUE_MAX + 1);
	const struct mauth_store_row rows[] = {
		{ "enrolment", name, "1", 1 },       { "enrolment", "a\nb", "1", 1 }, { "enrolment", "\xff", "1", 1 },
		{ "enrolment", "\xc2\x85", "1", 1 }, { "", "a", "1", 1 },             { "enrolment\t", "a", "1", 1 },
		{ "enrolment", "a", value, MAUTH_STORE_VALUE_MAX + 1 },
	};

	memset(value, 'v', MAUTH_STORE_VALUE_MAX);
	memset(name, 'n', sizeof(name));
	name[MAUTH_STORE_NAME_MAX + 1] = '\0';
	assert_int_equal(open_store(f), MAUTH_OK);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct mauth_store_row two[] = { { "enrolment", "good", "1", 1 }, rows[i] };

		f->wanted++;
		mauth_store_write(f->store, two, 2, write_ended, f);
		assert_int_equal(f->ends, f->wanted - 1);
		f->all_done = false;
		assert_false(finish_writes(f));
		assert_int_equal(f->error.status, MAUTH_CONFIG);
		assert_non_null(strstr(f->error.text, "row 2"));
	}
	assert_value(f, "good", NULL);
	/* A neighbour in the same commit is not harmed, and the largest fits. */
	name[MAUTH_STORE_NAME_MAX] = '\0';
	start_write(f, "first", "1", 1);
	start_write(f, "bad\n", "1", 1);
	start_write(f, name, value, MAUTH_STORE_VALUE_MAX);
	assert_false(finish_writes(f));
	assert_int_equal(f->failures, 8);
	assert_value(f, name, value);
	assert_value(f, "bad\n", NULL);
	free(value);
}

/* -- commits -- */

struct order {
	struct sqlite_world *f;
	unsigned int number;
};

static void end_in_order(const struct mauth_error *error, void *context)
{
	struct order *order = context;

	assert_null(error);
	assert_int_equal(order->number, order->f->ends);
	write_ended(error, order->f);
}

/* Commits that have been made: each of them raises the counter of a connection that only looks. */
static int data_version(sqlite3 *db)
{
	sqlite3_stmt *stmt;
	int version;

	assert_int_equal(sqlite3_prepare_v2(db, "PRAGMA data_version", -1, &stmt, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
	version = sqlite3_column_int(stmt, 0);
	sqlite3_finalize(stmt);
	return version;
}

/* A worker whose jobs wait until the test lets them run. */
struct held {
	struct mauth_worker worker;
	void (*work)(void *job);
	void (*done)(void *job);
	void *job;
};

static void hold(void *context, void (*work)(void *job), void (*done)(void *job), void *job)
{
	struct held *held = context;

	assert_null(held->job);
	held->work = work;
	held->done = done;
	held->job = job;
}

static void let_run(struct held *held)
{
	void *job = held->job;

	assert_non_null(job);
	held->job = NULL;
	held->work(job);
	held->done(job);
}

static void writes_during_a_commit_share_the_next(void **state)
{
	struct order orders[100];
	struct sqlite_world *f = *state;
	struct held held = { .worker = { .submit = hold, .context = &held } };
	char name[16];
	sqlite3 *db;
	int before;

	assert_int_equal(open_with(f, &held.worker), MAUTH_OK);
	assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
	for (unsigned int i = 0; i < 100; i++) {
		const struct mauth_store_row row = { "enrolment", name, "1", 1 };

		snprintf(name, sizeof(name), "%u", i);
		orders[i] = (struct order){ f, i };
		mauth_store_write(f->store, &row, 1, end_in_order, &orders[i]);
	}
	assert_int_equal(f->ends, 0);
	let_run(&held);
	assert_int_equal(f->ends, 1);
	before = data_version(db);
	let_run(&held);
	assert_int_equal(f->ends, 100);
	assert_null(held.job);
	assert_int_not_equal(data_version(db), before);
	sqlite3_close(db);
	assert_value(f, "99", "1");
}

static void many_writes_end_in_order(void **state)
{
	static struct order orders[1000];
	struct sqlite_world *f = *state;
	char name[16];

	assert_int_equal(open_store(f), MAUTH_OK);
	f->wanted = 1000;
	for (unsigned int i = 0; i < 1000; i++) {
		const struct mauth_store_row row = { "enrolment", name, name, 1 };

		snprintf(name, sizeof(name), "%u", i);
		orders[i] = (struct order){ f, i };
		mauth_store_write(f->store, &row, 1, end_in_order, &orders[i]);
	}
	assert_true(finish_writes(f));
}

static void closing_finishes_every_write(void **state)
{
	struct sqlite_world *f = *state;
	struct held held = { .worker = { .submit = hold, .context = &held } };

	assert_int_equal(open_with(f, &held.worker), MAUTH_OK);
	start_write(f, "first", "1", 1);
	start_write(f, "second", "2", 1);
	mauth_sqlite_close(&f->sqlite);
	assert_int_equal(f->ends, 2);
	assert_int_equal(f->failures, 0);
	/* The worker comes to the job after all, and has nothing left to do. */
	let_run(&held);
	assert_int_equal(f->ends, 2);
	assert_int_equal(open_store(f), MAUTH_OK);
	assert_value(f, "first", "1");
	assert_value(f, "second", "2");
	for (unsigned int i = 0; i < 50; i++)
		start_write(f, i % 2 == 0 ? "first" : "second", "x", 1);
	mauth_sqlite_close(&f->sqlite);
	assert_true(f->all_done);
	assert_int_equal(f->ends, 52);
}

static void end_and_close(const struct mauth_error *error, void *context)
{
	struct sqlite_world *f = context;

	write_ended(error, context);
	mauth_sqlite_close(&f->sqlite);
}

static void a_store_may_be_closed_by_a_writes_end(void **state)
{
	static const struct mauth_store_row row = { "enrolment", "alice", "1", 1 };
	struct sqlite_world *f = *state;

	assert_int_equal(open_store(f), MAUTH_OK);
	f->wanted = 4;
	for (unsigned int i = 0; i < 4; i++)
		mauth_store_write(f->store, &row, 1, i % 2 == 0 ? write_ended : end_and_close, f);
	assert_true(finish_writes(f));
	assert_null(f->sqlite);
	assert_int_equal(open_store(f), MAUTH_OK);
	assert_value(f, "alice", "1");
}

static void end_and_write_again(const struct mauth_error *error, void *context)
{
	static const struct mauth_store_row row = { "enrolment", "again", "1", 1 };
	struct sqlite_world *f = context;

	write_ended(error, context);
	if (f->ends < 5)
		mauth_store_write(f->store, &row, 1, end_and_write_again, f);
}

static void a_writes_end_may_write_even_while_closing(void **state)
{
	static const struct mauth_store_row row = { "enrolment", "alice", "1", 1 };
	struct sqlite_world *f = *state;

	assert_int_equal(open_store(f), MAUTH_OK);
	mauth_store_write(f->store, &row, 1, end_and_write_again, f);
	mauth_sqlite_close(&f->sqlite);
	assert_int_equal(f->ends, 5);
	f->ends = 0;
	f->wanted = 5;
	assert_int_equal(open_store(f), MAUTH_OK);
	mauth_store_write(f->store, &row, 1, end_and_write_again, f);
	assert_true(finish_writes(f));
}

static void another_process_that_holds_it_fails_the_write_only(void **state)
{
	struct sqlite_world *f = *state;
	sqlite3 *db;

	assert_int_equal(open_store(f), MAUTH_OK);
	assert_true(put_value(f, "alice", "1"));
	assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
	assert_false(put_value(f, "alice", "2"));
	assert_int_equal(f->error.status, MAUTH_TEMPORARY);
	assert_non_null(strstr(f->error.text, "database is locked"));
	assert_non_null(strstr(f->error.advice, "fuser"));
	assert_value(f, "alice", "1");
	assert_non_null(strstr(f->sinks.lines, "cannot be written: database is locked; to do: another process"));
	assert_int_equal(sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
	assert_true(put_value(f, "alice", "3"));
	assert_value(f, "alice", "3");
	assert_non_null(strstr(f->sinks.lines, "is written again, 1 commits failed"));
	sqlite3_close(db);
}

/* -- a full disk: in a child, because a limit cannot be raised again by everybody -- */

static void set_file_size(rlim_t limit)
{
	struct rlimit now = { limit, RLIM_INFINITY };

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &now), 0);
	now.rlim_cur = limit;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &now), 0);
}

static int fill_up(struct sqlite_world *f)
{
	struct rlimit before;
	char name[16], *value = mauth_new(MAUTH_STORE_VALUE_MAX + 1);
	unsigned int written = 0;

	memset(value, 'v', MAUTH_STORE_VALUE_MAX);
	signal(SIGXFSZ, SIG_IGN);
	if (getrlimit(RLIMIT_FSIZE, &before) != 0 || open_store(f) != MAUTH_OK || !put_value(f, "before", "1"))
		return 1;
	set_file_size(1 << 20);
	for (; written < 100; written++) {
		snprintf(name, sizeof(name), "%u", written);
		if (!put_value(f, name, value))
			break;
	}
	if (written < 5 || written == 100 || f->error.status != MAUTH_TEMPORARY ||
	    strcmp(f->error.advice, "free some space") != 0)
		return 2;
	/* What was acknowledged is there, what was not is not. */
	assert_value(f, "0", value);
	assert_value(f, name, NULL);
	if (put_value(f, name, value) || put_value(f, name, value))
		return 3;
	set_file_size(before.rlim_cur);
	if (!put_value(f, name, value))
		return 4;
	assert_value(f, name, value);
	assert_value(f, "before", "1");
	mauth_sqlite_close(&f->sqlite);
	free(value);
	return strstr(f->sinks.lines, "is written again, 3 commits failed") != NULL ? 0 : 5;
}

static void a_full_disk_fails_writes_until_there_is_space(void **state)
{
	struct sqlite_world *f = *state;
	pid_t child = fork();
	int status;

	assert_true(child >= 0);
	if (child == 0)
		_exit(fill_up(f));
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_int_equal(open_store(f), MAUTH_OK);
	assert_value(f, "before", "1");
}

static int create_on_full_disk(struct sqlite_world *f)
{
	struct rlimit before;

	signal(SIGXFSZ, SIG_IGN);
	if (getrlimit(RLIMIT_FSIZE, &before) != 0)
		return 1;
	set_file_size(4096);
	if (open_store(f) != MAUTH_TEMPORARY || strcmp(f->error.advice, "free some space") != 0)
		return 2;
	set_file_size(before.rlim_cur);
	return open_store(f) == MAUTH_OK ? 0 : 3;
}

static void a_disk_too_full_to_create_it_leaves_nothing(void **state)
{
	struct sqlite_world *f = *state;
	pid_t child = fork();
	int status;

	assert_true(child >= 0);
	if (child == 0)
		_exit(create_on_full_disk(f));
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* -- SIGKILL -- */

#define ROUNDS 30u

struct victim {
	struct sqlite_world *f;
	int fd;
	uint32_t number, acknowledged;
};

static void write_next(struct victim *victim);

static void acknowledge(const struct mauth_error *error, void *context)
{
	struct victim *victim = context;

	if (error != NULL ||
	    write(victim->fd, &victim->acknowledged, sizeof(uint32_t)) != (ssize_t)sizeof(uint32_t))
		_exit(1);
	victim->acknowledged++;
	write_next(victim);
}

static void write_next(struct victim *victim)
{
	char name[16], value[3000];
	const struct mauth_store_row rows[] = {
		{ "enrolment", name, value, sizeof(value) },
		{ "device", name, "x", 1 },
	};

	snprintf(name, sizeof(name), "%u", victim->number++);
	memset(value, name[0], sizeof(value));
	mauth_store_write(victim->f->store, rows, 2, acknowledge, victim);
}

static void write_for_ever(struct sqlite_world *f, int fd, uint32_t number)
{
	struct victim victim = { .f = f, .fd = fd, .number = number, .acknowledged = number };
	bool never = false;

	if (open_store(f) != MAUTH_OK)
		_exit(1);
	/* Three at a time, so that commits are shared. */
	for (unsigned int i = 0; i < 3; i++)
		write_next(&victim);
	(void)poll_loop_run_until(f->loop, &never, 60000);
	_exit(1);
}

static uint32_t read_acknowledged(int fd, uint32_t expected)
{
	uint32_t number;

	while (read(fd, &number, sizeof(number)) == (ssize_t)sizeof(number))
		assert_int_equal(number, expected++);
	close(fd);
	return expected;
}

/* Kills a child that writes rows from first on, once it has begun or just so. Gives the number after the last one that was
 * acknowledged. */
static uint32_t kill_writer(struct sqlite_world *f, uint32_t first, bool begun, unsigned int usecs)
{
	int fds[2], status;
	pid_t child;
	uint32_t next = first;

	assert_int_equal(pipe(fds), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		close(fds[0]);
		write_for_ever(f, fds[1], first);
	}
	close(fds[1]);
	if (begun && read(fds[0], &next, sizeof(next)) == (ssize_t)sizeof(next))
		assert_int_equal(next++, first);
	usleep(usecs);
	assert_int_equal(kill(child, SIGKILL), 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status));
	return read_acknowledged(fds[0], next);
}

static void a_killed_process_loses_nothing_it_acknowledged(void **state)
{
	struct sqlite_world *f = *state;
	uint32_t next = 0;
	unsigned int seed = (unsigned int)getpid();
	char name[16];

	print_message("seed %u\n", seed);
	for (unsigned int round = 0; round < ROUNDS; round++) {
		/* The first rounds kill it while it creates the database, or opens it. */
		next = kill_writer(f, next, round >= 10, (unsigned int)rand_r(&seed) % (round < 10 ? 6000 : 40000));
		/* Opening checks the whole of it. */
		assert_int_equal(open_store(f), MAUTH_OK);
		for (uint32_t i = 0; i < next; i++) {
			struct mauth_secret *value = NULL;

			snprintf(name, sizeof(name), "%u", i);
			assert_int_equal(mauth_store_get(f->store, "enrolment", name, &value, &f->error), MAUTH_OK);
			assert_int_equal(mauth_secret_size(value), 3000);
			mauth_secret_free(&value);
			assert_int_equal(mauth_store_get(f->store, "device", name, &value, &f->error), MAUTH_OK);
			mauth_secret_free(&value);
		}
		mauth_sqlite_close(&f->sqlite);
	}
	print_message("%u rows acknowledged in %u lives\n", next, ROUNDS);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, sqlite_world_set_up, sqlite_world_tear_down)
	const struct CMUnitTest tests[] = {
		TEST(what_was_written_is_read_and_survives),
		TEST(a_write_of_many_rows_is_one),
		TEST(rows_are_walked_in_order),
		TEST(what_is_too_large_or_no_text_is_refused),
		TEST(writes_during_a_commit_share_the_next),
		TEST(many_writes_end_in_order),
		TEST(closing_finishes_every_write),
		TEST(a_store_may_be_closed_by_a_writes_end),
		TEST(a_writes_end_may_write_even_while_closing),
		TEST(another_process_that_holds_it_fails_the_write_only),
		TEST(a_full_disk_fails_writes_until_there_is_space),
		TEST(a_disk_too_full_to_create_it_leaves_nothing),
		TEST(a_killed_process_loses_nothing_it_acknowledged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
