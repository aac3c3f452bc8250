/* SPDX-License-Identifier: MIT */
/* Two front ends, one database: who owns it writes, who follows it sees that, and writes only what several may. */
#include "sqlite_world.h"

#include "core/mem.h"
#include "store/sqlite-follow.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *const kinds[] = { "enrolment", "exception", NULL };

/* The one that follows. The world's own store is the owner's. */
struct second {
	struct sqlite_world *f;
	struct mauth_sqlite *sqlite;
	struct mauth_sqlite_follow *follow;
	struct mauth_buf told;               /* "kind name=value\n" or "kind name gone\n" */
	unsigned int count, wanted;
	bool enough;
};

static void changed(const struct mauth_store_row *row, void *context)
{
	struct second *second = context;

	if (row->value == NULL)
		mauth_buf_printf(&second->told, "%s %s gone\n", row->kind, row->name);
	else
		mauth_buf_printf(&second->told, "%s %s=%.*s\n", row->kind, row->name, (int)row->size, row->value);
	second->count++;
	second->enough = second->count >= second->wanted;
}

static struct second *second_new(struct sqlite_world *f)
{
	struct second *second = mauth_new(sizeof(*second));
	struct mauth_error error;

	second->f = f;
	if (mauth_sqlite_open_shared(f->dir, "exception", mauth_worker_thread_worker(f->thread), &f->sinks.log,
				     &second->sqlite, &error) != MAUTH_OK)
		fail_msg("%s", error.text);
	second->follow = mauth_sqlite_follow_new(&(struct mauth_sqlite_follow_deps){
		.dir = f->dir, .kinds = kinds, .loop = poll_loop_loop(f->loop), .log = &f->sinks.log,
		.worker = mauth_worker_thread_worker(f->thread), .changed = changed, .context = second });
	return second;
}

static void second_free(struct second *second)
{
	mauth_sqlite_follow_free(&second->follow);
	mauth_sqlite_close(&second->sqlite);
	mauth_buf_free(&second->told);
	free(second);
}

/* Until so many more have been told; what was told, in all. */
static const char *wait_told(struct second *second, unsigned int more)
{
	second->wanted += more;
	second->enough = second->count >= second->wanted;
	assert_true(second->enough || poll_loop_run_until(second->f->loop, &second->enough, 60000));
	return second->told.data;
}

/* Time for looking more than once. */
static void nothing_is_told(struct second *second)
{
	bool never = false;

	poll_loop_run_until(second->f->loop, &never, 900);
	assert_int_equal(second->count, second->wanted);
}

static bool write_as(struct sqlite_world *f, struct mauth_sqlite *sqlite, const char *kind, const char *name, const char *value)
{
	const struct mauth_store_row row = { kind, name, value, value == NULL ? 0 : strlen(value) };

	f->wanted++;
	f->all_done = false;
	mauth_store_write(mauth_sqlite_store(sqlite), &row, 1, write_ended, f);
	return finish_writes(f);
}

static void who_comes_second_is_told_and_can_join(void **state)
{
	struct sqlite_world *f = *state;
	struct mauth_sqlite *other = NULL;
	struct second *second;
	struct mauth_error error;
	struct mauth_secret *value = NULL;

	assert_int_equal(open_store(f), MAUTH_OK);
	assert_false(mauth_store_get(f->store, "enrolment", "t/a", &value, NULL) == MAUTH_OK);
	assert_int_equal(mauth_sqlite_open(f->dir, mauth_worker_thread_worker(f->thread), &f->sinks.log, &other, &error),
			 MAUTH_TEMPORARY);
	assert_int_equal(error.code, EWOULDBLOCK);
	assert_false(mauth_sqlite_store(f->sqlite)->follows);
	second = second_new(f);
	assert_true(mauth_sqlite_store(second->sqlite)->follows);
	assert_true(put_value(f, "t/a", "1"));
	assert_int_equal(mauth_store_get(mauth_sqlite_store(second->sqlite), "enrolment", "t/a", &value, &error), MAUTH_OK);
	mauth_secret_free(&value);
	second_free(second);
	mauth_sqlite_close(&f->sqlite);
}

static void without_a_database_there_is_nothing_to_join(void **state)
{
	struct sqlite_world *f = *state;
	struct mauth_sqlite *sqlite = NULL;
	struct mauth_error error;

	assert_int_equal(mauth_sqlite_open_shared(f->dir, "exception", mauth_worker_thread_worker(f->thread), &f->sinks.log,
						  &sqlite, &error), MAUTH_TEMPORARY);
	assert_null(sqlite);
	assert_non_null(strstr(error.text, "modernauth.db"));
}

static void who_follows_writes_the_shared_kind_only(void **state)
{
	struct sqlite_world *f = *state;
	struct second *second;

	assert_int_equal(open_store(f), MAUTH_OK);
	second = second_new(f);
	assert_true(write_as(f, second->sqlite, "exception", "x", "one"));
	assert_false(write_as(f, second->sqlite, "enrolment", "t/a", "two"));
	assert_non_null(strstr(f->error.text, "another front end"));
	assert_non_null(strstr(f->error.advice, "fuser"));
	assert_value(f, "t/a", NULL);
	/* That one was refused is no failure of the disk. */
	assert_null(strstr(f->sinks.lines, "error"));
	assert_true(write_as(f, second->sqlite, "exception", "x", NULL));
	second_free(second);
}

static void changes_of_the_other_are_told(void **state)
{
	struct sqlite_world *f = *state;
	struct second *second;

	assert_int_equal(open_store(f), MAUTH_OK);
	assert_true(put_value(f, "t/old", "was there"));
	assert_true(put_value(f, "t/gone", "goes"));
	second = second_new(f);
	nothing_is_told(second);
	assert_true(put_value(f, "t/new", "1"));
	assert_string_equal(wait_told(second, 1), "enrolment t/new=1\n");
	mauth_buf_clear(&second->told);
	assert_true(put_value(f, "t/gone", NULL));
	assert_string_equal(wait_told(second, 1), "enrolment t/gone gone\n");
	mauth_buf_clear(&second->told);
	assert_true(put_value(f, "t/old", "changed"));
	assert_string_equal(wait_told(second, 1), "enrolment t/old=changed\n");
	assert_true(write_as(f, f->sqlite, "device", "t/u/d", "of another kind"));
	nothing_is_told(second);
	second_free(second);
}

static void the_first_and_the_last_row_may_go(void **state)
{
	struct sqlite_world *f = *state;
	struct second *second;

	assert_int_equal(open_store(f), MAUTH_OK);
	assert_true(put_value(f, "t/a", "1") && put_value(f, "t/m", "1") && put_value(f, "t/z", "1"));
	second = second_new(f);
	start_write(f, "t/a", NULL, 0);
	start_write(f, "t/z", NULL, 0);
	assert_true(finish_writes(f));
	wait_told(second, 2);
	assert_non_null(strstr(second->told.data, "t/a gone"));
	assert_non_null(strstr(second->told.data, "t/z gone"));
	second_free(second);
}

static void a_thousand_rows_are_told_in_several_turns(void **state)
{
	struct sqlite_world *f = *state;
	struct second *second;
	char name[32];

	assert_int_equal(open_store(f), MAUTH_OK);
	second = second_new(f);
	for (unsigned int i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "t/%04u", i);
		start_write(f, name, "1", 1);
	}
	assert_true(finish_writes(f));
	wait_told(second, 1000);
	nothing_is_told(second);
	for (unsigned int i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "t/%04u=1\n", i);
		assert_non_null(strstr(second->told.data, name));
	}
	second_free(second);
}

static void who_follows_may_go_while_it_looks(void **state)
{
	struct sqlite_world *f = *state;
	struct second *second;
	bool never = false;

	assert_int_equal(open_store(f), MAUTH_OK);
	for (unsigned int i = 0; i < 20; i++) {
		second = second_new(f);
		/* About when the first job is under way, sometimes before, sometimes after. */
		poll_loop_run_until(f->loop, &never, i < 10 ? 395 + i : 1);
		second_free(second);
	}
	/* Its jobs end with the worker's thread. */
	mauth_worker_thread_free(&f->thread);
	f->thread = mauth_worker_thread_new(poll_loop_loop(f->loop), &f->sinks.log);
	mauth_sqlite_close(&f->sqlite);
	assert_int_equal(poll_loop_timers(f->loop), 0);
}

static void a_store_is_free_when_its_owner_has_gone(void **state)
{
	struct sqlite_world *f = *state;
	struct second *second;

	assert_int_equal(open_store(f), MAUTH_OK);
	second = second_new(f);
	assert_false(mauth_sqlite_is_free(f->dir));
	assert_true(put_value(f, "t/a", "1"));
	mauth_sqlite_close(&f->sqlite);
	assert_true(mauth_sqlite_is_free(f->dir));
	/* Looking has not locked it; and what the owner wrote is there for both. */
	assert_int_equal(open_store(f), MAUTH_OK);
	assert_value(f, "t/a", "1");
	assert_true(put_value(f, "t/b", "2"));
	wait_told(second, 2);
	second_free(second);
}

/* A database that cannot be read for long is said once, and so is its end; nothing that happened meanwhile is missed. */
static void what_cannot_be_read_is_said_once(void **state)
{
	struct sqlite_world *f = *state;
	struct second *second;
	char elsewhere[128];
	bool never = false;

	assert_int_equal(open_store(f), MAUTH_OK);
	assert_true(put_value(f, "t/a", "1"));
	snprintf(elsewhere, sizeof(elsewhere), "%s.elsewhere", f->path);
	assert_int_equal(rename(f->path, elsewhere), 0);
	second = mauth_new(sizeof(*second));
	second->f = f;
	second->follow = mauth_sqlite_follow_new(&(struct mauth_sqlite_follow_deps){
		.dir = f->dir, .kinds = kinds, .loop = poll_loop_loop(f->loop), .log = &f->sinks.log,
		.worker = mauth_worker_thread_worker(f->thread), .changed = changed, .context = second });
	for (unsigned int i = 0; i < 200 && strstr(f->sinks.lines, "is not seen; to do: ") == NULL; i++)
		poll_loop_run_until(f->loop, &never, 100);
	poll_loop_run_until(f->loop, &never, 900);
	assert_int_equal(rename(elsewhere, f->path), 0);
	assert_string_equal(wait_told(second, 1), "enrolment t/a=1\n");
	assert_non_null(strstr(f->sinks.lines, "info database"));
	assert_null(strstr(strstr(f->sinks.lines, "is not seen") + 1, "is not seen"));
	second_free(second);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, sqlite_world_set_up, sqlite_world_tear_down)
		TEST(who_comes_second_is_told_and_can_join),
		TEST(without_a_database_there_is_nothing_to_join),
		TEST(who_follows_writes_the_shared_kind_only),
		TEST(changes_of_the_other_are_told),
		TEST(the_first_and_the_last_row_may_go),
		TEST(a_thousand_rows_are_told_in_several_turns),
		TEST(who_follows_may_go_while_it_looks),
		TEST(what_cannot_be_read_is_said_once),
		TEST(a_store_is_free_when_its_owner_has_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
