/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_CONFIG_H
#define MAUTH_CONFIG_H
/* modernauth.conf, read once into an immutable, reference-counted tree. A new file is a new tree; the old one stays
 * in force until the new one has been accepted as a whole. */

#include "modernauth/modernauth.h"

struct mauth_aadsts_table;
struct mauth_assertion_key;

enum mauth_grant_type { MAUTH_GRANT_PASSWORD };

struct mauth_tenant {
	char *name;                          /* the title in the file: names it in log and audit */
	char **domains;                      /* lower case, NULL-terminated */
	char *tenant_id;                     /* GUID or verified domain: goes into the URL */
	char *cloud;                         /* name of the preset */
	bool us_government;                  /* its smart lock-out begins after 3 bad passwords */
	char *client_id;
	struct mauth_secret *client_secret;  /* NULL: none */
	struct mauth_assertion_key *assertion_key;   /* NULL: none */
	enum mauth_grant_type grants[4];
	size_t grants_count;
	char *authority;                     /* "https://login.microsoftonline.com", no slash at the end */
	char *token_url;                     /* authority/tenant_id/oauth2/v2.0/token */
	char *scope;                         /* the scope parameter: IMAP, POP and SMTP of one resource, space separated */
	char *upn_domain;                    /* the UPN's domain if it differs from the login's; NULL: the same */
	char *ca_file;                       /* for the authority; NULL: system */
	char *proxy;                         /* NULL: environment */
	bool user_realm;                     /* ask the user realm before 50126 counts as a bad password */
	struct mauth_endpoint endpoints[MAUTH_SERVICE_COUNT];
	unsigned char fingerprint[32];       /* of everything that decides which token a user gets */
	size_t index;                        /* position in mauth_config.tenants */
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
};

struct mauth_config {
	int refcount;
	char *path;
	char *state_dir;
	char *audit_path;
	bool audit_required;
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
	struct mauth_aadsts_table *aadsts;   /* built-in rows plus the override file */
	struct mauth_tenant **tenants;
	size_t tenants_count;
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

/* The tenant that serves domain (any case), or NULL. */
const struct mauth_tenant *mauth_config_tenant_for(const struct mauth_config *config, const char *domain);

#endif
