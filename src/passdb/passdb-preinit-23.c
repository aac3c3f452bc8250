/* SPDX-License-Identifier: MIT */
/* Dovecot 2.3: settings are one string, "args = /etc/dovecot/modernauth.conf [socket=PATH] [timeout=20s]". A
 * mistake in it ends the auth process here, at its start, and nowhere later. */
#include "auth-common.h"
#include "auth-settings.h"
#include "passdb.h"
#include "settings-parser.h"

#include "passdb/passdb-modernauth.h"

#define DEFAULT_SOCKET "modernauth-auth"

static void parse_timeout(const char *value, unsigned int *msecs_r)
{
	const char *error;

	if (settings_get_time_msecs(value, msecs_r, &error) < 0)
		i_fatal("passdb modernauth: args: timeout=%s: %s", value, error);
	if (*msecs_r < MAUTH_PASSDB_TIMEOUT_MIN_MSECS || *msecs_r > MAUTH_PASSDB_TIMEOUT_MAX_MSECS)
		i_fatal("passdb modernauth: args: timeout=%s: must be between %us and %us", value,
			MAUTH_PASSDB_TIMEOUT_MIN_MSECS / 1000, MAUTH_PASSDB_TIMEOUT_MAX_MSECS / 1000);
}

static void parse_arg(pool_t pool, const char *arg, struct mauth_passdb_settings *settings)
{
	if (*arg == '/') {
		if (settings->config_path != NULL)
			i_fatal("passdb modernauth: args: more than one configuration file: %s", arg);
		settings->config_path = p_strdup(pool, arg);
	} else if (strncmp(arg, "socket=/", 8) == 0) {
		settings->socket_path = p_strdup(pool, arg + 7);
	} else if (strncmp(arg, "socket=", 7) == 0) {
		i_fatal("passdb modernauth: args: %s: the path must be absolute", arg);
	} else if (strncmp(arg, "timeout=", 8) == 0) {
		parse_timeout(arg + 8, &settings->timeout_msecs);
	} else {
		i_fatal("passdb modernauth: args: unknown setting: %s", arg);
	}
}

struct passdb_module *mauth_passdb_preinit(pool_t pool, const char *args)
{
	struct mauth_passdb_settings settings = { .timeout_msecs = MAUTH_PASSDB_TIMEOUT_MSECS };
	const char *const *arg;

	for (arg = t_strsplit_spaces(args, " "); *arg != NULL; arg++)
		parse_arg(pool, *arg, &settings);
	if (settings.config_path == NULL)
		i_fatal("passdb modernauth: args: the path of modernauth.conf is missing: "
			"args = /etc/dovecot/modernauth.conf");
	if (settings.socket_path == NULL)
		settings.socket_path = p_strconcat(pool, global_auth_settings->base_dir, "/"DEFAULT_SOCKET, NULL);
	return mauth_passdb_new(pool, &settings);
}
