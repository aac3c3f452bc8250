/* SPDX-License-Identifier: MIT */
#include "broker/config-seen.h"

#include "broker/service.h"
#include "core/config-picture.h"
#include "core/hybrid-watch.h"
#include "core/record.h"
#include "store/audit-file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define RETRY_MSECS 2000u
/* As many are named in a record; how many there are is said, too. */
#define CHANGES_MAX 50u
#define MAP "map-file"

struct mauth_config_seen {
	struct mauth_service_state *service;
	struct mauth_map_news news;
	char *path;
	struct mauth_config_picture *now;    /* NULL: not begun */
	struct mauth_config_picture *before; /* the last one on record, until this one is; NULL: none */
	struct mauth_config_picture *maps;   /* that are in force and have not been looked at yet */
	struct mauth_timer *retry;
	bool started;                        /* "service-started" is on record, or is not to be */
	bool stopped;
};

/* -- the file ----------------------------------------------------------------------------------------------- */

static struct mauth_config_picture *read_seen(const char *path)
{
	int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	struct mauth_config_picture *picture = NULL;
	struct mauth_buf text = { 0 };
	char chunk[16384];
	ssize_t got = 0;

	if (fd < 0)
		return NULL;
	while (text.size <= MAUTH_PICTURE_MAX && (got = read(fd, chunk, sizeof(chunk))) > 0)
		mauth_buf_append(&text, chunk, (size_t)got);
	(void)close(fd);
	if (got == 0 && text.size > 0)
		picture = mauth_config_picture_parse(text.data, text.size);
	mauth_buf_free(&text);
	return picture;
}

static bool write_all(int fd, const char *data, size_t size)
{
	while (size > 0) {
		ssize_t wrote = write(fd, data, size);

		if (wrote < 0 && errno == EINTR)
			continue;
		if (wrote <= 0)
			return false;
		data += wrote;
		size -= (size_t)wrote;
	}
	return true;
}

/* A new file in place of the old. It is not waited for until it is on disk, logins wait meanwhile: after a crash it is an older one, or
 * none, and what has changed is said once more. */
static void write_seen(const struct mauth_config_seen *seen)
{
	char *temporary = mauth_printf("%s.new", seen->path);
	struct mauth_buf text = { 0 };
	bool good;
	int fd;

	mauth_config_picture_write(seen->now, &text);
	fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	good = fd >= 0 && write_all(fd, text.data, text.size);
	if (fd >= 0 && close(fd) < 0)
		good = false;
	if (!good || rename(temporary, seen->path) < 0)
		mauth_log(seen->service->log, MAUTH_WARNING, "cannot write %s: %s; the next start will say again what has "
			  "changed in the configuration", seen->path, strerror(errno));
	mauth_buf_free(&text);
	free(temporary);
}

/* -- what has changed --------------------------------------------------------------------------------------- */

struct changes {
	char *texts[CHANGES_MAX + 1];
	size_t shown;
	int64_t count;
	struct mauth_buf names;              /* for the log */
};

static void note_change(const struct mauth_config_item *item, const char *change, void *context)
{
	struct changes *changes = context;

	changes->count++;
	if (changes->shown == CHANGES_MAX)
		return;
	changes->texts[changes->shown] = mauth_printf("%s %s: %s", item->kind, item->name, change);
	if (changes->names.size < 256)
		mauth_buf_printf(&changes->names, "%s%.200s", changes->names.size > 0 ? "; " : "", changes->texts[changes->shown]);
	changes->shown++;
}

static void changes_free(struct changes *changes)
{
	for (size_t i = 0; i < changes->shown; i++)
		free(changes->texts[i]);
	mauth_buf_free(&changes->names);
}

static bool append(const struct mauth_config_seen *seen, struct mauth_config_record *record)
{
	const struct mauth_service_state *service = seen->service;
	const struct mauth_audit_sink *audit = service->sink;
	struct mauth_buf line = { 0 };
	enum mauth_status status;
	struct mauth_error error;

	record->wall_usecs = mauth_wall_usecs(service->loop);
	record->uid = geteuid();
	mauth_record_config(&line, record);
	status = audit->append(audit->context, line.data, line.size, &error);
	mauth_buf_free(&line);
	return status == MAUTH_OK;
}

static bool record_start(const struct mauth_config_seen *seen)
{
	struct mauth_config_record record = {
		.action = "service-started", .version = MAUTH_VERSION, .path = seen->now->items[0].name,
		.digest = seen->now->items[0].digest, .picture = seen->now,
	};

	return append(seen, &record);
}

/* The file's own digest on record, if it is the same file. */
static const unsigned char *previous(const struct mauth_config_seen *seen)
{
	const struct mauth_config_item *item = seen->before == NULL ? NULL :
		mauth_config_picture_find(seen->before, "file", seen->now->items[0].name);

	return item == NULL ? NULL : item->digest;
}

static bool record_changes(struct mauth_config_seen *seen, bool *changed_r)
{
	const unsigned char *digest = seen->now->items[0].digest, *old = previous(seen);
	struct changes changes = { .count = 0 };
	struct mauth_config_record record = {
		.action = "configuration-changed", .version = MAUTH_VERSION, .path = seen->now->items[0].name, .digest = digest,
		.previous = old, .picture = seen->now,
	};
	bool good = true;

	*changed_r = false;
	if (seen->before != NULL)
		mauth_config_picture_compare(seen->before, seen->now, note_change, &changes);
	if (old == NULL || memcmp(old, digest, 32) != 0 || changes.count > 0) {
		record.changes = seen->before == NULL ? NULL : (const char *const *)changes.texts;
		record.changes_count = changes.count;
		*changed_r = good = append(seen, &record);
		if (good)
			mauth_log(seen->service->log, MAUTH_INFO, "configuration: it is another than the last one: %s%s",
				  changes.count == 0 ? "comments or blanks only" : changes.names.data,
				  changes.count > (int64_t)changes.shown ? "; and more" : "");
	}
	changes_free(&changes);
	return good;
}

static void record_maps(struct mauth_config_seen *seen)
{
	for (size_t i = 0; i < seen->maps->count; i++) {
		const struct mauth_config_item *map = &seen->maps->items[i];
		const struct mauth_config_item *known = mauth_config_picture_find(seen->now, MAP, map->name);
		struct mauth_config_record record = {
			.action = "mailbox-map-changed", .path = map->name, .digest = map->digest,
			.previous = known == NULL ? NULL : known->digest,
		};

		if (known != NULL && memcmp(known->digest, map->digest, 32) == 0)
			continue;
		if (!append(seen, &record))
			continue;
		mauth_config_picture_set(seen->now, MAP, map->name, map->digest);
		write_seen(seen);
	}
}

static bool has_news(const struct mauth_config_seen *seen)
{
	for (size_t i = 0; i < seen->maps->count; i++) {
		const struct mauth_config_item *map = &seen->maps->items[i];
		const struct mauth_config_item *known = mauth_config_picture_find(seen->now, MAP, map->name);

		if (known == NULL || memcmp(known->digest, map->digest, 32) != 0)
			return true;
	}
	return !seen->started || seen->before != NULL;
}

static void try_again(void *context);

/* What is not on record is tried again. */
static void settle(struct mauth_config_seen *seen)
{
	bool changed;

	mauth_timer_remove(seen->service->loop, &seen->retry);
	if (!seen->started)
		seen->started = record_start(seen);
	if (seen->started && seen->before != NULL && record_changes(seen, &changed)) {
		mauth_config_picture_free(&seen->before);
		if (changed)
			write_seen(seen);
	}
	if (seen->started)
		record_maps(seen);
	if (has_news(seen))
		seen->retry = mauth_timer_add(seen->service->loop, RETRY_MSECS, try_again, seen);
}

static void try_again(void *context)
{
	struct mauth_config_seen *seen = context;

	seen->retry = NULL;
	settle(seen);
}

/* Maps that are still the configuration's: they are read later, and are not to be news then. */
static void keep_maps(struct mauth_config_seen *seen, const struct mauth_config_picture *before)
{
	const struct mauth_config *config = seen->service->config;

	for (size_t i = 0; i < config->tenants_count; i++) {
		const struct mauth_tenant *tenant = config->tenants[i];
		const struct mauth_config_item *map = tenant->mailbox_map == NULL ? NULL :
			mauth_config_picture_find(before, MAP, tenant->mailbox_map);

		if (map != NULL)
			mauth_config_picture_set(seen->now, MAP, map->name, map->digest);
	}
}

void mauth_config_seen_begin(struct mauth_config_seen *seen)
{
	const struct mauth_config *config = seen->service->config;
	unsigned char salt[MAUTH_PICTURE_SALT_SIZE];

	if (seen->service->broker == NULL || seen->now != NULL || seen->stopped)
		return;
	seen->path = mauth_printf("%s/config.seen", config->state_dir);
	seen->before = read_seen(seen->path);
	mauth_random(salt, sizeof(salt));
	seen->now = mauth_config_picture_new(config, seen->before != NULL ? seen->before->salt : salt);
	if (seen->before != NULL)
		keep_maps(seen, seen->before);
	/* A reload is no start, but who was not told of before is. */
	seen->started = seen->service->inherited && seen->before != NULL;
	if (seen->before == NULL)
		write_seen(seen);
	settle(seen);
}

/* -- maps --------------------------------------------------------------------------------------------------- */

static void map_read(void *context, const char *path, const unsigned char digest[static 32], size_t entries)
{
	struct mauth_config_seen *seen = context;

	(void)entries;
	mauth_config_picture_set(seen->maps, MAP, path, digest);
	if (seen->now != NULL && !seen->stopped)
		settle(seen);
}

const struct mauth_map_news *mauth_config_seen_maps(struct mauth_config_seen *seen)
{
	return &seen->news;
}

/* -- the whole ---------------------------------------------------------------------------------------------- */

struct mauth_config_seen *mauth_config_seen_new(struct mauth_service_state *service)
{
	struct mauth_config_seen *seen = mauth_new(sizeof(*seen));

	seen->service = service;
	seen->news = (struct mauth_map_news){ .read = map_read, .context = seen };
	seen->maps = mauth_new(sizeof(*seen->maps));
	return seen;
}

void mauth_config_seen_stop(struct mauth_config_seen *seen)
{
	seen->stopped = true;
	mauth_timer_remove(seen->service->loop, &seen->retry);
}

void mauth_config_seen_free(struct mauth_config_seen **seen)
{
	if (*seen == NULL)
		return;
	mauth_config_seen_stop(*seen);
	mauth_config_picture_free(&(*seen)->now);
	mauth_config_picture_free(&(*seen)->before);
	mauth_config_picture_free(&(*seen)->maps);
	free((*seen)->path);
	free(*seen);
	*seen = NULL;
}
