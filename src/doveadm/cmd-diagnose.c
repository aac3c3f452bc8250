/* SPDX-License-Identifier: MIT */
/* diagnose: tests from Dovecot's configuration to the mailbox, and what to do about those that fail. What needs tokens
 * is tested by the broker, where they stay. */
#include "lib.h"
#include "askpass.h"
#include "safe-memset.h"
#include "doveadm-print.h"

#include "doveadm/diagnose.h"

#include <stdio.h>
#include <unistd.h>

/* The slowest of the broker's checks takes 30 s, and says so before. */
#define SILENCE_MSECS 60000u

/* From the terminal without an echo, or a line of stdin. On the data stack; NULL: it has been said why there is none.
 */
static char *ask_password(const char *user)
{
	char *password;
	size_t size;

	if (user == NULL || *user == '\0') {
		i_error("diagnose: --password-prompt needs --user");
		doveadm_exit_code = EX_USAGE;
		return NULL;
	}
	if (isatty(STDIN_FILENO) > 0)
		return t_strdup_noconst(t_askpass(t_strdup_printf("Password of %s: ", mauth_show(user))));
	password = t_malloc0(MAUTH_PASSWORD_MAX + 2);
	if (fgets(password, MAUTH_PASSWORD_MAX + 2, stdin) == NULL) {
		i_error("diagnose: no password on stdin");
		doveadm_exit_code = EX_USAGE;
		return NULL;
	}
	size = strcspn(password, "\r\n");
	password[size] = '\0';
	return password;
}

static bool parse_result(const char *word, enum mauth_findings_result *result_r)
{
	static const char *const words[MAUTH_FINDING_COUNT] = { "pass", "warn", "fail", "skip" };

	for (unsigned int i = 0; word != NULL && i < N_ELEMENTS(words); i++) {
		if (strcmp(words[i], word) == 0) {
			*result_r = (enum mauth_findings_result)i;
			return TRUE;
		}
	}
	return FALSE;
}

/* A request that fails as a whole is a row, too. */
static void report_failure(struct mauth_findings *report, const struct mauth_error *error)
{
	bool about_user = error->status == MAUTH_USER_UNKNOWN || error->status == MAUTH_NOT_OURS;
	const char *fix = error->advice, *check;

	check = about_user ? "user" : error->status == MAUTH_CONFIG ? "configuration" : "broker";
	if (*fix == '\0' && about_user)
		fix = "add the user's domain to \"domains\" of a tenant in modernauth.conf; doveadm reload";
	else if (*fix == '\0' && error->status == MAUTH_CONFIG)
		fix = "mend modernauth.conf or the file that it names; doveadm reload";
	mauth_findings_say(report, MAUTH_FINDING_FAIL, check, fix, "%s", error->text);
}

static void report_broker(struct mauth_findings *report, const struct mauth_error *error)
{
	const char *fix = error->advice;

	if (error->code == ENOENT || error->code == ECONNREFUSED)
		fix = "systemctl start dovecot; if it runs: doveadm service status modernauth, doveadm log errors, and "
		      "the service modernauth of conf.d/10-modernauth.conf must be in doveconf -n";
	else if (error->code == EACCES || error->code == EPERM)
		fix = "run doveadm as root";
	else if (*fix == '\0')
		fix = "doveadm log errors; systemctl restart dovecot";
	mauth_findings_say(report, MAUTH_FINDING_FAIL, "broker", fix, "the broker does not answer: %s", error->text);
}

static bool take_row(struct mauth_findings *report, const struct mauth_admin_reply *reply)
{
	struct mauth_findings_row row = {
		.check = mauth_admin_get(reply, "check"), .tenant = mauth_admin_get(reply, "tenant"),
		.subject = mauth_admin_get(reply, "subject"), .seen = mauth_admin_get(reply, "seen"),
		.fix = mauth_admin_get(reply, "fix"),
	};

	if (row.check == NULL || row.seen == NULL || !parse_result(mauth_admin_get(reply, "result"), &row.result)) {
		mauth_findings_say(report, MAUTH_FINDING_FAIL, "broker",
				 "install doveadm's plugin and the broker from the same version, then restart Dovecot",
				 "it says something that cannot be understood");
		return FALSE;
	}
	mauth_findings_add(report, &row);
	return TRUE;
}

/* One line of the broker. False at the end. */
static bool take_line(struct mauth_findings *report, struct mauth_command *cmd)
{
	const struct mauth_admin_reply *reply;
	const char *check, *tenant;
	struct mauth_error error;
	enum mauth_status status;

	i_zero(&error);
	status = mauth_admin_next(cmd->admin, I_MAX(cmd->timeout_msecs, SILENCE_MSECS), &reply, &error);
	if (status == MAUTH_CANCELLED) {
		mauth_findings_say(report, MAUTH_FINDING_WARN, "broker", NULL,
				 "stopped by a signal: the rest was not tested");
		return FALSE;
	}
	if (status != MAUTH_OK) {
		report_broker(report, &error);
		return FALSE;
	}
	switch (reply->kind) {
	case MAUTH_ADMIN_ROW:
		return take_row(report, reply);
	case MAUTH_ADMIN_NOTE:
		check = mauth_admin_get(reply, "check");
		tenant = mauth_admin_get(reply, "tenant");
		T_BEGIN {
			mauth_findings_progress(report, t_strconcat(check == NULL ? "?" : check,
								  tenant == NULL ? "" : " of ", tenant, NULL));
		} T_END;
		return TRUE;
	case MAUTH_ADMIN_FAIL:
		report_failure(report, &reply->error);
		return FALSE;
	case MAUTH_ADMIN_CODE:
		return TRUE;
	case MAUTH_ADMIN_OK:
		break;
	}
	return FALSE;
}

static void ask_broker(struct mauth_findings *report, struct mauth_command *cmd, const struct mauth_admin_field *fields)
{
	struct mauth_error error;
	uint32_t id;

	i_zero(&error);
	if (mauth_admin_ask(cmd->admin, "DIAGNOSE", fields, &id, &error) != MAUTH_OK) {
		report_broker(report, &error);
		return;
	}
	while (take_line(report, cmd))
		;
}

void mauth_cmd_diagnose(struct doveadm_cmd_context *cctx)
{
	const char *user = mauth_command_str(cctx, "user"), *login_ca;
	struct mauth_command cmd;
	struct mauth_findings report;
	struct mauth_error error;
	char *password = NULL;
	bool connected;

	if (mauth_command_bool(cctx, "json") && !doveadm_print_is_initialized())
		doveadm_print_init(DOVEADM_PRINT_TYPE_JSON);
	if (!mauth_command_init(&cmd, cctx))
		return;
	if (mauth_command_bool(cctx, "password-prompt") && (!cmd.is_cli || (password = ask_password(user)) == NULL)) {
		if (doveadm_exit_code == 0)
			doveadm_exit_code = EX_USAGE;
		return;
	}
	mauth_findings_init(&report, &cmd);
	i_zero(&error);
	connected = mauth_command_try_connect(&cmd, 0, &error);
	if (connected)
		mauth_findings_say(&report, MAUTH_FINDING_PASS, "broker", NULL, "it answers");
	else
		report_broker(&report, &error);
	mauth_diagnose_local(&report, &login_ca);
	if (connected)
		ask_broker(&report, &cmd, (const struct mauth_admin_field[]){
			{ "user", user }, { "tenant", mauth_command_str(cctx, "tenant") }, { "login_ca", login_ca },
			{ "password", password }, { NULL, NULL } });
	if (password != NULL)
		safe_memset(password, 0, strlen(password));
	mauth_findings_end(&report);
	mauth_command_deinit(&cmd);
}
