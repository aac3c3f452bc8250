/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_ENROLMENTS_PRIVATE_H
#define MAUTH_ENROLMENTS_PRIVATE_H
/* What enrolments.c (what is known), enrolments-store.c (rows) and enrolments-tend.c (keeping them alive) share. */

#include "core/enrolments.h"

/* A write under way: it outlives what it is about. */
struct enrolment_write {
	struct enrolment_write *next, **link;
	struct mauth_enrolments *enrolments; /* NULL: gone meanwhile */
	char *tenant, *account;
	struct mauth_secret *token;
	unsigned int generation;
	int64_t at;
	bool put;                            /* it makes an enrolment */
	bool revoked;                        /* removed meanwhile: what was written is gone again */
	char oid[64], app[33];
	mauth_enrolments_fn *done;
	void *context;
};

struct mauth_enrolments {
	struct mauth_enrolments_deps deps;
	struct mauth_table table;
	struct enrolment_write *writes;
	int64_t warned_day;                  /* days since the epoch on which warnings were given last */
};

/* The enrolment, made empty if there is none. */
struct mauth_enrolment *enrolment_get(struct mauth_enrolments *enrolments, const char *tenant, const char *account);
/* Of a row; the caller frees *tenant_r. */
bool enrolment_split_name(const char *name, char **tenant_r, const char **account_r);
/* Writes its row, the sealed token (NULL: the row with the old one stays), and further rows. enrolment NULL: writes nothing and
 * calls done all the same. */
void enrolment_write_rows(struct mauth_enrolments *enrolments, const struct mauth_enrolment *enrolment,
			  const struct mauth_secret *token, const struct mauth_store_row *rows, size_t rows_count,
			  mauth_store_done_fn *done, void *context);

#endif
