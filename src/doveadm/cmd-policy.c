/* SPDX-License-Identifier: MIT */
/* Rules and what is allowed in spite of them: policy, allow, disallow. */
#include "lib.h"
#include "str.h"
#include "doveadm-print.h"

#include "doveadm/command.h"
#include "doveadm/term.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const struct mauth_admin_field no_fields[] = { { NULL, NULL } };

/* --- policy -------------------------------------------------------------------------------------------------- */

void mauth_cmd_policy(struct doveadm_cmd_context *cctx)
{
	static const struct mauth_column columns[] = {
		{ .key = "order", .cell = MAUTH_CELL_COUNT }, { .key = "kind" }, { .key = "name" },
		{ .key = "protocols" }, { .key = "users" }, { .key = "networks" }, { .key = "conditions" },
		{ .key = "action" }, { .key = "last_day" }, { .key = "until", .cell = MAUTH_CELL_TIME },
		{ .key = "days_left" }, { .key = "then" }, { .key = "state" }, { .key = "by" },
		{ .key = "created_at", .cell = MAUTH_CELL_TIME }, { .key = "reason" }, MAUTH_COLUMNS_END
	};
	const struct mauth_admin_reply *reply;
	struct mauth_command cmd;

	if (!mauth_command_init(&cmd, cctx))
		return;
	if (mauth_command_connect(&cmd, 0) && mauth_command_ask(&cmd, "POLICY", no_fields)) {
		while (mauth_command_next(&cmd, &reply)) {
			const char *store = mauth_admin_get(reply, "store");

			mauth_command_headers(&cmd, columns);
			if (reply->kind == MAUTH_ADMIN_ROW && !mauth_command_row(&cmd, columns, reply))
				break;
			if (reply->kind != MAUTH_ADMIN_OK)
				continue;
			if (store != NULL && strcmp(store, "open") != 0)
				i_warning("the store is not open, so no exception holds (doveadm modernauth status "
					  "says why)");
			break;
		}
	}
	mauth_command_deinit(&cmd);
}

/* --- allow --------------------------------------------------------------------------------------------------- */

/* What an exception would do, as the broker says. */
struct preview {
	string_t *rows;                  /* of who is affected */
	int64_t shown, total, users, clients;
	bool has_inventory, tenant_wide;
	const char *last_day, *until, *days_left, *tenants, *action;
};

static const char *get_text(const struct mauth_admin_reply *reply, const char *key)
{
	const char *text = mauth_admin_get(reply, key);

	return text == NULL || *text == '\0' ? "-" : t_strdup(mauth_show(text));
}

static const char *get_time(const struct mauth_admin_reply *reply, const char *key)
{
	char text[MAUTH_TIME_SIZE] = "";
	int64_t at;

	if (mauth_admin_num(reply, key, &at))
		mauth_time_text(at, text);
	return text[0] == '\0' ? "-" : t_strdup(text);
}

static void take_end(struct preview *preview, const struct mauth_admin_reply *reply)
{
	const char *inventory = mauth_admin_get(reply, "inventory"), *wide = mauth_admin_get(reply, "tenant_wide");

	preview->has_inventory = inventory != NULL && strcmp(inventory, "yes") == 0;
	/* Whatever says nothing of it is asked about. */
	preview->tenant_wide = wide == NULL || strcmp(wide, "no") != 0;
	preview->tenants = get_text(reply, "tenants");
	preview->last_day = get_text(reply, "last_day");
	preview->until = get_time(reply, "until");
	preview->days_left = get_text(reply, "days_left");
	preview->action = get_text(reply, "action");
	(void)mauth_admin_num(reply, "rows", &preview->total);
	(void)mauth_admin_num(reply, "users", &preview->users);
	(void)mauth_admin_num(reply, "clients", &preview->clients);
}

static bool ask_preview(struct mauth_command *cmd, const struct mauth_admin_field *fields, struct preview *preview)
{
	const struct mauth_admin_reply *reply;

	if (!mauth_command_ask(cmd, "ALLOW", fields))
		return FALSE;
	for (;;) {
		if (!mauth_command_next(cmd, &reply))
			return FALSE;
		if (reply->kind == MAUTH_ADMIN_OK) {
			take_end(preview, reply);
			return TRUE;
		}
		if (reply->kind != MAUTH_ADMIN_ROW)
			continue;
		preview->shown++;
		str_printfa(preview->rows, "  %s  %s  %s  %s  last seen %s\n", get_text(reply, "user"),
			    get_text(reply, "service"), get_text(reply, "network"), get_text(reply, "client"),
			    get_time(reply, "last_seen"));
	}
}

static void show_preview(const struct doveadm_cmd_context *cctx, const char *protocol, const struct preview *preview)
{
	const char *user = mauth_command_str(cctx, "user"), *network = mauth_command_str(cctx, "network");
	bool basic = strcmp(preview->action, "basic") == 0;

	fprintf(stderr,
		"%s for %s from %s %s although a rule denies it,\nuntil the end of %s here, which is %s: %s days.\n",
		mauth_show(protocol), user == NULL ? "everybody" : mauth_show(user),
		network == NULL ? "everywhere" : mauth_show(network), basic ? "goes on with passwords" : "is upgraded",
		preview->last_day, preview->until, preview->days_left);
	if (basic && strcmp(protocol, "submission") != 0 && strcmp(protocol, "smtp") != 0)
		fprintf(stderr, "Exchange Online takes no passwords over IMAP and POP3 any more.\n");
	if (!preview->has_inventory) {
		fprintf(stderr, "There is no inventory here: nobody can say who is affected.\n");
		return;
	}
	fprintf(stderr, "Seen here and affected: %lld users, %lld clients.\n%s", (long long)preview->users,
		(long long)preview->clients, str_c(preview->rows));
	if (preview->total > preview->shown)
		fprintf(stderr, "  ... and %lld more\n", (long long)(preview->total - preview->shown));
}

static bool acknowledge(const struct doveadm_cmd_context *cctx, const char *protocol, const struct preview *preview)
{
	char answer[64] = "";

	if (preview->tenant_wide && cctx->conn_type == DOVEADM_CONNECTION_TYPE_CLI)
		fprintf(stderr, "This is tenant-wide: everybody of %s.\n", preview->tenants);
	if (!preview->tenant_wide || mauth_command_bool(cctx, "yes"))
		return TRUE;
	if (cctx->conn_type != DOVEADM_CONNECTION_TYPE_CLI || isatty(STDIN_FILENO) <= 0) {
		i_error("allow: it is tenant-wide (%s), and nobody is there to acknowledge that; to do: say --yes, or "
			"name whom it is for with --user or --network",
			preview->tenants);
		doveadm_exit_code = EX_USAGE;
		return FALSE;
	}
	fprintf(stderr, "To acknowledge that, type %s: ", mauth_show(protocol));
	if (fgets(answer, sizeof(answer), stdin) != NULL && strlen(answer) == strlen(protocol) + 1 &&
	    strncmp(answer, protocol, strlen(protocol)) == 0)
		return TRUE;
	fprintf(stderr, "Nothing was changed.\n");
	doveadm_exit_code = EX_TEMPFAIL;
	return FALSE;
}

static void print_allowed(struct mauth_command *cmd, const struct mauth_admin_reply *reply,
			  const struct preview *preview)
{
	static const struct mauth_column columns[] = {
		{ .key = "exception" }, { .key = "last_day" }, { .key = "until", .cell = MAUTH_CELL_TIME },
		{ .key = "days_left" }, { .key = "tenant_wide" }, { .key = "users" }, { .key = "clients" }, MAUTH_COLUMNS_END
	};
	const char *users = t_strdup_printf("%lld", (long long)preview->users);
	const char *clients = t_strdup_printf("%lld", (long long)preview->clients);
	int64_t until = 0;

	(void)mauth_admin_num(reply, "until", &until);
	mauth_command_headers(cmd, columns);
	mauth_command_print(cmd, mauth_admin_get(reply, "exception"));
	mauth_command_print(cmd, mauth_admin_get(reply, "last_day"));
	mauth_command_print_time(cmd, until);
	mauth_command_print(cmd, mauth_admin_get(reply, "days_left"));
	mauth_command_print(cmd, preview->tenant_wide ? "yes" : "no");
	mauth_command_print(cmd, preview->has_inventory ? users : NULL);
	mauth_command_print(cmd, preview->has_inventory ? clients : NULL);
	if (!cmd->is_cli)
		return;
	doveadm_print_flush();
	(void)fflush(stdout);
	fprintf(stderr, "In effect on this front end from the next login on; others have stores of their own.\n");
}

static void allow(struct mauth_command *cmd, const char *protocol, struct mauth_admin_field *fields,
		  const char **commit)
{
	struct preview preview = { .rows = t_str_new(1024) };
	const struct mauth_admin_reply *reply;
	bool good;

	*commit = "no";
	good = mauth_command_connect(cmd, 0) && ask_preview(cmd, fields, &preview);
	/* Whoever reads and types may take his time. */
	mauth_command_deinit(cmd);
	if (!good)
		return;
	if (cmd->is_cli)
		show_preview(cmd->cctx, protocol, &preview);
	if (!acknowledge(cmd->cctx, protocol, &preview))
		return;
	*commit = "yes";
	if (mauth_command_connect(cmd, 0) && mauth_command_ask(cmd, "ALLOW", fields) && mauth_command_ok(cmd, &reply))
		print_allowed(cmd, reply, &preview);
	mauth_command_deinit(cmd);
}

void mauth_cmd_allow(struct doveadm_cmd_context *cctx)
{
	const char *protocol = mauth_command_need(cctx, "protocol");
	const char *until = protocol == NULL ? NULL : mauth_command_need(cctx, "until");
	const char *reason = until == NULL ? NULL : mauth_command_need(cctx, "reason");
	struct mauth_admin_field fields[] = {
		{ "commit", NULL }, { "protocol", protocol }, { "until", until }, { "reason", reason },
		{ "user", mauth_command_str(cctx, "user") }, { "network", mauth_command_str(cctx, "network") },
		{ "action", mauth_command_str(cctx, "action") }, { "by", NULL }, { NULL, NULL }
	};
	struct mauth_command cmd;
	int64_t day;

	if (reason == NULL || !mauth_command_init(&cmd, cctx))
		return;
	if (!mauth_date_parse(until, &day)) {
		i_error("--until: not a date like 2027-03-31: %s", mauth_show(until));
		doveadm_exit_code = EX_USAGE;
		return;
	}
	if (fields[6].value != NULL && strcmp(fields[6].value, "upgrade") != 0 &&
	    strcmp(fields[6].value, "basic") != 0) {
		i_error("--action: upgrade or basic was expected: %s", mauth_show(fields[6].value));
		doveadm_exit_code = EX_USAGE;
		return;
	}
	fields[7].value = mauth_command_admin_name(cctx);
	allow(&cmd, protocol, fields, &fields[0].value);
}

/* --- disallow ------------------------------------------------------------------------------------------------ */

void mauth_cmd_disallow(struct doveadm_cmd_context *cctx)
{
	static const struct mauth_column columns[] = { { .key = "exception" }, { .key = "state" }, MAUTH_COLUMNS_END };
	const char *exception = mauth_command_need(cctx, "exception");
	const struct mauth_admin_field fields[] = {
		{ "exception", exception }, { "by", exception == NULL ? NULL : mauth_command_admin_name(cctx) }, { NULL, NULL }
	};
	const struct mauth_admin_reply *reply;
	struct mauth_command cmd;

	if (exception == NULL || !mauth_command_init(&cmd, cctx))
		return;
	if (mauth_command_connect(&cmd, 0) && mauth_command_ask(&cmd, "DISALLOW", fields) &&
	    mauth_command_ok(&cmd, &reply)) {
		mauth_command_headers(&cmd, columns);
		mauth_command_print(&cmd, exception);
		mauth_command_print(&cmd, "removed");
	}
	mauth_command_deinit(&cmd);
}
