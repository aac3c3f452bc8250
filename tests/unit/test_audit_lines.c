/* SPDX-License-Identifier: MIT */
/* Lines of audit files: those that are there, those that come while the file is renamed, and which of them are wanted. */
#include "doveadm/audit-lines.h"
#include "doveadm/audit-select.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
	char directory[64], *path;
	char seen[65536];                    /* "1:abc;2:def;", cut and long lines with "~" before them */
	unsigned int stop_after;             /* 0: never */
	struct mauth_audit_taker taker;
};

static bool take(void *context, const struct mauth_audit_line *line)
{
	struct fixture *f = context;
	size_t size = strlen(f->seen);

	snprintf(f->seen + size, sizeof(f->seen) - size, "%s%llu:%.*s;", line->end == MAUTH_AUDIT_LINE_WHOLE ? "" : "~",
		 (unsigned long long)line->number, (int)(line->size < 40 ? line->size : 40), line->size == 0 ? "" : line->data);
	return f->stop_after == 0 || --f->stop_after > 0;
}

static int set_up(void **state)
{
	struct fixture *f = mauth_new(sizeof(*f));

	snprintf(f->directory, sizeof(f->directory), "/tmp/test-audit-lines-XXXXXX");
	assert_non_null(mkdtemp(f->directory));
	f->path = mauth_printf("%s/a.jsonl", f->directory);
	f->taker = (struct mauth_audit_taker){ .line = take, .context = f };
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	char *command = mauth_printf("rm -r '%s'", f->directory);
	int rc = system(command);

	free(command);
	free(f->path);
	free(f);
	return rc;
}

static void append(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_APPEND | O_CREAT, 0600);

	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static void renamed(const struct fixture *f, const char *suffix)
{
	char *to = mauth_printf("%s%s", f->path, suffix);

	assert_int_equal(rename(f->path, to), 0);
	free(to);
}

static void assert_seen(struct fixture *f, const char *expected)
{
	assert_string_equal(f->seen, expected);
	f->seen[0] = '\0';
}

static void lines_are_counted_and_a_cut_one_is_told(void **state)
{
	struct fixture *f = *state;

	append(f->path, "one\n\nthree\nfou");
	assert_int_equal(mauth_audit_lines(f->path, &f->taker, NULL), MAUTH_OK);
	assert_seen(f, "1:one;2:;3:three;~4:fou;");
	f->stop_after = 1;
	assert_int_equal(mauth_audit_lines(f->path, &f->taker, NULL), MAUTH_OK);
	assert_seen(f, "1:one;");
}

static void a_line_without_end_takes_no_memory(void **state)
{
	struct fixture *f = *state;
	char *big = mauth_new(3 * MAUTH_AUDIT_LINE_MAX + 1);

	memset(big, 'x', 3 * MAUTH_AUDIT_LINE_MAX);
	append(f->path, "one\n");
	append(f->path, big);
	append(f->path, "\nthree\n");
	assert_int_equal(mauth_audit_lines(f->path, &f->taker, NULL), MAUTH_OK);
	assert_seen(f, "1:one;~2:xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx;3:three;");
	/* As long as a line may be. */
	big[MAUTH_AUDIT_LINE_MAX] = '\0';
	assert_int_equal(truncate(f->path, 0), 0);
	append(f->path, big);
	append(f->path, "\ntwo\n");
	assert_int_equal(mauth_audit_lines(f->path, &f->taker, NULL), MAUTH_OK);
	assert_seen(f, "1:xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx;2:two;");
	free(big);
}

static void what_is_appended_comes_and_half_a_line_waits(void **state)
{
	struct fixture *f = *state;
	struct mauth_audit_follow *follow;

	append(f->path, "old\n");
	follow = mauth_audit_follow_new(f->path);
	assert_true(mauth_audit_follow_has(follow, f->path));
	assert_true(mauth_audit_follow_read(follow, &f->taker, 0));
	assert_seen(f, "1:old;");
	append(f->path, "ne");
	assert_true(mauth_audit_follow_read(follow, &f->taker, 100));
	assert_seen(f, "");
	append(f->path, "w\nmore\n");
	assert_true(mauth_audit_follow_read(follow, &f->taker, 200));
	assert_seen(f, "2:new;3:more;");
	/* The broker takes back half a line that a full disk has left. */
	append(f->path, "tor");
	assert_true(mauth_audit_follow_read(follow, &f->taker, 300));
	assert_int_equal(truncate(f->path, 13), 0);
	append(f->path, "whole\n");
	assert_true(mauth_audit_follow_read(follow, &f->taker, 400));
	assert_seen(f, "4:whole;");
	mauth_audit_follow_free(&follow);
}

static void nothing_is_lost_when_the_file_is_rotated(void **state)
{
	struct fixture *f = *state;
	struct mauth_audit_follow *follow = mauth_audit_follow_new(f->path);
	char *old = mauth_printf("%s.1", f->path);

	/* It need not be there. */
	assert_true(mauth_audit_follow_read(follow, &f->taker, 0));
	append(f->path, "{\"@timestamp\":\"1\"}\n");
	assert_true(mauth_audit_follow_read(follow, &f->taker, 0));
	renamed(f, ".1");
	assert_true(mauth_audit_follow_read(follow, &f->taker, 1000));
	append(f->path, "{\"@timestamp\":\"3\"}\n");
	assert_true(mauth_audit_follow_read(follow, &f->taker, 2000));
	/* Somebody still has the old one open. */
	append(old, "{\"@timestamp\":\"2\"}\n");
	assert_true(mauth_audit_follow_read(follow, &f->taker, 3000));
	assert_seen(f, "1:{\"@timestamp\":\"1\"};2:{\"@timestamp\":\"2\"};");
	assert_true(mauth_audit_follow_read(follow, &f->taker, 4500));
	assert_seen(f, "1:{\"@timestamp\":\"3\"};");
	mauth_audit_follow_free(&follow);
	free(old);
}

static void two_rotations_between_two_looks_are_seen(void **state)
{
	struct fixture *f = *state;
	struct mauth_audit_follow *follow;
	char *first = mauth_printf("%s.1", f->path), *second = mauth_printf("%s.2", f->path);

	append(f->path, "{\"@timestamp\":\"1\"}\n");
	follow = mauth_audit_follow_new(f->path);
	assert_true(mauth_audit_follow_read(follow, &f->taker, 0));
	assert_int_equal(rename(f->path, second), 0);
	append(first, "{\"@timestamp\":\"2\"}\n");
	append(f->path, "{\"@timestamp\":\"3\"}\n");
	assert_true(mauth_audit_follow_read(follow, &f->taker, 10));
	assert_true(mauth_audit_follow_read(follow, &f->taker, 10000));
	assert_seen(f, "1:{\"@timestamp\":\"1\"};1:{\"@timestamp\":\"2\"};1:{\"@timestamp\":\"3\"};");
	mauth_audit_follow_free(&follow);
	free(first);
	free(second);
}

static void following_may_begin_near_the_end(void **state)
{
	struct fixture *f = *state;
	struct mauth_audit_follow *follow;

	append(f->path, "one\ntwo\nthree\n");
	follow = mauth_audit_follow_new(f->path);
	mauth_audit_follow_back(follow, 0);
	assert_true(mauth_audit_follow_read(follow, &f->taker, 0));
	assert_seen(f, "");
	mauth_audit_follow_back(follow, 6);     /* the begin of "three" */
	assert_true(mauth_audit_follow_read(follow, &f->taker, 0));
	assert_seen(f, "0:three;");
	mauth_audit_follow_back(follow, 8);     /* within "two" */
	assert_true(mauth_audit_follow_read(follow, &f->taker, 0));
	assert_seen(f, "0:three;");
	mauth_audit_follow_back(follow, UINT64_MAX);
	assert_true(mauth_audit_follow_read(follow, &f->taker, 0));
	assert_seen(f, "1:one;2:two;3:three;");
	mauth_audit_follow_free(&follow);
}

/* -- which ones, and how they look -- */

#define ATTEMPT(time, outcome, rest) \
	"{\"@timestamp\":\"" time "\",\"event\":{\"category\":[\"authentication\"],\"type\":[\"start\"],\"action\":\"basic-auth-intercepted\",\"outcome\":\"" outcome \
	"\"},\"service\":{\"name\":\"imap\"},\"user\":{\"name\":\"Anna@contoso.com\"}" rest "}"

static bool is_selected(const struct mauth_audit_filter *filter, const char *line)
{
	json_t *record = mauth_format_read(line, strlen(line));
	bool selected;

	assert_non_null(record);
	selected = mauth_audit_select(filter, record);
	json_decref(record);
	return selected;
}

static void records_are_chosen_by_time_user_protocol_and_outcome(void **state)
{
	static const char line[] = ATTEMPT("2026-11-26T10:00:00.5Z", "failure", ",\"modernauth\":{\"status\":\"timeout\",\"mailbox\":\"info@contoso.com\"}");
	const int64_t at = INT64_C(1795687200500);
	static const struct {
		struct mauth_audit_filter filter;
		bool selected;
	} rows[] = {
		{ { 0 }, true },
		{ { .since = 1795687200500 }, true },
		{ { .since = 1795687200501 }, false },
		{ { .until = 1795687200500 }, false },
		{ { .until = 1795687200501 }, true },
		{ { .user = "anna@*" }, true },
		{ { .user = "INFO@contoso.com" }, true },
		{ { .user = "bob@*" }, false },
		{ { .protocol = "imap" }, true },
		{ { .protocol = "pop3" }, false },
		{ { .words = 1u << MAUTH_AUDIT_FAILED | 1u << MAUTH_AUDIT_OK }, true },
		{ { .words = 1u << MAUTH_AUDIT_REFUSED }, false },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(is_selected(&rows[i].filter, line), rows[i].selected);
		if (rows[i].filter.since > 0)
			assert_int_equal(mauth_audit_too_early(&rows[i].filter, line, sizeof(line) - 1), rows[i].filter.since > at);
	}
	assert_false(mauth_audit_too_early(&rows[2].filter, "not a record", 12));
}

static void assert_word(const char *line, enum mauth_audit_word word)
{
	json_t *record = mauth_format_read(line, strlen(line));

	assert_non_null(record);
	assert_string_equal(mauth_audit_word_name(mauth_audit_word_of(record)), mauth_audit_word_name(word));
	json_decref(record);
}

static void each_kind_of_record_has_a_word(void **state)
{
	assert_word(ATTEMPT("2026-11-26T10:00:00Z", "success", ""), MAUTH_AUDIT_OK);
	assert_word(ATTEMPT("2026-11-26T10:00:00Z", "unknown", ""), MAUTH_AUDIT_PASSED);
	assert_word(ATTEMPT("2026-11-26T10:00:00Z", "failure", ",\"modernauth\":{\"status\":\"bad_credentials\"}"), MAUTH_AUDIT_REFUSED);
	assert_word(ATTEMPT("2026-11-26T10:00:00Z", "failure", ",\"modernauth\":{\"status\":\"refused\"}"), MAUTH_AUDIT_REFUSED);
	assert_word(ATTEMPT("2026-11-26T10:00:00Z", "failure", ",\"modernauth\":{\"status\":\"audit\"}"), MAUTH_AUDIT_FAILED);
	assert_word("{\"@timestamp\":\"2026-11-26T10:00:00Z\",\"event\":{\"category\":[\"iam\"],\"type\":[\"change\"],\"outcome\":\"success\"}}",
		    MAUTH_AUDIT_CHANGED);
	assert_word("{\"@timestamp\":\"2026-11-26T10:00:00Z\",\"event\":{\"category\":[\"configuration\"],\"type\":[\"info\"]}}", MAUTH_AUDIT_NOTE);
}

static void a_line_for_people_is_one_line_whatever_is_in_it(void **state)
{
	static const char line[] = "{\"@timestamp\":\"2026-11-26T10:00:00Z\",\"event\":{\"category\":[\"authentication\"],\"type\":[\"start\"],"
				   "\"action\":\"basic-auth-intercepted\",\"outcome\":\"failure\",\"reason\":\"no\\nsuch\\u001b[2Juser\"},"
				   "\"user\":{\"name\":\"\\u202egpj.exe\\u009b\"},\"modernauth\":{\"decision\":\"refuse\",\"status\":\"user_unknown\"}}";
	json_t *record = mauth_format_read(line, sizeof(line) - 1);
	struct mauth_buf out = { 0 };

	mauth_audit_show(record, false, &out);
	assert_non_null(strstr(out.data, "refused -          <U+202E>gpj.exe<U+009B>"));
	assert_non_null(strstr(out.data, "refuse user_unknown no<U+000A>such<U+001B>[2Juser\n"));
	assert_ptr_equal(strchr(out.data, '\n'), out.data + out.size - 1);
	assert_null(strchr(out.data, '\x1b'));
	mauth_buf_clear(&out);
	mauth_audit_show(record, true, &out);
	assert_non_null(strstr(out.data, "\x1b[33mrefused"));
	json_decref(record);
	mauth_buf_free(&out);
}

int main(void)
{
#define WITH_FILES(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		WITH_FILES(lines_are_counted_and_a_cut_one_is_told),
		WITH_FILES(a_line_without_end_takes_no_memory),
		WITH_FILES(what_is_appended_comes_and_half_a_line_waits),
		WITH_FILES(nothing_is_lost_when_the_file_is_rotated),
		WITH_FILES(two_rotations_between_two_looks_are_seen),
		WITH_FILES(following_may_begin_near_the_end),
		cmocka_unit_test(records_are_chosen_by_time_user_protocol_and_outcome),
		cmocka_unit_test(each_kind_of_record_has_a_word),
		cmocka_unit_test(a_line_for_people_is_one_line_whatever_is_in_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
