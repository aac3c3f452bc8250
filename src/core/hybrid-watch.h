/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_HYBRID_WATCH_H
#define MAUTH_HYBRID_WATCH_H
/* The map files of a configuration: read in the worker, and read again when they change. A file that cannot be read leaves what
 * was read before in force. */

#include "core/config.h"
#include "core/hybrid-map.h"
#include "modernauth/files.h"
#include "modernauth/log.h"
#include "modernauth/loop.h"
#include "modernauth/worker.h"

struct mauth_map_watch;

/* Who wants to know what is in force: path has been read, the SHA-256 of its text is digest. */
struct mauth_map_news {
	void (*read)(void *context, const char *path, const unsigned char digest[static 32], size_t entries);
	void *context;
};

struct mauth_map_watch_deps {
	const struct mauth_loop *loop;
	const struct mauth_log *log;
	const struct mauth_files *files;     /* NULL, as worker: no map can be read */
	const struct mauth_worker *worker;
	const struct mauth_config *config;
	/* A file has been looked at for the first time. Never called by mauth_map_watch_new(). */
	void (*looked)(void *context);
	void *context;
	const struct mauth_map_news *news;   /* NULL: nobody wants to know */
};
/* Begins to read. The files of tenants whose mailbox_sources have "map". */
struct mauth_map_watch *mauth_map_watch_new(const struct mauth_map_watch_deps *deps);
/* No file is looked at any more. */
void mauth_map_watch_stop(struct mauth_map_watch *watch);
/* Jobs under way end by themselves. */
void mauth_map_watch_free(struct mauth_map_watch **watch);

/* The map of tenant. NULL with MAUTH_OK in *status_r: it is being read for the first time; NULL with MAUTH_CONFIG: it never
 * could be, *error_r says why. */
const struct mauth_side_map *mauth_map_watch_get(const struct mauth_map_watch *watch, const struct mauth_tenant *tenant,
						 enum mauth_status *status_r, struct mauth_error *error_r);

#endif
