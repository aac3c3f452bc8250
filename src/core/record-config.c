/* SPDX-License-Identifier: MIT */
#include "core/config-picture.h"
#include "core/record-json.h"
#include "core/record-parts.h"

/* A record is one line, and shorter than 64 KiB. */
#define FILES_MAX 64u
#define CHANGE_MAX 400u

#define CHANGED "\"event\",\"category\":[\"configuration\"],\"type\":[\"change\"]"
#define STARTED "\"event\",\"category\":[\"process\"],\"type\":[\"start\"]"

static void put_digest(struct mauth_buf *buf, const char *name, const unsigned char *digest)
{
	static const char hex[] = "0123456789abcdef";
	char text[65];

	if (digest == NULL)
		return;
	for (size_t i = 0; i < 32; i++) {
		text[2 * i] = hex[digest[i] >> 4];
		text[2 * i + 1] = hex[digest[i] & 15];
	}
	text[64] = '\0';
	put_str(buf, name, text);
}

static void put_between(struct mauth_buf *buf)
{
	if (buf->data[buf->size - 1] != '[')
		put_char(buf, ',');
}

/* Of a secret only that there is one: its digest would be an offer to guess. */
static void put_files(struct mauth_buf *buf, const struct mauth_config_record *record)
{
	size_t shown = 0;

	put_raw(buf, "files", "[");
	for (size_t i = 0; record->picture != NULL && i < record->picture->count && shown < FILES_MAX; i++) {
		const struct mauth_config_item *item = &record->picture->items[i];
		bool secret = strcmp(item->kind, "secret") == 0;

		if (!secret && strcmp(item->kind, "map-file") != 0 &&
		    (strcmp(item->kind, "file") != 0 || strcmp(item->name, record->path) == 0))
			continue;
		put_between(buf);
		put_char(buf, '{');
		put_text(buf, "path", item->name, CHANGE_MAX);
		if (secret)
			put_raw(buf, "secret", "true");
		else
			put_digest(buf, "sha256", item->digest);
		put_char(buf, '}');
		shown++;
	}
	put_char(buf, ']');
}

static void put_changes(struct mauth_buf *buf, const struct mauth_config_record *record)
{
	put_raw(buf, "changes", "[");
	for (size_t i = 0; record->changes[i] != NULL; i++) {
		put_between(buf);
		put_string(buf, record->changes[i], CHANGE_MAX);
	}
	put_char(buf, ']');
	put_num(buf, "changes_count", record->changes_count);
}

void mauth_record_config(struct mauth_buf *buf, const struct mauth_config_record *record)
{
	bool started = strcmp(record->action, "service-started") == 0;
	size_t event = mauth_record_begin(buf, record->wall_usecs, started ? STARTED : CHANGED, record->action, "success");
	size_t own, part;

	put_close(buf, event);
	own = put_open(buf, "file");
	put_text(buf, "path", record->path, CHANGE_MAX);
	part = put_open(buf, "hash");
	put_digest(buf, "sha256", record->digest);
	put_close(buf, part);
	put_close(buf, own);
	own = put_open(buf, "modernauth");
	put_str(buf, "version", record->version);
	put_num(buf, "uid", record->uid);
	part = put_open(buf, "configuration");
	put_digest(buf, "previous", record->previous);
	if (record->picture != NULL)
		put_files(buf, record);
	if (record->changes != NULL)
		put_changes(buf, record);
	put_close(buf, part);
	put_close(buf, own);
	mauth_record_end(buf);
}
