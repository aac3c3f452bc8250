/* SPDX-License-Identifier: MIT */
/* The audit file with its chain: honest lives of it, with crashes and rotations, are never called tampered with. */
#include "core/chain-verify.h"
#include "core/json.h"
#include "fake_loop.h"
#include "fake_sinks.h"
#include "store/audit-file.h"
#include "store/audit-seal.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
	char dir[64], path[96], old[96], head[96], torn[112];
	struct fake_loop *loop;
	struct fake_sinks sinks;
	struct mauth_chain_key *key;
	struct mauth_audit_file *file;
	struct mauth_buf findings;
	struct mauth_chain_summary summary;
};

static void open_it(struct fixture *f)
{
	f->file = mauth_audit_file_new(f->path, fake_loop_loop(f->loop), &f->sinks.log);
	mauth_audit_file_seal(f->file, f->key, f->head);
}

static int set_up(void **state)
{
	struct fixture *f = mauth_new(sizeof(*f));

	strcpy(f->dir, "/tmp/modernauth-test-XXXXXX");
	if (mkdtemp(f->dir) == NULL)
		return -1;
	snprintf(f->path, sizeof(f->path), "%s/audit.jsonl", f->dir);
	snprintf(f->old, sizeof(f->old), "%s/audit.jsonl.1", f->dir);
	snprintf(f->head, sizeof(f->head), "%s/audit.head", f->dir);
	snprintf(f->torn, sizeof(f->torn), "%s.torn", f->path);
	f->loop = fake_loop_new(1700000000);
	fake_sinks_init(&f->sinks);
	f->key = mauth_chain_key_new();
	open_it(f);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	mauth_audit_file_free(&f->file);
	unlink(f->path);
	unlink(f->old);
	unlink(f->head);
	unlink(f->torn);
	rmdir(f->dir);
	mauth_buf_free(&f->findings);
	mauth_chain_key_free(&f->key);
	fake_sinks_free(&f->sinks);
	fake_loop_free(&f->loop);
	free(f);
	return 0;
}

static enum mauth_status append(struct fixture *f, const char *line)
{
	const struct mauth_audit_sink *sink = mauth_audit_file_sink(f->file);

	return sink->append(sink->context, line, strlen(line), NULL);
}

static void remember(const struct mauth_chain_report *report, void *context)
{
	struct fixture *f = context;

	mauth_buf_printf(&f->findings, "%s %s:%u %u-%u\n", mauth_chain_fault_name(report->fault), report->file,
			 (unsigned int)report->line, (unsigned int)report->from, (unsigned int)report->to);
}

static void verify_file(struct mauth_chain_verify *verify, const char *name, const char *path)
{
	char data[8192];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got;

	if (fd < 0)
		return;
	mauth_chain_verify_file(verify, name);
	while ((got = read(fd, data, sizeof(data))) > 0)
		mauth_chain_verify_data(verify, data, (size_t)got);
	close(fd);
}

/* The old file, if there is one, then the new: what is wrong with them. */
static void expect(struct fixture *f, const char *findings)
{
	struct mauth_chain_verify *verify = mauth_chain_verify_new(f->key, remember, f);

	mauth_buf_clear(&f->findings);
	mauth_buf_puts(&f->findings, "");
	verify_file(verify, "old", f->old);
	verify_file(verify, "new", f->path);
	mauth_chain_verify_end(verify, &f->summary);
	mauth_chain_verify_free(&verify);
	assert_string_equal(f->findings.data, findings);
}

#define A_LONG_RECORD "{\"b\":\"a record that is so long that it does not fit into what is left of the disk, whatever it says\"}\n"

/* No file grows beyond this. RLIM_INFINITY: as before. */
static void limit_files(rlim_t octets)
{
	struct rlimit limit;

	(void)signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
	limit.rlim_cur = octets < limit.rlim_max ? octets : limit.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void shut(struct fixture *f)
{
	mauth_audit_file_free(&f->file);
}

static void a_life_from_begin_to_end_is_right(void **state)
{
	struct fixture *f = *state;

	for (unsigned int i = 0; i < 3; i++)
		assert_int_equal(append(f, "{\"a\":1}\n{\"b\":2}\n"), MAUTH_OK);
	expect(f, "open-end new:0 7-0\n");
	shut(f);
	expect(f, "");
	assert_int_equal(f->summary.lines, 8);
	assert_int_equal(f->summary.checkpoints, 2);
	/* The next process goes on behind it. */
	open_it(f);
	assert_int_equal(append(f, "{\"c\":3}\n"), MAUTH_OK);
	shut(f);
	expect(f, "");
	assert_int_equal(f->summary.lines, 11);
}

static void a_broker_without_records_writes_nothing(void **state)
{
	struct fixture *f = *state;
	struct stat st;

	shut(f);
	assert_int_equal(stat(f->path, &st), -1);
}

static void records_wait_a_minute_for_their_checkpoint(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(append(f, "{\"a\":1}\n"), MAUTH_OK);
	fake_loop_run(f->loop, MAUTH_AUDIT_CHECKPOINT_MSECS - 1);
	expect(f, "open-end new:0 2-0\n");
	fake_loop_run(f->loop, 1);
	expect(f, "open-end new:0 3-0\n");
	assert_int_equal(f->summary.checkpoints, 2);
	/* And that is all while nothing happens. */
	fake_loop_run(f->loop, 10 * MAUTH_AUDIT_CHECKPOINT_MSECS);
	expect(f, "open-end new:0 3-0\n");
}

static void many_records_do_not_wait(void **state)
{
	struct fixture *f = *state;

	for (unsigned int i = 0; i < MAUTH_AUDIT_CHECKPOINT_RECORDS; i++)
		assert_int_equal(append(f, "{\"a\":1}\n"), MAUTH_OK);
	expect(f, "open-end new:0 1002-0\n");
	assert_int_equal(f->summary.checkpoints, 2);
}

static void a_rotated_file_says_where_it_goes_on(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(append(f, "{\"a\":1}\n"), MAUTH_OK);
	assert_int_equal(rename(f->path, f->old), 0);
	fake_loop_run(f->loop, 1000);
	assert_int_equal(append(f, "{\"b\":2}\n"), MAUTH_OK);
	shut(f);
	expect(f, "");
	/* 1 begun, a, rotated | resumed, b, ended */
	assert_int_equal(f->summary.lines, 6);
	/* The old one lost. */
	unlink(f->old);
	expect(f, "later-start new:1 4-0\n");
}

static void the_end_of_the_file_before_is_remembered_elsewhere(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(append(f, "{\"a\":1}\n{\"b\":1}\n{\"c\":1}\n"), MAUTH_OK);
	shut(f);
	/* Cut while nobody runs: by number 5 the file was five lines long. */
	assert_int_equal(truncate(f->path, 0), 0);
	open_it(f);
	assert_int_equal(append(f, "{\"d\":1}\n"), MAUTH_OK);
	shut(f);
	/* The files that were given begin with this writer, but an older file goes before it. */
	{
		char data[4096] = "";
		FILE *file = fopen(f->path, "r");

		assert_non_null(file);
		assert_non_null(fgets(data, sizeof(data), file));
		fclose(file);
		assert_non_null(strstr(data, "\"known\":{\"w\":\""));
		assert_non_null(strstr(data, "\"n\":5}"));
	}
}

/* A broker that could write nothing yet, while the one before it ended and its file was renamed: what it says first names that end. */
static void an_end_in_a_renamed_file_is_known(void **state)
{
	struct fixture *f = *state;
	struct mauth_audit_file *before = f->file;
	char data[4096];
	size_t size;
	FILE *file;

	assert_int_equal(append(f, "{\"a\":1}\n"), MAUTH_OK);
	open_it(f);
	limit_files(700);
	assert_int_not_equal(append(f, A_LONG_RECORD), MAUTH_OK);
	limit_files(RLIM_INFINITY);
	mauth_audit_file_free(&before);
	assert_int_equal(rename(f->path, f->old), 0);
	assert_int_equal(append(f, "{\"b\":1}\n"), MAUTH_OK);
	expect(f, "open-end new:0 2-0\n");
	/* Without its last line. */
	file = fopen(f->old, "r");
	assert_non_null(file);
	size = fread(data, 1, sizeof(data) - 1, file);
	fclose(file);
	data[size - 1] = '\0';
	assert_int_equal(truncate(f->old, strrchr(data, '\n') + 1 - data), 0);
	expect(f, "cut new:1 3-3\nopen-end new:0 2-0\n");
}

static void a_process_that_is_killed_leaves_no_finding(void **state)
{
	struct fixture *f = *state;

	shut(f);
	for (unsigned int i = 0; i < 20; i++) {
		pid_t pid = fork();
		int status;

		assert_true(pid >= 0);
		if (pid == 0) {
			open_it(f);
			for (;;) {
				if (append(f, "{\"a\":1}\n{\"b\":2}\n") != MAUTH_OK)
					_exit(1);
			}
		}
		usleep(1000 + i * 500);
		kill(pid, SIGKILL);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status));
	}
	open_it(f);
	assert_int_equal(append(f, "{\"c\":1}\n"), MAUTH_OK);
	shut(f);
	expect(f, "");
}

static void half_a_line_is_set_aside_and_noted(void **state)
{
	struct fixture *f = *state;
	char data[64] = "";
	FILE *file;

	assert_int_equal(append(f, "{\"a\":1}\n"), MAUTH_OK);
	shut(f);
	file = fopen(f->path, "a");
	assert_non_null(file);
	assert_true(fputs("{\"half\":", file) >= 0);
	fclose(file);
	expect(f, "torn new:4 0-0\n");
	open_it(f);
	assert_int_equal(append(f, "{\"b\":1}\n"), MAUTH_OK);
	shut(f);
	expect(f, "");
	file = fopen(f->torn, "r");
	assert_non_null(file);
	assert_non_null(fgets(data, sizeof(data), file));
	fclose(file);
	assert_string_equal(data, "{\"half\":\n");
}

/* What could not be written takes no number. */
static void a_full_disk_breaks_no_chain(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(append(f, "{\"a\":1}\n"), MAUTH_OK);
	limit_files(900);
	for (unsigned int i = 0; i < 5; i++)
		(void)append(f, A_LONG_RECORD);
	limit_files(RLIM_INFINITY);
	assert_int_equal(append(f, "{\"c\":1}\n"), MAUTH_OK);
	shut(f);
	expect(f, "");
	assert_true(f->sinks.lines != NULL && strstr(f->sinks.lines, "records are written again") != NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_life_from_begin_to_end_is_right, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_broker_without_records_writes_nothing, set_up, tear_down),
		cmocka_unit_test_setup_teardown(records_wait_a_minute_for_their_checkpoint, set_up, tear_down),
		cmocka_unit_test_setup_teardown(many_records_do_not_wait, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_rotated_file_says_where_it_goes_on, set_up, tear_down),
		cmocka_unit_test_setup_teardown(the_end_of_the_file_before_is_remembered_elsewhere, set_up, tear_down),
		cmocka_unit_test_setup_teardown(an_end_in_a_renamed_file_is_known, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_process_that_is_killed_leaves_no_finding, set_up, tear_down),
		cmocka_unit_test_setup_teardown(half_a_line_is_set_aside_and_noted, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_full_disk_breaks_no_chain, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
