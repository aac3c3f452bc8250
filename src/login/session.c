/* SPDX-License-Identifier: MIT */
#include "login-common.h"
#include "client-common.h"
#include "iostream-ssl.h"
#include "ostream.h"
#include "str-sanitize.h"

#include "compat/compat.h"
#include "login/session.h"
#include "modernauth/client.h"

void mauth_login_session_clear(struct mauth_login_session *session)
{
	mauth_login_ended_forget(session);
	i_free(session->token_id);
	i_free(session->mailbox);
	i_free(session->host);
	i_free(session->host_ip);
	i_free(session->tls_protocol);
	i_free(session->tls_cipher);
	session->port = 0;
	session->ours = session->basic = session->reported = session->challenged = false;
	session->pop3_step = POP3_BANNER;
}

static void take_arg(struct mauth_login_session *session, const char *arg)
{
	const struct {
		const char *prefix;
		char **dest;
	} texts[] = {
		/* Our passdb sets this field and nobody else does. */
		{ "modernauth=", &session->token_id },
		{ "destuser=", &session->mailbox },
		{ "host=", &session->host },
		{ "hostip=", &session->host_ip },
	};
	in_port_t port;

	for (unsigned int i = 0; i < N_ELEMENTS(texts); i++) {
		if (strncmp(arg, texts[i].prefix, strlen(texts[i].prefix)) == 0) {
			i_free(*texts[i].dest);
			*texts[i].dest = i_strdup(strchr(arg, '=') + 1);
		}
	}
	if (strncmp(arg, "port=", 5) == 0 && net_str2port(arg + 5, &port) == 0)
		session->port = port;
}

void mauth_login_session_begin(struct client *client)
{
	struct mauth_login_session *session = mauth_login_session(client);
	const char *const *arg = client->auth_passdb_args;
	unsigned int bits;

	mauth_login_session_clear(session);
	for (; arg != NULL && *arg != NULL; arg++)
		take_arg(session, *arg);
	if (session->token_id == NULL) {
		mauth_login_session_clear(session);
		return;
	}
	session->ours = true;
	mauth_login_ended_watch(client);
	session->basic = strcmp(session->token_id, "basic") == 0;
	if (session->host_ip == NULL)
		session->host_ip = i_strdup(session->host);
	/* Now, since a client that leaves takes its TLS with it. */
	if (client->ssl_iostream != NULL) {
		session->tls_protocol = i_strdup(ssl_iostream_get_protocol_name(client->ssl_iostream));
		session->tls_cipher = i_strdup(ssl_iostream_get_cipher(client->ssl_iostream, &bits));
	}
}

void mauth_login_session_about(struct client *client, struct mauth_upstream_report *about_r)
{
	const struct mauth_login_session *session = mauth_login_session(client);

	*about_r = (struct mauth_upstream_report){
		.user = client->virtual_user,
		.mailbox = session->mailbox,
		.token_id = session->token_id,
		.session = client_get_session_id(client),
		.client_ip = net_ip2addr(&client->ip),
		.local_ip = net_ip2addr(&client->local_ip),
		.client_port = client->remote_port,
		.local_port = client->local_port,
		.host = session->host,
		.host_ip = session->host_ip,
		.port = session->port,
		.tls_protocol = session->tls_protocol,
		.tls_cipher = session->tls_cipher,
	};
	/* Sessions of ours are of a service that there is, see login_client_allocated(). */
	(void)mauth_service_parse(login_binary->protocol, &about_r->service);
}

void mauth_login_session_report(struct client *client, enum mauth_upstream_result result, const char *reply)
{
	struct mauth_login_session *session = mauth_login_session(client);
	struct mauth_upstream_report report;

	if (!session->ours || session->reported)
		return;
	session->reported = true;
	mauth_login_session_about(client, &report);
	report.result = result;
	report.reply = reply;
	mauth_client_report(mauth_login_broker(), &report);
}

void mauth_login_protocol_error(struct client *client, const char *what, const char *line)
{
	const char *reason = t_strdup_printf("%s: %s", what, str_sanitize(line, 160));

	login_proxy_failed(client->login_proxy, login_proxy_get_event(client->login_proxy),
			   LOGIN_PROXY_FAILURE_TYPE_PROTOCOL, reason);
}

int mauth_login_answer_challenge(struct client *client, const char *line)
{
	struct mauth_login_session *session = mauth_login_session(client);

	if (session->challenged) {
		mauth_login_protocol_error(client, "Unexpected challenge", line);
		return -1;
	}
	session->challenged = true;
	o_stream_nsend_str(mauth_proxy_ostream(client->login_proxy), "\r\n");
	return 0;
}
