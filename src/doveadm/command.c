/* SPDX-License-Identifier: MIT */
#include "lib.h"
#include "doveadm-print.h"
#include "doveadm-settings.h"

#include "doveadm/command.h"
#include "doveadm/term.h"

#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SOCKET_NAME "modernauth-admin"
#define TIMEOUT_SECS 30
#define TIMEOUT_SECS_MAX 86400

/* --- arguments ----------------------------------------------------------------------------------------------- */

const char *mauth_command_str(const struct doveadm_cmd_context *cctx, const char *name)
{
	const char *value;

	return doveadm_cmd_param_str(cctx, name, &value) ? value : NULL;
}

bool mauth_command_bool(const struct doveadm_cmd_context *cctx, const char *name)
{
	bool value;

	return doveadm_cmd_param_bool(cctx, name, &value) && value;
}

const char *mauth_command_need(const struct doveadm_cmd_context *cctx, const char *name)
{
	const char *value = mauth_command_str(cctx, name);

	if (value != NULL && *value != '\0')
		return value;
	/* Does not return; and would take a doveadm server with it. */
	if (cctx->conn_type == DOVEADM_CONNECTION_TYPE_CLI)
		help_ver2(cctx->cmd);
	i_error("%s: no %s given", cctx->cmd->name, name);
	doveadm_exit_code = EX_USAGE;
	return NULL;
}

/* Who sits there. doveadm has thrown most of its environment away by now (import_environment), but the kernel remembers
 * who has logged in, through sudo, too. Root may say what he likes; the broker writes down the uid beside it. */
const char *mauth_command_admin_name(const struct doveadm_cmd_context *cctx)
{
	const char *sudo = getenv("SUDO_USER");
	const struct passwd *user;
	char login[256];

	if (cctx->conn_type != DOVEADM_CONNECTION_TYPE_CLI)
		return "doveadm-server";
	if (sudo != NULL && *sudo != '\0')
		return t_strdup(sudo);
	if (getlogin_r(login, sizeof(login)) == 0)
		return t_strdup(login);
	user = getpwuid(getuid());
	return user != NULL ? t_strdup(user->pw_name) : t_strdup_printf("uid %u", (unsigned int)getuid());
}

bool mauth_command_init(struct mauth_command *cmd, struct doveadm_cmd_context *cctx)
{
	const char *timeout = mauth_command_str(cctx, "timeout");
	int64_t secs = TIMEOUT_SECS;

	i_zero(cmd);
	cmd->cctx = cctx;
	cmd->is_cli = cctx->conn_type == DOVEADM_CONNECTION_TYPE_CLI;
	/* A table with holes is hard to read; programs and those who chose a format get an empty text. */
	cmd->unknown = doveadm_print_is_initialized() ? "" : "-";
	if (timeout != NULL && (!mauth_interval_parse(timeout, &secs) || secs < 1 || secs > TIMEOUT_SECS_MAX)) {
		i_error("--timeout: not a time like 30s or 5m: %s", mauth_show(timeout));
		doveadm_exit_code = EX_USAGE;
		return FALSE;
	}
	cmd->timeout_msecs = (unsigned int)secs * 1000;
	return TRUE;
}

/* --- the broker ---------------------------------------------------------------------------------------------- */

static void fail_connect(struct mauth_error *error)
{
	const char *advice = "";

	if (error->code == ENOENT || error->code == ECONNREFUSED) {
		advice = "check that Dovecot is running (doveadm service status modernauth) and that its configuration "
			"has the service modernauth with the unix_listener "SOCKET_NAME" (doveconf service/modernauth)";
	} else if (error->code == EACCES || error->code == EPERM) {
		advice = "run doveadm as root";
	}
	if (error->advice[0] == '\0')
		i_snprintf(error->advice, sizeof(error->advice), "%s", advice);
	mauth_command_fail(error);
	if (error->code == EACCES || error->code == EPERM)
		doveadm_exit_code = EX_NOPERM;
	else if (error->code != 0)
		doveadm_exit_code = EX_UNAVAILABLE;
}

bool mauth_command_try_connect(struct mauth_command *cmd, unsigned int window, struct mauth_error *error_r)
{
	enum mauth_status status;

	/* A doveadm server has handlers of its own. */
	status = mauth_admin_open(&(struct mauth_admin_settings){
		.path = t_strconcat(doveadm_settings->base_dir, "/"SOCKET_NAME, NULL),
		.name = cmd->is_cli ? "doveadm" : "doveadm-server",
		.by = mauth_command_admin_name(cmd->cctx),
		.timeout_msecs = cmd->timeout_msecs,
		.window = window,
		.stop_fd = cmd->is_cli ? mauth_stop_begin() : NULL,
	}, &cmd->admin, error_r);
	if (status == MAUTH_OK)
		return TRUE;
	if (cmd->is_cli)
		mauth_stop_end();
	return FALSE;
}

bool mauth_command_connect(struct mauth_command *cmd, unsigned int window)
{
	struct mauth_error error;

	i_zero(&error);
	if (mauth_command_try_connect(cmd, window, &error))
		return TRUE;
	fail_connect(&error);
	return FALSE;
}

void mauth_command_deinit(struct mauth_command *cmd)
{
	if (cmd->admin != NULL && cmd->is_cli)
		mauth_stop_end();
	mauth_admin_close(&cmd->admin);
}

bool mauth_command_ask(struct mauth_command *cmd, const char *verb, const struct mauth_admin_field *fields)
{
	struct mauth_error error;
	uint32_t id;

	i_zero(&error);
	if (mauth_admin_ask(cmd->admin, verb, fields, &id, &error) == MAUTH_OK)
		return TRUE;
	mauth_command_fail(&error);
	return FALSE;
}

bool mauth_command_next(struct mauth_command *cmd, const struct mauth_admin_reply **reply_r)
{
	struct mauth_error error;

	i_zero(&error);
	if (mauth_admin_next(cmd->admin, cmd->timeout_msecs, reply_r, &error) != MAUTH_OK) {
		mauth_command_fail(&error);
		return FALSE;
	}
	if ((*reply_r)->kind != MAUTH_ADMIN_FAIL)
		return TRUE;
	mauth_command_fail(&(*reply_r)->error);
	return FALSE;
}

bool mauth_command_ok(struct mauth_command *cmd, const struct mauth_admin_reply **reply_r)
{
	do {
		if (!mauth_command_next(cmd, reply_r))
			return FALSE;
	} while ((*reply_r)->kind != MAUTH_ADMIN_OK);
	return TRUE;
}

/* --- failing ------------------------------------------------------------------------------------------------- */

int mauth_command_exit_code(enum mauth_status status)
{
	switch (status) {
	case MAUTH_OK:
		return 0;
	case MAUTH_USER_UNKNOWN:
	case MAUTH_NOT_OURS:
		return EX_NOUSER;
	case MAUTH_BAD_CREDENTIALS:
	case MAUTH_DISABLED:
	case MAUTH_EXPIRED:
	case MAUTH_INTERACTION:
	case MAUTH_POLICY:
		return EX_NOPERM;
	case MAUTH_CONFIG:
		return EX_CONFIG;
	case MAUTH_PROTOCOL:
		return EX_PROTOCOL;
	case MAUTH_LOCKED:
	case MAUTH_TEMPORARY:
	case MAUTH_TIMEOUT:
	case MAUTH_AUDIT:
	case MAUTH_CANCELLED:
		return EX_TEMPFAIL;
	case MAUTH_STATUS_COUNT:
		break;
	}
	return EX_SOFTWARE;
}

void mauth_command_fail(const struct mauth_error *error)
{
	T_BEGIN {
		if (error->advice[0] != '\0')
			i_error("%s; to do: %s", mauth_show(error->text), mauth_show(error->advice));
		else
			i_error("%s", mauth_show(error->text));
	} T_END;
	doveadm_exit_code = mauth_command_exit_code(error->status);
}

void mauth_command_fail_text(enum mauth_status status, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	T_BEGIN {
		i_error("%s", mauth_show(t_strdup_vprintf(fmt, args)));
	} T_END;
	va_end(args);
	doveadm_exit_code = mauth_command_exit_code(status);
}

/* --- printing ------------------------------------------------------------------------------------------------ */

void mauth_command_headers(struct mauth_command *cmd, const struct mauth_column *columns)
{
	if (cmd->printing)
		return;
	cmd->printing = TRUE;
	doveadm_print_init(DOVEADM_PRINT_TYPE_TABLE);
	for (; columns->key != NULL; columns++)
		doveadm_print_header(columns->key, columns->key, columns->cell == MAUTH_CELL_COUNT ?
				     DOVEADM_PRINT_HEADER_FLAG_NUMBER : 0);
}

void mauth_command_print(struct mauth_command *cmd, const char *text)
{
	doveadm_print(text == NULL || *text == '\0' ? cmd->unknown : mauth_show(text));
}

void mauth_command_print_time(struct mauth_command *cmd, int64_t time)
{
	char text[MAUTH_TIME_SIZE];

	mauth_time_text(time, text);
	mauth_command_print(cmd, t_strdup(text));
}

void mauth_command_note_password(void)
{
	doveadm_print_flush();
	(void)fflush(stdout);
	fprintf(stderr, "The device password is not shown again.\n");
}

static void print_cell(struct mauth_command *cmd, const struct mauth_column *column,
		       const struct mauth_admin_reply *reply)
{
	int64_t num = 0;

	switch (column->cell) {
	case MAUTH_CELL_TEXT:
		mauth_command_print(cmd, mauth_admin_get(reply, column->key));
		break;
	case MAUTH_CELL_TIME:
		(void)mauth_admin_num(reply, column->key, &num);
		mauth_command_print_time(cmd, num);
		break;
	case MAUTH_CELL_COUNT:
		(void)mauth_admin_num(reply, column->key, &num);
		doveadm_print_num((uintmax_t)num);
		break;
	}
}

bool mauth_command_row(struct mauth_command *cmd, const struct mauth_column *columns,
		       const struct mauth_admin_reply *reply)
{
	int64_t num;

	/* A number that is not there is not 0, and formats for programs have no other way to say it. */
	for (const struct mauth_column *column = columns; column->key != NULL; column++) {
		if (column->cell == MAUTH_CELL_COUNT && !mauth_admin_num(reply, column->key, &num)) {
			mauth_command_fail_text(MAUTH_PROTOCOL, "the broker's answer has no number of %s", column->key);
			return FALSE;
		}
	}
	mauth_command_headers(cmd, columns);
	T_BEGIN {
		for (; columns->key != NULL; columns++)
			print_cell(cmd, columns, reply);
	} T_END;
	return TRUE;
}

bool mauth_command_rows(struct mauth_command *cmd, const char *verb, const struct mauth_admin_field *fields,
			const struct mauth_column *columns)
{
	const struct mauth_admin_reply *reply;
	int64_t rows = 0, said;

	if (!mauth_command_ask(cmd, verb, fields))
		return FALSE;
	for (;;) {
		if (!mauth_command_next(cmd, &reply))
			return FALSE;
		if (reply->kind == MAUTH_ADMIN_OK)
			break;
		if (reply->kind == MAUTH_ADMIN_ROW) {
			if (!mauth_command_row(cmd, columns, reply))
				return FALSE;
			rows++;
		}
	}
	mauth_command_headers(cmd, columns);
	if (mauth_admin_num(reply, "rows", &said) && said != rows) {
		mauth_command_fail_text(MAUTH_PROTOCOL, "the broker sent %lld rows and says they are %lld",
					(long long)rows, (long long)said);
		return FALSE;
	}
	return TRUE;
}

char *mauth_command_audit_path(struct mauth_command *cmd)
{
	static const struct mauth_admin_field no_fields[] = { { NULL, NULL } };
	const struct mauth_admin_reply *reply;
	char *path = NULL;

	if (mauth_command_connect(cmd, 0) && mauth_command_ask(cmd, "AUDIT", no_fields) && mauth_command_ok(cmd, &reply))
		path = i_strdup(mauth_admin_get(reply, "path"));
	mauth_command_deinit(cmd);
	return path;
}

bool mauth_command_password(struct mauth_command *cmd, const char *key, struct mauth_secret **secret_r)
{
	struct mauth_secret *secret = mauth_admin_secret(cmd->admin, key);
	const char *text;

	*secret_r = NULL;
	if (secret == NULL)
		return TRUE;
	/* It is shown as it is. */
	for (text = mauth_secret_expose(secret); *text > ' ' && *text <= '~'; text++)
		;
	if (*text == '\0' && (size_t)(text - mauth_secret_expose(secret)) == mauth_secret_size(secret)) {
		*secret_r = secret;
		return TRUE;
	}
	mauth_secret_free(&secret);
	mauth_command_fail_text(MAUTH_PROTOCOL, "the broker's answer has a password that nobody can type");
	return FALSE;
}
