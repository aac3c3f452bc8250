/* SPDX-License-Identifier: MIT */
#include "fake_store.h"

#include "core/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct row {
	struct row *next;                /* in order of kind and name */
	char *kind, *name;
	char *value;                     /* of a write: NULL deletes; size octets and a NUL */
	size_t size;
};

struct write {
	struct write *next;
	struct row *rows;                /* in the order given */
	mauth_store_done_fn *done;
	void *context;
};

struct fake_store {
	struct mauth_store store;
	const struct mauth_loop *loop;
	struct mauth_timer *timer;
	struct row *rows;
	struct write *waiting;           /* oldest first */
	unsigned int writes;
	struct mauth_buf history;
	const char *failure;
	bool held;
};

/* -- rows -- */

static struct row *row_new(const char *kind, const char *name, const char *value, size_t size)
{
	struct row *row = mauth_new(sizeof(*row));

	row->kind = mauth_strdup(kind);
	row->name = mauth_strdup(name);
	row->value = value == NULL ? NULL : mauth_strndup(value, size);
	row->size = size;
	return row;
}

static void rows_free(struct row **rows)
{
	struct row *row;

	while ((row = *rows) != NULL) {
		*rows = row->next;
		free(row->kind);
		free(row->name);
		free(row->value);
		free(row);
	}
}

static int row_compare(const struct row *row, const char *kind, const char *name)
{
	int order = strcmp(row->kind, kind);

	return order != 0 ? order : strcmp(row->name, name);
}

/* Where the row is, or would be. */
static struct row **row_place(struct row **p, const char *kind, const char *name)
{
	while (*p != NULL && row_compare(*p, kind, name) < 0)
		p = &(*p)->next;
	return p;
}

static const struct row *row_find(const struct fake_store *store, const char *kind, const char *name)
{
	const struct row *row = store->rows;

	while (row != NULL && row_compare(row, kind, name) != 0)
		row = row->next;
	return row;
}

static void put(struct fake_store *store, const char *kind, const char *name, const char *value, size_t size)
{
	struct row **p = row_place(&store->rows, kind, name), *row = *p;

	if (row != NULL && row_compare(row, kind, name) == 0) {
		*p = row->next;
		row->next = NULL;
		rows_free(&row);
	}
	if (value == NULL)
		return;
	row = row_new(kind, name, value, size);
	row->next = *p;
	*p = row;
}

/* -- the seam -- */

static enum mauth_status fake_get(void *context, const char *kind, const char *name, struct mauth_secret **value_r,
				  struct mauth_error *error_r)
{
	const struct row *row = row_find(context, kind, name);

	if (row == NULL)
		return mauth_fail(error_r, MAUTH_USER_UNKNOWN, 0, "no row %s %s", kind, name);
	*value_r = mauth_secret_new(row->value, row->size);
	return MAUTH_OK;
}

static enum mauth_status fake_each(void *context, const char *kind, mauth_store_row_fn *fn, void *fn_context,
				   struct mauth_error *error_r)
{
	const struct fake_store *store = context;
	enum mauth_status status = MAUTH_OK;

	for (const struct row *row = store->rows; row != NULL && status == MAUTH_OK; row = row->next) {
		struct mauth_store_row given = { row->kind, row->name, row->value, row->size };

		if (kind == NULL || strcmp(kind, row->kind) == 0)
			status = fn(&given, fn_context, error_r);
	}
	return status;
}

static void turn(void *context)
{
	struct fake_store *store = context;

	store->timer = NULL;
	fake_store_finish(store);
}

static void wait_for_turn(struct fake_store *store)
{
	if (store->waiting != NULL && !store->held && store->loop != NULL && store->timer == NULL)
		store->timer = mauth_timer_add(store->loop, 0, turn, store);
}

static void fake_write(void *context, const struct mauth_store_row *rows, size_t count, mauth_store_done_fn *done,
		       void *done_context)
{
	struct fake_store *store = context;
	struct write *write = mauth_new(sizeof(*write)), **last = &store->waiting;
	struct row **next = &write->rows;

	for (size_t i = 0; i < count; i++, next = &(*next)->next) {
		assert_true(strlen(rows[i].name) <= MAUTH_STORE_NAME_MAX && rows[i].size <= MAUTH_STORE_VALUE_MAX);
		*next = row_new(rows[i].kind, rows[i].name, rows[i].value, rows[i].size);
		mauth_buf_printf(&store->history, "%s %s %s\n", (*next)->kind, (*next)->name,
				 (*next)->value == NULL ? "-" : (*next)->value);
	}
	write->done = done;
	write->context = done_context;
	while (*last != NULL)
		last = &(*last)->next;
	*last = write;
	store->writes++;
	wait_for_turn(store);
}

/* -- the test's side -- */

struct fake_store *fake_store_new(const struct mauth_loop *loop)
{
	static const struct mauth_store_vfuncs vfuncs = { fake_get, fake_each, fake_write };
	struct fake_store *store = mauth_new(sizeof(*store));

	store->store = (struct mauth_store){ &vfuncs, store };
	store->loop = loop;
	mauth_buf_puts(&store->history, "");
	return store;
}

const struct mauth_store *fake_store_store(const struct fake_store *store)
{
	return &store->store;
}

void fake_store_free(struct fake_store **store)
{
	if (*store == NULL)
		return;
	assert_null((*store)->waiting);
	if ((*store)->loop != NULL)
		mauth_timer_remove((*store)->loop, &(*store)->timer);
	rows_free(&(*store)->rows);
	mauth_buf_free(&(*store)->history);
	free(*store);
	*store = NULL;
}

void fake_store_hold(struct fake_store *store, bool hold)
{
	store->held = hold;
	if (hold && store->loop != NULL)
		mauth_timer_remove(store->loop, &store->timer);
	wait_for_turn(store);
}

static void write_end(struct fake_store *store, struct write *write)
{
	struct mauth_error error;

	if (store->failure != NULL) {
		mauth_fail(&error, MAUTH_TEMPORARY, 0, "%s", store->failure);
		write->done(&error, write->context);
	} else {
		for (const struct row *row = write->rows; row != NULL; row = row->next)
			put(store, row->kind, row->name, row->value, row->size);
		write->done(NULL, write->context);
	}
	rows_free(&write->rows);
	free(write);
}

unsigned int fake_store_finish(struct fake_store *store)
{
	unsigned int count = fake_store_waiting(store);

	for (unsigned int i = 0; i < count; i++) {
		struct write *write = store->waiting;

		store->waiting = write->next;
		write_end(store, write);
	}
	wait_for_turn(store);
	return count;
}

void fake_store_fail(struct fake_store *store, const char *text)
{
	store->failure = text;
}

void fake_store_put(struct fake_store *store, const char *kind, const char *name, const char *value)
{
	put(store, kind, name, value, value == NULL ? 0 : strlen(value));
}

const char *fake_store_value(const struct fake_store *store, const char *kind, const char *name)
{
	const struct row *row = row_find(store, kind, name);

	return row == NULL ? NULL : row->value;
}

unsigned int fake_store_count(const struct fake_store *store, const char *kind)
{
	unsigned int count = 0;

	for (const struct row *row = store->rows; row != NULL; row = row->next)
		count += kind == NULL || strcmp(kind, row->kind) == 0;
	return count;
}

unsigned int fake_store_writes(const struct fake_store *store)
{
	return store->writes;
}

unsigned int fake_store_waiting(const struct fake_store *store)
{
	unsigned int count = 0;

	for (const struct write *write = store->waiting; write != NULL; write = write->next)
		count++;
	return count;
}

char *fake_store_list(const struct fake_store *store)
{
	struct mauth_buf list = { 0 };
	char *text;

	for (const struct row *row = store->rows; row != NULL; row = row->next)
		mauth_buf_printf(&list, "%s %s %s\n", row->kind, row->name, row->value);
	text = mauth_strndup(list.data, list.size);
	mauth_buf_free(&list);
	return text;
}

const char *fake_store_history(const struct fake_store *store)
{
	return store->history.data;
}

void fake_store_follow(struct fake_store *store, bool follows)
{
	store->store.follows = follows;
}
