/* SPDX-License-Identifier: MIT */
/* With audit { durability = "group" } no admin is told of a change before its record is on disk. */
#include "broker/session.h"

#include "core/mem.h"

#include <stdlib.h>
#include <string.h>

struct session_hold {
	struct mauth_session *session;       /* NULL: nobody listens any more */
	size_t size;                         /* of session->out when it began */
	uint64_t changes;                    /* until then */
	bool changed;                        /* among it may be what says that one is done */
};

/* "OK<TAB>7..." -> 7; 0: another line. */
static uint32_t ok_id(const char *line)
{
	return strncmp(line, "OK\t", 3) == 0 ? (uint32_t)strtoul(line + 3, NULL, 10) : 0;
}

static void put_unrecorded(struct mauth_buf *out, uint32_t id, const struct mauth_error *error)
{
	char *reason = mauth_printf("it was done, but its record is not on disk: %s", error->text);

	mauth_wire_begin(out, "FAIL");
	mauth_wire_id(out, id);
	mauth_wire_str(out, "code", mauth_status_name(MAUTH_AUDIT));
	mauth_wire_str(out, "reason", reason);
	mauth_wire_str(out, "advice", error->advice);
	mauth_wire_end(out);
	free(reason);
}

/* What has been changed stays changed, but nobody is told that all is well. Returns what size has become. */
static size_t take_back(struct mauth_session *session, size_t size, const struct mauth_error *error)
{
	struct mauth_buf out = { 0 };
	const char *line = session->out.data, *end = line + size;

	while (line < end) {
		const char *newline = memchr(line, '\n', (size_t)(end - line));
		size_t length = newline == NULL ? (size_t)(end - line) : (size_t)(newline - line) + 1;
		uint32_t id = ok_id(line);

		if (id > 0)
			put_unrecorded(&out, id, error);
		else
			mauth_buf_append(&out, line, length);
		line += length;
	}
	size = out.size;
	mauth_buf_append(&out, end, session->out.size - (size_t)(end - session->out.data));
	mauth_buf_free(&session->out);
	session->out = out;
	return size;
}

static void committed(const struct mauth_error *error, void *context)
{
	struct session_hold *hold = context;
	struct mauth_session *session = hold->session;

	if (session != NULL) {
		if (session->service->changes_told < hold->changes)
			session->service->changes_told = hold->changes;
		session->hold = NULL;
		session->tellable = hold->size;
		if (error != NULL && hold->changed)
			session->tellable = take_back(session, hold->size, error);
		mauth_session_write(session);
	}
	free(hold);
}

static void begin_hold(struct mauth_session *session)
{
	struct mauth_service_state *service = session->service;
	struct session_hold *hold = mauth_new(sizeof(*hold));

	*hold = (struct session_hold){ .session = session, .size = session->out.size, .changes = service->changes,
				      .changed = service->changes > service->changes_told };
	if (mauth_broker_commit(service->broker, committed, hold)) {
		session->hold = hold;
	} else {
		free(hold);
		session->tellable = session->out.size;
	}
}

size_t mauth_session_tellable(struct mauth_session *session)
{
	if (session->role != MAUTH_ROLE_ADMIN || session->service->broker == NULL)
		return session->out.size;
	/* First what has waited, then the next. */
	if (session->tellable == 0 && session->out.size > 0 && session->hold == NULL)
		begin_hold(session);
	return session->tellable;
}

void mauth_session_sent(struct mauth_session *session, size_t size)
{
	session->tellable -= size < session->tellable ? size : session->tellable;
	if (session->tellable == 0 && session->out.size > 0)
		mauth_session_flush(session);
}

void mauth_session_unhold(struct mauth_session *session)
{
	if (session->hold != NULL)
		session->hold->session = NULL;
	session->hold = NULL;
	session->tellable = 0;
}
