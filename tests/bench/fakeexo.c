/* SPDX-License-Identifier: MIT */
/* Stands for Exchange Online: IMAP over TLS that accepts any XOAUTH2 token and then knows NOOP, SELECT and LOGOUT.
 *
 * usage: fakeexo CERT.PEM [port=N]
 *
 * "stats" on standard input prints and resets the counters. Ends with standard input. */
#include "server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct session {
	char tag[64];            /* of the AUTHENTICATE whose response is due */
};

static unsigned long connections, logins;

static void say(struct peer *peer, const char *tag, const char *text)
{
	mauth_buf_printf(&peer->out, "%s %s\r\n", tag, text);
}

static void authenticated(struct peer *peer, const char *tag)
{
	logins++;
	say(peer, tag, "OK AUTHENTICATE completed.");
}

static void command(struct peer *peer, char *line)
{
	struct session *session = peer->context;
	char *word = strchr(line, ' ');

	if (session->tag[0] != '\0') {
		authenticated(peer, session->tag);
		session->tag[0] = '\0';
		return;
	}
	if (word == NULL) {
		say(peer, "*", "BAD what?");
		return;
	}
	*word++ = '\0';
	if (strcasecmp(word, "CAPABILITY") == 0) {
		say(peer, "*", "CAPABILITY IMAP4 IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2 SASL-IR UIDPLUS ID UNSELECT "
			       "CHILDREN IDLE NAMESPACE LITERAL+");
		say(peer, line, "OK CAPABILITY completed.");
	} else if (strncasecmp(word, "AUTHENTICATE XOAUTH2 ", 21) == 0) {
		authenticated(peer, line);
	} else if (strncasecmp(word, "AUTHENTICATE", 12) == 0) {
		snprintf(session->tag, sizeof(session->tag), "%s", line);
		mauth_buf_puts(&peer->out, "+ \r\n");
	} else if (strncasecmp(word, "LOGIN", 5) == 0) {
		say(peer, line, "NO LOGIN failed.");
	} else if (strcasecmp(word, "LOGOUT") == 0) {
		say(peer, "*", "BYE Microsoft Exchange Server IMAP4 server signing off.");
		say(peer, line, "OK LOGOUT completed.");
	} else {
		say(peer, line, "OK completed.");
	}
}

static void opened(struct peer *peer)
{
	connections++;
	peer->context = mauth_new(sizeof(struct session));
	mauth_buf_puts(&peer->out, "* OK The Microsoft Exchange IMAP4 service is ready.\r\n");
	peer_flush(peer);
}

static void data(struct peer *peer)
{
	char *end;

	while (peer->in.size > 0 && (end = memchr(peer->in.data, '\n', peer->in.size)) != NULL) {
		size_t size = (size_t)(end - peer->in.data) + 1;

		*end = '\0';
		if (size > 1 && end[-1] == '\r')
			end[-1] = '\0';
		command(peer, peer->in.data);
		mauth_buf_consume(&peer->in, size);
	}
	if (peer->in.size > MAUTH_REPLY_MAX)
		peer_close(peer);
	else
		peer_flush(peer);
}

static void freed(struct peer *peer)
{
	free(peer->context);
}

static void console(const char *line)
{
	printf("{\"connections\": %lu, \"logins\": %lu}\n", connections, logins);
	connections = logins = 0;
}

static int64_t tick(void)
{
	return -1;
}

int main(int argc, char **argv)
{
	const struct server_handlers handlers = { opened, data, freed, console, tick };
	struct server_settings settings = { 0 };

	for (int i = 1; i < argc; i++)
		if (sscanf(argv[i], "port=%u", &settings.port) != 1)
			settings.cert_file = argv[i];
	if (settings.cert_file == NULL) {
		fprintf(stderr, "usage: fakeexo CERT.PEM [port=N]\n");
		return 2;
	}
	server_run(&settings, &handlers);
}
