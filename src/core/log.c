/* SPDX-License-Identifier: MIT */
#include "core/mem.h"
#include "modernauth/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define LOG_LINE_MAX 1024u

void mauth_log(const struct mauth_log *log, enum mauth_level level, const char *fmt, ...)
{
	char raw[LOG_LINE_MAX * 2], text[LOG_LINE_MAX];
	va_list args;

	if (level == MAUTH_DEBUG && !log->debug)
		return;
	va_start(args, fmt);
	vsnprintf(raw, sizeof(raw), fmt, args);
	va_end(args);
	mauth_clean_copy(text, sizeof(text), raw, strlen(raw));
	log->line(log->context, level, text);
}
