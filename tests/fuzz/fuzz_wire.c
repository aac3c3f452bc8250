/* SPDX-License-Identifier: MIT */
#include "client/wire.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What was parsed must survive being written and parsed again. */
static void round_trip(const struct mauth_wire_line *line)
{
	struct mauth_wire_line *again = mauth_new(sizeof(*again));
	struct mauth_buf buf = { 0 };
	const char *error;

	mauth_wire_begin(&buf, line->verb);
	if (line->id != 0)
		mauth_wire_id(&buf, line->id);
	for (size_t i = 0; i < line->count; i++)
		mauth_wire_data(&buf, *line->fields[i].key != '\0' ? line->fields[i].key : "none",
				line->fields[i].value, line->fields[i].size);
	if (!mauth_wire_parse(buf.data, buf.size, line->id != 0, again, &error))
		abort();
	if (again->count != line->count || again->id != line->id || strcmp(again->verb, line->verb) != 0)
		abort();
	for (size_t i = 0; i < line->count; i++) {
		if (again->fields[i].size != line->fields[i].size ||
		    memcmp(again->fields[i].value, line->fields[i].value, line->fields[i].size) != 0)
			abort();
		(void)mauth_wire_get(line, line->fields[i].key);
		(void)mauth_wire_get_num(line, line->fields[i].key, 65535, 0);
	}
	mauth_buf_free(&buf);
	free(again);
}

/* The first octet says in what chunks the rest arrives, and whether lines have ids. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mauth_wire_reader reader = { 0 };
	struct mauth_wire_line *line;
	size_t chunk, line_size;
	bool overflow = false, with_id;
	const char *error;
	char *text;

	if (size == 0)
		return 0;
	line = mauth_new(sizeof(*line));
	chunk = (size_t)(data[0] >> 1) * 16 + 1;
	with_id = (data[0] & 1) != 0;
	for (data++, size--; size > 0 && !overflow;) {
		size_t step = size < chunk ? size : chunk;

		mauth_buf_append(&reader.in, data, step);
		data += step;
		size -= step;
		while (mauth_wire_next(&reader, &text, &line_size, &overflow)) {
			if (mauth_wire_parse(text, line_size, with_id, line, &error))
				round_trip(line);
		}
	}
	mauth_wire_reader_free(&reader);
	free(line);
	return 0;
}
