/* SPDX-License-Identifier: MIT */
#include "core/config-rule.h"

#include "core/upn.h"

#include <stdlib.h>
#include <string.h>

#define FILE_USERS_MAX 100000u

static void add_pattern(struct mauth_rule *rule, size_t *count, size_t *room, char *pattern)
{
	if (*count + 1 >= *room) {
		*room = *room < 16 ? 16 : *room * 2;
		rule->users = mauth_grow(rule->users, *room, sizeof(*rule->users));
	}
	rule->users[(*count)++] = pattern;
	rule->users[*count] = NULL;
}

/* A domain stands for all of its users. */
static enum mauth_status load_domains(struct rule_loader *r, size_t *count, size_t *room)
{
	const struct mauth_conf_value *value = mauth_conf_get(r->section, "domains");

	for (; value != NULL; value = mauth_conf_next(r->section, value)) {
		char *pattern;

		if (strchr(value->text, '@') != NULL || strlen(value->text) + 2 > MAUTH_USER_MAX ||
		    !mauth_load_is_pattern(value->text))
			return mauth_conf_refuse(r->error_r, value,
						 "domains: \"%.100s\"; a domain like \"contoso.com\" or "
						 "\"*.contoso.com\" was expected",
						 value->text);
		pattern = mauth_printf("*@%s", value->text);
		mauth_lowercase(pattern);
		add_pattern(r->rule, count, room, pattern);
		if (!mauth_load_concerns_any(r->loader->config, pattern))
			mauth_load_warn(r->loader, value->line, "domains: \"%s\" matches nobody; no tenant has such users",
					value->text);
	}
	return MAUTH_OK;
}

/* The next line without its comment and the blanks around it; NULL at the end. */
static char *next_line(const char **at, const char *end)
{
	const char *line = *at, *stop;
	size_t size;

	if (line >= end)
		return NULL;
	stop = memchr(line, '\n', (size_t)(end - line));
	if (stop == NULL)
		stop = end;
	*at = stop + 1;
	while (line < stop && strchr(" \t\r", *line) != NULL)
		line++;
	size = (size_t)(stop - line);
	for (size_t i = 0; i < size; i++) {
		if (line[i] == '#')
			size = i;
	}
	while (size > 0 && strchr(" \t\r", line[size - 1]) != NULL)
		size--;
	return mauth_strndup(line, size);
}

static enum mauth_status load_file(struct rule_loader *r, size_t *count, size_t *room)
{
	const struct mauth_conf_value *value = mauth_conf_get(r->section, "users_file");
	const struct mauth_secret *content;
	unsigned int number = 0, users = 0;
	const char *at, *end;
	char *line, *path;

	if (value == NULL)
		return MAUTH_OK;
	if (mauth_conf_path(value, &path, r->error_r) != MAUTH_OK)
		return MAUTH_CONFIG;
	free(path);
	if (mauth_load_file(r->loader, value, false, &content, r->error_r) != MAUTH_OK)
		return MAUTH_CONFIG;
	at = mauth_secret_expose(content);
	end = at + mauth_secret_size(content);
	while ((line = next_line(&at, end)) != NULL) {
		number++;
		if (*line == '\0') {
			free(line);
			continue;
		}
		if (!mauth_load_is_pattern(line) || ++users > FILE_USERS_MAX) {
			mauth_conf_refuse(r->error_r, value, "users_file: %s:%u: \"%.100s\"; %s", value->text, number, line,
					  users > FILE_USERS_MAX ? "more than 100000 users" :
					  "one user like \"anna@contoso.com\" or pattern was expected on a line");
			free(line);
			return MAUTH_CONFIG;
		}
		mauth_lowercase(line);
		add_pattern(r->rule, count, room, line);
	}
	if (users == 0)
		mauth_load_warn(r->loader, value->line, "users_file: %s names nobody", value->text);
	return MAUTH_OK;
}

enum mauth_status mauth_load_rule_users(struct rule_loader *r)
{
	size_t count = 0, room;

	if (mauth_load_patterns(r->loader, r->section, "users", &r->rule->users, r->error_r) != MAUTH_OK)
		return MAUTH_CONFIG;
	while (r->rule->users != NULL && r->rule->users[count] != NULL)
		count++;
	room = r->rule->users == NULL ? 0 : count + 1;
	/* An empty file is a group without members, not everybody. */
	if (r->rule->users == NULL && mauth_conf_get(r->section, "users_file") != NULL) {
		room = 16;
		r->rule->users = mauth_new_array(room, sizeof(*r->rule->users));
	}
	if (load_domains(r, &count, &room) != MAUTH_OK)
		return MAUTH_CONFIG;
	return load_file(r, &count, &room);
}
