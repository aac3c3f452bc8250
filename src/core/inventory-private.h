/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_INVENTORY_PRIVATE_H
#define MAUTH_INVENTORY_PRIVATE_H
/* What inventory.c, inventory-row.c, inventory-store.c and inventory-query.c share. */

#include "core/inventory.h"
#include "core/table.h"

#define INVENTORY_ID_SIZE 17u                /* 16 hexadecimal digits */

struct inventory_user {
	struct mauth_node node;
	const char *tenant;                  /* the inventory's own */
	const char *user;                    /* in name */
	struct mauth_inventory_row *rows;
	unsigned int count;
	char name[];                         /* "tenant/user" */
};

/* One row with what belongs to it. */
struct inventory_entry {
	struct mauth_inventory_row pub;      /* first */
	struct inventory_user *user;
	struct inventory_entry *older, *newer;   /* in one of the two orders */
	struct inventory_entry *dirty_next, **dirty_link;    /* dirty_link NULL: the store has it, or there is none */
	int64_t touched_at;                  /* when it was given its place in there */
	uint64_t id;
	bool works;                          /* in which order it is */
	bool stored;                         /* the store may have a row of it */
};

/* By when they were seen. */
struct inventory_order {
	struct inventory_entry *oldest, *newest;
	size_t count;
};

struct inventory_batch;

struct mauth_inventory {
	struct mauth_inventory_deps deps;
	struct mauth_table users;
	char **tenants;                      /* names */
	size_t tenants_count;
	struct inventory_order working, others;
	size_t count;
	struct mauth_inventory_day *days;    /* in order */
	bool *days_dirty;
	size_t days_count;
	struct mauth_inventory_cursor *cursors;
	/* inventory-store.c */
	const struct mauth_store *store;     /* NULL: not open */
	struct mauth_timer *timer;
	struct inventory_entry *dirty, **dirty_tail;
	size_t dirty_count, round_left;      /* round_left: of this round, at the head of dirty */
	char **erased;                       /* names of rows to be deleted */
	size_t erased_count;
	struct inventory_batch *batch;       /* being written */
	struct inventory_batch *forgetting;  /* deletions that somebody waits for */
};

struct mauth_inventory_cursor {
	struct mauth_inventory *inventory;
	struct mauth_inventory_cursor *next, **link;
	struct inventory_user *at;           /* NULL: the end */
};

/* inventory.c */
static inline struct inventory_entry *inventory_entry_of(struct mauth_inventory_row *row)
{
	return (struct inventory_entry *)row;
}
static inline struct inventory_user *inventory_user_of(struct mauth_node *node)
{
	return (struct inventory_user *)node;
}
/* NULL: the name is too long for the store. */
struct inventory_user *inventory_user_get(struct mauth_inventory *inventory, const char *tenant, const char *user);
/* The row of user that is like this one, or NULL; row->like is set. */
struct inventory_entry *inventory_entry_like(const struct inventory_user *user, struct mauth_inventory_row *row);
/* Takes over row.client. The entry has no place in the orders yet. */
struct inventory_entry *inventory_entry_new(struct mauth_inventory *inventory, struct inventory_user *user,
					    const struct mauth_inventory_row *row);
/* Its place by when it was seen, to the minute: the newest. */
void inventory_entry_touch(struct mauth_inventory *inventory, struct inventory_entry *entry);
/* The orders anew, by last_seen. */
void inventory_sort(struct mauth_inventory *inventory);
/* The row goes, from the store too if erase. The user may go with it. */
void inventory_entry_drop(struct mauth_inventory *inventory, struct inventory_entry *entry, bool erase);
void inventory_user_release(struct mauth_inventory *inventory, struct inventory_user *user);
/* Down to what is allowed. */
void inventory_trim(struct mauth_inventory *inventory);
/* The totals of a day, NULL if it is too old to be kept. */
struct mauth_inventory_day *inventory_day(struct mauth_inventory *inventory, int64_t day);
void inventory_day_mark(struct mauth_inventory *inventory, const struct mauth_inventory_day *day);

/* inventory-row.c: the texts that the store has */
char *inventory_row_name(const struct inventory_entry *entry);
/* Takes name apart: tenant and user are new and the caller's. */
bool inventory_row_name_parse(const char *name, char **tenant_r, char **user_r, uint64_t *id_r);
void inventory_row_encode(const struct mauth_inventory_row *row, struct mauth_buf *to);
/* row_r->client is the caller's. */
bool inventory_row_decode(const char *value, size_t size, struct mauth_inventory_row *row_r);
#define INVENTORY_DAY_SIZE 16u
void inventory_day_name(int64_t day, char name_r[static INVENTORY_DAY_SIZE]);
void inventory_day_encode(const struct mauth_inventory_day *day, struct mauth_buf *to);
bool inventory_day_decode(const char *name, const char *value, size_t size, struct mauth_inventory_day *day_r);

/* inventory-store.c */
void inventory_mark(struct mauth_inventory *inventory, struct inventory_entry *entry);
void inventory_unmark(struct mauth_inventory *inventory, struct inventory_entry *entry);
void inventory_erase_later(struct mauth_inventory *inventory, char *name);
void inventory_arm(struct mauth_inventory *inventory);

#endif
