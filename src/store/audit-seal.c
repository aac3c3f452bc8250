/* SPDX-License-Identifier: MIT */
#include "store/audit-seal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct mauth_audit_seal {
	const struct mauth_loop *loop;
	char *head_path;
	struct mauth_chain_writer writer;
	struct mauth_chain_state before;     /* to go back to if what was sealed is not written */
	uint64_t signed_number;              /* of our last checkpoint that is in the file */
	uint64_t checkpoint;                 /* of the one that is being written; 0: none is */
	uint64_t head;                       /* the number in head_path; 0: not written yet */
	bool deferred;                       /* that waits until the disk has the checkpoint */
	bool opened;                         /* a file, at least once */
	/* what the next line has to say first */
	bool note_due;
	enum mauth_chain_note_kind kind;
	struct mauth_chain_note note;
	struct mauth_chain_note seen;        /* previous: the last line of another broker; for the next checkpoint */
};

struct mauth_audit_seal *mauth_audit_seal_new(const struct mauth_chain_key *key, const char *head_path,
					      const struct mauth_loop *loop)
{
	struct mauth_audit_seal *seal = mauth_new(sizeof(*seal));

	mauth_chain_begin(&seal->writer, key);
	seal->head_path = mauth_strdup(head_path);
	seal->loop = loop;
	return seal;
}

void mauth_audit_seal_free(struct mauth_audit_seal **seal)
{
	if (*seal == NULL)
		return;
	free((*seal)->head_path);
	free(*seal);
	*seal = NULL;
}

/* -- what was before us ------------------------------------------------------------------------------------- */

/* The last sealed line of tail, but for those of a writer ("": of nobody). */
static bool find_last(const char *tail, size_t size, const char *but, struct mauth_chain_line *line_r)
{
	const char *end = tail + size;
	struct mauth_chain_line line;
	bool found = false;

	while (tail < end) {
		const char *newline = memchr(tail, '\n', (size_t)(end - tail));

		if (newline == NULL)
			break;
		if (mauth_chain_parse(tail, (size_t)(newline - tail), &line) && strcmp(line.writer, but) != 0) {
			*line_r = line;
			found = true;
		}
		tail = newline + 1;
	}
	return found;
}

/* "5f1c9a03 17": writer and number. */
static bool read_head(const char *path, char writer_r[MAUTH_CHAIN_WRITER_SIZE], uint64_t *number_r)
{
	FILE *file = path == NULL ? NULL : fopen(path, "re");
	char line[64] = "", *end = line;
	bool good;

	if (file == NULL)
		return false;
	good = fgets(line, sizeof(line), file) != NULL && strspn(line, "0123456789abcdef") == MAUTH_CHAIN_WRITER_SIZE - 1 &&
	       line[MAUTH_CHAIN_WRITER_SIZE - 1] == ' ';
	fclose(file);
	if (!good)
		return false;
	line[MAUTH_CHAIN_WRITER_SIZE - 1] = '\0';
	memcpy(writer_r, line, MAUTH_CHAIN_WRITER_SIZE);
	*number_r = strtoull(line + MAUTH_CHAIN_WRITER_SIZE, &end, 10);
	return *end == '\n';
}

/* The end that we know of: if the files do not go so far, they are not those that we had. Not before the line that says so is
 * written: until then another broker may have ended in a file that is renamed by now, and that we could not look at. */
static void look_at_head(struct mauth_audit_seal *seal)
{
	struct mauth_chain_note *note = &seal->note;

	if (!read_head(seal->head_path, note->known, &note->known_number) || strcmp(note->known, seal->writer.name) == 0)
		note->known[0] = '\0';
}

/* A new file in place of the old: what is there is whole. That it may be lost in a crash is no harm, it is then an older one. */
static void write_head(struct mauth_audit_seal *seal, uint64_t number)
{
	char *temporary;
	FILE *file;
	int fd;

	if (seal->head_path == NULL || number <= seal->head)
		return;
	seal->head = number;
	temporary = mauth_printf("%s.new", seal->head_path);
	fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	file = fd < 0 ? NULL : fdopen(fd, "w");
	if (file != NULL) {
		bool good = fprintf(file, "%s %" PRIu64 "\n", seal->writer.name, number) > 0;

		if (fclose(file) == 0 && good)
			(void)!rename(temporary, seal->head_path);
	}
	free(temporary);
}

void mauth_audit_seal_opened(struct mauth_audit_seal *seal, const char *tail, size_t size)
{
	struct mauth_chain_note *note = &seal->note;
	struct mauth_chain_line last;

	seal->note_due = true;
	seal->kind = seal->opened ? MAUTH_CHAIN_NOTE_RESUMED : MAUTH_CHAIN_NOTE_BEGUN;
	if (seal->opened)
		return;
	seal->opened = true;
	if (find_last(tail, size, "", &last)) {
		memcpy(note->previous, last.writer, sizeof(note->previous));
		note->previous_number = last.number;
	}
}

void mauth_audit_seal_look_around(struct mauth_audit_seal *seal, const char *tail, size_t size)
{
	struct mauth_chain_note *seen = &seal->seen;
	struct mauth_chain_line last;

	if (!find_last(tail, size, seal->writer.name, &last))
		return;
	memcpy(seen->previous, last.writer, sizeof(seen->previous));
	seen->previous_number = last.number;
}

void mauth_audit_seal_torn(struct mauth_audit_seal *seal, const char *data, size_t size)
{
	mauth_chain_note_torn(data, size, &seal->note.torn);
	if (!seal->note_due)
		seal->kind = MAUTH_CHAIN_NOTE_CHECKPOINT;
	seal->note_due = true;
}

/* -- writing ------------------------------------------------------------------------------------------------ */

static void put_note(struct mauth_audit_seal *seal, enum mauth_chain_note_kind kind, const struct mauth_chain_note *note,
		     struct mauth_buf *out)
{
	struct mauth_buf line = { 0 };

	mauth_chain_note_write(&line, mauth_wall_usecs(seal->loop), kind, note == NULL ? &seal->seen : note);
	mauth_chain_checkpoint(&seal->writer, line.data, line.size, out);
	mauth_buf_free(&line);
	seal->checkpoint = seal->writer.state.number;
}

void mauth_audit_seal_lines(struct mauth_audit_seal *seal, const char *lines, size_t size, struct mauth_buf *out)
{
	seal->before = seal->writer.state;
	seal->checkpoint = 0;
	if (seal->note_due) {
		look_at_head(seal);
		put_note(seal, seal->kind, &seal->note, out);
	}
	if (lines != NULL)
		mauth_chain_seal(&seal->writer, lines, size, out);
	if ((lines == NULL && !seal->note_due) ||
	    seal->writer.state.number - (seal->checkpoint > 0 ? seal->checkpoint : seal->signed_number) >= MAUTH_AUDIT_CHECKPOINT_RECORDS)
		put_note(seal, MAUTH_CHAIN_NOTE_CHECKPOINT, NULL, out);
}

bool mauth_audit_seal_last(struct mauth_audit_seal *seal, enum mauth_chain_note_kind kind, struct mauth_buf *out)
{
	/* Nothing of ours is in this file. */
	if (seal->writer.state.number == 0 || seal->note_due)
		return false;
	seal->before = seal->writer.state;
	put_note(seal, kind, NULL, out);
	return true;
}

void mauth_audit_seal_written(struct mauth_audit_seal *seal, bool written)
{
	if (!written) {
		seal->writer.state = seal->before;
		return;
	}
	if (seal->note_due && seal->writer.state.number > seal->before.number) {
		seal->note_due = false;
		seal->note = (struct mauth_chain_note){ 0 };
	}
	if (seal->checkpoint == 0)
		return;
	/* It is said once: the file that says it is the one that has it. */
	seal->seen = (struct mauth_chain_note){ 0 };
	seal->signed_number = seal->checkpoint;
	if (!seal->deferred)
		write_head(seal, seal->signed_number);
}

void mauth_audit_seal_defer(struct mauth_audit_seal *seal)
{
	seal->deferred = true;
}

uint64_t mauth_audit_seal_signed(const struct mauth_audit_seal *seal)
{
	return seal->signed_number;
}

void mauth_audit_seal_on_disk(struct mauth_audit_seal *seal, uint64_t number)
{
	write_head(seal, number);
}

bool mauth_audit_seal_is_due(const struct mauth_audit_seal *seal)
{
	return seal->writer.state.number > seal->signed_number;
}

const struct mauth_chain_writer *mauth_audit_seal_writer(const struct mauth_audit_seal *seal)
{
	return &seal->writer;
}
