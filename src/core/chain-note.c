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
	if (note->torn.size > 0) {
		mauth_buf_printf(buf, ",\"torn\":{\"octets\":%zu,\"sha256\":\"", note->torn.size);
		for (size_t i = 0; i < MAUTH_CHAIN_HASH; i++)
			mauth_buf_printf(buf, "%02x", note->torn.hash[i]);
		mauth_buf_puts(buf, "\"}");
	}
	mauth_buf_puts(buf, "}}}\n");
}

/* -- reading ------------------------------------------------------------------------------------------------ */

static void read_audit(json_t *audit, struct mauth_chain_note *note)
{
	json_t *previous = json_object_get(audit, "previous"), *torn = json_object_get(audit, "torn");
	const char *writer = mauth_json_str(previous, "w");
	json_int_t number = json_integer_value(json_object_get(previous, "n"));
	json_int_t octets = json_integer_value(json_object_get(torn, "octets"));
	const char *hash = mauth_json_str(torn, "sha256");

	note->ends = json_is_true(json_object_get(audit, "ends"));
	if (strlen(writer) == MAUTH_CHAIN_WRITER_SIZE - 1 && number > 0) {
		memcpy(note->previous, writer, MAUTH_CHAIN_WRITER_SIZE);
		note->previous_number = (uint64_t)number;
	}
	if (octets > 0 && mauth_chain_take_hex(&hash, hash + strlen(hash), note->torn.hash, MAUTH_CHAIN_HASH) && *hash == '\0')
		note->torn.size = (size_t)octets;
}

bool mauth_chain_note_read(const char *line, size_t size, struct mauth_chain_note *note_r)
{
	static const char begin[] = "\"action\":\"audit-";
	struct mauth_chain_note note = { 0 };
	json_t *root;

	/* Nearly every line is another one, and few octets tell. */
	if (memmem(line, size < 512 ? size : 512, begin, sizeof(begin) - 1) == NULL)
		return false;
	root = mauth_json_object(line, size);
	if (strncmp(mauth_json_str(json_object_get(root, "event"), "action"), "audit-", 6) != 0) {
		json_decref(root);
		return false;
	}
	read_audit(json_object_get(json_object_get(root, "modernauth"), "audit"), &note);
	json_decref(root);
	*note_r = note;
	return true;
}
