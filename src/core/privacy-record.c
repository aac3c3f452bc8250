/* SPDX-License-Identifier: MIT */
/* Records as they may be told. A record is read twice: who it is about, then text by text. */
#include "core/privacy-private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH_MAX_SIZE 128u
#define DEPTH_MAX 12u
#define PERSONS_MAX 6u
#define ADDRESSES_MAX 2u

/* -- walking through a line --------------------------------------------------------------------------------- */

struct walk {
	const char *at, *end;
	char path[PATH_MAX_SIZE];            /* "user.name" */
	size_t path_size;
	/* A text, from its first quote to behind its last, or another value (is_text false). member: where its member begins. */
	void (*value)(void *context, const char *path, const char *member, const char *begin, const char *end, bool is_text);
	void *context;
};

static bool take(struct walk *walk, char c)
{
	if (walk->at == walk->end || *walk->at != c)
		return false;
	walk->at++;
	return true;
}

static bool skip_text(struct walk *walk)
{
	if (!take(walk, '"'))
		return false;
	while (walk->at < walk->end && *walk->at != '"') {
		if (*walk->at == '\\')
			walk->at++;
		walk->at++;
	}
	return walk->at < walk->end && take(walk, '"');
}

static bool push(struct walk *walk, const char *key, size_t size)
{
	if (walk->path_size + size + 2 > sizeof(walk->path))
		return false;
	if (walk->path_size > 0)
		walk->path[walk->path_size++] = '.';
	memcpy(walk->path + walk->path_size, key, size);
	walk->path_size += size;
	walk->path[walk->path_size] = '\0';
	return true;
}

static bool walk_value(struct walk *walk, const char *member, unsigned int depth);

static bool walk_members(struct walk *walk, unsigned int depth)
{
	size_t path_size = walk->path_size;

	if (take(walk, '}'))
		return true;
	do {
		const char *member = walk->at;

		if (!skip_text(walk) || !push(walk, member + 1, (size_t)(walk->at - member) - 2) || !take(walk, ':') ||
		    !walk_value(walk, member, depth))
			return false;
		walk->path_size = path_size;
		walk->path[path_size] = '\0';
	} while (take(walk, ','));
	return take(walk, '}');
}

static bool walk_elements(struct walk *walk, unsigned int depth)
{
	if (take(walk, ']'))
		return true;
	do {
		if (!walk_value(walk, walk->at, depth))
			return false;
	} while (take(walk, ','));
	return take(walk, ']');
}

static bool walk_value(struct walk *walk, const char *member, unsigned int depth)
{
	const char *begin = walk->at;

	if (begin == walk->end || depth == DEPTH_MAX)
		return false;
	if (take(walk, '{'))
		return walk_members(walk, depth + 1);
	if (take(walk, '['))
		return walk_elements(walk, depth + 1);
	if (*begin == '"') {
		if (!skip_text(walk))
			return false;
		walk->value(walk->context, walk->path, member, begin, walk->at, true);
		return true;
	}
	while (walk->at < walk->end && strchr(",]}", *walk->at) == NULL)
		walk->at++;
	walk->value(walk->context, walk->path, member, begin, walk->at, false);
	return walk->at > begin;
}

/* -- what is where ------------------------------------------------------------------------------------------ */

enum place {
	PLACE_TEXT,                          /* may quote anything: whatever is not listed */
	PLACE_CLIENT,                        /* the client has chosen it, or who named the device */
	PLACE_FIXED,                         /* a word or number of ours or of a protocol */
	PLACE_RULE,                          /* a name from modernauth.conf: mail addresses only */
	PLACE_PERSON,
	PLACE_PATTERN,                       /* of persons */
	PLACE_ADDRESS,
	PLACE_PORT,
	PLACE_NETWORK,
};

static const struct {
	const char *path;                    /* ends in ".": and all below */
	enum place place;
} places[] = {
	{ "@timestamp", PLACE_FIXED }, { "ecs.", PLACE_FIXED }, { "event.kind", PLACE_FIXED }, { "event.category", PLACE_FIXED },
	{ "event.type", PLACE_FIXED }, { "event.action", PLACE_FIXED }, { "event.outcome", PLACE_FIXED },
	{ "event.provider", PLACE_FIXED }, { "event.dataset", PLACE_FIXED }, { "event.id", PLACE_FIXED }, { "event.code", PLACE_FIXED },
	{ "network.", PLACE_FIXED }, { "service.", PLACE_FIXED }, { "tls.", PLACE_FIXED }, { "cloud.", PLACE_FIXED },
	{ "trace.", PLACE_FIXED }, { "http.", PLACE_FIXED }, { "error.code", PLACE_FIXED }, { "destination.", PLACE_FIXED },
	{ "user.domain", PLACE_FIXED }, { "user.name", PLACE_PERSON }, { "user.email", PLACE_PERSON },
	{ "source.ip", PLACE_ADDRESS }, { "source.port", PLACE_PORT }, { "client.ip", PLACE_ADDRESS }, { "client.port", PLACE_PORT },
	{ "user_agent.", PLACE_CLIENT }, { "modernauth.client_id", PLACE_CLIENT }, { "modernauth.device.name", PLACE_CLIENT },
	{ "modernauth.device.id", PLACE_FIXED }, { "modernauth.account", PLACE_PERSON }, { "modernauth.mailbox", PLACE_PERSON },
	{ "modernauth.allowed.users", PLACE_PATTERN }, { "modernauth.allowed.network", PLACE_NETWORK },
	{ "modernauth.session", PLACE_FIXED }, { "modernauth.protocol", PLACE_FIXED }, { "modernauth.mechanism", PLACE_FIXED },
	{ "modernauth.decision", PLACE_FIXED }, { "modernauth.tenant", PLACE_FIXED }, { "modernauth.cloud", PLACE_FIXED },
	{ "modernauth.verified_by", PLACE_FIXED }, { "modernauth.status", PLACE_FIXED }, { "modernauth.token_id", PLACE_FIXED },
	{ "modernauth.token_source", PLACE_FIXED }, { "modernauth.token_expires_at", PLACE_FIXED },
	{ "modernauth.correlation_id", PLACE_FIXED }, { "modernauth.grant", PLACE_FIXED }, { "modernauth.upstream.", PLACE_FIXED },
	{ "modernauth.mailbox_side", PLACE_FIXED }, { "modernauth.mailbox_source", PLACE_FIXED }, { "modernauth.would", PLACE_FIXED },
	{ "modernauth.exception", PLACE_FIXED }, { "modernauth.actor", PLACE_FIXED }, { "modernauth.by", PLACE_FIXED },
	{ "modernauth.rule", PLACE_RULE }, { "modernauth.would_rule", PLACE_RULE }, { "modernauth.audit.", PLACE_FIXED },
	{ "modernauth.pseudonym", PLACE_FIXED },
	{ "modernauth.relay.identity", PLACE_PERSON }, { "modernauth.relay.identities", PLACE_PATTERN }, { "modernauth.relay.", PLACE_FIXED },
	{ "modernauth.dsn", PLACE_FIXED }, { "modernauth.token_refused", PLACE_FIXED },
	{ "file.", PLACE_FIXED }, { "process.", PLACE_FIXED },
};

static enum place place_of(const char *path)
{
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		size_t size = strlen(places[i].path);
		bool below = places[i].path[size - 1] == '.';

		if (below ? strncmp(path, places[i].path, size) == 0 : strcmp(path, places[i].path) == 0)
			return places[i].place;
	}
	return PLACE_TEXT;
}

/* The text between its quotes, as it was before it became JSON. */
static void decode(const char *begin, const char *end, char *text_r, size_t size)
{
	char *at = text_r, *last = text_r + size - 1;

	for (begin++, end--; begin < end && at < last; begin++) {
		unsigned int code = 0;

		if (*begin != '\\') {
			*at++ = *begin;
		} else if (end - begin >= 6 && begin[1] == 'u') {
			char digits[5] = { begin[2], begin[3], begin[4], begin[5], '\0' };

			code = (unsigned int)strtoul(digits, NULL, 16);
			/* Records escape controls only, those of C1 among them. */
			if (code >= 0x80 && at + 1 < last)
				*at++ = (char)(0xc0 | (code >> 6 & 0x1f));
			*at++ = (char)(code >= 0x80 ? 0x80 | (code & 0x3f) : code);
			begin += 5;
		} else {
			*at++ = *++begin;
		}
	}
	*at = '\0';
}

/* -- first: who is it about? -------------------------------------------------------------------------------- */

struct person {
	const char *begin, *end;             /* in the record, with quotes */
	char pseudonym[MAUTH_PSEUDONYM_SIZE];
};
struct subject {
	const struct mauth_privacy *privacy;
	struct person persons[PERSONS_MAX];
	size_t persons_count;
	const char *name_begin, *email_begin;
	char prefixes[ADDRESSES_MAX][PRIVACY_ADDRESS_SIZE];
	const char *addresses[ADDRESSES_MAX];
	size_t address_sizes[ADDRESSES_MAX], addresses_count;
	bool works;
};

static void see_person(struct subject *subject, const char *path, const char *begin, const char *end)
{
	struct person *person = &subject->persons[subject->persons_count];

	if (subject->persons_count == PERSONS_MAX)
		return;
	*person = (struct person){ .begin = begin, .end = end };
	subject->persons_count++;
	if (strcmp(path, "user.name") == 0)
		subject->name_begin = begin;
	else if (strcmp(path, "user.email") == 0)
		subject->email_begin = begin;
}

static void see_address(struct subject *subject, const char *begin, const char *end)
{
	char address[PRIVACY_ADDRESS_SIZE];
	size_t i = subject->addresses_count;

	if (i == ADDRESSES_MAX || (size_t)(end - begin) >= sizeof(address))
		return;
	decode(begin, end, address, sizeof(address));
	if (!mauth_privacy_prefix(address, subject->prefixes[i], sizeof(subject->prefixes[i])))
		return;
	subject->addresses[i] = begin + 1;
	subject->address_sizes[i] = (size_t)(end - begin) - 2;
	subject->addresses_count++;
}

static void see(void *context, const char *path, const char *member, const char *begin, const char *end, bool is_text)
{
	struct subject *subject = context;
	enum place place = is_text ? place_of(path) : PLACE_FIXED;

	if (place == PLACE_PERSON)
		see_person(subject, path, begin, end);
	else if (place == PLACE_ADDRESS && subject->privacy->config->privacy_ips)
		see_address(subject, begin, end);
	else if (strcmp(path, "event.outcome") == 0)
		subject->works = (size_t)(end - begin) == strlen("\"success\"") && memcmp(begin, "\"success\"", (size_t)(end - begin)) == 0;
}

/* What was typed and what became of it are one person. */
static void name_persons(struct subject *subject)
{
	for (size_t i = 0; i < subject->persons_count; i++) {
		struct person *person = &subject->persons[i];
		char name[2 * MAUTH_USER_MAX + 2];

		decode(person->begin, person->end, name, sizeof(name));
		privacy_name(subject->privacy, name, subject->works, person->pseudonym);
	}
	for (size_t i = 0; subject->email_begin != NULL && i < subject->persons_count; i++) {
		for (size_t j = 0; j < subject->persons_count; j++) {
			if (subject->persons[i].begin == subject->name_begin && subject->persons[j].begin == subject->email_begin)
				memcpy(subject->persons[i].pseudonym, subject->persons[j].pseudonym, MAUTH_PSEUDONYM_SIZE);
		}
	}
}

/* -- then: what is told ------------------------------------------------------------------------------------- */

struct telling {
	struct subject *subject;
	struct privacy_scrub scrub, rules;
	struct mauth_buf *out;
	const char *told;                    /* up to here */
};

static void add_needles(struct telling *telling)
{
	struct subject *subject = telling->subject;

	for (size_t i = 0; i < subject->persons_count; i++) {
		const struct person *person = &subject->persons[i];
		size_t size = (size_t)(person->end - person->begin) - 2;
		const char *at = memchr(person->begin + 1, '@', size);

		privacy_scrub_add(&telling->scrub, person->begin + 1, size, person->pseudonym);
		if (at != NULL && at - person->begin - 1 >= 3)
			privacy_scrub_add(&telling->scrub, person->begin + 1, (size_t)(at - person->begin) - 1, person->pseudonym);
	}
	for (size_t i = 0; i < subject->addresses_count; i++)
		privacy_scrub_add(&telling->scrub, subject->addresses[i], subject->address_sizes[i], subject->prefixes[i]);
}

static void tell_until(struct telling *telling, const char *at)
{
	mauth_buf_append(telling->out, telling->told, (size_t)(at - telling->told));
	telling->told = at;
}

static void tell_instead(struct telling *telling, const char *begin, const char *end, const char *text)
{
	tell_until(telling, begin + 1);
	mauth_buf_puts(telling->out, text);
	telling->told = end - 1;
}

static void tell_person(struct telling *telling, const char *begin, const char *end)
{
	const struct subject *subject = telling->subject;
	char name[2 * MAUTH_USER_MAX + 2], pseudonym[MAUTH_PSEUDONYM_SIZE];

	for (size_t i = 0; i < subject->persons_count; i++) {
		if (subject->persons[i].begin == begin) {
			tell_instead(telling, begin, end, subject->persons[i].pseudonym);
			return;
		}
	}
	decode(begin, end, name, sizeof(name));
	privacy_name(subject->privacy, name, subject->works, pseudonym);
	tell_instead(telling, begin, end, pseudonym);
}

/* "*@contoso.com" is nobody. */
static bool is_everybody(const char *begin, const char *end)
{
	return end - begin >= 3 && begin[1] == '*' && (begin + 2 == end - 1 || begin[2] == '@');
}

/* Its begin, and no end of it: "10.20.0.0/16" is a policy, a longer one may be somebody's desk. */
static void tell_network(struct telling *telling, const char *begin, const char *end)
{
	char text[64], prefix[PRIVACY_ADDRESS_SIZE], *slash;
	bool v6;
	long bits;

	decode(begin, end, text, sizeof(text));
	slash = strchr(text, '/');
	v6 = strchr(text, ':') != NULL;
	bits = slash == NULL ? 128 : strtol(slash + 1, NULL, 10);
	if (slash != NULL)
		*slash = '\0';
	if (bits <= (v6 ? 48 : 24) || !mauth_privacy_prefix(text, prefix, sizeof(prefix)))
		return;
	snprintf(text, sizeof(text), "%s/%s", prefix, v6 ? "48" : "24");
	tell_instead(telling, begin, end, text);
}

/* The member goes, with the comma before it, or the one behind if it is the first. */
static void leave_out(struct telling *telling, const char *member, const char *end)
{
	tell_until(telling, member[-1] == ',' ? member - 1 : member);
	telling->told = member[-1] != ',' && *end == ',' ? end + 1 : end;
}

static void tell_text(struct telling *telling, struct privacy_scrub *scrub, const char *begin, const char *end)
{
	if (scrub->count == 0 && memchr(begin, '@', (size_t)(end - begin)) == NULL)
		return;
	tell_until(telling, begin + 1);
	privacy_scrub_text(scrub, begin + 1, (size_t)(end - begin) - 2, telling->out);
	telling->told = end - 1;
}

static void tell(void *context, const char *path, const char *member, const char *begin, const char *end, bool is_text)
{
	struct telling *telling = context;
	const struct mauth_config *config = telling->subject->privacy->config;
	const bool names = config->privacy_users != MAUTH_USERS_CLEAR;
	const enum place place = place_of(path);
	char prefix[PRIVACY_ADDRESS_SIZE], address[PRIVACY_ADDRESS_SIZE];

	if (place == PLACE_PORT && config->privacy_ips) {
		leave_out(telling, member, end);
		return;
	}
	if (!is_text || end - begin == 2)
		return;
	switch (place) {
	case PLACE_PERSON:
	case PLACE_PATTERN:
		if (names && !(place == PLACE_PATTERN && is_everybody(begin, end)))
			tell_person(telling, begin, end);
		return;
	case PLACE_ADDRESS:
		decode(begin, end, address, sizeof(address));
		if (config->privacy_ips)
			tell_instead(telling, begin, end, mauth_privacy_prefix(address, prefix, sizeof(prefix)) ? prefix : "0.0.0.0");
		return;
	case PLACE_NETWORK:
		if (config->privacy_ips)
			tell_network(telling, begin, end);
		return;
	case PLACE_TEXT:
	case PLACE_CLIENT:
		telling->scrub.inside = place == PLACE_CLIENT;
		tell_text(telling, &telling->scrub, begin, end);
		return;
	case PLACE_RULE:
		tell_text(telling, &telling->rules, begin, end);
		return;
	case PLACE_FIXED:
	case PLACE_PORT:
		return;
	}
}

static bool walk_line(const char *line, size_t size, struct walk *walk)
{
	walk->at = line;
	walk->end = line + size;
	walk->path_size = 0;
	walk->path[0] = '\0';
	return size > 0 && *line == '{' && walk_value(walk, line, 0) && walk->at == walk->end;
}

static bool tell_record(const struct mauth_privacy *privacy, const char *line, size_t size, struct mauth_buf *out)
{
	struct subject subject = { .privacy = privacy };
	struct telling telling = { .subject = &subject, .out = out, .told = line };
	struct walk walk = { .value = see, .context = &subject };

	if (!walk_line(line, size, &walk))
		return false;
	telling.scrub = telling.rules = (struct privacy_scrub){ .privacy = privacy, .escaped = true, .works = subject.works };
	if (privacy->config->privacy_users != MAUTH_USERS_CLEAR)
		name_persons(&subject);
	else
		subject.persons_count = 0;
	add_needles(&telling);
	walk.value = tell;
	walk.context = &telling;
	(void)walk_line(line, size, &walk);
	tell_until(&telling, line + size);
	return true;
}

bool mauth_privacy_records(const struct mauth_privacy *privacy, const char *lines, size_t size, struct mauth_buf *out)
{
	const char *end = lines + size;
	struct mauth_buf told = { 0 };

	while (lines < end) {
		const char *newline = memchr(lines, '\n', (size_t)(end - lines));

		if (newline == NULL || !tell_record(privacy, lines, (size_t)(newline - lines), &told)) {
			mauth_buf_free(&told);
			return false;
		}
		mauth_buf_putc(&told, '\n');
		lines = newline + 1;
	}
	mauth_buf_append(out, told.data, told.size);
	mauth_buf_free(&told);
	return true;
}
