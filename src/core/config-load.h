/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_CONFIG_LOAD_H
#define MAUTH_CONFIG_LOAD_H
/* What config-load.c (the file as a whole) and those who read one section of it share. */

#include "core/config-value.h"

struct mauth_loader {
	struct mauth_config *config;            /* being filled */
	const struct mauth_conf *conf;
	mauth_config_read_fn *read_file;
	void *read_context;
	void (*warn)(void *context, const char *text);
	void *warn_context;
	bool *read_as_secret;                   /* of each of config->files */
	size_t files_octets;
};

/* The file that value names, read at most once; owned by the configuration. */
enum mauth_status mauth_load_file(struct mauth_loader *loader, const struct mauth_conf_value *value, bool secret,
				  const struct mauth_secret **content_r, struct mauth_error *error_r);
/* The same for a file that need not be there: *content_r is NULL then. */
enum mauth_status mauth_load_file_if_any(struct mauth_loader *loader, const char *path, const struct mauth_conf_value *value,
					 const struct mauth_secret **content_r, struct mauth_error *error_r);
/* The sections audit and privacy. */
enum mauth_status mauth_load_audit(struct mauth_loader *loader, struct mauth_error *error_r);
enum mauth_status mauth_load_privacy(struct mauth_loader *loader, struct mauth_error *error_r);
/* Says "path:line: text" to whoever wants warnings. */
void mauth_load_warn(struct mauth_loader *loader, unsigned int line, const char *fmt, ...) MAUTH_PRINTF(3, 4);
/* Adds the tenant of section to the configuration. */
enum mauth_status mauth_load_tenant(struct mauth_loader *loader, const struct mauth_conf_section *section,
				    struct mauth_error *error_r);
/* Can the name of a user of tenant match pattern? It has one "@" and ends in a domain of the tenant. */
bool mauth_load_concerns(const char *pattern, const struct mauth_tenant *tenant);
bool mauth_load_concerns_any(const struct mauth_config *config, const char *pattern);
/* Can text be a pattern of user names? */
bool mauth_load_is_pattern(const char *text);
/* The patterns of the list called name, lower-cased and NULL-terminated, in *patterns_r even on failure; NULL if the
 * section has none. Warns about those that no user of any tenant can match. */
enum mauth_status mauth_load_patterns(struct mauth_loader *loader, const struct mauth_conf_section *section,
				      const char *name, char ***patterns_r, struct mauth_error *error_r);
/* Adds the rule of section; all tenants are there already. */
enum mauth_status mauth_load_rule(struct mauth_loader *loader, const struct mauth_conf_section *section,
				  struct mauth_error *error_r);
/* Warns about rules that never match because of those before them. */
void mauth_load_warn_rules(struct mauth_loader *loader);
/* Adds the map of section; all tenants are there already. */
enum mauth_status mauth_load_map(struct mauth_loader *loader, const struct mauth_conf_section *section,
				 struct mauth_error *error_r);
/* What the application of tenant proves itself with. */
enum mauth_status mauth_load_credentials(struct mauth_loader *loader, const struct mauth_conf_section *section,
					 struct mauth_tenant *tenant, struct mauth_error *error_r);
/* Who says where the mailboxes of tenant are. autodiscover: the cloud's. */
enum mauth_status mauth_load_hybrid(struct mauth_loader *loader, const struct mauth_conf_section *section,
				    struct mauth_tenant *tenant, const char *autodiscover, struct mauth_error *error_r);
/* The title of section, new and the caller's. MAUTH_CONFIG if it is no name. */
enum mauth_status mauth_load_name(struct mauth_loader *loader, const struct mauth_conf_section *section, char **name_r,
				  struct mauth_error *error_r);
/* The setting "grants" of section; *count_r = 0 if it has none. */
enum mauth_status mauth_load_grants(const struct mauth_conf_section *section,
				    enum mauth_grant_type grants_r[static MAUTH_GRANT_COUNT], size_t *count_r,
				    struct mauth_error *error_r);
/* May the grants that section names be given to users of tenant? MAUTH_CONFIG with the reason. */
enum mauth_status mauth_load_check_grants(const struct mauth_conf_section *section, const struct mauth_tenant *tenant,
					  struct mauth_error *error_r);

#endif
