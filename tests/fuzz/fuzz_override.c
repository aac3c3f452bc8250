/* SPDX-License-Identifier: MIT */
/* The override file of the AADSTS table. */

#include "core/aadsts.h"
#include "core/mem.h"

#include "fuzz.h"

#include <string.h>

static void check_rows(const struct mauth_aadsts_table *table)
{
	for (size_t i = 0; i < mauth_aadsts_count(table); i++) {
		const struct mauth_aadsts_row *row = mauth_aadsts_at(table, i);

		MUST(i == 0 || mauth_aadsts_at(table, i - 1)->code < row->code);
		MUST(mauth_aadsts_find(table, row->code) == row);
		MUST(row->code > 0 && row->meaning != NULL && row->advice != NULL);
		MUST((unsigned int)row->class_ < MAUTH_CLASS_COUNT);
		MUST(row->status != MAUTH_OK && row->status != MAUTH_NOT_OURS);
		MUST(!row->counts || row->status == MAUTH_BAD_CREDENTIALS);
		MUST(mauth_is_utf8(row->advice, strlen(row->advice)) && strlen(row->advice) < MAUTH_TEXT_MAX);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mauth_aadsts_table *table = mauth_aadsts_new();
	const size_t before = mauth_aadsts_count(table);
	const char *first = mauth_aadsts_at(table, 0)->advice;
	struct mauth_error error;

	/* Twice, so that overrides are overridden. */
	for (unsigned int i = 0; i < 2; i++) {
		const enum mauth_status status =
			mauth_aadsts_override(table, "rows", (const char *)data, size, &error);

		if (status == MAUTH_OK)
			continue;
		MUST(status == MAUTH_CONFIG && error.status == MAUTH_CONFIG);
		MUST(strncmp(error.text, "rows:", 5) == 0);
		MUST(mauth_aadsts_count(table) == before);
		MUST(mauth_aadsts_at(table, 0)->advice == first);
	}
	check_rows(table);
	mauth_aadsts_free(&table);
	return 0;
}
