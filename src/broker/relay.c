/* SPDX-License-Identifier: MIT */
#include "broker/relay.h"

#include "core/mem.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Of a connection; an MTA's process asks for one at a time. */
#define OPEN_MAX 64u
/* Processes that are remembered; Postfix has default_process_limit (100) of them. */
#define MEMORY_MAX 1024u
/* A process of Postfix lives max_idle (100 s) after its last delivery, which may take long. */
#define MEMORY_MSECS (6 * 3600 * 1000LL)
/* An open connection goes from process to process for minutes (smtp_connection_reuse_time_limit: 300 s), and lives as long as mail comes. */
#define GUESS_MSECS (3600 * 1000LL)
#define MIN_LIFE_SECS 600u
/* Wrong keys are answered late, and the later the more of them there are. */
#define SLOW_FIRST_MSECS 250u
#define SLOW_MAX_MSECS 4000u
/* One is forgotten after so long. */
#define WRONG_KEY_MSECS 30000

struct mauth_relay_state {
	struct mauth_relay_memory *memories;         /* MEMORY_MAX; pid 0: free */
	unsigned int wrong_keys;
	int64_t wrong_at;                    /* monotonic msecs: when they were last counted down */
	uint64_t sessions;                   /* that had to be given a name */
};

/* A request under way. */
struct relay_op {
	struct relay_op *next, **link;
	struct mauth_session *session;
	uint32_t id;
	struct mauth_login *login;           /* NULL: it has ended, and its answer waits for */
	struct mauth_timer *late;
	struct mauth_error error;            /* that answer */
	struct mauth_relay_memory memory;
};

/* -- what a process was given ------------------------------------------------------------------------------- */

struct mauth_relay_state *mauth_relay_state_new(void)
{
	struct mauth_relay_state *state = mauth_new(sizeof(*state));

	state->memories = mauth_new_array(MEMORY_MAX, sizeof(*state->memories));
	return state;
}

void mauth_relay_state_free(struct mauth_relay_state **state)
{
	if (*state != NULL)
		free((*state)->memories);
	free(*state);
	*state = NULL;
}

/* /proc answers at once, from memory. */
uint64_t mauth_relay_process_started(pid_t pid)
{
	char path[32], text[1024], *at;
	uint64_t started = 0;
	ssize_t size;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd == -1)
		return 0;
	size = read(fd, text, sizeof(text) - 1);
	(void)close(fd);
	text[size < 0 ? 0 : size] = '\0';
	/* The name, which may hold anything, ends with the last ")"; the 20th word after it. */
	at = strrchr(text, ')');
	for (unsigned int word = 0; at != NULL && word < 20; word++)
		at = strchr(at + 1, ' ');
	if (at != NULL)
		started = strtoull(at, NULL, 10);
	return started;
}

/* Its place, or that of the oldest. */
static struct mauth_relay_memory *memory_slot(struct mauth_relay_state *state, pid_t pid)
{
	struct mauth_relay_memory *oldest = state->memories;

	for (unsigned int i = 0; i < MEMORY_MAX; i++) {
		struct mauth_relay_memory *memory = &state->memories[i];

		if (memory->pid == pid)
			return memory;
		if (oldest->pid != 0 && (memory->pid == 0 || memory->at < oldest->at))
			oldest = memory;
	}
	return oldest;
}

void mauth_relay_adopt(struct mauth_service_state *service, const struct mauth_relay_memory *memory)
{
	struct mauth_relay_memory *slot;

	/* Of another namespace of pids: nobody could be told from anybody. */
	if (memory->pid <= 0)
		return;
	slot = memory_slot(service->relay, memory->pid);
	/* A predecessor's may be older than what was given here. */
	if (slot->pid != memory->pid || slot->at <= memory->at)
		*slot = *memory;
}

void mauth_relay_each(const struct mauth_service_state *service,
		      void (*fn)(const struct mauth_relay_memory *memory, void *context), void *context)
{
	for (unsigned int i = 0; i < MEMORY_MAX; i++) {
		const struct mauth_relay_memory *memory = &service->relay->memories[i];

		if (memory->pid != 0 && mauth_mono_msecs(service->loop) - memory->at <= MEMORY_MSECS)
			fn(memory, context);
	}
}

const struct mauth_relay_memory *mauth_relay_remembered(struct mauth_service_state *service, pid_t pid)
{
	const struct mauth_relay_memory *memory;

	if (pid <= 0)
		return NULL;
	memory = memory_slot(service->relay, pid);
	if (memory->pid != pid || mauth_mono_msecs(service->loop) - memory->at > MEMORY_MSECS)
		return NULL;
	return memory->started == mauth_relay_process_started(pid) ? memory : NULL;
}

/* The first size octets of the process's command line, words ended by NUL; 0: nobody says. */
static size_t command_line(pid_t pid, char *text_r, size_t size)
{
	char path[32];
	ssize_t got;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd == -1)
		return 0;
	got = read(fd, text_r, size);
	(void)close(fd);
	return got < 0 ? 0 : (size_t)got;
}

/* Postfix's master starts "smtp -n NAME -t unix ...", NAME being the transport's in master.cf, and leaves out "-n smtp". */
static void find_transport(pid_t pid, char *name_r, size_t size)
{
	char text[512];
	const char *end = text + command_line(pid, text, sizeof(text)), *name = text, *next;
	bool by_master = false;

	name_r[0] = '\0';
	for (const char *at = text; (next = memchr(at, '\0', (size_t)(end - at))) != NULL; at = next + 1) {
		by_master = by_master || strcmp(at, "-t") == 0;
		/* A word that was cut is no name. */
		if (strcmp(at, "-n") == 0 && memchr(next + 1, '\0', (size_t)(end - next - 1)) != NULL)
			name = next + 1;
	}
	if (by_master && strlen(name) < size)
		mauth_clean_copy(name_r, size, name, strlen(name));
}

bool mauth_relay_guess(struct mauth_service_state *service, pid_t pid, struct mauth_relay_memory *memory_r)
{
	const struct mauth_relay_memory *found = NULL;
	char transport[sizeof(found->transport)];
	int64_t now = mauth_mono_msecs(service->loop);

	find_transport(pid, transport, sizeof(transport));
	for (unsigned int i = 0; i < MEMORY_MAX && transport[0] != '\0'; i++) {
		const struct mauth_relay_memory *memory = &service->relay->memories[i];

		if (memory->pid == 0 || memory->token_id[0] == '\0' || now - memory->at > GUESS_MSECS ||
		    strcmp(memory->transport, transport) != 0)
			continue;
		if (found != NULL &&
		    (strcmp(found->identity, memory->identity) != 0 || strcmp(found->key_id, memory->key_id) != 0))
			return false;
		found = memory;
	}
	if (found == NULL)
		return false;
	*memory_r = *found;
	memory_r->pid = pid;
	memory_r->token_id[0] = memory_r->session[0] = '\0';
	return true;
}

/* -- wrong keys --------------------------------------------------------------------------------------------- */

/* How long this one's answer has to wait. A key has 84 bits: nobody guesses one in time, and who has the right one never waits. */
static unsigned int slow_down(struct mauth_service_state *service)
{
	struct mauth_relay_state *state = service->relay;
	int64_t now = mauth_mono_msecs(service->loop), gone = (now - state->wrong_at) / WRONG_KEY_MSECS;
	unsigned int msecs = SLOW_FIRST_MSECS;

	state->wrong_keys = gone >= state->wrong_keys ? 0 : state->wrong_keys - (unsigned int)gone;
	state->wrong_at = gone > 0 ? now : state->wrong_at;
	for (unsigned int i = 0; i < state->wrong_keys && msecs < SLOW_MAX_MSECS; i++)
		msecs *= 2;
	if (state->wrong_keys < 100)
		state->wrong_keys++;
	return msecs < SLOW_MAX_MSECS ? msecs : SLOW_MAX_MSECS;
}

/* -- TOKEN -------------------------------------------------------------------------------------------------- */

static void op_free(struct relay_op *op)
{
	mauth_timer_remove(op->session->service->loop, &op->late);
	*op->link = op->next;
	if (op->next != NULL)
		op->next->link = op->link;
	op->session->relay_count--;
	free(op);
}

void mauth_relay_cancel_all(struct mauth_session *session, bool abandon)
{
	while (session->relays != NULL) {
		struct relay_op *op = session->relays;

		if (abandon)
			mauth_login_abandon(&op->login);
		else
			mauth_login_cancel(&op->login);
		op_free(op);
	}
}

/* One line for the MTA's log: what happened, and what to do. */
static char *reason_of(const struct mauth_error *error)
{
	return mauth_printf("%s%s%s", error->text, error->advice[0] != '\0' ? "; to do: " : "", error->advice);
}

static void put_fail(struct mauth_session *session, uint32_t id, const struct mauth_error *error)
{
	char *reason = reason_of(error);

	mauth_wire_begin(&session->out, "FAIL");
	mauth_wire_id(&session->out, id);
	mauth_wire_str(&session->out, "code", mauth_status_name(error->status));
	mauth_wire_str(&session->out, "temporary", mauth_relay_is_temporary(error) ? "yes" : "no");
	mauth_wire_str(&session->out, "reason", reason);
	mauth_wire_end(&session->out);
	mauth_session_flush(session);
	free(reason);
}

static void put_token(struct mauth_session *session, uint32_t id, const struct mauth_grant *grant)
{
	int64_t left = grant->expires_at - mauth_wall_secs(session->service->loop);

	mauth_wire_begin(&session->out, "OK");
	mauth_wire_id(&session->out, id);
	mauth_wire_str(&session->out, "user", grant->mailbox);
	mauth_wire_data(&session->out, "token", mauth_secret_expose(grant->token), mauth_secret_size(grant->token));
	mauth_wire_str(&session->out, "token_id", grant->token_id);
	mauth_wire_str(&session->out, "cached", grant->cached ? "yes" : "no");
	mauth_wire_num(&session->out, "expires_in", left < 0 ? 0 : left);
	mauth_wire_end(&session->out);
	mauth_session_flush(session);
}

static void answer_late(void *context)
{
	struct relay_op *op = context;
	struct mauth_session *session = op->session;

	op->late = NULL;
	put_fail(session, op->id, &op->error);
	op_free(op);
}

static void token_done(const struct mauth_grant *grant, const struct mauth_error *error, void *context)
{
	struct relay_op *op = context;
	struct mauth_session *session = op->session;

	op->login = NULL;
	if (grant != NULL) {
		snprintf(op->memory.key_id, sizeof(op->memory.key_id), "%s", grant->relay_key_id);
		snprintf(op->memory.key_name, sizeof(op->memory.key_name), "%s", grant->relay_key_name);
		snprintf(op->memory.token_id, sizeof(op->memory.token_id), "%s", grant->token_id);
	} else {
		char *reason = reason_of(error);

		mauth_clean_copy(op->memory.reason, sizeof(op->memory.reason), reason, strlen(reason));
		free(reason);
	}
	/* Also what it was not given, and why: its mail stays in the queue for that. */
	mauth_relay_adopt(session->service, &op->memory);
	if (grant != NULL) {
		put_token(session, op->id, grant);
	} else if (error->status == MAUTH_BAD_CREDENTIALS) {
		op->error = *error;
		op->late = mauth_timer_add(session->service->loop, slow_down(session->service), answer_late, op);
		return;
	} else {
		put_fail(session, op->id, error);
	}
	op_free(op);
}

static const char *clean(char *to, size_t size, const char *from)
{
	if (from != NULL)
		mauth_clean_copy(to, size, from, strlen(from));
	return to[0] == '\0' ? NULL : to;
}

static void remember_who(struct relay_op *op, const struct mauth_wire_line *line)
{
	struct mauth_session *session = op->session;
	struct mauth_relay_memory *memory = &op->memory;
	const char *program = mauth_wire_get(line, "program");

	memory->pid = session->pid;
	memory->uid = (int64_t)session->uid;
	memory->started = mauth_relay_process_started(session->pid);
	memory->at = mauth_mono_msecs(session->service->loop);
	find_transport(session->pid, memory->transport, sizeof(memory->transport));
	(void)clean(memory->identity, sizeof(memory->identity), mauth_wire_get(line, "identity"));
	(void)clean(memory->program, sizeof(memory->program), program == NULL ? session->name : program);
	(void)clean(memory->host, sizeof(memory->host), mauth_wire_get(line, "host"));
	/* What joins the records of one session, also where the MTA has no name for it. */
	if (clean(memory->session, sizeof(memory->session), mauth_wire_get(line, "session")) == NULL)
		snprintf(memory->session, sizeof(memory->session), "relay-%d-%llx", (int)session->pid,
			 (unsigned long long)(mauth_wall_usecs(session->service->loop) / 1000 + (int64_t)session->service->relay->sessions++));
}

static const char *if_known(const char *text)
{
	return text[0] == '\0' ? NULL : text;
}

struct mauth_relay_client mauth_relay_client_of(const struct mauth_relay_memory *memory)
{
	return (struct mauth_relay_client){
		.pid = memory->pid, .uid = memory->uid, .program = if_known(memory->program), .host = if_known(memory->host),
		.key_id = if_known(memory->key_id), .key_name = if_known(memory->key_name),
	};
}

static void begin(struct mauth_session *session, const struct mauth_wire_line *line)
{
	const struct mauth_wire_field *key = mauth_wire_find(line, "key");
	struct mauth_secret *secret = mauth_secret_new(key->value, key->size);
	struct relay_op *op = mauth_new(sizeof(*op));
	struct mauth_relay_client client;
	struct mauth_attempt attempt = {
		.user = mauth_wire_get(line, "identity"), .password = secret, .service = MAUTH_SERVICE_SUBMISSION,
		.relay = &client, .timeout_msecs = mauth_wire_get_num(line, "timeout", 600000, 0),
	};

	op->session = session;
	op->id = line->id;
	op->next = session->relays;
	op->link = &session->relays;
	if (op->next != NULL)
		op->next->link = &op->next;
	session->relays = op;
	session->relay_count++;
	remember_who(op, line);
	attempt.session = op->memory.session;
	client = mauth_relay_client_of(&op->memory);
	client.min_life_secs = mauth_wire_get_num(line, "min_life", 86400, MIN_LIFE_SECS);
	op->login = mauth_login_start(session->service->broker, &attempt, token_done, op);
	mauth_secret_free(&secret);
}

static bool is_open(const struct mauth_session *session, uint32_t id)
{
	const struct relay_op *op = session->relays;

	while (op != NULL && op->id != id)
		op = op->next;
	return op != NULL;
}

static bool verb_token(struct mauth_session *session, const struct mauth_wire_line *line)
{
	struct mauth_error error;

	if (mauth_wire_get(line, "identity") == NULL || mauth_wire_find(line, "key") == NULL || is_open(session, line->id))
		return false;
	if (session->relay_count >= OPEN_MAX) {
		mauth_fail(&error, MAUTH_TEMPORARY, 0, "more than %u requests of one process are under way", OPEN_MAX);
		put_fail(session, line->id, &error);
		return true;
	}
	begin(session, line);
	return true;
}

/* -- REFUSED ------------------------------------------------------------------------------------------------ */

static bool verb_refused(struct mauth_session *session, const struct mauth_wire_line *line)
{
	const struct mauth_relay_memory *memory = mauth_relay_remembered(session->service, session->pid);
	const char *identity = mauth_wire_get(line, "identity"), *token_id = mauth_wire_get(line, "token_id");
	struct mauth_relay_memory unknown = { .pid = session->pid, .uid = (int64_t)session->uid };
	struct mauth_relay_client client;
	struct mauth_upstream_report report = {
		.user = identity, .mailbox = identity, .service = MAUTH_SERVICE_SUBMISSION, .result = MAUTH_UPSTREAM_REFUSED,
		.reply = mauth_wire_get(line, "reply"), .token_id = token_id, .relay = &client,
	};

	/* Only who was given a token can say that it is refused: anybody else could have them fetched. */
	if (identity == NULL || token_id == NULL)
		return false;
	if (memory == NULL || strcmp(memory->token_id, token_id) != 0)
		memory = &unknown;
	if (memory == &unknown)
		report.token_id = NULL;
	client = mauth_relay_client_of(memory);
	report.session = if_known(memory->session);
	report.host = if_known(memory->host);
	mauth_broker_upstream(session->service->broker, &report);
	session->reports[session->reports_count++] = line->id;
	if (session->reports_count == MAUTH_REPORTS_TOGETHER)
		mauth_verbs_confirm(session);
	return true;
}

bool mauth_relay_handle(struct mauth_session *session, const struct mauth_wire_line *line)
{
	static const struct {
		const char *verb;
		bool (*handle)(struct mauth_session *session, const struct mauth_wire_line *line);
	} verbs[] = { { "TOKEN", verb_token }, { "REFUSED", verb_refused } };

	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		if (strcmp(verbs[i].verb, line->verb) != 0)
			continue;
		if (session->service->broker == NULL) {
			put_fail(session, line->id, &session->service->config_error);
			return true;
		}
		return verbs[i].handle(session, line);
	}
	return false;
}
