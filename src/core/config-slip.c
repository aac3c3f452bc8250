/* SPDX-License-Identifier: MIT */
/* Slips of the pen in names of settings. */
#include "core/config-parse.h"

#include <string.h>

unsigned int mauth_conf_distance(const char *a, const char *b)
{
	unsigned int row[MAUTH_CONF_NAME_MAX + 1];
	size_t b_len = strlen(b);

	for (size_t j = 0; j <= b_len; j++)
		row[j] = (unsigned int)j;
	for (size_t i = 0; a[i] != '\0'; i++) {
		unsigned int diagonal = row[0];

		row[0] = (unsigned int)i + 1;
		for (size_t j = 0; j < b_len; j++) {
			unsigned int above = row[j + 1], best = diagonal + (a[i] != b[j]);

			if (above + 1 < best)
				best = above + 1;
			if (row[j] + 1 < best)
				best = row[j] + 1;
			row[j + 1] = best;
			diagonal = above;
		}
	}
	return row[b_len];
}
