/* SPDX-License-Identifier: MIT */
#include "core/mailbox.h"

#include "core/mem.h"
#include "core/policy.h"
#include "core/upn.h"

#include <stdio.h>
#include <string.h>

#define LOGIN_MAX (2 * MAUTH_USER_MAX + 1)      /* two names and what is between them */

enum mauth_status mauth_mailbox_address(const struct mauth_config *config, const struct mauth_tenant *tenant,
					const char *address, char name_r[static MAUTH_USER_MAX + 1],
					struct mauth_error *error_r)
{
	const char *at = strchr(address, '@');
	char login[LOGIN_MAX + 1];
	enum mauth_status status;
	struct mauth_upn upn;

	/* Where UPNs have a domain of their own they are no logins, which is what can be checked. */
	if (at != NULL && at - address <= (ptrdiff_t)MAUTH_USER_MAX && tenant->upn_domain != NULL &&
	    strcasecmp(at + 1, tenant->upn_domain) == 0) {
		snprintf(login, sizeof(login), "%.*s@%s", (int)(at - address), address, tenant->domains[0]);
		address = login;
	}
	status = mauth_upn_from_login(config, address, &upn, error_r);
	if (status != MAUTH_OK)
		return status;
	if (upn.tenant != tenant)
		return mauth_fail(error_r, MAUTH_NOT_OURS, 0, "%s is of another tenant than the login", upn.name);
	memcpy(name_r, upn.name, sizeof(upn.name));
	return MAUTH_OK;
}

static bool any_mailboxes(const struct mauth_config *config)
{
	for (size_t i = 0; i < config->rules_count; i++) {
		if (config->rules[i]->mailboxes != NULL)
			return true;
	}
	return false;
}

/* Where account and mailbox part in login, or NULL. */
static const char *find_separator(const struct mauth_config *config, const char *login)
{
	const char *at = strpbrk(login, config->mailbox_separators);

	if (at == NULL || at == login || at[1] == '\0' || !any_mailboxes(config))
		return NULL;
	return at;
}

/* "anna\shared@contoso.com": each part that has no domain has the other's. */
static enum mauth_status split(const struct mauth_config *config, const char *login, const char *separator,
			       struct mauth_upn *upn_r, char asked_r[static MAUTH_USER_MAX + 1],
			       struct mauth_error *error_r)
{
	const char *mailbox = separator + 1, *mailbox_domain = strchr(mailbox, '@');
	int size = (int)(separator - login);
	const char *domain = memchr(login, '@', (size_t)size);
	int domain_size = domain == NULL ? 0 : (int)(separator - domain);
	char name[LOGIN_MAX + 1];
	enum mauth_status status;

	snprintf(name, sizeof(name), "%.*s%s", size, login,
		 domain == NULL && mailbox_domain != NULL ? mailbox_domain : "");
	status = mauth_upn_from_login(config, name, upn_r, error_r);
	if (status != MAUTH_OK)
		return status;
	snprintf(name, sizeof(name), "%s%.*s", mailbox, mailbox_domain == NULL ? domain_size : 0,
		 domain == NULL ? "" : domain);
	return mauth_mailbox_address(config, upn_r->tenant, name, asked_r, error_r);
}

static const struct mauth_map *find_map(const struct mauth_config *config, const char *login)
{
	for (size_t i = 0; i < config->maps_count; i++) {
		for (char *const *pattern = config->maps[i].logins; *pattern != NULL; pattern++) {
			if (mauth_glob_match(*pattern, login))
				return &config->maps[i];
		}
	}
	return NULL;
}

static enum mauth_status apply_map(const struct mauth_config *config, struct mauth_mailbox *mailbox,
				   struct mauth_error *error_r)
{
	const struct mauth_map *map = find_map(config, mailbox->login);
	enum mauth_status status = MAUTH_OK;

	mailbox->map = map;
	if (map != NULL && map->account != NULL)
		status = mauth_mailbox_address(config, mailbox->tenant, map->account, mailbox->account, error_r);
	if (status == MAUTH_OK && map != NULL && map->mailbox != NULL)
		status = mauth_mailbox_address(config, mailbox->tenant, map->mailbox, mailbox->mailbox, error_r);
	return status;
}

enum mauth_status mauth_mailbox_resolve(const struct mauth_config *config, const char *login, struct mauth_mailbox *r,
					struct mauth_error *error_r)
{
	char asked[MAUTH_USER_MAX + 1] = "";
	struct mauth_mailbox mailbox = { 0 };
	const char *separator;
	struct mauth_upn upn;
	enum mauth_status status;

	if (strnlen(login, LOGIN_MAX + 1) > LOGIN_MAX)
		return mauth_fail(error_r, MAUTH_BAD_CREDENTIALS, 0, "user name of more than %u octets", LOGIN_MAX);
	separator = find_separator(config, login);
	if (separator != NULL)
		status = split(config, login, separator, &upn, asked, error_r);
	else
		status = mauth_upn_from_login(config, login, &upn, error_r);
	if (status != MAUTH_OK)
		return status;
	mailbox.tenant = upn.tenant;
	memcpy(mailbox.login, upn.name, sizeof(upn.name));
	memcpy(mailbox.account, upn.name, sizeof(upn.name));
	memcpy(mailbox.mailbox, upn.name, sizeof(upn.name));
	status = apply_map(config, &mailbox, error_r);
	if (status != MAUTH_OK)
		return status;
	mailbox.asked_mailbox = asked[0] != '\0' && strcmp(asked, mailbox.mailbox) != 0;
	if (mailbox.asked_mailbox && mailbox.map != NULL && mailbox.map->mailbox != NULL)
		return mauth_fail(error_r, MAUTH_POLICY, 0, "map \"%s\" gives the mailbox %s, and %s was asked for",
				  mailbox.map->name, mailbox.mailbox, asked);
	if (mailbox.asked_mailbox)
		memcpy(mailbox.mailbox, asked, sizeof(asked));
	*r = mailbox;
	return MAUTH_OK;
}
