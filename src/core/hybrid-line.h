/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_HYBRID_LINE_H
#define MAUTH_HYBRID_LINE_H
/* Where a mailbox is, and the lines of the map file that say so. The broker reads them, doveadm changes them. */

#include "modernauth/modernauth.h"

enum mauth_side {
	MAUTH_SIDE_UNKNOWN,
	MAUTH_SIDE_CLOUD,                /* in Exchange Online */
	MAUTH_SIDE_ONPREM,               /* somewhere else: the next passdb decides */
};
/* "cloud", "onprem"; "unknown". */
const char *mauth_side_name(enum mauth_side side);
/* false: name is neither "cloud" nor "onprem", and *side_r is untouched. */
bool mauth_side_parse(const char *name, enum mauth_side *side_r);

/* "2026-12-01T22:00:00Z", or with an offset such as "+01:00" in the place of "Z". */
bool mauth_instant_parse(const char *text, int64_t *secs_r);
#define MAUTH_INSTANT_SIZE 21u
/* UTC, as above. */
void mauth_instant_text(int64_t secs, char text_r[static MAUTH_INSTANT_SIZE]);

/* side, from the instant at on; before it the other one. at 0: always. */
struct mauth_move {
	enum mauth_side side;
	int64_t at;
};
enum mauth_side mauth_move_side(const struct mauth_move *move, int64_t now);

enum mauth_map_line_kind {
	MAUTH_MAP_BLANK,                 /* empty, or a comment */
	MAUTH_MAP_SECTION,               /* "[cloud 2026-12-01T22:00:00Z]": what holds for lines below without a side */
	MAUTH_MAP_ENTRY,
};
struct mauth_map_line {
	enum mauth_map_line_kind kind;
	char *name;                      /* of an entry, in lower case: "anna@contoso.com", "@contoso.com" */
	struct mauth_move move;          /* side UNKNOWN: none is said ("[]" ends a section) */
	const char *comment;             /* from "#" on, "" if there is none */
};
/* Takes line (size octets, then a NUL in the place of its end) apart, in place. false: *problem_r says what is wrong and what
 * was expected, without file and line. */
bool mauth_map_line_parse(char *line, size_t size, struct mauth_map_line *line_r, const char **problem_r);

#endif
