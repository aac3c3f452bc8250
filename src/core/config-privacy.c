/* SPDX-License-Identifier: MIT */
#include "core/config-load.h"

#include "core/mem.h"
#include "core/privacy.h"

#include <string.h>

/* Beside the audit's, where root writes and the broker does not. */
#define PRIVACY_KEY_FILE "/var/lib/dovecot/modernauth-privacy.key"

static enum mauth_status load_key(struct mauth_loader *loader, const struct mauth_conf_value *value, struct mauth_error *error_r)
{
	struct mauth_config *config = loader->config;
	const struct mauth_secret *text;
	struct mauth_error error;

	if (value != NULL && mauth_conf_path(value, &config->privacy_key_file, error_r) != MAUTH_OK)
		return MAUTH_CONFIG;
	if (value == NULL)
		config->privacy_key_file = mauth_strdup(PRIVACY_KEY_FILE);
	if (mauth_load_file_if_any(loader, config->privacy_key_file, value, &text, error_r) != MAUTH_OK)
		return MAUTH_CONFIG;
	if (text == NULL || mauth_privacy_key_read(text, &config->privacy_key, &error) == MAUTH_OK)
		return MAUTH_OK;
	return mauth_conf_fail(error_r, config->path, value == NULL ? 1 : value->line,
			       "privacy: %s is not a key file that a broker has made: %s; restore your copy of it, or move it away, "
			       "and the next start makes a new one (pseudonyms then are others than before)",
			       config->privacy_key_file, error.text);
}

enum mauth_status mauth_load_privacy(struct mauth_loader *loader, struct mauth_error *error_r)
{
	static const char *const users_names[] = { [MAUTH_USERS_CLEAR] = "clear", [MAUTH_USERS_PSEUDONYM] = "pseudonym",
						   [MAUTH_USERS_HASH] = "hash" };
	const struct mauth_conf_section *section = mauth_conf_section(loader->conf, "privacy");
	const struct mauth_conf_value *users = mauth_conf_get(section, "users"), *ips = mauth_conf_get(section, "ips");
	struct mauth_config *config = loader->config;
	size_t i = 0;

	while (users != NULL && i < sizeof(users_names) / sizeof(users_names[0]) && strcmp(users->text, users_names[i]) != 0)
		i++;
	if (i == sizeof(users_names) / sizeof(users_names[0]))
		return mauth_conf_refuse(error_r, users, "users = \"%s\"; \"clear\", \"pseudonym\" or \"hash\" was expected", users->text);
	config->privacy_users = (enum mauth_privacy_users)i;
	config->privacy_ips = ips != NULL && strcmp(ips->text, "prefix") == 0;
	if (ips != NULL && !config->privacy_ips && strcmp(ips->text, "clear") != 0)
		return mauth_conf_refuse(error_r, ips, "ips = \"%s\"; \"clear\" or \"prefix\" was expected", ips->text);
	/* The key is of no use to anybody else. */
	if (config->privacy_users == MAUTH_USERS_CLEAR)
		return MAUTH_OK;
	return load_key(loader, mauth_conf_get(section, "key_file"), error_r);
}
