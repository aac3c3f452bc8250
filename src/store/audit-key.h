/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_AUDIT_KEY_H
#define MAUTH_AUDIT_KEY_H
/* The file of the audit's key, and the public one beside it. */

#include "modernauth/modernauth.h"

/* Makes a fresh pair: PATH, 0600, and PATH.pub, 0644. Never over an existing PATH. MAUTH_CONFIG with what to do. */
enum mauth_status mauth_audit_key_create(const char *path, struct mauth_error *error_r);

#endif
