/* SPDX-License-Identifier: MIT */
/* Whole IMAP logins on a plain port of 127.0.0.1: connect, LOGIN, LOGOUT, again. A closed loop.
 *
 * usage: imapload PORT secs=SECONDS [c=CONCURRENCY] [users=COUNT] [first=NUMBER] [user=PATTERN] [password=PATTERN]
 *
 * Prints one line of JSON. A latency is from connect() to the answer to LOGIN. */
#include "tally.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONCURRENCY_MAX 4096

enum step { STEP_GREETING, STEP_LOGIN, STEP_LOGOUT };

struct session {
	int fd;
	enum step step;
	int64_t begun;
	char in[4096];
	size_t size;
};

static struct {
	unsigned int port, concurrency, users, first;
	double secs;
	const char *user, *password;
} options = { .concurrency = 50, .users = 1000, .user = "user%u@bench.test", .password = "pw-%u" };

static struct session sessions[CONCURRENCY_MAX];
static unsigned int begun;
static unsigned long ok, refused, broken;
static struct tally tally;

static void begin_session(struct session *session)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_port = htons((uint16_t)options.port),
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct linger linger = { 1, 0 };   /* no TIME_WAIT: there are only 28,000 ports */
	int one = 1;

	session->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	setsockopt(session->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(session->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	if (connect(session->fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 && errno != EINPROGRESS) {
		perror("imapload: connect");
		exit(1);
	}
	session->step = STEP_GREETING;
	session->size = 0;
	session->begun = now_usecs();
}

static void end_session(struct session *session)
{
	close(session->fd);
	session->fd = -1;
}

static void expand(char *dest, size_t size, const char *pattern, unsigned int number)
{
	const char *at = strstr(pattern, "%u");

	if (at == NULL)
		snprintf(dest, size, "%s", pattern);
	else
		snprintf(dest, size, "%.*s%u%s", (int)(at - pattern), pattern, number, at + 2);
}

static void say(struct session *session, const char *line)
{
	if (send(session->fd, line, strlen(line), MSG_NOSIGNAL) != (ssize_t)strlen(line))
		broken++;
}

static void say_login(struct session *session)
{
	unsigned int number = options.first + begun++ % options.users;
	char user[256], password[256], line[600];

	expand(user, sizeof(user), options.user, number);
	expand(password, sizeof(password), options.password, number);
	snprintf(line, sizeof(line), "a LOGIN \"%s\" \"%s\"\r\n", user, password);
	say(session, line);
}

static void take_line(struct session *session, const char *line)
{
	switch (session->step) {
	case STEP_GREETING:
		say_login(session);
		session->step = STEP_LOGIN;
		return;
	case STEP_LOGIN:
		if (strncmp(line, "a ", 2) != 0)
			return;
		tally_add(&tally, now_usecs() - session->begun);
		if (strncmp(line, "a OK", 4) == 0)
			ok++;
		else if (refused++ == 0)
			fprintf(stderr, "imapload: %s\n", line);
		say(session, "b LOGOUT\r\n");
		session->step = STEP_LOGOUT;
		return;
	case STEP_LOGOUT:
		if (strncmp(line, "b ", 2) == 0)
			end_session(session);
		return;
	}
}

static void take(struct session *session)
{
	ssize_t got = read(session->fd, session->in + session->size, sizeof(session->in) - session->size - 1);
	char *line = session->in, *end;

	if (got <= 0) {
		if (session->step != STEP_LOGOUT)
			broken++;
		end_session(session);
		return;
	}
	session->size += (size_t)got;
	session->in[session->size] = '\0';
	while (session->fd >= 0 && (end = strchr(line, '\n')) != NULL) {
		*end = '\0';
		take_line(session, line);
		line = end + 1;
	}
	session->size -= (size_t)(line - session->in);
	memmove(session->in, line, session->size);
}

static void run(void)
{
	static struct pollfd set[CONCURRENCY_MAX];
	int64_t begin = now_usecs(), end = begin + (int64_t)(options.secs * 1e6);

	while (now_usecs() < end) {
		for (unsigned int i = 0; i < options.concurrency; i++) {
			if (sessions[i].fd < 0)
				begin_session(&sessions[i]);
			set[i] = (struct pollfd){ .fd = sessions[i].fd, .events = POLLIN };
		}
		if (poll(set, options.concurrency, 100) < 0)
			break;
		for (unsigned int i = 0; i < options.concurrency; i++)
			if (set[i].revents != 0)
				take(&sessions[i]);
	}
	printf("{\"ok\": %lu, \"refused\": %lu, \"broken\": %lu, ", ok, refused, broken);
	tally_print(&tally, (double)(now_usecs() - begin) / 1e6);
	printf("}\n");
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (sscanf(argv[i], "c=%u", &options.concurrency) == 1 ||
		    sscanf(argv[i], "users=%u", &options.users) == 1 ||
		    sscanf(argv[i], "first=%u", &options.first) == 1 ||
		    sscanf(argv[i], "secs=%lf", &options.secs) == 1)
			continue;
		if (strncmp(argv[i], "user=", 5) == 0)
			options.user = argv[i] + 5;
		else if (strncmp(argv[i], "password=", 9) == 0)
			options.password = argv[i] + 9;
		else
			options.port = (unsigned int)strtoul(argv[i], NULL, 10);
	}
	if (options.port == 0 || options.secs <= 0 || options.users == 0 || options.concurrency > CONCURRENCY_MAX) {
		fprintf(stderr, "usage: imapload PORT secs=SECONDS [c=] [users=] [first=] [user=] [password=]\n");
		return 2;
	}
	for (unsigned int i = 0; i < options.concurrency; i++)
		sessions[i].fd = -1;
	run();
	return 0;
}
