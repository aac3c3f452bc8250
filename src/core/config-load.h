/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_CONFIG_LOAD_H
#define MAUTH_CONFIG_LOAD_H
/* What config-load.c (the file as a whole) and config-tenant.c (one tenant) share. */

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
/* Says "path:line: text" to whoever wants warnings. */
void mauth_load_warn(struct mauth_loader *loader, unsigned int line, const char *fmt, ...) MAUTH_PRINTF(3, 4);
/* Adds the tenant of section to the configuration. */
enum mauth_status mauth_load_tenant(struct mauth_loader *loader, const struct mauth_conf_section *section,
				    struct mauth_error *error_r);

#endif
