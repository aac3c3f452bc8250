/* SPDX-License-Identifier: MIT */
#include "core/hybrid-watch.h"

#include "core/config-picture.h"
#include "core/mem.h"

#include <stdlib.h>
#include <string.h>

/* A file is read when it has been the same for one look: who writes it in place is not read half-way. */
#define LOOK_MSECS 1000u

struct map_file {
	struct map_file *next;
	struct mauth_map_watch *watch;
	const char *path;                    /* the configuration's */
	struct mauth_side_map *map;          /* in force; NULL: none yet */
	struct mauth_file_stamp tried;       /* the last content that was read, good or bad */
	struct mauth_file_stamp seen;        /* at the last look */
	struct mauth_error error;            /* of the last look; MAUTH_OK: none */
	bool looked;
	struct job *job;
};

struct mauth_map_watch {
	struct mauth_map_watch_deps deps;
	struct map_file *files;
	struct mauth_timer *timer;
};

/* What the worker is given. It outlives the file that it is for. */
struct job {
	struct map_file *file;               /* NULL: gone */
	const struct mauth_files *files;
	char *path;
	bool first;
	struct mauth_file_stamp tried, seen; /* as the file's; new ones afterwards */
	struct mauth_side_map *map;
	enum mauth_status status;
	struct mauth_error error;
	bool was_read;
	unsigned char digest[32];            /* of what was read */
};

static bool is_same(const struct mauth_file_stamp *a, const struct mauth_file_stamp *b)
{
	return a->device == b->device && a->inode == b->inode && a->size == b->size &&
	       a->changed_nsecs == b->changed_nsecs && a->modified_nsecs == b->modified_nsecs;
}

/* In the worker. */
static void work(void *context)
{
	struct job *job = context;
	struct mauth_file_stamp stamp;
	size_t size;
	char *text;

	job->status = job->files->look(job->files->context, job->path, &stamp, &job->error);
	if (job->status != MAUTH_OK) {
		/* When it comes back it is another one. */
		memset(&job->seen, 0, sizeof(job->seen));
		memset(&job->tried, 0, sizeof(job->tried));
		return;
	}
	if (is_same(&stamp, &job->tried) || (!job->first && !is_same(&stamp, &job->seen))) {
		job->seen = stamp;
		return;
	}
	job->seen = stamp;
	job->status = job->files->read(job->files->context, job->path, MAUTH_SIDE_MAP_OCTETS_MAX, &text, &size, &stamp,
				       &job->error);
	/* Somebody is writing: the next look will tell. */
	if (job->status == MAUTH_TEMPORARY)
		return;
	job->tried = stamp;
	job->was_read = true;
	if (job->status == MAUTH_OK)
		mauth_config_digest(text, size, job->digest);
	if (job->status == MAUTH_OK)
		job->status = mauth_side_map_new(text, size, job->path, &job->map, &job->error);
}

static void free_map(void *context)
{
	struct job *job = context;

	mauth_side_map_free(&job->map);
}

static void freed_map(void *context)
{
	free(context);
}

/* 200,000 entries are two blocks of memory, but their pages take a millisecond to give back. */
static void free_in_worker(const struct mauth_worker *worker, struct mauth_side_map *map)
{
	struct job *job;

	if (map == NULL)
		return;
	job = mauth_new(sizeof(*job));
	job->map = map;
	worker->submit(worker->context, free_map, freed_map, job);
}

static void tell(const struct map_file *file, const struct job *job)
{
	const struct mauth_log *log = file->watch->deps.log;

	if (job->status == MAUTH_OK)
		mauth_log(log, MAUTH_INFO, "mailbox_map %s: %zu entries are in force", file->path,
			  mauth_side_map_count(job->map));
	else
		mauth_log(log, MAUTH_ERROR, "mailbox_map: %s; %s; to do: mend the file, it is read again by itself",
			  job->error.text, file->map != NULL ? "what was read before stays in force" :
			  "logins that need it get temporary failures");
}

static void take_result(struct map_file *file, struct job *job)
{
	const struct mauth_map_news *news = file->watch->deps.news;
	bool says_it = job->was_read;

	/* What is wrong with a file that cannot be read at all is said when it begins to be. */
	if (!says_it && job->status != MAUTH_OK && job->status != MAUTH_TEMPORARY)
		says_it = file->error.status == MAUTH_OK || strcmp(file->error.text, job->error.text) != 0;
	if (says_it)
		tell(file, job);
	file->tried = job->tried;
	file->seen = job->seen;
	if (job->status == MAUTH_TEMPORARY)
		return;
	if (job->was_read || job->status != MAUTH_OK)
		file->error = job->status == MAUTH_OK ? (struct mauth_error){ .status = MAUTH_OK } : job->error;
	if (job->map != NULL) {
		free_in_worker(file->watch->deps.worker, file->map);
		file->map = job->map;
		job->map = NULL;
		if (news != NULL)
			news->read(news->context, file->path, job->digest, mauth_side_map_count(file->map));
	}
	file->looked = true;
}

static void done(void *context)
{
	struct job *job = context;
	struct map_file *file = job->file;
	struct mauth_map_watch *watch;
	bool first;

	if (file != NULL) {
		watch = file->watch;
		first = !file->looked;
		file->job = NULL;
		take_result(file, job);
		if (first && file->looked)
			watch->deps.looked(watch->deps.context);
	}
	mauth_side_map_free(&job->map);
	free(job->path);
	free(job);
}

static void look_at(struct map_file *file)
{
	const struct mauth_map_watch_deps *deps = &file->watch->deps;
	struct job *job;

	if (file->job != NULL)
		return;
	job = mauth_new(sizeof(*job));
	job->file = file;
	job->files = deps->files;
	job->path = mauth_strdup(file->path);
	job->first = !file->looked;
	job->tried = file->tried;
	job->seen = file->seen;
	file->job = job;
	deps->worker->submit(deps->worker->context, work, done, job);
}

static void look(void *context)
{
	struct mauth_map_watch *watch = context;

	watch->timer = mauth_timer_add(watch->deps.loop, LOOK_MSECS, look, watch);
	for (struct map_file *file = watch->files; file != NULL; file = file->next)
		look_at(file);
}

static struct map_file *find_file(const struct mauth_map_watch *watch, const char *path)
{
	struct map_file *file = watch->files;

	while (file != NULL && strcmp(file->path, path) != 0)
		file = file->next;
	return file;
}

struct mauth_map_watch *mauth_map_watch_new(const struct mauth_map_watch_deps *deps)
{
	struct mauth_map_watch *watch = mauth_new(sizeof(*watch));

	watch->deps = *deps;
	for (size_t i = 0; i < deps->config->tenants_count; i++) {
		const struct mauth_tenant *tenant = deps->config->tenants[i];
		struct map_file *file;

		if (!tenant->side_by_map || find_file(watch, tenant->mailbox_map) != NULL)
			continue;
		file = mauth_new(sizeof(*file));
		file->watch = watch;
		file->path = tenant->mailbox_map;
		file->next = watch->files;
		watch->files = file;
	}
	if (watch->files != NULL && deps->files != NULL && deps->worker != NULL)
		look(watch);
	return watch;
}

void mauth_map_watch_stop(struct mauth_map_watch *watch)
{
	mauth_timer_remove(watch->deps.loop, &watch->timer);
}

void mauth_map_watch_free(struct mauth_map_watch **watch)
{
	struct map_file *file;

	if (*watch == NULL)
		return;
	mauth_map_watch_stop(*watch);
	while ((file = (*watch)->files) != NULL) {
		(*watch)->files = file->next;
		if (file->job != NULL)
			file->job->file = NULL;
		mauth_side_map_free(&file->map);
		free(file);
	}
	free(*watch);
	*watch = NULL;
}

const struct mauth_side_map *mauth_map_watch_get(const struct mauth_map_watch *watch, const struct mauth_tenant *tenant,
						 enum mauth_status *status_r, struct mauth_error *error_r)
{
	const struct map_file *file = find_file(watch, tenant->mailbox_map);

	*status_r = MAUTH_OK;
	if (file != NULL && file->map != NULL)
		return file->map;
	if (file != NULL && !file->looked && watch->timer != NULL)
		return NULL;
	*status_r = MAUTH_CONFIG;
	if (file != NULL && file->error.status != MAUTH_OK)
		mauth_fail(error_r, MAUTH_CONFIG, file->error.code, "mailbox_map: %.440s", file->error.text);
	else
		mauth_fail(error_r, MAUTH_CONFIG, 0, "mailbox_map: %.300s has not been read", tenant->mailbox_map);
	return NULL;
}
