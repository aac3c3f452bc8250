/* SPDX-License-Identifier: MIT */
#include "broker/session.h"

#include "broker/relay.h"
#include "core/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* With more than this unread nothing is read from the client, and it has to go on reading. */
#define OUT_MAX (4u * 1024u * 1024u)
/* With less than this unread those who have more to say than fits may go on. */
#define OUT_LOW (64u * 1024u)
#define STALL_MSECS 5000u
#define MALFORMED_MAX 20u
#define HELLO_MSECS 10000u
/* Per turn of the loop: nobody's burst keeps the others waiting for long. */
#define READ_MAX (256u * 1024u)

static void session_io(bool readable, bool writable, void *context);

enum mauth_status mauth_session_check_peer(const struct mauth_service_state *service, enum mauth_role role, int fd,
					   struct ucred *peer_r, struct mauth_error *error_r)
{
	struct ucred cred;
	socklen_t size = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &size) < 0)
		return mauth_fail(error_r, MAUTH_CONFIG, errno, "SO_PEERCRED of a client failed: %s", strerror(errno));
	*peer_r = cred;
	if ((role == MAUTH_ROLE_RELAY || role == MAUTH_ROLE_STATUS) && service->mta_clients >= MAUTH_MTA_CLIENTS_MAX)
		return mauth_fail(error_r, MAUTH_TEMPORARY, 0, "refused a client on the %s listener: there are %u of MTAs already",
				  mauth_role_name(role), MAUTH_MTA_CLIENTS_MAX);
	if (cred.uid == 0 || cred.uid == service->role_uids[role])
		return MAUTH_OK;
	return mauth_fail(error_r, MAUTH_CONFIG, 0,
			  "refused a client on the %s listener: pid %d has uid %u, allowed are root and uid %u (see "
			  "auth_user, login_user and relay_user in modernauth.conf)", mauth_role_name(role), (int)cred.pid,
			  (unsigned int)cred.uid, (unsigned int)service->role_uids[role]);
}

static void hello_late(void *context)
{
	struct mauth_session *session = context;

	session->hello_timer = NULL;
	mauth_log(session->service->log, MAUTH_WARNING, "a client on the %s listener did not say hello in %u s",
		  mauth_role_name(session->role), HELLO_MSECS / 1000);
	mauth_session_end(session);
}

enum mauth_status mauth_session_new(struct mauth_service_state *service, enum mauth_role role, int fd,
				    struct mauth_error *error_r)
{
	struct ucred peer = { .uid = 0 };
	enum mauth_status status = mauth_session_check_peer(service, role, fd, &peer, error_r);
	struct mauth_session *session;

	if (status != MAUTH_OK) {
		(void)close(fd);
		service->settings.client_gone();
		return status;
	}
	session = mauth_new(sizeof(*session));
	session->service = service;
	session->role = role;
	session->uid = peer.uid;
	session->pid = peer.pid;
	session->fd = fd;
	session->next = service->sessions;
	session->link = &service->sessions;
	if (session->next != NULL)
		session->next->link = &session->next;
	service->sessions = session;
	service->mta_clients += role == MAUTH_ROLE_RELAY;
	session->watch = mauth_watch_add(service->loop, fd, session_io, session);
	session->hello_timer = mauth_timer_add(service->loop, HELLO_MSECS, hello_late, session);
	mauth_buf_puts(&session->out, MAUTH_WIRE_VERSION_LINE);
	mauth_wire_begin(&session->out, "READY");
	mauth_wire_str(&session->out, "role", mauth_role_name(role));
	mauth_wire_end(&session->out);
	mauth_session_update(session);
	if (service->phase == MAUTH_PHASE_LEAVING)
		mauth_session_bye(session);
	mauth_session_flush(session);
	return MAUTH_OK;
}

void mauth_session_end(struct mauth_session *session)
{
	struct mauth_service_state *service = session->service;

	mauth_verbs_cancel_all(session, service->phase == MAUTH_PHASE_LEAVING);
	mauth_relay_cancel_all(session, service->phase == MAUTH_PHASE_LEAVING);
	mauth_admin_forget_all(session);
	service->mta_clients -= session->role == MAUTH_ROLE_RELAY;
	mauth_verbs_forget_reports(session);
	mauth_session_unhold(session);
	*session->link = session->next;
	if (session->next != NULL)
		session->next->link = session->link;
	mauth_timer_remove(service->loop, &session->flush);
	mauth_timer_remove(service->loop, &session->hello_timer);
	mauth_timer_remove(service->loop, &session->stall);
	mauth_watch_remove(service->loop, &session->watch);
	(void)close(session->fd);
	mauth_wire_reader_free(&session->reader);
	mauth_buf_free(&session->out);
	free(session->open);
	free(session);
	service->settings.client_gone();
}

/* Before the broker exists, requests stay in their socket: the handover comes first. */
static bool may_read(const struct mauth_session *session)
{
	const struct mauth_service_state *service = session->service;

	if (session->role == MAUTH_ROLE_HANDOVER || session->bye)
		return true;
	return service->broker != NULL || service->phase != MAUTH_PHASE_WAITING;
}

void mauth_session_update(struct mauth_session *session)
{
	mauth_watch_set(session->service->loop, session->watch, may_read(session) && session->out.size <= OUT_MAX,
			session->out.size > 0 && session->hold == NULL);
}

static void stalled(void *context)
{
	struct mauth_session *session = context;

	session->stall = NULL;
	mauth_log(session->service->log, MAUTH_ERROR, "client %s does not read its replies: disconnected", session->name);
	mauth_session_end(session);
}

/* Thousands of logins may be answered in one turn, so much unread is no misbehaviour; not to read on is. */
static void watch_stall(struct mauth_session *session, bool progress)
{
	const struct mauth_loop *loop = session->service->loop;

	if (progress || session->out.size <= OUT_MAX)
		mauth_timer_remove(loop, &session->stall);
	if (session->out.size > OUT_MAX && session->stall == NULL)
		session->stall = mauth_timer_add(loop, STALL_MSECS, stalled, session);
}

void mauth_session_write(struct mauth_session *session)
{
	size_t done = 0, size = mauth_session_tellable(session);

	mauth_timer_remove(session->service->loop, &session->flush);
	while (done < size) {
		ssize_t sent = send(session->fd, session->out.data + done, size - done,
				    MSG_NOSIGNAL | MSG_DONTWAIT);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0) {
			session->mute = errno != EAGAIN;
			break;
		}
		done += (size_t)sent;
	}
	/* Once, not for each send: megabytes may be waiting. */
	mauth_buf_consume(&session->out, done);
	mauth_session_sent(session, done);
	/* A login process may report and end at once: there will be an end of file to read, after its report. */
	if (session->mute) {
		mauth_buf_clear(&session->out);
		mauth_session_unhold(session);
	}
	/* While we hold it back it is not the client that is slow. */
	watch_stall(session, done > 0 || session->hold != NULL);
	mauth_session_update(session);
	if (session->out.size < OUT_LOW && !session->mute)
		mauth_admin_drained(session);
}

static void flush_now(void *context)
{
	struct mauth_session *session = context;

	session->flush = NULL;
	mauth_session_write(session);
}

void mauth_session_flush(struct mauth_session *session)
{
	/* One write for all replies of a turn. */
	if (session->flush == NULL && session->out.size > 0)
		session->flush = mauth_timer_add(session->service->loop, 0, flush_now, session);
}

void mauth_session_bye(struct mauth_session *session)
{
	if (session->bye || session->role == MAUTH_ROLE_HANDOVER)
		return;
	session->bye = true;
	mauth_verbs_cancel_all(session, true);
	mauth_relay_cancel_all(session, true);
	mauth_admin_forget_all(session);
	mauth_wire_begin(&session->out, "BYE");
	mauth_wire_end(&session->out);
	mauth_session_flush(session);
}

static const char *handle_version(struct mauth_session *session, const struct mauth_wire_line *line)
{
	/* VERSION<TAB>modernauth<TAB>1<TAB>minor */
	if (strcmp(line->verb, "VERSION") != 0 || line->count < 3 ||
	    strcmp(line->fields[0].value, "modernauth") != 0 || strcmp(line->fields[1].value, "1") != 0)
		return "expected VERSION modernauth 1";
	session->version_seen = true;
	return NULL;
}

static const char *handle_hello(struct mauth_session *session, const struct mauth_wire_line *line)
{
	const char *name = mauth_wire_get(line, "name"), *config = mauth_wire_get(line, "config"), *by = mauth_wire_get(line, "by");
	const struct mauth_service_state *service = session->service;

	if (strcmp(line->verb, "CLIENT") != 0 || name == NULL)
		return "expected CLIENT name=";
	mauth_clean_copy(session->name, sizeof(session->name), name, strlen(name));
	mauth_clean_copy(session->by, sizeof(session->by), by == NULL ? "unknown" : by, strlen(by == NULL ? "unknown" : by));
	session->hello_seen = true;
	mauth_timer_remove(service->loop, &session->hello_timer);
	session->other_config = config != NULL && strcmp(config, service->settings.config_path) != 0;
	if (session->other_config)
		mauth_log(service->log, MAUTH_ERROR, "client %s was told to use %.512s, but this broker reads %s: its logins "
			  "are refused; make args of passdb modernauth and executable of service modernauth name the same "
			  "file", session->name, config, service->settings.config_path);
	return NULL;
}

/* NULL, or what is wrong with the line. */
static const char *handle_line(struct mauth_session *session, char *text, size_t size)
{
	struct mauth_wire_line line;
	const char *error;

	if (!mauth_wire_parse(text, size, session->hello_seen, &line, &error))
		return error;
	if (!session->version_seen)
		return handle_version(session, &line);
	if (!session->hello_seen)
		return handle_hello(session, &line);
	return mauth_verb_handle(session, &line) ? NULL : "not a request of this listener";
}

static void malformed(struct mauth_session *session, const char *error)
{
	mauth_wire_begin(&session->out, "BAD");
	mauth_wire_id(&session->out, 0);
	mauth_wire_str(&session->out, "reason", error);
	mauth_wire_end(&session->out);
	if (++session->malformed < MALFORMED_MAX && session->hello_seen)
		return;
	mauth_log(session->service->log, MAUTH_ERROR, "client %s on the %s listener speaks nonsense (%s): disconnected",
		  session->name[0] == '\0' ? "without a name" : session->name, mauth_role_name(session->role), error);
	session->ended = true;
}

static void handle_lines(struct mauth_session *session)
{
	bool overflow = false;
	size_t size;
	char *text;

	while (!session->ended && may_read(session) && mauth_wire_next(&session->reader, &text, &size, &overflow)) {
		const char *error = session->bye ? NULL : handle_line(session, text, size);

		if (error != NULL)
			malformed(session, error);
	}
	mauth_verbs_confirm(session);
	if (!session->ended && may_read(session) && overflow) {
		session->malformed = MALFORMED_MAX;
		malformed(session, "line too long");
	}
}

/* false: the peer is gone. */
static bool read_in(struct mauth_session *session)
{
	char chunk[16384];
	size_t total = 0, most = 0;
	bool alive = true;

	while (total < READ_MAX) {
		ssize_t got = recv(session->fd, chunk, sizeof(chunk), MSG_DONTWAIT);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0 && (errno == EAGAIN))
			break;
		if (got <= 0) {
			alive = false;
			break;
		}
		mauth_buf_append(&session->reader.in, chunk, (size_t)got);
		total += (size_t)got;
		if ((size_t)got > most)
			most = (size_t)got;
		if ((size_t)got < sizeof(chunk))
			break;
	}
	mauth_wipe(chunk, most);
	return alive;
}

static void session_io(bool readable, bool writable, void *context)
{
	struct mauth_session *session = context;
	bool alive = true;

	if (readable) {
		alive = read_in(session);
		handle_lines(session);
	}
	if (!alive || session->ended) {
		if (alive && session->out.size > 0)
			(void)!send(session->fd, session->out.data, mauth_session_tellable(session), MSG_NOSIGNAL | MSG_DONTWAIT);
		mauth_session_end(session);
		return;
	}
	/* What came together is decided, recorded and answered together, without another turn of the loop. */
	if (readable && session->service->broker != NULL)
		mauth_broker_turn(session->service->broker);
	mauth_session_write(session);
}
