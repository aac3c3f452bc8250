/* SPDX-License-Identifier: MIT */
/* The broker's store: store rekey, export, import. */
#include "lib.h"
#include "doveadm-print.h"

#include "doveadm/command.h"
#include "doveadm/out-file.h"
#include "doveadm/term.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define PROGRESS_MSECS 15000
/* Lines of an import that may be under way; each is answered. */
#define IMPORT_WINDOW 100u
/* What a line of the protocol has besides the line of an export. */
#define IMPORT_LINE_MAX (MAUTH_LINE_MAX - 64u)

static const struct mauth_admin_field no_fields[] = { { NULL, NULL } };

/* Files belong to whoever sits at the terminal, not to a doveadm server. */
static bool need_cli(const struct mauth_command *cmd)
{
	if (cmd->is_cli)
		return TRUE;
	i_error("%s: only on the command line", cmd->cctx->cmd->name);
	doveadm_exit_code = EX_USAGE;
	return FALSE;
}

/* --- rekey --------------------------------------------------------------------------------------------------- */

struct progress {
	struct mauth_live live;
	int64_t said_at;
};

static void show_progress(struct progress *progress, const struct mauth_admin_reply *reply)
{
	int64_t done = 0, total = 0, now = mauth_monotonic_msecs();
	const char *line;

	(void)mauth_admin_num(reply, "done", &done);
	(void)mauth_admin_num(reply, "total", &total);
	line = t_strdup_printf("Sealing again: %lld of %lld", (long long)done, (long long)total);
	if (progress->live.is_tty) {
		mauth_live_draw(&progress->live, &line, 1);
	} else if (progress->said_at == 0 || now - progress->said_at >= PROGRESS_MSECS) {
		fprintf(stderr, "%s\n", line);
		progress->said_at = now;
	}
}

void mauth_cmd_store_rekey(struct doveadm_cmd_context *cctx)
{
	static const struct mauth_column columns[] = {
		{ .key = "resealed", .cell = MAUTH_CELL_COUNT }, { .key = "key_id" }, MAUTH_COLUMNS_END
	};
	const struct mauth_admin_reply *reply;
	struct progress progress = { .said_at = 0 };
	struct mauth_command cmd;

	if (!mauth_command_init(&cmd, cctx))
		return;
	mauth_live_init(&progress.live);
	if (mauth_command_connect(&cmd, 0) && mauth_command_ask(&cmd, "REKEY", no_fields)) {
		while (mauth_command_next(&cmd, &reply)) {
			if (reply->kind == MAUTH_ADMIN_NOTE && cmd.is_cli) {
				T_BEGIN {
					show_progress(&progress, reply);
				} T_END;
			}
			if (reply->kind == MAUTH_ADMIN_OK) {
				mauth_live_end(&progress.live, TRUE);
				(void)mauth_command_row(&cmd, columns, reply);
				break;
			}
		}
	}
	mauth_live_end(&progress.live, FALSE);
	mauth_command_deinit(&cmd);
}

/* --- export -------------------------------------------------------------------------------------------------- */

/* Writes what ROWs have; true if all of them came. */
static bool write_rows(struct mauth_command *cmd, FILE *file, int64_t *rows_r)
{
	const struct mauth_admin_reply *reply;
	struct mauth_secret *data;
	int64_t said;

	for (*rows_r = 0;; (*rows_r)++) {
		do {
			if (!mauth_command_next(cmd, &reply))
				return FALSE;
		} while (reply->kind != MAUTH_ADMIN_ROW && reply->kind != MAUTH_ADMIN_OK);
		if (reply->kind == MAUTH_ADMIN_OK)
			break;
		data = mauth_admin_secret(cmd->admin, "data");
		if (data == NULL || strpbrk(mauth_secret_expose(data), "\r\n") != NULL ||
		    strlen(mauth_secret_expose(data)) != mauth_secret_size(data)) {
			mauth_secret_free(&data);
			mauth_command_fail_text(MAUTH_PROTOCOL, "the broker sent what is no line of an export");
			return FALSE;
		}
		(void)fwrite(mauth_secret_expose(data), 1, mauth_secret_size(data), file);
		(void)putc('\n', file);
		mauth_secret_free(&data);
	}
	/* Half an export is worse than none. */
	if (!mauth_admin_num(reply, "rows", &said) || said != *rows_r) {
		mauth_command_fail_text(MAUTH_PROTOCOL, "the export is incomplete: %lld rows came", (long long)*rows_r);
		return FALSE;
	}
	return TRUE;
}

static void export_to(struct mauth_command *cmd, const char *path, bool force)
{
	static const struct mauth_column columns[] = {
		{ .key = "rows", .cell = MAUTH_CELL_COUNT }, { .key = "file" }, MAUTH_COLUMNS_END
	};
	struct mauth_out_file out = { .file = NULL };
	struct mauth_error error;
	int64_t rows;

	i_zero(&error);
	if (mauth_out_file_begin(&out, path, &error) != MAUTH_OK) {
		mauth_command_fail(&error);
		doveadm_exit_code = EX_CANTCREAT;
		return;
	}
	if (!mauth_command_connect(cmd, 0) || !mauth_command_ask(cmd, "EXPORT", no_fields) ||
	    !write_rows(cmd, out.file, &rows)) {
		mauth_out_file_abort(&out);
		return;
	}
	if (mauth_out_file_commit(&out, force, &error) != MAUTH_OK) {
		mauth_command_fail(&error);
		doveadm_exit_code = EX_CANTCREAT;
		return;
	}
	mauth_command_headers(cmd, columns);
	doveadm_print_num((uintmax_t)rows);
	mauth_command_print(cmd, path);
}

void mauth_cmd_store_export(struct doveadm_cmd_context *cctx)
{
	const char *path = mauth_command_need(cctx, "file");
	bool force = mauth_command_bool(cctx, "force");
	struct mauth_command cmd;

	if (path == NULL || !mauth_command_init(&cmd, cctx) || !need_cli(&cmd))
		return;
	if (!force && access(path, F_OK) == 0) {
		i_error("%s exists; to do: take another name, or say --force", mauth_show(path));
		doveadm_exit_code = EX_CANTCREAT;
		return;
	}
	export_to(&cmd, path, force);
	mauth_command_deinit(&cmd);
}

/* --- import -------------------------------------------------------------------------------------------------- */

struct import {
	struct mauth_command *cmd;
	const char *path;
	FILE *file;
	char line[IMPORT_LINE_MAX + 2];
	unsigned int read, answered;     /* lines; the request of line n has the id n */
};

/* The next line of the file. 0: the end, -1: it has been said what is wrong with it. */
static int read_line(struct import *import)
{
	size_t size = 0;
	int octet;

	import->read++;
	while ((octet = getc(import->file)) != EOF && octet != '\n') {
		if (octet == '\0' || size == IMPORT_LINE_MAX) {
			mauth_command_fail_text(MAUTH_CONFIG, "%s line %u: %s", import->path, import->read,
						octet == '\0' ? "not a text" : "too long for a line of an export");
			return -1;
		}
		import->line[size++] = (char)octet;
	}
	import->line[size] = '\0';
	if (ferror(import->file) != 0) {
		mauth_command_fail_text(MAUTH_CONFIG, "reading %s failed: %m", import->path);
		return -1;
	}
	if (octet == EOF && size == 0)
		return 0;
	if (size == 0) {
		mauth_command_fail_text(MAUTH_CONFIG, "%s line %u: is empty", import->path, import->read);
		return -1;
	}
	return 1;
}

static bool wait_for_line(struct import *import)
{
	const struct mauth_admin_reply *reply;
	struct mauth_error error;

	i_zero(&error);
	if (mauth_admin_next(import->cmd->admin, import->cmd->timeout_msecs, &reply, &error) != MAUTH_OK) {
		mauth_command_fail(&error);
		return FALSE;
	}
	if (reply->kind == MAUTH_ADMIN_FAIL) {
		error = reply->error;
		i_snprintf(error.text, sizeof(error.text), "%s line %u: %s", import->path, reply->id,
			   reply->error.text);
		mauth_command_fail(&error);
		return FALSE;
	}
	if (reply->kind == MAUTH_ADMIN_OK)
		import->answered++;
	return TRUE;
}

static bool send_lines(struct import *import)
{
	const struct mauth_admin_field fields[] = { { "data", import->line }, { NULL, NULL } };
	int ret;

	while ((ret = read_line(import)) > 0) {
		if (!mauth_command_ask(import->cmd, "IMPORT-LINE", fields))
			return FALSE;
		while (import->read - import->answered >= IMPORT_WINDOW) {
			if (!wait_for_line(import))
				return FALSE;
		}
	}
	import->read--;
	while (ret == 0 && import->answered < import->read) {
		if (!wait_for_line(import))
			return FALSE;
	}
	return ret == 0;
}

void mauth_cmd_store_import(struct doveadm_cmd_context *cctx)
{
	static const struct mauth_column columns[] = {
		{ .key = "rows", .cell = MAUTH_CELL_COUNT }, MAUTH_COLUMNS_END
	};
	const struct mauth_admin_field fields[] = {
		{ "replace", mauth_command_bool(cctx, "replace") ? "yes" : NULL }, { NULL, NULL }
	};
	const struct mauth_admin_reply *reply;
	struct mauth_command cmd;
	struct import *import;
	const char *path = mauth_command_need(cctx, "file");

	if (path == NULL || !mauth_command_init(&cmd, cctx) || !need_cli(&cmd))
		return;
	import = t_new(struct import, 1);
	import->cmd = &cmd;
	import->path = path;
	import->file = fopen(path, "re");
	if (import->file == NULL) {
		i_error("opening %s failed: %m", mauth_show(path));
		doveadm_exit_code = EX_NOINPUT;
		return;
	}
	if (mauth_command_connect(&cmd, 0) && send_lines(import) && mauth_command_ask(&cmd, "IMPORT", fields) &&
	    mauth_command_ok(&cmd, &reply))
		(void)mauth_command_row(&cmd, columns, reply);
	(void)fclose(import->file);
	mauth_command_deinit(&cmd);
}
