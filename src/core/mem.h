/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_MEM_H
#define MAUTH_MEM_H
/* Memory: these succeed or abort the process. Whatever a peer can size is bounded before it gets here. */

#include "modernauth/modernauth.h"

void *mauth_new(size_t size);                      /* zeroed */
void *mauth_new_array(size_t count, size_t size);  /* zeroed, overflow-checked */
void *mauth_grow(void *data, size_t count, size_t size);   /* realloc; never for secrets */
char *mauth_strdup(const char *str);               /* NULL stays NULL */
char *mauth_strndup(const char *data, size_t size);
char *mauth_printf(const char *fmt, ...) MAUTH_PRINTF(1, 2);
void mauth_wipe(void *data, size_t size);
/* In constant time for equal sizes. */
bool mauth_equal_secret(const void *a, const void *b, size_t size);
/* Fills data with random octets of the system; aborts if there are none. */
void mauth_random(void *data, size_t size);
/* Copies str into a fixed array, cut at a UTF-8 boundary, invalid UTF-8 and control characters as '?'. */
void mauth_clean_copy(char *dest, size_t dest_size, const char *str, size_t size);
bool mauth_is_utf8(const char *data, size_t size);

/* A growing buffer that wipes whatever it leaves behind: forms, bodies, wire lines. Zero-initialise to begin. */
struct mauth_buf {
	char *data;         /* NUL-terminated if not NULL */
	size_t size, alloc;
};
void mauth_buf_append(struct mauth_buf *buf, const void *data, size_t size);
void mauth_buf_puts(struct mauth_buf *buf, const char *str);
void mauth_buf_putc(struct mauth_buf *buf, char c);
void mauth_buf_printf(struct mauth_buf *buf, const char *fmt, ...) MAUTH_PRINTF(2, 3);
/* Removes the first size octets. */
void mauth_buf_consume(struct mauth_buf *buf, size_t size);
void mauth_buf_clear(struct mauth_buf *buf);       /* wipes, keeps the memory */
void mauth_buf_free(struct mauth_buf *buf);        /* wipes, frees, zeroes */

#endif
