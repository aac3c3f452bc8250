/* SPDX-License-Identifier: MIT */
#include "core/config-parse.h"

#include <stdlib.h>
#include <string.h>

/* libconfuse 3.3 counts a line with a comment twice, replaces ${NAME} by the environment (a secret's way into a
 * process list), skips octets that it does not know, ends values at "\0", resolves "audit|path" as a name, and
 * recurses as deep as a file nests. It gets a text in which none of that can happen. */

struct scan {
	const char *path, *text;
	size_t size, at;
	unsigned int line, depth, opened[2];
	char last;                      /* the last octet that was neither blank nor comment */
	struct mauth_buf *clean;
	struct mauth_conf_lines *lines;
	struct mauth_error *error_r;
};

#define scan_fail(scan, ...) mauth_conf_fail((scan)->error_r, (scan)->path, (scan)->line, __VA_ARGS__)

static char peek(const struct scan *scan, size_t ahead)
{
	return scan->at + ahead < scan->size ? scan->text[scan->at + ahead] : '\0';
}

static void keep(struct scan *scan, size_t size)
{
	mauth_buf_append(scan->clean, scan->text + scan->at, size);
	scan->last = scan->text[scan->at + size - 1];
	scan->at += size;
}

/* Every line is UTF-8 without control characters: what follows need not think of them. */
static enum mauth_status check_octets(struct scan *scan)
{
	for (size_t at = 0; at < scan->size; scan->line++) {
		const char *begin = scan->text + at;
		const char *end = memchr(begin, '\n', scan->size - at);
		size_t size = end == NULL ? scan->size - at : (size_t)(end - begin);

		if (!mauth_is_utf8(begin, size))
			return scan_fail(scan, "the line is not valid UTF-8; save the file as UTF-8");
		for (size_t i = 0; i < size; i++) {
			unsigned char c = (unsigned char)begin[i];

			if ((c < 0x20 && c != '\t' && !(c == '\r' && i + 1 == size)) || c == 0x7f)
				return scan_fail(scan, "control character 0x%02x; only text is expected", c);
		}
		at += size + 1;
	}
	scan->line = 1;
	return MAUTH_OK;
}

static void skip_line(struct scan *scan)
{
	while (scan->at < scan->size && scan->text[scan->at] != '\n')
		scan->at++;
}

/* A comment over several lines leaves its line breaks, so that the lines keep their numbers. */
static enum mauth_status skip_block(struct scan *scan)
{
	unsigned int opened = scan->line;

	for (scan->at += 2; scan->at < scan->size; scan->at++) {
		if (peek(scan, 0) == '*' && peek(scan, 1) == '/') {
			scan->at += 2;
			mauth_buf_putc(scan->clean, ' ');
			return MAUTH_OK;
		}
		if (peek(scan, 0) == '\n') {
			scan->line++;
			mauth_buf_putc(scan->clean, '\n');
		}
	}
	scan->line = opened;
	return scan_fail(scan, "the comment does not end; \"*/\" was expected");
}

static enum mauth_status scan_string(struct scan *scan)
{
	char quote = peek(scan, 0);
	size_t size = 1;

	for (;;) {
		char c = peek(scan, size);

		if (c == '\0' || c == '\n')
			return scan_fail(scan, "the string does not end on its line; %c was expected", quote);
		if (size > MAUTH_CONF_WORD_MAX)
			return scan_fail(scan, "a string of more than %u octets", MAUTH_CONF_WORD_MAX);
		if (c == '|')
			return scan_fail(scan, "the character \"|\" has no place in this file");
		if (c == quote)
			break;
		if (c == '$' && quote == '"' && peek(scan, size + 1) == '{')
			return scan_fail(scan, "\"${\": the environment is not consulted; write the value itself, "
					 "and secrets into files of their own");
		if (c == '\\') {
			char next = peek(scan, size + 1);

			if (next != '\\' && next != quote)
				return scan_fail(scan, "a backslash before something else than %c or \\; write \\\\ "
						 "for a backslash", quote);
			size++;
		}
		size++;
	}
	keep(scan, size + 1);
	return MAUTH_OK;
}

static bool is_word(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (c != '\0' && strchr("_-./:@%~", c) != NULL);
}

static enum mauth_status scan_word(struct scan *scan)
{
	size_t size = 0;

	while (is_word(peek(scan, size))) {
		/* Elsewhere in a word "//" and "/" + "*" are no comments; nobody should have to know that. */
		if (peek(scan, size) == '/' && (peek(scan, size + 1) == '*' || peek(scan, size + 1) == '/'))
			return scan_fail(scan, "\"/%c\" inside a word; put the value in double quotes",
					 peek(scan, size + 1));
		size++;
	}
	if (size > MAUTH_CONF_WORD_MAX)
		return scan_fail(scan, "a word of more than %u octets", MAUTH_CONF_WORD_MAX);
	keep(scan, size);
	return MAUTH_OK;
}

static enum mauth_status scan_brace(struct scan *scan)
{
	struct mauth_conf_lines *lines = scan->lines;

	if (peek(scan, 0) == '}') {
		if (scan->depth == 0)
			return scan_fail(scan, "\"}\" closes nothing; a setting or a section was expected");
		scan->depth--;
		keep(scan, 1);
		return MAUTH_OK;
	}
	if (scan->depth >= 2)
		return scan_fail(scan, "\"{\" inside a list; sections do not nest deeper than a list in a section");
	if (scan->depth == 0 && scan->last != '=') {
		lines->lines = mauth_grow(lines->lines, lines->count + 1, sizeof(*lines->lines));
		lines->lines[lines->count++] = scan->line;
	}
	scan->opened[scan->depth++] = scan->line;
	keep(scan, 1);
	return MAUTH_OK;
}

static enum mauth_status scan_token(struct scan *scan)
{
	char c = peek(scan, 0);

	if (c == '\n')
		scan->line++;
	if (c == '\n' || c == ' ' || c == '\t' || c == '\r') {
		mauth_buf_putc(scan->clean, c == '\r' ? ' ' : c);
		scan->at++;
		return MAUTH_OK;
	}
	if (c == '#' || (c == '/' && peek(scan, 1) == '/')) {
		skip_line(scan);
		return MAUTH_OK;
	}
	if (c == '/' && peek(scan, 1) == '*')
		return skip_block(scan);
	if (c == '"' || c == '\'')
		return scan_string(scan);
	if (c == '{' || c == '}')
		return scan_brace(scan);
	if (c == '=' || c == ',') {
		keep(scan, 1);
		return MAUTH_OK;
	}
	if (is_word(c))
		return scan_word(scan);
	if ((unsigned char)c >= 0x80)
		return scan_fail(scan, "unexpected octet 0x%02x; put values that are not plain ASCII in quotes",
				 (unsigned char)c);
	return scan_fail(scan, "unexpected \"%c\"; a setting is written as name = \"value\"", c);
}

enum mauth_status mauth_conf_clean(const char *path, const char *text, size_t size, struct mauth_buf *clean,
				   struct mauth_conf_lines *lines_r, struct mauth_error *error_r)
{
	struct mauth_conf_lines lines = { NULL, 0 };
	struct scan scan = { .path = path, .text = text, .size = size, .line = 1, .clean = clean, .lines = &lines,
			     .error_r = error_r };
	enum mauth_status status = check_octets(&scan);

	while (status == MAUTH_OK && scan.at < scan.size)
		status = scan_token(&scan);
	if (status == MAUTH_OK && scan.depth > 0) {
		scan.line = scan.opened[scan.depth - 1];
		status = scan_fail(&scan, "\"{\" is never closed; \"}\" was expected before the end of the file");
	}
	if (status != MAUTH_OK) {
		free(lines.lines);
		return status;
	}
	*lines_r = lines;
	return MAUTH_OK;
}
