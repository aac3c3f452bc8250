/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_DOVEADM_PAGE_CHART_H
#define MAUTH_DOVEADM_PAGE_CHART_H
/* Charts as inline SVG: widths in percent and heights in pixels, so that texts keep their size on a telephone. Colours are
 * classes of the page's style. Each has a legend, a title and a description, and the numbers behind it as a table. */

#include "modernauth/modernauth.h"

#include <stdio.h>

#define CHART_SERIES_MAX 4u

struct chart_series {
	const char *name, *colour;           /* colour: a class of the style */
};
struct chart_bar {
	char label[32], longer[48];          /* "26 Nov"; "Thursday, 26 November 2026" */
	int64_t values[CHART_SERIES_MAX];
};
struct chart {
	const char *id, *title, *description;    /* id: of letters */
	const char *unit, *unit_one;                     /* "logins", "login" */
	const char *first_column;                        /* title of the labels in the table */
	const struct chart_series *series;
	unsigned int series_count;
	const struct chart_bar *bars;
	unsigned int bars_count;
};

/* Upright, stacked, along an axis of time. */
void chart_columns(FILE *file, const struct chart *chart);
/* Lying, stacked, one below the other. */
void chart_rows(FILE *file, const struct chart *chart);

#endif
