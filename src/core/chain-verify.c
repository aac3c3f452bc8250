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
/* What is not decided before the end, and what retention has recorded: more than that nobody has deleted. */
#define OPEN_MAX 10000u
#define DELETIONS_MAX 1000000u

struct writer {
	char name[MAUTH_CHAIN_WRITER_SIZE];
	struct mauth_chain_state state;
	uint64_t first;                      /* number of its first line here */
	uint64_t checkpoint;                 /* number of the last one that was right */
	uint64_t checkpoint_line;
	bool ended;
	uint64_t cited;                      /* another writer has found it to have come so far */
	bool lost;                           /* h is not known until the next checkpoint; it has been reported */
};

/* Something from before the files that were given: whether it is missing, retention's records further on say. */
struct open_question {
	char *file;
	uint64_t line;
	char writer[MAUTH_CHAIN_WRITER_SIZE];
	uint64_t last;                       /* the last number that is not here */
	bool cited;                          /* a later writer says so; else the writer's own first line does */
	bool resumes;                        /* that line says that the one before it is in another file */
	bool outside;                        /* the first file: it need not be here, unless all is */
	/* the writer's own first line, which cannot be judged before what was before it is known */
	bool checkpoint;
	unsigned char hash[MAUTH_CHAIN_HASH], mac[MAUTH_CHAIN_HASH], head[MAUTH_CHAIN_HASH];
};

struct deletion {
	struct mauth_chain_range range;
	size_t file;                         /* of deleted */
};
struct deleted_file {
	char *name, *when;
	bool told;
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
	bool all;
	unsigned int files, first_file;      /* begun so far; the first one with something in it */
	struct open_question *questions;
	size_t questions_count;
	struct deletion *deletions;
	size_t deletions_count;
	struct deleted_file *deleted;
	size_t deleted_count;
	struct mauth_chain_summary summary;
};

static const char *const fault_names[MAUTH_CHAIN_FAULT_COUNT] = {
	"edited", "changed", "missing", "repeated", "foreign", "forged", "cut", "torn", "deleted", "later-start",
	"open-end",
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
	for (size_t i = 0; i < (*verify)->questions_count; i++)
		free((*verify)->questions[i].file);
	for (size_t i = 0; i < (*verify)->deleted_count; i++) {
		free((*verify)->deleted[i].name);
		free((*verify)->deleted[i].when);
	}
	free((*verify)->questions);
	free((*verify)->deletions);
	free((*verify)->deleted);
	free((*verify)->writers);
	free(*verify);
	*verify = NULL;
}

static void tell_report(struct mauth_chain_verify *verify, const struct mauth_chain_report *report)
{
	if (mauth_chain_fault_is_finding(report->fault))
		verify->summary.findings++;
	else
		verify->summary.notes++;
	verify->report(report, verify->context);
}

static void tell(struct mauth_chain_verify *verify, enum mauth_chain_fault fault, uint64_t line, const char *writer, uint64_t from,
		 uint64_t to)
{
	tell_report(verify, &(struct mauth_chain_report){
		.fault = fault, .file = verify->file, .line = line, .writer = writer, .from = from, .to = to });
}

void mauth_chain_verify_all(struct mauth_chain_verify *verify)
{
	verify->all = true;
}

void mauth_chain_verify_ranges(const struct mauth_chain_verify *verify,
			       void (*range)(const struct mauth_chain_range *range, void *context), void *context)
{
	for (size_t i = 0; i < verify->writers_count; i++) {
		const struct writer *writer = &verify->writers[i];
		struct mauth_chain_range has = { .from = writer->first, .last = writer->state, .has_head = !writer->lost };

		memcpy(has.writer, writer->name, sizeof(has.writer));
		range(&has, context);
	}
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

/* -- what is not here --------------------------------------------------------------------------------------- */

static void answer(struct mauth_chain_verify *verify, const struct open_question *question);

/* It is answered at the end, when all records of retention are known. */
static void ask(struct mauth_chain_verify *verify, const struct open_question *question)
{
	if (verify->questions_count == OPEN_MAX) {
		answer(verify, question);
		return;
	}
	if (verify->questions_count % 64 == 0)
		verify->questions = mauth_grow(verify->questions, verify->questions_count + 64, sizeof(*verify->questions));
	verify->questions[verify->questions_count] = *question;
	verify->questions[verify->questions_count++].file = mauth_strdup(verify->file);
}

static void take_deletion(const struct mauth_chain_range *range, const char *file, const char *when, void *context)
{
	struct mauth_chain_verify *verify = context;
	size_t n = verify->deleted_count;

	if (verify->deletions_count == DELETIONS_MAX)
		return;
	if (n == 0 || strcmp(verify->deleted[n - 1].name, file) != 0 || strcmp(verify->deleted[n - 1].when, when) != 0) {
		/* Few files, each with a line of its own. */
		verify->deleted = mauth_grow(verify->deleted, n + 1, sizeof(*verify->deleted));
		verify->deleted[n] = (struct deleted_file){ mauth_strdup(file), mauth_strdup(when), false };
		verify->deleted_count++;
	}
	if (verify->deletions_count % 256 == 0)
		verify->deletions = mauth_grow(verify->deletions, verify->deletions_count + 256, sizeof(*verify->deletions));
	verify->deletions[verify->deletions_count++] = (struct deletion){ *range, verify->deleted_count - 1 };
}

/* The deletion that took the last of what the question is about, or NULL; *from_r: what is missing behind another one begins there. */
static const struct deletion *find_deletion(const struct mauth_chain_verify *verify, const struct open_question *question,
					    uint64_t *from_r)
{
	const struct deletion *found = NULL;

	*from_r = 1;
	for (size_t i = 0; i < verify->deletions_count; i++) {
		const struct deletion *deletion = &verify->deletions[i];

		if (memcmp(deletion->range.writer, question->writer, MAUTH_CHAIN_WRITER_SIZE) != 0)
			continue;
		/* Whoever cites a writer may know less of it than the file had. */
		if (deletion->range.last.number == question->last || (question->cited && deletion->range.last.number > question->last))
			found = deletion;
		else if (deletion->range.last.number < question->last && deletion->range.last.number >= *from_r)
			*from_r = deletion->range.last.number + 1;
	}
	return found;
}

static void tell_deleted(struct mauth_chain_verify *verify, const struct open_question *question, struct deleted_file *file)
{
	char *detail;

	if (file->told)
		return;
	file->told = true;
	detail = mauth_printf("%s, deleted at %s", file->name, file->when);
	tell_report(verify, &(struct mauth_chain_report){ .fault = MAUTH_CHAIN_DELETED, .file = question->file, .line = question->line,
							  .writer = question->writer, .to = question->last, .detail = detail });
	free(detail);
}

/* Is a writer's first line here the one that followed the last one of the file that was deleted? */
static bool follows(const struct mauth_chain_verify *verify, const struct open_question *question, const struct mauth_chain_range *range)
{
	struct mauth_chain_state state = range->last;

	mauth_chain_follow(verify->key, &state, question->hash, question->last + 1, question->mac);
	if (mauth_chain_key_is_secret(verify->key))
		return mauth_equal_secret(state.mac, question->mac, MAUTH_CHAIN_HASH);
	return !question->checkpoint || !range->has_head || memcmp(state.head, question->head, MAUTH_CHAIN_HASH) == 0;
}

static void answer(struct mauth_chain_verify *verify, const struct open_question *question)
{
	struct mauth_chain_report report = { .fault = MAUTH_CHAIN_MISSING, .file = question->file, .line = question->line,
					     .writer = question->writer, .to = question->last };
	const struct deletion *deletion = find_deletion(verify, question, &report.from);

	if (report.file == NULL)
		report.file = verify->file;
	if (deletion != NULL) {
		tell_deleted(verify, question, &verify->deleted[deletion->file]);
		if (!question->cited && !follows(verify, question, &deletion->range)) {
			report.fault = mauth_chain_key_is_secret(verify->key) ? MAUTH_CHAIN_EDITED : MAUTH_CHAIN_CHANGED;
			report.from = ++report.to;
			tell_report(verify, &report);
		}
		return;
	}
	if (question->outside && !verify->all && report.from == 1) {
		/* What was before the first file that was given is not for us to say. */
		if (question->cited)
			return;
		if (question->resumes) {
			report.fault = MAUTH_CHAIN_LATER_START;
			report.from = question->last + 1;
			report.to = 0;
		}
	}
	tell_report(verify, &report);
}

static void answer_all(struct mauth_chain_verify *verify)
{
	for (size_t i = 0; i < verify->questions_count; i++)
		answer(verify, &verify->questions[i]);
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

/* Where a writer has begun, it has found the end of another one. */
static void take_citation(struct mauth_chain_verify *verify, const char *name, uint64_t number)
{
	struct writer *cited = writer_find(verify, name);

	if (cited == NULL) {
		struct open_question question = { .line = verify->line, .last = number, .cited = true,
						  .outside = verify->files == verify->first_file };

		memcpy(question.writer, name, sizeof(question.writer));
		ask(verify, &question);
	} else if (cited->state.number < number) {
		tell(verify, MAUTH_CHAIN_CUT, verify->line, name, cited->state.number + 1, number);
	} else if (cited->cited < number) {
		cited->cited = number;
	}
}

/* What the broker says of itself: where it has begun, that it ends, what it has found. */
static void take_note(struct mauth_chain_verify *verify, struct writer *writer, const struct mauth_chain_note *note)
{
	if (note->ends)
		writer->ended = true;
	if (verify->torn_line > 0 && note->torn.size > 0 && verify->torn.size == note->torn.size &&
	    memcmp(verify->torn.hash, note->torn.hash, sizeof(note->torn.hash)) == 0) {
		tell(verify, MAUTH_CHAIN_TORN, verify->torn_line, NULL, 0, 0);
		verify->torn_line = 0;
	}
	if (note->previous[0] != '\0')
		take_citation(verify, note->previous, note->previous_number);
	if (note->known[0] != '\0' && (strcmp(note->known, note->previous) != 0 || note->known_number > note->previous_number))
		take_citation(verify, note->known, note->known_number);
}

static void flush_torn(struct mauth_chain_verify *verify)
{
	if (verify->torn_line > 0)
		tell(verify, MAUTH_CHAIN_FOREIGN, verify->torn_line, NULL, 0, 0);
	verify->torn_line = 0;
}

static void follow(struct mauth_chain_verify *verify, struct writer *writer, const char *line, size_t size,
		   const struct mauth_chain_line *parsed, const struct mauth_chain_note *note)
{
	const bool secret = mauth_chain_key_is_secret(verify->key);
	bool gap = parsed->number != writer->state.number + 1, good = !gap;
	unsigned char hash[MAUTH_CHAIN_HASH];

	mauth_chain_body_hash(verify->key, line, parsed, hash);
	mauth_chain_follow(verify->key, &writer->state, hash, parsed->number, parsed->mac);
	if (gap)
		writer->lost = true;
	if (secret && !gap && !mauth_equal_secret(writer->state.mac, parsed->mac, MAUTH_CHAIN_HASH)) {
		tell(verify, MAUTH_CHAIN_EDITED, verify->line, writer->name, parsed->number, parsed->number);
		writer->lost = true;
		good = false;
	}
	memcpy(writer->state.mac, parsed->mac, MAUTH_CHAIN_HASH);
	if (parsed->checkpoint)
		(void)take_checkpoint(verify, writer, parsed);
	if (note == NULL)
		return;
	take_note(verify, writer, note);
	/* Only a line that is right excuses others that are not there. */
	if (good)
		(void)mauth_chain_deletion_read(line, size, take_deletion, verify);
}

static void late_first_line(struct mauth_chain_verify *verify, const char *line, const struct mauth_chain_line *parsed,
			    const struct mauth_chain_note *note)
{
	struct open_question question = { .line = verify->line, .last = parsed->number - 1, .outside = verify->files == verify->first_file,
					  .resumes = note != NULL && note->resumes && parsed->checkpoint };

	question.checkpoint = parsed->checkpoint;
	mauth_chain_body_hash(verify->key, line, parsed, question.hash);
	memcpy(question.mac, parsed->mac, sizeof(question.mac));
	memcpy(question.head, parsed->head, sizeof(question.head));
	memcpy(question.writer, parsed->writer, sizeof(question.writer));
	ask(verify, &question);
}

static void sealed_line(struct mauth_chain_verify *verify, const char *line, size_t size, const struct mauth_chain_line *parsed)
{
	struct writer *writer = writer_find(verify, parsed->writer);
	struct mauth_chain_note read;
	const struct mauth_chain_note *note = mauth_chain_note_read(line, size, &read) ? &read : NULL;

	if (verify->summary.sealed++ == 0)
		verify->first_file = verify->files;
	if (writer == NULL) {
		writer = writer_new(verify, parsed->writer);
		writer->first = parsed->number;
		if (parsed->number > 1)
			late_first_line(verify, line, parsed, note);
	} else if (parsed->number <= writer->state.number) {
		tell(verify, MAUTH_CHAIN_REPEATED, verify->line, writer->name, parsed->number, writer->state.number);
		return;
	} else if (parsed->number > writer->state.number + 1) {
		tell(verify, MAUTH_CHAIN_MISSING, verify->line, writer->name, writer->state.number + 1, parsed->number - 1);
	}
	follow(verify, writer, line, size, parsed, note);
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
	verify->files++;
	verify->file = name;
	verify->line = 0;
}

void mauth_chain_verify_end(struct mauth_chain_verify *verify, struct mauth_chain_summary *summary_r)
{
	end_file(verify);
	answer_all(verify);
	for (size_t i = 0; i < verify->writers_count; i++) {
		const struct writer *writer = &verify->writers[i];

		if (!writer->ended && writer->cited < writer->state.number)
			tell(verify, MAUTH_CHAIN_OPEN_END, 0, writer->name, writer->state.number, 0);
		if (!mauth_chain_key_is_secret(verify->key))
			verify->summary.unsigned_lines += writer->state.number - writer->checkpoint;
	}
	*summary_r = verify->summary;
}
