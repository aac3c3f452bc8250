/* SPDX-License-Identifier: MIT */
/* The audit's files: audit verify. They are read here; the broker is only asked where they are and how far they go. */
#include "lib.h"
#include "doveadm-print.h"

#include "core/chain-verify.h"
#include "store/audit-files.h"
#include "doveadm/command.h"
#include "doveadm/progress.h"
#include "doveadm/term.h"

#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

/* More findings than anybody reads; the count goes on. */
#define SHOWN_MAX 1000u

struct verifying {
	struct mauth_command cmd;
	struct mauth_progress progress;
	struct mauth_chain_verify *verify;
	uint64_t shown;
	/* what the broker says */
	char *path, *key_file, *writer;
	int64_t number;
	bool writer_seen, all;
	const char *misplaced;               /* a file whose name is another one's */
};

static const char *meaning(enum mauth_chain_fault fault)
{
	switch (fault) {
	case MAUTH_CHAIN_EDITED:
		return "this line is not what was written";
	case MAUTH_CHAIN_CHANGED:
		return "between two signatures something is not what was written";
	case MAUTH_CHAIN_MISSING:
		return "lines are missing before this one";
	case MAUTH_CHAIN_REPEATED:
		return "a line that was there already: copied, or in the wrong order";
	case MAUTH_CHAIN_FOREIGN:
		return "no broker wrote this line";
	case MAUTH_CHAIN_FORGED:
		return "a signature that this key did not make";
	case MAUTH_CHAIN_CUT:
		return "the end of an earlier process is missing";
	case MAUTH_CHAIN_TORN:
		return "half a line, as a crash leaves it";
	case MAUTH_CHAIN_DELETED:
		return "it begins after files that retention has deleted, as recorded";
	case MAUTH_CHAIN_LATER_START:
		return "older files were not given";
	case MAUTH_CHAIN_OPEN_END:
		return "this process has not said that it ends: it runs, or was killed";
	case MAUTH_CHAIN_FAULT_COUNT:
		break;
	}
	return "";
}

static void print_row(struct verifying *v, const char *word, const char *fault, const char *file, uint64_t line, const char *writer,
		      uint64_t from, uint64_t to, const char *text)
{
	static const struct mauth_column columns[] = {
		{ .key = "result" }, { .key = "fault" }, { .key = "file" }, { .key = "line" }, { .key = "writer" }, { .key = "from" },
		{ .key = "to" }, { .key = "meaning" }, MAUTH_COLUMNS_END
	};

	mauth_command_headers(&v->cmd, columns);
	mauth_command_print(&v->cmd, word);
	mauth_command_print(&v->cmd, fault);
	mauth_command_print(&v->cmd, file);
	mauth_command_print(&v->cmd, line == 0 ? NULL : t_strdup_printf("%llu", (unsigned long long)line));
	mauth_command_print(&v->cmd, writer);
	mauth_command_print(&v->cmd, from == 0 ? NULL : t_strdup_printf("%llu", (unsigned long long)from));
	mauth_command_print(&v->cmd, to == 0 ? NULL : t_strdup_printf("%llu", (unsigned long long)to));
	mauth_command_print(&v->cmd, text);
}

static void report(const struct mauth_chain_report *report, void *context)
{
	struct verifying *v = context;

	/* That the one who writes now has not ended is no news. */
	if (report->fault == MAUTH_CHAIN_OPEN_END && v->writer != NULL && strcmp(v->writer, report->writer) == 0)
		return;
	if (v->shown++ >= SHOWN_MAX)
		return;
	T_BEGIN {
		print_row(v, mauth_chain_fault_is_finding(report->fault) ? "finding" : "note", mauth_chain_fault_name(report->fault),
			  report->file, report->line, report->writer, report->from, report->to,
			  report->detail == NULL ? meaning(report->fault) :
						   t_strdup_printf("%s: %s", meaning(report->fault), mauth_show(report->detail)));
	} T_END;
}

/* -- what is asked of the broker ---------------------------------------------------------------------------- */

static void ask_broker(struct verifying *v)
{
	static const struct mauth_admin_field no_fields[] = { { NULL, NULL } };
	const struct mauth_admin_reply *reply;

	if (!mauth_command_connect(&v->cmd, 0) || !mauth_command_ask(&v->cmd, "AUDIT", no_fields) ||
	    !mauth_command_ok(&v->cmd, &reply))
		return;
	v->path = i_strdup(mauth_admin_get(reply, "path"));
	v->key_file = i_strdup(mauth_admin_get(reply, "key_file"));
	v->writer = i_strdup(mauth_admin_get(reply, "writer"));
	(void)mauth_admin_num(reply, "number", &v->number);
	if (v->number == 0)
		i_free(v->writer);
}

#define KEY_FILE_MAX 65536u

static bool take_key(void *context, const char *data, size_t size)
{
	struct mauth_buf *text = context;

	mauth_buf_append(text, data, size);
	return text->size <= KEY_FILE_MAX;
}

static struct mauth_chain_key *read_key(const char *path)
{
	struct mauth_buf buf = { .data = NULL };
	const struct mauth_audit_reader reader = { .data = take_key, .context = &buf };
	struct mauth_chain_key *key = NULL;
	struct mauth_secret *text;
	struct mauth_error error;

	if (mauth_audit_read(path, &reader, &error) != MAUTH_OK) {
		mauth_buf_free(&buf);
		i_error("--key: %s", mauth_show(error.text));
		doveadm_exit_code = EX_NOINPUT;
		return NULL;
	}
	text = mauth_secret_new(buf.data == NULL ? "" : buf.data, buf.size);
	mauth_buf_free(&buf);
	if (mauth_chain_key_read(text, &key, &error) != MAUTH_OK) {
		i_error("--key: %s: %s", mauth_show(path), error.text);
		doveadm_exit_code = EX_CONFIG;
	}
	mauth_secret_free(&text);
	return key;
}

/* -- reading ------------------------------------------------------------------------------------------------ */

static bool take_data(void *context, const char *data, size_t size)
{
	struct verifying *v = context;

	mauth_chain_verify_data(v->verify, data, size);
	return TRUE;
}

static void draw(void *context, uint64_t octets)
{
	struct verifying *v = context;

	mauth_progress_draw(&v->progress, octets);
}

static bool read_files(struct verifying *v, const char *const *paths, size_t count)
{
	const struct mauth_audit_reader reader = { .data = take_data, .progress = draw, .context = v };
	bool good = TRUE;

	for (size_t i = 0; i < count; i++) {
		struct mauth_error error;

		mauth_chain_verify_file(v->verify, paths[i]);
		if (mauth_audit_read(paths[i], &reader, &error) != MAUTH_OK) {
			mauth_progress_end(&v->progress);
			i_error("%s", mauth_show(error.text));
			doveadm_exit_code = EX_NOINPUT;
			good = FALSE;
		}
		mauth_progress_file(&v->progress, mauth_audit_size(paths + i, 1));
	}
	mauth_progress_end(&v->progress);
	return good;
}

static void look_for_writer(const struct mauth_chain_range *range, void *context)
{
	struct verifying *v = context;

	if (v->writer != NULL && strcmp(range->writer, v->writer) == 0)
		v->writer_seen = range->last.number >= (uint64_t)v->number;
}

static void conclude(struct verifying *v, const struct mauth_chain_key *key, const struct mauth_chain_summary *summary)
{
	uint64_t findings = summary->findings;

	if (v->writer != NULL && !v->writer_seen) {
		findings++;
		print_row(v, "finding", "cut", v->path, 0, v->writer, 0, (uint64_t)v->number,
			  "the broker has written up to here, and the files do not go so far");
	}
	if (v->misplaced != NULL) {
		findings++;
		print_row(v, "finding", "swapped", v->misplaced, 0, NULL, 0, 0,
			  "its records are older or newer than its name says: files were exchanged");
	}
	fprintf(stderr, "%llu lines, %llu of them sealed, %llu signatures: %s\n", (unsigned long long)summary->lines,
		(unsigned long long)summary->sealed, (unsigned long long)summary->checkpoints,
		findings == 0 && summary->sealed > 0 ? "as they were written" : findings == 0 ? "nothing to verify" :
		t_strdup_printf("%llu findings", (unsigned long long)findings));
	if (v->shown > SHOWN_MAX)
		fprintf(stderr, "%llu findings and notes are not shown\n", (unsigned long long)(v->shown - SHOWN_MAX));
	if (!mauth_chain_key_is_secret(key) && summary->unsigned_lines > 0)
		fprintf(stderr, "%llu lines behind the last signatures cannot be verified with the public key\n",
			(unsigned long long)summary->unsigned_lines);
	if (findings > 0)
		doveadm_exit_code = EX_DATAERR;
	else if (summary->sealed == 0)
		doveadm_exit_code = EX_NOINPUT;
}

static void verify(struct verifying *v, const char *const *paths, size_t count, const char *key_path)
{
	struct mauth_chain_key *key = read_key(key_path);
	struct mauth_chain_summary summary;

	if (key == NULL)
		return;
	mauth_progress_begin(&v->progress, mauth_audit_size(paths, count));
	v->verify = mauth_chain_verify_new(key, report, v);
	if (v->all)
		mauth_chain_verify_all(v->verify);
	if (read_files(v, paths, count)) {
		mauth_chain_verify_end(v->verify, &summary);
		mauth_chain_verify_ranges(v->verify, look_for_writer, v);
		conclude(v, key, &summary);
	}
	mauth_chain_verify_free(&v->verify);
	mauth_chain_key_free(&key);
}

static void free_paths(char **paths, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(paths[i]);
	free(paths);
}

void mauth_cmd_audit_verify(struct doveadm_cmd_context *cctx)
{
	const char *key = mauth_command_str(cctx, "key");
	const char *const *files = NULL;
	struct verifying v = { .number = 0 };
	char **paths = NULL;
	size_t count = 0;

	if (!mauth_command_init(&v.cmd, cctx))
		return;
	if (!v.cmd.is_cli) {
		i_error("%s: only on the command line", cctx->cmd->name);
		doveadm_exit_code = EX_USAGE;
		return;
	}
	(void)doveadm_cmd_param_array(cctx, "file", &files);
	if (files != NULL && key != NULL) {
		/* Another machine's: nobody here is to be asked. */
		verify(&v, files, str_array_length(files), key);
		return;
	}
	ask_broker(&v);
	if (v.path != NULL && files != NULL) {
		/* Some of the files: they need not go to the end. */
		i_free(v.writer);
		verify(&v, files, str_array_length(files), key != NULL ? key : v.key_file);
	} else if (v.path != NULL && v.key_file == NULL) {
		i_error("records are not sealed: audit { seal = true } in modernauth.conf");
		doveadm_exit_code = EX_CONFIG;
	} else if (v.path != NULL) {
		v.all = TRUE;
		count = mauth_audit_list(v.path, &paths);
		v.misplaced = mauth_audit_misplaced(v.path, (const char *const *)paths, count);
		verify(&v, (const char *const *)paths, count, key != NULL ? key : v.key_file);
		free_paths(paths, count);
	}
	i_free(v.path);
	i_free(v.key_file);
	i_free(v.writer);
	mauth_command_deinit(&v.cmd);
}
