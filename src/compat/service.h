/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_COMPAT_SERVICE_H
#define MAUTH_COMPAT_SERVICE_H
/* What differs between Dovecot releases for a service process. */

struct master_service;

/* Reads the settings that every service has. -1 with *error_r. */
int mauth_compat_read_settings(struct master_service *service, const char **error_r);
/* base_dir/name, allocated for the life of the process. */
const char *mauth_compat_base_dir_path(struct master_service *service, const char *name);

#endif
