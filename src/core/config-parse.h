/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_CONFIG_PARSE_H
#define MAUTH_CONFIG_PARSE_H
/* The text of modernauth.conf as sections of named values, each of which knows its line. libconfuse does the grammar;
 * config-text.c keeps from it what it does not bear, and nobody else sees libconfuse. */

#include "core/mem.h"

#define MAUTH_CONF_TENANTS_MAX 1000u
#define MAUTH_CONF_DOMAINS_MAX 10000u
#define MAUTH_CONF_RULES_MAX 10000u
#define MAUTH_CONF_MAPS_MAX 1000u
#define MAUTH_CONF_PATTERNS_MAX 50000u  /* of all rules and maps, networks included */
#define MAUTH_CONF_WORD_MAX 4096u       /* one value */

struct mauth_conf_value {
	const char *path;               /* the configuration's, for messages */
	unsigned int line;
	const char *name;               /* constant; values of a list follow each other under one name; where an
					   empty list means something, it is one empty text */
	char *text;
};

struct mauth_conf_section {
	const char *kind;               /* constant: "" for the file, "audit", "privacy", "lockout", "notice", "tenant", "rule", "map" */
	char *title;                    /* of the last three; NULL: it has none */
	unsigned int line;              /* where it opens */
	struct mauth_conf_value *values;
	size_t count;
};

struct mauth_conf {
	char *path;
	struct mauth_conf_section *sections;    /* the first is the file itself */
	size_t count;
};

/* Parses text. MAUTH_CONFIG with "path:line: ...". Not reentrant, as libconfuse is not. */
enum mauth_status mauth_conf_parse(const char *path, const char *text, size_t size, struct mauth_conf **conf_r,
				   struct mauth_error *error_r);
void mauth_conf_free(struct mauth_conf **conf);

/* The only section of that kind, or NULL. */
const struct mauth_conf_section *mauth_conf_section(const struct mauth_conf *conf, const char *kind);
/* The value, or the first of the list, called name; NULL if it is not set. section may be NULL. */
const struct mauth_conf_value *mauth_conf_get(const struct mauth_conf_section *section, const char *name);
/* The next value of the same list, or NULL. */
const struct mauth_conf_value *mauth_conf_next(const struct mauth_conf_section *section,
					       const struct mauth_conf_value *value);

#define MAUTH_CONF_NAME_MAX 40u
/* Levenshtein's distance of two names; both are at most MAUTH_CONF_NAME_MAX long. */
unsigned int mauth_conf_distance(const char *a, const char *b);

/* MAUTH_CONFIG with "path:line: text". */
enum mauth_status mauth_conf_fail(struct mauth_error *error_r, const char *path, unsigned int line,
				  const char *fmt, ...) MAUTH_PRINTF(4, 5);
/* The same for a value. */
#define mauth_conf_refuse(error_r, value, ...) mauth_conf_fail(error_r, (value)->path, (value)->line, __VA_ARGS__)

/* Which line each section opens on, in the order of the text. */
struct mauth_conf_lines {
	unsigned int *lines;
	size_t count;
};
/* Copies text to clean without its comments and refuses what libconfuse would act upon or choke on (config-text.c). */
enum mauth_status mauth_conf_clean(const char *path, const char *text, size_t size, struct mauth_buf *clean,
				   struct mauth_conf_lines *lines_r, struct mauth_error *error_r);

#endif
