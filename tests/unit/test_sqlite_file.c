/* SPDX-License-Identifier: MIT */
#include "core/mem.h"
#include "sqlite_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

/* -- the file -- */

static char *read_file(const char *path, size_t *size_r)
{
	FILE *file = fopen(path, "r");
	struct stat st;
	char *data;

	assert_non_null(file);
	assert_int_equal(fstat(fileno(file), &st), 0);
	data = mauth_new((size_t)st.st_size);
	assert_int_equal(fread(data, 1, (size_t)st.st_size, file), st.st_size);
	fclose(file);
	*size_r = (size_t)st.st_size;
	return data;
}

static void put_file(const char *path, const char *data, size_t size)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_int_equal(fchmod(fileno(file), 0600), 0);
	assert_int_equal(fwrite(data, 1, size, file), size);
	assert_int_equal(fclose(file), 0);
}

static void assert_file(const char *path, const char *data, size_t size)
{
	size_t now_size;
	char *now = read_file(path, &now_size);

	assert_int_equal(now_size, size);
	assert_memory_equal(now, data, size);
	free(now);
}

/* Fails to open, leaves the file as it is, and says so with something to do. */
static void assert_refused(struct sqlite_world *f, const char *text, const char *advice)
{
	size_t size;
	char *before = read_file(f->path, &size);

	assert_int_equal(open_store(f), MAUTH_CONFIG);
	assert_non_null(strstr(f->error.text, text));
	assert_non_null(strstr(f->error.advice, advice));
	assert_file(f->path, before, size);
	free(before);
}

static void its_files_are_private_whatever_the_umask(void **state)
{
	struct sqlite_world *f = *state;
	mode_t before = umask(0);
	struct stat st;

	assert_int_equal(open_store(f), MAUTH_OK);
	assert_true(put_value(f, "alice", "1"));
	umask(before);
	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(stat(f->wal, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(stat(f->shm, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	mauth_sqlite_close(&f->sqlite);
	assert_int_equal(access(f->wal, F_OK), -1);
	assert_int_equal(access(f->shm, F_OK), -1);
	assert_null(strstr(f->sinks.lines, "error"));
	assert_null(strstr(f->sinks.lines, "warning"));
}

static void a_directory_that_is_not_ours_alone_is_refused(void **state)
{
	struct sqlite_world *f = *state;
	char dir[64];

	strcpy(dir, f->dir);
	use_dir(f, "/tmp/modernauth-test-none");
	assert_int_equal(open_store(f), MAUTH_CONFIG);
	assert_string_equal(f->error.advice, "install -d -m 0700 -o modernauth -g modernauth /tmp/modernauth-test-none");
	use_dir(f, dir);
	assert_int_equal(chmod(f->dir, 0750), 0);
	assert_int_equal(open_store(f), MAUTH_CONFIG);
	assert_non_null(strstr(f->error.text, "open to others (mode 0750)"));
	assert_non_null(strstr(f->error.advice, "chmod 0700 /tmp/"));
	assert_int_equal(chmod(f->dir, 0700), 0);
	if (geteuid() == 0) {
		assert_int_equal(chown(f->dir, 65534, 0), 0);
		assert_int_equal(open_store(f), MAUTH_CONFIG);
		assert_non_null(strstr(f->error.text, "belongs to uid 65534"));
		assert_int_equal(chown(f->dir, 0, 0), 0);
	}
	assert_int_equal(open_store(f), MAUTH_OK);
}

static void only_one_may_have_it_open(void **state)
{
	struct sqlite_world *f = *state;
	struct mauth_sqlite *second = NULL;

	assert_int_equal(open_store(f), MAUTH_OK);
	assert_int_equal(mauth_sqlite_open(f->dir, mauth_worker_thread_worker(f->thread), &f->sinks.log, &second, &f->error),
			 MAUTH_TEMPORARY);
	assert_null(second);
	assert_non_null(strstr(f->error.text, "in use by another process"));
	assert_non_null(strstr(f->error.advice, "fuser"));
	assert_true(put_value(f, "alice", "1"));
	reopen(f);
}

static void a_database_locked_by_another_program_is_not_waited_for(void **state)
{
	struct sqlite_world *f = *state;
	sqlite3 *db;

	assert_int_equal(open_store(f), MAUTH_OK);
	mauth_sqlite_close(&f->sqlite);
	assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE", NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(open_store(f), MAUTH_TEMPORARY);
	assert_non_null(strstr(f->error.advice, "another process holds it"));
	sqlite3_close(db);
	assert_int_equal(open_store(f), MAUTH_OK);
}

static void what_is_no_database_is_refused_and_stays(void **state)
{
	struct sqlite_world *f = *state;
	char large[8192];

	put_file(f->path, "", 0);
	assert_refused(f, "is empty", "put a backup there");
	put_file(f->path, "hello\n", 6);
	assert_refused(f, "is not a database", "put a backup there");
	memset(large, 'x', sizeof(large));
	put_file(f->path, large, sizeof(large));
	assert_refused(f, "is not a database", "put a backup there");
	/* Nobody else's with a header like ours either. */
	strcpy(large, "SQLite format 3");
	memcpy(large + 68, "maut", 4);
	put_file(f->path, large, sizeof(large));
	assert_refused(f, "cannot be read", "put a backup there");
	assert_int_equal(chmod(f->path, 0640), 0);
	assert_refused(f, "open to others", "chmod 0600");
	assert_int_equal(unlink(f->path), 0);
	assert_int_equal(symlink("/etc/passwd", f->path), 0);
	assert_refused(f, "is not a regular file", "put a backup there");
}

static void run_sql(const char *path, const char *sql)
{
	sqlite3 *db;

	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
	assert_int_equal(chmod(path, 0600), 0);
}

static void another_programs_database_is_refused_and_stays(void **state)
{
	static const char *const databases[] = {
		"CREATE TABLE records (kind, name, value)",
		"PRAGMA application_id = 42; CREATE TABLE t (x)",
		"PRAGMA journal_mode = WAL; PRAGMA application_id = 252006673; CREATE TABLE t (x)",
	};
	struct sqlite_world *f = *state;

	for (size_t i = 0; i < sizeof(databases) / sizeof(databases[0]); i++) {
		run_sql(f->path, databases[i]);
		assert_refused(f, "another program", "move");
		/* SQLite has not even looked. */
		assert_int_equal(access(f->wal, F_OK), -1);
		assert_int_equal(unlink(f->path), 0);
	}
}

static void a_newer_schema_is_refused_and_stays(void **state)
{
	struct sqlite_world *f = *state;

	assert_int_equal(open_store(f), MAUTH_OK);
	mauth_sqlite_close(&f->sqlite);
	run_sql(f->path, "PRAGMA user_version = 2");
	assert_refused(f, "newer version (schema 2, this version knows 1)", "install that version again");
	run_sql(f->path, "PRAGMA user_version = -1");
	assert_refused(f, "newer version", "install that version again");
	run_sql(f->path, "PRAGMA user_version = 1");
	assert_int_equal(open_store(f), MAUTH_OK);
}

static void a_database_of_ours_without_its_table_is_refused(void **state)
{
	struct sqlite_world *f = *state;

	run_sql(f->path, "PRAGMA application_id = 1835103604; PRAGMA user_version = 1; CREATE TABLE other (x)");
	assert_int_equal(open_store(f), MAUTH_CONFIG);
	assert_non_null(strstr(f->error.text, "no such table: records"));
}

static void a_log_without_its_database_is_kept(void **state)
{
	struct sqlite_world *f = *state;

	put_file(f->wal, "log", 3);
	assert_int_equal(open_store(f), MAUTH_CONFIG);
	assert_non_null(strstr(f->error.text, "is missing, but its log (-wal) is there"));
	assert_int_equal(access(f->path, F_OK), -1);
	assert_file(f->wal, "log", 3);
}

static void what_a_dead_creator_left_is_swept_away(void **state)
{
	struct sqlite_world *f = *state;
	char temporary[104];

	snprintf(temporary, sizeof(temporary), "%s.new", f->path);
	put_file(temporary, "half a database", 15);
	assert_int_equal(open_store(f), MAUTH_OK);
	assert_int_equal(access(temporary, F_OK), -1);
}

/* -- damage -- */

#define PAGE 4096u

/* A database of many pages, closed, and its content. */
static char *make_database(struct sqlite_world *f, size_t *size_r)
{
	char name[16], value[2500];

	assert_int_equal(open_store(f), MAUTH_OK);
	for (unsigned int i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "%u", i);
		memset(value, name[0], sizeof(value));
		start_write(f, name, value, sizeof(value));
	}
	assert_true(finish_writes(f));
	mauth_sqlite_close(&f->sqlite);
	return read_file(f->path, size_r);
}

static void a_damaged_page_is_refused_and_stays(void **state)
{
	struct sqlite_world *f = *state;
	size_t size, refused = 0;
	char *whole = make_database(f, &size);
	unsigned int pages = (unsigned int)(size / PAGE);

	for (unsigned int page = 0; page < pages; page++) {
		char *damaged = mauth_new(size);

		memcpy(damaged, whole, size);
		/* Behind the header of the first page; of the others the first octets. */
		for (unsigned int i = 0; i < 12; i++)
			damaged[page * PAGE + (page == 0 ? 100 : 0) + i] ^= (char)0xa5;
		put_file(f->path, damaged, size);
		assert_refused(f, f->path, "put a backup there");
		refused++;
		unlink(f->wal);
		unlink(f->shm);
		free(damaged);
	}
	assert_int_equal(refused, pages);
	put_file(f->path, whole, size / 2);
	assert_refused(f, f->path, "put a backup there");
	put_file(f->path, whole, size);
	assert_int_equal(open_store(f), MAUTH_OK);
	free(whole);
}

static enum mauth_status ignore_row(const struct mauth_store_row *row, void *context, struct mauth_error *error_r)
{
	*(unsigned int *)context += row->size > 0;
	return MAUTH_OK;
}

/* An octet of a value may change unnoticed here: what is secret is sealed, which notices. Nothing may crash. */
static void a_flipped_octet_anywhere_is_refused_or_survived(void **state)
{
	struct sqlite_world *f = *state;
	unsigned int seed = (unsigned int)getpid(), rows, refused = 0;
	size_t size, at;
	char *whole = make_database(f, &size), *damaged = mauth_new(size);

	print_message("seed %u\n", seed);
	for (unsigned int i = 0; i < 200; i++) {
		memcpy(damaged, whole, size);
		at = (size_t)rand_r(&seed) % size;
		/* Half of them where the structure is: in front of a page. */
		if (i % 2 == 0)
			at = at / PAGE * PAGE + at % 64;
		damaged[at] = (char)(damaged[at] ^ (1 + rand_r(&seed) % 255));
		put_file(f->path, damaged, size);
		rows = 0;
		if (open_store(f) == MAUTH_OK) {
			(void)mauth_store_each(f->store, NULL, ignore_row, &rows, &f->error);
			mauth_sqlite_close(&f->sqlite);
		} else {
			assert_file(f->path, damaged, size);
			assert_string_not_equal(f->error.advice, "");
			refused++;
		}
		unlink(f->wal);
		unlink(f->shm);
	}
	print_message("%u of 200 refused\n", refused);
	free(damaged);
	free(whole);
}

static void rows_of_somebody_else_are_not_believed(void **state)
{
	static const char *const statements[] = {
		"INSERT INTO records VALUES ('enrolment', char(10), x'00')",
		"INSERT INTO records VALUES ('enrolment', 'large', zeroblob(65537))",
	};
	struct sqlite_world *f = *state;
	struct mauth_secret *value = NULL;
	unsigned int rows = 0;

	for (size_t i = 0; i < sizeof(statements) / sizeof(statements[0]); i++) {
		assert_int_equal(open_store(f), MAUTH_OK);
		run_sql(f->path, statements[i]);
		assert_int_equal(mauth_store_each(f->store, NULL, ignore_row, &rows, &f->error), MAUTH_CONFIG);
		assert_non_null(strstr(f->error.text, "not one of ours"));
		if (i == 1)
			assert_int_equal(mauth_store_get(f->store, "enrolment", "large", &value, &f->error), MAUTH_CONFIG);
		assert_null(value);
		run_sql(f->path, "DELETE FROM records");
		mauth_sqlite_close(&f->sqlite);
	}
}

/* -- schema -- */

static const char *const steps[] = {
	"CREATE TABLE one (x); INSERT INTO one VALUES (1)",
	"ALTER TABLE one ADD COLUMN y; UPDATE one SET y = x + 1",
	"CREATE TABLE three AS SELECT x + y AS z FROM one; DROP TABLE one",
};

static int int_of(sqlite3 *db, const char *sql)
{
	sqlite3_stmt *stmt = NULL;
	int value = -1;

	if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) == SQLITE_OK && sqlite3_step(stmt) == SQLITE_ROW)
		value = sqlite3_column_int(stmt, 0);
	sqlite3_finalize(stmt);
	return value;
}

static void missing_steps_are_taken_from_wherever_it_stands(void **state)
{
	struct sqlite_world *f = *state;

	for (int from = 0; from <= 3; from++) {
		sqlite3 *db;

		assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
		assert_int_equal(mauth_sqlite_migrate(db, "test", steps, from, &f->error), MAUTH_OK);
		assert_int_equal(int_of(db, "PRAGMA user_version"), from);
		assert_int_equal(mauth_sqlite_migrate(db, "test", steps, 3, &f->error), MAUTH_OK);
		assert_int_equal(int_of(db, "PRAGMA user_version"), 3);
		assert_int_equal(int_of(db, "SELECT z FROM three"), 3);
		assert_int_equal(mauth_sqlite_migrate(db, "test", steps, 3, &f->error), MAUTH_OK);
		sqlite3_close(db);
	}
}

static void a_step_that_fails_is_taken_back(void **state)
{
	static const char *const broken[] = {
		"CREATE TABLE one (x); INSERT INTO one VALUES (1)",
		"UPDATE one SET x = 2; INSERT INTO none VALUES (1)",
	};
	struct sqlite_world *f = *state;
	sqlite3 *db;

	assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
	assert_int_equal(mauth_sqlite_migrate(db, "test", broken, 2, &f->error), MAUTH_CONFIG);
	assert_non_null(strstr(f->error.text, "test cannot be upgraded: no such table: none"));
	assert_int_equal(int_of(db, "PRAGMA user_version"), 1);
	assert_int_equal(int_of(db, "SELECT x FROM one"), 1);
	assert_int_equal(mauth_sqlite_migrate(db, "test", steps, 3, &f->error), MAUTH_OK);
	assert_int_equal(int_of(db, "SELECT z FROM three"), 3);
	sqlite3_close(db);
}

static void an_older_database_is_upgraded_when_it_is_opened(void **state)
{
	struct sqlite_world *f = *state;

	run_sql(f->path, "PRAGMA application_id = 1835103604; CREATE TABLE t (x); DROP TABLE t");
	assert_int_equal(open_store(f), MAUTH_OK);
	assert_true(put_value(f, "alice", "1"));
	assert_value(f, "alice", "1");
}

/* -- speed, which is only printed -- */

static double msecs_since(const struct timespec *start)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - start->tv_sec) * 1e3 + (double)(now.tv_nsec - start->tv_nsec) / 1e6;
}

static void ten_thousand_rows_are_read_quickly(void **state)
{
	struct sqlite_world *f = *state;
	struct timespec start;
	unsigned int rows = 0;
	char name[40], value[2500];
	double opened;

	assert_int_equal(open_store(f), MAUTH_OK);
	memset(value, 'v', sizeof(value));
	clock_gettime(CLOCK_MONOTONIC, &start);
	for (unsigned int i = 0; i < 10000; i++) {
		snprintf(name, sizeof(name), "user%u@contoso.com", i * 7919 % 10000);
		start_write(f, name, value, sizeof(value));
	}
	assert_true(finish_writes(f));
	print_message("10,000 rows of 2.5 KB written in %.0f ms\n", msecs_since(&start));
	mauth_sqlite_close(&f->sqlite);
	clock_gettime(CLOCK_MONOTONIC, &start);
	assert_int_equal(open_store(f), MAUTH_OK);
	opened = msecs_since(&start);
	assert_int_equal(mauth_store_each(f->store, NULL, ignore_row, &rows, &f->error), MAUTH_OK);
	assert_int_equal(rows, 10000);
	print_message("opened and checked in %.0f ms, read in %.0f ms more\n", opened, msecs_since(&start) - opened);
	clock_gettime(CLOCK_MONOTONIC, &start);
	for (unsigned int i = 0; i < 100; i++)
		assert_true(put_value(f, "alice", "1"));
	print_message("one commit takes %.2f ms\n", msecs_since(&start) / 100);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, sqlite_world_set_up, sqlite_world_tear_down)
	const struct CMUnitTest tests[] = {
		TEST(its_files_are_private_whatever_the_umask),
		TEST(a_directory_that_is_not_ours_alone_is_refused),
		TEST(only_one_may_have_it_open),
		TEST(a_database_locked_by_another_program_is_not_waited_for),
		TEST(what_is_no_database_is_refused_and_stays),
		TEST(another_programs_database_is_refused_and_stays),
		TEST(a_newer_schema_is_refused_and_stays),
		TEST(a_database_of_ours_without_its_table_is_refused),
		TEST(a_log_without_its_database_is_kept),
		TEST(what_a_dead_creator_left_is_swept_away),
		TEST(a_damaged_page_is_refused_and_stays),
		TEST(a_flipped_octet_anywhere_is_refused_or_survived),
		TEST(rows_of_somebody_else_are_not_believed),
		TEST(missing_steps_are_taken_from_wherever_it_stands),
		TEST(a_step_that_fails_is_taken_back),
		TEST(an_older_database_is_upgraded_when_it_is_opened),
		TEST(ten_thousand_rows_are_read_quickly),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
