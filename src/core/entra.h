/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_ENTRA_H
#define MAUTH_ENTRA_H
/* Microsoft Entra ID's v2.0 token endpoint: forms out, replies in. Pure: no network, no clock of its own. */

#include "core/aadsts.h"
#include "core/config.h"
#include "modernauth/http.h"

/* What the application proves itself with in one request: one of both, or neither (a public client). */
struct mauth_entra_proof {
	const struct mauth_secret *secret;       /* client secret */
	const struct mauth_secret *assertion;    /* signed client assertion */
};

/* The forms of the grants: percent-encoded, wiped when freed by the caller. */
/* v2-oauth-ropc.md */
struct mauth_secret *mauth_entra_password_form(const struct mauth_tenant *tenant, const char *upn,
					       const struct mauth_secret *password,
					       const struct mauth_entra_proof *proof);
/* v2-oauth2-auth-code-flow.md, "Refresh the access token" */
struct mauth_secret *mauth_entra_refresh_form(const struct mauth_tenant *tenant,
					      const struct mauth_secret *refresh_token,
					      const struct mauth_entra_proof *proof);
/* v2-oauth2-client-creds-grant-flow.md */
struct mauth_secret *mauth_entra_app_form(const struct mauth_tenant *tenant, const char *scope,
					  const struct mauth_entra_proof *proof);
/* v2-oauth2-device-code.md: asking for a code, and asking whether it has been entered. */
struct mauth_secret *mauth_entra_device_code_form(const struct mauth_tenant *tenant);
struct mauth_secret *mauth_entra_device_poll_form(const struct mauth_tenant *tenant,
						  const struct mauth_secret *device_code,
						  const struct mauth_entra_proof *proof);

/* Twice sealed and in base64, as exports have it, it still fits a line of the wire protocol. */
#define MAUTH_REFRESH_TOKEN_MAX 7800u
/* A token reply that can be used, or what its error comes down to. */
struct mauth_entra_reply {
	struct mauth_secret *token;      /* NULL on failure; mauth_entra_reply_clear() frees */
	int64_t expires_in, refresh_in;  /* seconds, clamped to 1 .. 86,400; refresh_in 0 if absent */
	struct mauth_secret *refresh_token;  /* NULL if there is none, or none that we could keep */
	/* of the ID token or else the access token where they can be read, otherwise "" */
	char upn[MAUTH_USER_MAX + 1];    /* upn, else preferred_username, else unique_name */
	char oid[64], tid[64];
	/* of an error */
	struct mauth_aadsts_verdict verdict;
	char error[64], suberror[64];
	char trace_id[64], correlation_id[64];
	char description[MAUTH_TEXT_MAX];/* error_description without its ids, cleaned */
	char policy_id[64];              /* first conditional-access policy in claims, "" */
};

/* Reads a reply. MAUTH_OK with a token; otherwise the status that the login ends with, error_r filled with text and
 * advice, reply_r's error half filled. Accepts numbers as strings (the v1 endpoint sends those), several error_codes, both spellings
 * of the description, HTML or empty bodies of an outage. Refuses tokens larger than MAUTH_TOKEN_MAX or not printable ASCII,
 * token types other than Bearer, and anything nested deeper than 16. */
enum mauth_status mauth_entra_parse(const struct mauth_aadsts_table *table, unsigned int http_status, const char *body,
				    size_t size, struct mauth_entra_reply *reply_r, struct mauth_error *error_r);
void mauth_entra_reply_clear(struct mauth_entra_reply *reply);

/* The reply of the devicecode endpoint. */
struct mauth_device_code {
	struct mauth_secret *device_code;    /* NULL on failure; mauth_device_code_clear() frees */
	char user_code[32];                  /* what the user types: letters, digits and hyphens */
	char uri[256];                       /* https, where he types it */
	int64_t expires_in, interval;        /* seconds, clamped to 1 .. 3,600 and 1 .. 60 */
};
/* MAUTH_OK, or as mauth_entra_parse() does for errors: reply_r has their parts. */
enum mauth_status mauth_entra_parse_device_code(const struct mauth_aadsts_table *table, unsigned int http_status,
						const char *body, size_t size, struct mauth_device_code *code_r,
						struct mauth_entra_reply *reply_r, struct mauth_error *error_r);
void mauth_device_code_clear(struct mauth_device_code *code);

/* Nothing but visible ASCII: fit for a line of a mail protocol. */
bool mauth_token_is_printable(const struct mauth_secret *token);

/* Seconds to wait from a Retry-After header: seconds, or an HTTP date measured against the reply's own Date (else
 * wall_now_secs). 0 if absent or unreadable; clamped to 1 .. 3,600. */
unsigned int mauth_entra_retry_after(const char *retry_after, const char *date, int64_t wall_now_secs);

/* Seconds since the epoch of an HTTP date (IMF-fixdate, RFC 9110 5.6.7). false: it is none, *secs_r is untouched. */
bool mauth_http_date(const char *str, int64_t *secs_r);

/* URL of the user realm lookup for upn; the caller frees. */
char *mauth_entra_realm_url(const struct mauth_tenant *tenant, const char *upn);
/* URL that tells, unauthenticated, where the mailbox of address is; the caller frees. */
char *mauth_entra_autodiscover_url(const struct mauth_tenant *tenant, const char *address);
enum mauth_realm { MAUTH_REALM_UNKNOWN, MAUTH_REALM_MANAGED, MAUTH_REALM_FEDERATED };
/* Reads its reply; anything unreadable is MAUTH_REALM_UNKNOWN. */
enum mauth_realm mauth_entra_parse_realm(unsigned int http_status, const char *body, size_t size);

/* URL by which Microsoft Graph says whether the account upn is enabled; the caller frees. */
char *mauth_entra_account_url(const struct mauth_tenant *tenant, const char *upn);
/* Reads Graph's reply. MAUTH_OK: it is enabled; MAUTH_DISABLED; MAUTH_USER_UNKNOWN: there is none; MAUTH_CONFIG: the
 * application may not ask; MAUTH_TEMPORARY, MAUTH_PROTOCOL: no answer. error_r has text and advice unless MAUTH_OK. */
enum mauth_status mauth_entra_parse_account(const char *upn, unsigned int http_status, const char *body, size_t size,
					    struct mauth_error *error_r);
/* The text and advice of MAUTH_DISABLED and MAUTH_USER_UNKNOWN, MAUTH_OK for everything else. */
enum mauth_status mauth_entra_account_error(const char *upn, enum mauth_status status, struct mauth_error *error_r);

/* A fresh GUID for client-request-id, lower case, 36 characters. */
#define MAUTH_GUID_SIZE 37u
void mauth_guid(char guid_r[static MAUTH_GUID_SIZE]);

#endif
