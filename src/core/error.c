/* SPDX-License-Identifier: MIT */
#include "core/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *const status_names[MAUTH_STATUS_COUNT] = {
	[MAUTH_OK] = "ok",
	[MAUTH_BAD_CREDENTIALS] = "bad_credentials",
	[MAUTH_USER_UNKNOWN] = "user_unknown",
	[MAUTH_LOCKED] = "locked",
	[MAUTH_DISABLED] = "disabled",
	[MAUTH_EXPIRED] = "expired",
	[MAUTH_INTERACTION] = "interaction",
	[MAUTH_POLICY] = "policy",
	[MAUTH_NOT_OURS] = "not_ours",
	[MAUTH_CONFIG] = "config",
	[MAUTH_TEMPORARY] = "temporary",
	[MAUTH_TIMEOUT] = "timeout",
	[MAUTH_PROTOCOL] = "protocol",
	[MAUTH_AUDIT] = "audit",
	[MAUTH_CANCELLED] = "cancelled",
};

static const char *const service_names[MAUTH_SERVICE_COUNT] = {
	[MAUTH_SERVICE_IMAP] = "imap",
	[MAUTH_SERVICE_POP3] = "pop3",
	[MAUTH_SERVICE_SUBMISSION] = "submission",
};

static const char *const upstream_names[MAUTH_UPSTREAM_COUNT] = {
	[MAUTH_UPSTREAM_ACCEPTED] = "accepted",
	[MAUTH_UPSTREAM_REFUSED] = "refused",
	[MAUTH_UPSTREAM_FAILED] = "failed",
};

/* The index of name in names, or count. */
static size_t name_index(const char *const *names, size_t count, const char *name)
{
	size_t i;

	for (i = 0; i < count && strcmp(names[i], name) != 0; i++)
		;
	return i;
}

const char *mauth_status_name(enum mauth_status status)
{
	return (unsigned int)status < MAUTH_STATUS_COUNT ? status_names[status] : "unknown";
}

bool mauth_status_parse(const char *name, enum mauth_status *status_r)
{
	size_t i = name_index(status_names, MAUTH_STATUS_COUNT, name);

	if (i == MAUTH_STATUS_COUNT)
		return false;
	*status_r = (enum mauth_status)i;
	return true;
}

const char *mauth_service_name(enum mauth_service service)
{
	return (unsigned int)service < MAUTH_SERVICE_COUNT ? service_names[service] : "unknown";
}

bool mauth_service_parse(const char *name, enum mauth_service *service_r)
{
	size_t i = name_index(service_names, MAUTH_SERVICE_COUNT, name);

	if (i == MAUTH_SERVICE_COUNT)
		return false;
	*service_r = (enum mauth_service)i;
	return true;
}

const char *mauth_upstream_result_name(enum mauth_upstream_result result)
{
	return (unsigned int)result < MAUTH_UPSTREAM_COUNT ? upstream_names[result] : "unknown";
}

bool mauth_upstream_result_parse(const char *name, enum mauth_upstream_result *result_r)
{
	size_t i = name_index(upstream_names, MAUTH_UPSTREAM_COUNT, name);

	if (i == MAUTH_UPSTREAM_COUNT)
		return false;
	*result_r = (enum mauth_upstream_result)i;
	return true;
}

static const char *const ended_by_names[MAUTH_ENDED_BY_COUNT] = {
	[MAUTH_ENDED_BY_CLIENT] = "client",
	[MAUTH_ENDED_BY_SERVER] = "server",
	[MAUTH_ENDED_BY_FRONT_END] = "front-end",
};

const char *mauth_ended_by_name(enum mauth_ended_by by)
{
	return (unsigned int)by < MAUTH_ENDED_BY_COUNT ? ended_by_names[by] : "unknown";
}

bool mauth_ended_by_parse(const char *name, enum mauth_ended_by *by_r)
{
	size_t i = name_index(ended_by_names, MAUTH_ENDED_BY_COUNT, name);

	if (i == MAUTH_ENDED_BY_COUNT)
		return false;
	*by_r = (enum mauth_ended_by)i;
	return true;
}

const char *mauth_verified_by_name(enum mauth_verified_by by)
{
	switch (by) {
	case MAUTH_VERIFIED_NONE:
		return "none";
	case MAUTH_VERIFIED_ENTRA:
		return "entra";
	case MAUTH_VERIFIED_DOVECOT:
		return "dovecot";
	case MAUTH_VERIFIED_DEVICE:
		return "device";
	case MAUTH_VERIFIED_CLIENT_TOKEN:
		return "client-token";
	case MAUTH_VERIFIED_RELAY:
		return "relay-key";
	}
	return "none";
}

enum mauth_status mauth_fail(struct mauth_error *error_r, enum mauth_status status, int code, const char *fmt, ...)
{
	char text[MAUTH_TEXT_MAX * 2];
	va_list args;

	if (error_r == NULL)
		return status;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	memset(error_r, 0, sizeof(*error_r));
	error_r->status = status;
	error_r->code = code;
	mauth_clean_copy(error_r->text, sizeof(error_r->text), text, strlen(text));
	return status;
}
