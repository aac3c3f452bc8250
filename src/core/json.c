/* SPDX-License-Identifier: MIT */
#include "core/json.h"

#include "core/jwt.h"

#include <stdlib.h>
#include <string.h>

/* free() is not told a size, so each block remembers its own; the padding keeps malloc's alignment. */
union block {
	size_t size;
	max_align_t align;
};

static void *block_alloc(size_t size)
{
	union block *block;

	/* Bodies are bounded, so that this can only be an error in the caller; jansson copes with NULL. */
	if (size > SIZE_MAX / 2)
		return NULL;
	block = mauth_new(sizeof(*block) + size);
	block->size = size;
	return block + 1;
}

static void block_free(void *data)
{
	union block *block = data;

	if (block == NULL)
		return;
	block--;
	mauth_wipe(block, sizeof(*block) + block->size);
	free(block);
}

__attribute__((constructor)) void mauth_json_init(void)
{
	json_set_alloc_funcs(block_alloc, block_free);
}

/* Nesting is counted before the parser sees the text: its own limit is 2,048 levels of recursion. */
static bool is_too_deep(const char *data, size_t size)
{
	unsigned int depth = 0;
	bool quoted = false;

	for (size_t i = 0; i < size; i++) {
		if (quoted) {
			if (data[i] == '\\')
				i++;
			else if (data[i] == '"')
				quoted = false;
		} else if (data[i] == '"') {
			quoted = true;
		} else if (data[i] == '{' || data[i] == '[') {
			if (++depth > MAUTH_JSON_DEPTH_MAX)
				return true;
		} else if ((data[i] == '}' || data[i] == ']') && depth > 0) {
			depth--;
		}
	}
	return false;
}

json_t *mauth_json_object(const char *data, size_t size)
{
	json_t *root;

	if (size > MAUTH_REPLY_MAX || is_too_deep(data, size))
		return NULL;
	root = json_loadb(data, size, JSON_REJECT_DUPLICATES, NULL);
	if (json_is_object(root))
		return root;
	json_decref(root);
	return NULL;
}

const char *mauth_json_str(const json_t *object, const char *key)
{
	const char *value = json_string_value(json_object_get(object, key));

	return value != NULL ? value : "";
}

static bool num_from_str(const char *str, int64_t *num_r)
{
	const char *digits = *str == '-' ? str + 1 : str;

	if (*digits == '\0' || strspn(digits, "0123456789") != strlen(digits))
		return false;
	*num_r = strtoll(str, NULL, 10);
	return true;
}

bool mauth_json_num(const json_t *value, int64_t *num_r)
{
	double real;

	if (json_is_integer(value)) {
		*num_r = json_integer_value(value);
		return true;
	}
	if (json_is_string(value))
		return num_from_str(json_string_value(value), num_r);
	if (!json_is_real(value))
		return false;
	real = json_real_value(value);
	if (real >= 9e18)
		*num_r = INT64_MAX;
	else if (real <= -9e18)
		*num_r = INT64_MIN;
	else
		*num_r = (int64_t)real;
	return true;
}

json_t *mauth_json_octets(const void *data, size_t size)
{
	struct mauth_buf text = { 0 };
	json_t *value;

	mauth_base64url_encode(&text, data, size);
	value = json_string(text.data);
	mauth_buf_free(&text);
	return value;
}

bool mauth_json_read_octets(const json_t *object, const char *key, void *data_r, size_t size)
{
	const char *text = mauth_json_str(object, key);
	struct mauth_buf octets = { 0 };
	bool good = strlen(text) <= size * 2 && mauth_base64url_decode(&octets, text, strlen(text)) && octets.size == size;

	if (good)
		memcpy(data_r, octets.data, size);
	mauth_buf_free(&octets);
	return good;
}

char *mauth_json_text(const json_t *value)
{
	size_t size = json_dumpb(value, NULL, 0, JSON_COMPACT);
	char *text = mauth_new(size + 1);

	(void)json_dumpb(value, text, size, JSON_COMPACT);
	return text;
}
