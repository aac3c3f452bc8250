/* SPDX-License-Identifier: MIT */
#include "lib.h"
#include "master-service.h"
#include "master-service-settings.h"

#include "compat/service.h"

int mauth_compat_read_settings(struct master_service *service, const char **error_r)
{
	return master_service_settings_read_simple(service, NULL, error_r);
}

const char *mauth_compat_base_dir_path(struct master_service *service, const char *name)
{
	return i_strconcat(master_service_settings_get(service)->base_dir, "/", name, NULL);
}
