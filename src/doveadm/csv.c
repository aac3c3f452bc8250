/* SPDX-License-Identifier: MIT */
#include "doveadm/csv.h"

#include <errno.h>
#include <string.h>

enum csv_end { CSV_END_FIELD, CSV_END_RECORD, CSV_END_FILE, CSV_END_ERROR };

static enum csv_end fail_at(const struct mauth_csv *csv, struct mauth_error *error_r, const char *what)
{
	(void)mauth_fail(error_r, MAUTH_CONFIG, 0, "%s line %u, column %u: %s", csv->name, csv->line, csv->column,
			 what);
	return CSV_END_ERROR;
}

static int read_octet(struct mauth_csv *csv)
{
	int octet = getc(csv->file);

	csv->column++;
	csv->size++;
	return octet;
}

static void next_line(struct mauth_csv *csv)
{
	csv->line++;
	csv->column = 0;
}

static bool next_is(struct mauth_csv *csv, int wanted)
{
	int octet = getc(csv->file);

	if (octet == wanted) {
		csv->column++;
		csv->size++;
		return true;
	}
	if (octet != EOF)
		(void)ungetc(octet, csv->file);
	return false;
}

/* What octet means where a field may end; CSV_END_ERROR with an empty error: nothing, it belongs to the field. */
static enum csv_end end_of(struct mauth_csv *csv, int octet, struct mauth_error *error_r)
{
	switch (octet) {
	case ',':
		return CSV_END_FIELD;
	case '\r':
		if (!next_is(csv, '\n'))
			return fail_at(csv, error_r, "a carriage return that ends no line");
		return CSV_END_RECORD;
	case '\n':
		return CSV_END_RECORD;
	case EOF:
		if (ferror(csv->file) != 0)
			return fail_at(csv, error_r, "cannot be read");
		return CSV_END_FILE;
	case '\0':
		return fail_at(csv, error_r, "a NUL octet; save the file as UTF-8");
	default:
		return CSV_END_ERROR;
	}
}

static enum csv_end read_plain(struct mauth_csv *csv, int octet, struct mauth_error *error_r)
{
	for (;; octet = read_octet(csv)) {
		enum csv_end end = end_of(csv, octet, error_r);

		if (end != CSV_END_ERROR || error_r->status != MAUTH_OK)
			return end;
		if (octet == '"')
			return fail_at(csv, error_r, "a quote inside a field that does not begin with one");
		if (csv->size > MAUTH_CSV_RECORD_MAX)
			return fail_at(csv, error_r, "a line of more than 65536 octets");
		mauth_buf_putc(&csv->data, (char)octet);
	}
}

static enum csv_end read_quoted(struct mauth_csv *csv, struct mauth_error *error_r)
{
	unsigned int line = csv->line, column = csv->column;
	enum csv_end end;
	int octet;

	for (;;) {
		octet = read_octet(csv);
		if (octet == EOF) {
			csv->line = line;
			csv->column = column;
			return fail_at(csv, error_r, "the quote that begins here is never closed");
		}
		if (octet == '"' && !next_is(csv, '"'))
			break;
		if (octet == '\0')
			return fail_at(csv, error_r, "a NUL octet; save the file as UTF-8");
		if (csv->size > MAUTH_CSV_RECORD_MAX)
			return fail_at(csv, error_r, "a line of more than 65536 octets");
		if (octet == '\n')
			next_line(csv);
		mauth_buf_putc(&csv->data, (char)octet);
	}
	end = end_of(csv, read_octet(csv), error_r);
	if (end == CSV_END_ERROR && error_r->status == MAUTH_OK)
		return fail_at(csv, error_r, "text after a closing quote");
	return end;
}

/* A byte order mark has no meaning in UTF-8; in UTF-16 it tells what the matter is. */
static enum csv_end begin_file(struct mauth_csv *csv, struct mauth_error *error_r)
{
	int octet = getc(csv->file), second, third;

	csv->started = true;
	csv->line = 1;
	if (octet == 0xef) {
		second = getc(csv->file);
		third = getc(csv->file);
		if (second == 0xbb && third == 0xbf)
			return CSV_END_FIELD;
		return fail_at(csv, error_r, "not UTF-8");
	}
	if (octet == 0xff || octet == 0xfe)
		return fail_at(csv, error_r, "not UTF-8; save the file as CSV UTF-8");
	if (octet != EOF)
		(void)ungetc(octet, csv->file);
	return CSV_END_FIELD;
}

/* *begun_r: there was something before the end, so it is a record. */
static enum csv_end read_record(struct mauth_csv *csv, struct mauth_csv_record *record, bool *begun_r,
				struct mauth_error *error_r)
{
	enum csv_end end;
	int octet;

	*begun_r = false;
	do {
		if (record->count == MAUTH_CSV_FIELDS_MAX)
			return fail_at(csv, error_r, "more than 32 fields");
		csv->offsets[record->count++] = csv->data.size;
		octet = read_octet(csv);
		if (octet != EOF && octet != '\r' && octet != '\n')
			*begun_r = true;
		end = octet == '"' ? read_quoted(csv, error_r) : read_plain(csv, octet, error_r);
		mauth_buf_putc(&csv->data, '\0');
	} while (end == CSV_END_FIELD);
	return end;
}

static enum mauth_status finish_record(const struct mauth_csv *csv, struct mauth_csv_record *record,
				       struct mauth_error *error_r)
{
	for (size_t i = 0; i < record->count; i++) {
		record->fields[i] = csv->data.data + csv->offsets[i];
		if (!mauth_is_utf8(record->fields[i], strlen(record->fields[i])))
			return mauth_fail(error_r, MAUTH_CONFIG, 0, "%s line %u: field %zu is not UTF-8; save the file "
					  "as CSV UTF-8", csv->name, record->line, i + 1);
	}
	return MAUTH_OK;
}

enum mauth_status mauth_csv_next(struct mauth_csv *csv, struct mauth_csv_record *record_r, struct mauth_error *error_r)
{
	struct mauth_error error = { .status = MAUTH_OK };
	enum csv_end end = CSV_END_FIELD;
	bool begun = false;

	if (!csv->started)
		end = begin_file(csv, &error);
	while (!begun && end != CSV_END_ERROR && end != CSV_END_FILE) {
		mauth_buf_clear(&csv->data);
		csv->size = 0;
		record_r->count = 0;
		record_r->line = csv->line;
		end = read_record(csv, record_r, &begun, &error);
		if (end == CSV_END_RECORD)
			next_line(csv);
	}
	if (end == CSV_END_ERROR) {
		if (error_r != NULL)
			*error_r = error;
		return error.status;
	}
	if (!begun)
		record_r->count = 0;
	return finish_record(csv, record_r, error_r);
}

void mauth_csv_free(struct mauth_csv *csv)
{
	mauth_buf_free(&csv->data);
}

void mauth_csv_write(FILE *file, const char *field, char separator)
{
	if (field == NULL)
		field = "";
	if (strpbrk(field, ",\"\r\n") == NULL) {
		(void)fputs(field, file);
	} else {
		(void)putc('"', file);
		for (; *field != '\0'; field++) {
			if (*field == '"')
				(void)putc('"', file);
			(void)putc(*field, file);
		}
		(void)putc('"', file);
	}
	(void)putc(separator, file);
}
