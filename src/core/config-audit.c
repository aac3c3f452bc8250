/* SPDX-License-Identifier: MIT */
#include "core/config-load.h"

#include "core/chain.h"

#include <stdlib.h>
#include <string.h>

/* Where root writes and the broker does not: its directory belongs to root. Not below /etc, which systemd keeps from Dovecot. */
#define KEY_FILE "/var/lib/dovecot/modernauth-audit.key"

static enum mauth_status load_key(struct mauth_loader *loader, const struct mauth_conf_value *value, struct mauth_error *error_r)
{
	struct mauth_config *config = loader->config;
	const struct mauth_secret *text;
	struct mauth_error error;

	if (value != NULL && mauth_conf_path(value, &config->audit_key_file, error_r) != MAUTH_OK)
		return MAUTH_CONFIG;
	if (value == NULL)
		config->audit_key_file = mauth_strdup(KEY_FILE);
	if (mauth_load_file_if_any(loader, config->audit_key_file, value, &text, error_r) != MAUTH_OK)
		return MAUTH_CONFIG;
	if (text == NULL)
		return MAUTH_OK;
	if (mauth_chain_key_read(text, &config->audit_key, &error) == MAUTH_OK && mauth_chain_key_is_secret(config->audit_key))
		return MAUTH_OK;
	return mauth_conf_fail(error_r, config->path, value == NULL ? 1 : value->line,
			       "audit: %s is not a key file that a broker has made; move it away, and the next start makes a new one "
			       "(the old one still verifies old files)",
			       config->audit_key_file);
}

static enum mauth_status load_durability(struct mauth_loader *loader, const struct mauth_conf_value *value,
					 struct mauth_error *error_r)
{
	struct mauth_config *config = loader->config;

	if (value == NULL || strcmp(value->text, "os") == 0)
		return MAUTH_OK;
	config->audit_group = strcmp(value->text, "group") == 0;
	if (config->audit_group)
		return MAUTH_OK;
	return mauth_conf_fail(error_r, config->path, value->line,
			       "audit: durability = \"%.100s\": must be \"os\" (a record is in the file before its login is answered) or "
			       "\"group\" (it is on disk)", value->text);
}

enum mauth_status mauth_load_audit(struct mauth_loader *loader, struct mauth_error *error_r)
{
	const struct mauth_conf_section *section = mauth_conf_section(loader->conf, "audit");
	const struct mauth_conf_value *required = mauth_conf_get(section, "required"), *seal = mauth_conf_get(section, "seal");
	struct mauth_config *config = loader->config;
	bool sealed = true;

	config->audit_required = true;
	if (required != NULL && mauth_conf_bool(required, &config->audit_required, error_r) != MAUTH_OK)
		return MAUTH_CONFIG;
	if (seal != NULL && mauth_conf_bool(seal, &sealed, error_r) != MAUTH_OK)
		return MAUTH_CONFIG;
	if (load_durability(loader, mauth_conf_get(section, "durability"), error_r) != MAUTH_OK)
		return MAUTH_CONFIG;
	return sealed ? load_key(loader, mauth_conf_get(section, "key_file"), error_r) : MAUTH_OK;
}
