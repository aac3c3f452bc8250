/* SPDX-License-Identifier: MIT */
#include "core/config-picture.h"

#include "core/config-parse.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <stdlib.h>
#include <string.h>

#define FIRST_LINE "modernauth-config 1 "

void mauth_config_digest(const void *data, size_t size, unsigned char digest_r[static 32])
{
	unsigned int length;

	if (EVP_Digest(data, size, digest_r, &length, EVP_sha256(), NULL) != 1)
		abort();
}

void mauth_config_picture_free(struct mauth_config_picture **picture)
{
	if (*picture == NULL)
		return;
	for (size_t i = 0; i < (*picture)->count; i++) {
		free((*picture)->items[i].kind);
		free((*picture)->items[i].name);
	}
	free((*picture)->items);
	free(*picture);
	*picture = NULL;
}

static struct mauth_config_item *find(const struct mauth_config_picture *picture, const char *kind, const char *name)
{
	for (size_t i = 0; i < picture->count; i++) {
		if (strcmp(picture->items[i].kind, kind) == 0 && strcmp(picture->items[i].name, name) == 0)
			return &picture->items[i];
	}
	return NULL;
}

const struct mauth_config_item *mauth_config_picture_find(const struct mauth_config_picture *picture, const char *kind,
							  const char *name)
{
	return find(picture, kind, name);
}

/* Without looking whether there is one of that name: ten thousand rules have a name each. */
static void add(struct mauth_config_picture *picture, const char *kind, size_t kind_size, const char *name, size_t name_size,
		const unsigned char digest[static 32])
{
	struct mauth_config_item *item;

	picture->items = mauth_grow(picture->items, picture->count + 1, sizeof(*picture->items));
	item = &picture->items[picture->count++];
	*item = (struct mauth_config_item){
		.kind = mauth_strndup(kind, kind_size), .name = mauth_strndup(name, name_size),
	};
	memcpy(item->digest, digest, sizeof(item->digest));
}

void mauth_config_picture_set(struct mauth_config_picture *picture, const char *kind, const char *name,
			      const unsigned char digest[static 32])
{
	struct mauth_config_item *item = find(picture, kind, name);

	if (item == NULL)
		add(picture, kind, strlen(kind), name, strlen(name), digest);
	else
		memcpy(item->digest, digest, sizeof(item->digest));
}

/* -- the parts of the text -- */

/* The size of the token at text: a string with its quotes, a word, or one octet. 0 at the end. Blanks are skipped. */
static size_t next_token(const char **text)
{
	const char *at = *text;
	char quote;

	at += strspn(at, " \t\r\n");
	*text = at;
	if (*at == '\0')
		return 0;
	if (strchr("{}=,", *at) != NULL)
		return 1;
	if (*at != '"' && *at != '\'')
		return strcspn(at, " \t\r\n{}=,\"'");
	quote = *at++;
	while (*at != '\0' && *at != quote)
		at += *at == '\\' && at[1] != '\0' ? 2 : 1;
	return (size_t)(at - *text) + (*at == quote);
}

/* One setting or section of the file: how it is called, and its text without blanks and comments. */
struct part {
	const char *kind, *name;             /* the first two words; name NULL: a setting */
	size_t kind_size, name_size;
	struct mauth_buf text;
	unsigned int depth;
	bool is_value;                       /* after "=" */
};

static void put_part(struct mauth_config_picture *picture, struct part *part)
{
	unsigned char digest[32];

	if (part->kind != NULL) {
		mauth_config_digest(part->text.data, part->text.size, digest);
		if (part->name == NULL)
			add(picture, "setting", 7, part->kind, part->kind_size, digest);
		else
			add(picture, part->kind, part->kind_size, part->name, part->name_size, digest);
	}
	mauth_buf_free(&part->text);
	*part = (struct part){ 0 };
}

static void begin_part(struct part *part, const char *token, size_t size)
{
	if (part->kind == NULL) {
		part->kind = token;
		part->kind_size = size;
	} else if (part->name == NULL && !part->is_value && part->depth == 0 && *token != '=' && *token != '{') {
		bool quoted = size >= 2 && (*token == '"' || *token == '\'');

		part->name = quoted ? token + 1 : token;
		part->name_size = quoted ? size - 2 : size;
	}
}

/* text is clean: no comments, strings and braces are closed. */
static void put_parts(struct mauth_config_picture *picture, const char *text)
{
	struct part part = { 0 };
	size_t size;

	while ((size = next_token(&text)) > 0) {
		begin_part(&part, text, size);
		mauth_buf_append(&part.text, text, size);
		mauth_buf_putc(&part.text, '\n');
		if (*text == '=' && part.depth == 0)
			part.is_value = true;
		else if (*text == '{')
			part.depth++;
		else if (*text == '}' && part.depth > 0)
			part.depth--;
		/* A section ends with its brace, a setting with its value. */
		if (part.depth == 0 && (*text == '}' || (part.is_value && *text != '=')))
			put_part(picture, &part);
		text += size;
	}
	put_part(picture, &part);
}

static void put_text(struct mauth_config_picture *picture, const struct mauth_config *config)
{
	struct mauth_conf_lines lines = { NULL, 0 };
	struct mauth_buf clean = { 0 };

	/* It has been parsed before. */
	if (mauth_conf_clean(config->path, mauth_secret_expose(config->text), mauth_secret_size(config->text), &clean, &lines,
			     NULL) == MAUTH_OK && clean.size > 0)
		put_parts(picture, clean.data);
	free(lines.lines);
	mauth_buf_free(&clean);
}

struct mauth_config_picture *mauth_config_picture_new(const struct mauth_config *config,
						      const unsigned char salt[static MAUTH_PICTURE_SALT_SIZE])
{
	struct mauth_config_picture *picture = mauth_new(sizeof(*picture));
	unsigned char digest[32];
	unsigned int length;

	memcpy(picture->salt, salt, sizeof(picture->salt));
	mauth_config_digest(mauth_secret_expose(config->text), mauth_secret_size(config->text), digest);
	mauth_config_picture_set(picture, "file", config->path, digest);
	for (size_t i = 0; i < config->files_count; i++) {
		const struct mauth_config_file *file = &config->files[i];
		const char *data = mauth_secret_expose(file->content);
		size_t size = mauth_secret_size(file->content);

		if (!file->secret)
			mauth_config_digest(data, size, digest);
		else if (HMAC(EVP_sha256(), picture->salt, sizeof(picture->salt), (const unsigned char *)data, size, digest,
			      &length) == NULL)
			abort();
		mauth_config_picture_set(picture, file->secret ? "secret" : "file", file->path, digest);
	}
	put_text(picture, config);
	return picture;
}

/* -- as text -- */

static void put_hex(struct mauth_buf *out, const unsigned char *data, size_t size)
{
	static const char hex[] = "0123456789abcdef";

	for (size_t i = 0; i < size; i++) {
		mauth_buf_putc(out, hex[data[i] >> 4]);
		mauth_buf_putc(out, hex[data[i] & 15]);
	}
}

static int digit_of(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool take_hex(const char *text, size_t left, unsigned char *data_r, size_t size)
{
	if (left < 2 * size)
		return false;
	for (size_t i = 0; i < size; i++) {
		int high = digit_of(text[2 * i]), low = digit_of(text[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		data_r[i] = (unsigned char)(high * 16 + low);
	}
	return true;
}

void mauth_config_picture_write(const struct mauth_config_picture *picture, struct mauth_buf *out)
{
	mauth_buf_puts(out, FIRST_LINE);
	put_hex(out, picture->salt, sizeof(picture->salt));
	mauth_buf_putc(out, '\n');
	for (size_t i = 0; i < picture->count; i++) {
		put_hex(out, picture->items[i].digest, sizeof(picture->items[i].digest));
		mauth_buf_putc(out, '\t');
		mauth_buf_puts(out, picture->items[i].kind);
		mauth_buf_putc(out, '\t');
		mauth_buf_puts(out, picture->items[i].name);
		mauth_buf_putc(out, '\n');
	}
}

static bool parse_item(struct mauth_config_picture *picture, const char *line, size_t size)
{
	unsigned char digest[32];
	const char *kind = line + 65, *tab, *end = line + size;

	if (size < 66 || !take_hex(line, size, digest, sizeof(digest)) || line[64] != '\t')
		return false;
	tab = memchr(kind, '\t', (size_t)(end - kind));
	if (tab == NULL)
		return false;
	add(picture, kind, (size_t)(tab - kind), tab + 1, (size_t)(end - tab - 1), digest);
	return true;
}

struct mauth_config_picture *mauth_config_picture_parse(const char *text, size_t size)
{
	const size_t first = sizeof(FIRST_LINE) - 1;
	struct mauth_config_picture *picture = mauth_new(sizeof(*picture));
	const char *end = text + size, *line = text + first + 2 * MAUTH_PICTURE_SALT_SIZE + 1;
	bool good = size > (size_t)(line - text) - 1 && memcmp(text, FIRST_LINE, first) == 0 && line[-1] == '\n' &&
		    take_hex(text + first, size - first, picture->salt, sizeof(picture->salt));

	while (good && line < end) {
		const char *newline = memchr(line, '\n', (size_t)(end - line));

		good = newline != NULL && parse_item(picture, line, (size_t)(newline - line));
		line = newline + 1;
	}
	if (!good)
		mauth_config_picture_free(&picture);
	return picture;
}

/* -- what is different -- */

static int by_name(const void *a, const void *b)
{
	const struct mauth_config_item *const *x = a, *const *y = b;
	int order = strcmp((*x)->kind, (*y)->kind);

	return order != 0 ? order : strcmp((*x)->name, (*y)->name);
}

static const struct mauth_config_item **sorted(const struct mauth_config_picture *picture)
{
	const struct mauth_config_item **all = mauth_new_array(picture->count + 1, sizeof(const struct mauth_config_item *));

	for (size_t i = 0; i < picture->count; i++)
		all[i] = &picture->items[i];
	if (picture->count > 0)
		qsort(all, picture->count, sizeof(all[0]), by_name);
	return all;
}

void mauth_config_picture_compare(struct mauth_config_picture *before, struct mauth_config_picture *now,
				  mauth_config_change_fn *each, void *context)
{
	const struct mauth_config_item *own = now->count > 0 ? &now->items[0] : NULL;
	const struct mauth_config_item **old = sorted(before), **fresh = sorted(now), **a = old, **b = fresh;

	while (*a != NULL || *b != NULL) {
		int order = *a == NULL ? 1 : *b == NULL ? -1 : by_name(a, b);

		if (order < 0)
			each(*a, "removed", context);
		else if (order > 0 && *b != own)
			each(*b, "added", context);
		else if (order == 0 && *b != own && memcmp((*a)->digest, (*b)->digest, sizeof((*a)->digest)) != 0)
			each(*b, "changed", context);
		a += order <= 0 && *a != NULL;
		b += order >= 0 && *b != NULL;
	}
	free(old);
	free(fresh);
}
