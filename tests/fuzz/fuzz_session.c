/* SPDX-License-Identifier: MIT */
/* What a client of each role may send: sessions, verbs and the taking over from a predecessor. */
#include "broker/handover.h"
#include "broker/relay.h"
#include "broker/status.h"
#include "config_files.h"
#include "core/mem.h"
#include "fake_http.h"
#include "fake_sinks.h"
#include "fuzz.h"
#include "poll_loop.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct poll_loop *loop;
static struct mauth_config *config;
static bool gone;

static void client_gone(void)
{
	gone = true;
}

static void has_left(void)
{
}

static void ignore_line(void *context, enum mauth_level level, const char *text)
{
}

/* Entra never answers. */
static struct mauth_http_call *http_start(void *context, const struct mauth_http_request *request, mauth_http_fn *done,
					  void *done_context)
{
	return mauth_new(1);
}

static void http_cancel(void *context, struct mauth_http_call **call)
{
	free(*call);
	*call = NULL;
}

static enum mauth_status append(void *context, const char *line, size_t size, struct mauth_error *error_r)
{
	MUST(size > 0 && line[size - 1] == '\n');
	return MAUTH_OK;
}

static const struct mauth_http_vfuncs http_vfuncs = { http_start, http_cancel };
static const struct mauth_http http = { &http_vfuncs, NULL };
static const struct mauth_audit_sink audit = { append, NULL };
static const struct mauth_log log_sink = { ignore_line, NULL, NULL, false };

static void begin(struct mauth_service_state *service, enum mauth_role role)
{
	struct mauth_host host = { .http = &http, .log = &log_sink, .audit = &audit };
	struct mauth_error error;

	if (loop == NULL) {
		loop = poll_loop_new();
		config = config_files_load(TENANT(""), NULL, &error);
		MUST(config != NULL);
	}
	memset(service, 0, sizeof(*service));
	service->loop = poll_loop_loop(loop);
	service->log = &log_sink;
	service->settings = (struct mauth_service_settings){ CONFIG_PATH, "/", "/", client_gone, has_left };
	service->lock_fd = -1;
	service->config = config;
	host.loop = service->loop;
	for (size_t i = 0; i < MAUTH_ROLE_COUNT; i++)
		service->role_uids[i] = geteuid();
	service->relay = mauth_relay_state_new();
	service->broker = mauth_broker_new(&host, config, NULL);
	/* Only who waits takes over. */
	service->phase = role == MAUTH_ROLE_HANDOVER ? MAUTH_PHASE_WAITING : MAUTH_PHASE_SERVING;
	mauth_broker_pause(service->broker, role == MAUTH_ROLE_HANDOVER);
}

static void end(struct mauth_service_state *service)
{
	while (service->sessions != NULL)
		mauth_session_end(service->sessions);
	mauth_status_end_all(service);
	mauth_relay_state_free(&service->relay);
	mauth_handover_forget(service);
	mauth_timer_remove(service->loop, &service->lock_timer);
	mauth_broker_free(&service->broker);
	MUST(poll_loop_timers(loop) == 0 && poll_loop_watches(loop) == 0);
}

/* Postfix's process was given a token before: otherwise nothing would be made of what it says. */
static void remember(struct mauth_service_state *service)
{
	const struct mauth_relay_memory memory = {
		.pid = getpid(), .at = mauth_mono_msecs(service->loop), .identity = "scanner@contoso.com", .session = "s",
		.started = mauth_relay_process_started(getpid()), .host = "smtp.office365.com",
		.token_id = "00000000000000000000000000000000",
	};

	mauth_relay_adopt(service, &memory);
}

static void open_session(struct mauth_service_state *service, enum mauth_role role, int fd)
{
	struct mauth_error error;

	if (role != MAUTH_ROLE_STATUS) {
		MUST(mauth_session_new(service, role, fd, &error) == MAUTH_OK);
		return;
	}
	remember(service);
	MUST(mauth_status_session_new(service, fd, &error) == MAUTH_OK);
}

/* The first octet says the role and whether the hello is given. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char hello[] = "VERSION\tmodernauth\t1\t0\nCLIENT\tname=fuzz\tpid=1\n";
	struct mauth_service_state service;
	enum mauth_role role;
	bool polite;
	int fds[2];

	/* More does not fit into the socket at once, and has nothing new to say. */
	if (size == 0 || size > 65536)
		return 0;
	role = (enum mauth_role)((data[0] & 8) != 0 ? MAUTH_ROLE_RELAY + (data[0] & 1) : data[0] & 3);
	polite = (data[0] & 4) == 0 && role != MAUTH_ROLE_STATUS;
	begin(&service, role);
	MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) == 0);
	open_session(&service, role, fds[0]);
	if (polite)
		MUST(send(fds[1], hello, sizeof(hello) - 1, 0) == (ssize_t)sizeof(hello) - 1);
	(void)!send(fds[1], data + 1, size - 1, 0);
	gone = false;
	/* Twice: requests are answered in the turn after the one that reads them. */
	(void)poll_loop_run_until(loop, &gone, 1);
	(void)shutdown(fds[1], SHUT_WR);
	(void)poll_loop_run_until(loop, &gone, 1000);
	MUST(gone);
	(void)close(fds[1]);
	end(&service);
	return 0;
}
