/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_DOVEADM_CSV_H
#define MAUTH_DOVEADM_CSV_H
/* Comma-separated values as RFC 4180 has them, in UTF-8. What spreadsheets add is forgiven: a byte order mark, lines
 * that end with CR LF or LF, empty lines. */

#include "core/mem.h"

#include <stdio.h>

#define MAUTH_CSV_FIELDS_MAX 32u
#define MAUTH_CSV_RECORD_MAX 65536u

/* Zero-initialise, set file and name. */
struct mauth_csv {
	FILE *file;
	const char *name;                /* for errors */
	/* private */
	unsigned int line, column;       /* of the octet that was read last, from 1; 0: none yet */
	bool started;
	struct mauth_buf data;
	size_t offsets[MAUTH_CSV_FIELDS_MAX];
	size_t size;                     /* of the record so far, with quotes and commas */
};
struct mauth_csv_record {
	unsigned int line;               /* its first */
	size_t count;
	const char *fields[MAUTH_CSV_FIELDS_MAX];    /* live until the next record */
};

/* MAUTH_OK and record_r->count 0: the end. MAUTH_CONFIG: error_r->text names file, line and column. */
enum mauth_status mauth_csv_next(struct mauth_csv *csv, struct mauth_csv_record *record_r, struct mauth_error *error_r);
void mauth_csv_free(struct mauth_csv *csv);

/* Writes a field, quoted if it needs to be, and what follows it: ',' or '\n'. NULL is "". */
void mauth_csv_write(FILE *file, const char *field, char separator);

#endif
