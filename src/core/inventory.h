/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_INVENTORY_H
#define MAUTH_INVENTORY_H
/* Who still uses passwords: a bounded summary of the attempts that are on record. One row for each (tenant, login,
 * protocol, mechanism, client, TLS or not, network), and totals per day. The audit is the record; this is what can be
 * asked in a moment. Kept in memory, and written to the store once a minute: a crash costs that minute. */

#include "core/network.h"
#include "core/record.h"
#include "core/verifier.h"
#include "modernauth/loop.h"
#include "modernauth/store.h"

#define MAUTH_INVENTORY_KIND "inventory"          /* rows of the store: name is "tenant/user/id" */
#define MAUTH_INVENTORY_DAY_KIND "inventory-day"  /* name is "2026-11-26" */
#define MAUTH_INVENTORY_CLIENT_SIZE 97u           /* of a client's name and version, with NUL */
#define MAUTH_INVENTORY_PER_USER_MAX 100u         /* rows; beyond, the user's least recently seen goes */
#define MAUTH_INVENTORY_DAYS_MAX 400u

/* What became of attempts: granted; refused for good reason; not decided because something failed; and what is none of
 * these: left to the next passdb, or the client went away. */
enum mauth_inventory_outcome {
	MAUTH_INVENTORY_OK,
	MAUTH_INVENTORY_REFUSED,
	MAUTH_INVENTORY_FAILED,
	MAUTH_INVENTORY_OTHER,
	MAUTH_INVENTORY_OUTCOMES
};
enum mauth_inventory_outcome mauth_inventory_outcome_of(enum mauth_status status);

/* The words of record.decision. New ones go before _ACTIONS, never in between: rows of the store count on it. */
enum mauth_inventory_action {
	MAUTH_INVENTORY_ACTION_OTHER,
	MAUTH_INVENTORY_UPGRADE,
	MAUTH_INVENTORY_PASS,
	MAUTH_INVENTORY_REFUSE,
	MAUTH_INVENTORY_MONITOR,
	MAUTH_INVENTORY_BASIC,
	MAUTH_INVENTORY_DENY,
	MAUTH_INVENTORY_LOCAL,
	MAUTH_INVENTORY_NOT_OURS,
	MAUTH_INVENTORY_VERIFY,
	MAUTH_INVENTORY_ACTIONS
};
const char *mauth_inventory_action_name(enum mauth_inventory_action action);

struct mauth_inventory_row {
	struct mauth_inventory_row *next;    /* of the same login, most recently seen first */
	uint32_t like;                       /* private: of what tells rows apart */
	int64_t first_seen, last_seen;       /* wall clock, seconds */
	char *client;                        /* "Thunderbird 115.1"; NULL: it did not say */
	struct mauth_network network;        /* bits 0: the address was not known */
	unsigned char address[16];           /* the last one, in network */
	unsigned char service;               /* enum mauth_service */
	bool tls;
	char tls_version[8];                 /* "1.3", of the last session that Exchange answered; "": not known */
	char mechanism[16];
	uint32_t outcomes[MAUTH_INVENTORY_OUTCOMES], actions[MAUTH_INVENTORY_ACTIONS];
	uint32_t exchange_refused;           /* tokens that Exchange did not take */
	unsigned char last_action;           /* enum mauth_inventory_action */
	unsigned char last_status;           /* enum mauth_status; with its code: */
	unsigned char error_status;          /* of the last attempt that ended otherwise; MAUTH_OK: none has */
	int32_t last_code, error_code;       /* AADSTS, 0: none */
};
/* May this one have worked? Not if every attempt was refused or failed: guessers, and set-ups that never worked. */
bool mauth_inventory_row_works(const struct mauth_inventory_row *row);

struct mauth_inventory_day {
	int64_t day;                         /* since the epoch, UTC */
	uint32_t counts[MAUTH_SERVICE_COUNT][MAUTH_INVENTORY_OUTCOMES];
};

struct mauth_inventory;
struct mauth_inventory_deps {
	const struct mauth_loop *loop;
	const struct mauth_log *log;
	const struct mauth_verifier_key *process_key;    /* for its table */
	size_t max;                          /* rows; beyond, the least recently seen goes, those that never worked first */
	int64_t keep_secs;                   /* rows that were not seen for so long are deleted */
};
/* What deps points to outlives it. */
struct mauth_inventory *mauth_inventory_new(const struct mauth_inventory_deps *deps);
/* Whatever has not been written is lost: close first. */
void mauth_inventory_free(struct mauth_inventory **inventory);

/* What has been put on record. Attempts without a tenant are not ours and left out. */
void mauth_inventory_note(struct mauth_inventory *inventory, const struct mauth_attempt_record *record);
/* What Exchange said to a login of before. tenant NULL: not ours. */
void mauth_inventory_note_upstream(struct mauth_inventory *inventory, const char *tenant, const char *user,
				   const struct mauth_upstream_report *report);

/* -- inventory-store.c -- */

/* Reads what the store has, adds what has been seen before, and from now on writes to it once a minute what has changed.
 * A row that cannot be read is left alone, and said. Anything but MAUTH_OK: the store could not be read. */
enum mauth_status mauth_inventory_open(struct mauth_inventory *inventory, const struct mauth_store *store,
				       struct mauth_error *error_r);
/* Gives the store what it does not have yet, and forgets all. */
void mauth_inventory_close(struct mauth_inventory *inventory);
/* Forgets all that is in memory and writes nothing of it: the store has become another one. */
void mauth_inventory_discard(struct mauth_inventory *inventory);
/* Deletes the rows of user (as in the rows; NULL: everybody's) in tenant (NULL: any), and with both NULL the totals per day;
 * *rows_r: how many rows they were. true: done is called once the store has deleted them, or has failed to, in which case it
 * is tried again every minute; never before this returns. false: the store has nothing of it. */
bool mauth_inventory_forget(struct mauth_inventory *inventory, const char *tenant, const char *user, mauth_store_done_fn *done,
			    void *context, size_t *rows_r);

/* -- inventory-query.c -- */

struct mauth_inventory_filter {
	const char *tenant;                  /* NULL: any */
	const char *user;                    /* pattern as in rules; NULL: any */
	unsigned int services;               /* bit 1 << enum mauth_service; 0: any */
	const struct mauth_network *networks;    /* one of them overlaps with the row's; count 0: any */
	size_t networks_count;
	int64_t since;                       /* last seen then or later; 0: any */
	bool works;                          /* only those that may have worked */
};
bool mauth_inventory_matches(const struct mauth_inventory_filter *filter, const char *tenant, const char *user,
			     const struct mauth_inventory_row *row);

struct mauth_inventory_counts {
	size_t users, clients;               /* clients: distinct (login, client id, network) */
	uint64_t logins;                     /* attempts of these rows, since their first_seen */
};
/* Must not change the inventory. Strings live during the call. */
typedef void mauth_inventory_fn(const char *tenant, const char *user, const struct mauth_inventory_row *row, void *context);
/* Who would be affected if what the filter describes were denied: calls fn (may be NULL) for every row that matches, user
 * by user, and counts them. */
void mauth_inventory_affected(const struct mauth_inventory *inventory, const struct mauth_inventory_filter *filter,
			      mauth_inventory_fn *fn, void *context, struct mauth_inventory_counts *counts_r);

/* The same for those who cannot take all at once: the rows of one login with each call. What changes meanwhile may be
 * seen or not; nothing is seen twice. */
struct mauth_inventory_cursor;
struct mauth_inventory_cursor *mauth_inventory_cursor_new(struct mauth_inventory *inventory);
/* NULL is allowed. */
void mauth_inventory_cursor_free(struct mauth_inventory_cursor **cursor);
/* false: there are no more. */
bool mauth_inventory_cursor_next(struct mauth_inventory_cursor *cursor, const struct mauth_inventory_filter *filter,
				 mauth_inventory_fn *fn, void *context);

size_t mauth_inventory_count(const struct mauth_inventory *inventory);
/* In order. Valid until the next change. */
const struct mauth_inventory_day *mauth_inventory_days(const struct mauth_inventory *inventory, size_t *count_r);

#endif
