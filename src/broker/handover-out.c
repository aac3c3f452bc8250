/* SPDX-License-Identifier: MIT */
#include "broker/handover.h"

#include "broker/relay.h"
#include "broker/storage.h"

#include "core/account-check.h"
#include "core/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* Token requests that are about to be answered are worth this much waiting; the successor holds cold logins so long. */
#define DRAIN_MSECS 1000
#define DRAIN_POLL_MSECS 10u
/* A successor that does not take the state in this time gets the rest of the users cold. */
#define SEND_MSECS 20000u
/* Two seconds, while the master reloads again before the successor could take anything. */
#define ATTEMPTS_MAX 20u
/* Half a second of these in a row: the master makes the socket anew. */
#define REFUSED_MAX 5u
#define ATTEMPT_MSECS 100u
/* Login processes end sessions that are idle for two seconds, and have to tell us so. */
#define LINGER_MSECS 4000u
#define CHUNK 4096u
#define FILL_OCTETS 131072u

enum what { SEND_CONFIG, SEND_KEY, SEND_TOKENS, SEND_ACCOUNTS, SEND_USERS, SEND_END, SEND_NOTHING };

struct mauth_handover_out {
	struct mauth_service_state *service;
	int fd;
	struct mauth_watch *watch;
	struct mauth_timer *drain, *limit;
	int64_t drain_until;
	struct mauth_buf out;
	struct mauth_wire_reader reader;
	enum what next;
	const struct mauth_cache_entry *entry;       /* sent last */
	const struct mauth_node *account;
	const struct mauth_shield_user *user;
	uint32_t id;
	unsigned int tokens, users, attempts, refused;
};

static void send_later(struct mauth_handover_out *out);
static void send_again(void *context);

static void out_end(struct mauth_handover_out *out)
{
	struct mauth_service_state *service = out->service;

	mauth_timer_remove(service->loop, &out->drain);
	mauth_timer_remove(service->loop, &out->limit);
	mauth_watch_remove(service->loop, &out->watch);
	if (out->fd != -1)
		(void)close(out->fd);
	mauth_buf_free(&out->out);
	mauth_wire_reader_free(&out->reader);
	free(out);
	service->out = NULL;
}

static void out_finish(struct mauth_handover_out *out, const char *problem)
{
	struct mauth_service_state *service = out->service;
	unsigned int tokens = out->tokens, users = out->users;
	bool connected = out->fd != -1;

	out_end(out);
	if (problem != NULL && !connected)
		/* Which is what happens when Dovecot is stopped. */
		mauth_log(service->log, MAUTH_INFO, "there is no successor (%s): the cache ends here", problem);
	else if (problem != NULL)
		mauth_log(service->log, MAUTH_WARNING, "no successor took over the cache (%s): users will be fetched anew",
			  problem);
	else
		mauth_log(service->log, MAUTH_INFO, "handed over to the successor: %u tokens, %u users with refusals", tokens,
			  users);
	if (problem != NULL && !connected)
		mauth_service_linger(service, LINGER_MSECS);
	else
		mauth_service_end(service);
}

static void begin(struct mauth_handover_out *out, const char *what)
{
	mauth_wire_begin(&out->out, "TAKE");
	mauth_wire_id(&out->out, ++out->id);
	mauth_wire_str(&out->out, "what", what);
}

static void put_chunks(struct mauth_handover_out *out, const char *what, const char *path,
		       const struct mauth_secret *content)
{
	const char *data = mauth_secret_expose(content);
	size_t left = mauth_secret_size(content);

	do {
		size_t size = left < CHUNK ? left : CHUNK;

		begin(out, what);
		mauth_wire_str(&out->out, "path", path);
		mauth_wire_data(&out->out, "data", data, size);
		mauth_wire_end(&out->out);
		data += size;
		left -= size;
	} while (left > 0);
}

static void put_config(struct mauth_handover_out *out)
{
	const struct mauth_config *config = out->service->config;

	put_chunks(out, "config", config->path, config->text);
	for (size_t i = 0; i < config->files_count; i++)
		put_chunks(out, "file", config->files[i].path, config->files[i].content);
}

static void put_token(struct mauth_handover_out *out, const struct mauth_cache_entry *entry)
{
	struct mauth_buf *buf = &out->out;
	struct mauth_secret *token = mauth_cache_token(entry);

	begin(out, "token");
	mauth_wire_num(buf, "tenant", entry->node.tenant);
	mauth_wire_str(buf, "upn", mauth_cache_upn(entry));
	mauth_wire_data(buf, "token", mauth_secret_expose(token), mauth_secret_size(token));
	mauth_wire_data(buf, "salt", entry->salt, sizeof(entry->salt));
	mauth_wire_data(buf, "verifier", entry->verifier, sizeof(entry->verifier));
	mauth_wire_num(buf, "expires_wall", entry->expires_wall);
	mauth_wire_num(buf, "expires_mono", entry->expires_mono);
	mauth_wire_num(buf, "refresh_mono", entry->refresh_mono);
	mauth_wire_num(buf, "refused_until", entry->refused_until);
	mauth_wire_num(buf, "refused", entry->refused);
	mauth_wire_num(buf, "refusals", entry->refusals);
	mauth_wire_num(buf, "bound", entry->bound);
	mauth_wire_num(buf, "forced_mono", entry->forced_mono);
	mauth_wire_end(buf);
	mauth_secret_free(&token);
	out->tokens++;
}

static void put_account(struct mauth_handover_out *out, const struct mauth_account_fact *fact)
{
	struct mauth_buf *buf = &out->out;

	begin(out, "account");
	mauth_wire_num(buf, "tenant", fact->tenant);
	mauth_wire_str(buf, "upn", fact->upn);
	mauth_wire_str(buf, "status", mauth_status_name(fact->status));
	mauth_wire_num(buf, "good_until", fact->good_until);
	mauth_wire_num(buf, "refresh_at", fact->refresh_at);
	mauth_wire_end(buf);
}

/* What was given to a process of an MTA, which goes on using it. */
static void put_relay(const struct mauth_relay_memory *memory, void *context)
{
	struct mauth_handover_out *out = context;
	struct mauth_buf *buf = &out->out;

	begin(out, "relay");
	mauth_wire_num(buf, "pid", memory->pid);
	mauth_wire_num(buf, "started", (int64_t)memory->started);
	mauth_wire_num(buf, "at", memory->at);
	mauth_wire_num(buf, "uid", memory->uid);
	mauth_wire_str(buf, "identity", memory->identity);
	mauth_wire_str(buf, "session", memory->session);
	mauth_wire_str(buf, "program", memory->program);
	mauth_wire_str(buf, "host", memory->host);
	mauth_wire_str(buf, "key_id", memory->key_id);
	mauth_wire_str(buf, "key_name", memory->key_name);
	mauth_wire_str(buf, "token_id", memory->token_id);
	mauth_wire_str(buf, "reason", memory->reason);
	mauth_wire_str(buf, "transport", memory->transport);
	mauth_wire_end(buf);
}

static void put_user(struct mauth_handover_out *out, const struct mauth_shield_user *user)
{
	struct mauth_buf *buf = &out->out;

	begin(out, "user");
	mauth_wire_num(buf, "tenant", user->node.tenant);
	mauth_wire_str(buf, "upn", user->upn);
	mauth_wire_data(buf, "salt", user->salt, sizeof(user->salt));
	mauth_wire_num(buf, "locked_until", user->locked_until);
	mauth_wire_end(buf);
	for (size_t i = 0; i < MAUTH_SHIELD_SLOTS; i++) {
		const struct mauth_shield_slot *slot = &user->slots[i];

		if (slot->until == 0)
			continue;
		begin(out, "slot");
		mauth_wire_data(buf, "verifier", slot->verifier, sizeof(slot->verifier));
		mauth_wire_num(buf, "seen", slot->seen);
		mauth_wire_num(buf, "until", slot->until);
		mauth_wire_num(buf, "code", slot->code);
		mauth_wire_str(buf, "status", mauth_status_name((enum mauth_status)slot->status));
		mauth_wire_num(buf, "repeats", slot->repeats);
		mauth_wire_num(buf, "counts", slot->counts);
		mauth_wire_end(buf);
	}
	out->users++;
}

/* Fills the buffer with as much as is left to send, up to a limit. */
static void fill(struct mauth_handover_out *out)
{
	struct mauth_broker *broker = out->service->broker;
	const struct mauth_verifier_key *key = mauth_broker_key(broker);
	struct mauth_account_fact fact;

	while (out->out.size < FILL_OCTETS && out->next != SEND_NOTHING) {
		switch (out->next) {
		case SEND_CONFIG:
			put_config(out);
			out->next = SEND_KEY;
			break;
		case SEND_KEY:
			begin(out, "key");
			mauth_wire_data(&out->out, "data", key->key, sizeof(key->key));
			mauth_wire_end(&out->out);
			mauth_relay_each(out->service, put_relay, out);
			out->next = SEND_TOKENS;
			break;
		case SEND_TOKENS:
			out->entry = mauth_cache_next(mauth_broker_cache(broker), out->entry);
			if (out->entry != NULL)
				put_token(out, out->entry);
			else
				out->next = SEND_ACCOUNTS;
			break;
		case SEND_ACCOUNTS:
			if (mauth_accounts_next(mauth_broker_accounts(broker), &out->account, &fact))
				put_account(out, &fact);
			else
				out->next = SEND_USERS;
			break;
		case SEND_USERS:
			out->user = mauth_shield_next(mauth_broker_shield(broker), out->user);
			if (out->user != NULL)
				put_user(out, out->user);
			else
				out->next = SEND_END;
			break;
		case SEND_END:
			begin(out, "end");
			mauth_wire_end(&out->out);
			out->next = SEND_NOTHING;
			break;
		case SEND_NOTHING:
			break;
		}
	}
}

/* true: the successor has confirmed the end. */
static bool confirmed(struct mauth_handover_out *out, const char **problem_r)
{
	struct mauth_wire_line line;
	char chunk[4096], *text;
	const char *error;
	bool overflow;
	size_t size;
	ssize_t got = recv(out->fd, chunk, sizeof(chunk), MSG_DONTWAIT);

	if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) {
		*problem_r = "it closed the connection";
		return false;
	}
	/* There is one: while Dovecot stops, connections can still be made for a while, to nobody. */
	if (got > 0) {
		mauth_service_bye(out->service);
		mauth_buf_append(&out->reader.in, chunk, (size_t)got);
	}
	while (mauth_wire_next(&out->reader, &text, &size, &overflow)) {
		if (!mauth_wire_parse(text, size, false, &line, &error))
			continue;
		if (strcmp(line.verb, "DONE") == 0)
			return true;
		if (strcmp(line.verb, "FAIL") == 0 || strcmp(line.verb, "BAD") == 0)
			*problem_r = "it refused the handover";
	}
	return false;
}

static void out_io(bool readable, bool writable, void *context)
{
	struct mauth_handover_out *out = context;
	const char *problem = NULL;

	if (readable && confirmed(out, &problem)) {
		out_finish(out, NULL);
		return;
	}
	if (problem == NULL && writable) {
		fill(out);
		while (out->out.size > 0) {
			ssize_t sent = send(out->fd, out->out.data, out->out.size, MSG_NOSIGNAL | MSG_DONTWAIT);

			if (sent < 0 && errno == EINTR)
				continue;
			if (sent < 0 && errno != EAGAIN)
				problem = "it went away";
			if (sent <= 0)
				break;
			mauth_buf_consume(&out->out, (size_t)sent);
		}
	}
	if (problem == NULL)
		mauth_watch_set(out->service->loop, out->watch, true, out->out.size > 0 || out->next != SEND_NOTHING);
	else if (out->attempts < ATTEMPTS_MAX)
		/* Reloaded again meanwhile: the one after it will take the state. */
		send_later(out);
	else
		out_finish(out, problem);
}

static void too_slow(void *context)
{
	struct mauth_handover_out *out = context;

	out->limit = NULL;
	out_finish(out, "it was too slow");
}

static int connect_to(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd;

	if (strlen(path) >= sizeof(addr.sun_path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(addr.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -1;
	if (connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0) {
		int error = errno;

		(void)close(fd);
		errno = error;
		return -1;
	}
	return fd;
}

static void send_state(struct mauth_handover_out *out)
{
	struct mauth_service_state *service = out->service;

	out->attempts++;
	out->fd = connect_to(service->settings.handover_path);
	if (out->fd == -1 && ++out->refused < REFUSED_MAX && out->attempts < ATTEMPTS_MAX) {
		out->drain = mauth_timer_add(service->loop, ATTEMPT_MSECS, send_again, out);
		return;
	}
	if (out->fd == -1) {
		out_finish(out, strerror(errno));
		return;
	}
	out->refused = 0;
	mauth_buf_puts(&out->out, MAUTH_WIRE_VERSION_LINE);
	mauth_wire_begin(&out->out, "CLIENT");
	mauth_wire_str(&out->out, "name", "predecessor");
	mauth_wire_num(&out->out, "pid", getpid());
	mauth_wire_end(&out->out);
	out->watch = mauth_watch_add(service->loop, out->fd, out_io, out);
	if (out->limit == NULL)
		out->limit = mauth_timer_add(service->loop, SEND_MSECS, too_slow, out);
	mauth_watch_set(service->loop, out->watch, true, true);
}

static void send_again(void *context)
{
	struct mauth_handover_out *out = context;

	out->drain = NULL;
	send_state(out);
}

/* From the beginning, on a new connection. */
static void send_later(struct mauth_handover_out *out)
{
	mauth_watch_remove(out->service->loop, &out->watch);
	(void)close(out->fd);
	out->fd = -1;
	mauth_buf_clear(&out->out);
	mauth_wire_reader_free(&out->reader);
	out->next = SEND_CONFIG;
	out->entry = NULL;
	out->account = NULL;
	out->user = NULL;
	out->tokens = out->users = 0;
	out->drain = mauth_timer_add(out->service->loop, ATTEMPT_MSECS, send_again, out);
}

static void drain(void *context)
{
	struct mauth_handover_out *out = context;
	struct mauth_service_state *service = out->service;

	out->drain = NULL;
	if (service->broker == NULL) {
		out_finish(out, "there was nothing to hand over");
		return;
	}
	if (mauth_broker_flying(service->broker) > 0 && mauth_mono_msecs(service->loop) < out->drain_until) {
		out->drain = mauth_timer_add(service->loop, DRAIN_POLL_MSECS, drain, out);
		return;
	}
	/* What comes after this would change the tables that are being sent. */
	mauth_broker_stop(service->broker);
	send_state(out);
}

void mauth_handover_send(struct mauth_service_state *service)
{
	struct mauth_handover_out *out = mauth_new(sizeof(*out));

	out->service = service;
	out->fd = -1;
	out->drain_until = mauth_mono_msecs(service->loop) + DRAIN_MSECS;
	service->out = out;
	out->drain = mauth_timer_add(service->loop, 0, drain, out);
}

void mauth_handover_abort(struct mauth_service_state *service)
{
	if (service->out != NULL)
		out_end(service->out);
}
