/* SPDX-License-Identifier: MIT */
#include "modernauth/modernauth.h"
#include "sasl/options.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_NAME "modernauth.conf"
#define FILE_MAX 65536
#define VALUE_MAX 1024

enum option_type { OPTION_PATH, OPTION_MECH, OPTION_NUM };

static const struct option {
	const char *name;
	enum option_type type;
	size_t offset;
	unsigned int min, max;
	const char *fallback;
} option_table[] = {
	/* Postfix's processes live in the queue directory, chrooted or not. */
	{ "modernauth_socket", OPTION_PATH, offsetof(struct mauth_sasl_options, socket), 0, 0, "private/modernauth-relay" },
	{ "modernauth_mech", OPTION_MECH, offsetof(struct mauth_sasl_options, mech), 0, 0, "XOAUTH2" },
	/* sasl-xoauth2 and KDE's plugin have 60: who has one of them in use keeps it. */
	{ "modernauth_priority", OPTION_NUM, offsetof(struct mauth_sasl_options, priority), 0, 255, "50" },
	{ "modernauth_timeout", OPTION_NUM, offsetof(struct mauth_sasl_options, timeout_secs), 1, 120, "15" },
	{ "modernauth_min_life", OPTION_NUM, offsetof(struct mauth_sasl_options, min_life_secs), 0, 1800, "600" },
};
#define OPTIONS (sizeof(option_table) / sizeof(option_table[0]))

static bool parse_num(const char *value, const struct option *option, unsigned int *num_r)
{
	char *end;
	unsigned long num;

	if (!isdigit((unsigned char)value[0]))
		return false;
	errno = 0;
	num = strtoul(value, &end, 10);
	if (*end != '\0' || errno != 0 || num < option->min || num > option->max)
		return false;
	*num_r = (unsigned int)num;
	return true;
}

/* RFC 4422: letters, digits, hyphen and underscore. */
static bool is_mech(const char *value)
{
	size_t size = strlen(value);

	return size > 0 && size <= SASL_MECHNAMEMAX &&
		strspn(value, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") == size;
}

/* NULL, or what is wrong with value. */
static const char *set_option(struct mauth_sasl_options *options, const struct option *option, const char *value)
{
	char *place = (char *)options + option->offset;

	switch (option->type) {
	case OPTION_PATH:
		if (value[0] == '\0' || strlen(value) >= sizeof(options->socket))
			return "the path of a UNIX socket has 1 to 107 octets";
		memcpy(place, value, strlen(value) + 1);
		return NULL;
	case OPTION_MECH:
		if (!is_mech(value))
			return "a mechanism has at most 20 of A-Z, 0-9, - and _";
		memcpy(place, value, strlen(value) + 1);
		return NULL;
	case OPTION_NUM:
		return parse_num(value, option, (unsigned int *)(void *)place) ? NULL : "not a number in its range";
	}
	return "unknown type";
}

/* "file line 3: name: what"; line 0: none. */
static bool complain(struct mauth_sasl_options *options, const char *where, unsigned int line, const char *name, const char *what)
{
	char number[32] = "";

	if (line > 0)
		snprintf(number, sizeof(number), " line %u", line);
	snprintf(options->wrong, sizeof(options->wrong), "%.160s%s: %.60s: %s", where, number, name, what);
	return false;
}

static char *trim(char *text)
{
	size_t size;

	while (isspace((unsigned char)*text))
		text++;
	size = strlen(text);
	while (size > 0 && isspace((unsigned char)text[size - 1]))
		size--;
	text[size] = '\0';
	return text;
}

static const struct option *find_option(const char *name)
{
	for (size_t i = 0; i < OPTIONS; i++) {
		if (strcmp(option_table[i].name, name) == 0)
			return &option_table[i];
	}
	return NULL;
}

/* One line "name: value" as in SASL's other files; NULL, or what is wrong with it. *name_r lies in line. */
static const char *read_line(struct mauth_sasl_options *options, char *line, const char **name_r)
{
	char *text = trim(line), *colon;
	const struct option *option;

	*name_r = text;
	if (*text == '\0' || *text == '#')
		return NULL;
	colon = strchr(text, ':');
	if (colon == NULL)
		return "a line has the form \"name: value\"";
	*colon = '\0';
	*name_r = trim(text);
	option = find_option(*name_r);
	if (option == NULL)
		return "there is no such option (modernauth_socket, _mech, _priority, _timeout, _min_life)";
	return set_option(options, option, trim(colon + 1));
}

static bool read_file(struct mauth_sasl_options *options, const char *path, FILE *file)
{
	char line[VALUE_MAX];
	unsigned int number = 0;
	size_t total = 0;

	while (fgets(line, sizeof(line), file) != NULL) {
		const char *name, *wrong;

		number++;
		total += strlen(line);
		if (strlen(line) == sizeof(line) - 1 || total > FILE_MAX)
			return complain(options, path, number, "line", "too long");
		wrong = read_line(options, line, &name);
		if (wrong != NULL)
			return complain(options, path, number, name, wrong);
	}
	return true;
}

/* The first file of that name in the directories of path ("dir:dir"); none is no error. */
static bool search_file(struct mauth_sasl_options *options, const char *path)
{
	while (*path != '\0') {
		size_t size = strcspn(path, ":");
		char name[PATH_MAX];
		FILE *file = NULL;

		if (size > 0 && size < sizeof(name) - sizeof(FILE_NAME) - 1) {
			snprintf(name, sizeof(name), "%.*s/%s", (int)size, path, FILE_NAME);
			file = fopen(name, "re");
			if (file == NULL && errno != ENOENT && errno != ENOTDIR)
				return complain(options, name, 0, "open", strerror(errno));
		}
		if (file != NULL) {
			bool ok = read_file(options, name, file);

			(void)fclose(file);
			return ok;
		}
		path += size;
		path += *path == ':' ? 1 : 0;
	}
	return true;
}

/* libsasl2 reads no file for clients: this one is ours, at the place where SASL's files are. */
static bool from_file(const sasl_utils_t *utils, struct mauth_sasl_options *options)
{
	sasl_callback_ft callback = NULL;
	sasl_getconfpath_t *get_path;
	void *context = NULL;
	const char *path = NULL;

	if (utils->getcallback(NULL, SASL_CB_GETCONFPATH, &callback, &context) != SASL_OK || callback == NULL)
		return true;
	get_path = (sasl_getconfpath_t *)(void (*)(void))callback;
	/* The prototype says char **, libsasl2 hands out its own text. */
	if (get_path(context, (char **)(void *)&path) != SASL_OK || path == NULL)
		return true;
	return search_file(options, path);
}

static bool from_program(const sasl_utils_t *utils, struct mauth_sasl_options *options)
{
	for (size_t i = 0; i < OPTIONS; i++) {
		const struct option *option = &option_table[i];
		const char *value = NULL, *wrong;

		if (utils->getopt(utils->getopt_context, "modernauth", option->name, &value, NULL) != SASL_OK ||
		    value == NULL)
			continue;
		wrong = set_option(options, option, value);
		if (wrong != NULL)
			return complain(options, "option of the program", 0, option->name, wrong);
	}
	return true;
}

void mauth_sasl_options(const sasl_utils_t *utils, struct mauth_sasl_options *options_r)
{
	memset(options_r, 0, sizeof(*options_r));
	for (size_t i = 0; i < OPTIONS; i++)
		(void)set_option(options_r, &option_table[i], option_table[i].fallback);
	(void)(from_file(utils, options_r) && from_program(utils, options_r));
}
