/* SPDX-License-Identifier: MIT */
/* Who still uses passwords: report, inventory forget. */
#include "lib.h"
#include "hostpid.h"
#include "str.h"
#include "doveadm-print.h"

#include "doveadm/command.h"
#include "doveadm/csv.h"
#include "doveadm/out-file.h"
#include "doveadm/page.h"
#include "doveadm/term.h"

#include <stdio.h>
#include <time.h>

struct printing {
	struct mauth_command *cmd;
	const struct mauth_report_column *columns;
	bool csv;
};

/* --- as a table, or whatever doveadm's -f says --------------------------------------------------------------- */

static const char *date_text(int64_t time)
{
	char text[MAUTH_TIME_SIZE];

	mauth_time_text(time, text);
	return t_strdup_until(text, text + strcspn(text, "T"));
}

static void print_headers(const struct printing *printing)
{
	printing->cmd->printing = TRUE;
	doveadm_print_init(DOVEADM_PRINT_TYPE_TABLE);
	for (const struct mauth_report_column *column = printing->columns; column->key != NULL; column++)
		doveadm_print_header(column->key, column->key, column->kind == MAUTH_REPORT_COUNT ?
				     DOVEADM_PRINT_HEADER_FLAG_NUMBER : 0);
}

static void print_cells(const struct printing *printing, const struct mauth_report_cell *cells)
{
	for (size_t i = 0; printing->columns[i].key != NULL; i++) {
		switch (printing->columns[i].kind) {
		case MAUTH_REPORT_TEXT:
			mauth_command_print(printing->cmd, cells[i].text);
			break;
		case MAUTH_REPORT_TIME:
			mauth_command_print_time(printing->cmd, cells[i].num);
			break;
		case MAUTH_REPORT_DATE:
			mauth_command_print(printing->cmd, date_text(cells[i].num));
			break;
		case MAUTH_REPORT_COUNT:
			doveadm_print_num((uintmax_t)cells[i].num);
			break;
		}
	}
}

/* --- as CSV -------------------------------------------------------------------------------------------------- */

/* Spreadsheets take what begins like this for a formula, and clients choose their names. */
static const char *csv_text(const char *text)
{
	return *text != '\0' && strchr("=+-@", *text) != NULL ? t_strconcat("'", text, NULL) : text;
}

static const char *csv_cell(const struct mauth_report_cell *cell, enum mauth_report_kind kind)
{
	char text[MAUTH_TIME_SIZE];

	switch (kind) {
	case MAUTH_REPORT_TEXT:
		return csv_text(mauth_show(cell->text));
	case MAUTH_REPORT_TIME:
		if (cell->num == 0)
			return "";
		mauth_time_text(cell->num, text);
		return t_strdup(text);
	case MAUTH_REPORT_DATE:
		return date_text(cell->num);
	case MAUTH_REPORT_COUNT:
		break;
	}
	return t_strdup_printf("%lld", (long long)cell->num);
}

static void write_headers(const struct mauth_report_column *columns)
{
	for (; columns->key != NULL; columns++)
		mauth_csv_write(stdout, columns->key, columns[1].key == NULL ? '\n' : ',');
}

static void write_cells(const struct mauth_report_column *columns, const struct mauth_report_cell *cells)
{
	for (; columns->key != NULL; columns++, cells++)
		mauth_csv_write(stdout, csv_cell(cells, columns->kind), columns[1].key == NULL ? '\n' : ',');
}

static void print_line(const struct mauth_report_cell *cells, void *context)
{
	const struct printing *printing = context;

	T_BEGIN {
		if (printing->csv)
			write_cells(printing->columns, cells);
		else
			print_cells(printing, cells);
	} T_END;
}

/* --- asking -------------------------------------------------------------------------------------------------- */

#define PROGRESS_MSECS 200

struct asking {
	struct mauth_command *cmd;
	struct mauth_report *report;
	struct mauth_live live;
	int64_t rows, total, drawn_at;   /* total 0: the broker has not said */
};

static void draw(struct asking *asking)
{
	int64_t now = mauth_monotonic_msecs();
	const char *line;

	if (!asking->live.is_tty || now < asking->drawn_at + PROGRESS_MSECS)
		return;
	asking->drawn_at = now;
	T_BEGIN {
		line = asking->total > 0 ?
			t_strdup_printf("reading the inventory: %lld of %lld rows", (long long)asking->rows, (long long)asking->total) :
			t_strdup_printf("reading the inventory: %lld rows", (long long)asking->rows);
		mauth_live_draw(&asking->live, &line, 1);
	} T_END;
}

typedef enum mauth_status take_fn(struct mauth_report *report, const struct mauth_admin_reply *reply, struct mauth_error *error_r);

static bool take_rows(struct asking *asking, take_fn *take)
{
	const struct mauth_admin_reply *reply;
	struct mauth_error error;
	int64_t said;

	i_zero(&error);
	while (mauth_command_next(asking->cmd, &reply)) {
		if (reply->kind == MAUTH_ADMIN_NOTE)
			(void)mauth_admin_num(reply, "total", &asking->total);
		if (reply->kind == MAUTH_ADMIN_OK) {
			if (!mauth_admin_num(reply, "rows", &said) || said == asking->rows)
				return TRUE;
			mauth_command_fail_text(MAUTH_PROTOCOL, "the broker sent %lld rows and says they are %lld",
						(long long)asking->rows, (long long)said);
			return FALSE;
		}
		if (reply->kind != MAUTH_ADMIN_ROW)
			continue;
		if (take(asking->report, reply, &error) != MAUTH_OK) {
			mauth_command_fail(&error);
			return FALSE;
		}
		asking->rows++;
		draw(asking);
	}
	return FALSE;
}

/* Every ROW of the answer goes to take. */
static bool fetch(struct mauth_command *cmd, const char *verb, const struct mauth_admin_field *fields,
		  struct mauth_report *report, take_fn *take)
{
	struct asking asking = { .cmd = cmd, .report = report };
	bool good;

	mauth_live_init(&asking.live);
	good = mauth_command_ask(cmd, verb, fields) && take_rows(&asking, take);
	mauth_live_end(&asking.live, TRUE);
	return good;
}

static void print_report(struct mauth_command *cmd, struct mauth_report *report, enum mauth_report_group group, bool csv)
{
	struct printing printing = { .cmd = cmd, .columns = mauth_report_columns(group), .csv = csv };
	struct mauth_error error;

	i_zero(&error);
	if (csv)
		write_headers(printing.columns);
	else
		print_headers(&printing);
	if (mauth_report_run(report, group, print_line, &printing, &error) != MAUTH_OK)
		mauth_command_fail(&error);
	if (csv && (fflush(stdout) != 0 || ferror(stdout) != 0)) {
		i_error("writing to stdout failed: %m");
		doveadm_exit_code = EX_IOERR;
	}
}

/* --- as a page ----------------------------------------------------------------------------------------------- */

#define PAGE_SINCE_SECS (30 * 86400)
#define PAGE_SOON_SECS "7776000"           /* 90 days */

/* What the page has besides the inventory. */
static bool fetch_more(struct mauth_command *cmd, struct mauth_report *report)
{
	static const struct mauth_admin_field none[] = { { NULL, NULL } }, about[] = { { "about", "yes" }, { NULL, NULL } },
		days[] = { { "days", "yes" }, { NULL, NULL } }, soon[] = { { "expiring", PAGE_SOON_SECS }, { NULL, NULL } };

	mauth_page_begin(report);
	if (!fetch(cmd, "REPORT", about, report, mauth_page_add) || !fetch(cmd, "REPORT", days, report, mauth_report_add) ||
	    !fetch(cmd, "POLICY", none, report, mauth_page_add))
		return FALSE;
	return !mauth_page_has_store(report) || (fetch(cmd, "LIST", soon, report, mauth_page_add) &&
						 fetch(cmd, "DEVICE-LIST", none, report, mauth_page_add));
}

/* "--tenant contoso --protocol pop3"; NULL: it is about everybody. */
static const char *filter_text(const struct doveadm_cmd_context *cctx)
{
	static const char *const names[] = { "tenant", "user", "protocol", "network" };
	string_t *text = t_str_new(64);

	for (unsigned int i = 0; i < N_ELEMENTS(names); i++) {
		const char *value = mauth_command_str(cctx, names[i]);

		if (value != NULL)
			str_printfa(text, "%s--%s %s", str_len(text) > 0 ? " " : "", names[i], value);
	}
	return str_len(text) > 0 ? str_c(text) : NULL;
}

/* The file is opened before the work: whoever misspelt it wants to know at once. */
static void make_page(struct mauth_command *cmd, const struct mauth_admin_field *fields, struct mauth_report *report, int64_t since,
		      const char *path)
{
	const struct mauth_page_facts facts = {
		.now = (int64_t)time(NULL), .since = since, .host = my_hostname, .by = mauth_command_admin_name(cmd->cctx),
		.version = MAUTH_VERSION, .filter = filter_text(cmd->cctx),
	};
	struct mauth_out_file out = { .file = NULL };
	struct mauth_error error;

	i_zero(&error);
	if (mauth_out_file_begin(&out, path, &error) != MAUTH_OK) {
		mauth_command_fail(&error);
		doveadm_exit_code = EX_CANTCREAT;
		return;
	}
	if (!fetch(cmd, "REPORT", fields, report, mauth_report_add) || !fetch_more(cmd, report)) {
		mauth_out_file_abort(&out);
	} else if (mauth_page_write(report, &facts, out.file, &error) != MAUTH_OK) {
		mauth_out_file_abort(&out);
		mauth_command_fail(&error);
	} else if (mauth_out_file_commit(&out, TRUE, &error) != MAUTH_OK) {
		mauth_command_fail(&error);
		doveadm_exit_code = EX_CANTCREAT;
	} else {
		fprintf(stderr, "%s: written. It names people: only its owner may read it.\n", mauth_show(path));
	}
}

/* --- report -------------------------------------------------------------------------------------------------- */

/* What the command was asked for. */
struct request {
	enum mauth_report_group group;
	int64_t since;
	bool csv;
	const char *html;
};

static bool refuse(const char *text)
{
	i_error("%s", text);
	doveadm_exit_code = EX_USAGE;
	return FALSE;
}

/* false: it has been said what is wrong. */
static bool take_arguments(const struct mauth_command *cmd, struct request *request_r)
{
	const char *since = mauth_command_str(cmd->cctx, "since"), *group = mauth_command_str(cmd->cctx, "group-by");

	i_zero(request_r);
	request_r->csv = mauth_command_bool(cmd->cctx, "csv");
	request_r->html = mauth_command_str(cmd->cctx, "html");
	if (since != NULL && (!mauth_interval_parse(since, &request_r->since) || request_r->since < 1))
		return refuse(t_strconcat("--since: not a time like 12h or 30d: ", mauth_show(since), NULL));
	if (group != NULL && !mauth_report_group_parse(group, &request_r->group))
		return refuse(t_strconcat("--group-by: user, protocol, client, network, day or none was expected: ",
					  mauth_show(group), NULL));
	if ((request_r->csv || request_r->html != NULL) && !cmd->is_cli)
		return refuse("--csv, --html: only on the command line");
	if (request_r->html != NULL && (request_r->csv || group != NULL || mauth_command_bool(cmd->cctx, "working")))
		return refuse("--html: has all groups, and those that work apart; take --group-by, --working and --csv away");
	if (request_r->html != NULL && *request_r->html == '\0')
		return refuse("--html: the name of a file was expected");
	if (request_r->html != NULL && since == NULL)
		request_r->since = PAGE_SINCE_SECS;
	return TRUE;
}

void mauth_cmd_report(struct doveadm_cmd_context *cctx)
{
	struct mauth_report *report;
	struct mauth_command cmd;
	struct request request;

	if (!mauth_command_init(&cmd, cctx) || !take_arguments(&cmd, &request))
		return;
	const struct mauth_admin_field fields[] = {
		{ "since", request.since > 0 ? t_strdup_printf("%lld", (long long)request.since) : NULL },
		{ "tenant", mauth_command_str(cctx, "tenant") }, { "user", mauth_command_str(cctx, "user") },
		{ "service", mauth_command_str(cctx, "protocol") }, { "network", mauth_command_str(cctx, "network") },
		{ "works", mauth_command_bool(cctx, "working") ? "yes" : NULL },
		{ "days", request.group == MAUTH_REPORT_DAY ? "yes" : NULL }, { NULL, NULL }
	};
	report = mauth_report_new();
	if (mauth_command_connect(&cmd, 0)) {
		if (request.html != NULL)
			make_page(&cmd, fields, report, request.since, request.html);
		else if (fetch(&cmd, "REPORT", fields, report, mauth_report_add))
			print_report(&cmd, report, request.group, request.csv);
	}
	mauth_report_free(&report);
	mauth_command_deinit(&cmd);
}

/* --- inventory forget ---------------------------------------------------------------------------------------- */

void mauth_cmd_inventory_forget(struct doveadm_cmd_context *cctx)
{
	static const struct mauth_column columns[] = {
		{ .key = "rows", .cell = MAUTH_CELL_COUNT }, MAUTH_COLUMNS_END
	};
	const char *user = mauth_command_str(cctx, "user");
	bool all = mauth_command_bool(cctx, "all");
	const struct mauth_admin_field fields[] = {
		{ "user", user }, { "all", all ? "yes" : NULL }, { "tenant", mauth_command_str(cctx, "tenant") }, { NULL, NULL }
	};
	const struct mauth_admin_reply *reply;
	struct mauth_command cmd;

	if (all == (user != NULL && *user != '\0')) {
		i_error("%s: say either a user or --all", cctx->cmd->name);
		doveadm_exit_code = EX_USAGE;
		return;
	}
	if (!mauth_command_init(&cmd, cctx))
		return;
	if (mauth_command_connect(&cmd, 0) && mauth_command_ask(&cmd, "INVENTORY-FORGET", fields) &&
	    mauth_command_ok(&cmd, &reply))
		(void)mauth_command_row(&cmd, columns, reply);
	mauth_command_deinit(&cmd);
}
