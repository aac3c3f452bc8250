/* SPDX-License-Identifier: MIT */
#ifndef FAKE_STORE_H
#define FAKE_STORE_H
/* A store in memory. A write is done in the next turn of the loop, or when the test says so: nobody sees it before. */

#include "modernauth/loop.h"
#include "modernauth/store.h"

struct fake_store;
/* loop NULL: writes are done by fake_store_finish() only, as if the store were always held. */
struct fake_store *fake_store_new(const struct mauth_loop *loop);
const struct mauth_store *fake_store_store(const struct fake_store *store);
/* Fails the test if a write is left: somebody's done() was never called. */
void fake_store_free(struct fake_store **store);

/* Held: writes wait for fake_store_finish(). Otherwise those that wait go on with the loop. */
void fake_store_hold(struct fake_store *store, bool hold);
/* Ends the writes that wait now, in their order, and returns how many there were. What their done() writes waits in
 * turn. */
unsigned int fake_store_finish(struct fake_store *store);
/* Writes that end from now on fail with MAUTH_TEMPORARY and this text, which must live on; NULL: they succeed again. */
void fake_store_fail(struct fake_store *store, const char *text);

/* Another process owns the rows from now on, or this one again. */
void fake_store_follow(struct fake_store *store, bool follows);

/* Puts a row there, as if it had been written long ago. value NULL: the row goes. */
void fake_store_put(struct fake_store *store, const char *kind, const char *name, const char *value);
/* The value of a row, NULL if there is none. Lives until the next write ends. */
const char *fake_store_value(const struct fake_store *store, const char *kind, const char *name);
/* Rows of kind; NULL: of any. */
unsigned int fake_store_count(const struct fake_store *store, const char *kind);
/* Calls of write() so far, and those that wait. */
unsigned int fake_store_writes(const struct fake_store *store);
unsigned int fake_store_waiting(const struct fake_store *store);
/* Every row as it is now, "KIND NAME VALUE\n", in the order of each(); the caller frees. */
char *fake_store_list(const struct fake_store *store);
/* Everything that write() was ever given, whether it got there or not: "KIND NAME VALUE\n", "KIND NAME -\n" for a
 * deletion. */
const char *fake_store_history(const struct fake_store *store);

#endif
