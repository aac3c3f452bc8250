/* SPDX-License-Identifier: MIT */
#ifndef CONFIG_FILES_H
#define CONFIG_FILES_H
/* Files in memory for mauth_config_load(). */

#include "core/config.h"

#define CONFIG_PATH "/etc/m.conf"

/* One of a list that ends with a NULL path. */
struct config_file {
	const char *path, *content;
	size_t size;            /* 0: content is a string */
	bool loose;             /* others may read it: refused as a secret */
};
mauth_config_read_fn config_files_read;   /* context: const struct config_file * */

/* A tenant that lacks nothing, and other settings before and in it. */
#define TENANT_BODY "domains = {\"contoso.com\"}\ntenant_id = \"contoso.onmicrosoft.com\"\n" \
	"client_id = \"9e5f94bc-e8a4-4e73-b8be-63364c29d753\"\n"
#define TENANT(extra) "tenant \"contoso\" {\n" TENANT_BODY extra "}\n"

/* The configuration, or NULL and *error_r. */
struct mauth_config *config_files_load(const char *text, const struct config_file *files,
				       struct mauth_error *error_r);

#endif
