/* SPDX-License-Identifier: MIT */
#include "core/mem.h"
#include "fake_loop.h"
#include "fake_sinks.h"
#include "store/audit-file.h"

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
	char dir[64], path[96], other[96];
	struct fake_loop *loop;
	struct fake_sinks sinks;
	struct mauth_audit_file *file;
	struct mauth_error error;
};

static int set_up(void **state)
{
	struct fixture *f = mauth_new(sizeof(*f));

	strcpy(f->dir, "/tmp/modernauth-test-XXXXXX");
	if (mkdtemp(f->dir) == NULL)
		return -1;
	snprintf(f->path, sizeof(f->path), "%s/audit.jsonl", f->dir);
	snprintf(f->other, sizeof(f->other), "%s/audit.jsonl.1", f->dir);
	f->loop = fake_loop_new(1000);
	fake_sinks_init(&f->sinks);
	f->file = mauth_audit_file_new(f->path, fake_loop_loop(f->loop), &f->sinks.log);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	mauth_audit_file_free(&f->file);
	unlink(f->path);
	unlink(f->other);
	rmdir(f->path);
	rmdir(f->dir);
	fake_sinks_free(&f->sinks);
	fake_loop_free(&f->loop);
	free(f);
	return 0;
}

static enum mauth_status append(struct fixture *f, const char *line)
{
	const struct mauth_audit_sink *sink = mauth_audit_file_sink(f->file);

	return sink->append(sink->context, line, strlen(line), &f->error);
}

static void put_file(const char *path, const char *content)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_int_equal(fputs(content, file) >= 0, 1);
	assert_int_equal(fclose(file), 0);
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

static unsigned int count(const char *text, const char *word)
{
	unsigned int n = 0;

	for (; (text = strstr(text, word)) != NULL; text++)
		n++;
	return n;
}

static void the_first_record_creates_a_private_file(void **state)
{
	struct fixture *f = *state;
	mode_t umask_before = umask(0);
	struct stat st;

	assert_int_equal(access(f->path, F_OK), -1);
	assert_int_equal(append(f, "{1}\n"), MAUTH_OK);
	umask(umask_before);
	assert_int_equal(append(f, "{2}\n"), MAUTH_OK);
	assert_file(f->path, "{1}\n{2}\n");
	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_string_equal(f->sinks.lines, "");
}

static void records_are_appended_to_an_existing_file(void **state)
{
	struct fixture *f = *state;

	put_file(f->path, "{0}\n");
	assert_int_equal(append(f, "{1}\n"), MAUTH_OK);
	assert_file(f->path, "{0}\n{1}\n");
}

static void a_rotated_file_is_followed_within_a_second(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(append(f, "{1}\n"), MAUTH_OK);
	assert_int_equal(rename(f->path, f->other), 0);
	fake_loop_run(f->loop, 999);
	assert_int_equal(append(f, "{2}\n"), MAUTH_OK);
	fake_loop_run(f->loop, 1);
	assert_int_equal(append(f, "{3}\n"), MAUTH_OK);
	assert_file(f->other, "{1}\n{2}\n");
	assert_file(f->path, "{3}\n");
}

static void a_file_that_was_replaced_is_followed(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(append(f, "{1}\n"), MAUTH_OK);
	assert_int_equal(rename(f->path, f->other), 0);
	put_file(f->path, "{new}\n");
	fake_loop_run(f->loop, 1000);
	assert_int_equal(append(f, "{2}\n"), MAUTH_OK);
	assert_file(f->path, "{new}\n{2}\n");
}

static void a_file_that_was_truncated_is_appended_to(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(append(f, "{1}\n"), MAUTH_OK);
	assert_int_equal(truncate(f->path, 0), 0);
	assert_int_equal(append(f, "{2}\n"), MAUTH_OK);
	assert_file(f->path, "{2}\n");
}

static void a_torn_line_of_a_dead_process_is_cut_off(void **state)
{
	static const struct {
		const char *before, *after;
	} files[] = {
		{ "{0}\n{torn", "{0}\n{1}\n" },
		{ "{torn", "{1}\n" },
		{ "\n", "\n{1}\n" },
		{ "", "{1}\n" },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		mauth_audit_file_free(&f->file);
		f->file = mauth_audit_file_new(f->path, fake_loop_loop(f->loop), &f->sinks.log);
		put_file(f->path, files[i].before);
		assert_int_equal(append(f, "{1}\n"), MAUTH_OK);
		assert_file(f->path, files[i].after);
	}
	assert_int_equal(count(f->sinks.lines, "5 octets of it were cut off"), 2);
}

static void what_is_no_line_at_all_is_kept_and_ended(void **state)
{
	struct fixture *f = *state;
	char *huge = mauth_new(100001);
	struct stat st;

	memset(huge, 'x', 100000);
	put_file(f->path, huge);
	assert_int_equal(append(f, "{1}\n"), MAUTH_OK);
	assert_int_equal(append(f, "{2}\n"), MAUTH_OK);
	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_size, 100000 + strlen("\n{1}\n{2}\n"));
	free(huge);
}

/* A child, because a limit cannot be raised again by everybody. */
static int fill_up(struct fixture *f)
{
	const struct rlimit limit = { 10, 10 };
	struct stat st;

	signal(SIGXFSZ, SIG_IGN);
	if (setrlimit(RLIMIT_FSIZE, &limit) != 0)
		return 1;
	if (append(f, "{1}\n") != MAUTH_OK || append(f, "{22}\n") != MAUTH_OK)
		return 2;
	if (append(f, "{333}\n") != MAUTH_AUDIT || f->error.status != MAUTH_AUDIT || f->error.code == 0 ||
	    strstr(f->error.advice, "free some space") == NULL)
		return 3;
	if (count(f->sinks.lines, "error audit file") != 1)
		return 4;
	/* Whoever reads now must find no half of a record. Nine octets are taken; one is left. */
	if (stat(f->path, &st) != 0 || st.st_size != 9)
		return 5;
	return append(f, "\n") == MAUTH_OK ? 0 : 6;
}

static void a_full_disk_leaves_whole_records_only(void **state)
{
	struct fixture *f = *state;
	pid_t child = fork();
	int status;

	assert_true(child >= 0);
	if (child == 0)
		_exit(fill_up(f));
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_file(f->path, "{1}\n{22}\n\n");
}

static void files_that_prove_nothing_are_refused(void **state)
{
	struct fixture *f = *state;

	put_file(f->path, "");
	assert_int_equal(chmod(f->path, 0602), 0);
	assert_int_equal(append(f, "{1}\n"), MAUTH_AUDIT);
	assert_string_equal(f->error.text, "everybody may write to it: its records prove nothing");
	assert_file(f->path, "");

	assert_int_equal(unlink(f->path), 0);
	put_file(f->other, "");
	assert_int_equal(symlink(f->other, f->path), 0);
	assert_int_equal(append(f, "{1}\n"), MAUTH_AUDIT);
	assert_non_null(strstr(f->error.advice, "symbolic link"));
	assert_file(f->other, "");

	assert_int_equal(unlink(f->path), 0);
	assert_int_equal(mkfifo(f->path, 0600), 0);
	assert_int_equal(append(f, "{1}\n"), MAUTH_AUDIT);
	assert_string_equal(f->error.text, "not a regular file");

	assert_int_equal(unlink(f->path), 0);
	assert_int_equal(mkdir(f->path, 0700), 0);
	assert_int_equal(append(f, "{1}\n"), MAUTH_AUDIT);
	assert_string_equal(f->error.advice, "name a file in audit { path }");
}

static void a_file_that_becomes_a_link_is_refused(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(append(f, "{1}\n"), MAUTH_OK);
	assert_int_equal(rename(f->path, f->other), 0);
	assert_int_equal(symlink(f->other, f->path), 0);
	fake_loop_run(f->loop, 1000);
	assert_int_equal(append(f, "{2}\n"), MAUTH_AUDIT);
	assert_file(f->other, "{1}\n");
}

static void failures_are_logged_seldom_and_recovery_once(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(mkdir(f->path, 0700), 0);
	for (unsigned int i = 0; i < 20; i++) {
		assert_int_equal(append(f, "{1}\n"), MAUTH_AUDIT);
		fake_loop_run(f->loop, 1000);
	}
	assert_int_equal(count(f->sinks.lines, "error audit file"), 2);
	assert_non_null(strstr(f->sinks.lines, "name a file in audit { path } (11 records not written so far)"));
	assert_int_equal(rmdir(f->path), 0);
	assert_int_equal(append(f, "{1}\n"), MAUTH_OK);
	assert_int_equal(append(f, "{2}\n"), MAUTH_OK);
	assert_int_equal(count(f->sinks.lines, "info audit file"), 1);
	assert_non_null(strstr(f->sinks.lines, "records are written again, 20 were not"));
	assert_file(f->path, "{1}\n{2}\n");
}

static void a_disk_that_flaps_does_not_fill_the_log(void **state)
{
	struct fixture *f = *state;

	for (unsigned int i = 0; i < 8; i++) {
		assert_int_equal(mkdir(f->path, 0700), 0);
		assert_int_equal(append(f, "{1}\n"), MAUTH_AUDIT);
		assert_int_equal(rmdir(f->path), 0);
		assert_int_equal(append(f, "{1}\n"), MAUTH_OK);
		assert_int_equal(unlink(f->path), 0);
		fake_loop_run(f->loop, 1000);
	}
	assert_int_equal(count(f->sinks.lines, "error audit file"), 1);
	assert_int_equal(count(f->sinks.lines, "info audit file"), 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(the_first_record_creates_a_private_file),
		TEST(records_are_appended_to_an_existing_file),
		TEST(a_rotated_file_is_followed_within_a_second),
		TEST(a_file_that_was_replaced_is_followed),
		TEST(a_file_that_was_truncated_is_appended_to),
		TEST(a_torn_line_of_a_dead_process_is_cut_off),
		TEST(what_is_no_line_at_all_is_kept_and_ended),
		TEST(a_full_disk_leaves_whole_records_only),
		TEST(files_that_prove_nothing_are_refused),
		TEST(a_file_that_becomes_a_link_is_refused),
		TEST(failures_are_logged_seldom_and_recovery_once),
		TEST(a_disk_that_flaps_does_not_fill_the_log),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
