/* SPDX-License-Identifier: MIT */
#include "core/chain-note.h"

#include "core/json.h"
#include "core/record-json.h"

#include <openssl/evp.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static const struct {
	const char *action, *text;
} kinds[] = {
	[MAUTH_CHAIN_NOTE_BEGUN] = { "audit-begun", "the broker begins to write" },
	[MAUTH_CHAIN_NOTE_CHECKPOINT] = { "audit-checkpoint", "signed up to here" },
	[MAUTH_CHAIN_NOTE_ROTATED] = { "audit-rotated", "the file was renamed; the next record is in another one" },
	[MAUTH_CHAIN_NOTE_RESUMED] = { "audit-resumed", "the previous record is in another file" },
	[MAUTH_CHAIN_NOTE_ENDED] = { "audit-ended", "the broker writes no more" },
};

void mauth_chain_note_torn(const char *data, size_t size, struct mauth_chain_note_torn *torn_r)
{
	torn_r->size = size;
	/* Fails for want of memory only. */
	if (size > 0 && EVP_Digest(data, size, torn_r->hash, NULL, EVP_sha256(), NULL) != 1)
		abort();
}

static void put_hash(struct mauth_buf *buf, const unsigned char hash[MAUTH_CHAIN_HASH])
{
	for (size_t i = 0; i < MAUTH_CHAIN_HASH; i++)
		mauth_buf_printf(buf, "%02x", hash[i]);
}

void mauth_chain_note_write(struct mauth_buf *buf, int64_t wall_usecs, enum mauth_chain_note_kind kind,
			    const struct mauth_chain_note *note)
{
	put_char(buf, '{');
	put_time(buf, "@timestamp", wall_usecs / 1000000, wall_usecs % 1000000);
	put_raw(buf, "ecs", "{\"version\":\"9.0.0\"}");
	put_raw(buf, "event", "{\"kind\":\"event\",\"category\":[\"configuration\"],\"type\":[\"info\"]");
	put_str(buf, "action", kinds[kind].action);
	put_raw(buf, "outcome", "\"success\",\"provider\":\"dovecot-modernauth\",\"dataset\":\"dovecot.modernauth\"");
	put_str(buf, "reason", kinds[kind].text);
	put_char(buf, '}');
	put_raw(buf, "modernauth", "{\"audit\":{");
	mauth_buf_printf(buf, "\"ends\":%s", kind == MAUTH_CHAIN_NOTE_ENDED ? "true" : "false");
	if (note->previous[0] != '\0')
		mauth_buf_printf(buf, ",\"previous\":{\"w\":\"%s\",\"n\":%" PRIu64 "}", note->previous, note->previous_number);
	if (note->known[0] != '\0')
		mauth_buf_printf(buf, ",\"known\":{\"w\":\"%s\",\"n\":%" PRIu64 "}", note->known, note->known_number);
	if (note->torn.size > 0) {
		mauth_buf_printf(buf, ",\"torn\":{\"octets\":%zu,\"sha256\":\"", note->torn.size);
		put_hash(buf, note->torn.hash);
		mauth_buf_puts(buf, "\"}");
	}
	mauth_buf_puts(buf, "}}}\n");
}

/* -- deletions ---------------------------------------------------------------------------------------------- */

#define ACTION_DELETED "audit-deleted"

static void put_range(struct mauth_buf *buf, const struct mauth_chain_range *range, bool first)
{
	mauth_buf_printf(buf, "%s{\"w\":\"%s\",\"from\":%" PRIu64 ",\"to\":%" PRIu64 ",\"mac\":\"", first ? "" : ",", range->writer,
			 range->from, range->last.number);
	put_hash(buf, range->last.mac);
	if (range->has_head) {
		mauth_buf_puts(buf, "\",\"head\":\"");
		put_hash(buf, range->last.head);
	}
	mauth_buf_puts(buf, "\"}");
}

static void deletion_part(struct mauth_buf *buf, int64_t wall_usecs, const struct mauth_chain_deletion *deletion, size_t from, size_t to)
{
	size_t file;

	put_char(buf, '{');
	put_time(buf, "@timestamp", wall_usecs / 1000000, wall_usecs % 1000000);
	put_raw(buf, "ecs", "{\"version\":\"9.0.0\"}");
	put_raw(buf, "event", "{\"kind\":\"event\",\"category\":[\"file\"],\"type\":[\"deletion\"]");
	put_str(buf, "action", ACTION_DELETED);
	put_raw(buf, "outcome", "\"success\",\"provider\":\"dovecot-modernauth\",\"dataset\":\"dovecot.modernauth\"");
	put_str(buf, "reason", deletion->reason);
	put_char(buf, '}');
	file = put_open(buf, "file");
	put_str(buf, "name", deletion->file);
	put_num(buf, "size", (int64_t)deletion->octets);
	mauth_buf_puts(buf, ",\"hash\":{\"sha256\":\"");
	put_hash(buf, deletion->hash);
	mauth_buf_puts(buf, "\"}");
	put_close(buf, file);
	put_raw(buf, "modernauth", "{\"audit\":{\"ends\":false,\"deleted\":{");
	mauth_buf_printf(buf, "\"verified\":%s", deletion->verified ? "true" : "false");
	if (deletion->last_secs > 0)
		put_time(buf, "last", deletion->last_secs, -1);
	mauth_buf_puts(buf, ",\"writers\":[");
	for (size_t i = from; i < to; i++)
		put_range(buf, &deletion->ranges[i], i == from);
	mauth_buf_puts(buf, "]}}}}\n");
}

void mauth_chain_deletion_write(struct mauth_buf *buf, int64_t wall_usecs, const struct mauth_chain_deletion *deletion)
{
	size_t from = 0, to;

	do {
		to = deletion->ranges_count - from > MAUTH_CHAIN_RANGES_MAX ? from + MAUTH_CHAIN_RANGES_MAX : deletion->ranges_count;
		deletion_part(buf, wall_usecs, deletion, from, to);
		from = to;
	} while (from < deletion->ranges_count);
}

static bool read_hash(json_t *json, const char *name, unsigned char hash_r[MAUTH_CHAIN_HASH])
{
	const char *text = mauth_json_str(json, name);

	return mauth_chain_take_hex(&text, text + strlen(text), hash_r, MAUTH_CHAIN_HASH) && *text == '\0';
}

static bool read_range(json_t *json, struct mauth_chain_range *range_r)
{
	const char *writer = mauth_json_str(json, "w");
	json_int_t from = json_integer_value(json_object_get(json, "from")), to = json_integer_value(json_object_get(json, "to"));

	if (strlen(writer) != MAUTH_CHAIN_WRITER_SIZE - 1 || from <= 0 || to < from || !read_hash(json, "mac", range_r->last.mac))
		return false;
	range_r->has_head = read_hash(json, "head", range_r->last.head);
	memcpy(range_r->writer, writer, MAUTH_CHAIN_WRITER_SIZE);
	range_r->from = (uint64_t)from;
	range_r->last.number = (uint64_t)to;
	return true;
}

bool mauth_chain_deletion_read(const char *line, size_t size, mauth_chain_range_fn *range, void *context)
{
	static const char begin[] = "\"action\":\"" ACTION_DELETED "\"";
	json_t *root, *writers, *file;
	struct mauth_chain_range read;

	if (memmem(line, size < 512 ? size : 512, begin, sizeof(begin) - 1) == NULL)
		return false;
	root = mauth_json_object(line, size);
	if (strcmp(mauth_json_str(json_object_get(root, "event"), "action"), ACTION_DELETED) != 0) {
		json_decref(root);
		return false;
	}
	file = json_object_get(root, "file");
	writers = json_object_get(json_object_get(json_object_get(json_object_get(root, "modernauth"), "audit"), "deleted"), "writers");
	for (size_t i = 0; i < json_array_size(writers); i++) {
		if (read_range(json_array_get(writers, i), &read))
			range(&read, mauth_json_str(file, "name"), mauth_json_str(root, "@timestamp"), context);
	}
	json_decref(root);
	return true;
}

/* -- reading ------------------------------------------------------------------------------------------------ */

static void read_citation(json_t *citation, char writer_r[MAUTH_CHAIN_WRITER_SIZE], uint64_t *number_r)
{
	const char *writer = mauth_json_str(citation, "w");
	json_int_t number = json_integer_value(json_object_get(citation, "n"));

	if (strlen(writer) != MAUTH_CHAIN_WRITER_SIZE - 1 || number <= 0)
		return;
	memcpy(writer_r, writer, MAUTH_CHAIN_WRITER_SIZE);
	*number_r = (uint64_t)number;
}

static void read_audit(json_t *audit, struct mauth_chain_note *note)
{
	json_t *torn = json_object_get(audit, "torn");
	json_int_t octets = json_integer_value(json_object_get(torn, "octets"));

	note->ends = json_is_true(json_object_get(audit, "ends"));
	read_citation(json_object_get(audit, "previous"), note->previous, &note->previous_number);
	read_citation(json_object_get(audit, "known"), note->known, &note->known_number);
	if (octets > 0 && read_hash(torn, "sha256", note->torn.hash))
		note->torn.size = (size_t)octets;
}

bool mauth_chain_note_read(const char *line, size_t size, struct mauth_chain_note *note_r)
{
	static const char begin[] = "\"action\":\"audit-";
	struct mauth_chain_note note = { 0 };
	const char *action;
	json_t *root;

	/* Nearly every line is another one, and few octets tell. */
	if (memmem(line, size < 512 ? size : 512, begin, sizeof(begin) - 1) == NULL)
		return false;
	root = mauth_json_object(line, size);
	action = mauth_json_str(json_object_get(root, "event"), "action");
	if (strncmp(action, "audit-", 6) != 0) {
		json_decref(root);
		return false;
	}
	note.resumes = strcmp(action, kinds[MAUTH_CHAIN_NOTE_RESUMED].action) == 0;
	read_audit(json_object_get(json_object_get(root, "modernauth"), "audit"), &note);
	json_decref(root);
	*note_r = note;
	return true;
}
