/* SPDX-License-Identifier: MIT */
#include "config_files.h"

#include "core/mem.h"

#include <stdlib.h>
#include <string.h>

enum mauth_status config_files_read(void *context, const char *path, bool secret,
				    struct mauth_secret **content_r, struct mauth_error *error_r)
{
	for (const struct config_file *file = context; file != NULL && file->path != NULL; file++) {
		if (strcmp(file->path, path) != 0)
			continue;
		if (secret && file->loose)
			return mauth_fail(error_r, MAUTH_CONFIG, 0, "%s may be used by everybody", path);
		*content_r = mauth_secret_new(file->content, file->size > 0 ? file->size : strlen(file->content));
		return MAUTH_OK;
	}
	return mauth_fail(error_r, MAUTH_CONFIG, 2, "%s: No such file or directory", path);
}

struct mauth_config *config_files_load(const char *text, const struct config_file *files,
				       struct mauth_error *error_r)
{
	struct config_file all[16] = { { CONFIG_PATH, text, 0, false } };
	struct mauth_config *config = NULL;

	for (size_t i = 0; files != NULL && files[i].path != NULL && i + 2 < sizeof(all) / sizeof(all[0]); i++)
		all[i + 1] = files[i];
	if (mauth_config_load(CONFIG_PATH, config_files_read, all, NULL, NULL, &config, error_r) != MAUTH_OK)
		return NULL;
	return config;
}
