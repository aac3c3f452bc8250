/* SPDX-License-Identifier: MIT */
#include "doveadm/batch.h"
#include "doveadm/csv.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

static const char *const state_names[MAUTH_BATCH_STATES] = {
	[MAUTH_BATCH_NOT_ASKED] = "not_asked",
	[MAUTH_BATCH_PENDING] = "pending",
	[MAUTH_BATCH_ENROLLED] = "enrolled",
	[MAUTH_BATCH_EXPIRED] = "expired",
	[MAUTH_BATCH_FAILED] = "failed",
};

enum { IN_USER, IN_ACCOUNT, IN_MAILBOX, IN_DEVICE, IN_COUNT };
static const struct {
	const char *name;
	size_t max;
} in_columns[IN_COUNT] = {
	[IN_USER] = { "user", MAUTH_USER_MAX },
	[IN_ACCOUNT] = { "account", MAUTH_USER_MAX },
	[IN_MAILBOX] = { "mailbox", MAUTH_USER_MAX },
	[IN_DEVICE] = { "device", 64 },
};

enum {
	OUT_USER, OUT_ACCOUNT, OUT_MAILBOX, OUT_STATE, OUT_CODE, OUT_URI, OUT_EXPIRES_AT, OUT_PASSWORD, OUT_ERROR,
	OUT_COUNT
};
static const char *const out_columns[OUT_COUNT] = {
	"user", "account", "mailbox", "state", "code", "uri", "expires_at", "device_password", "error",
};

const char *mauth_batch_state_name(enum mauth_batch_state state)
{
	return state_names[state];
}

void mauth_batch_set(char **text, const char *value)
{
	free(*text);
	*text = mauth_strdup(value);
}

static struct mauth_batch_row *add_row(struct mauth_batch *batch)
{
	struct mauth_batch_row *row;

	if (batch->count == batch->alloc) {
		batch->alloc = batch->alloc == 0 ? 64 : batch->alloc * 2;
		batch->rows = mauth_grow(batch->rows, batch->alloc, sizeof(*batch->rows));
	}
	row = &batch->rows[batch->count++];
	memset(row, 0, sizeof(*row));
	return row;
}

/* Text about a line of the file called name. */
static enum mauth_status MAUTH_PRINTF(4, 5)
fail_at(struct mauth_error *error_r, const char *name, unsigned int line, const char *fmt, ...)
{
	char text[MAUTH_TEXT_MAX];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	return mauth_fail(error_r, MAUTH_CONFIG, 0, "%s line %u%s", name, line, text);
}

/* --- the input ----------------------------------------------------------------------------------------------- */

static enum mauth_status read_header(struct mauth_csv *csv, int columns_r[static MAUTH_CSV_FIELDS_MAX], size_t *count_r,
				     struct mauth_error *error_r)
{
	struct mauth_csv_record record;
	unsigned int seen = 0;
	enum mauth_status status = mauth_csv_next(csv, &record, error_r);

	if (status != MAUTH_OK)
		return status;
	*count_r = record.count;
	for (size_t i = 0; i < record.count; i++) {
		int column = 0;

		while (column < IN_COUNT && strcmp(in_columns[column].name, record.fields[i]) != 0)
			column++;
		if (column == IN_COUNT)
			return fail_at(error_r, csv->name, record.line, ": unknown column \"%.64s\"; known are user, "
				       "account, mailbox and device, separated by commas", record.fields[i]);
		if ((seen & 1u << column) != 0)
			return fail_at(error_r, csv->name, record.line, ": column %s is there twice", record.fields[i]);
		seen |= 1u << column;
		columns_r[i] = column;
	}
	if ((seen & 1u << IN_USER) == 0)
		return fail_at(error_r, csv->name, 1, ": there is no column user");
	return MAUTH_OK;
}

/* What goes to terminals and to Entra has no control characters. */
static bool is_clean(const char *text)
{
	size_t size = strlen(text);
	char *clean = mauth_new(size + 1);
	bool same;

	mauth_clean_copy(clean, size + 1, text, size);
	same = strcmp(clean, text) == 0;
	free(clean);
	return same;
}

static enum mauth_status read_row(struct mauth_batch *batch, const char *name, const struct mauth_csv_record *record,
				  const int *columns, struct mauth_error *error_r)
{
	struct mauth_batch_row *row = add_row(batch);
	char **texts[IN_COUNT] = { &row->user, &row->account, &row->mailbox, &row->device };

	row->line = record->line;
	for (size_t i = 0; i < record->count; i++) {
		const char *value = record->fields[i], *column = in_columns[columns[i]].name;

		if (strlen(value) > in_columns[columns[i]].max)
			return fail_at(error_r, name, record->line, ", column %s: longer than %zu octets", column,
				       in_columns[columns[i]].max);
		if (!is_clean(value))
			return fail_at(error_r, name, record->line, ", column %s: a control character", column);
		if (*value != '\0')
			*texts[columns[i]] = mauth_strdup(value);
	}
	if (row->user == NULL)
		return fail_at(error_r, name, record->line, ", column user: is empty");
	return MAUTH_OK;
}

/* Rows move when there are more of them, their texts do not. */
struct user_index {
	const char *user;
	unsigned int line;
	size_t row;
};

static int compare_users(const void *a, const void *b)
{
	const struct user_index *user_a = a, *user_b = b;
	int diff = strcasecmp(user_a->user, user_b->user);

	return diff != 0 ? diff : user_a->line < user_b->line ? -1 : user_a->line > user_b->line;
}

/* The users of the input in order, which the caller frees. */
static struct user_index *sorted(const struct mauth_batch *batch)
{
	struct user_index *by_user = mauth_new_array(batch->asked + 1, sizeof(*by_user));

	for (size_t i = 0; i < batch->asked; i++)
		by_user[i] = (struct user_index){ batch->rows[i].user, batch->rows[i].line, i };
	qsort(by_user, batch->asked, sizeof(*by_user), compare_users);
	return by_user;
}

/* The same user twice would get one code, in two rows, and one device password, in one of them. */
static enum mauth_status check_twice(const struct mauth_batch *batch, const char *name, struct mauth_error *error_r)
{
	struct user_index *by_user = sorted(batch);
	enum mauth_status status = MAUTH_OK;

	for (size_t i = 1; i < batch->asked && status == MAUTH_OK; i++) {
		if (strcasecmp(by_user[i - 1].user, by_user[i].user) == 0)
			status = fail_at(error_r, name, by_user[i].line, ", column user: %s is in line %u, too",
					 by_user[i].user, by_user[i - 1].line);
	}
	free(by_user);
	return status;
}

static enum mauth_status read_rows(struct mauth_batch *batch, struct mauth_csv *csv, struct mauth_error *error_r)
{
	struct mauth_csv_record record;
	int columns[MAUTH_CSV_FIELDS_MAX] = { 0 };
	size_t count;
	enum mauth_status status = read_header(csv, columns, &count, error_r);

	while (status == MAUTH_OK) {
		status = mauth_csv_next(csv, &record, error_r);
		if (status != MAUTH_OK || record.count == 0)
			break;
		if (record.count != count)
			return fail_at(error_r, csv->name, record.line, ": %zu fields, but the header has %zu",
				       record.count, count);
		if (batch->count == MAUTH_BATCH_ROWS_MAX)
			return fail_at(error_r, csv->name, record.line, ": more than %u users", MAUTH_BATCH_ROWS_MAX);
		status = read_row(batch, csv->name, &record, columns, error_r);
	}
	return status;
}

enum mauth_status mauth_batch_read(struct mauth_batch *batch, FILE *file, const char *name, struct mauth_error *error_r)
{
	struct mauth_csv csv = { .file = file, .name = name };
	enum mauth_status status = read_rows(batch, &csv, error_r);

	mauth_csv_free(&csv);
	batch->asked = batch->count;
	if (status == MAUTH_OK)
		status = check_twice(batch, name, error_r);
	if (status == MAUTH_OK && batch->count == 0)
		status = mauth_fail(error_r, MAUTH_CONFIG, 0, "%s: no users", name);
	return status;
}

/* --- the output ---------------------------------------------------------------------------------------------- */

static bool parse_state(const char *name, enum mauth_batch_state *state_r)
{
	for (unsigned int i = 0; i < MAUTH_BATCH_STATES; i++) {
		if (strcmp(state_names[i], name) == 0) {
			*state_r = (enum mauth_batch_state)i;
			return true;
		}
	}
	return false;
}

static int64_t parse_time(const char *text)
{
	struct tm tm = { .tm_mday = 0 };
	const char *end = strptime(text, "%Y-%m-%dT%H:%M:%SZ", &tm);

	return end == NULL || *end != '\0' ? 0 : timegm(&tm);
}

static bool is_output_header(const struct mauth_csv_record *record)
{
	bool same = record->count == OUT_COUNT;

	for (size_t i = 0; same && i < OUT_COUNT; i++)
		same = strcmp(record->fields[i], out_columns[i]) == 0;
	return same;
}

/* Empty texts are kept as NULL. */
static void set_field(char **text, const char *field)
{
	mauth_batch_set(text, *field == '\0' ? NULL : field);
}

static int compare_user(const void *user, const void *element)
{
	return strcasecmp(user, ((const struct user_index *)element)->user);
}

static enum mauth_status resume_row(struct mauth_batch *batch, const struct user_index *by_user, const char *name,
				    const struct mauth_csv_record *record, struct mauth_error *error_r)
{
	const char *user = record->fields[OUT_USER];
	const struct user_index *found = bsearch(user, by_user, batch->asked, sizeof(*by_user), compare_user);
	struct mauth_batch_row *row;
	enum mauth_batch_state state;

	if (!parse_state(record->fields[OUT_STATE], &state))
		return fail_at(error_r, name, record->line, ", column state: unknown state \"%.32s\"",
			       record->fields[OUT_STATE]);
	if (found == NULL && batch->count == 2 * MAUTH_BATCH_ROWS_MAX)
		return fail_at(error_r, name, record->line, ": too many users");
	row = found != NULL ? &batch->rows[found->row] : add_row(batch);
	if (found == NULL)
		row->user = mauth_strdup(user);
	row->state = state;
	set_field(&row->real_account, record->fields[OUT_ACCOUNT]);
	set_field(&row->real_mailbox, record->fields[OUT_MAILBOX]);
	set_field(&row->code, record->fields[OUT_CODE]);
	set_field(&row->uri, record->fields[OUT_URI]);
	set_field(&row->error, record->fields[OUT_ERROR]);
	row->expires_at = parse_time(record->fields[OUT_EXPIRES_AT]);
	mauth_secret_free(&row->password);
	if (record->fields[OUT_PASSWORD][0] != '\0')
		row->password = mauth_secret_new(record->fields[OUT_PASSWORD], strlen(record->fields[OUT_PASSWORD]));
	return MAUTH_OK;
}

enum mauth_status mauth_batch_resume(struct mauth_batch *batch, FILE *file, const char *name,
				     struct mauth_error *error_r)
{
	struct mauth_csv csv = { .file = file, .name = name };
	struct mauth_csv_record record;
	struct user_index *by_user;
	enum mauth_status status = mauth_csv_next(&csv, &record, error_r);

	if (status == MAUTH_OK && !is_output_header(&record))
		status = mauth_fail(error_r, MAUTH_CONFIG, 0, "%s exists and was not written by this command", name);
	by_user = sorted(batch);
	while (status == MAUTH_OK) {
		status = mauth_csv_next(&csv, &record, error_r);
		if (status != MAUTH_OK || record.count == 0)
			break;
		if (record.count != OUT_COUNT)
			status = fail_at(error_r, name, record.line, ": %zu fields instead of %d", record.count,
					 OUT_COUNT);
		else
			status = resume_row(batch, by_user, name, &record, error_r);
	}
	free(by_user);
	mauth_csv_free(&csv);
	return status;
}

static void write_row(const struct mauth_batch_row *row, FILE *file)
{
	time_t t = (time_t)row->expires_at;
	char expires[32] = "";
	struct tm tm;

	if (row->expires_at > 0 && gmtime_r(&t, &tm) != NULL)
		(void)strftime(expires, sizeof(expires), "%Y-%m-%dT%H:%M:%SZ", &tm);
	mauth_csv_write(file, row->user, ',');
	mauth_csv_write(file, row->real_account != NULL ? row->real_account : row->account, ',');
	mauth_csv_write(file, row->real_mailbox != NULL ? row->real_mailbox : row->mailbox, ',');
	mauth_csv_write(file, state_names[row->state], ',');
	mauth_csv_write(file, row->code, ',');
	mauth_csv_write(file, row->uri, ',');
	mauth_csv_write(file, expires, ',');
	mauth_csv_write(file, row->password == NULL ? NULL : mauth_secret_expose(row->password), ',');
	mauth_csv_write(file, row->error, '\n');
}

void mauth_batch_write(const struct mauth_batch *batch, FILE *file)
{
	for (size_t i = 0; i < OUT_COUNT; i++)
		mauth_csv_write(file, out_columns[i], i + 1 < OUT_COUNT ? ',' : '\n');
	for (size_t i = 0; i < batch->count; i++)
		write_row(&batch->rows[i], file);
}

void mauth_batch_free(struct mauth_batch *batch)
{
	for (size_t i = 0; i < batch->count; i++) {
		struct mauth_batch_row *row = &batch->rows[i];
		char *texts[] = { row->user, row->account, row->mailbox, row->device, row->real_account,
			row->real_mailbox, row->code, row->uri, row->error };

		for (size_t j = 0; j < sizeof(texts) / sizeof(texts[0]); j++)
			free(texts[j]);
		mauth_secret_free(&row->password);
	}
	free(batch->rows);
	memset(batch, 0, sizeof(*batch));
}
