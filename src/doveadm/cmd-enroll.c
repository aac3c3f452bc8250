/* SPDX-License-Identifier: MIT */
/* enroll: one user signs in with a code while the command waits. */
#include "lib.h"
#include "doveadm-print.h"

#include "doveadm/command.h"
#include "doveadm/cmd-batch.h"
#include "doveadm/term.h"

#include <stdio.h>
#include <time.h>

#define TICK_MSECS 1000u
#define PLAIN_MSECS 15000
/* After a code's end the broker says so; if it does not, somebody has to. */
#define GRACE_SECS 60

struct enrolment {
	struct mauth_command cmd;
	const char *user;
	struct mauth_live live;
	bool has_code;
	int64_t expires_at;
	long long polls;
	int64_t drawn_at, heard_at;      /* monotonic */
};

/* The code is for a person: on stderr, whatever format the result has. */
static void show_code(struct enrolment *enrolment, const struct mauth_admin_reply *reply)
{
	const char *code = mauth_admin_get(reply, "user_code"), *uri = mauth_admin_get(reply, "uri");
	const char *account = mauth_admin_get(reply, "account");

	(void)mauth_admin_num(reply, "expires_at", &enrolment->expires_at);
	/* Asked again after a restart it is the same, and on the screen. */
	if (enrolment->has_code)
		return;
	enrolment->has_code = TRUE;
	fprintf(stderr, "To sign in, open %s and enter %s (as %s); valid until %s\n",
		mauth_show(uri == NULL ? "?" : uri), mauth_show(code == NULL ? "?" : code),
		mauth_show(account == NULL ? enrolment->user : account), mauth_time_short(enrolment->expires_at));
}

static void draw(struct enrolment *enrolment)
{
	int64_t now = mauth_monotonic_msecs(), pause = enrolment->live.is_tty ? TICK_MSECS / 2 : PLAIN_MSECS;
	const char *line;

	if (!enrolment->has_code || now - enrolment->drawn_at < pause)
		return;
	line = t_strdup_printf("Waiting for the sign-in: %s left, asked %lld times; Ctrl-C stops waiting",
			       mauth_duration_text(enrolment->expires_at - time(NULL)), enrolment->polls);
	if (enrolment->live.is_tty)
		mauth_live_draw(&enrolment->live, &line, 1);
	else if (enrolment->drawn_at != 0)
		fprintf(stderr, "%s\n", line);
	enrolment->drawn_at = now;
}

static void finish(struct enrolment *enrolment, const struct mauth_admin_reply *reply)
{
	static const struct mauth_column columns[] = {
		{ .key = "user" }, { .key = "account" }, { .key = "mailbox" }, { .key = "device_id" },
		{ .key = "device_password" }, MAUTH_COLUMNS_END
	};
	struct mauth_command *cmd = &enrolment->cmd;
	struct mauth_secret *password;

	if (!mauth_command_password(cmd, "device_password", &password))
		return;
	mauth_command_headers(cmd, columns);
	mauth_command_print(cmd, enrolment->user);
	mauth_command_print(cmd, mauth_admin_get(reply, "account"));
	mauth_command_print(cmd, mauth_admin_get(reply, "mailbox"));
	mauth_command_print(cmd, mauth_admin_get(reply, "device_id"));
	if (password == NULL) {
		mauth_command_print(cmd, NULL);
		return;
	}
	doveadm_print(mauth_secret_expose(password));
	mauth_secret_free(&password);
	mauth_command_note_password();
}

static void stopped(struct enrolment *enrolment)
{
	if (enrolment->has_code && enrolment->expires_at > time(NULL)) {
		fprintf(stderr, "Stopped waiting. The code stays valid until %s; the same command waits for it "
			"again.\n", mauth_time_short(enrolment->expires_at));
	} else {
		fprintf(stderr, "Stopped waiting. The same command goes on.\n");
	}
	doveadm_exit_code = EX_TEMPFAIL;
}

/* Nothing has come for a moment. True if the broker has been silent for too long. */
static bool is_overdue(const struct enrolment *enrolment)
{
	if (!enrolment->has_code)
		return mauth_monotonic_msecs() - enrolment->heard_at >= enrolment->cmd.timeout_msecs;
	return time(NULL) >= enrolment->expires_at + GRACE_SECS;
}

/* One line, or a moment without one. False at the end. */
static bool wait_once(struct enrolment *enrolment)
{
	const struct mauth_admin_reply *reply;
	struct mauth_error error;
	enum mauth_status status;
	int64_t polls;

	i_zero(&error);
	status = mauth_admin_next(enrolment->cmd.admin, TICK_MSECS, &reply, &error);
	if (status == MAUTH_TIMEOUT && !is_overdue(enrolment))
		return TRUE;
	if (status != MAUTH_OK) {
		mauth_live_end(&enrolment->live, TRUE);
		if (status == MAUTH_CANCELLED)
			stopped(enrolment);
		else
			mauth_command_fail(&error);
		return FALSE;
	}

	enrolment->heard_at = mauth_monotonic_msecs();
	switch (reply->kind) {
	case MAUTH_ADMIN_CODE:
		show_code(enrolment, reply);
		return TRUE;
	case MAUTH_ADMIN_NOTE:
		if (mauth_admin_num(reply, "polls", &polls))
			enrolment->polls = polls;
		return TRUE;
	case MAUTH_ADMIN_ROW:
		return TRUE;
	case MAUTH_ADMIN_OK:
		mauth_live_end(&enrolment->live, TRUE);
		finish(enrolment, reply);
		return FALSE;
	case MAUTH_ADMIN_FAIL:
		mauth_live_end(&enrolment->live, TRUE);
		mauth_command_fail(&reply->error);
		return FALSE;
	}
	return FALSE;
}

/* A doveadm server answers once: with the code, and whoever asked sees in "list" how it ended. */
static void answer_code(struct enrolment *enrolment)
{
	static const struct mauth_column columns[] = {
		{ .key = "user" }, { .key = "account" }, { .key = "state" }, { .key = "code" }, { .key = "uri" },
		{ .key = "expires_at" }, MAUTH_COLUMNS_END
	};
	struct mauth_command *cmd = &enrolment->cmd;
	const struct mauth_admin_reply *reply;

	do {
		if (!mauth_command_next(cmd, &reply))
			return;
	} while (reply->kind != MAUTH_ADMIN_CODE && reply->kind != MAUTH_ADMIN_OK);
	mauth_command_headers(cmd, columns);
	(void)mauth_admin_num(reply, "expires_at", &enrolment->expires_at);
	mauth_command_print(cmd, enrolment->user);
	mauth_command_print(cmd, mauth_admin_get(reply, "account"));
	mauth_command_print(cmd, reply->kind == MAUTH_ADMIN_OK ? "enrolled" : "pending");
	mauth_command_print(cmd, mauth_admin_get(reply, "user_code"));
	mauth_command_print(cmd, mauth_admin_get(reply, "uri"));
	mauth_command_print_time(cmd, enrolment->expires_at);
}

static void enroll_one(struct doveadm_cmd_context *cctx)
{
	const char *user = mauth_command_need(cctx, "user");
	const struct mauth_admin_field fields[] = {
		{ "user", user }, { "tenant", mauth_command_str(cctx, "tenant") },
		{ "account", mauth_command_str(cctx, "account") }, { "mailbox", mauth_command_str(cctx, "mailbox") },
		{ "device", mauth_command_str(cctx, "device") }, { NULL, NULL }
	};
	struct enrolment enrolment = { .user = user };
	bool more = TRUE;

	if (user == NULL || !mauth_command_init(&enrolment.cmd, cctx))
		return;
	if (!enrolment.cmd.is_cli && mauth_command_str(cctx, "device") != NULL) {
		i_error("enroll: a device password would be lost here; to do: modernauth device add, when the user has "
			"signed in");
		doveadm_exit_code = EX_USAGE;
		return;
	}
	if (mauth_command_connect(&enrolment.cmd, 0) && mauth_command_ask(&enrolment.cmd, "ENROLL", fields)) {
		mauth_live_init(&enrolment.live);
		enrolment.heard_at = mauth_monotonic_msecs();
		if (!enrolment.cmd.is_cli)
			answer_code(&enrolment);
		while (enrolment.cmd.is_cli && more) {
			T_BEGIN {
				more = wait_once(&enrolment);
				if (more)
					draw(&enrolment);
			} T_END;
		}
		mauth_live_end(&enrolment.live, FALSE);
	}
	mauth_command_deinit(&enrolment.cmd);
}

void mauth_cmd_enroll(struct doveadm_cmd_context *cctx)
{
	const char *batch = mauth_command_str(cctx, "batch");

	if (batch == NULL) {
		enroll_one(cctx);
	} else if (mauth_command_str(cctx, "user") != NULL || mauth_command_str(cctx, "account") != NULL ||
		   mauth_command_str(cctx, "mailbox") != NULL) {
		i_error("enroll: with --batch, users, accounts and mailboxes are in the file");
		doveadm_exit_code = EX_USAGE;
	} else {
		mauth_enroll_batch(cctx, batch);
	}
}
