/* SPDX-License-Identifier: MIT */
#ifndef MODERNAUTH_STORE_H
#define MODERNAUTH_STORE_H
/* What must survive the broker, as the host keeps it: values under (kind, name), written durably and as a whole. Core
 * keeps its own picture in memory and comes here at start, for single sealed values, and to write; nothing on the way of
 * a login waits for it. What is secret is sealed (core/seal.h) before it gets here. src/store/sqlite.c is the embedded
 * one. */

#include "modernauth/modernauth.h"

#define MAUTH_STORE_NAME_MAX 512u       /* octets of a name, UTF-8 without control characters */
#define MAUTH_STORE_VALUE_MAX 65536u

struct mauth_store_row {
	const char *kind;                /* a word of ours: "enrolment", "device", ... */
	const char *name;
	const char *value;               /* NULL in a write: the row is deleted */
	size_t size;
};

/* Lives only during the call. Anything but MAUTH_OK ends the walk with that status. */
typedef enum mauth_status mauth_store_row_fn(const struct mauth_store_row *row, void *context,
					     struct mauth_error *error_r);
/* error: NULL once all rows of the write are on disk; otherwise none of them is, and the text says why and what to do. */
typedef void mauth_store_done_fn(const struct mauth_error *error, void *context);

struct mauth_store_vfuncs {
	/* The value, which the caller frees; MAUTH_USER_UNKNOWN if there is no such row. Sees what has been written,
	   once its done() has been called. */
	enum mauth_status (*get)(void *store, const char *kind, const char *name, struct mauth_secret **value_r,
				 struct mauth_error *error_r);
	/* Every row of kind (NULL: every row), in order of kind and name. fn must not call the store. */
	enum mauth_status (*each)(void *store, const char *kind, mauth_store_row_fn *fn, void *context,
				  struct mauth_error *error_r);
	/* Writes rows, all or none, in the order of the calls; copies what it is given. done is called once, never
	   before this returns. What comes together may be committed together. */
	void (*write)(void *store, const struct mauth_store_row *rows, size_t count, mauth_store_done_fn *done,
		      void *context);
};

struct mauth_store {
	const struct mauth_store_vfuncs *v;
	void *context;
	/* Another process owns the rows: reads see what it writes, and writes fail, except of what several may write. */
	bool follows;
};

static inline enum mauth_status mauth_store_get(const struct mauth_store *store, const char *kind, const char *name,
						struct mauth_secret **value_r, struct mauth_error *error_r)
{
	return store->v->get(store->context, kind, name, value_r, error_r);
}

static inline enum mauth_status mauth_store_each(const struct mauth_store *store, const char *kind,
						 mauth_store_row_fn *fn, void *context, struct mauth_error *error_r)
{
	return store->v->each(store->context, kind, fn, context, error_r);
}

static inline void mauth_store_write(const struct mauth_store *store, const struct mauth_store_row *rows, size_t count,
				     mauth_store_done_fn *done, void *context)
{
	store->v->write(store->context, rows, count, done, context);
}

#endif
