/* SPDX-License-Identifier: MIT */
#include "core/exceptions.h"

#include "core/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TIME_MAX 253402300799            /* the last second of the year 9999 */

void mauth_exception_clear(struct mauth_exception *exception)
{
	free(exception->user);
	free(exception->by);
	free(exception->reason);
	exception->user = exception->by = exception->reason = NULL;
}

void mauth_services_text(unsigned int services, char text_r[static MAUTH_SERVICES_TEXT_SIZE])
{
	text_r[0] = '\0';
	for (enum mauth_service service = 0; service < MAUTH_SERVICE_COUNT; service++) {
		size_t used = strlen(text_r);

		if ((services & 1u << service) != 0)
			snprintf(text_r + used, MAUTH_SERVICES_TEXT_SIZE - used, "%s%s", used > 0 ? "," : "",
				 mauth_service_name(service));
	}
}

bool mauth_exception_user_is_good(const char *pattern)
{
	char clean[MAUTH_USER_MAX + 1];
	size_t size = strnlen(pattern, MAUTH_USER_MAX + 1);

	if (size == 0 || size > MAUTH_USER_MAX || strchr(pattern, ' ') != NULL)
		return false;
	for (const char *at = pattern; *at != '\0'; at++) {
		if (*at >= 'A' && *at <= 'Z')
			return false;
	}
	mauth_clean_copy(clean, sizeof(clean), pattern, size);
	return strcmp(clean, pattern) == 0;
}

/* -- writing -- */

void mauth_exception_encode(const struct mauth_exception *exception, struct mauth_buf *to)
{
	char services[MAUTH_SERVICES_TEXT_SIZE], network[MAUTH_NETWORK_TEXT_SIZE];
	json_t *row = json_object();
	char *text;

	mauth_services_text(exception->services, services);
	json_object_set_new(row, "services", json_string(services));
	if (exception->user != NULL)
		json_object_set_new(row, "user", json_string(exception->user));
	if (exception->has_network) {
		mauth_network_format(&exception->network, network);
		json_object_set_new(row, "network", json_string(network));
	}
	json_object_set_new(row, "action", json_string(mauth_action_name(exception->action)));
	json_object_set_new(row, "until", json_integer(exception->until));
	json_object_set_new(row, "created_at", json_integer(exception->created_at));
	json_object_set_new(row, "by", json_string(exception->by));
	json_object_set_new(row, "uid", json_integer(exception->uid));
	json_object_set_new(row, "reason", json_string(exception->reason));
	json_object_set_new(row, "ended", json_boolean(exception->ended));
	text = mauth_json_text(row);
	mauth_buf_puts(to, text);
	free(text);
	json_decref(row);
}

/* -- reading -- */

static bool read_services(const json_t *row, struct mauth_exception *exception)
{
	const char *at = mauth_json_str(row, "services");

	while (*at != '\0') {
		size_t size = strcspn(at, ",");
		char word[MAUTH_SERVICES_TEXT_SIZE];
		enum mauth_service service;

		if (size >= sizeof(word))
			return false;
		memcpy(word, at, size);
		word[size] = '\0';
		if (!mauth_service_parse(word, &service))
			return false;
		exception->services |= 1u << service;
		at += size + (at[size] == ',');
	}
	return exception->services != 0;
}

/* A condition that cannot be read must not become none. */
static bool read_whom(const json_t *row, struct mauth_exception *exception)
{
	const json_t *user = json_object_get(row, "user"), *network = json_object_get(row, "network");

	if (user != NULL && (!json_is_string(user) || !mauth_exception_user_is_good(json_string_value(user))))
		return false;
	exception->user = user == NULL ? NULL : mauth_strdup(json_string_value(user));
	exception->has_network = network != NULL;
	return network == NULL ||
	       (json_is_string(network) && mauth_network_parse(json_string_value(network), &exception->network, NULL));
}

static bool read_num(const json_t *row, const char *key, int64_t max, int64_t *num_r)
{
	const json_t *value = json_object_get(row, key);

	return json_is_integer(value) && mauth_json_num(value, num_r) && *num_r >= 0 && *num_r <= max;
}

static char *read_text(const json_t *row, const char *key, size_t max)
{
	const char *text = mauth_json_str(row, key);
	char *copy = mauth_new(max + 1);

	mauth_clean_copy(copy, max + 1, text, strlen(text));
	return copy;
}

bool mauth_exception_decode(const char *value, size_t size, struct mauth_exception *exception_r)
{
	json_t *row = mauth_json_object(value, size);
	struct mauth_exception exception = { .services = 0 };
	bool good = row != NULL && read_services(row, &exception) && read_whom(row, &exception) &&
		    mauth_action_parse(mauth_json_str(row, "action"), &exception.action) &&
		    (exception.action == MAUTH_ACTION_UPGRADE || exception.action == MAUTH_ACTION_BASIC) &&
		    read_num(row, "until", TIME_MAX, &exception.until) &&
		    read_num(row, "created_at", TIME_MAX, &exception.created_at) &&
		    read_num(row, "uid", UINT32_MAX, &exception.uid);

	if (good) {
		exception.by = read_text(row, "by", MAUTH_EXCEPTION_BY_MAX);
		exception.reason = read_text(row, "reason", MAUTH_EXCEPTION_REASON_MAX);
		exception.ended = json_is_true(json_object_get(row, "ended"));
		*exception_r = exception;
	} else {
		mauth_exception_clear(&exception);
	}
	json_decref(row);
	return good;
}
