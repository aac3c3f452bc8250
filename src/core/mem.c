/* SPDX-License-Identifier: MIT */
#include "core/mem.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static void *checked(void *data)
{
	if (data == NULL) {
		static const char text[] = "modernauth: out of memory\n";
		/* The log may need memory that we do not have. */
		(void)!fwrite(text, 1, sizeof(text) - 1, stderr);
		abort();
	}
	return data;
}

void *mauth_new(size_t size)
{
	return checked(calloc(1, size > 0 ? size : 1));
}

void *mauth_new_array(size_t count, size_t size)
{
	return checked(calloc(count > 0 ? count : 1, size > 0 ? size : 1));
}

void *mauth_grow(void *data, size_t count, size_t size)
{
	return checked(reallocarray(data, count > 0 ? count : 1, size));
}

char *mauth_strdup(const char *str)
{
	return str == NULL ? NULL : mauth_strndup(str, strlen(str));
}

char *mauth_strndup(const char *data, size_t size)
{
	char *copy = checked(malloc(size + 1));

	if (size > 0)
		memcpy(copy, data, size);
	copy[size] = '\0';
	return copy;
}

char *mauth_printf(const char *fmt, ...)
{
	char *str = NULL;
	va_list args;

	va_start(args, fmt);
	if (vasprintf(&str, fmt, args) < 0)
		str = NULL;
	va_end(args);
	return checked(str);
}

void mauth_wipe(void *data, size_t size)
{
	if (size > 0)
		explicit_bzero(data, size);
}

void mauth_random(void *data, size_t size)
{
	unsigned char *out = data;

	while (size > 0) {
		ssize_t got = getrandom(out, size, 0);

		if (got < 0) {
			if (errno == EINTR)
				continue;
			/* Keys without randomness would be worse than no service. */
			abort();
		}
		out += got;
		size -= (size_t)got;
	}
}

/* The size of the UTF-8 sequence at data, 0 if it is not one (RFC 3629: no overlong forms, no surrogates). */
static size_t utf8_sequence(const unsigned char *data, size_t size)
{
	size_t need;
	unsigned int low = 0x80, high = 0xbf;

	if (data[0] < 0x80)
		return 1;
	if (data[0] >= 0xc2 && data[0] <= 0xdf)
		need = 2;
	else if ((data[0] & 0xf0) == 0xe0)
		need = 3;
	else if (data[0] >= 0xf0 && data[0] <= 0xf4)
		need = 4;
	else
		return 0;
	if (size < need)
		return 0;
	if (data[0] == 0xe0)
		low = 0xa0;
	else if (data[0] == 0xed)
		high = 0x9f;
	else if (data[0] == 0xf0)
		low = 0x90;
	else if (data[0] == 0xf4)
		high = 0x8f;
	if (data[1] < low || data[1] > high)
		return 0;
	for (size_t i = 2; i < need; i++) {
		if ((data[i] & 0xc0) != 0x80)
			return 0;
	}
	return need;
}

bool mauth_is_utf8(const char *data, size_t size)
{
	const unsigned char *in = (const unsigned char *)data;

	while (size > 0) {
		size_t step = utf8_sequence(in, size);

		if (step == 0)
			return false;
		in += step;
		size -= step;
	}
	return true;
}

/* C0, DEL and the C1 block, which some terminals obey as well (U+0080 .. U+009F). */
static bool is_control(const unsigned char *in, size_t step)
{
	return step == 1 ? in[0] < 0x20 || in[0] == 0x7f : step == 2 && in[0] == 0xc2 && in[1] < 0xa0;
}

void mauth_clean_copy(char *dest, size_t dest_size, const char *str, size_t size)
{
	const unsigned char *in = (const unsigned char *)str;
	size_t used = 0;

	while (size > 0) {
		size_t step = utf8_sequence(in, size);
		bool bad = step == 0 || is_control(in, step);

		if (step == 0)
			step = 1;
		if (used + (bad ? 1 : step) >= dest_size)
			break;
		if (bad) {
			dest[used++] = '?';
		} else {
			memcpy(dest + used, in, step);
			used += step;
		}
		in += step;
		size -= step;
	}
	dest[used] = '\0';
}

static void buf_reserve(struct mauth_buf *buf, size_t more)
{
	size_t need = buf->size + more + 1, alloc = buf->alloc > 0 ? buf->alloc : 256;
	char *data;

	if (more > SIZE_MAX / 4)
		abort();
	if (need <= buf->alloc)
		return;
	while (alloc < need)
		alloc *= 2;
	/* Not realloc: it would leave the old octets in freed memory. */
	data = checked(malloc(alloc));
	if (buf->size > 0)
		memcpy(data, buf->data, buf->size);
	if (buf->data != NULL) {
		mauth_wipe(buf->data, buf->alloc);
		free(buf->data);
	}
	buf->data = data;
	buf->alloc = alloc;
}

void mauth_buf_append(struct mauth_buf *buf, const void *data, size_t size)
{
	buf_reserve(buf, size);
	if (size > 0)
		memcpy(buf->data + buf->size, data, size);
	buf->size += size;
	buf->data[buf->size] = '\0';
}

void mauth_buf_puts(struct mauth_buf *buf, const char *str)
{
	mauth_buf_append(buf, str, strlen(str));
}

void mauth_buf_putc(struct mauth_buf *buf, char c)
{
	mauth_buf_append(buf, &c, 1);
}

void mauth_buf_printf(struct mauth_buf *buf, const char *fmt, ...)
{
	char *str = NULL;
	va_list args;
	int size;

	va_start(args, fmt);
	size = vasprintf(&str, fmt, args);
	va_end(args);
	if (size < 0)
		str = NULL;
	(void)checked(str);
	mauth_buf_append(buf, str, (size_t)size);
	mauth_wipe(str, (size_t)size);
	free(str);
}

void mauth_buf_consume(struct mauth_buf *buf, size_t size)
{
	if (size > buf->size)
		size = buf->size;
	if (size == 0)
		return;
	memmove(buf->data, buf->data + size, buf->size - size);
	mauth_wipe(buf->data + buf->size - size, size);
	buf->size -= size;
	buf->data[buf->size] = '\0';
}

void mauth_buf_clear(struct mauth_buf *buf)
{
	mauth_wipe(buf->data, buf->size);
	buf->size = 0;
}

void mauth_buf_free(struct mauth_buf *buf)
{
	if (buf->data != NULL) {
		/* The whole of it: earlier, longer contents may lie behind the end. */
		mauth_wipe(buf->data, buf->alloc);
		free(buf->data);
	}
	memset(buf, 0, sizeof(*buf));
}
