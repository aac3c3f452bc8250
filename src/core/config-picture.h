/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_CONFIG_PICTURE_H
#define MAUTH_CONFIG_PICTURE_H
/* What a configuration consists of, as digests: enough to say what has changed since the last one, and no more. */

#include "core/config.h"
#include "core/mem.h"

#define MAUTH_PICTURE_SALT_SIZE 32u
#define MAUTH_PICTURE_MAX (8u * 1024u * 1024u)   /* octets of the text */

struct mauth_config_item {
	char *kind;                          /* "file", "secret", "map-file", "setting", or a section's: "tenant", "rule", ... */
	char *name;
	unsigned char digest[32];            /* SHA-256 of what is written there, of a section without its comments; of a
						secret, an HMAC under the picture's salt */
};
struct mauth_config_picture {
	unsigned char salt[MAUTH_PICTURE_SALT_SIZE];
	struct mauth_config_item *items;
	size_t count;
};

void mauth_config_picture_free(struct mauth_config_picture **picture);
/* Of config, its own file first. salt: that of the picture that it will be compared with, or random. */
struct mauth_config_picture *mauth_config_picture_new(const struct mauth_config *config,
						      const unsigned char salt[static MAUTH_PICTURE_SALT_SIZE]);
/* As text, and back; NULL: that is none. */
void mauth_config_picture_write(const struct mauth_config_picture *picture, struct mauth_buf *out);
struct mauth_config_picture *mauth_config_picture_parse(const char *text, size_t size);

const struct mauth_config_item *mauth_config_picture_find(const struct mauth_config_picture *picture, const char *kind,
							  const char *name);
/* Adds the item, or gives it another digest. */
void mauth_config_picture_set(struct mauth_config_picture *picture, const char *kind, const char *name,
			      const unsigned char digest[static 32]);

/* Calls each for what differs, "file" (the configuration's own) left out. change: "added", "removed", "changed". */
typedef void mauth_config_change_fn(const struct mauth_config_item *item, const char *change, void *context);
void mauth_config_picture_compare(struct mauth_config_picture *before, struct mauth_config_picture *now,
				  mauth_config_change_fn *each, void *context);

/* The SHA-256 of data. */
void mauth_config_digest(const void *data, size_t size, unsigned char digest_r[static 32]);

#endif
