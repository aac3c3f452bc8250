/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_ENTRA_H
#define MAUTH_ENTRA_H
/* Microsoft Entra ID's v2.0 token endpoint: forms out, replies in. Pure: no network, no clock of its own. */

#include "core/aadsts.h"
#include "core/config.h"
#include "modernauth/http.h"

/* The form of the password grant (v2-oauth-ropc.md): percent-encoded, wiped when freed. assertion: the signed
 * client assertion for tenants with a certificate, otherwise NULL. The caller frees. */
struct mauth_secret *mauth_entra_password_form(const struct mauth_tenant *tenant, const char *upn,
					       const struct mauth_secret *password,
					       const struct mauth_secret *assertion);

/* A token reply that can be used, or what its error comes down to. */
struct mauth_entra_reply {
	struct mauth_secret *token;      /* NULL on failure; mauth_entra_reply_clear() frees */
	int64_t expires_in, refresh_in;  /* seconds, clamped to 1 .. 86,400; refresh_in 0 if absent */
	/* of the token where it is a JWT that can be read, otherwise "" */
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

/* Seconds to wait from a Retry-After header: seconds, or an HTTP date measured against the reply's own Date (else
 * wall_now_secs). 0 if absent or unreadable; clamped to 1 .. 3,600. */
unsigned int mauth_entra_retry_after(const char *retry_after, const char *date, int64_t wall_now_secs);

/* URL of the user realm lookup for upn; the caller frees. */
char *mauth_entra_realm_url(const struct mauth_tenant *tenant, const char *upn);
enum mauth_realm { MAUTH_REALM_UNKNOWN, MAUTH_REALM_MANAGED, MAUTH_REALM_FEDERATED };
/* Reads its reply; anything unreadable is MAUTH_REALM_UNKNOWN. */
enum mauth_realm mauth_entra_parse_realm(unsigned int http_status, const char *body, size_t size);

/* A fresh GUID for client-request-id, lower case, 36 characters. */
#define MAUTH_GUID_SIZE 37u
void mauth_guid(char guid_r[static MAUTH_GUID_SIZE]);

#endif
