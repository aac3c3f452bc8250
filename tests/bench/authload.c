/* SPDX-License-Identifier: MIT */
/* Load on a login listener of Dovecot's auth service, as login processes would make it: VERSION 1.2, CPID, AUTH PLAIN.
 *
 * usage: authload SOCKET [c=CONCURRENCY] [n=LOGINS] [secs=SECONDS] [users=COUNT] [first=NUMBER]
 *                 [user=PATTERN] [password=PATTERN] [connections=COUNT] [order=random|sequence] [rate=PER SECOND]
 *
 * A closed loop (with rate= an open one): ends after n logins or secs seconds. "%u" in the patterns is the user's
 * number. Prints one line of JSON. Logins that are not answered 90 s after the last one was sent count as lost. */
#include "tally.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define CONNECTIONS_MAX 64
#define DRAIN_USECS 90000000

struct link {
	int fd;
	char in[65536];
	size_t in_size;
	char *out;
	size_t out_size, out_alloc;
};

static struct {
	const char *socket, *user, *password, *order;
	unsigned int concurrency, logins, users, first, connections, rate;
	double secs;
} options = { .user = "user%u@bench.test", .password = "pw-%u", .order = "random", .concurrency = 50, .users = 1000,
	      .connections = 1 };

static struct link links[CONNECTIONS_MAX];
static int64_t *started;                 /* by id */
static size_t started_alloc;
static unsigned int sent, answered, state = 1;
static unsigned long ok, failed, temporary;
static struct tally tally;

static void die(const char *what)
{
	fprintf(stderr, "authload: %s: %s\n", what, errno == 0 ? "unexpected" : strerror(errno));
	exit(1);
}

static void put(struct link *link, const char *data, size_t size)
{
	if (link->out_size + size > link->out_alloc) {
		link->out_alloc = (link->out_size + size) * 2;
		link->out = realloc(link->out, link->out_alloc);
	}
	memcpy(link->out + link->out_size, data, size);
	link->out_size += size;
}

static void flush(struct link *link)
{
	ssize_t done = write(link->fd, link->out, link->out_size);

	if (done < 0 && errno != EAGAIN)
		die("write");
	if (done <= 0)
		return;
	link->out_size -= (size_t)done;
	memmove(link->out, link->out + done, link->out_size);
}

/* Patterns come from the command line of a benchmark. */
static void expand(char *dest, size_t size, const char *pattern, unsigned int number)
{
	const char *at = strstr(pattern, "%u");

	if (at == NULL)
		snprintf(dest, size, "%s", pattern);
	else
		snprintf(dest, size, "%.*s%u%s", (int)(at - pattern), pattern, number, at + 2);
}

static unsigned int next_user(void)
{
	if (strcmp(options.order, "sequence") == 0)
		return options.first + sent % options.users;
	state = state * 1664525u + 1013904223u;
	return options.first + (unsigned int)(((uint64_t)state * options.users) >> 32);
}

static void send_login(void)
{
	struct link *link = &links[sent % options.connections];
	char user[256], password[256], plain[520], line[1500];
	unsigned char resp[720];
	unsigned int number = next_user(), id = ++sent;
	size_t size;

	if (id >= started_alloc) {
		started_alloc = (size_t)id * 2 + 1024;
		started = realloc(started, started_alloc * sizeof(*started));
	}
	expand(user, sizeof(user), options.user, number);
	expand(password, sizeof(password), options.password, number);
	plain[0] = '\0';
	size = 1 + (size_t)snprintf(plain + 1, sizeof(plain) - 1, "%s", user) + 1;
	size += (size_t)snprintf(plain + size, sizeof(plain) - size, "%s", password);
	EVP_EncodeBlock(resp, (unsigned char *)plain, (int)size);
	started[id] = now_usecs();
	size = (size_t)snprintf(line, sizeof(line),
				"AUTH\t%u\tPLAIN\tservice=imap\tsecured=tls\tno-penalty\tsession=bench%u-%u\t"
				"lip=127.0.0.1\trip=127.0.0.1\tlport=993\trport=%u\tresp=%s\n",
				id, (unsigned int)getpid(), id, 1024 + id % 60000, resp);
	put(link, line, size);
}

static void take_line(struct link *link, char *line)
{
	unsigned int id;

	if (strncmp(line, "OK\t", 3) != 0 && strncmp(line, "FAIL\t", 5) != 0)
		return;
	/* Somebody who is no login process is told that the password is right, and nothing else: that is less work. */
	if (line[0] == 'O' && strstr(line, "\tpass=") == NULL)
		die("logged in without a token");
	id = (unsigned int)strtoul(strchr(line, '\t') + 1, NULL, 10);
	if (id == 0 || id > sent)
		die("id");
	tally_add(&tally, now_usecs() - started[id]);
	started[id] = 0;
	answered++;
	if (line[0] == 'O')
		ok++;
	else if (strstr(line, "\tcode=temp_fail") != NULL || strstr(line, "\ttemp") != NULL)
		temporary++;
	else
		failed++;
}

static void take(struct link *link)
{
	ssize_t got = read(link->fd, link->in + link->in_size, sizeof(link->in) - link->in_size - 1);
	char *line = link->in, *end;

	if (got <= 0)
		die("the auth service has closed the connection");
	link->in_size += (size_t)got;
	link->in[link->in_size] = '\0';
	while ((end = strchr(line, '\n')) != NULL) {
		*end = '\0';
		take_line(link, line);
		line = end + 1;
	}
	link->in_size -= (size_t)(line - link->in);
	memmove(link->in, line, link->in_size);
}

static void open_link(struct link *link, unsigned int number)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	char hello[64];

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", options.socket);
	link->fd = socket(AF_UNIX, SOCK_STREAM, 0);
	if (connect(link->fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		die(options.socket);
	snprintf(hello, sizeof(hello), "VERSION\t1\t2\nCPID\t%u\n", (unsigned int)getpid() * 64 + number);
	put(link, hello, strlen(hello));
	flush(link);
	/* Requests before its DONE would be refused. */
	do {
		ssize_t got = read(link->fd, link->in + link->in_size, sizeof(link->in) - link->in_size - 1);

		if (got <= 0)
			die("hello");
		link->in_size += (size_t)got;
		link->in[link->in_size] = '\0';
	} while (strstr(link->in, "\nDONE\n") == NULL);
	link->in_size = 0;
	fcntl(link->fd, F_SETFL, O_NONBLOCK);
}

static bool more(int64_t begin, int64_t now)
{
	if (options.logins > 0 && sent >= options.logins)
		return false;
	if (options.secs > 0 && (double)(now - begin) > options.secs * 1e6)
		return false;
	if (options.rate > 0)
		return (double)sent < (double)(now - begin) * options.rate / 1e6;
	return sent - answered < options.concurrency;
}

static bool finished(int64_t begin, int64_t now)
{
	return (options.logins > 0 && sent >= options.logins) ||
	       (options.secs > 0 && (double)(now - begin) > options.secs * 1e6);
}

static void run(void)
{
	struct pollfd set[CONNECTIONS_MAX];
	int64_t begin = now_usecs(), now = begin, last_sent = begin, last_answer = begin;

	for (;;) {
		now = now_usecs();
		while (more(begin, now)) {
			send_login();
			last_sent = now;
		}
		if ((finished(begin, now) && answered == sent) || now - last_sent > DRAIN_USECS)
			break;
		for (unsigned int i = 0; i < options.connections; i++) {
			if (links[i].out_size > 0)
				flush(&links[i]);
			set[i] = (struct pollfd){ .fd = links[i].fd,
						  .events = (short)(POLLIN | (links[i].out_size > 0 ? POLLOUT : 0)) };
		}
		if (poll(set, options.connections, options.rate > 0 ? 1 : 100) < 0)
			die("poll");
		for (unsigned int i = 0; i < options.connections; i++)
			if ((set[i].revents & (POLLIN | POLLHUP | POLLERR)) != 0) {
				take(&links[i]);
				last_answer = now_usecs();
			}
	}
	printf("{\"sent\": %u, \"ok\": %lu, \"fail\": %lu, \"temp\": %lu, \"lost\": %u, ", sent, ok, failed, temporary,
	       sent - answered);
	tally_print(&tally, (double)(last_answer - begin) / 1e6);
	printf("}\n");
}

static bool parse(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		const char *arg = argv[i];

		if (sscanf(arg, "c=%u", &options.concurrency) == 1 || sscanf(arg, "n=%u", &options.logins) == 1 ||
		    sscanf(arg, "secs=%lf", &options.secs) == 1 || sscanf(arg, "users=%u", &options.users) == 1 ||
		    sscanf(arg, "first=%u", &options.first) == 1 || sscanf(arg, "rate=%u", &options.rate) == 1 ||
		    sscanf(arg, "connections=%u", &options.connections) == 1)
			continue;
		if (strncmp(arg, "user=", 5) == 0)
			options.user = arg + 5;
		else if (strncmp(arg, "password=", 9) == 0)
			options.password = arg + 9;
		else if (strncmp(arg, "order=", 6) == 0)
			options.order = arg + 6;
		else
			options.socket = arg;
	}
	return options.socket != NULL && (options.logins > 0 || options.secs > 0) && options.users > 0 &&
	       options.connections > 0 && options.connections <= CONNECTIONS_MAX;
}

int main(int argc, char **argv)
{
	if (!parse(argc, argv)) {
		fprintf(stderr, "usage: authload SOCKET n=LOGINS|secs=SECONDS [c=] [users=] [first=] [user=] "
				"[password=] [connections=] [order=random|sequence] [rate=]\n");
		return 2;
	}
	for (unsigned int i = 0; i < options.connections; i++)
		open_link(&links[i], i);
	run();
	return 0;
}
