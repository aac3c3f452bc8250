/* SPDX-License-Identifier: MIT */
#include "fake_sinks.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STEP ((size_t)1 << 20)

/* Months of virtual time say much: what is there is not measured each time. */
static void add(char **to, size_t *length, const char *text, size_t size)
{
	/* A test has cleared it. */
	if (*to != NULL && (*to)[0] == '\0')
		*length = 0;
	/* In large steps: sanitizers copy at each. */
	if (*to == NULL || *length / STEP != (*length + size + 1) / STEP)
		*to = realloc(*to, ((*length + size + 1) / STEP + 1) * STEP);
	memcpy(*to + *length, text, size);
	*length += size;
	(*to)[*length] = '\0';
}

static void line(void *context, enum mauth_level level, const char *text)
{
	struct fake_sinks *sinks = context;
	static const char *const names[] = { "debug ", "info ", "warning ", "error " };

	add(&sinks->lines, &sinks->lines_size, names[level], strlen(names[level]));
	add(&sinks->lines, &sinks->lines_size, text, strlen(text));
	add(&sinks->lines, &sinks->lines_size, "\n", 1);
}

static void event(void *context, const char *name, int64_t started, const struct mauth_field *fields, size_t count)
{
	struct fake_sinks *sinks = context;
	char field[512];

	(void)started;
	add(&sinks->events, &sinks->events_size, name, strlen(name));
	for (size_t i = 0; i < count; i++) {
		if (fields[i].str != NULL)
			snprintf(field, sizeof(field), " %s=%s", fields[i].name, fields[i].str);
		else
			snprintf(field, sizeof(field), " %s=%" PRId64, fields[i].name, fields[i].num);
		add(&sinks->events, &sinks->events_size, field, strlen(field));
	}
	add(&sinks->events, &sinks->events_size, "\n", 1);
}

static enum mauth_status append(void *context, const char *text, size_t size, struct mauth_error *error_r)
{
	struct fake_sinks *sinks = context;

	if (sinks->audit_broken)
		return mauth_fail(error_r, MAUTH_AUDIT, 28, "No space left on device");
	add(&sinks->records, &sinks->records_size, text, size);
	sinks->appends++;
	for (const char *p = text; p < text + size; p++)
		sinks->records_count += *p == '\n';
	return MAUTH_OK;
}

struct fake_commit {
	struct fake_commit *next;
	mauth_audit_commit_fn *done;
	void *context;
};

static void commit(void *context, mauth_audit_commit_fn *done, void *done_context)
{
	struct fake_sinks *sinks = context;
	struct fake_commit *wait = calloc(1, sizeof(*wait)), **last = &sinks->commits;

	*wait = (struct fake_commit){ NULL, done, done_context };
	while (*last != NULL)
		last = &(*last)->next;
	*last = wait;
}

void fake_sinks_group(struct fake_sinks *sinks)
{
	sinks->audit.commit = commit;
}

unsigned int fake_sinks_committed(struct fake_sinks *sinks, int code)
{
	struct fake_commit *wait = sinks->commits, *next;
	struct mauth_error error;
	unsigned int count = 0;

	mauth_fail(&error, MAUTH_AUDIT, code, "fdatasync(): %s", strerror(code));
	/* Those that come meanwhile are for the next time. */
	sinks->commits = NULL;
	for (; wait != NULL; wait = next, count++) {
		next = wait->next;
		wait->done(code == 0 ? NULL : &error, wait->context);
		free(wait);
	}
	return count;
}

void fake_sinks_init(struct fake_sinks *sinks)
{
	memset(sinks, 0, sizeof(*sinks));
	sinks->log = (struct mauth_log){ line, event, sinks, true };
	sinks->audit = (struct mauth_audit_sink){ .append = append, .context = sinks };
	add(&sinks->lines, &sinks->lines_size, "", 0);
	add(&sinks->events, &sinks->events_size, "", 0);
	add(&sinks->records, &sinks->records_size, "", 0);
}

void fake_sinks_free(struct fake_sinks *sinks)
{
	free(sinks->lines);
	free(sinks->events);
	free(sinks->records);
	memset(sinks, 0, sizeof(*sinks));
}
