/* SPDX-License-Identifier: MIT */
/* audit export: records in other formats. The files are read here; the broker is only asked where they are. */
#include "lib.h"
#include "hostpid.h"

#include "store/audit-files.h"
#include "doveadm/audit-lines.h"
#include "doveadm/audit-select.h"
#include "doveadm/command.h"
#include "doveadm/progress.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>
#include <time.h>

#define FOLLOW_MSECS 250
/* More than anybody reads; the count goes on. */
#define DAMAGED_SHOWN_MAX 100u
/* Records are in the order in which they were written, and carry the time when their login began. */
#define DISORDER_MSECS 600000

struct exporting {
	struct mauth_audit_filter filter;
	enum mauth_format format;
	struct mauth_format_source source;
	struct mauth_progress progress;
	struct mauth_buf out;
	const int *stop_fd;                  /* NULL: Ctrl-C ends the process */
	const char *growing;                 /* a file whose end may be half a line; NULL: none */
	uint64_t written, damaged;
	bool broken;                         /* stdout takes no more */
};

/* -- one line ----------------------------------------------------------------------------------------------- */

static void report_damage(struct exporting *e, const struct mauth_audit_line *line, const char *what)
{
	if (e->damaged++ >= DAMAGED_SHOWN_MAX)
		return;
	mauth_progress_end(&e->progress);
	T_BEGIN {
		if (line->number > 0)
			i_error("%s:%llu: %s", mauth_show(line->file), (unsigned long long)line->number, what);
		else
			i_error("%s: %s", mauth_show(line->file), what);
	} T_END;
}

static void write_out(struct exporting *e)
{
	if (e->out.size == 0)
		return;
	if (fwrite(e->out.data, 1, e->out.size, stdout) != e->out.size)
		e->broken = TRUE;
	mauth_buf_clear(&e->out);
}

static bool is_stopped(const struct exporting *e)
{
	struct pollfd fd;

	if (e->stop_fd == NULL)
		return FALSE;
	fd = (struct pollfd){ .fd = *e->stop_fd, .events = POLLIN };
	return poll(&fd, 1, 0) > 0;
}

static bool take_line(void *context, const struct mauth_audit_line *line)
{
	struct exporting *e = context;
	json_t *record;

	switch (line->end) {
	case MAUTH_AUDIT_LINE_LONG:
		report_damage(e, line, "a line that is longer than any record");
		return TRUE;
	case MAUTH_AUDIT_LINE_CUT:
		if (e->growing == NULL || strcmp(e->growing, line->file) != 0)
			report_damage(e, line, "the file ends in half a record");
		return TRUE;
	case MAUTH_AUDIT_LINE_WHOLE:
		break;
	}
	if (mauth_audit_too_early(&e->filter, line->data, line->size))
		return TRUE;
	record = mauth_format_read(line->data, line->size);
	if (record == NULL) {
		report_damage(e, line, "not a record");
		return TRUE;
	}
	if (mauth_audit_select(&e->filter, record)) {
		mauth_format_write(e->format, record, line->data, line->size, &e->source, &e->out);
		e->written++;
	}
	json_decref(record);
	if (e->out.size >= 65536)
		write_out(e);
	return !e->broken && !is_stopped(e);
}

static void draw(void *context, uint64_t octets)
{
	struct exporting *e = context;

	mauth_progress_draw(&e->progress, octets);
}

/* -- files -------------------------------------------------------------------------------------------------- */

/* Does the file end before the time that is wanted? The next one's begin says so. */
static bool is_before(const struct exporting *e, const char *next)
{
	char time[MAUTH_AUDIT_TIME_SIZE];
	int64_t at;

	if (e->filter.since == 0 || next == NULL)
		return FALSE;
	mauth_audit_first_time(next, time);
	return mauth_format_time(time, &at) && at + DISORDER_MSECS < e->filter.since;
}

static void read_files(struct exporting *e, const char *const *paths, size_t count, const struct mauth_audit_follow *follow)
{
	const struct mauth_audit_taker taker = { .line = take_line, .progress = draw, .context = e };

	mauth_progress_begin(&e->progress, mauth_audit_size(paths, count));
	for (size_t i = 0; i < count && !e->broken && !is_stopped(e); i++) {
		struct mauth_error error;

		/* From here on it is followed. */
		if (follow != NULL && mauth_audit_follow_has(follow, paths[i]))
			break;
		if (!is_before(e, i + 1 < count ? paths[i + 1] : NULL) && mauth_audit_lines(paths[i], &taker, &error) != MAUTH_OK) {
			mauth_progress_end(&e->progress);
			i_error("%s", mauth_show(error.text));
			doveadm_exit_code = EX_NOINPUT;
		}
		mauth_progress_file(&e->progress, mauth_audit_size(paths + i, 1));
	}
	write_out(e);
	mauth_progress_end(&e->progress);
}

static void follow_file(struct exporting *e, struct mauth_audit_follow *follow)
{
	const struct mauth_audit_taker taker = { .line = take_line, .context = e };
	struct pollfd fd = { .fd = *e->stop_fd, .events = POLLIN };

	while (mauth_audit_follow_read(follow, &taker, mauth_monotonic_msecs())) {
		write_out(e);
		if (fflush(stdout) != 0)
			e->broken = TRUE;
		if (e->broken || poll(&fd, 1, FOLLOW_MSECS) > 0)
			break;
	}
	write_out(e);
}

static void export_all(struct exporting *e, const char *path, bool follow)
{
	struct mauth_audit_follow *current = follow ? mauth_audit_follow_new(path) : NULL;
	char **paths;
	size_t count = mauth_audit_list(path, &paths);

	e->growing = path;
	if (count == 0 && !follow) {
		i_error("%s: there are no records yet", mauth_show(path));
		doveadm_exit_code = EX_NOINPUT;
	}
	if (follow)
		e->stop_fd = mauth_stop_begin();
	read_files(e, (const char *const *)paths, count, current);
	if (follow) {
		if (!e->broken && !is_stopped(e))
			follow_file(e, current);
		mauth_stop_end();
		mauth_audit_follow_free(&current);
	}
	for (size_t i = 0; i < count; i++)
		free(paths[i]);
	free(paths);
}

/* -- the command -------------------------------------------------------------------------------------------- */

/* "30d": ago; or an instant. */
static bool parse_time(const struct doveadm_cmd_context *cctx, const char *name, int64_t *msecs_r)
{
	const char *text = mauth_command_str(cctx, name);
	int64_t secs;

	*msecs_r = 0;
	if (text == NULL)
		return TRUE;
	if (mauth_interval_parse(text, &secs))
		secs = time(NULL) - secs;
	else if (!mauth_when_parse(text, &secs)) {
		i_error("--%s: not a time like 30d, 2026-11-26 or 2026-11-26T10:00:00Z: %s", name, mauth_show(text));
		doveadm_exit_code = EX_USAGE;
		return FALSE;
	}
	*msecs_r = secs > 0 ? secs * 1000 : 1;
	return TRUE;
}

static bool parse(struct exporting *e, struct doveadm_cmd_context *cctx)
{
	const char *format = mauth_command_need(cctx, "format");

	if (format == NULL)
		return FALSE;
	if (!mauth_format_parse(format, &e->format)) {
		i_error("--format: ecs, ocsf, cef or syslog: %s", mauth_show(format));
		doveadm_exit_code = EX_USAGE;
		return FALSE;
	}
	e->filter.user = mauth_command_str(cctx, "user");
	e->source = (struct mauth_format_source){ .host = my_hostname, .message = MAUTH_FORMAT_SYSLOG };
	return parse_time(cctx, "since", &e->filter.since) && parse_time(cctx, "until", &e->filter.until);
}

static void conclude(struct exporting *e)
{
	/* Whoever reads only the begin ("| head") has got what was wanted. */
	if (e->broken || fflush(stdout) != 0) {
		if (errno != EPIPE) {
			i_error("write(stdout) failed: %m");
			doveadm_exit_code = EX_IOERR;
		}
		return;
	}
	if (e->damaged > 0) {
		i_error("%llu lines are no records and were left out (doveadm modernauth audit verify says more)",
			(unsigned long long)e->damaged);
		/* A file that cannot be read to its end is the worse news. */
		if (doveadm_exit_code == 0)
			doveadm_exit_code = EX_DATAERR;
	}
}

void mauth_cmd_audit_export(struct doveadm_cmd_context *cctx)
{
	bool follow = mauth_command_bool(cctx, "follow");
	struct exporting e = { .broken = FALSE };
	const char *const *files = NULL;
	struct mauth_command cmd;
	char *path;

	if (!mauth_command_init(&cmd, cctx) || !parse(&e, cctx))
		return;
	(void)doveadm_cmd_param_array(cctx, "file", &files);
	if (!cmd.is_cli || (follow && files != NULL)) {
		i_error("%s: %s", cctx->cmd->name, cmd.is_cli ? "--follow is about the broker's own file: name none" :
			"only on the command line");
		doveadm_exit_code = EX_USAGE;
		return;
	}
	if (files != NULL) {
		read_files(&e, files, str_array_length(files), NULL);
		conclude(&e);
	} else if ((path = mauth_command_audit_path(&cmd)) != NULL) {
		export_all(&e, path, follow);
		conclude(&e);
		i_free(path);
	}
	mauth_buf_free(&e.out);
}
