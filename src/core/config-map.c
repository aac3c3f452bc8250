/* SPDX-License-Identifier: MIT */
#include "core/config-load.h"

#include "core/mailbox.h"

#include <stdlib.h>
#include <string.h>

/* Are both, where they are not NULL, addresses of tenant? */
static bool are_of(const struct mauth_config *config, const struct mauth_tenant *tenant,
		   const struct mauth_conf_value *account, const struct mauth_conf_value *mailbox)
{
	char name[MAUTH_USER_MAX + 1];

	return (account == NULL || mauth_mailbox_address(config, tenant, account->text, name, NULL) == MAUTH_OK) &&
	       (mailbox == NULL || mauth_mailbox_address(config, tenant, mailbox->text, name, NULL) == MAUTH_OK);
}

/* The tenant of both, where they are not NULL; NULL: there is none. */
static const struct mauth_tenant *tenant_of(const struct mauth_config *config, const struct mauth_conf_value *account,
					    const struct mauth_conf_value *mailbox)
{
	for (size_t i = 0; i < config->tenants_count; i++) {
		if (are_of(config, config->tenants[i], account, mailbox))
			return config->tenants[i];
	}
	return NULL;
}

/* As UPN, in *name_r even on failure; NULL if value is. */
static enum mauth_status load_address(const struct mauth_config *config, const struct mauth_conf_value *value,
				      char **name_r, struct mauth_error *error_r)
{
	const struct mauth_tenant *tenant;
	char name[MAUTH_USER_MAX + 1];

	if (value == NULL)
		return MAUTH_OK;
	tenant = tenant_of(config, value, NULL);
	/* default_domain is for those who log in. */
	if (strchr(value->text, '@') == NULL || tenant == NULL ||
	    mauth_mailbox_address(config, tenant, value->text, name, NULL) != MAUTH_OK)
		return mauth_conf_refuse(error_r, value,
					 "%s = \"%.100s\"; an address in a tenant's domain was expected",
					 value->name, value->text);
	*name_r = mauth_strdup(name);
	return MAUTH_OK;
}

/* Whoever is mapped to somebody of another tenant cannot log in: his token is good in his own only. */
static void warn_strangers(struct mauth_loader *loader, const struct mauth_conf_section *section,
			   const struct mauth_conf_value *account, const struct mauth_conf_value *mailbox)
{
	const struct mauth_config *config = loader->config;
	const struct mauth_conf_value *value = mauth_conf_get(section, "logins");

	for (; value != NULL; value = mauth_conf_next(section, value)) {
		for (size_t i = 0; i < config->tenants_count; i++) {
			const struct mauth_tenant *tenant = config->tenants[i];

			if (!mauth_load_concerns(value->text, tenant) || are_of(config, tenant, account, mailbox))
				continue;
			mauth_load_warn(loader, value->line,
					"map \"%s\": \"%s\" takes in users of tenant \"%s\", who cannot log in then; "
					"account and mailbox are of another tenant",
					section->title, value->text, tenant->name);
			break;
		}
	}
}

enum mauth_status mauth_load_map(struct mauth_loader *loader, const struct mauth_conf_section *section,
				 struct mauth_error *error_r)
{
	const struct mauth_conf_value *account = mauth_conf_get(section, "account");
	const struct mauth_conf_value *mailbox = mauth_conf_get(section, "mailbox");
	struct mauth_config *config = loader->config;
	struct mauth_map *map;

	config->maps = mauth_grow(config->maps, config->maps_count + 1, sizeof(*config->maps));
	map = &config->maps[config->maps_count++];
	*map = (struct mauth_map){ 0 };
	if (mauth_load_name(loader, section, &map->name, error_r) != MAUTH_OK ||
	    mauth_load_patterns(loader, section, "logins", &map->logins, error_r) != MAUTH_OK)
		return MAUTH_CONFIG;
	if (map->logins == NULL)
		return mauth_conf_fail(error_r, config->path, section->line,
				       "map \"%s\" has no logins; logins = {\"scanner@contoso.com\"} was "
				       "expected", map->name);
	if (account == NULL && mailbox == NULL)
		return mauth_conf_fail(error_r, config->path, section->line,
				       "map \"%s\" has neither account nor mailbox; account, mailbox or both were "
				       "expected",
				       map->name);
	if (load_address(config, account, &map->account, error_r) != MAUTH_OK ||
	    load_address(config, mailbox, &map->mailbox, error_r) != MAUTH_OK)
		return MAUTH_CONFIG;
	if (account != NULL && mailbox != NULL && tenant_of(config, account, mailbox) == NULL)
		return mauth_conf_refuse(error_r, mailbox,
					 "mailbox = \"%s\" is of another tenant than account = \"%s\"; a token is good "
					 "in one tenant only",
					 mailbox->text, account->text);
	warn_strangers(loader, section, account, mailbox);
	return MAUTH_OK;
}
