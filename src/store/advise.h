/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_STORE_ADVISE_H
#define MAUTH_STORE_ADVISE_H

#include "core/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Adds what to do about it to an error: "return mauth_advise(error_r, mauth_fail(error_r, ...), ...)". Gives status. */
static inline MAUTH_PRINTF(3, 4) enum mauth_status
mauth_advise(struct mauth_error *error_r, enum mauth_status status, const char *fmt, ...)
{
	char text[MAUTH_TEXT_MAX * 2];
	va_list args;

	if (error_r == NULL)
		return status;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	mauth_clean_copy(error_r->advice, sizeof(error_r->advice), text, strlen(text));
	return status;
}

#endif
