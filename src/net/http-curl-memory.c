/* SPDX-License-Identifier: MIT */
#include "net/http-curl-private.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

/* curl copies forms and replies through buffers of its own (request text, HTTP/2 frames, receive buffers) and frees
 * them as they are. With these functions at least nothing of curl's stays behind in freed memory. Out of reach: what
 * nghttp2 keeps of the last frame of each direction while a connection lives. */

static void wiping_free(void *data)
{
	if (data == NULL)
		return;
	mauth_wipe(data, malloc_usable_size(data));
	free(data);
}

static void *wiping_realloc(void *data, size_t size)
{
	size_t old = data == NULL ? 0 : malloc_usable_size(data);
	void *grown;

	if (old >= size && size > 0)
		return data;
	grown = malloc(size > 0 ? size : 1);
	if (grown == NULL)
		return NULL;
	if (old > 0)
		memcpy(grown, data, old < size ? old : size);
	wiping_free(data);
	return grown;
}

bool mauth_http_curl_global_init(void)
{
	static bool done;

	/* Fails to set the functions if somebody else in this process was first; curl then counts another user. */
	if (!done)
		done = curl_global_init_mem(CURL_GLOBAL_DEFAULT, malloc, wiping_free, wiping_realloc, strdup,
					    calloc) == CURLE_OK;
	return done;
}
