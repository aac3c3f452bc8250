/* SPDX-License-Identifier: MIT */
/* Relay keys, by which a Postfix gets tokens: relay add, list, remove. */
#include "lib.h"
#include "str.h"
#include "doveadm-print.h"

#include "doveadm/command.h"
#include "doveadm/term.h"

#include <stdio.h>

/* --- add ----------------------------------------------------------------------------------------------------- */

/* All of them as one list; NULL: there is none, or one that would become two. */
static const char *join_identities(struct doveadm_cmd_context *cctx)
{
	const char *const *identities = NULL;
	string_t *list = t_str_new(256);

	if (!doveadm_cmd_param_array(cctx, "identity", &identities) || identities == NULL || *identities == NULL) {
		i_error("relay add: for whom? --identity ADDRESS or PATTERN, as often as needed: what stands before the "
			"colon in smtp_sasl_password_maps");
		doveadm_exit_code = EX_USAGE;
		return NULL;
	}
	for (; *identities != NULL; identities++) {
		if (**identities == '\0' || strpbrk(*identities, ", ") != NULL) {
			i_error("--identity: one address or pattern was expected: %s", mauth_show(*identities));
			doveadm_exit_code = EX_USAGE;
			return NULL;
		}
		str_printfa(list, "%s%s", str_len(list) > 0 ? "," : "", *identities);
	}
	return str_c(list);
}

static void print_added(struct mauth_command *cmd, const struct mauth_admin_reply *reply)
{
	static const struct mauth_column columns[] = {
		{ .key = "key_id" }, { .key = "name" }, { .key = "last_day" }, { .key = "relay_key" }, MAUTH_COLUMNS_END
	};
	struct mauth_secret *key;

	if (!mauth_command_password(cmd, "relay_password", &key))
		return;
	if (key == NULL) {
		mauth_command_fail_text(MAUTH_PROTOCOL, "the broker's answer has no relay key");
		return;
	}
	mauth_command_headers(cmd, columns);
	mauth_command_print(cmd, mauth_admin_get(reply, "key_id"));
	mauth_command_print(cmd, mauth_admin_get(reply, "name"));
	mauth_command_print(cmd, mauth_admin_get(reply, "last_day"));
	doveadm_print(mauth_secret_expose(key));
	mauth_secret_free(&key);
	if (!cmd->is_cli)
		return;
	doveadm_print_flush();
	(void)fflush(stdout);
	fprintf(stderr, "The relay key is not shown again. In Postfix's smtp_sasl_password_maps (mode 0600, owned by root):\n"
			"  [smtp.office365.com]:587 IDENTITY:RELAY_KEY\n");
}

void mauth_cmd_relay_add(struct doveadm_cmd_context *cctx)
{
	const char *name = mauth_command_need(cctx, "name");
	const char *identities = name == NULL ? NULL : join_identities(cctx);
	const char *until = mauth_command_str(cctx, "until");
	const struct mauth_admin_field fields[] = {
		{ "name", name }, { "identities", identities }, { "until", until },
		{ "by", identities == NULL ? NULL : mauth_command_admin_name(cctx) }, { NULL, NULL }
	};
	const struct mauth_admin_reply *reply;
	struct mauth_command cmd;
	int64_t day;

	if (identities == NULL || !mauth_command_init(&cmd, cctx))
		return;
	if (until != NULL && !mauth_date_parse(until, &day)) {
		i_error("--until: not a date like 2027-03-31: %s", mauth_show(until));
		doveadm_exit_code = EX_USAGE;
		return;
	}
	if (mauth_command_connect(&cmd, 0) && mauth_command_ask(&cmd, "RELAY-ADD", fields) && mauth_command_ok(&cmd, &reply))
		print_added(&cmd, reply);
	mauth_command_deinit(&cmd);
}

/* --- list ---------------------------------------------------------------------------------------------------- */

void mauth_cmd_relay_list(struct doveadm_cmd_context *cctx)
{
	static const struct mauth_column columns[] = {
		{ .key = "name" }, { .key = "key_id" }, { .key = "state" }, { .key = "identities" }, { .key = "last_day" },
		{ .key = "last_used_at", .cell = MAUTH_CELL_TIME }, { .key = "created_at", .cell = MAUTH_CELL_TIME },
		{ .key = "by" }, MAUTH_COLUMNS_END
	};
	const struct mauth_admin_field fields[] = { { NULL, NULL } };
	struct mauth_command cmd;

	if (!mauth_command_init(&cmd, cctx))
		return;
	if (mauth_command_connect(&cmd, 0))
		(void)mauth_command_rows(&cmd, "RELAY-LIST", fields, columns);
	mauth_command_deinit(&cmd);
}

/* --- remove -------------------------------------------------------------------------------------------------- */

void mauth_cmd_relay_remove(struct doveadm_cmd_context *cctx)
{
	static const struct mauth_column columns[] = {
		{ .key = "key_id" }, { .key = "name" }, { .key = "state" }, MAUTH_COLUMNS_END
	};
	const char *key = mauth_command_need(cctx, "key");
	const struct mauth_admin_field fields[] = {
		{ "key", key }, { "by", key == NULL ? NULL : mauth_command_admin_name(cctx) }, { NULL, NULL }
	};
	const struct mauth_admin_reply *reply;
	struct mauth_command cmd;

	if (key == NULL || !mauth_command_init(&cmd, cctx))
		return;
	if (mauth_command_connect(&cmd, 0) && mauth_command_ask(&cmd, "RELAY-REMOVE", fields) &&
	    mauth_command_ok(&cmd, &reply)) {
		mauth_command_headers(&cmd, columns);
		mauth_command_print(&cmd, mauth_admin_get(reply, "key_id"));
		mauth_command_print(&cmd, mauth_admin_get(reply, "name"));
		mauth_command_print(&cmd, "removed");
	}
	mauth_command_deinit(&cmd);
}
