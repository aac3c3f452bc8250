/* SPDX-License-Identifier: MIT */
/* What Microsoft Graph says of an account: GET /v1.0/users/{upn}?$select=accountEnabled,id */
#include "core/entra.h"

#include "core/json.h"

#include <stdio.h>
#include <string.h>

enum mauth_status mauth_entra_account_error(const char *upn, enum mauth_status status, struct mauth_error *error_r)
{
	static const char advice[] = "if this login is a shared mailbox or has no account of its own, check_accounts = "
				     "false in a rule for it";

	if (status == MAUTH_DISABLED) {
		mauth_fail(error_r, status, 0, "the account %.320s is disabled in Entra", upn);
		snprintf(error_r->advice, sizeof(error_r->advice), "%s; otherwise remove its device passwords: doveadm "
			 "modernauth device list %.320s", advice, upn);
		return status;
	}
	if (status != MAUTH_USER_UNKNOWN)
		return MAUTH_OK;
	mauth_fail(error_r, status, 0, "there is no account %.320s in Entra", upn);
	snprintf(error_r->advice, sizeof(error_r->advice), "%s", advice);
	return status;
}

/* What a person needs to see of Graph's error: {"error":{"code":"Authorization_RequestDenied",...}}. */
static void read_code(const json_t *root, char *code_r, size_t size)
{
	const char *code = mauth_json_str(json_object_get(root, "error"), "code");

	mauth_clean_copy(code_r, size, code, strlen(code));
	if (code_r[0] == '\0')
		snprintf(code_r, size, "no code");
}

static enum mauth_status not_permitted(unsigned int http_status, const char *code, struct mauth_error *error_r)
{
	mauth_fail(error_r, MAUTH_CONFIG, (int)http_status, "Microsoft Graph does not tell the application which accounts are "
		   "enabled (HTTP %u, %s)", http_status, code);
	snprintf(error_r->advice, sizeof(error_r->advice),
		 "add the application permission User.Read.All of Microsoft Graph to the app and grant admin consent: az ad app "
		 "permission add --id APP --api 00000003-0000-0000-c000-000000000000 --api-permissions "
		 "df021288-bdef-4463-88db-98f22de89214=Role; az ad app permission admin-consent --id APP; or set "
		 "check_accounts = false");
	return MAUTH_CONFIG;
}

enum mauth_status mauth_entra_parse_account(const char *upn, unsigned int http_status, const char *body, size_t size,
					    struct mauth_error *error_r)
{
	json_t *root = mauth_json_object(body, size);
	const json_t *enabled = json_object_get(root, "accountEnabled");
	enum mauth_status status;
	char code[64];

	read_code(root, code, sizeof(code));
	if (http_status == 200 && json_is_boolean(enabled))
		status = json_is_true(enabled) ? MAUTH_OK : mauth_entra_account_error(upn, MAUTH_DISABLED, error_r);
	else if (http_status == 200 && root != NULL)
		/* User.ReadBasic.All lets it see the account, not whether it is enabled. */
		status = not_permitted(http_status, "accountEnabled is not in the reply", error_r);
	else if (http_status == 404 && root != NULL)
		status = mauth_entra_account_error(upn, MAUTH_USER_UNKNOWN, error_r);
	else if (http_status == 401 || http_status == 403)
		status = not_permitted(http_status, code, error_r);
	else if (http_status == 429 || http_status >= 500)
		status = mauth_fail(error_r, MAUTH_TEMPORARY, (int)http_status, "Microsoft Graph answers HTTP %u (%s)", http_status,
				    code);
	else
		status = mauth_fail(error_r, MAUTH_PROTOCOL, (int)http_status, "Microsoft Graph's answer about %.320s cannot be "
				    "understood (HTTP %u, %s)", upn, http_status, code);
	json_decref(root);
	return status;
}
