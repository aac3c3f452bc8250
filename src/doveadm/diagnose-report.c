/* SPDX-License-Identifier: MIT */
#include "lib.h"
#include "array.h"
#include "doveadm-print.h"

#include "doveadm/diagnose.h"

#include <stdio.h>

static const struct mauth_column columns[] = {
	{ .key = "result" }, { .key = "check" }, { .key = "tenant" }, { .key = "subject" }, { .key = "seen" },
	{ .key = "fix" }, MAUTH_COLUMNS_END
};
static const char *const words[MAUTH_FINDING_COUNT] = { "pass", "warn", "fail", "skip" };
static const char *const labels[MAUTH_FINDING_COUNT] = { "PASS", "WARN", "FAIL", "skip" };

void mauth_findings_init(struct mauth_findings *report, struct mauth_command *cmd)
{
	i_zero(report);
	report->cmd = cmd;
	report->for_people = cmd->is_cli && !doveadm_print_is_initialized();
	report->pool = pool_alloconly_create("diagnose", 4096);
	p_array_init(&report->protocols, report->pool, 8);
	mauth_live_init(&report->live);
}

/* "token (contoso, app)" */
static const char *title(const struct mauth_findings_row *row)
{
	const char *tenant = row->tenant == NULL ? "" : row->tenant,
		   *subject = row->subject == NULL ? "" : row->subject;

	if (*tenant == '\0' && *subject == '\0')
		return row->check;
	return t_strdup_printf("%s (%s%s%s)", row->check, tenant, *tenant != '\0' && *subject != '\0' ? ", " : "",
			       subject);
}

/* t_strsplit() takes a set of characters. */
static const char *const *split_fixes(const char *text)
{
	ARRAY_TYPE(const_string) fixes;
	const char *end;

	t_array_init(&fixes, 8);
	while ((end = strstr(text, "; ")) != NULL) {
		const char *fix = t_strdup_until(text, end);

		array_push_back(&fixes, &fix);
		text = end + 2;
	}
	array_push_back(&fixes, &text);
	array_append_zero(&fixes);
	return array_front(&fixes);
}

static void print_for_people(const struct mauth_findings_row *row)
{
	const char *const *fix, *lead = "fix:";

	printf("%s  %-36s %s\n", labels[row->result], mauth_show(title(row)), mauth_show(row->seen));
	if (row->fix == NULL || *row->fix == '\0')
		return;
	/* The broker joins what is to be done with "; ". */
	for (fix = split_fixes(row->fix); *fix != NULL; fix++) {
		printf("      %s %s\n", lead, mauth_show(*fix));
		lead = "    ";
	}
}

static void print_row(struct mauth_findings *report, const struct mauth_findings_row *row)
{
	if (report->for_people) {
		print_for_people(row);
		(void)fflush(stdout);
		return;
	}
	mauth_command_headers(report->cmd, columns);
	mauth_command_print(report->cmd, words[row->result]);
	mauth_command_print(report->cmd, row->check);
	mauth_command_print(report->cmd, row->tenant);
	mauth_command_print(report->cmd, row->subject);
	mauth_command_print(report->cmd, row->seen);
	mauth_command_print(report->cmd, row->fix);
}

void mauth_findings_add(struct mauth_findings *report, const struct mauth_findings_row *row)
{
	report->counts[row->result]++;
	if (report->for_people && strcmp(row->check, "protocol") == 0) {
		struct mauth_findings_row *kept = array_append_space(&report->protocols);

		kept->tenant = p_strdup(report->pool, row->tenant);
		kept->subject = p_strdup(report->pool, row->subject);
		kept->seen = p_strdup(report->pool, row->seen);
		return;
	}
	T_BEGIN {
		mauth_live_draw(&report->live, NULL, 0);
		print_row(report, row);
	} T_END;
}

void mauth_findings_say(struct mauth_findings *report, enum mauth_findings_result result, const char *check, const char *fix,
		      const char *fmt, ...)
{
	struct mauth_findings_row row = { .result = result, .check = check, .fix = fix };
	va_list args;

	va_start(args, fmt);
	T_BEGIN {
		row.seen = t_strdup_vprintf(fmt, args);
		mauth_findings_add(report, &row);
	} T_END;
	va_end(args);
}

void mauth_findings_progress(struct mauth_findings *report, const char *what)
{
	T_BEGIN {
		const char *line = t_strdup_printf("testing: %s ...", what);

		mauth_live_draw(&report->live, &line, 1);
	} T_END;
}

static void print_end(struct mauth_findings *report)
{
	const struct mauth_findings_row *row;

	if (array_count(&report->protocols) > 0)
		printf("\n");
	array_foreach(&report->protocols, row) {
		T_BEGIN {
			const char *name = strcmp(row->subject, "submission") == 0 ? "smtp" : row->subject;

			printf("%-5s %s%s%s%s\n", t_str_ucase(mauth_show(name)), mauth_show(row->seen),
			       row->tenant == NULL ? "" : "   (", row->tenant == NULL ? "" : mauth_show(row->tenant),
			       row->tenant == NULL ? "" : ")");
		} T_END;
	}
	printf("\n%u passed, %u warnings, %u failed, %u not tested\n", report->counts[MAUTH_FINDING_PASS],
	       report->counts[MAUTH_FINDING_WARN], report->counts[MAUTH_FINDING_FAIL], report->counts[MAUTH_FINDING_SKIP]);
}

void mauth_findings_end(struct mauth_findings *report)
{
	mauth_live_end(&report->live, TRUE);
	if (report->for_people)
		print_end(report);
	else
		mauth_command_headers(report->cmd, columns);
	/* A doveadm server would throw the rows away. */
	if (report->cmd->is_cli)
		doveadm_exit_code = report->counts[MAUTH_FINDING_FAIL] > 0 ? 2 :
				    report->counts[MAUTH_FINDING_WARN] > 0 ? 1 : 0;
	pool_unref(&report->pool);
}
