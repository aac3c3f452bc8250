/* SPDX-License-Identifier: MIT */
/* What would become of a login, and why: explain. */
#include "lib.h"

#include "doveadm/command.h"
#include "doveadm/term.h"

/* What most clients come with, and what the first lines of the answer say was asked. */
#define TLS_DEFAULT "TLSv1.3"
#define MECHANISM_DEFAULT "PLAIN"

void mauth_cmd_explain(struct doveadm_cmd_context *cctx)
{
	static const struct mauth_column columns[] = {
		{ .key = "item" }, { .key = "name" }, { .key = "value" }, MAUTH_COLUMNS_END
	};
	const char *user = mauth_command_need(cctx, "user");
	const char *protocol = user == NULL ? NULL : mauth_command_need(cctx, "protocol");
	const char *tls = mauth_command_str(cctx, "tls"), *mechanism = mauth_command_str(cctx, "mechanism");
	const char *at = mauth_command_str(cctx, "at");
	bool has_tls = tls == NULL || strcasecmp(tls, "none") != 0;
	struct mauth_command cmd;
	int64_t when = 0;

	if (user == NULL || protocol == NULL || !mauth_command_init(&cmd, cctx))
		return;
	if (at != NULL && !mauth_when_parse(at, &when)) {
		i_error("--at: not a time like 2026-11-26T10:00:00Z or 2026-11-26T10:00: %s", mauth_show(at));
		doveadm_exit_code = EX_USAGE;
		return;
	}
	const struct mauth_admin_field fields[] = {
		{ "user", user }, { "service", protocol }, { "rip", mauth_command_str(cctx, "ip") },
		{ "tls", has_tls ? "yes" : NULL }, { "tls_protocol", !has_tls ? NULL : tls == NULL ? TLS_DEFAULT : tls },
		{ "mech", mechanism == NULL ? MECHANISM_DEFAULT : mechanism },
		{ "client_id", mauth_command_str(cctx, "client-id") },
		{ "at", at == NULL ? NULL : t_strdup_printf("%lld", (long long)when) },
		{ "verbose", mauth_command_bool(cctx, "verbose") ? "yes" : NULL }, { NULL, NULL }
	};
	if (mauth_command_connect(&cmd, 0))
		(void)mauth_command_rows(&cmd, "EXPLAIN", fields, columns);
	mauth_command_deinit(&cmd);
}
