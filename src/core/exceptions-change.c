/* SPDX-License-Identifier: MIT */
#include "core/exceptions-private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DAY_SECS 86400

enum write_kind { WRITE_ADD, WRITE_KEEP, WRITE_DELETE };

/* A row on its way to the disk: it outlives the picture. */
struct exception_write {
	struct exception_write *next, **link;
	struct mauth_exceptions *exceptions; /* NULL: gone meanwhile */
	enum write_kind kind;
	struct exception *exception;
	mauth_exception_change_fn *done;     /* NULL: nobody waits */
	void *context;
};

/* -- writing ------------------------------------------------------------------------------------------------ */

static void say(const struct exception_write *write, const char *holds, const struct mauth_error *error,
		struct mauth_error *reported)
{
	mauth_fail(reported, error->status, error->code, "%s: %s", holds, error->text);
	memcpy(reported->advice, error->advice, sizeof(reported->advice));
	mauth_log(write->exceptions->deps.log, MAUTH_ERROR, "exception %s: %s", write->exception->pub.id,
		  reported->text);
}

static void unlink_removed(struct mauth_exceptions *exceptions, struct exception *exception)
{
	struct exception **at = &exceptions->removed;

	while (*at != exception)
		at = &(*at)->next;
	*at = exception->next;
	exception->loose = true;
}

/* Whatever the store said is what the picture knows now. */
static void settle(struct exception_write *write, const struct mauth_error *error, struct mauth_error *reported)
{
	struct mauth_exceptions *exceptions = write->exceptions;
	struct exception *exception = write->exception;

	exception->unwritten = error != NULL;
	switch (write->kind) {
	case WRITE_ADD:
		exceptions->adding--;
		if (error != NULL) {
			say(write, "it has not been added", error, reported);
			return;
		}
		exception->loose = false;
		exception_insert(exceptions, exception);
		return;
	case WRITE_KEEP:
		return;
	case WRITE_DELETE:
		if (error != NULL)
			say(write,
			    "it is removed and does not hold any more, but would be back after a restart: the store is "
			    "tried again in a few seconds",
			    error, reported);
		else if (!exception->loose)
			unlink_removed(exceptions, exception);
		return;
	}
}

static void written(const struct mauth_error *error, void *context)
{
	struct exception_write *write = context;
	struct exception *exception = write->exception;
	struct mauth_error reported;

	if (error != NULL)
		reported = *error;
	exception->writing--;
	if (write->exceptions != NULL) {
		*write->link = write->next;
		if (write->next != NULL)
			write->next->link = write->link;
		settle(write, error, &reported);
	}
	if (write->done != NULL)
		write->done(&exception->pub, error == NULL ? NULL : &reported, write->context);
	if (exception->loose && exception->writing == 0)
		exception_free(exception);
	free(write);
}

static void start(struct mauth_exceptions *exceptions, enum write_kind kind, struct exception *exception,
		  mauth_exception_change_fn *done, void *context)
{
	struct exception_write *write = mauth_new(sizeof(*write));
	struct mauth_buf value = { 0 };
	struct mauth_store_row row = { .kind = MAUTH_EXCEPTION_KIND, .name = exception->pub.id };

	*write = (struct exception_write){
		.exceptions = exceptions, .kind = kind, .exception = exception, .done = done, .context = context,
		.next = exceptions->writes, .link = &exceptions->writes,
	};
	if (write->next != NULL)
		write->next->link = &write->next;
	exceptions->writes = write;
	exception->writing++;
	if (kind != WRITE_DELETE) {
		mauth_exception_encode(&exception->pub, &value);
		row.value = value.data;
		row.size = value.size;
	}
	mauth_store_write(exceptions->deps.store, &row, 1, written, write);
	mauth_buf_free(&value);
}

/* What is being written goes when that is done. */
static void loosen(struct exception **at)
{
	while (*at != NULL) {
		struct exception *exception = *at;

		if (exception->writing == 0) {
			at = &exception->next;
			continue;
		}
		*at = exception->next;
		exception->loose = true;
	}
}

void exceptions_change_close(struct mauth_exceptions *exceptions)
{
	for (struct exception *at = exceptions->removed; at != NULL; at = at->next) {
		if (at->writing == 0)
			start(exceptions, WRITE_DELETE, at, NULL, NULL);
	}
	loosen(&exceptions->newest);
	loosen(&exceptions->removed);
	for (struct exception_write *write = exceptions->writes; write != NULL; write = write->next)
		write->exceptions = NULL;
}

/* -- adding ------------------------------------------------------------------------------------------------- */

static enum mauth_status check_until(const struct mauth_exceptions *exceptions, int64_t until,
				     struct mauth_error *error_r)
{
	int64_t now = mauth_wall_secs(exceptions->deps.loop);

	if (until <= now)
		return mauth_fail(error_r, MAUTH_CONFIG, 0, "the end of the exception lies in the past");
	/* The day of the end is included, and may be an hour longer. */
	if (until - now > (int64_t)(MAUTH_EXCEPTION_DAYS_MAX + 1) * DAY_SECS + 3600)
		return mauth_fail(error_r, MAUTH_CONFIG, 0,
				  "an exception ends within %u days; write a rule for what is to stay",
				  MAUTH_EXCEPTION_DAYS_MAX);
	return MAUTH_OK;
}

enum mauth_status mauth_exceptions_check(const struct mauth_exceptions *exceptions,
					 const struct mauth_exception_new *from, struct mauth_error *error_r)
{
	const unsigned int all = (1u << MAUTH_SERVICE_COUNT) - 1;

	if (from->services == 0 || (from->services & ~all) != 0)
		return mauth_fail(error_r, MAUTH_CONFIG, 0, "an exception needs a protocol");
	if (from->user != NULL && !mauth_exception_user_is_good(from->user))
		return mauth_fail(error_r, MAUTH_CONFIG, 0,
				  "user \"%.100s\"; a pattern like \"anna@contoso.com\" or \"*@contoso.com\" "
				  "was expected",
				  from->user);
	if (from->action != MAUTH_ACTION_UPGRADE && from->action != MAUTH_ACTION_BASIC)
		return mauth_fail(error_r, MAUTH_CONFIG, 0, "action \"%s\"; \"upgrade\" or \"basic\" was expected",
				  mauth_action_name(from->action));
	if (from->reason == NULL || *from->reason == '\0')
		return mauth_fail(error_r, MAUTH_CONFIG, 0, "an exception needs a reason");
	if (strlen(from->reason) > MAUTH_EXCEPTION_REASON_MAX)
		return mauth_fail(error_r, MAUTH_CONFIG, 0, "the reason is longer than %u octets",
				  MAUTH_EXCEPTION_REASON_MAX);
	if (check_until(exceptions, from->until, error_r) != MAUTH_OK)
		return MAUTH_CONFIG;
	if (exceptions->count + exceptions->adding >= MAUTH_EXCEPTIONS_MAX)
		return mauth_fail(error_r, MAUTH_CONFIG, 0,
				  "there are %u exceptions already; remove some, or write a rule",
				  MAUTH_EXCEPTIONS_MAX);
	return MAUTH_OK;
}

static char *clean_dup(const char *text, size_t max)
{
	char *copy = mauth_new(max + 1);

	mauth_clean_copy(copy, max + 1, text, strlen(text));
	return copy;
}

/* Random, so that an id that was noted once never means another one. */
static void make_id(char id_r[static MAUTH_EXCEPTION_ID_SIZE])
{
	static const char alphabet[] = "abcdefghijkmnpqrstuvwxyz23456789";
	unsigned char octets[MAUTH_EXCEPTION_ID_SIZE - 1];

	mauth_random(octets, sizeof(octets));
	for (size_t i = 0; i < sizeof(octets); i++)
		id_r[i] = alphabet[octets[i] % (sizeof(alphabet) - 1)];
	id_r[sizeof(octets)] = '\0';
}

enum mauth_status mauth_exceptions_add(struct mauth_exceptions *exceptions, const struct mauth_exception_new *from,
				       mauth_exception_change_fn *done, void *context, struct mauth_error *error_r)
{
	const char *by = from->by == NULL || *from->by == '\0' ? "unknown" : from->by;
	struct exception *exception;

	if (mauth_exceptions_check(exceptions, from, error_r) != MAUTH_OK)
		return MAUTH_CONFIG;
	exception = mauth_new(sizeof(*exception));
	exception->pub = (struct mauth_exception){
		.services = from->services, .user = mauth_strdup(from->user), .has_network = from->network != NULL,
		.action = from->action, .until = from->until, .created_at = mauth_wall_secs(exceptions->deps.loop),
		.by = clean_dup(by, MAUTH_EXCEPTION_BY_MAX), .uid = from->uid,
		.reason = clean_dup(from->reason, MAUTH_EXCEPTION_REASON_MAX),
	};
	if (from->network != NULL)
		exception->pub.network = *from->network;
	make_id(exception->pub.id);
	exception->loose = true;
	exceptions->adding++;
	start(exceptions, WRITE_ADD, exception, done, context);
	return MAUTH_OK;
}

/* -- removing, ending --------------------------------------------------------------------------------------- */

static void remove_at(struct mauth_exceptions *exceptions, struct exception **at)
{
	struct exception *exception = *at;

	*at = exception->next;
	exceptions->count--;
	exception->next = exceptions->removed;
	exceptions->removed = exception;
}

enum mauth_status mauth_exceptions_remove(struct mauth_exceptions *exceptions, const char *id,
					  mauth_exception_change_fn *done, void *context, struct mauth_error *error_r)
{
	struct exception **at = &exceptions->newest;

	while (*at != NULL && strcmp((*at)->pub.id, id) != 0)
		at = &(*at)->next;
	if (*at == NULL)
		return mauth_fail(error_r, MAUTH_USER_UNKNOWN, 0, "there is no exception \"%.40s\"", id);
	struct exception *exception = *at;

	remove_at(exceptions, at);
	start(exceptions, WRITE_DELETE, exception, done, context);
	return MAUTH_OK;
}

void mauth_exceptions_tend(struct mauth_exceptions *exceptions, mauth_exception_change_fn *ended, void *context)
{
	int64_t now = mauth_wall_secs(exceptions->deps.loop);
	struct exception **at = &exceptions->newest;

	while (*at != NULL) {
		struct exception *exception = *at;

		if (now >= exception->pub.until && !exception->pub.ended) {
			exception->pub.ended = exception->unwritten = true;
			ended(&exception->pub, NULL, context);
		}
		if (now - exception->pub.until >= (int64_t)MAUTH_EXCEPTION_LISTED_DAYS * DAY_SECS) {
			remove_at(exceptions, at);
			continue;
		}
		if (exception->unwritten && exception->writing == 0)
			start(exceptions, WRITE_KEEP, exception, NULL, NULL);
		at = &exception->next;
	}
	for (struct exception *removed = exceptions->removed; removed != NULL; removed = removed->next) {
		if (removed->writing == 0)
			start(exceptions, WRITE_DELETE, removed, NULL, NULL);
	}
}

/* -- following ---------------------------------------------------------------------------------------------- */

/* Added or removed here, and the disk not yet done with it: what is here is newer. */
static bool is_under_way(const struct mauth_exceptions *exceptions, const char *id)
{
	for (const struct exception *removed = exceptions->removed; removed != NULL; removed = removed->next) {
		if (strcmp(removed->pub.id, id) == 0)
			return true;
	}
	for (const struct exception_write *write = exceptions->writes; write != NULL; write = write->next) {
		if (strcmp(write->exception->pub.id, id) == 0)
			return true;
	}
	return false;
}

enum mauth_status mauth_exceptions_follow(struct mauth_exceptions *exceptions, const struct mauth_store_row *row,
					  struct mauth_error *error_r)
{
	struct exception **at = &exceptions->newest, *exception;
	enum mauth_status status;

	if (is_under_way(exceptions, row->name))
		return MAUTH_OK;
	while (*at != NULL && strcmp((*at)->pub.id, row->name) != 0)
		at = &(*at)->next;
	exception = *at;
	/* A new row beside the old one: if it cannot be read, what is known goes on. */
	status = row->value == NULL ? MAUTH_OK : mauth_exceptions_load(exceptions, row, error_r);
	if (status != MAUTH_OK || exception == NULL)
		return status;
	/* The new one may have been put in front of it. */
	for (at = &exceptions->newest; *at != exception; at = &(*at)->next)
		;
	*at = exception->next;
	exceptions->count--;
	exception_free(exception);
	return MAUTH_OK;
}
