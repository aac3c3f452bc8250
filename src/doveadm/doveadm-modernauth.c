/* SPDX-License-Identifier: MIT */
/* lib50_doveadm_modernauth_plugin.so: "doveadm modernauth ...", on the command line, and through the doveadm server and
 * its HTTP API. All of it asks the broker. */
#include "lib.h"
#include "module-dir.h"

#include "doveadm/command.h"

extern MAUTH_EXPORT const char *doveadm_modernauth_plugin_version;
MAUTH_EXPORT void doveadm_modernauth_plugin_init(struct module *module);
MAUTH_EXPORT void doveadm_modernauth_plugin_deinit(void);

const char *doveadm_modernauth_plugin_version = DOVECOT_ABI_VERSION;

#define STR(name) DOVEADM_CMD_PARAM('\0', name, CMD_PARAM_STR, 0)
#define BOOL(name) DOVEADM_CMD_PARAM('\0', name, CMD_PARAM_BOOL, 0)
#define POSITIONAL(name) DOVEADM_CMD_PARAM('\0', name, CMD_PARAM_STR, CMD_PARAM_FLAG_POSITIONAL)
#define END STR("timeout") DOVEADM_CMD_PARAMS_END

static struct doveadm_cmd_ver2 commands[] = { {
	.name = "modernauth status",
	.cmd = mauth_cmd_status,
	.usage = "[--timeout <30s>]",
DOVEADM_CMD_PARAMS_START
END
}, {
	.name = "modernauth list",
	.cmd = mauth_cmd_list,
	.usage = "[--expiring <14d>] [--tenant <tenant>]",
DOVEADM_CMD_PARAMS_START
STR("expiring")
STR("tenant")
END
}, {
	.name = "modernauth show",
	.cmd = mauth_cmd_show,
	.usage = "<user>",
DOVEADM_CMD_PARAMS_START
POSITIONAL("user")
END
}, {
	.name = "modernauth explain",
	.cmd = mauth_cmd_explain,
	.usage = "--user <user> --protocol <imap|pop3|submission> [--ip <address>] [--tls <none|TLSv1.2>] [--mechanism <PLAIN>] "
		"[--client-id <text>] [--at <time>] [--verbose]",
DOVEADM_CMD_PARAMS_START
STR("user")
STR("protocol")
STR("ip")
STR("tls")
STR("mechanism")
STR("client-id")
STR("at")
BOOL("verbose")
END
}, {
	.name = "modernauth forget",
	.cmd = mauth_cmd_forget,
	.usage = "<user>",
DOVEADM_CMD_PARAMS_START
POSITIONAL("user")
END
}, {
	.name = "modernauth revoke",
	.cmd = mauth_cmd_revoke,
	.usage = "[--yes] <user>",
DOVEADM_CMD_PARAMS_START
POSITIONAL("user")
BOOL("yes")
END
}, {
	.name = "modernauth enroll",
	.cmd = mauth_cmd_enroll,
	.usage = "[--tenant <tenant>] [--account <account>] [--mailbox <mailbox>] [--device <name>] <user> | "
		"--batch <file.csv> [--output <file.csv>] [--tenant <tenant>] [--device <name>]",
DOVEADM_CMD_PARAMS_START
POSITIONAL("user")
STR("tenant")
STR("account")
STR("mailbox")
STR("device")
STR("batch")
STR("output")
END
}, {
	.name = "modernauth device add",
	.cmd = mauth_cmd_device_add,
	.usage = "[--networks <ip/bits,..>] [--protocols <imap,pop3,submission>] [--expires <YYYY-MM-DD>] "
		"<user> <name>",
DOVEADM_CMD_PARAMS_START
POSITIONAL("user")
POSITIONAL("name")
STR("networks")
STR("protocols")
STR("expires")
END
}, {
	.name = "modernauth device list",
	.cmd = mauth_cmd_device_list,
	.usage = "[<user>]",
DOVEADM_CMD_PARAMS_START
POSITIONAL("user")
END
}, {
	.name = "modernauth device remove",
	.cmd = mauth_cmd_device_remove,
	.usage = "<user> <device id or name>",
DOVEADM_CMD_PARAMS_START
POSITIONAL("user")
POSITIONAL("device")
END
}, {
	.name = "modernauth device expire",
	.cmd = mauth_cmd_device_expire,
	.usage = "[--at <YYYY-MM-DD>|now] <user> <device id or name>",
DOVEADM_CMD_PARAMS_START
POSITIONAL("user")
POSITIONAL("device")
STR("at")
END
}, {
	.name = "modernauth policy",
	.cmd = mauth_cmd_policy,
	.usage = "",
DOVEADM_CMD_PARAMS_START
END
}, {
	.name = "modernauth allow",
	.cmd = mauth_cmd_allow,
	.usage = "--protocol <imap|pop3|submission> [--user <pattern>] [--network <ip/bits>] [--action upgrade|basic] "
		"--until <YYYY-MM-DD> --reason <text> [--yes]",
DOVEADM_CMD_PARAMS_START
STR("protocol")
STR("user")
STR("network")
STR("action")
STR("until")
STR("reason")
BOOL("yes")
END
}, {
	.name = "modernauth disallow",
	.cmd = mauth_cmd_disallow,
	.usage = "<exception id>",
DOVEADM_CMD_PARAMS_START
POSITIONAL("exception")
END
}, {
	.name = "modernauth store rekey",
	.cmd = mauth_cmd_store_rekey,
	.usage = "",
DOVEADM_CMD_PARAMS_START
END
}, {
	.name = "modernauth store export",
	.cmd = mauth_cmd_store_export,
	.usage = "[--force] <file>",
DOVEADM_CMD_PARAMS_START
POSITIONAL("file")
BOOL("force")
END
}, {
	.name = "modernauth store import",
	.cmd = mauth_cmd_store_import,
	.usage = "[--replace] <file>",
DOVEADM_CMD_PARAMS_START
POSITIONAL("file")
BOOL("replace")
END
}, {
	.name = "modernauth report",
	.cmd = mauth_cmd_report,
	.usage = "[--since <30d>] [--group-by user|protocol|client|network|day|none] [--tenant <tenant>] [--user <pattern>] "
		"[--protocol <protocol>] [--network <ip/bits>] [--working] [--csv | --html <file>]",
DOVEADM_CMD_PARAMS_START
STR("since")
STR("group-by")
STR("tenant")
STR("user")
STR("protocol")
STR("network")
BOOL("working")
BOOL("csv")
STR("html")
END
}, {
	.name = "modernauth inventory forget",
	.cmd = mauth_cmd_inventory_forget,
	.usage = "<user> [--tenant <tenant>] | --all",
DOVEADM_CMD_PARAMS_START
POSITIONAL("user")
STR("tenant")
BOOL("all")
END
}, {
	.name = "modernauth move-batch",
	.cmd = mauth_cmd_move_batch,
	.usage = "--at <YYYY-MM-DDThh:mm:ssZ>|now [--to cloud|onprem] <file>",
DOVEADM_CMD_PARAMS_START
POSITIONAL("file")
STR("at")
STR("to")
END
}, {
	.name = "modernauth relay add",
	.cmd = mauth_cmd_relay_add,
	.usage = "--identity <pattern> [--identity <pattern> ..] [--until <YYYY-MM-DD>] <name>",
DOVEADM_CMD_PARAMS_START
POSITIONAL("name")
DOVEADM_CMD_PARAM('\0', "identity", CMD_PARAM_ARRAY, 0)
STR("until")
END
}, {
	.name = "modernauth relay list",
	.cmd = mauth_cmd_relay_list,
	.usage = "",
DOVEADM_CMD_PARAMS_START
END
}, {
	.name = "modernauth relay remove",
	.cmd = mauth_cmd_relay_remove,
	.usage = "<name or id>",
DOVEADM_CMD_PARAMS_START
POSITIONAL("key")
END
}, {
	.name = "modernauth diagnose",
	.cmd = mauth_cmd_diagnose,
	.usage = "[--tenant <tenant>] [--user <user> [--password-prompt]] [--json]",
DOVEADM_CMD_PARAMS_START
STR("tenant")
STR("user")
BOOL("password-prompt")
BOOL("json")
END
}, {
	.name = "modernauth audit verify",
	.cmd = mauth_cmd_audit_verify,
	.usage = "[--key <file>] [<file> ..]",
DOVEADM_CMD_PARAMS_START
STR("key")
DOVEADM_CMD_PARAM('\0', "file", CMD_PARAM_ARRAY, CMD_PARAM_FLAG_POSITIONAL)
END
}, {
	.name = "modernauth audit export",
	.cmd = mauth_cmd_audit_export,
	.usage = "--format ecs|ocsf|cef|syslog [--since <30d>] [--until <time>] [--user <pattern>] [--follow] [<file> ..]",
DOVEADM_CMD_PARAMS_START
STR("format")
STR("since")
STR("until")
STR("user")
BOOL("follow")
DOVEADM_CMD_PARAM('\0', "file", CMD_PARAM_ARRAY, CMD_PARAM_FLAG_POSITIONAL)
END
}, {
	.name = "modernauth tail",
	.cmd = mauth_cmd_tail,
	.usage = "[--user <pattern>] [--outcome ok|refused|failed|passed|changed|note[,..]] [--protocol <protocol>] [--lines <10>] "
		"[--no-follow] [--json] [--color auto|always|never] [<file>]",
DOVEADM_CMD_PARAMS_START
POSITIONAL("file")
STR("user")
STR("outcome")
STR("protocol")
STR("lines")
STR("color")
BOOL("no-follow")
BOOL("json")
END
}, {
	.name = "modernauth audit reveal",
	.cmd = mauth_cmd_audit_reveal,
	.usage = "--reason <text> --user <user> | --reason <text> <pseudonym>|<file>|- ..",
DOVEADM_CMD_PARAMS_START
STR("reason")
STR("user")
DOVEADM_CMD_PARAM('\0', "pseudonym", CMD_PARAM_ARRAY, CMD_PARAM_FLAG_POSITIONAL)
END
}, {
	.name = "modernauth audit erase",
	.cmd = mauth_cmd_audit_erase,
	.usage = "--user <user> --reason <text>",
DOVEADM_CMD_PARAMS_START
STR("user")
STR("reason")
END
} };

void doveadm_modernauth_plugin_init(struct module *module)
{
	for (size_t i = 0; i < N_ELEMENTS(commands); i++)
		doveadm_cmd_register_ver2(&commands[i]);
}

void doveadm_modernauth_plugin_deinit(void)
{
}
