/* SPDX-License-Identifier: MIT */
/* Retention: what is too old or too much goes, on record, and nothing else. */
#include "core/chain-note.h"
#include "core/json.h"
#include "core/mem.h"
#include "fake_loop.h"
#include "fake_sinks.h"
#include "fake_worker.h"
#include "store/audit-file.h"
#include "store/audit-keep.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

#include <cmocka.h>

#define NOW 1700000000
#define DAY 86400

struct fixture {
	char dir[64], path[96];
	struct fake_loop *loop;
	struct fake_worker *worker;
	struct fake_sinks sinks;
	struct mauth_chain_key *key;
	struct mauth_audit_keep *keep;
};

static int set_up(void **state)
{
	struct fixture *f = mauth_new(sizeof(*f));

	strcpy(f->dir, "/tmp/modernauth-test-XXXXXX");
	if (mkdtemp(f->dir) == NULL)
		return -1;
	snprintf(f->path, sizeof(f->path), "%s/audit.jsonl", f->dir);
	f->loop = fake_loop_new(NOW);
	f->worker = fake_worker_new(fake_loop_loop(f->loop));
	fake_sinks_init(&f->sinks);
	f->key = mauth_chain_key_new();
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	char command[200];

	mauth_audit_keep_free(&f->keep);
	fake_loop_run(f->loop, 10);
	snprintf(command, sizeof(command), "rm -rf %s", f->dir);
	assert_int_equal(system(command), 0);
	mauth_chain_key_free(&f->key);
	fake_sinks_free(&f->sinks);
	fake_worker_free(&f->worker);
	fake_loop_free(&f->loop);
	free(f);
	return 0;
}

static char *path_of(const struct fixture *f, const char *suffix)
{
	return mauth_printf("%s%s", f->path, suffix);
}

static bool is_there(const struct fixture *f, const char *suffix)
{
	char *path = path_of(f, suffix);
	bool there = access(path, F_OK) == 0;

	free(path);
	return there;
}

/* Two sealed records of that many days ago, of a writer of their own. */
static void make_lines(const struct fixture *f, unsigned int days, struct mauth_buf *out)
{
	const time_t when = NOW - (time_t)days * DAY;
	struct mauth_chain_writer writer;
	char stamp[40], line[200];
	struct tm tm;

	mauth_chain_begin(&writer, f->key);
	strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", gmtime_r(&when, &tm));
	for (unsigned int i = 0; i < 2; i++) {
		snprintf(line, sizeof(line), "{\"@timestamp\":\"%s.%06uZ\",\"n\":%u}\n", stamp, i, i);
		mauth_chain_seal(&writer, line, strlen(line), out);
	}
}

static void make_file(const struct fixture *f, const char *suffix, unsigned int days, bool gzip)
{
	char *path = path_of(f, suffix);
	struct mauth_buf lines = { 0 };

	make_lines(f, days, &lines);
	if (gzip) {
		gzFile file = gzopen(path, "wb");

		assert_int_equal(gzwrite(file, lines.data, (unsigned int)lines.size), (int)lines.size);
		assert_int_equal(gzclose(file), Z_OK);
	} else {
		FILE *file = fopen(path, "w");

		assert_non_null(file);
		assert_int_equal(fwrite(lines.data, 1, lines.size, file), lines.size);
		fclose(file);
	}
	mauth_buf_free(&lines);
	free(path);
}

static void keep(struct fixture *f, int64_t secs, uint64_t size)
{
	f->keep = mauth_audit_keep_new(&(struct mauth_audit_keep_settings){
		.path = f->path, .keep_secs = secs, .max_size = size, .key = f->key, .loop = fake_loop_loop(f->loop), .log = &f->sinks.log,
		.worker = fake_worker_worker(f->worker), .sink = &f->sinks.audit });
	fake_loop_run(f->loop, MAUTH_AUDIT_KEEP_FIRST_MSECS + 10);
}

static uint64_t size_of(const struct fixture *f, const char *suffix)
{
	char *path = path_of(f, suffix);
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	free(path);
	return (uint64_t)st.st_size;
}

static json_t *record(const struct fixture *f, unsigned int number)
{
	const char *at = f->sinks.records, *end;
	json_t *root;

	while (number-- > 0)
		at = strchr(at, '\n') + 1;
	end = strchr(at, '\n');
	root = mauth_json_object(at, (size_t)(end - at));
	assert_non_null(root);
	return root;
}

static json_t *deleted(json_t *root)
{
	return json_object_get(json_object_get(json_object_get(root, "modernauth"), "audit"), "deleted");
}

static void old_files_go_by_their_last_record(void **state)
{
	struct fixture *f = *state;
	json_t *root;

	make_file(f, "-20230101.gz", 100, true);
	make_file(f, "-20230201", 91, false);
	make_file(f, "-20230301", 89, false);
	make_file(f, "", 200, false);
	make_file(f, ".torn", 300, false);
	make_file(f, "x-20230101", 300, false);
	keep(f, 90 * DAY, 0);
	assert_false(is_there(f, "-20230101.gz"));
	assert_false(is_there(f, "-20230201"));
	assert_true(is_there(f, "-20230301"));
	assert_true(is_there(f, ""));
	assert_true(is_there(f, ".torn"));
	assert_true(is_there(f, "x-20230101"));
	assert_int_equal(f->sinks.records_count, 2);
	root = record(f, 0);
	assert_string_equal(mauth_json_str(json_object_get(root, "event"), "action"), "audit-deleted");
	assert_string_equal(mauth_json_str(json_object_get(root, "file"), "name"), "audit.jsonl-20230101.gz");
	assert_true(json_is_true(json_object_get(deleted(root), "verified")));
	assert_int_equal(json_array_size(json_object_get(deleted(root), "writers")), 1);
	assert_int_equal(json_integer_value(json_object_get(json_array_get(json_object_get(deleted(root), "writers"), 0), "to")), 2);
	json_decref(root);
	/* An hour later there is nothing more; in two days there is. */
	fake_loop_run(f->loop, MAUTH_AUDIT_KEEP_MSECS);
	assert_true(is_there(f, "-20230301"));
	for (unsigned int hour = 0; hour < 49; hour++)
		fake_loop_run(f->loop, MAUTH_AUDIT_KEEP_MSECS);
	assert_false(is_there(f, "-20230301"));
	assert_true(is_there(f, ""));
}

static void too_much_goes_oldest_first(void **state)
{
	struct fixture *f = *state;

	make_file(f, "-20230101", 30, false);
	make_file(f, "-20230201", 20, false);
	make_file(f, "-20230301", 10, false);
	make_file(f, "", 0, false);
	keep(f, 0, size_of(f, "") + size_of(f, "-20230301") + 10);
	assert_false(is_there(f, "-20230101"));
	assert_false(is_there(f, "-20230201"));
	assert_true(is_there(f, "-20230301"));
	/* Not the file in use, however small the limit. */
	mauth_audit_keep_free(&f->keep);
	keep(f, 0, 1);
	assert_false(is_there(f, "-20230301"));
	assert_true(is_there(f, ""));
}

static void what_does_not_verify_is_said(void **state)
{
	struct fixture *f = *state;
	char *path = path_of(f, "-20230101");
	json_t *root;
	int fd;

	make_file(f, "-20230101", 100, false);
	make_file(f, "", 0, false);
	fd = open(path, O_WRONLY);
	assert_int_equal(pwrite(fd, "5", 1, 47), 1);
	close(fd);
	free(path);
	keep(f, 90 * DAY, 0);
	assert_false(is_there(f, "-20230101"));
	root = record(f, 0);
	assert_true(json_is_false(json_object_get(deleted(root), "verified")));
	json_decref(root);
	assert_non_null(strstr(f->sinks.lines, "does not verify"));
}

static void without_a_record_nothing_is_deleted(void **state)
{
	struct fixture *f = *state;

	make_file(f, "-20230101", 100, false);
	f->sinks.audit_broken = true;
	keep(f, 90 * DAY, 0);
	assert_true(is_there(f, "-20230101"));
	f->sinks.audit_broken = false;
	fake_loop_run(f->loop, MAUTH_AUDIT_KEEP_MSECS + 10);
	/* Nothing to sync: there is no file in use. */
	assert_true(is_there(f, "-20230101"));
	make_file(f, "", 0, false);
	fake_loop_run(f->loop, MAUTH_AUDIT_KEEP_MSECS + 10);
	assert_false(is_there(f, "-20230101"));
}

static void a_file_that_changes_meanwhile_stays(void **state)
{
	struct fixture *f = *state;
	char *path = path_of(f, "-20230101");
	FILE *file;

	make_file(f, "-20230101", 100, false);
	make_file(f, "", 0, false);
	fake_worker_hold(f->worker, true);
	keep(f, 90 * DAY, 0);
	assert_true(fake_worker_work(f->worker));
	file = fopen(path, "a");
	assert_non_null(file);
	fputs("x", file);
	fclose(file);
	(void)fake_worker_run(f->worker, 10);
	(void)fake_worker_run(f->worker, 10);
	assert_true(is_there(f, "-20230101"));
	fake_worker_hold(f->worker, false);
	free(path);
}

static void many_writers_are_several_records(void **state)
{
	struct fixture *f = *state;
	struct mauth_chain_deletion deletion = { .file = "a", .reason = "b", .ranges_count = MAUTH_CHAIN_RANGES_MAX + 1 };
	struct mauth_chain_range *ranges = mauth_new_array(deletion.ranges_count, sizeof(*ranges));
	struct mauth_buf lines = { 0 };
	const char *second;

	(void)f;
	for (size_t i = 0; i < deletion.ranges_count; i++) {
		snprintf(ranges[i].writer, sizeof(ranges[i].writer), "%08x", (unsigned int)i);
		ranges[i].from = 1;
		ranges[i].last.number = UINT64_MAX / 4;
		ranges[i].has_head = true;
	}
	deletion.ranges = ranges;
	mauth_chain_deletion_write(&lines, 0, &deletion);
	second = strchr(lines.data, '\n') + 1;
	assert_true(second - lines.data + MAUTH_CHAIN_MEMBER_MAX < 65536);
	assert_string_equal(strchr(second, '\n'), "\n");
	mauth_buf_free(&lines);
	free(ranges);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(old_files_go_by_their_last_record, set_up, tear_down),
		cmocka_unit_test_setup_teardown(too_much_goes_oldest_first, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_does_not_verify_is_said, set_up, tear_down),
		cmocka_unit_test_setup_teardown(without_a_record_nothing_is_deleted, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_file_that_changes_meanwhile_stays, set_up, tear_down),
		cmocka_unit_test_setup_teardown(many_writers_are_several_records, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
