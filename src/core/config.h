/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_CONFIG_H
#define MAUTH_CONFIG_H
/* modernauth.conf, read once into an immutable, reference-counted tree. A new file is a new tree; the old one stays
 * in force until the new one has been accepted as a whole. */

#include "core/forward-target.h"
#include "core/hybrid-line.h"
#include "modernauth/modernauth.h"

struct mauth_aadsts_table;
struct mauth_assertion_key;

/* The ways to a token, in the words of the setting "grants". */
enum mauth_grant_type {
	MAUTH_GRANT_PASSWORD,                /* the user's own password (ROPC), which Entra verifies */
	MAUTH_GRANT_ENROLLED,                /* a refresh token from the user's enrolment */
	MAUTH_GRANT_APP,                     /* the application's own token (client credentials) */
	MAUTH_GRANT_COUNT
};
const char *mauth_grant_name(enum mauth_grant_type grant);

/* What audit and log say of users: their names, pseudonyms that the broker can undo, pseudonyms that nobody can. */
enum mauth_privacy_users { MAUTH_USERS_CLEAR, MAUTH_USERS_PSEUDONYM, MAUTH_USERS_HASH };

/* What the application proves itself with; one of both. */
struct mauth_credential {
	struct mauth_secret *secret;
	struct mauth_assertion_key *key;
	char *path;                          /* of the secret's or the certificate's file: names it in log and lists */
	int64_t not_after;                   /* end of the certificate, or of the secret as the admin has noted it; wall
						clock, seconds; 0: unknown */
};
#define MAUTH_CREDENTIALS_MAX 4u

struct mauth_rule;                           /* core/policy.h */
struct mauth_chain_key;                      /* core/chain.h */
struct mauth_policy_index;

/* map "name" { ... }: logins that stand for another account, another mailbox, or both. */
struct mauth_map {
	char *name;
	char **logins;                       /* patterns, lower case, NULL-terminated */
	char *account;                       /* whose token is used, lower case; NULL: the login's own */
	char *mailbox;                       /* what is opened, lower case; NULL: the login's own */
};

struct mauth_tenant {
	char *name;                          /* the title in the file: names it in log and audit */
	char **domains;                      /* lower case, NULL-terminated */
	char *tenant_id;                     /* GUID or verified domain: goes into the URL */
	char *cloud;                         /* name of the preset */
	bool us_government;                  /* its smart lock-out begins after 3 bad passwords */
	char *client_id;
	struct mauth_secret *client_secret;  /* the first of the credentials that has one; NULL: none */
	struct mauth_assertion_key *assertion_key;   /* the same */
	struct mauth_credential credentials[MAUTH_CREDENTIALS_MAX];  /* in the order in which they are tried */
	size_t credentials_count;
	enum mauth_grant_type grants[MAUTH_GRANT_COUNT];     /* in the order in which they are tried */
	size_t grants_count;
	bool verified_by_dovecot, verified_by_device;        /* whose word opens enrolled mailboxes and app-only access:
						an earlier passdb's, our device passwords' */
	bool client_tokens;                  /* XOAUTH2 and OAUTHBEARER logins are passed through */
	bool check_accounts;                 /* app-only behind a device password: only while Graph says that the account is
						enabled */
	char *authority;                     /* "https://login.microsoftonline.com", no slash at the end */
	char *token_url;                     /* authority/tenant_id/oauth2/v2.0/token */
	char *device_code_url;               /* authority/tenant_id/oauth2/v2.0/devicecode */
	char *scope;                         /* the scope parameter: IMAP, POP and SMTP of one resource, space separated */
	char *app_scope;                     /* of app-only access: "https://outlook.office365.com/.default" */
	char *graph;                         /* "https://graph.microsoft.com", no slash at the end */
	char *graph_scope;                   /* graph/.default */
	char *upn_domain;                    /* the UPN's domain if it differs from the login's; NULL: the same */
	char *ca_file;                       /* for the authority; NULL: system */
	char *proxy;                         /* NULL: environment */
	bool user_realm;                     /* ask the user realm before 50126 counts as a bad password */
	bool side_by_passdb, side_by_map, side_by_autodiscover;      /* who is asked where a mailbox is, in this order */
	enum mauth_side mailbox_default;     /* when none of them knows */
	char *mailbox_map;                   /* path; NULL: none */
	char *autodiscover;                  /* "https://outlook.office365.com", no slash at the end */
	struct mauth_endpoint endpoints[MAUTH_SERVICE_COUNT];
	unsigned char fingerprint[32];       /* of everything that decides which token a user gets */
	size_t index;                        /* position in mauth_config.tenants */
	uint32_t keys[MAUTH_GRANT_COUNT];    /* the same for each grant: a token got by one is never found by another */
	uint32_t key;                        /* first 4 octets of the fingerprint: names the tenant in tables and to a
						successor whose file may list the tenants in another order */
};

struct mauth_config_domain {
	const char *name;                    /* the tenant's */
	const struct mauth_tenant *tenant;
	unsigned int line;                   /* where it stands in the file */
};

struct mauth_config_file {               /* a file that the configuration names and that was read */
	char *path;
	struct mauth_secret *content;
	bool secret;                         /* others may not read it */
};

/* Whose relay and status listeners are, unless relay_user says otherwise. */
#define MAUTH_RELAY_USER "postfix"

struct mauth_config {
	int refcount;
	char *path;
	char *state_dir;
	char *audit_path;
	bool audit_required;
	bool audit_group;                    /* nobody is answered before the record is on disk */
	char *audit_key_file;                /* NULL: records are not sealed */
	struct mauth_chain_key *audit_key;   /* NULL: not sealed, or there is no such file yet */
	char *audit_syslog_host;
	struct mauth_forward_target audit_syslog;    /* MAUTH_TRANSPORT_NONE: none */
	char *audit_syslog_message;          /* "text", "ecs", "ocsf" or "cef" */
	bool audit_journald;
	int64_t audit_keep_secs;             /* files whose last record is older are deleted; 0: never */
	uint64_t audit_max_size;             /* octets of all files together, the oldest go; 0: any */
	enum mauth_privacy_users privacy_users;
	bool privacy_ips;                    /* networks instead of addresses */
	char *privacy_key_file;              /* NULL: users are clear */
	struct mauth_secret *privacy_key;    /* NULL: they are clear, or there is no such file yet */
	char *default_domain;                /* for logins without "@"; NULL: such logins are not ours */
	uint64_t cache_max;                  /* octets */
	unsigned int deadline_msecs;         /* of one login, default 20 s */
	unsigned int request_timeout_msecs;  /* of one token request, default 15 s, below the deadline */
	unsigned int refresh_ahead_secs;     /* a token with less life than this is renewed in the background */
	unsigned int min_life_secs;          /* with less than this a fresh one is fetched first, default 300 */
	unsigned int max_connections;        /* to one host */
	unsigned int bad_password_secs;      /* how long a refused password is remembered, default 900 */
	unsigned int lockout_threshold;      /* distinct bad passwords, default 5 */
	unsigned int lockout_threshold_usgov;/* default 2 */
	unsigned int lockout_window_secs;    /* default 600 */
	unsigned int lockout_secs;           /* how long such a user is not forwarded, default 600 */
	bool explain_to_client;              /* tell a refused client why (expired, MFA); false: one reply for all */
	char *auth_user, *login_user;        /* system users whose processes may use the auth and login listeners */
	char *relay_user;                    /* the same of the relay and status listeners: the MTA's */
	struct mauth_aadsts_table *aadsts;   /* built-in rows plus the override file */
	struct mauth_tenant **tenants;
	size_t tenants_count;
	struct mauth_rule **rules;           /* in the order of the file */
	size_t rules_count;
	struct mauth_policy_index *policy_index;     /* of the rules */
	struct mauth_map *maps;
	size_t maps_count;
	char *mailbox_separators;            /* characters between account and mailbox in a login, default "\\" */
	char *key_file;                      /* of the store's seal keys; NULL: in state_dir */
	unsigned int keep_alive_secs;        /* an enrolment that was not used for so long is refreshed, default 30 days */
	unsigned int expiry_warning_secs;    /* enrolments that end within this are warned about, default 14 days */
	unsigned int credential_warning_secs;/* the same for secrets and certificates, default 30 days */
	bool inventory;                      /* keep one, default true */
	unsigned int inventory_max;          /* rows, default 100,000 */
	unsigned int inventory_keep_secs;    /* rows that were not seen for so long are deleted, default 400 days */
	bool self_service_generated;         /* self-service: we choose the device password, not the user */
	unsigned int self_service_per_hour;  /* codes for all users together, default 60 */
	char *notice_mail_to, *notice_mail_from;     /* of notices about ends; NULL: no mail; NULL: the same address */
	char *notice_sendmail, *notice_command;      /* programs; NULL: none */
	struct mauth_config_domain *domains; /* every tenant's, in order of name: mauth_config_tenant_for() looks here */
	size_t domains_count;
	struct mauth_config_file *files;     /* what was read besides the file itself */
	size_t files_count;
	struct mauth_secret *text;           /* the file as it was read: a successor may need it */
};

/* How the configuration reads files. MAUTH_OK and *content_r, or a failure with a text that names the path.
 * secret: refuse a file that others may read. The real one is mauth_config_read_file(). */
typedef enum mauth_status mauth_config_read_fn(void *context, const char *path, bool secret,
					       struct mauth_secret **content_r, struct mauth_error *error_r);
mauth_config_read_fn mauth_config_read_file;     /* context unused; refuses > MAUTH_CONFIG_MAX, non-regular files,
						    and, for secrets, any permission for "other" */

/* Reads the file at path. MAUTH_OK with one reference in *config_r, or MAUTH_CONFIG and a text
 * "PATH:LINE: what is wrong; what was expected". Warnings (things that are accepted but odd) go to warn, which may be
 * NULL. */
enum mauth_status mauth_config_load(const char *path, mauth_config_read_fn *read_file, void *read_context,
				    void (*warn)(void *context, const char *text), void *warn_context,
				    struct mauth_config **config_r, struct mauth_error *error_r);
struct mauth_config *mauth_config_ref(struct mauth_config *config);
void mauth_config_unref(struct mauth_config **config);

/* The tenant whose name is the size octets at name, or NULL. */
const struct mauth_tenant *mauth_config_tenant_named(const struct mauth_config *config, const char *name, size_t size);
/* The tenant that serves domain (any case), or NULL. */
const struct mauth_tenant *mauth_config_tenant_for(const struct mauth_config *config, const char *domain);

#endif
