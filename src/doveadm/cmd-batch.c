/* SPDX-License-Identifier: MIT */
/* enroll --batch: the codes of many users at once, in a file that a mail merge can read, and a picture of how far they
 * are. Everything that must not be lost is in that file: the command may be stopped and started again at any time. */
#include "lib.h"
#include "str.h"
#include "doveadm-print.h"

#include "doveadm/batch.h"
#include "doveadm/cmd-batch.h"
#include "doveadm/out-file.h"
#include "doveadm/term.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Requests without a first line; the broker asks Entra for each of them. */
#define WINDOW 200u
#define TICK_MSECS 250u
#define DRAW_MSECS 1000
#define WRITE_MSECS 1000
#define WRITE_AGAIN_MSECS 5000
#define CHECK_MSECS 1000
/* After a code's end the broker says so; if it does not, somebody has to. */
#define GRACE_SECS 60
#define EVENTS 10u

struct batch_run {
	struct mauth_command cmd;
	struct mauth_batch batch;
	const char *in, *out, *device, *tenant;
	FILE *input;                     /* open as long as it is locked */
	size_t *row_of;                  /* [id - 1] */
	size_t counts[MAUTH_BATCH_STATES], open;     /* of the rows of the input */
	struct mauth_live live;
	char *events[EVENTS];            /* a ring */
	unsigned int events_count;
	bool dirty, changed;             /* since it was written, since it was drawn */
	bool write_failed, stopped, over;
	int64_t started_at, heard_at, written_at, drawn_at, checked_at;      /* monotonic */
};

/* --- files --------------------------------------------------------------------------------------------------- */

static const char *default_output(const char *in)
{
	size_t size = strlen(in);

	if (size > 4 && strcasecmp(in + size - 4, ".csv") == 0)
		size -= 4;
	return t_strdup_printf("%.*s-codes.csv", (int)size, in);
}

static bool fail_file(const char *what, const char *path, int exit_code)
{
	i_error("%s %s failed: %m", what, mauth_show(path));
	doveadm_exit_code = exit_code;
	return FALSE;
}

static bool read_input(struct batch_run *run)
{
	struct mauth_error error;

	i_zero(&error);
	run->input = fopen(run->in, "re");
	if (run->input == NULL)
		return fail_file("opening", run->in, EX_NOINPUT);
	/* Two of us would write over each other's device passwords. */
	if (flock(fileno(run->input), LOCK_EX | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK)
			return fail_file("locking", run->in, EX_NOINPUT);
		i_error("another doveadm is enrolling the users of %s", mauth_show(run->in));
		doveadm_exit_code = EX_TEMPFAIL;
		return FALSE;
	}
	if (mauth_batch_read(&run->batch, run->input, run->in, &error) == MAUTH_OK)
		return TRUE;
	mauth_command_fail(&error);
	doveadm_exit_code = EX_DATAERR;
	return FALSE;
}

/* What an earlier run has left, if there was one. */
static bool read_output(struct batch_run *run)
{
	struct stat in, out;
	struct mauth_error error;
	enum mauth_status status;
	FILE *file = fopen(run->out, "re");

	if (file == NULL)
		return errno == ENOENT ? TRUE : fail_file("opening", run->out, EX_CANTCREAT);
	if (fstat(fileno(run->input), &in) == 0 && fstat(fileno(file), &out) == 0 && in.st_dev == out.st_dev &&
	    in.st_ino == out.st_ino) {
		(void)fclose(file);
		i_error("the output would replace the input, %s", mauth_show(run->in));
		doveadm_exit_code = EX_USAGE;
		return FALSE;
	}
	i_zero(&error);
	status = mauth_batch_resume(&run->batch, file, run->out, &error);
	(void)fclose(file);
	if (status == MAUTH_OK)
		return TRUE;
	mauth_command_fail(&error);
	doveadm_exit_code = EX_CANTCREAT;
	return FALSE;
}

static bool write_output(struct batch_run *run)
{
	struct mauth_out_file out;
	struct mauth_error error;

	i_zero(&error);
	run->written_at = mauth_monotonic_msecs();
	if (mauth_out_file_begin(&out, run->out, &error) == MAUTH_OK) {
		mauth_batch_write(&run->batch, out.file);
		if (mauth_out_file_commit(&out, TRUE, &error) == MAUTH_OK) {
			run->dirty = run->write_failed = FALSE;
			return TRUE;
		}
	}
	if (!run->write_failed)
		mauth_command_fail(&error);
	run->write_failed = TRUE;
	return FALSE;
}

/* --- what is shown ------------------------------------------------------------------------------------------- */

/* An event of row: into the picture, or a line of its own. */
static void say(struct batch_run *run, const struct mauth_batch_row *row)
{
	string_t *text = t_str_new(256);
	char **event;

	str_printfa(text, "%s: %s", mauth_show(row->user), mauth_batch_state_name(row->state));
	if (row->state == MAUTH_BATCH_PENDING && row->code != NULL && row->uri != NULL)
		str_printfa(text, ", code %s at %s until %s", mauth_show(row->code), mauth_show(row->uri),
			    mauth_time_short(row->expires_at));
	if (row->error != NULL)
		str_printfa(text, ": %s", mauth_show(row->error));
	if (!run->live.is_tty) {
		fprintf(stderr, "%s\n", str_c(text));
		return;
	}
	event = &run->events[run->events_count++ % EVENTS];
	i_free(*event);
	*event = i_strdup(str_c(text));
}

static const char *next_end_text(const struct batch_run *run)
{
	int64_t first = INT64_MAX;

	for (size_t i = 0; i < run->batch.asked; i++) {
		const struct mauth_batch_row *row = &run->batch.rows[i];

		if (row->open && row->state == MAUTH_BATCH_PENDING && row->expires_at < first)
			first = row->expires_at;
	}
	return first == INT64_MAX ? "" :
		t_strdup_printf("; the next code ends in %s", mauth_duration_text(first - time(NULL)));
}

static void draw(struct batch_run *run)
{
	const char *lines[4 + EVENTS];
	unsigned int count = 0, rows = mauth_live_rows(), shown;

	run->drawn_at = mauth_monotonic_msecs();
	run->changed = FALSE;
	if (!run->live.is_tty)
		return;
	lines[count++] = t_strdup_printf("enrolled %zu of %zu, pending %zu, not asked %zu, expired %zu, failed %zu",
		run->counts[MAUTH_BATCH_ENROLLED], run->batch.asked, run->counts[MAUTH_BATCH_PENDING],
		run->counts[MAUTH_BATCH_NOT_ASKED], run->counts[MAUTH_BATCH_EXPIRED], run->counts[MAUTH_BATCH_FAILED]);
	lines[count++] = t_strdup_printf("%s since the start%s",
		mauth_duration_text((run->drawn_at - run->started_at) / 1000), next_end_text(run));
	lines[count++] = t_strdup_printf("codes and device passwords: %s", run->out);
	if (!run->over)
		lines[count++] = "Ctrl-C stops, the same command goes on";
	shown = run->events_count < EVENTS ? run->events_count : EVENTS;
	if (shown + count > rows)
		shown = rows > count ? rows - count : 0;
	for (unsigned int i = shown; i > 0; i--)
		lines[count++] = t_strconcat("  ", run->events[(run->events_count - i) % EVENTS], NULL);
	mauth_live_draw(&run->live, lines, count);
}

/* --- rows ---------------------------------------------------------------------------------------------------- */

static void set_state(struct batch_run *run, struct mauth_batch_row *row, enum mauth_batch_state state,
		      const char *error)
{
	run->counts[row->state]--;
	row->state = state;
	run->counts[state]++;
	run->dirty = run->changed = TRUE;
	mauth_batch_set(&row->error, error);
	/* A code that is of no use any more must not be mailed. */
	if (state != MAUTH_BATCH_PENDING) {
		mauth_batch_set(&row->code, NULL);
		mauth_batch_set(&row->uri, NULL);
		row->expires_at = 0;
	}
}

static void end_row(struct batch_run *run, struct mauth_batch_row *row, enum mauth_batch_state state, const char *error)
{
	set_state(run, row, state, error);
	if (row->open)
		run->open--;
	row->open = FALSE;
	say(run, row);
}

static void handle_code(struct batch_run *run, struct mauth_batch_row *row, const struct mauth_admin_reply *reply)
{
	const char *code = mauth_admin_get(reply, "user_code"), *uri = mauth_admin_get(reply, "uri");
	bool same;

	if (code == NULL || uri == NULL || !mauth_admin_num(reply, "expires_at", &row->expires_at)) {
		end_row(run, row, MAUTH_BATCH_FAILED, "the broker's answer has no code");
		return;
	}
	same = row->state == MAUTH_BATCH_PENDING && row->code != NULL && strcmp(row->code, code) == 0;
	mauth_batch_set(&row->code, code);
	mauth_batch_set(&row->uri, uri);
	if (mauth_admin_get(reply, "account") != NULL)
		mauth_batch_set(&row->real_account, mauth_admin_get(reply, "account"));
	set_state(run, row, MAUTH_BATCH_PENDING, NULL);
	if (!same)
		say(run, row);
}

static void handle_ok(struct batch_run *run, struct mauth_batch_row *row, const struct mauth_admin_reply *reply)
{
	struct mauth_secret *password;

	if (!mauth_command_password(&run->cmd, "device_password", &password)) {
		end_row(run, row, MAUTH_BATCH_FAILED, "enrolled, but the device password cannot be understood");
		return;
	}
	if (password != NULL) {
		mauth_secret_free(&row->password);
		row->password = password;
	}
	if (mauth_admin_get(reply, "account") != NULL)
		mauth_batch_set(&row->real_account, mauth_admin_get(reply, "account"));
	if (mauth_admin_get(reply, "mailbox") != NULL)
		mauth_batch_set(&row->real_mailbox, mauth_admin_get(reply, "mailbox"));
	end_row(run, row, MAUTH_BATCH_ENROLLED, NULL);
}

static void handle_fail(struct batch_run *run, struct mauth_batch_row *row, const struct mauth_error *error)
{
	bool in_time = error->status != MAUTH_EXPIRED && error->status != MAUTH_TIMEOUT;
	const char *text = error->advice[0] == '\0' ? error->text :
		t_strdup_printf("%s; to do: %s", error->text, error->advice);

	end_row(run, row, row->code != NULL && !in_time ? MAUTH_BATCH_EXPIRED : MAUTH_BATCH_FAILED, text);
}

static void handle(struct batch_run *run, const struct mauth_admin_reply *reply)
{
	struct mauth_batch_row *row = &run->batch.rows[run->row_of[reply->id - 1]];

	run->heard_at = mauth_monotonic_msecs();
	switch (reply->kind) {
	case MAUTH_ADMIN_CODE:
		handle_code(run, row, reply);
		break;
	case MAUTH_ADMIN_OK:
		handle_ok(run, row, reply);
		break;
	case MAUTH_ADMIN_FAIL:
		handle_fail(run, row, &reply->error);
		break;
	case MAUTH_ADMIN_ROW:
	case MAUTH_ADMIN_NOTE:
		break;
	}
}

/* Codes whose end has passed without a word; false if the broker says nothing at all. */
static bool check_silence(struct batch_run *run)
{
	int64_t now = time(NULL);
	bool waiting = FALSE;

	run->checked_at = mauth_monotonic_msecs();
	for (size_t i = 0; i < run->batch.asked; i++) {
		struct mauth_batch_row *row = &run->batch.rows[i];

		if (!row->open)
			continue;
		if (row->state != MAUTH_BATCH_PENDING)
			waiting = TRUE;
		else if (now >= row->expires_at + GRACE_SECS)
			end_row(run, row, MAUTH_BATCH_EXPIRED, "the broker did not say how it ended");
	}
	if (!waiting || run->checked_at - run->heard_at < run->cmd.timeout_msecs)
		return TRUE;
	mauth_command_fail_text(MAUTH_TIMEOUT, "the broker does not answer");
	return FALSE;
}

/* --- the run ------------------------------------------------------------------------------------------------- */

static bool ask(struct batch_run *run, size_t i)
{
	struct mauth_batch_row *row = &run->batch.rows[i];
	const struct mauth_admin_field fields[] = {
		{ "user", row->user }, { "tenant", run->tenant }, { "account", row->account },
		{ "mailbox", row->mailbox }, { "device", row->device != NULL ? row->device : run->device },
		{ NULL, NULL }
	};
	struct mauth_error error;
	uint32_t id;

	if (row->state != MAUTH_BATCH_PENDING || row->expires_at <= time(NULL))
		set_state(run, row, MAUTH_BATCH_NOT_ASKED, NULL);
	i_zero(&error);
	if (mauth_admin_ask(run->cmd.admin, "ENROLL", fields, &id, &error) != MAUTH_OK) {
		mauth_command_fail(&error);
		return FALSE;
	}
	run->row_of[id - 1] = i;
	row->open = TRUE;
	run->open++;
	return TRUE;
}

static bool ask_all(struct batch_run *run)
{
	for (size_t i = 0; i < run->batch.asked; i++) {
		if (run->batch.rows[i].state != MAUTH_BATCH_ENROLLED && !ask(run, i))
			return FALSE;
	}
	return TRUE;
}

/* One line, or a moment without one. */
static bool wait_once(struct batch_run *run)
{
	const struct mauth_admin_reply *reply;
	struct mauth_error error;
	enum mauth_status status;
	int64_t now;

	i_zero(&error);
	status = mauth_admin_next(run->cmd.admin, TICK_MSECS, &reply, &error);
	if (status == MAUTH_OK)
		handle(run, reply);
	run->stopped = status == MAUTH_CANCELLED;
	if (status != MAUTH_OK && status != MAUTH_TIMEOUT) {
		if (!run->stopped)
			mauth_command_fail(&error);
		return FALSE;
	}

	now = mauth_monotonic_msecs();
	if (now - run->checked_at >= CHECK_MSECS && !check_silence(run))
		return FALSE;
	if (run->dirty && now - run->written_at >= (run->write_failed ? WRITE_AGAIN_MSECS : WRITE_MSECS))
		(void)write_output(run);
	if (now - run->drawn_at >= (run->changed ? (int)TICK_MSECS : DRAW_MSECS))
		draw(run);
	return TRUE;
}

static void print_summary(struct batch_run *run)
{
	static const struct mauth_column columns[] = {
		{ .key = "users", .cell = MAUTH_CELL_COUNT }, { .key = "enrolled", .cell = MAUTH_CELL_COUNT },
		{ .key = "pending", .cell = MAUTH_CELL_COUNT }, { .key = "not_asked", .cell = MAUTH_CELL_COUNT },
		{ .key = "expired", .cell = MAUTH_CELL_COUNT }, { .key = "failed", .cell = MAUTH_CELL_COUNT },
		{ .key = "file" }, MAUTH_COLUMNS_END
	};

	mauth_command_headers(&run->cmd, columns);
	doveadm_print_num(run->batch.asked);
	doveadm_print_num(run->counts[MAUTH_BATCH_ENROLLED]);
	doveadm_print_num(run->counts[MAUTH_BATCH_PENDING]);
	doveadm_print_num(run->counts[MAUTH_BATCH_NOT_ASKED]);
	doveadm_print_num(run->counts[MAUTH_BATCH_EXPIRED]);
	doveadm_print_num(run->counts[MAUTH_BATCH_FAILED]);
	mauth_command_print(&run->cmd, run->out);
}

static void finish(struct batch_run *run)
{
	size_t left = run->batch.asked - run->counts[MAUTH_BATCH_ENROLLED];

	run->over = TRUE;
	T_BEGIN {
		draw(run);
	} T_END;
	mauth_live_end(&run->live, FALSE);
	/* What could not be written a moment ago is tried again, and said again. */
	run->write_failed = FALSE;
	if (run->dirty && !write_output(run)) {
		i_error("codes and device passwords of this run are lost; to do: make room for %s, run the same "
			"command again, and give those who have signed in another device password (doveadm modernauth "
			"device add)", mauth_show(run->out));
		doveadm_exit_code = EX_IOERR;
		return;
	}
	print_summary(run);
	doveadm_exit_code = left == 0 ? 0 : EX_TEMPFAIL;
	if (run->stopped)
		fprintf(stderr, "Stopped. Codes stay valid until their end; the same command goes on.\n");
	else if (left > 0)
		fprintf(stderr, "%zu of %zu users are not enrolled; the same command goes on with them.\n", left,
			run->batch.asked);
}

static void run_batch(struct batch_run *run)
{
	bool more = TRUE;

	for (size_t i = 0; i < run->batch.asked; i++)
		run->counts[run->batch.rows[i].state]++;
	run->row_of = i_new(size_t, run->batch.asked);
	/* Whether it can be written is known before anybody has a code. */
	if (!write_output(run) || !mauth_command_connect(&run->cmd, WINDOW))
		return;
	mauth_live_init(&run->live);
	run->started_at = run->heard_at = mauth_monotonic_msecs();
	more = ask_all(run);
	while (more && run->open > 0) {
		T_BEGIN {
			more = wait_once(run);
		} T_END;
	}
	finish(run);
}

void mauth_enroll_batch(struct doveadm_cmd_context *cctx, const char *path)
{
	struct batch_run *run = i_new(struct batch_run, 1);

	if (mauth_command_init(&run->cmd, cctx)) {
		run->in = path;
		run->out = mauth_command_str(cctx, "output");
		if (run->out == NULL)
			run->out = default_output(path);
		run->device = mauth_command_str(cctx, "device");
		run->tenant = mauth_command_str(cctx, "tenant");
		if (!run->cmd.is_cli) {
			i_error("enroll --batch: only on the command line");
			doveadm_exit_code = EX_USAGE;
		} else if (read_input(run) && read_output(run)) {
			run_batch(run);
		}
	}
	mauth_command_deinit(&run->cmd);
	if (run->input != NULL)
		(void)fclose(run->input);
	for (unsigned int i = 0; i < EVENTS; i++)
		i_free(run->events[i]);
	mauth_batch_free(&run->batch);
	i_free(run->row_of);
	i_free(run);
}
