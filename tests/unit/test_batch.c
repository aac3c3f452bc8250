/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "doveadm/batch.h"
#include "doveadm/csv.h"
#include "doveadm/out-file.h"

static FILE *text_file(const char *text, size_t size)
{
	FILE *file = tmpfile();

	assert_non_null(file);
	assert_int_equal(fwrite(text, 1, size, file), size);
	rewind(file);
	return file;
}

/* The records of text as one text: fields in [], a record to each line number; or the error. */
static void read_all(const char *text, size_t size, char *out, size_t out_size)
{
	struct mauth_csv csv = { .file = text_file(text, size), .name = "f" };
	struct mauth_csv_record record;
	struct mauth_error error;
	size_t used = 0;

	out[0] = '\0';
	for (;;) {
		if (mauth_csv_next(&csv, &record, &error) != MAUTH_OK) {
			used += (size_t)snprintf(out + used, out_size - used, "%s", error.text);
			break;
		}
		if (record.count == 0)
			break;
		used += (size_t)snprintf(out + used, out_size - used, "%u", record.line);
		for (size_t i = 0; i < record.count; i++)
			used += (size_t)snprintf(out + used, out_size - used, "[%s]", record.fields[i]);
	}
	fclose(csv.file);
	mauth_csv_free(&csv);
}

static void csv_as_people_write_it(void **state)
{
	static const struct {
		const char *text, *expected;
	} cases[] = {
		{ "", "" },
		{ "\n\r\n\n", "" },
		{ "a", "1[a]" },
		{ "a,b\n", "1[a][b]" },
		{ "a,b\r\nc,d\r\n", "1[a][b]2[c][d]" },
		{ "\357\273\277a,b\n", "1[a][b]" },
		{ "a,\n,b\n,\n", "1[a][]2[][b]3[][]" },
		{ "\n\na\n\nb", "3[a]5[b]" },
		{ "\"a\",\"b,c\",\"d\"\"e\"\"\"\n", "1[a][b,c][d\"e\"]" },
		{ "\"a\nb\",c\r\nd", "1[a\nb][c]3[d]" },
		{ "\"\"\n\"\",x", "1[]2[][x]" },
		{ " a , b ", "1[ a ][ b ]" },
		{ "\303\244\n", "1[\303\244]" },
		{ "a\"b", "f line 1, column 2: a quote inside a field that does not begin with one" },
		{ "x\ny,\"a\"b", "1[x]f line 2, column 6: text after a closing quote" },
		{ "x\n\"a\nb", "1[x]f line 2, column 1: the quote that begins here is never closed" },
		{ "a\rb", "f line 1, column 2: a carriage return that ends no line" },
		{ "\377\376a", "f line 1, column 0: not UTF-8; save the file as CSV UTF-8" },
		{ "\357xa", "f line 1, column 0: not UTF-8" },
		{ "a,\344\n", "f line 1: field 2 is not UTF-8; save the file as CSV UTF-8" },
		{ ",,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,", "f line 1, column 32: more than 32 fields" },
	};
	char out[512];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		read_all(cases[i].text, strlen(cases[i].text), out, sizeof(out));
		assert_string_equal(out, cases[i].expected);
	}
	read_all("a\0b", 3, out, sizeof(out));
	assert_string_equal(out, "f line 1, column 2: a NUL octet; save the file as UTF-8");
	read_all("\"\0\"", 3, out, sizeof(out));
	assert_string_equal(out, "f line 1, column 2: a NUL octet; save the file as UTF-8");
}

static void lines_have_a_limit(void **state)
{
	char *text = malloc(MAUTH_CSV_RECORD_MAX + 8), out[128];

	assert_non_null(text);
	memset(text, 'x', MAUTH_CSV_RECORD_MAX + 8);
	read_all(text, MAUTH_CSV_RECORD_MAX + 8, out, sizeof(out));
	assert_string_equal(out, "f line 1, column 65537: a line of more than 65536 octets");
	text[0] = '"';
	memset(text + 1, '\n', MAUTH_CSV_RECORD_MAX + 6);
	read_all(text, MAUTH_CSV_RECORD_MAX + 8, out, sizeof(out));
	assert_non_null(strstr(out, "a line of more than 65536 octets"));
	free(text);
}

static void what_is_written_can_be_read(void **state)
{
	static const char *const fields[] = { "plain", "", NULL, "a,b", "say \"hi\"", "two\r\nlines", "\303\244" };
	char text[256] = "", out[256];
	FILE *file = fmemopen(text, sizeof(text), "w");

	for (size_t i = 0; i < 7; i++)
		mauth_csv_write(file, fields[i], i < 6 ? ',' : '\n');
	fclose(file);
	read_all(text, strlen(text), out, sizeof(out));
	assert_string_equal(out, "1[plain][][][a,b][say \"hi\"][two\r\nlines][\303\244]");
}

static enum mauth_status read_batch(struct mauth_batch *batch, const char *text, struct mauth_error *error_r)
{
	FILE *file = text_file(text, strlen(text));
	enum mauth_status status = mauth_batch_read(batch, file, "f", error_r);

	fclose(file);
	return status;
}

static void columns_in_any_order(void **state)
{
	struct mauth_batch batch = { .rows = NULL };
	struct mauth_error error;

	assert_int_equal(read_batch(&batch, "device,user\nphone,alice\n,bob\n", &error), MAUTH_OK);
	assert_int_equal(batch.asked, 2);
	assert_string_equal(batch.rows[0].user, "alice");
	assert_string_equal(batch.rows[0].device, "phone");
	assert_null(batch.rows[0].mailbox);
	assert_int_equal(batch.rows[1].line, 3);
	assert_null(batch.rows[1].device);
	assert_int_equal(batch.rows[1].state, MAUTH_BATCH_NOT_ASKED);
	mauth_batch_free(&batch);
}

static void mistakes_have_a_line_and_a_column(void **state)
{
	static const struct {
		const char *text, *expected;
	} cases[] = {
		{ "", "f line 1: there is no column user" },
		{ "account\n", "f line 1: there is no column user" },
		{ "user;account\n", "f line 1: unknown column \"user;account\"; known are user, account, mailbox and "
			"device, separated by commas" },
		{ "user,user\n", "f line 1: column user is there twice" },
		{ "user\n", "f: no users" },
		{ "user,account\na\n", "f line 2: 1 fields, but the header has 2" },
		{ "user\na,b\n", "f line 2: 2 fields, but the header has 1" },
		{ "user,account\na,x\n,b\n", "f line 3, column user: is empty" },
		{ "user\nalice\n\nbob\nAlice\n", "f line 5, column user: Alice is in line 2, too" },
		{ "user,device\nalice,a\033b\n", "f line 2, column device: a control character" },
		{ "user\n\"a\nb\"\n", "f line 2, column user: a control character" },
		{ "user,device\nalice,1234567890123456789012345678901234567890123456789012345678901234x\n",
			"f line 2, column device: longer than 64 octets" },
		{ "user\n\"a", "f line 2, column 1: the quote that begins here is never closed" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct mauth_batch batch = { .rows = NULL };
		struct mauth_error error;

		assert_int_equal(read_batch(&batch, cases[i].text, &error), MAUTH_CONFIG);
		assert_string_equal(error.text, cases[i].expected);
		mauth_batch_free(&batch);
	}
}

static void ten_thousand_users_and_no_more(void **state)
{
	struct mauth_batch batch = { .rows = NULL };
	struct mauth_error error;
	FILE *file = tmpfile();

	fputs("user\n", file);
	for (unsigned int i = 0; i < MAUTH_BATCH_ROWS_MAX; i++)
		fprintf(file, "user%u@example.com\n", i);
	rewind(file);
	assert_int_equal(mauth_batch_read(&batch, file, "f", &error), MAUTH_OK);
	assert_int_equal(batch.asked, MAUTH_BATCH_ROWS_MAX);
	mauth_batch_free(&batch);
	fseek(file, 0, SEEK_END);
	fputs("another", file);
	rewind(file);
	assert_int_equal(mauth_batch_read(&batch, file, "f", &error), MAUTH_CONFIG);
	assert_string_equal(error.text, "f line 10002: more than 10000 users");
	mauth_batch_free(&batch);
	fclose(file);
}

#define HEADER "user,account,mailbox,state,code,uri,expires_at,device_password,error\n"

static void an_output_is_resumed(void **state)
{
	static const char output[] = HEADER
		"Bob,b@example.com,,enrolled,,,,K7QM-X,\n"
		"gone,,,enrolled,,,,SAVED,\"a, \"\"b\"\"\"\n"
		"alice,,,pending,ABCD,https://x/,2026-11-26T10:00:00Z,,\n";
	struct mauth_batch batch = { .rows = NULL };
	struct mauth_error error;
	char text[1024] = "";
	FILE *file;

	assert_int_equal(read_batch(&batch, "user,mailbox\nalice,m\nbob,\ncarol,\n", &error), MAUTH_OK);
	file = text_file(output, strlen(output));
	assert_int_equal(mauth_batch_resume(&batch, file, "o", &error), MAUTH_OK);
	fclose(file);
	assert_int_equal(batch.asked, 3);
	assert_int_equal(batch.count, 4);
	assert_int_equal(batch.rows[0].state, MAUTH_BATCH_PENDING);
	assert_int_equal(batch.rows[0].expires_at, 1795687200);
	assert_int_equal(batch.rows[1].state, MAUTH_BATCH_ENROLLED);
	assert_string_equal(mauth_secret_expose(batch.rows[1].password), "K7QM-X");
	assert_int_equal(batch.rows[2].state, MAUTH_BATCH_NOT_ASKED);

	file = fmemopen(text, sizeof(text), "w");
	mauth_batch_write(&batch, file);
	fclose(file);
	assert_string_equal(text, HEADER
		"alice,,m,pending,ABCD,https://x/,2026-11-26T10:00:00Z,,\n"
		"bob,b@example.com,,enrolled,,,,K7QM-X,\n"
		"carol,,,not_asked,,,,,\n"
		"gone,,,enrolled,,,,SAVED,\"a, \"\"b\"\"\"\n");
	mauth_batch_free(&batch);
}

static void other_files_are_not_taken_for_an_output(void **state)
{
	static const char *const outputs[] = { "", "user\nalice\n", HEADER "alice,,\n", HEADER "alice,,,well,,,,,\n" };
	struct mauth_error error;

	for (size_t i = 0; i < sizeof(outputs) / sizeof(outputs[0]); i++) {
		struct mauth_batch batch = { .rows = NULL };
		FILE *file = text_file(outputs[i], strlen(outputs[i]));

		assert_int_equal(read_batch(&batch, "user\nalice\n", &error), MAUTH_OK);
		assert_int_equal(mauth_batch_resume(&batch, file, "o", &error), MAUTH_CONFIG);
		fclose(file);
		mauth_batch_free(&batch);
	}
}

static void files_appear_as_a_whole(void **state)
{
	char dir[] = "/tmp/modernauth-out-XXXXXX", path[64], line[16] = "";
	struct mauth_out_file out;
	struct mauth_error error;
	struct stat st;
	FILE *file;

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/f", dir);
	assert_int_equal(mauth_out_file_begin(&out, path, &error), MAUTH_OK);
	fputs("one\n", out.file);
	assert_int_equal(access(path, F_OK), -1);
	mauth_out_file_abort(&out);
	mauth_out_file_abort(&out);
	assert_int_equal(mauth_out_file_begin(&out, path, &error), MAUTH_OK);
	fputs("two\n", out.file);
	assert_int_equal(mauth_out_file_commit(&out, false, &error), MAUTH_OK);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(mauth_out_file_begin(&out, path, &error), MAUTH_OK);
	fputs("three\n", out.file);
	assert_int_equal(mauth_out_file_commit(&out, false, &error), MAUTH_CONFIG);
	assert_int_equal(mauth_out_file_begin(&out, path, &error), MAUTH_OK);
	fputs("four\n", out.file);
	assert_int_equal(mauth_out_file_commit(&out, true, &error), MAUTH_OK);
	file = fopen(path, "r");
	assert_non_null(fgets(line, sizeof(line), file));
	assert_string_equal(line, "four\n");
	fclose(file);
	unlink(path);
	assert_int_equal(symlink("/dev/null", path), 0);
	assert_int_equal(mauth_out_file_begin(&out, path, &error), MAUTH_CONFIG);
	unlink(path);
	assert_int_equal(mauth_out_file_begin(&out, "/nonexistent/f", &error), MAUTH_CONFIG);
	/* Nothing temporary is left. */
	assert_int_equal(rmdir(dir), 0);
}

#define TEST(name, fn) { name, fn, NULL, NULL, NULL }

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST("CSV as people and spreadsheets write it", csv_as_people_write_it),
		TEST("a line has a limit", lines_have_a_limit),
		TEST("what is written can be read", what_is_written_can_be_read),
		TEST("columns may be in any order", columns_in_any_order),
		TEST("mistakes have a line and a column", mistakes_have_a_line_and_a_column),
		TEST("ten thousand users and no more", ten_thousand_users_and_no_more),
		TEST("an output is resumed", an_output_is_resumed),
		TEST("other files are not taken for an output", other_files_are_not_taken_for_an_output),
		TEST("files appear as a whole", files_appear_as_a_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
