/* SPDX-License-Identifier: MIT */
#include "core/chain-verify.h"

#include "core/json.h"
#include "core/chain-note.h"

#include <stdlib.h>
#include <string.h>

/* Longer than any record: a line that is longer is not one. */
#define LINE_MAX_SIZE 65536u
/* Brokers that have ever written; each takes some 150 octets. */
#define WRITERS_MAX 100000u

struct writer {
	char name[MAUTH_CHAIN_WRITER_SIZE];
	struct mauth_chain_state state;
	uint64_t checkpoint;                 /* number of the last one that was right */
	uint64_t checkpoint_line;
	bool ended;
	bool cited;                          /* a later writer has found its end as it was */
	bool lost;                           /* h is not known until the next checkpoint; it has been reported */
};

struct mauth_chain_verify {
	const struct mauth_chain_key *key;
	mauth_chain_report_fn *report;
	void *context;
	const char *file;
	uint64_t line;
	struct mauth_buf rest;               /* of a line that is not complete */
	bool overlong;
	struct writer *writers;              /* the newest last; a few are ever in use at once */
	size_t writers_count;
	struct mauth_chain_note_torn torn;   /* the last line that was none, if a later one may account for it */
	uint64_t torn_line;                  /* 0: there is none */
	struct mauth_chain_summary summary;
};

static const char *const fault_names[MAUTH_CHAIN_FAULT_COUNT] = {
	"edited", "changed", "missing", "repeated", "foreign", "forged", "cut", "torn", "later-start", "open-end",
};

const char *mauth_chain_fault_name(enum mauth_chain_fault fault)
{
	return fault_names[fault];
}

bool mauth_chain_fault_is_finding(enum mauth_chain_fault fault)
{
	return fault < MAUTH_CHAIN_TORN;
}

struct mauth_chain_verify *mauth_chain_verify_new(const struct mauth_chain_key *key, mauth_chain_report_fn *report, void *context)
{
	struct mauth_chain_verify *verify = mauth_new(sizeof(*verify));

	verify->key = key;
	verify->report = report;
	verify->context = context;
	verify->file = "";
	return verify;
}

void mauth_chain_verify_free(struct mauth_chain_verify **verify)
{
	if (*verify == NULL)
		return;
	mauth_buf_free(&(*verify)->rest);
	free((*verify)->writers);
	free(*verify);
	*verify = NULL;
}

static void tell(struct mauth_chain_verify *verify, enum mauth_chain_fault fault, uint64_t line, const char *writer, uint64_t from,
		 uint64_t to)
{
	const struct mauth_chain_report report = {
		.fault = fault, .file = verify->file, .line = line, .writer = writer, .from = from, .to = to,
	};

	if (mauth_chain_fault_is_finding(fault))
		verify->summary.findings++;
	else
		verify->summary.notes++;
	verify->report(&report, verify->context);
}

/* -- writers ------------------------------------------------------------------------------------------------ */

static struct writer *writer_find(struct mauth_chain_verify *verify, const char *name)
{
	for (size_t i = verify->writers_count; i > 0; i--) {
		if (memcmp(verify->writers[i - 1].name, name, MAUTH_CHAIN_WRITER_SIZE) == 0)
			return &verify->writers[i - 1];
	}
	return NULL;
}

static struct writer *writer_new(struct mauth_chain_verify *verify, const char *name)
{
	struct writer *writer;

	if (verify->writers_count == WRITERS_MAX) {
		memmove(verify->writers, verify->writers + 1, (WRITERS_MAX - 1) * sizeof(*verify->writers));
		verify->writers_count--;
	}
	if (verify->writers_count % 64 == 0)
		verify->writers = mauth_grow(verify->writers, verify->writers_count + 64, sizeof(*verify->writers));
	writer = &verify->writers[verify->writers_count++];
	*writer = (struct writer){ 0 };
	memcpy(writer->name, name, MAUTH_CHAIN_WRITER_SIZE);
	mauth_chain_first(name, &writer->state);
	return writer;
}

/* -- one line ----------------------------------------------------------------------------------------------- */

/* h(n) as the checkpoint has it, if its signature is right: from here on all is known again. */
static bool take_checkpoint(struct mauth_chain_verify *verify, struct writer *writer, const struct mauth_chain_line *parsed)
{
	bool known = !writer->lost && writer->state.number == parsed->number;

	if (!mauth_chain_signature_is_right(verify->key, parsed)) {
		tell(verify, MAUTH_CHAIN_FORGED, verify->line, writer->name, parsed->number, parsed->number);
		return false;
	}
	verify->summary.checkpoints++;
	if (known && memcmp(writer->state.head, parsed->head, MAUTH_CHAIN_HASH) != 0 &&
	    !mauth_chain_key_is_secret(verify->key))
		tell(verify, MAUTH_CHAIN_CHANGED, verify->line, writer->name, writer->checkpoint + 1, parsed->number);
	memcpy(writer->state.head, parsed->head, MAUTH_CHAIN_HASH);
	writer->checkpoint = parsed->number;
	writer->checkpoint_line = verify->line;
	writer->lost = false;
	return true;
}

/* What the broker says of itself: where it has begun, that it ends, what it has found. */
static void take_note(struct mauth_chain_verify *verify, struct writer *writer, const char *line, size_t size)
{
	struct mauth_chain_note note;
	struct writer *previous;
	size_t at;

	if (!mauth_chain_note_read(line, size, &note))
		return;
	if (note.ends)
		writer->ended = true;
	if (verify->torn_line > 0 && note.torn.size > 0 && verify->torn.size == note.torn.size &&
	    memcmp(verify->torn.hash, note.torn.hash, sizeof(note.torn.hash)) == 0) {
		tell(verify, MAUTH_CHAIN_TORN, verify->torn_line, NULL, 0, 0);
		verify->torn_line = 0;
	}
	if (note.previous[0] == '\0')
		return;
	at = (size_t)(writer - verify->writers);
	previous = writer_find(verify, note.previous);
	/* What was before the first file that was given is not for us to say. */
	if (previous == NULL && at == 0)
		return;
	if (previous == NULL)
		tell(verify, MAUTH_CHAIN_MISSING, verify->line, note.previous, 1, note.previous_number);
	else if (previous->state.number < note.previous_number)
		tell(verify, MAUTH_CHAIN_CUT, verify->line, note.previous, previous->state.number + 1, note.previous_number);
	else
		previous->cited = true;
}

static void flush_torn(struct mauth_chain_verify *verify)
{
	if (verify->torn_line > 0)
		tell(verify, MAUTH_CHAIN_FOREIGN, verify->torn_line, NULL, 0, 0);
	verify->torn_line = 0;
}

static void follow(struct mauth_chain_verify *verify, struct writer *writer, const char *line, size_t size,
		   const struct mauth_chain_line *parsed)
{
	const bool secret = mauth_chain_key_is_secret(verify->key);
	bool gap = parsed->number != writer->state.number + 1;

	mauth_chain_follow(verify->key, &writer->state, line, parsed);
	if (gap)
		writer->lost = true;
	if (secret && !gap && !mauth_equal_secret(writer->state.mac, parsed->mac, MAUTH_CHAIN_HASH)) {
		tell(verify, MAUTH_CHAIN_EDITED, verify->line, writer->name, parsed->number, parsed->number);
		writer->lost = true;
	}
	memcpy(writer->state.mac, parsed->mac, MAUTH_CHAIN_HASH);
	if (parsed->checkpoint)
		(void)take_checkpoint(verify, writer, parsed);
	take_note(verify, writer, line, size);
}

static void sealed_line(struct mauth_chain_verify *verify, const char *line, size_t size, const struct mauth_chain_line *parsed)
{
	struct writer *writer = writer_find(verify, parsed->writer);
	bool first = writer == NULL;

	verify->summary.sealed++;
	if (first)
		writer = writer_new(verify, parsed->writer);
	if (first && parsed->number > 1) {
		/* A file begins with a checkpoint: what is before it was not given, or is missing. */
		bool start = verify->summary.sealed == 1 && parsed->checkpoint;

		tell(verify, start ? MAUTH_CHAIN_LATER_START : MAUTH_CHAIN_MISSING, verify->line, writer->name,
		     start ? parsed->number : 1, start ? 0 : parsed->number - 1);
	} else if (parsed->number <= writer->state.number) {
		tell(verify, MAUTH_CHAIN_REPEATED, verify->line, writer->name, parsed->number, writer->state.number);
		return;
	} else if (parsed->number > writer->state.number + 1) {
		tell(verify, MAUTH_CHAIN_MISSING, verify->line, writer->name, writer->state.number + 1, parsed->number - 1);
	}
	follow(verify, writer, line, size, parsed);
	memcpy(verify->summary.writer, writer->name, sizeof(verify->summary.writer));
	verify->summary.number = writer->state.number;
}

static void take_line(struct mauth_chain_verify *verify, const char *line, size_t size)
{
	struct mauth_chain_line parsed;

	verify->line++;
	verify->summary.lines++;
	if (mauth_chain_parse(line, size, &parsed)) {
		sealed_line(verify, line, size, &parsed);
		flush_torn(verify);
		return;
	}
	flush_torn(verify);
	mauth_chain_note_torn(line, size, &verify->torn);
	verify->torn_line = verify->line;
}

/* -- octets ------------------------------------------------------------------------------------------------- */

void mauth_chain_verify_data(struct mauth_chain_verify *verify, const char *data, size_t size)
{
	const char *end = data + size;

	verify->summary.octets += size;
	while (data < end) {
		const char *newline = memchr(data, '\n', (size_t)(end - data));
		size_t part = newline == NULL ? (size_t)(end - data) : (size_t)(newline - data);

		if (newline != NULL && verify->rest.size == 0) {
			take_line(verify, data, part);
		} else if (verify->rest.size + part <= LINE_MAX_SIZE) {
			mauth_buf_append(&verify->rest, data, part);
			if (newline != NULL) {
				take_line(verify, verify->rest.data, verify->rest.size);
				mauth_buf_clear(&verify->rest);
			}
		} else {
			/* No record: its beginning stands for it. */
			if (newline != NULL) {
				take_line(verify, verify->rest.data == NULL ? "" : verify->rest.data, verify->rest.size);
				mauth_buf_clear(&verify->rest);
			}
		}
		data = newline == NULL ? end : newline + 1;
	}
}

static void end_file(struct mauth_chain_verify *verify)
{
	flush_torn(verify);
	if (verify->rest.size == 0)
		return;
	verify->summary.lines++;
	tell(verify, MAUTH_CHAIN_TORN, verify->line + 1, NULL, 0, 0);
	mauth_buf_clear(&verify->rest);
}

void mauth_chain_verify_file(struct mauth_chain_verify *verify, const char *name)
{
	end_file(verify);
	verify->file = name;
	verify->line = 0;
}

void mauth_chain_verify_end(struct mauth_chain_verify *verify, struct mauth_chain_summary *summary_r)
{
	end_file(verify);
	for (size_t i = 0; i < verify->writers_count; i++) {
		const struct writer *writer = &verify->writers[i];

		if (!writer->ended && !writer->cited)
			tell(verify, MAUTH_CHAIN_OPEN_END, 0, writer->name, writer->state.number, 0);
		if (!mauth_chain_key_is_secret(verify->key))
			verify->summary.unsigned_lines += writer->state.number - writer->checkpoint;
	}
	*summary_r = verify->summary;
}
