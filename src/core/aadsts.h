/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_AADSTS_H
#define MAUTH_AADSTS_H
/* Entra's error codes as data: aadsts.def, plus an override file, because Microsoft says that codes may change at any
 * time (entra-docs reference-error-codes.md). An unknown code is decided by suberror, then error, then HTTP status, and
 * is never a bad password. */

#include "modernauth/modernauth.h"

/* "The client is in a loop", said of one user. */
#define MAUTH_AADSTS_LOOP 50196

enum mauth_aadsts_class {
	MAUTH_CLASS_CREDENTIAL,   /* wrong user or password */
	MAUTH_CLASS_STATE,        /* state of the account */
	MAUTH_CLASS_POLICY,       /* MFA, conditional access */
	MAUTH_CLASS_CONFIG,       /* our app registration or the tenant */
	MAUTH_CLASS_TRANSIENT,
	MAUTH_CLASS_GRANT,        /* a stored grant is dead */
	MAUTH_CLASS_FLOW,         /* an expected step of a flow */
	MAUTH_CLASS_COUNT
};
const char *mauth_aadsts_class_name(enum mauth_aadsts_class class_);

struct mauth_aadsts_row {
	int code;
	enum mauth_aadsts_class class_;
	enum mauth_status status;     /* what the login ends with */
	bool counts;                  /* counts as a bad password of that user */
	const char *meaning;          /* what happened, for the log */
	const char *advice;           /* one line: what to do */
};

struct mauth_aadsts_table;
/* The built-in rows. */
struct mauth_aadsts_table *mauth_aadsts_new(void);
void mauth_aadsts_free(struct mauth_aadsts_table **table);
/* Reads an override file: one row per line, "CODE CLASS STATUS counts|- advice to the end of the line", '#' comments,
 * empty lines. MAUTH_CONFIG with "NAME:LINE: ..." and the table unchanged if anything is wrong. size <= MAUTH_CONFIG_MAX. */
enum mauth_status mauth_aadsts_override(struct mauth_aadsts_table *table, const char *name, const char *text,
					size_t size, struct mauth_error *error_r);
/* The row of code, or NULL. */
const struct mauth_aadsts_row *mauth_aadsts_find(const struct mauth_aadsts_table *table, int code);
/* Rows in order of code, for tests and listings. */
size_t mauth_aadsts_count(const struct mauth_aadsts_table *table);
const struct mauth_aadsts_row *mauth_aadsts_at(const struct mauth_aadsts_table *table, size_t index);

/* What Entra's error reply comes down to. */
struct mauth_aadsts_verdict {
	int code;                     /* the code that decided; 0 if none is known to us */
	enum mauth_aadsts_class class_;
	enum mauth_status status;
	bool counts;
	const char *meaning, *advice; /* constant or the table's */
};
/* codes: error_codes[] in the reply's order. If several are known the most specific decides: one that is not
 * the generic 70002 wrapper, credential before the rest. error and suberror may be "". */
void mauth_aadsts_judge(const struct mauth_aadsts_table *table, const int *codes, size_t count, const char *error,
			const char *suberror, unsigned int http_status, struct mauth_aadsts_verdict *verdict_r);

#endif
