/* SPDX-License-Identifier: MIT */
#include "core/exceptions-private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct mauth_exceptions *mauth_exceptions_new(const struct mauth_exceptions_deps *deps)
{
	struct mauth_exceptions *exceptions = mauth_new(sizeof(*exceptions));

	exceptions->deps = *deps;
	return exceptions;
}

void exception_free(struct exception *exception)
{
	mauth_exception_clear(&exception->pub);
	free(exception);
}

static void free_list(struct exception *list)
{
	while (list != NULL) {
		struct exception *next = list->next;

		exception_free(list);
		list = next;
	}
}

void mauth_exceptions_free(struct mauth_exceptions **exceptions)
{
	struct mauth_exceptions *e = *exceptions;

	if (e == NULL)
		return;
	exceptions_change_close(e);
	free_list(e->newest);
	free_list(e->removed);
	free(e);
	*exceptions = NULL;
}

void exception_insert(struct mauth_exceptions *exceptions, struct exception *exception)
{
	struct exception **at = &exceptions->newest;

	while (*at != NULL &&
	       ((*at)->pub.created_at > exception->pub.created_at ||
		((*at)->pub.created_at == exception->pub.created_at && strcmp((*at)->pub.id, exception->pub.id) > 0)))
		at = &(*at)->next;
	exception->next = *at;
	*at = exception;
	exceptions->count++;
}

static bool is_id(const char *name)
{
	return strlen(name) == MAUTH_EXCEPTION_ID_SIZE - 1 &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789") == strlen(name);
}

enum mauth_status mauth_exceptions_load(struct mauth_exceptions *exceptions, const struct mauth_store_row *row,
					struct mauth_error *error_r)
{
	struct exception *exception = mauth_new(sizeof(*exception));

	/* More than there may be is nobody's work but a fault's. */
	if (!is_id(row->name) || exceptions->count >= 2 * MAUTH_EXCEPTIONS_MAX ||
	    !mauth_exception_decode(row->value, row->size, &exception->pub)) {
		exception_free(exception);
		return mauth_fail(error_r, MAUTH_CONFIG, 0, "the store's exception \"%.100s\" cannot be read",
				  row->name);
	}
	snprintf(exception->pub.id, sizeof(exception->pub.id), "%s", row->name);
	exception_insert(exceptions, exception);
	return MAUTH_OK;
}

size_t mauth_exceptions_count(const struct mauth_exceptions *exceptions)
{
	return exceptions->count;
}

const struct mauth_exception *mauth_exceptions_next(const struct mauth_exceptions *exceptions,
						    const struct mauth_exception *exception)
{
	return (const struct mauth_exception *)(exception == NULL ? exceptions->newest :
								    ((const struct exception *)exception)->next);
}

/* -- deciding ----------------------------------------------------------------------------------------------- */

static bool matches(const struct mauth_exception *exception, const struct mauth_policy_question *question,
		    const struct mauth_address *address)
{
	if (question->now >= exception->until || (exception->services & (1u << question->service)) == 0)
		return false;
	if (exception->has_network && (address == NULL || !mauth_network_holds(&exception->network, address)))
		return false;
	return exception->user == NULL || mauth_glob_match(exception->user, question->user);
}

const struct mauth_exception *mauth_exceptions_find(const struct mauth_exceptions *exceptions,
						    const struct mauth_policy_question *question)
{
	struct mauth_address address;
	bool known = exceptions->newest != NULL && mauth_address_parse(question->client_ip, &address);

	for (const struct exception *at = exceptions->newest; at != NULL; at = at->next) {
		if (matches(&at->pub, question, known ? &address : NULL))
			return &at->pub;
	}
	return NULL;
}

void mauth_exceptions_apply(const struct mauth_exceptions *exceptions, const struct mauth_policy_question *question,
			    struct mauth_verdict *verdict)
{
	const struct mauth_exception *exception;

	/* Of a login that is only watched: what it would be includes the exceptions. */
	if (exceptions == NULL || verdict->would != MAUTH_ACTION_DENY)
		return;
	exception = mauth_exceptions_find(exceptions, question);
	if (exception == NULL)
		return;
	if (verdict->action == MAUTH_ACTION_DENY)
		verdict->action = exception->action;
	verdict->would = exception->action;
	snprintf(verdict->exception, sizeof(verdict->exception), "%s", exception->id);
}
