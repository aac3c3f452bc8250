/* SPDX-License-Identifier: MIT */
#include "core/diagnose.h"

#include "core/clouds.h"
#include "core/json.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* A client assertion is valid for ten minutes and Entra allows five of skew; tokens begin when they are issued. */
#define SKEW_WARN_SECS 60
#define SKEW_FAIL_SECS 240
#define DAY_SECS 86400

const char *mauth_diag_result_name(enum mauth_diag_result result)
{
	static const char *const names[] = {
		[MAUTH_DIAG_PASS] = "pass",
		[MAUTH_DIAG_WARN] = "warn",
		[MAUTH_DIAG_FAIL] = "fail",
		[MAUTH_DIAG_SKIP] = "skip",
	};

	return names[result];
}

/* -- rows --------------------------------------------------------------------------------------------------- */

/* Text of peers is in here: one line, printable, cut where it does not fit. */
static void set_row(struct mauth_diag_row *row, enum mauth_diag_result result, const char *fmt, va_list args)
	MAUTH_PRINTF(3, 0);
static void set_row(struct mauth_diag_row *row, enum mauth_diag_result result, const char *fmt, va_list args)
{
	char text[sizeof(row->seen)];

	row->result = result;
	row->fix[0] = '\0';
	(void)vsnprintf(text, sizeof(text), fmt, args);
	mauth_clean_copy(row->seen, sizeof(row->seen), text, strlen(text));
}

#define DEFINE_SETTER(name, result) \
	void mauth_diag_ ## name(struct mauth_diag_row *row, const char *fmt, ...) \
	{ \
		va_list args; \
\
		va_start(args, fmt); \
		set_row(row, result, fmt, args); \
		va_end(args); \
	}
DEFINE_SETTER(pass, MAUTH_DIAG_PASS)
DEFINE_SETTER(warn, MAUTH_DIAG_WARN)
DEFINE_SETTER(fail, MAUTH_DIAG_FAIL)
DEFINE_SETTER(skip, MAUTH_DIAG_SKIP)

void mauth_diag_fix(struct mauth_diag_row *row, const char *fmt, ...)
{
	char text[sizeof(row->fix)];
	size_t used = strlen(row->fix);
	va_list args;

	if (used > 0)
		used += (size_t)snprintf(row->fix + used, sizeof(row->fix) - used, "; ");
	if (used >= sizeof(row->fix))
		return;
	va_start(args, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	mauth_clean_copy(row->fix + used, sizeof(row->fix) - used, text, strlen(text));
}

void mauth_diag_error(struct mauth_diag_row *row, const struct mauth_error *error)
{
	mauth_diag_fail(row, "%s", error->text);
	if (error->advice[0] != '\0')
		mauth_diag_fix(row, "%s", error->advice);
}

/* -- this machine ------------------------------------------------------------------------------------------- */

void mauth_diag_file(struct mauth_diag_row *row, const char *path, unsigned int mode, bool secret)
{
	if (secret && (mode & 07) != 0) {
		mauth_diag_fail(row, "%s may be read by everybody (mode %04o)", path, mode & 07777);
		mauth_diag_fix(row, "chmod o= %s, and take it that the secret is known: make a new one", path);
	} else if ((mode & 022) != 0) {
		mauth_diag_warn(row, "%s may be changed by others than its owner (mode %04o)", path, mode & 07777);
		mauth_diag_fix(row, "chmod go-w %s", path);
	} else {
		mauth_diag_pass(row, "%s (mode %04o)", path, mode & 07777);
	}
}

void mauth_diag_credential(struct mauth_diag_row *row, const struct mauth_credential *credential, int64_t now,
			   unsigned int warning_secs, int refused_code)
{
	const bool is_secret = credential->secret != NULL;
	const char *kind = is_secret ? "client secret" : "certificate";
	const int64_t left = credential->not_after - now;

	if (credential->not_after > 0 && left <= 0)
		mauth_diag_fail(row, "the %s %s ended %lld days ago", kind, credential->path,
				(long long)(-left / DAY_SECS));
	else if (refused_code != 0)
		mauth_diag_fail(row, "Entra has refused the %s %s: AADSTS%d", kind, credential->path, refused_code);
	else if (credential->not_after > 0 && left <= (int64_t)warning_secs)
		mauth_diag_warn(row, "the %s %s ends in %lld days", kind, credential->path,
				(long long)(left / DAY_SECS));
	else if (credential->not_after > 0)
		mauth_diag_pass(row, "%s %s, %lld days left", kind, credential->path, (long long)(left / DAY_SECS));
	else
		mauth_diag_pass(row, "%s %s; its end is not known here, client_secret_expires can say it", kind,
				credential->path);
	if (row->result == MAUTH_DIAG_PASS)
		return;
	if (is_secret)
		mauth_diag_fix(row,
			       "Entra admin center > App registrations > the app > Certificates & secrets > New "
			       "client secret; write its value into %s; doveadm reload",
			       credential->path);
	else
		mauth_diag_fix(
			row,
			"make a new certificate (openssl req -x509 -newkey rsa:3072 -nodes -days 365 ...), upload it: "
			"Entra admin center > App registrations > the app > Certificates & secrets > Certificates; "
			"name both files in certificate_file and private_key_file until the old one has ended; "
			"doveadm reload");
}

void mauth_diag_duration(char *text, size_t size, int64_t secs)
{
	if (secs >= 2 * DAY_SECS)
		(void)snprintf(text, size, "%lld days", (long long)(secs / DAY_SECS));
	else if (secs >= 3600)
		(void)snprintf(text, size, "%lld h %lld min", (long long)(secs / 3600), (long long)(secs / 60 % 60));
	else if (secs >= 60)
		(void)snprintf(text, size, "%lld min %lld s", (long long)(secs / 60), (long long)(secs % 60));
	else
		(void)snprintf(text, size, "%lld s", (long long)secs);
}

void mauth_diag_clock(struct mauth_diag_row *row, const char *date, int64_t now)
{
	char text[64];
	int64_t theirs, skew;

	if (!mauth_http_date(date, &theirs)) {
		mauth_diag_warn(row, "Entra sent no date that can be read");
		mauth_diag_fix(row, "look at the clock by hand: chronyc tracking, or timedatectl");
		return;
	}
	skew = now > theirs ? now - theirs : theirs - now;
	mauth_diag_duration(text, sizeof(text), skew);
	if (skew >= SKEW_FAIL_SECS)
		mauth_diag_fail(row, "this clock is %s %s Entra's: certificates and new tokens are refused", text,
				now > theirs ? "ahead of" : "behind");
	else if (skew >= SKEW_WARN_SECS)
		mauth_diag_warn(row, "this clock is %s %s Entra's", text, now > theirs ? "ahead of" : "behind");
	else
		mauth_diag_pass(row, "within %s of Entra's", text);
	if (row->result != MAUTH_DIAG_PASS)
		mauth_diag_fix(row, "apt-get install chrony; chronyc makestep; chronyc tracking");
}

/* -- the tenant --------------------------------------------------------------------------------------------- */

/* Which cloud an authority's answer is of. Region and sub-region tell apart those that share an authority: USG or USGov
 * with DOD and DODCON (GCC High); GCC lives in the commercial one. */
static const char *cloud_of(const struct mauth_diag_tenant *found)
{
	if (strstr(found->instance, "microsoftonline.us") != NULL)
		return strcmp(found->sub_region, "DOD") == 0 ? "dod" : "gcc-high";
	if (strstr(found->instance, "microsoftonline.cn") != NULL ||
	    strstr(found->instance, "chinacloudapi.cn") != NULL)
		return "china";
	if (strcmp(found->sub_region, "DOD") == 0)
		return "dod";
	if (strcmp(found->sub_region, "DODCON") == 0 || strncmp(found->region, "USG", 3) == 0)
		return "gcc-high";
	if (strcmp(found->sub_region, "GCC") == 0)
		return "gcc";
	return strstr(found->instance, "microsoftonline.com") != NULL ? "worldwide" : "";
}

/* The GUID in ".../GUID/...". */
static void read_guid(const char *url, char guid_r[static 64])
{
	static const char shape[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";

	for (const char *at = strchr(url, '/'); at != NULL; at = strchr(at + 1, '/')) {
		size_t i = 0;

		while (shape[i] != '\0' &&
		       (shape[i] == 'x' ? at[1 + i] != '\0' && strchr("0123456789abcdefABCDEF", at[1 + i])
					: at[1 + i] == shape[i]))
			i++;
		if (shape[i] == '\0' && (at[1 + i] == '/' || at[1 + i] == '\0')) {
			(void)snprintf(guid_r, 64, "%.36s", at + 1);
			return;
		}
	}
	guid_r[0] = '\0';
}

static void copy_member(char *dest, size_t size, const json_t *root, const char *key)
{
	const char *value = mauth_json_str(root, key);

	mauth_clean_copy(dest, size, value, strlen(value));
}

enum mauth_status mauth_diag_read_tenant(const struct mauth_aadsts_table *table, unsigned int http_status,
					 const char *body, size_t size, struct mauth_diag_tenant *tenant_r,
					 struct mauth_error *error_r)
{
	struct mauth_entra_reply reply;
	enum mauth_status status;
	json_t *root;

	memset(tenant_r, 0, sizeof(*tenant_r));
	if (http_status != 200) {
		/* It never is a token. */
		status = mauth_entra_parse(table, http_status, body, size, &reply, error_r);
		mauth_entra_reply_clear(&reply);
		return status == MAUTH_OK ? mauth_fail(error_r, MAUTH_PROTOCOL, 0, "HTTP %u", http_status) : status;
	}
	root = mauth_json_object(body, size);
	if (root == NULL)
		return mauth_fail(error_r, MAUTH_PROTOCOL, 0,
				  "the tenant's openid-configuration is no JSON: is this Entra?");
	read_guid(mauth_json_str(root, "token_endpoint"), tenant_r->tenant_id);
	if (tenant_r->tenant_id[0] == '\0')
		read_guid(mauth_json_str(root, "issuer"), tenant_r->tenant_id);
	copy_member(tenant_r->instance, sizeof(tenant_r->instance), root, "cloud_instance_name");
	copy_member(tenant_r->region, sizeof(tenant_r->region), root, "tenant_region_scope");
	copy_member(tenant_r->sub_region, sizeof(tenant_r->sub_region), root, "tenant_region_sub_scope");
	(void)snprintf(tenant_r->cloud, sizeof(tenant_r->cloud), "%s", cloud_of(tenant_r));
	json_decref(root);
	return MAUTH_OK;
}

void mauth_diag_tenant(struct mauth_diag_row *row, const struct mauth_tenant *tenant,
		       const struct mauth_diag_tenant *found)
{
	if (found->tenant_id[0] == '\0') {
		mauth_diag_warn(row, "%s names no tenant of its own", tenant->tenant_id);
		mauth_diag_fix(
			row,
			"tenant_id = \"<GUID>\" in tenant \"%s\" of modernauth.conf: Entra admin center > Overview > "
			"Tenant ID; doveadm reload",
			tenant->name);
		return;
	}
	mauth_diag_pass(row, "%s is tenant %s", tenant->tenant_id, found->tenant_id);
}

void mauth_diag_cloud(struct mauth_diag_row *row, const struct mauth_tenant *tenant,
		      const struct mauth_diag_tenant *found)
{
	const char *region = found->region[0] != '\0' ? found->region : "no region";
	/* These two have the same hosts. */
	bool commercial = (strcmp(tenant->cloud, "gcc") == 0 || strcmp(tenant->cloud, "worldwide") == 0) &&
			  (strcmp(found->cloud, "gcc") == 0 || strcmp(found->cloud, "worldwide") == 0);

	if (found->cloud[0] == '\0') {
		mauth_diag_warn(row, "Entra does not say in which cloud the tenant lives (%s, %s)", found->instance,
				region);
		mauth_diag_fix(row, "compare cloud of tenant \"%s\" with what Microsoft sold you: " MAUTH_CLOUD_NAMES,
			       tenant->name);
	} else if (commercial || strcmp(tenant->cloud, found->cloud) == 0) {
		mauth_diag_pass(row, "%s (%s, %s%s%s)", tenant->cloud, found->instance, region,
				found->sub_region[0] != '\0' ? ", " : "", found->sub_region);
	} else {
		mauth_diag_fail(row, "cloud is \"%s\", but the tenant lives in \"%s\" (%s, %s%s%s)", tenant->cloud,
				found->cloud, found->instance, region, found->sub_region[0] != '\0' ? ", " : "",
				found->sub_region);
		mauth_diag_fix(row,
			       "cloud = \"%s\" in tenant \"%s\" of modernauth.conf, and the app registered there; "
			       "doveadm reload",
			       found->cloud, tenant->name);
	}
}

void mauth_diag_realm(struct mauth_diag_row *row, const struct mauth_tenant *tenant, const char *domain,
		      enum mauth_realm realm, bool password_grant, bool other_grant)
{
	switch (realm) {
	case MAUTH_REALM_MANAGED:
		mauth_diag_pass(row, "%s is managed by Entra", domain);
		return;
	case MAUTH_REALM_UNKNOWN:
		mauth_diag_warn(row, "Entra does not know the domain %s", domain);
		mauth_diag_fix(
			row,
			"check the domains of tenant \"%s\" in modernauth.conf; Entra admin center > Settings > "
			"Domain names > Add custom domain; if logins have other domains than the userPrincipalNames: "
			"upn_domain",
			tenant->name);
		return;
	case MAUTH_REALM_FEDERATED:
		break;
	}
	if (!password_grant) {
		mauth_diag_pass(row, "%s is federated; the password grant is not used", domain);
	} else if (!tenant->user_realm) {
		mauth_diag_pass(row, "%s is federated; user_realm = false says that Entra validates its passwords",
				domain);
	} else {
		if (other_grant)
			mauth_diag_warn(row,
					"%s is federated: Entra checks no passwords of it, the other grants must do",
					domain);
		else
			mauth_diag_fail(row, "%s is federated: Entra refuses every password of it (AADSTS50126)",
					domain);
		mauth_diag_fix(row,
			       "grants = {\"enrolled\"} (or \"app\") in tenant \"%s\" and doveadm modernauth enroll "
			       "USER; or password hash sync, a HomeRealmDiscoveryPolicy with "
			       "\"AllowCloudPasswordValidation\":true for the app, and user_realm = false",
			       tenant->name);
	}
}
