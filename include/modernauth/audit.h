/* SPDX-License-Identifier: MIT */
#ifndef MODERNAUTH_AUDIT_H
#define MODERNAUTH_AUDIT_H
/* Where audit records go: one line of JSON each. src/store/audit-file.c is the real one. */

#include "modernauth/modernauth.h"

struct mauth_audit_sink {
	/* Appends one or more lines (each ends in "\n") as a whole, or not at all. Anything but MAUTH_OK means that they
	   are not in the file; error_r (may be NULL) then says why and what to do. */
	enum mauth_status (*append)(void *context, const char *lines, size_t size, struct mauth_error *error_r);
	void *context;
};

#endif
