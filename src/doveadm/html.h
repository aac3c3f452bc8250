/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_DOVEADM_HTML_H
#define MAUTH_DOVEADM_HTML_H
/* Writes HTML. What comes from outside goes through %s, which leaves nothing in it that means something to a browser or
 * deceives a reader, in text and in attributes with double quotes alike. */

#include "modernauth/modernauth.h"

#include <stdio.h>

/* As printf(), but only these: %s as above, %lld a number for people ("12,345"), %u and %d as they are, %.2f, %%. */
void html_put(FILE *file, const char *fmt, ...) MAUTH_PRINTF(2, 3);
/* What %s writes. Markup is escaped, broken UTF-8 is U+FFFD, and a character that nobody sees, or that turns the direction
 * of what follows, is spelled out: "[U+202E]". */
void html_text(FILE *file, const char *text);
/* What %lld writes. */
#define HTML_NUM_SIZE 32u
const char *html_num(int64_t num, char text_r[static HTML_NUM_SIZE]);

#endif
