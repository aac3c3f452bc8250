/* SPDX-License-Identifier: MIT */
#include "core/upn.h"

#include "core/mem.h"

#include <string.h>

void mauth_lowercase(char *str)
{
	for (; *str != '\0'; str++) {
		if (*str >= 'A' && *str <= 'Z')
			*str = (char)(*str - 'A' + 'a');
	}
}

/* U+0080 .. U+009F, U+00A0, and the Unicode spaces that look like nothing at all. */
static bool is_invisible(const unsigned char *at)
{
	if (at[0] == 0xc2)
		return at[1] <= 0xa0;
	if (at[0] == 0xe2 && at[1] == 0x80)
		return at[2] <= 0x8f || (at[2] >= 0xa8 && at[2] <= 0xaf);
	return at[0] == 0xe3 && at[1] == 0x80 && at[2] == 0x80;
}

static bool has_blank(const char *user)
{
	for (const unsigned char *at = (const unsigned char *)user; *at != '\0'; at++) {
		if (*at <= 0x20 || *at == 0x7f || is_invisible(at))
			return true;
	}
	return false;
}

enum mauth_status mauth_upn_from_login(const struct mauth_config *config, const char *user,
				       struct mauth_upn *upn_r, struct mauth_error *error_r)
{
	size_t size = strnlen(user, MAUTH_USER_MAX + 1);
	const char *at = memchr(user, '@', size), *domain;
	const struct mauth_tenant *tenant;
	size_t local_size, domain_size;

	if (size > MAUTH_USER_MAX)
		return mauth_fail(error_r, MAUTH_BAD_CREDENTIALS, 0, "user name of more than %u octets",
				  MAUTH_USER_MAX);
	if (!mauth_is_utf8(user, size) || has_blank(user))
		return mauth_fail(error_r, MAUTH_BAD_CREDENTIALS, 0,
				  "user name with blanks, control characters or invalid UTF-8");
	domain = at != NULL ? at + 1 : config->default_domain;
	local_size = at != NULL ? (size_t)(at - user) : size;
	if (domain == NULL)
		return mauth_fail(error_r, MAUTH_NOT_OURS, 0,
				  "user name without domain, and no default_domain is set");
	/* "DOMAIN\user" is Windows' other way to write a name, and nothing that a UPN can contain. */
	if (local_size == 0 || *domain == '\0' || memchr(user, '\\', local_size) != NULL)
		return mauth_fail(error_r, MAUTH_NOT_OURS, 0, "user name is no address");
	tenant = mauth_config_tenant_for(config, domain);
	if (tenant == NULL)
		return mauth_fail(error_r, MAUTH_NOT_OURS, 0, "no tenant serves the domain %s", domain);
	if (tenant->upn_domain != NULL)
		domain = tenant->upn_domain;
	domain_size = strlen(domain);
	if (local_size + 1 + domain_size >= sizeof(upn_r->name))
		return mauth_fail(error_r, MAUTH_BAD_CREDENTIALS, 0,
				  "user name of more than %u octets with its domain", MAUTH_USER_MAX);
	memcpy(upn_r->name, user, local_size);
	upn_r->name[local_size] = '@';
	memcpy(upn_r->name + local_size + 1, domain, domain_size + 1);
	mauth_lowercase(upn_r->name);
	upn_r->tenant = tenant;
	return MAUTH_OK;
}
