/* SPDX-License-Identifier: MIT */
/* tail: the audit as it is written, a line for each record. */
#include "lib.h"

#include "store/audit-files.h"
#include "doveadm/audit-lines.h"
#include "doveadm/audit-select.h"
#include "doveadm/command.h"
#include "doveadm/term.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

#define LINES_DEFAULT 10u
#define LINES_MAX 10000u
#define FOLLOW_MSECS 200
/* Where the last lines are, nearly always. */
#define NEAR_OCTETS (UINT64_C(4) << 20)

struct tailing {
	struct mauth_audit_filter filter;
	bool json, colour, broken;
	char **last;                         /* ring of what is shown before following */
	unsigned int lines, at, count;
	bool following;
	struct mauth_buf line;
};

static void keep(struct tailing *t)
{
	if (t->lines == 0)
		return;
	free(t->last[t->at]);
	t->last[t->at] = mauth_strndup(t->line.data, t->line.size);
	t->at = (t->at + 1) % t->lines;
	if (t->count < t->lines)
		t->count++;
}

static void show(struct tailing *t, const char *data, size_t size)
{
	if (fwrite(data, 1, size, stdout) != size)
		t->broken = TRUE;
}

static bool take_line(void *context, const struct mauth_audit_line *line)
{
	struct tailing *t = context;
	json_t *record = line->end == MAUTH_AUDIT_LINE_WHOLE ? mauth_format_read(line->data, line->size) : NULL;

	/* What is damaged is for "audit verify" to say. */
	if (record == NULL)
		return TRUE;
	if (mauth_audit_select(&t->filter, record)) {
		mauth_buf_clear(&t->line);
		if (t->json)
			mauth_format_write(MAUTH_FORMAT_ECS, record, line->data, line->size, NULL, &t->line);
		else
			mauth_audit_show(record, t->colour, &t->line);
		if (t->following)
			show(t, t->line.data, t->line.size);
		else
			keep(t);
	}
	json_decref(record);
	return !t->broken;
}

static void forget(struct tailing *t)
{
	for (unsigned int i = 0; i < t->lines; i++) {
		free(t->last[i]);
		t->last[i] = NULL;
	}
	t->at = t->count = 0;
}

/* The file before the one that is open, if it was rotated. */
static void take_previous(struct tailing *t, const char *path, const struct mauth_audit_taker *taker)
{
	char **paths;
	size_t count = mauth_audit_list(path, &paths), i;

	for (i = count; i > 0 && strcmp(paths[i - 1], path) != 0; i--)
		;
	if (i > 1)
		(void)mauth_audit_lines(paths[i - 2], taker, NULL);
	for (i = 0; i < count; i++)
		free(paths[i]);
	free(paths);
}

static void take_last(struct tailing *t, struct mauth_audit_follow *follow, const char *path)
{
	const struct mauth_audit_taker taker = { .line = take_line, .context = t };

	mauth_audit_follow_back(follow, NEAR_OCTETS);
	(void)mauth_audit_follow_read(follow, &taker, 0);
	if (t->count < t->lines) {
		forget(t);
		take_previous(t, path, &taker);
		mauth_audit_follow_back(follow, UINT64_MAX);
		(void)mauth_audit_follow_read(follow, &taker, 0);
	}
	for (unsigned int i = 0; i < t->count; i++) {
		const char *line = t->last[(t->at + t->lines - t->count + i) % t->lines];

		show(t, line, strlen(line));
	}
	forget(t);
}

static void follow_file(struct tailing *t, struct mauth_audit_follow *follow)
{
	const struct mauth_audit_taker taker = { .line = take_line, .context = t };
	struct pollfd fd = { .fd = *mauth_stop_begin(), .events = POLLIN };

	t->following = TRUE;
	while (!t->broken && fflush(stdout) == 0 && poll(&fd, 1, FOLLOW_MSECS) <= 0 &&
	       mauth_audit_follow_read(follow, &taker, mauth_monotonic_msecs()))
		;
	mauth_stop_end();
}

static bool parse_words(const char *text, unsigned int *words_r)
{
	bool good = TRUE;

	*words_r = 0;
	T_BEGIN {
		for (const char *const *names = t_strsplit(text, ","); good && *names != NULL; names++) {
			enum mauth_audit_word word;

			good = mauth_audit_word_parse(*names, &word);
			if (good)
				*words_r |= 1u << word;
		}
	} T_END;
	return good;
}

static bool parse(struct tailing *t, struct doveadm_cmd_context *cctx)
{
	const char *outcome = mauth_command_str(cctx, "outcome"), *lines = mauth_command_str(cctx, "lines");
	const char *colour = mauth_command_str(cctx, "color"), *no_colour;
	enum mauth_service service;

	t->filter.user = mauth_command_str(cctx, "user");
	t->filter.protocol = mauth_command_str(cctx, "protocol");
	t->json = mauth_command_bool(cctx, "json");
	no_colour = getenv("NO_COLOR");
	/* no-color.org; doveadm hands it on only if import_environment names it. */
	t->colour = isatty(STDOUT_FILENO) > 0 && (no_colour == NULL || *no_colour == '\0');
	if (colour != NULL)
		t->colour = strcmp(colour, "always") == 0 || (t->colour && strcmp(colour, "never") != 0);
	t->lines = LINES_DEFAULT;
	if (outcome != NULL && !parse_words(outcome, &t->filter.words)) {
		i_error("--outcome: some of ok, refused, failed, passed, changed, note, with commas between: %s", mauth_show(outcome));
	} else if (t->filter.protocol != NULL && !mauth_service_parse(t->filter.protocol, &service)) {
		i_error("--protocol: imap, pop3 or submission: %s", mauth_show(t->filter.protocol));
	} else if (colour != NULL && strcmp(colour, "auto") != 0 && strcmp(colour, "always") != 0 && strcmp(colour, "never") != 0) {
		i_error("--color: auto, always or never: %s", mauth_show(colour));
	} else if (lines != NULL && (str_to_uint(lines, &t->lines) < 0 || t->lines > LINES_MAX)) {
		i_error("--lines: a number from 0 to %u: %s", LINES_MAX, mauth_show(lines));
	} else {
		t->last = mauth_new_array(t->lines + 1, sizeof(*t->last));
		return TRUE;
	}
	doveadm_exit_code = EX_USAGE;
	return FALSE;
}

static void tail(struct tailing *t, const char *path, bool follow_on)
{
	struct mauth_audit_follow *follow = mauth_audit_follow_new(path);

	if (!mauth_audit_follow_has(follow, path) && !follow_on) {
		i_error("%s cannot be read: %s", mauth_show(path), access(path, R_OK) < 0 ? strerror(errno) : "not a regular file");
		doveadm_exit_code = EX_NOINPUT;
	}
	take_last(t, follow, path);
	if (follow_on && !t->broken)
		follow_file(t, follow);
	mauth_audit_follow_free(&follow);
	/* Whoever reads only the begin ("| head") has got what was wanted. */
	if ((fflush(stdout) != 0 || t->broken) && errno != EPIPE) {
		i_error("write(stdout) failed: %m");
		doveadm_exit_code = EX_IOERR;
	}
}

void mauth_cmd_tail(struct doveadm_cmd_context *cctx)
{
	const char *file = mauth_command_str(cctx, "file");
	struct tailing t = { .broken = FALSE };
	struct mauth_command cmd;
	char *path;

	if (!mauth_command_init(&cmd, cctx) || !parse(&t, cctx))
		return;
	if (!cmd.is_cli) {
		i_error("%s: only on the command line", cctx->cmd->name);
		doveadm_exit_code = EX_USAGE;
		return;
	}
	path = file != NULL ? i_strdup(file) : mauth_command_audit_path(&cmd);
	if (path != NULL)
		tail(&t, path, !mauth_command_bool(cctx, "no-follow"));
	i_free(path);
	free(t.last);
	mauth_buf_free(&t.line);
}
