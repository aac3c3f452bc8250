/* SPDX-License-Identifier: MIT */
/* An audit that was touched is found out, one that was not is not. */
#include "core/chain-note.h"
#include "core/chain-verify.h"
#include "core/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LINES_MAX 64u

/* What a verification has said. */
struct verdict {
	struct mauth_buf text;               /* "fault file:line writer from to\n" */
	struct mauth_chain_summary summary;
};

static void remember(const struct mauth_chain_report *report, void *context)
{
	struct verdict *verdict = context;

	mauth_buf_printf(&verdict->text, "%s %s:%u %s %u-%u\n", mauth_chain_fault_name(report->fault), report->file,
			 (unsigned int)report->line, report->writer == NULL ? "?" : report->writer, (unsigned int)report->from,
			 (unsigned int)report->to);
}

static void verify(const struct mauth_chain_key *key, const struct mauth_buf *files, size_t count, size_t step,
		   struct verdict *verdict)
{
	static const char *const names[] = { "a", "b", "c", "d" };
	struct mauth_chain_verify *verify = mauth_chain_verify_new(key, remember, verdict);

	mauth_buf_clear(&verdict->text);
	mauth_buf_puts(&verdict->text, "");
	for (size_t i = 0; i < count; i++) {
		mauth_chain_verify_file(verify, names[i]);
		for (size_t at = 0; at < files[i].size; at += step)
			mauth_chain_verify_data(verify, files[i].data + at, step < files[i].size - at ? step : files[i].size - at);
	}
	mauth_chain_verify_end(verify, &verdict->summary);
	mauth_chain_verify_free(&verify);
}

static void put_record(struct mauth_chain_writer *writer, unsigned int number, struct mauth_buf *out)
{
	char *line = mauth_printf("{\"@timestamp\":\"2026-11-26T10:00:00Z\",\"user\":{\"name\":\"user%u\"},"
				  "\"x\":\"\\\",\\\"chain\\\":{\\\"w\\\":\\\"\"}\n", number);

	mauth_chain_seal(writer, line, strlen(line), out);
	free(line);
}

static void put_note(struct mauth_chain_writer *writer, enum mauth_chain_note_kind kind, const struct mauth_chain_note *note,
		     struct mauth_buf *out)
{
	static const struct mauth_chain_note nothing;
	struct mauth_buf line = { 0 };

	mauth_chain_note_write(&line, 1700000000000000, kind, note == NULL ? &nothing : note);
	mauth_chain_checkpoint(writer, line.data, line.size, out);
	mauth_buf_free(&line);
}

static struct mauth_chain_key *public_key(const struct mauth_chain_key *key)
{
	char *pem = mauth_chain_key_public(key);
	struct mauth_secret *text = mauth_secret_new(pem, strlen(pem));
	struct mauth_chain_key *copy;

	assert_int_equal(mauth_chain_key_read(text, &copy, NULL), MAUTH_OK);
	assert_false(mauth_chain_key_is_secret(copy));
	mauth_secret_free(&text);
	free(pem);
	return copy;
}

/* One writer over two files, with an end: 1 begun, 10 records, 12 checkpoint, 5 records, 18 rotated | 19 resumed, 10 records, 30 ended. */
static void write_two_files(const struct mauth_chain_key *key, struct mauth_buf files[2], struct mauth_chain_writer *writer)
{
	mauth_chain_begin(writer, key);
	put_note(writer, MAUTH_CHAIN_NOTE_BEGUN, NULL, &files[0]);
	for (unsigned int i = 0; i < 10; i++)
		put_record(writer, i, &files[0]);
	put_note(writer, MAUTH_CHAIN_NOTE_CHECKPOINT, NULL, &files[0]);
	for (unsigned int i = 0; i < 5; i++)
		put_record(writer, i, &files[0]);
	put_note(writer, MAUTH_CHAIN_NOTE_ROTATED, NULL, &files[0]);
	put_note(writer, MAUTH_CHAIN_NOTE_RESUMED, NULL, &files[1]);
	for (unsigned int i = 0; i < 10; i++)
		put_record(writer, i, &files[1]);
	put_note(writer, MAUTH_CHAIN_NOTE_ENDED, NULL, &files[1]);
}

struct world {
	struct mauth_chain_key *key, *pub;
	struct mauth_buf files[2];
	struct mauth_chain_writer writer;
	struct verdict verdict;
};

static void begin(struct world *world)
{
	*world = (struct world){ 0 };
	world->key = mauth_chain_key_new();
	world->pub = public_key(world->key);
	write_two_files(world->key, world->files, &world->writer);
}

static void end(struct world *world)
{
	mauth_buf_free(&world->files[0]);
	mauth_buf_free(&world->files[1]);
	mauth_buf_free(&world->verdict.text);
	mauth_chain_key_free(&world->key);
	mauth_chain_key_free(&world->pub);
}

static void expect(struct world *world, const struct mauth_chain_key *key, const char *format)
{
	char *text = format[0] == '\0' ? mauth_strdup("") : mauth_printf("%s", "");
	struct mauth_buf expected = { 0 };

	free(text);
	mauth_buf_puts(&expected, "");
	/* "W" is the writer. */
	for (; *format != '\0'; format++) {
		if (*format == 'W')
			mauth_buf_puts(&expected, world->writer.name);
		else
			mauth_buf_putc(&expected, *format);
	}
	verify(key, world->files, 2, 7, &world->verdict);
	assert_string_equal(world->verdict.text.data, expected.data);
	mauth_buf_free(&expected);
}

/* The line of file that begins at line number from 1 on; size with its newline. */
static char *line_at(struct mauth_buf *file, unsigned int number, size_t *size_r)
{
	char *at = file->data;

	while (--number > 0)
		at = strchr(at, '\n') + 1;
	*size_r = (size_t)(strchr(at, '\n') + 1 - at);
	return at;
}

static void cut(struct mauth_buf *file, size_t from, size_t size)
{
	memmove(file->data + from, file->data + from + size, file->size - from - size + 1);
	file->size -= size;
}

/* -- honest ------------------------------------------------------------------------------------------------- */

static void what_nobody_touched_is_right(void **state)
{
	struct world w;

	begin(&w);
	expect(&w, w.key, "");
	assert_int_equal(w.verdict.summary.lines, 30);
	assert_int_equal(w.verdict.summary.sealed, 30);
	assert_int_equal(w.verdict.summary.checkpoints, 5);
	assert_int_equal(w.verdict.summary.octets, w.files[0].size + w.files[1].size);
	assert_string_equal(w.verdict.summary.writer, w.writer.name);
	assert_int_equal(w.verdict.summary.number, 30);
	expect(&w, w.pub, "");
	assert_int_equal(w.verdict.summary.unsigned_lines, 0);
	end(&w);
}

static void keys_survive_their_file(void **state)
{
	struct mauth_chain_key *again;
	struct mauth_secret *text;
	struct world w;

	begin(&w);
	text = mauth_chain_key_text(w.key);
	assert_int_equal(mauth_chain_key_read(text, &again, NULL), MAUTH_OK);
	assert_true(mauth_chain_key_is_secret(again));
	expect(&w, again, "");
	mauth_chain_key_free(&again);
	mauth_secret_free(&text);
	end(&w);
}

static void what_is_no_key_is_refused(void **state)
{
	static const char *const texts[] = { "", "modernauth-audit-mac: 00\n", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
					     "modernauth-audit-mac: 0000000000000000000000000000000000000000000000000000000000000000\n" };

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct mauth_secret *text = mauth_secret_new(texts[i], strlen(texts[i]));
		struct mauth_chain_key *key = NULL;
		struct mauth_error error;

		assert_int_equal(mauth_chain_key_read(text, &key, &error), MAUTH_CONFIG);
		assert_null(key);
		mauth_secret_free(&text);
	}
}

static void a_file_alone_begins_later(void **state)
{
	struct world w;

	begin(&w);
	mauth_buf_clear(&w.files[0]);
	expect(&w, w.key, "later-start b:1 W 19-0\n");
	expect(&w, w.pub, "later-start b:1 W 19-0\n");
	end(&w);
}

/* Two brokers at a reload, then one that dies, then one that finds half a line. */
static void several_writers_are_followed(void **state)
{
	struct mauth_chain_note note = { .previous_number = 3 };
	struct mauth_chain_writer a, b, c;
	struct mauth_buf file = { 0 };
	struct verdict verdict = { { 0 }, { 0 } };
	struct mauth_chain_key *key = mauth_chain_key_new();
	char *expected;

	mauth_chain_begin(&a, key);
	mauth_chain_begin(&b, key);
	mauth_chain_begin(&c, key);
	put_note(&a, MAUTH_CHAIN_NOTE_BEGUN, NULL, &file);
	put_record(&a, 1, &file);
	put_record(&a, 2, &file);
	memcpy(note.previous, a.name, sizeof(note.previous));
	put_note(&b, MAUTH_CHAIN_NOTE_BEGUN, &note, &file);
	put_record(&a, 3, &file);
	put_record(&b, 3, &file);
	put_note(&a, MAUTH_CHAIN_NOTE_ENDED, NULL, &file);
	put_record(&b, 3, &file);
	/* b dies here, and half a line is left, which got a newline since the file cannot be cut. */
	mauth_buf_puts(&file, "{\"half\n");
	memcpy(note.previous, b.name, sizeof(note.previous));
	mauth_chain_note_torn("{\"half", 6, &note.torn);
	put_note(&c, MAUTH_CHAIN_NOTE_BEGUN, &note, &file);
	put_note(&c, MAUTH_CHAIN_NOTE_ENDED, NULL, &file);
	verify(key, &file, 1, 4096, &verdict);
	assert_string_equal(verdict.text.data, "torn a:9 ? 0-0\n");
	/* Somebody takes b's last line away, which c has seen. */
	{
		size_t size;
		char *line = line_at(&file, 8, &size);

		cut(&file, (size_t)(line - file.data), size);
	}
	verify(key, &file, 1, 4096, &verdict);
	expected = mauth_printf("torn a:8 ? 0-0\ncut a:9 %s 3-3\nopen-end a:0 %s 2-0\n", b.name, b.name);
	assert_string_equal(verdict.text.data, expected);
	free(expected);
	mauth_buf_free(&file);
	mauth_buf_free(&verdict.text);
	mauth_chain_key_free(&key);
}

static void an_end_that_was_not_said_is_noted(void **state)
{
	size_t size;
	struct world w;
	char *line;

	begin(&w);
	line = line_at(&w.files[1], 12, &size);
	cut(&w.files[1], (size_t)(line - w.files[1].data), size);
	expect(&w, w.key, "open-end b:0 W 29-0\n");
	expect(&w, w.pub, "open-end b:0 W 29-0\n");
	assert_int_equal(w.verdict.summary.unsigned_lines, 10);
	/* Half a line behind it. */
	mauth_buf_puts(&w.files[1], "{\"hal");
	expect(&w, w.key, "torn b:12 ? 0-0\nopen-end b:0 W 29-0\n");
	end(&w);
}

/* -- not ---------------------------------------------------------------------------------------------------- */

static void an_edited_line_is_named(void **state)
{
	struct world w;
	size_t size;

	begin(&w);
	line_at(&w.files[0], 5, &size)[50]++;
	expect(&w, w.key, "edited a:5 W 5-5\n");
	expect(&w, w.pub, "changed a:12 W 2-12\n");
	end(&w);
}

static void missing_repeated_and_swapped_lines_are_named(void **state)
{
	char copy[1024], other[1024];
	size_t size, other_size;
	struct world w;
	char *line;

	begin(&w);
	line = line_at(&w.files[0], 4, &size);
	cut(&w.files[0], (size_t)(line - w.files[0].data), size);
	expect(&w, w.key, "missing a:4 W 4-4\n");
	expect(&w, w.pub, "missing a:4 W 4-4\n");
	end(&w);
	begin(&w);
	line = line_at(&w.files[1], 3, &size);
	memcpy(copy, line, size);
	mauth_buf_append(&w.files[1], copy, size);
	expect(&w, w.key, "repeated b:13 W 21-30\n");
	end(&w);
	begin(&w);
	line = line_at(&w.files[0], 7, &size);
	memcpy(copy, line, size);
	memcpy(other, line_at(&w.files[0], 8, &other_size), 1);
	(void)line_at(&w.files[0], 8, &other_size);
	memcpy(other, line + size, other_size);
	memcpy(line, other, other_size);
	memcpy(line + other_size, copy, size);
	expect(&w, w.key, "missing a:7 W 7-7\nrepeated a:8 W 7-8\n");
	end(&w);
}

static void swapped_and_old_files_are_named(void **state)
{
	struct mauth_buf first;
	struct world w;

	begin(&w);
	first = w.files[0];
	w.files[0] = w.files[1];
	w.files[1] = first;
	verify(w.key, w.files, 2, 4096, &w.verdict);
	assert_int_equal(w.verdict.summary.findings, 18);
	assert_non_null(strstr(w.verdict.text.data, "repeated b:1 "));
	end(&w);
}

static void a_line_from_elsewhere_is_named(void **state)
{
	struct mauth_chain_writer stranger;
	struct mauth_chain_key *key = mauth_chain_key_new();
	struct world w;

	begin(&w);
	mauth_buf_puts(&w.files[0], "{\"user\":{\"name\":\"nobody\"}}\n");
	expect(&w, w.key, "foreign a:19 ? 0-0\n");
	end(&w);
	begin(&w);
	mauth_chain_begin(&stranger, key);
	put_note(&stranger, MAUTH_CHAIN_NOTE_BEGUN, NULL, &w.files[1]);
	put_note(&stranger, MAUTH_CHAIN_NOTE_ENDED, NULL, &w.files[1]);
	verify(w.key, w.files, 2, 4096, &w.verdict);
	/* Each line, and each signature. */
	assert_int_equal(w.verdict.summary.findings, 4);
	verify(w.pub, w.files, 2, 4096, &w.verdict);
	assert_int_equal(w.verdict.summary.findings, 2);
	mauth_chain_key_free(&key);
	end(&w);
}

static unsigned int next_random(unsigned int *seed, unsigned int below)
{
	*seed = *seed * 1103515245u + 12345u;
	return (*seed >> 16) % below;
}

/* Whatever is done to any octet, line or file: somebody who has the key sees it, and with the public key, too, for all that is
 * signed, which is everything here. */
static void no_random_edit_goes_unseen(void **state)
{
	unsigned int seed = 20261126;

	for (unsigned int round = 0; round < 3000; round++) {
		struct mauth_buf *file;
		struct world w;
		size_t size, at;
		char *line;

		begin(&w);
		file = &w.files[next_random(&seed, 2)];
		at = (next_random(&seed, 32768) * 32768u + next_random(&seed, 32768)) % file->size;
		switch (next_random(&seed, 5)) {
		case 0:
			file->data[at] = (char)(file->data[at] ^ (1 << next_random(&seed, 8)));
			break;
		case 1:
			cut(file, at, 1);
			break;
		case 2:
			line = line_at(file, 1 + next_random(&seed, 11), &size);
			cut(file, (size_t)(line - file->data), size);
			break;
		case 3:
			/* The tail, up to anywhere. */
			cut(file, at, file->size - at);
			break;
		default:
			mauth_buf_puts(file, "\n");
			break;
		}
		verify(w.key, w.files, 2, 4096, &w.verdict);
		if (w.verdict.summary.findings + w.verdict.summary.notes == 0)
			fail_msg("round %u: nothing was seen", round);
		verify(w.pub, w.files, 2, 4096, &w.verdict);
		if (w.verdict.summary.findings + w.verdict.summary.notes == 0)
			fail_msg("round %u: nothing was seen with the public key", round);
		end(&w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_nobody_touched_is_right),
		cmocka_unit_test(keys_survive_their_file),
		cmocka_unit_test(what_is_no_key_is_refused),
		cmocka_unit_test(a_file_alone_begins_later),
		cmocka_unit_test(several_writers_are_followed),
		cmocka_unit_test(an_end_that_was_not_said_is_noted),
		cmocka_unit_test(an_edited_line_is_named),
		cmocka_unit_test(missing_repeated_and_swapped_lines_are_named),
		cmocka_unit_test(swapped_and_old_files_are_named),
		cmocka_unit_test(a_line_from_elsewhere_is_named),
		cmocka_unit_test(no_random_edit_goes_unseen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
