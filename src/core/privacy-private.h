/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_PRIVACY_PRIVATE_H
#define MAUTH_PRIVACY_PRIVATE_H
/* What privacy.c, privacy-text.c and privacy-record.c share. */

#include "core/privacy.h"

#define PRIVACY_ADDRESS_SIZE 46u

struct mauth_privacy {
	struct mauth_config *config;
	struct mauth_pseudonyms *pseudonyms;
	const struct mauth_audit_sink *inner;
	struct mauth_audit_sink sink;
	struct mauth_buf records;            /* of one append */
	const struct mauth_log *inner_log;
	struct mauth_log log;
};

/* The same as mauth_privacy_pseudonym(), and remembered; works: the record says that whoever this is came in. */
void privacy_name(const struct mauth_privacy *privacy, const char *name, bool works, char pseudonym_r[static MAUTH_PSEUDONYM_SIZE]);

/* Something that must not be told, wherever it turns up. */
struct privacy_needle {
	const char *text;
	size_t size;
	const char *instead;
};
#define PRIVACY_NEEDLES_MAX 16u
struct privacy_scrub {
	const struct mauth_privacy *privacy;
	struct privacy_needle needles[PRIVACY_NEEDLES_MAX];
	size_t count;
	bool inside;                         /* needles also count as part of a word: what the client chose */
	bool escaped;                        /* the text is the inside of a JSON string */
	bool works;
};
void privacy_scrub_add(struct privacy_scrub *scrub, const char *text, size_t size, const char *instead);
/* Appends text without needles, and without whatever looks like a mail address. */
void privacy_scrub_text(const struct privacy_scrub *scrub, const char *text, size_t size, struct mauth_buf *out);

#endif
