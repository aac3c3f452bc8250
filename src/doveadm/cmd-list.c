/* SPDX-License-Identifier: MIT */
/* What the broker knows, and making it forget: status, list, show, forget, revoke. */
#include "lib.h"
#include "doveadm-print.h"

#include "doveadm/command.h"
#include "doveadm/term.h"

#include <stdio.h>
#include <unistd.h>

static const struct mauth_admin_field no_fields[] = { { NULL, NULL } };

void mauth_cmd_status(struct doveadm_cmd_context *cctx)
{
	static const struct mauth_column columns[] = {
		{ .key = "name" }, { .key = "value" }, MAUTH_COLUMNS_END
	};
	const struct mauth_admin_reply *reply;
	struct mauth_command cmd;

	if (!mauth_command_init(&cmd, cctx))
		return;
	if (mauth_command_connect(&cmd, 0) && mauth_command_ask(&cmd, "STATUS", no_fields) &&
	    mauth_command_ok(&cmd, &reply)) {
		mauth_command_headers(&cmd, columns);
		for (size_t i = 0; i < reply->count; i++) {
			mauth_command_print(&cmd, reply->fields[i].key);
			mauth_command_print(&cmd, reply->fields[i].value);
		}
	}
	mauth_command_deinit(&cmd);
}

void mauth_cmd_list(struct doveadm_cmd_context *cctx)
{
	static const struct mauth_column columns[] = {
		{ .key = "user" }, { .key = "tenant" }, { .key = "state" },
		{ .key = "expires_at", .cell = MAUTH_CELL_TIME }, { .key = "devices", .cell = MAUTH_CELL_COUNT },
		{ .key = "account" }, { .key = "mailbox" }, { .key = "enrolled_at", .cell = MAUTH_CELL_TIME },
		{ .key = "refreshed_at", .cell = MAUTH_CELL_TIME }, { .key = "reason" }, MAUTH_COLUMNS_END
	};
	const char *expiring = mauth_command_str(cctx, "expiring");
	struct mauth_admin_field fields[] = {
		{ "tenant", mauth_command_str(cctx, "tenant") }, { "expiring", NULL }, { NULL, NULL }
	};
	struct mauth_command cmd;
	int64_t secs;

	if (!mauth_command_init(&cmd, cctx))
		return;
	if (expiring != NULL) {
		if (!mauth_interval_parse(expiring, &secs)) {
			i_error("--expiring: not a time like 12h or 14d: %s", mauth_show(expiring));
			doveadm_exit_code = EX_USAGE;
			return;
		}
		fields[1].value = t_strdup_printf("%lld", (long long)secs);
	}
	if (mauth_command_connect(&cmd, 0))
		(void)mauth_command_rows(&cmd, "LIST", fields, columns);
	mauth_command_deinit(&cmd);
}

/* --- show ---------------------------------------------------------------------------------------------------- */

static bool is_time_key(const char *key)
{
	size_t size = strlen(key);

	return (size > 3 && strcmp(key + size - 3, "_at") == 0) || strcmp(key, "until") == 0;
}

/* One line for each thing that is known of an item; id tells the items of one kind apart. */
static void print_item(struct mauth_command *cmd, const struct mauth_admin_reply *reply)
{
	const char *item = mauth_admin_get(reply, "item");
	const char *id_key = mauth_admin_get(reply, "device_id") != NULL ? "device_id" : "token_id";
	const char *id = mauth_admin_get(reply, id_key);
	int64_t time;

	for (size_t i = 0; i < reply->count; i++) {
		const struct mauth_admin_field *field = &reply->fields[i];

		if (strcmp(field->key, "item") == 0 || strcmp(field->key, id_key) == 0)
			continue;
		mauth_command_print(cmd, item);
		mauth_command_print(cmd, id);
		mauth_command_print(cmd, field->key);
		if (is_time_key(field->key) && mauth_admin_num(reply, field->key, &time))
			mauth_command_print_time(cmd, time);
		else
			mauth_command_print(cmd, field->value);
	}
}

void mauth_cmd_show(struct doveadm_cmd_context *cctx)
{
	static const struct mauth_column columns[] = {
		{ .key = "item" }, { .key = "id" }, { .key = "name" }, { .key = "value" },
		MAUTH_COLUMNS_END
	};
	const char *user = mauth_command_need(cctx, "user");
	const struct mauth_admin_field fields[] = { { "user", user }, { NULL, NULL } };
	const struct mauth_admin_reply *reply;
	struct mauth_command cmd;

	if (user == NULL || !mauth_command_init(&cmd, cctx))
		return;
	if (mauth_command_connect(&cmd, 0) && mauth_command_ask(&cmd, "SHOW", fields)) {
		while (mauth_command_next(&cmd, &reply)) {
			mauth_command_headers(&cmd, columns);
			if (reply->kind == MAUTH_ADMIN_OK)
				break;
			T_BEGIN {
				print_item(&cmd, reply);
			} T_END;
		}
	}
	mauth_command_deinit(&cmd);
}

/* --- forget, revoke ------------------------------------------------------------------------------------------ */

/* With those that are for others as well Postfix can still send as this user. */
static void warn_of_relay_keys(const char *user, const char *names)
{
	if (names != NULL)
		i_warning("revoke: relay keys that still give tokens for %s: %s; to do: doveadm modernauth relay list; relay remove NAME, and add "
			  "one for the other identities", mauth_show(user), mauth_show(names));
}

/* A verb about one user whose answer is counts. */
static void run_counts(struct doveadm_cmd_context *cctx, const char *verb, const char *user,
		       const struct mauth_column *columns)
{
	const struct mauth_admin_field fields[] = { { "user", user }, { NULL, NULL } };
	const struct mauth_admin_reply *reply;
	struct mauth_command cmd;

	if (!mauth_command_init(&cmd, cctx))
		return;
	if (mauth_command_connect(&cmd, 0) && mauth_command_ask(&cmd, verb, fields) && mauth_command_ok(&cmd, &reply) &&
	    mauth_command_row(&cmd, columns, reply))
		warn_of_relay_keys(user, mauth_admin_get(reply, "relay_keys_left"));
	mauth_command_deinit(&cmd);
}

void mauth_cmd_forget(struct doveadm_cmd_context *cctx)
{
	static const struct mauth_column columns[] = {
		{ .key = "tokens", .cell = MAUTH_CELL_COUNT }, { .key = "refusals", .cell = MAUTH_CELL_COUNT },
		MAUTH_COLUMNS_END
	};
	const char *user = mauth_command_need(cctx, "user");

	if (user != NULL)
		run_counts(cctx, "FORGET", user, columns);
}

static bool confirm_revoke(const struct doveadm_cmd_context *cctx, const char *user)
{
	char answer[16] = "";

	if (mauth_command_bool(cctx, "yes"))
		return TRUE;
	if (cctx->conn_type != DOVEADM_CONNECTION_TYPE_CLI || isatty(STDIN_FILENO) <= 0) {
		i_error("revoke: nobody there to confirm it; to do: say --yes");
		doveadm_exit_code = EX_USAGE;
		return FALSE;
	}
	fprintf(stderr, "The enrolment of %s, every device password, relay key and token will be gone; they cannot be "
		"restored.\nRevoke? [y/N] ", mauth_show(user));
	if (fgets(answer, sizeof(answer), stdin) != NULL &&
	    (strcasecmp(answer, "y\n") == 0 || strcasecmp(answer, "yes\n") == 0))
		return TRUE;
	fprintf(stderr, "Nothing was changed.\n");
	doveadm_exit_code = EX_TEMPFAIL;
	return FALSE;
}

void mauth_cmd_revoke(struct doveadm_cmd_context *cctx)
{
	static const struct mauth_column columns[] = {
		{ .key = "tokens", .cell = MAUTH_CELL_COUNT }, { .key = "refusals", .cell = MAUTH_CELL_COUNT },
		{ .key = "enrolments", .cell = MAUTH_CELL_COUNT }, { .key = "devices", .cell = MAUTH_CELL_COUNT },
		{ .key = "relay_keys", .cell = MAUTH_CELL_COUNT }, MAUTH_COLUMNS_END
	};
	const char *user = mauth_command_need(cctx, "user");

	if (user != NULL && confirm_revoke(cctx, user))
		run_counts(cctx, "REVOKE", user, columns);
}
