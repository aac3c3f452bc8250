/* SPDX-License-Identifier: MIT */
/* The audit file with group commit, on disks that are full, read-only, broken or slow. */
#include "core/chain.h"
#include "core/mem.h"
#include "fake_loop.h"
#include "fake_sinks.h"
#include "fake_worker.h"
#include "store/audit-file.h"
#include "store/audit-sync.h"

#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* What the disk does: errnos, and how often it was asked. */
static struct {
	int sync, directory, write;
	unsigned int syncs, directories;
	ino_t last;                     /* the file of the last sync */
} disk;

int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);
int __real_fsync(int fd);
int __wrap_fsync(int fd);
ssize_t __real_write(int fd, const void *data, size_t size);
ssize_t __wrap_write(int fd, const void *data, size_t size);

static int answer(int code)
{
	errno = code;
	return code == 0 ? 0 : -1;
}

int __wrap_fdatasync(int fd)
{
	struct stat st;

	disk.syncs++;
	/* Never of a descriptor that was closed meanwhile, or is another file's. */
	assert_int_equal(fstat(fd, &st), 0);
	disk.last = st.st_ino;
	return answer(disk.sync);
}

int __wrap_fsync(int fd)
{
	disk.directories++;
	return answer(disk.directory);
}

ssize_t __wrap_write(int fd, const void *data, size_t size)
{
	return fd <= 2 || disk.write == 0 ? __real_write(fd, data, size) : answer(disk.write);
}

struct fixture {
	char dir[64], path[96], other[96], head[96];
	struct fake_loop *loop;
	struct fake_worker *worker;
	struct fake_sinks sinks;
	struct mauth_chain_key *key;
	struct mauth_audit_file *file;
	const struct mauth_audit_sink *sink;
	struct mauth_error error;
};

static void open_it(struct fixture *f)
{
	f->file = mauth_audit_file_new(f->path, fake_loop_loop(f->loop), &f->sinks.log);
	if (f->key != NULL)
		mauth_audit_file_seal(f->file, f->key, f->head);
	mauth_audit_file_group(f->file, fake_worker_worker(f->worker));
	f->sink = mauth_audit_file_sink(f->file);
}

static int set_up(void **state)
{
	struct fixture *f = mauth_new(sizeof(*f));

	memset(&disk, 0, sizeof(disk));
	strcpy(f->dir, "/tmp/modernauth-test-XXXXXX");
	if (mkdtemp(f->dir) == NULL)
		return -1;
	snprintf(f->path, sizeof(f->path), "%s/audit.jsonl", f->dir);
	snprintf(f->other, sizeof(f->other), "%s/audit.jsonl.1", f->dir);
	snprintf(f->head, sizeof(f->head), "%s/audit.head", f->dir);
	f->loop = fake_loop_new(1000);
	f->worker = fake_worker_new(fake_loop_loop(f->loop));
	fake_sinks_init(&f->sinks);
	open_it(f);
	*state = f;
	return 0;
}

static unsigned int descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned int count = 0;

	assert_non_null(dir);
	while (readdir(dir) != NULL)
		count++;
	closedir(dir);
	return count;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	mauth_audit_file_free(&f->file);
	fake_worker_free(&f->worker);
	unlink(f->path);
	unlink(f->other);
	unlink(f->head);
	rmdir(f->dir);
	mauth_chain_key_free(&f->key);
	fake_sinks_free(&f->sinks);
	fake_loop_free(&f->loop);
	free(f);
	return 0;
}

/* Somebody who waits. */
struct wait {
	unsigned int calls;
	int code;                       /* 0: on disk; -1: not, without an errno */
	struct fixture *again;          /* who appends and commits once more when told */
};

static void told(const struct mauth_error *error, void *context)
{
	struct wait *wait = context;

	wait->calls++;
	wait->code = error == NULL ? 0 : error->code != 0 ? error->code : -1;
	if (error != NULL)
		assert_int_equal(error->status, MAUTH_AUDIT);
	if (wait->again != NULL) {
		struct fixture *f = wait->again;

		wait->again = NULL;
		(void)f->sink->append(f->sink->context, "{again}\n", 8, NULL);
		f->sink->commit(f->sink->context, told, wait);
	}
}

static enum mauth_status append(struct fixture *f, const char *line)
{
	return f->sink->append(f->sink->context, line, strlen(line), &f->error);
}

static void record(struct fixture *f, const char *line, struct wait *wait)
{
	*wait = (struct wait){ .again = wait->again };
	assert_int_equal(append(f, line), MAUTH_OK);
	f->sink->commit(f->sink->context, told, wait);
	assert_int_equal(wait->calls, 0);
}

static void expect(const struct wait *wait, int code)
{
	assert_int_equal(wait->calls, 1);
	assert_int_equal(wait->code, code);
}

static unsigned int count(const char *text, const char *word)
{
	unsigned int n = 0;

	for (; (text = strstr(text, word)) != NULL; text++)
		n++;
	return n;
}

static void assert_file(const char *path, const char *content)
{
	char data[4096];
	FILE *file = fopen(path, "r");

	assert_non_null(file);
	data[fread(data, 1, sizeof(data) - 1, file)] = '\0';
	fclose(file);
	assert_string_equal(data, content);
}

/* -- groups -- */

static void those_of_one_turn_share_a_sync(void **state)
{
	struct fixture *f = *state;
	struct wait waits[50] = { { 0 } };

	for (size_t i = 0; i < 50; i++)
		record(f, "{1}\n", &waits[i]);
	fake_loop_run(f->loop, 0);
	for (size_t i = 0; i < 50; i++)
		expect(&waits[i], 0);
	assert_int_equal(disk.syncs, 1);
	/* The file is new: so is its name. */
	assert_int_equal(disk.directories, 1);
	assert_string_equal(f->sinks.lines, "");
}

static void those_that_come_during_a_sync_share_the_next(void **state)
{
	struct fixture *f = *state;
	struct wait first = { 0 }, second = { 0 }, third = { 0 };

	fake_worker_hold(f->worker, true);
	record(f, "{1}\n", &first);
	fake_loop_run(f->loop, 0);
	record(f, "{2}\n", &second);
	record(f, "{3}\n", &third);
	fake_loop_run(f->loop, 100);
	assert_int_equal(fake_worker_waiting(f->worker), 1);
	assert_int_equal(fake_worker_run(f->worker, 1), 1);
	expect(&first, 0);
	assert_int_equal(second.calls + third.calls, 0);
	/* Its sync has begun already. */
	assert_int_equal(fake_worker_run(f->worker, 1), 1);
	expect(&second, 0);
	expect(&third, 0);
	assert_int_equal(disk.syncs, 2);
	assert_int_equal(disk.directories, 1);
}

static void without_anything_new_the_disk_is_left_alone(void **state)
{
	struct fixture *f = *state;
	struct wait wait = { 0 };

	record(f, "{1}\n", &wait);
	fake_loop_run(f->loop, 0);
	wait = (struct wait){ 0 };
	f->sink->commit(f->sink->context, told, &wait);
	assert_int_equal(wait.calls, 0);
	fake_loop_run(f->loop, 0);
	expect(&wait, 0);
	assert_int_equal(disk.syncs, 1);
}

static void what_nobody_waits_for_is_synced_within_a_second(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(append(f, "{1}\n"), MAUTH_OK);
	fake_loop_run(f->loop, MAUTH_AUDIT_IDLE_MSECS - 1);
	assert_int_equal(disk.syncs, 0);
	fake_loop_run(f->loop, 1);
	assert_int_equal(disk.syncs, 1);
	fake_loop_run(f->loop, 60000);
	assert_int_equal(disk.syncs, 1);
}

static void whoever_is_told_may_go_on(void **state)
{
	struct fixture *f = *state;
	struct wait wait = { .again = f };

	record(f, "{1}\n", &wait);
	fake_loop_run(f->loop, 0);
	assert_int_equal(wait.calls, 2);
	assert_int_equal(disk.syncs, 2);
}

static void a_file_that_is_rotated_meanwhile_is_synced_too(void **state)
{
	struct fixture *f = *state;
	struct wait first = { 0 }, second = { 0 };
	struct stat st;
	unsigned int before;

	record(f, "{1}\n", &first);
	fake_loop_run(f->loop, 0);
	before = descriptors();
	fake_worker_hold(f->worker, true);
	fake_loop_run(f->loop, 1000);
	record(f, "{2}\n", &first);
	assert_int_equal(rename(f->path, f->other), 0);
	assert_int_equal(stat(f->other, &st), 0);
	fake_loop_lag(f->loop, 1000);
	record(f, "{3}\n", &second);
	disk.syncs = disk.directories = 0;
	fake_worker_hold(f->worker, false);
	fake_loop_run(f->loop, 0);
	expect(&first, 0);
	expect(&second, 0);
	assert_int_equal(disk.syncs, 2);
	assert_int_equal(disk.directories, 1);
	assert_int_equal(disk.last, st.st_ino);
	assert_file(f->other, "{1}\n{2}\n");
	assert_file(f->path, "{3}\n");
	assert_int_equal(descriptors(), before);
}

/* -- disks that fail -- */

static void a_sync_that_fails_counts_as_not_recorded(void **state)
{
	struct fixture *f = *state;
	struct wait waits[3] = { { 0 } };
	unsigned int before;

	record(f, "{0}\n", &waits[0]);
	fake_loop_run(f->loop, 0);
	before = descriptors();
	fake_worker_hold(f->worker, true);
	record(f, "{1}\n", &waits[0]);
	fake_loop_run(f->loop, 0);
	/* It may have gone with the others, and nobody would say so again. */
	record(f, "{2}\n", &waits[1]);
	disk.sync = EIO;
	fake_worker_hold(f->worker, false);
	fake_loop_run(f->loop, 0);
	expect(&waits[0], EIO);
	expect(&waits[1], EIO);
	assert_int_equal(count(f->sinks.lines, "error audit file"), 1);
	assert_non_null(strstr(f->sinks.lines, "fdatasync(): Input/output error; look at the kernel's log"));
	assert_non_null(strstr(f->sinks.lines, "(2 records not written so far)"));
	/* Another descriptor of it, and its directory once more. */
	disk.sync = 0;
	disk.directories = 0;
	record(f, "{3}\n", &waits[2]);
	fake_loop_run(f->loop, 0);
	expect(&waits[2], 0);
	assert_int_equal(disk.directories, 1);
	assert_int_equal(descriptors(), before);
	assert_int_equal(count(f->sinks.lines, "records are written again, 2 were not"), 1);
	assert_file(f->path, "{0}\n{1}\n{2}\n{3}\n");
}

static void failures_in_a_row_are_logged_seldom(void **state)
{
	struct fixture *f = *state;
	struct wait wait = { 0 };

	disk.sync = ENOSPC;
	for (unsigned int i = 0; i < 20; i++) {
		record(f, "{1}\n", &wait);
		fake_loop_run(f->loop, 1000);
		expect(&wait, ENOSPC);
	}
	assert_int_equal(count(f->sinks.lines, "error audit file"), 2);
	assert_non_null(strstr(f->sinks.lines, "No space left on device; free some space"));
	assert_int_equal(count(f->sinks.lines, "records are written again"), 0);
	disk.sync = 0;
	record(f, "{1}\n", &wait);
	fake_loop_run(f->loop, 0);
	expect(&wait, 0);
	assert_int_equal(count(f->sinks.lines, "records are written again, 20 were not"), 1);
}

static void a_directory_that_cannot_be_synced_is_a_failure(void **state)
{
	struct fixture *f = *state;
	struct wait wait = { 0 };

	disk.directory = EIO;
	record(f, "{1}\n", &wait);
	fake_loop_run(f->loop, 0);
	expect(&wait, EIO);
	assert_non_null(strstr(f->sinks.lines, "fsync() of its directory"));
	/* Until it can: the name of the file may still be nowhere. */
	record(f, "{2}\n", &wait);
	fake_loop_run(f->loop, 0);
	expect(&wait, EIO);
	/* Some file systems need not, and say it this way. */
	disk.directory = EINVAL;
	record(f, "{3}\n", &wait);
	fake_loop_run(f->loop, 0);
	expect(&wait, 0);
}

static void a_write_that_fails_leaves_those_before_it_alone(void **state)
{
	static const struct {
		int code;
		const char *advice;
	} rows[] = {
		{ ENOSPC, "free some space" }, { EDQUOT, "free some space" }, { EROFS, "make it writable again" },
		{ EIO, "mend what the error says" },
	};
	struct fixture *f = *state;
	struct wait before = { 0 }, after = { 0 };

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		record(f, "{1}\n", &before);
		disk.write = rows[i].code;
		assert_int_equal(append(f, "{2}\n"), MAUTH_AUDIT);
		assert_int_equal(f->error.code, rows[i].code);
		assert_non_null(strstr(f->error.advice, rows[i].advice));
		disk.write = 0;
		fake_loop_run(f->loop, 0);
		expect(&before, 0);
		record(f, "{3}\n", &after);
		fake_loop_run(f->loop, 0);
		expect(&after, 0);
		fake_loop_run(f->loop, 20000);
	}
	assert_int_equal(count(f->sinks.lines, "error audit file"), 4);
	assert_int_equal(count(f->sinks.lines, "records are written again, 1 were not"), 4);
}

/* -- a slow disk -- */

static void who_waits_too_long_is_told_so_and_nobody_else_waits(void **state)
{
	struct fixture *f = *state;
	struct wait first = { 0 }, second = { 0 }, later = { 0 };

	fake_worker_hold(f->worker, true);
	record(f, "{1}\n", &first);
	fake_loop_run(f->loop, 1000);
	record(f, "{2}\n", &second);
	fake_loop_run(f->loop, MAUTH_AUDIT_LATE_MSECS - 1001);
	assert_int_equal(first.calls, 0);
	fake_loop_run(f->loop, 1);
	expect(&first, -1);
	expect(&second, -1);
	assert_int_equal(count(f->sinks.lines, "the disk does not take the records within 5 s; look what keeps"), 1);
	/* Nothing more is written, and whoever waits for the disk is told at once. */
	assert_int_equal(append(f, "{3}\n"), MAUTH_AUDIT);
	f->sink->commit(f->sink->context, told, &later);
	fake_loop_run(f->loop, 0);
	expect(&later, -1);
	fake_loop_run(f->loop, 60000);
	assert_int_equal(append(f, "{3}\n"), MAUTH_AUDIT);
	/* The disk is back. */
	fake_worker_hold(f->worker, false);
	fake_loop_run(f->loop, 0);
	assert_int_equal(count(f->sinks.lines, "records are written again, 4 were not"), 1);
	record(f, "{4}\n", &later);
	fake_loop_run(f->loop, 0);
	expect(&later, 0);
	assert_file(f->path, "{1}\n{2}\n{4}\n");
}

static void what_is_written_of_the_delay_is_still_taken(void **state)
{
	struct fixture *f = *state;
	struct wait wait = { .again = f };

	fake_worker_hold(f->worker, true);
	record(f, "{1}\n", &wait);
	fake_loop_run(f->loop, MAUTH_AUDIT_LATE_MSECS + 1);
	assert_file(f->path, "{1}\n{again}\n");
	assert_int_equal(wait.calls, 2);
	assert_int_equal(wait.code, -1);
	fake_worker_hold(f->worker, false);
	fake_loop_run(f->loop, MAUTH_AUDIT_IDLE_MSECS);
	assert_int_equal(disk.syncs, 2);
}

static void a_slow_disk_that_fails_in_the_end_is_opened_anew(void **state)
{
	struct fixture *f = *state;
	struct wait wait = { 0 };

	fake_worker_hold(f->worker, true);
	record(f, "{1}\n", &wait);
	fake_loop_run(f->loop, MAUTH_AUDIT_LATE_MSECS);
	expect(&wait, -1);
	disk.sync = EIO;
	fake_worker_hold(f->worker, false);
	fake_loop_run(f->loop, 0);
	disk.sync = 0;
	record(f, "{2}\n", &wait);
	fake_loop_run(f->loop, 0);
	expect(&wait, 0);
	assert_int_equal(count(f->sinks.lines, "records are written again"), 1);
}

static void only_so_many_records_may_wait(void **state)
{
	struct fixture *f = *state;
	struct wait wait = { 0 };
	char *many = mauth_new(2 * MAUTH_AUDIT_UNSYNCED_MAX + 1);

	for (size_t i = 0; i < MAUTH_AUDIT_UNSYNCED_MAX; i++)
		memcpy(many + 2 * i, "x\n", 2);
	fake_worker_hold(f->worker, true);
	record(f, many, &wait);
	assert_int_equal(append(f, "{1}\n"), MAUTH_AUDIT);
	assert_string_equal(f->error.text, "50000 records wait for the disk already");
	fake_worker_hold(f->worker, false);
	fake_loop_run(f->loop, 0);
	expect(&wait, 0);
	assert_int_equal(append(f, "{1}\n"), MAUTH_OK);
	free(many);
}

/* -- the end -- */

static void settling_needs_no_loop(void **state)
{
	struct fixture *f = *state;
	struct wait first = { 0 }, second = { 0 };

	record(f, "{1}\n", &first);
	mauth_audit_file_settle(f->file);
	expect(&first, 0);
	fake_worker_hold(f->worker, true);
	record(f, "{2}\n", &first);
	fake_loop_run(f->loop, 0);
	record(f, "{3}\n", &second);
	mauth_audit_file_settle(f->file);
	expect(&first, 0);
	expect(&second, 0);
	assert_int_equal(disk.syncs, 3);
	mauth_audit_file_settle(f->file);
	assert_int_equal(disk.syncs, 3);
}

static void settling_gives_up_on_a_disk_that_hangs(void **state)
{
	struct fixture *f = *state;
	struct wait wait = { 0 };

	fake_worker_stick(f->worker, true);
	record(f, "{1}\n", &wait);
	mauth_audit_file_settle(f->file);
	expect(&wait, -1);
	fake_worker_stick(f->worker, false);
	fake_loop_run(f->loop, 0);
}

static void the_end_tells_who_still_waits(void **state)
{
	struct fixture *f = *state;
	struct wait wait = { .again = f };

	record(f, "{1}\n", &wait);
	mauth_audit_file_free(&f->file);
	assert_int_equal(wait.calls, 2);
	assert_int_equal(wait.code, -1);
	assert_file(f->path, "{1}\n{again}\n");
}

static void the_number_of_the_last_signature_never_runs_ahead_of_the_disk(void **state)
{
	struct fixture *f = *state;
	struct wait wait = { 0 };

	mauth_audit_file_free(&f->file);
	unlink(f->path);
	f->key = mauth_chain_key_new();
	open_it(f);
	fake_worker_hold(f->worker, true);
	record(f, "{\"n\":1}\n", &wait);
	fake_loop_run(f->loop, 1000);
	/* The file begins with a signature. */
	assert_int_equal(access(f->head, F_OK), -1);
	fake_worker_hold(f->worker, false);
	fake_loop_run(f->loop, 0);
	assert_int_equal(access(f->head, F_OK), 0);
	mauth_audit_file_free(&f->file);
	assert_int_equal(disk.syncs, 2);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(those_of_one_turn_share_a_sync),
		TEST(those_that_come_during_a_sync_share_the_next),
		TEST(without_anything_new_the_disk_is_left_alone),
		TEST(what_nobody_waits_for_is_synced_within_a_second),
		TEST(whoever_is_told_may_go_on),
		TEST(a_file_that_is_rotated_meanwhile_is_synced_too),
		TEST(a_sync_that_fails_counts_as_not_recorded),
		TEST(failures_in_a_row_are_logged_seldom),
		TEST(a_directory_that_cannot_be_synced_is_a_failure),
		TEST(a_write_that_fails_leaves_those_before_it_alone),
		TEST(who_waits_too_long_is_told_so_and_nobody_else_waits),
		TEST(what_is_written_of_the_delay_is_still_taken),
		TEST(a_slow_disk_that_fails_in_the_end_is_opened_anew),
		TEST(only_so_many_records_may_wait),
		TEST(settling_needs_no_loop),
		TEST(settling_gives_up_on_a_disk_that_hangs),
		TEST(the_end_tells_who_still_waits),
		TEST(the_number_of_the_last_signature_never_runs_ahead_of_the_disk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
