/* SPDX-License-Identifier: MIT */
/* Device passwords: device add, list, remove, expire. */
#include "lib.h"
#include "doveadm-print.h"

#include "doveadm/command.h"
#include "doveadm/term.h"

#include <time.h>

#define DAY_SECS 86400

/* A day as people mean it, "until the 26th": what works then works until its end. */
static bool parse_end_of_day(const char *option, const char *text, int64_t *time_r)
{
	if (!mauth_date_parse(text, time_r)) {
		i_error("--%s: not a date like 2026-11-26: %s", option, mauth_show(text));
		doveadm_exit_code = EX_USAGE;
		return FALSE;
	}
	*time_r += DAY_SECS;
	return TRUE;
}

static void print_added(struct mauth_command *cmd, const struct mauth_admin_reply *reply)
{
	static const struct mauth_column columns[] = {
		{ .key = "device_id" }, { .key = "device_password" }, MAUTH_COLUMNS_END
	};
	struct mauth_secret *password;

	if (!mauth_command_password(cmd, "device_password", &password))
		return;
	if (password == NULL) {
		mauth_command_fail_text(MAUTH_PROTOCOL, "the broker's answer has no device password");
		return;
	}
	mauth_command_headers(cmd, columns);
	mauth_command_print(cmd, mauth_admin_get(reply, "device_id"));
	doveadm_print(mauth_secret_expose(password));
	mauth_secret_free(&password);
	if (cmd->is_cli)
		mauth_command_note_password();
}

void mauth_cmd_device_add(struct doveadm_cmd_context *cctx)
{
	const char *user = mauth_command_need(cctx, "user");
	const char *name = user == NULL ? NULL : mauth_command_need(cctx, "name");
	const char *expires = mauth_command_str(cctx, "expires");
	struct mauth_admin_field fields[] = {
		{ "user", user }, { "name", name }, { "networks", mauth_command_str(cctx, "networks") },
		{ "services", mauth_command_str(cctx, "protocols") }, { "expires_at", NULL }, { NULL, NULL }
	};
	const struct mauth_admin_reply *reply;
	struct mauth_command cmd;
	int64_t until;

	if (name == NULL || !mauth_command_init(&cmd, cctx))
		return;
	if (expires != NULL) {
		if (!parse_end_of_day("expires", expires, &until))
			return;
		if (until <= time(NULL)) {
			i_error("--expires: that day is over: %s", mauth_show(expires));
			doveadm_exit_code = EX_USAGE;
			return;
		}
		fields[4].value = t_strdup_printf("%lld", (long long)until);
	}
	if (mauth_command_connect(&cmd, 0) && mauth_command_ask(&cmd, "DEVICE-ADD", fields) &&
	    mauth_command_ok(&cmd, &reply))
		print_added(&cmd, reply);
	mauth_command_deinit(&cmd);
}

void mauth_cmd_device_list(struct doveadm_cmd_context *cctx)
{
	static const struct mauth_column columns[] = {
		{ .key = "user" }, { .key = "device_id" }, { .key = "name" }, { .key = "origin" },
		{ .key = "expires_at", .cell = MAUTH_CELL_TIME }, { .key = "last_used_at", .cell = MAUTH_CELL_TIME },
		{ .key = "last_ip" }, { .key = "last_service" }, { .key = "networks" }, { .key = "services" },
		{ .key = "created_at", .cell = MAUTH_CELL_TIME }, { .key = "tenant" }, MAUTH_COLUMNS_END
	};
	const struct mauth_admin_field fields[] = { { "user", mauth_command_str(cctx, "user") }, { NULL, NULL } };
	struct mauth_command cmd;

	if (!mauth_command_init(&cmd, cctx))
		return;
	if (mauth_command_connect(&cmd, 0))
		(void)mauth_command_rows(&cmd, "DEVICE-LIST", fields, columns);
	mauth_command_deinit(&cmd);
}

/* A verb about one device. The answer has nothing that the question did not have; formats for programs want a row. */
static void run_change(struct doveadm_cmd_context *cctx, const char *verb, const struct mauth_admin_field *fields,
		       const char *state)
{
	static const struct mauth_column columns[] = {
		{ .key = "user" }, { .key = "device" }, { .key = "state" }, MAUTH_COLUMNS_END
	};
	const struct mauth_admin_reply *reply;
	struct mauth_command cmd;

	if (!mauth_command_init(&cmd, cctx))
		return;
	if (mauth_command_connect(&cmd, 0) && mauth_command_ask(&cmd, verb, fields) && mauth_command_ok(&cmd, &reply)) {
		mauth_command_headers(&cmd, columns);
		mauth_command_print(&cmd, fields[0].value);
		mauth_command_print(&cmd, fields[1].value);
		mauth_command_print(&cmd, state);
	}
	mauth_command_deinit(&cmd);
}

void mauth_cmd_device_remove(struct doveadm_cmd_context *cctx)
{
	const char *user = mauth_command_need(cctx, "user");
	const char *device = user == NULL ? NULL : mauth_command_need(cctx, "device");
	const struct mauth_admin_field fields[] = { { "user", user }, { "device", device }, { NULL, NULL } };

	if (device != NULL)
		run_change(cctx, "DEVICE-REMOVE", fields, "removed");
}

void mauth_cmd_device_expire(struct doveadm_cmd_context *cctx)
{
	const char *user = mauth_command_need(cctx, "user");
	const char *device = user == NULL ? NULL : mauth_command_need(cctx, "device");
	const char *at = mauth_command_str(cctx, "at");
	struct mauth_admin_field fields[] = {
		{ "user", user }, { "device", device }, { "expires_at", NULL }, { NULL, NULL }
	};
	char text[MAUTH_TIME_SIZE];
	int64_t when = time(NULL);

	if (device == NULL)
		return;
	if (at != NULL && strcmp(at, "now") != 0 && !parse_end_of_day("at", at, &when))
		return;
	fields[2].value = t_strdup_printf("%lld", (long long)when);
	mauth_time_text(when, text);
	run_change(cctx, "DEVICE-EXPIRE", fields, t_strdup_printf("expires %s", text));
}
