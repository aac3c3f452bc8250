/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_DOVEADM_COMMAND_H
#define MAUTH_DOVEADM_COMMAND_H
/* What the commands of "doveadm modernauth" share: their arguments, the broker, printing, failing. */

#include "doveadm.h"

#include "modernauth/admin.h"

/* Exported by each file of commands, registered by doveadm-modernauth.c. */
void mauth_cmd_status(struct doveadm_cmd_context *cctx);
void mauth_cmd_list(struct doveadm_cmd_context *cctx);
void mauth_cmd_show(struct doveadm_cmd_context *cctx);
void mauth_cmd_explain(struct doveadm_cmd_context *cctx);
void mauth_cmd_forget(struct doveadm_cmd_context *cctx);
void mauth_cmd_revoke(struct doveadm_cmd_context *cctx);
void mauth_cmd_enroll(struct doveadm_cmd_context *cctx);
void mauth_cmd_device_add(struct doveadm_cmd_context *cctx);
void mauth_cmd_device_list(struct doveadm_cmd_context *cctx);
void mauth_cmd_device_remove(struct doveadm_cmd_context *cctx);
void mauth_cmd_device_expire(struct doveadm_cmd_context *cctx);
void mauth_cmd_allow(struct doveadm_cmd_context *cctx);
void mauth_cmd_disallow(struct doveadm_cmd_context *cctx);
void mauth_cmd_policy(struct doveadm_cmd_context *cctx);
void mauth_cmd_store_rekey(struct doveadm_cmd_context *cctx);
void mauth_cmd_store_export(struct doveadm_cmd_context *cctx);
void mauth_cmd_store_import(struct doveadm_cmd_context *cctx);
void mauth_cmd_report(struct doveadm_cmd_context *cctx);
void mauth_cmd_inventory_forget(struct doveadm_cmd_context *cctx);
void mauth_cmd_move_batch(struct doveadm_cmd_context *cctx);
void mauth_cmd_relay_add(struct doveadm_cmd_context *cctx);
void mauth_cmd_relay_list(struct doveadm_cmd_context *cctx);
void mauth_cmd_relay_remove(struct doveadm_cmd_context *cctx);
void mauth_cmd_diagnose(struct doveadm_cmd_context *cctx);
void mauth_cmd_audit_verify(struct doveadm_cmd_context *cctx);
void mauth_cmd_audit_export(struct doveadm_cmd_context *cctx);
void mauth_cmd_tail(struct doveadm_cmd_context *cctx);
void mauth_cmd_audit_reveal(struct doveadm_cmd_context *cctx);
void mauth_cmd_audit_erase(struct doveadm_cmd_context *cctx);

struct mauth_command {
	struct doveadm_cmd_context *cctx;
	struct mauth_admin *admin;
	unsigned int timeout_msecs;      /* how long the broker may be silent */
	bool is_cli;                     /* not the doveadm server: there is a person, a terminal, files of theirs */
	bool printing;                   /* headers are out */
	const char *unknown;             /* printed for what is not known */
};

/* A text argument; NULL if it was not given. */
const char *mauth_command_str(const struct doveadm_cmd_context *cctx, const char *name);
bool mauth_command_bool(const struct doveadm_cmd_context *cctx, const char *name);
/* Who sits there, for the record. */
const char *mauth_command_admin_name(const struct doveadm_cmd_context *cctx);
/* A text argument that must be given: the usage is printed without it, and NULL returned by a doveadm server. */
const char *mauth_command_need(const struct doveadm_cmd_context *cctx, const char *name);

/* Reads what all commands have. false, here as below: it has been said why and doveadm's exit status is set. */
bool mauth_command_init(struct mauth_command *cmd, struct doveadm_cmd_context *cctx);
/* Connects to the broker; window as in admin.h. mauth_command_deinit() follows in any case. */
bool mauth_command_connect(struct mauth_command *cmd, unsigned int window);
/* The same without a word about why not. */
bool mauth_command_try_connect(struct mauth_command *cmd, unsigned int window, struct mauth_error *error_r);
void mauth_command_deinit(struct mauth_command *cmd);

/* One request. */
bool mauth_command_ask(struct mauth_command *cmd, const char *verb, const struct mauth_admin_field *fields);
/* The next line to it, which is no FAIL. */
bool mauth_command_next(struct mauth_command *cmd, const struct mauth_admin_reply **reply_r);
/* The same without a line in between: only OK. */
bool mauth_command_ok(struct mauth_command *cmd, const struct mauth_admin_reply **reply_r);

/* Says error and sets the exit status that fits. */
void mauth_command_fail(const struct mauth_error *error);
void mauth_command_fail_text(enum mauth_status status, const char *fmt, ...) ATTR_FORMAT(2, 3);
int mauth_command_exit_code(enum mauth_status status);

enum mauth_cell { MAUTH_CELL_TEXT, MAUTH_CELL_TIME, MAUTH_CELL_COUNT };
struct mauth_column {
	const char *key;                 /* in the reply, and the title */
	enum mauth_cell cell;
};
#define MAUTH_COLUMNS_END { NULL, MAUTH_CELL_TEXT }
/* Prints the headers if they are not out yet. */
void mauth_command_headers(struct mauth_command *cmd, const struct mauth_column *columns);
/* Prints what reply has for columns. */
bool mauth_command_row(struct mauth_command *cmd, const struct mauth_column *columns,
		       const struct mauth_admin_reply *reply);
/* Says, after what has been printed, that a device password in it is shown this once. */
void mauth_command_note_password(void);
/* One cell; NULL and "" are not known. */
void mauth_command_print(struct mauth_command *cmd, const char *text);
void mauth_command_print_time(struct mauth_command *cmd, int64_t time);
/* Asks and prints each ROW; OK must count them. */
bool mauth_command_rows(struct mauth_command *cmd, const char *verb, const struct mauth_admin_field *fields,
			const struct mauth_column *columns);

/* Where the broker writes its records, for i_free(); NULL: it has been said why nobody knows. */
char *mauth_command_audit_path(struct mauth_command *cmd);

/* The password called key in the reply ("device_password"), which the caller frees; *secret_r is NULL if there is none. */
bool mauth_command_password(struct mauth_command *cmd, const char *key, struct mauth_secret **secret_r);

#endif
