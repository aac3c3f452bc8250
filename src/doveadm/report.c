/* SPDX-License-Identifier: MIT */
#include "doveadm/report.h"

#include "core/mem.h"

#include <stdlib.h>
#include <string.h>

/* What a row has of texts and numbers, in the broker's words. */
enum text {
	USER, TENANT, PROTOCOL, CLIENT, NETWORK, TLS, TLS_VERSION, MECHANISM, LAST_IP, LAST_ACTION, LAST_STATUS,
	LAST_ERROR, TEXTS
};
static const char *const text_keys[TEXTS] = {
	"user", "tenant", "protocol", "client", "network", "tls", "tls_version", "mechanism", "last_ip", "last_action",
	"last_status", "last_error",
};
enum number { FIRST_SEEN, LAST_SEEN, OK, REFUSED, FAILED, OTHER, EXCHANGE_REFUSED, NUMBERS };
static const char *const number_keys[NUMBERS] = {
	"first_seen", "last_seen", "ok", "refused", "failed", "other", "exchange_refused",
};

struct report_row {
	int64_t numbers[NUMBERS];
	uint16_t texts[TEXTS];           /* where each begins in text */
	char text[];
};

struct mauth_report {
	struct report_row **rows;
	size_t count, alloc;
};

static const char *text_of(const struct report_row *row, enum text text)
{
	return row->text + row->texts[text];
}

/* -- words -------------------------------------------------------------------------------------------------- */

bool mauth_report_group_parse(const char *text, enum mauth_report_group *group_r)
{
	static const char *const names[MAUTH_REPORT_GROUPS] = { "none", "user", "protocol", "client", "network", "day" };

	for (unsigned int i = 0; i < MAUTH_REPORT_GROUPS; i++) {
		if (strcmp(names[i], text) == 0) {
			*group_r = (enum mauth_report_group)i;
			return true;
		}
	}
	return false;
}

#define TIMES { "first_seen", MAUTH_REPORT_TIME }, { "last_seen", MAUTH_REPORT_TIME }
#define COUNTS \
	{ "ok", MAUTH_REPORT_COUNT }, { "refused", MAUTH_REPORT_COUNT }, { "failed", MAUTH_REPORT_COUNT }, \
	{ "other", MAUTH_REPORT_COUNT }
#define COLUMNS_END { NULL, MAUTH_REPORT_TEXT }
#define TEXT_COLUMN(name) { name, MAUTH_REPORT_TEXT }
#define COUNT_COLUMN(name) { name, MAUTH_REPORT_COUNT }

const struct mauth_report_column *mauth_report_columns(enum mauth_report_group group)
{
	static const struct mauth_report_column rows[] = {
		TEXT_COLUMN("user"), TEXT_COLUMN("tenant"), TEXT_COLUMN("protocol"), TEXT_COLUMN("client"),
		TEXT_COLUMN("network"), TEXT_COLUMN("tls"), TIMES, COUNTS, TEXT_COLUMN("last_action"),
		TEXT_COLUMN("last_error"), TEXT_COLUMN("mechanism"), TEXT_COLUMN("last_ip"),
		COUNT_COLUMN("exchange_refused"), COLUMNS_END
	};
	static const struct mauth_report_column users[] = {
		TEXT_COLUMN("user"), TEXT_COLUMN("tenant"), TEXT_COLUMN("protocols"), COUNT_COLUMN("clients"),
		COUNT_COLUMN("networks"), TIMES, COUNTS, TEXT_COLUMN("last_error"), COLUMNS_END
	};
	static const struct mauth_report_column protocols[] = {
		TEXT_COLUMN("protocol"), COUNT_COLUMN("users"), COUNT_COLUMN("clients"), COUNT_COLUMN("networks"), TIMES,
		COUNTS, COLUMNS_END
	};
	static const struct mauth_report_column clients[] = {
		TEXT_COLUMN("client"), TEXT_COLUMN("protocols"), COUNT_COLUMN("users"), COUNT_COLUMN("networks"), TIMES, COUNTS,
		COLUMNS_END
	};
	static const struct mauth_report_column networks[] = {
		TEXT_COLUMN("network"), TEXT_COLUMN("protocols"), COUNT_COLUMN("users"), COUNT_COLUMN("clients"), TIMES, COUNTS,
		COLUMNS_END
	};
	static const struct mauth_report_column days[] = {
		{ "day", MAUTH_REPORT_DATE }, TEXT_COLUMN("protocol"), COUNTS, COLUMNS_END
	};
	static const struct mauth_report_column *const all[MAUTH_REPORT_GROUPS] = {
		rows, users, protocols, clients, networks, days
	};

	return all[group];
}

/* -- rows --------------------------------------------------------------------------------------------------- */

struct mauth_report *mauth_report_new(void)
{
	return mauth_new(sizeof(struct mauth_report));
}

void mauth_report_free(struct mauth_report **report)
{
	struct mauth_report *r = *report;

	if (r == NULL)
		return;
	for (size_t i = 0; i < r->count; i++)
		free(r->rows[i]);
	free(r->rows);
	free(r);
	*report = NULL;
}

static const char *reply_text(const struct mauth_admin_reply *reply, const char *key)
{
	const char *text = mauth_admin_get(reply, key);

	return text == NULL ? "" : text;
}

enum mauth_status mauth_report_add(struct mauth_report *report, const struct mauth_admin_reply *reply,
				   struct mauth_error *error_r)
{
	size_t size = 0, at = 0;
	struct report_row *row;

	/* One line of the broker's is shorter than what an offset can say. */
	for (unsigned int i = 0; i < TEXTS; i++)
		size += strlen(reply_text(reply, text_keys[i])) + 1;
	if (size > UINT16_MAX)
		return mauth_fail(error_r, MAUTH_PROTOCOL, 0, "the broker sent a row of %zu octets", size);
	row = mauth_new(sizeof(*row) + size);
	for (unsigned int i = 0; i < TEXTS; i++) {
		const char *text = reply_text(reply, text_keys[i]);

		row->texts[i] = (uint16_t)at;
		memcpy(row->text + at, text, strlen(text) + 1);
		at += strlen(text) + 1;
	}
	for (unsigned int i = 0; i < NUMBERS; i++) {
		if (!mauth_admin_num(reply, number_keys[i], &row->numbers[i]) && i >= OK && i <= OTHER) {
			free(row);
			return mauth_fail(error_r, MAUTH_PROTOCOL, 0, "the broker's answer has no number of %s",
					  number_keys[i]);
		}
	}
	(void)mauth_admin_num(reply, "day", &row->numbers[FIRST_SEEN]);
	if (report->count == report->alloc) {
		report->alloc = report->alloc == 0 ? 1024 : 2 * report->alloc;
		report->rows = mauth_grow(report->rows, report->alloc, sizeof(struct report_row *));
	}
	report->rows[report->count++] = row;
	return MAUTH_OK;
}

/* -- order -------------------------------------------------------------------------------------------------- */

static int compare_texts(const struct report_row *a, const struct report_row *b, const enum text *texts, size_t count)
{
	int order = 0;

	for (size_t i = 0; order == 0 && i < count; i++)
		order = strcmp(text_of(a, texts[i]), text_of(b, texts[i]));
	return order;
}

static const enum text person[] = { TENANT, USER }, client[] = { TENANT, USER, CLIENT, NETWORK };

/* What rows of one group have in common. */
static const struct {
	enum text texts[2];
	size_t count;
} keys[MAUTH_REPORT_GROUPS] = {
	[MAUTH_REPORT_USER] = { { TENANT, USER }, 2 },
	[MAUTH_REPORT_PROTOCOL] = { { PROTOCOL }, 1 },
	[MAUTH_REPORT_CLIENT] = { { CLIENT }, 1 },
	[MAUTH_REPORT_NETWORK] = { { NETWORK }, 1 },
};

static int compare_seen(const void *a_, const void *b_)
{
	const struct report_row *a = *(struct report_row *const *)a_, *b = *(struct report_row *const *)b_;
	int64_t difference = b->numbers[LAST_SEEN] - a->numbers[LAST_SEEN];

	return difference != 0 ? (difference < 0 ? -1 : 1) : compare_texts(a, b, client, 4);
}

/* By the key of the group, then by client: equal ones stand together. */
static int compare_grouped(const void *a_, const void *b_, void *group)
{
	const struct report_row *a = *(struct report_row *const *)a_, *b = *(struct report_row *const *)b_;
	enum mauth_report_group by = *(const enum mauth_report_group *)group;
	int order = compare_texts(a, b, keys[by].texts, keys[by].count);

	return order != 0 ? order : compare_texts(a, b, client, 4);
}

static int compare_by_text(const void *a_, const void *b_, void *text)
{
	return compare_texts(*(struct report_row *const *)a_, *(struct report_row *const *)b_, text, 1);
}

/* -- groups ------------------------------------------------------------------------------------------------- */

struct report_group {
	const struct report_row *first;      /* has the key */
	int64_t numbers[NUMBERS];
	size_t users, clients, networks;
	char protocols[32];                  /* "imap,pop3" */
	const struct report_row *error;      /* the last one with an error; NULL: none */
};

/* Different values of text in rows, which lose their order; each is added to list, if there is one. */
static size_t count_distinct(struct report_row **rows, size_t count, enum text text, char *list, size_t list_size)
{
	size_t distinct = 0, used = 0;

	qsort_r(rows, count, sizeof(struct report_row *), compare_by_text, &text);
	for (size_t i = 0; i < count; i++) {
		const char *value = text_of(rows[i], text);

		if (i > 0 && strcmp(value, text_of(rows[i - 1], text)) == 0)
			continue;
		distinct++;
		if (list == NULL || used + strlen(value) + 2 > list_size)
			continue;
		if (used > 0)
			list[used++] = ',';
		memcpy(list + used, value, strlen(value) + 1);
		used += strlen(value);
	}
	return distinct;
}

/* rows: those of the group, in order of person and client. */
static void sum_up(struct report_row **rows, size_t count, struct report_group *group_r)
{
	*group_r = (struct report_group){ .first = rows[0], .users = 1, .clients = 1 };
	memcpy(group_r->numbers, rows[0]->numbers, sizeof(group_r->numbers));
	for (size_t i = 0; i < count; i++) {
		const struct report_row *row = rows[i];

		if (*text_of(row, LAST_ERROR) != '\0' &&
		    (group_r->error == NULL || row->numbers[LAST_SEEN] > group_r->error->numbers[LAST_SEEN]))
			group_r->error = row;
		if (i == 0)
			continue;
		group_r->users += compare_texts(row, rows[i - 1], person, 2) != 0;
		group_r->clients += compare_texts(row, rows[i - 1], client, 4) != 0;
		if (row->numbers[FIRST_SEEN] < group_r->numbers[FIRST_SEEN])
			group_r->numbers[FIRST_SEEN] = row->numbers[FIRST_SEEN];
		if (row->numbers[LAST_SEEN] > group_r->numbers[LAST_SEEN])
			group_r->numbers[LAST_SEEN] = row->numbers[LAST_SEEN];
		for (unsigned int n = OK; n < NUMBERS; n++)
			group_r->numbers[n] += row->numbers[n];
	}
	group_r->networks = count_distinct(rows, count, NETWORK, NULL, 0);
	(void)count_distinct(rows, count, PROTOCOL, group_r->protocols, sizeof(group_r->protocols));
}

static int compare_groups(const void *a_, const void *b_)
{
	const struct report_group *a = a_, *b = b_;
	static const enum number by[] = { OK, OTHER, LAST_SEEN };

	for (size_t i = 0; i < sizeof(by) / sizeof(by[0]); i++) {
		if (a->numbers[by[i]] != b->numbers[by[i]])
			return a->numbers[by[i]] > b->numbers[by[i]] ? -1 : 1;
	}
	return compare_texts(a->first, b->first, client, 4);
}

static size_t make_groups(struct mauth_report *report, enum mauth_report_group by, struct report_group **groups_r)
{
	struct report_group *groups = NULL;
	size_t count = 0, begin = 0;

	if (report->count > 0)
		qsort_r(report->rows, report->count, sizeof(struct report_row *), compare_grouped, &by);
	for (size_t i = 1; i <= report->count; i++) {
		if (i < report->count &&
		    compare_texts(report->rows[begin], report->rows[i], keys[by].texts, keys[by].count) == 0)
			continue;
		if (count % 256 == 0)
			groups = mauth_grow(groups, count + 256, sizeof(*groups));
		sum_up(report->rows + begin, i - begin, &groups[count++]);
		begin = i;
	}
	if (count > 0)
		qsort(groups, count, sizeof(*groups), compare_groups);
	*groups_r = groups;
	return count;
}

/* -- cells -------------------------------------------------------------------------------------------------- */

static bool number_cell(const char *key, const int64_t *numbers, struct mauth_report_cell *cell_r)
{
	for (unsigned int i = 0; i < NUMBERS; i++) {
		if (strcmp(key, number_keys[i]) == 0) {
			*cell_r = (struct mauth_report_cell){ .num = numbers[i] };
			return true;
		}
	}
	return false;
}

static void text_cell(const char *key, const struct report_row *row, struct mauth_report_cell *cell_r)
{
	for (unsigned int i = 0; i < TEXTS; i++) {
		if (strcmp(key, text_keys[i]) == 0)
			cell_r->text = text_of(row, (enum text)i);
	}
	/* The version says more than "yes". */
	if (strcmp(key, "tls") == 0 && *text_of(row, TLS_VERSION) != '\0')
		cell_r->text = text_of(row, TLS_VERSION);
}

static void row_cell(const char *key, const struct report_row *row, struct mauth_report_cell *cell_r)
{
	if (number_cell(key, row->numbers, cell_r))
		return;
	*cell_r = (struct mauth_report_cell){ .text = "" };
	if (strcmp(key, "day") == 0)
		cell_r->num = row->numbers[FIRST_SEEN];
	else
		text_cell(key, row, cell_r);
}

static void group_cell(const char *key, const struct report_group *group, struct mauth_report_cell *cell_r)
{
	const struct {
		const char *key;
		size_t count;
	} counts[] = { { "users", group->users }, { "clients", group->clients }, { "networks", group->networks } };

	if (number_cell(key, group->numbers, cell_r))
		return;
	*cell_r = (struct mauth_report_cell){ .text = "" };
	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		if (strcmp(key, counts[i].key) == 0) {
			cell_r->num = (int64_t)counts[i].count;
			return;
		}
	}
	if (strcmp(key, "protocols") == 0)
		cell_r->text = group->protocols;
	else if (strcmp(key, "last_error") == 0)
		cell_r->text = group->error == NULL ? "" : text_of(group->error, LAST_ERROR);
	else
		text_cell(key, group->first, cell_r);
}

void mauth_report_run(struct mauth_report *report, enum mauth_report_group group, mauth_report_fn *fn, void *context)
{
	const struct mauth_report_column *columns = mauth_report_columns(group);
	struct mauth_report_cell cells[MAUTH_REPORT_COLUMNS_MAX];
	struct report_group *groups = NULL;
	size_t count = report->count;
	bool grouped = group != MAUTH_REPORT_NONE && group != MAUTH_REPORT_DAY;

	if (grouped)
		count = make_groups(report, group, &groups);
	else if (group == MAUTH_REPORT_NONE && count > 0)
		qsort(report->rows, count, sizeof(struct report_row *), compare_seen);
	for (size_t i = 0; i < count; i++) {
		for (size_t c = 0; columns[c].key != NULL; c++) {
			if (grouped)
				group_cell(columns[c].key, &groups[i], &cells[c]);
			else
				row_cell(columns[c].key, report->rows[i], &cells[c]);
		}
		fn(cells, context);
	}
	free(groups);
}
