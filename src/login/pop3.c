/* SPDX-License-Identifier: MIT */
/* Dovecot's POP3 proxy sends "AUTH XOAUTH2 <response>" in one line. Exchange Online answers that with "-ERR
 * Protocol error. Connection is closed." and wants the response alone, after its continuation. Otherwise this
 * does what pop3-proxy.c does, except for XCLIENT, which only Dovecot itself understands. */
#include "login-common.h"
#include "base64.h"
#include "client-common.h"
#include "dsasl-client.h"
#include "ostream.h"
#include "safe-memset.h"
#include "str.h"
#include "str-sanitize.h"

#include "compat/compat.h"
#include "login/session.h"

const char *mauth_pop3_step_name(enum pop3_step step)
{
	switch (step) {
	case POP3_BANNER:
		return "banner";
	case POP3_STLS:
		return "starttls";
	case POP3_CONTINUATION:
		return "auth";
	case POP3_RESULT:
		return "auth-continue";
	}
	i_unreached();
}

static bool begins(const char *line, const char *prefix)
{
	return strncmp(line, prefix, strlen(prefix)) == 0;
}

static void failed(struct client *client, enum login_proxy_failure_type type, const char *reason)
{
	login_proxy_failed(client->login_proxy, login_proxy_get_event(client->login_proxy), type, reason);
}

static void send_auth(struct client *client)
{
	o_stream_nsend_str(mauth_proxy_ostream(client->login_proxy), "AUTH XOAUTH2\r\n");
	mauth_login_session(client)->pop3_step = POP3_CONTINUATION;
}

static int send_response(struct client *client)
{
	struct dsasl_client_settings set;
	const unsigned char *output;
	const char *error;
	string_t *str;
	size_t size;

	i_zero(&set);
	set.authid = set.authzid = client->proxy_user;
	set.password = client->proxy_password;
	MAUTH_DSASL_SET_EVENT(&set, client->event);
	client->proxy_sasl_client = dsasl_client_new(client->proxy_mech, &set);
	if (dsasl_client_output(client->proxy_sasl_client, &output, &size, &error) != MAUTH_DSASL_OK) {
		failed(client, LOGIN_PROXY_FAILURE_TYPE_INTERNAL, error);
		return -1;
	}
	str = t_str_new(MAX_BASE64_ENCODED_SIZE(size) + 3);
	base64_encode(output, size, str);
	str_append(str, "\r\n");
	o_stream_nsend(mauth_proxy_ostream(client->login_proxy), str_data(str), str_len(str));
	safe_memset(str_c_modifiable(str), 0, str_len(str));
	mauth_login_session(client)->pop3_step = POP3_RESULT;
	return 0;
}

static int banner(struct client *client, const char *line)
{
	if (!begins(line, "+OK")) {
		mauth_login_protocol_error(client, "Invalid banner", line);
		return -1;
	}
	if ((login_proxy_get_ssl_flags(client->login_proxy) & MAUTH_PROXY_STARTTLS) == 0) {
		send_auth(client);
		return 0;
	}
	o_stream_nsend_str(mauth_proxy_ostream(client->login_proxy), "STLS\r\n");
	mauth_login_session(client)->pop3_step = POP3_STLS;
	return 0;
}

static int stls_answered(struct client *client, const char *line)
{
	if (!begins(line, "+OK")) {
		failed(client, LOGIN_PROXY_FAILURE_TYPE_REMOTE,
		       t_strdup_printf("STLS failed: %s", str_sanitize(line, 160)));
		return -1;
	}
	if (login_proxy_starttls(client->login_proxy) < 0)
		return -1;
	send_auth(client);
	/* The streams are new ones: nothing more may be read from the old. */
	return 1;
}

static int refused(struct client *client, const char *line)
{
	if (begins(line, "-ERR [SYS/TEMP]")) {
		/* The client is told when the retries are over. */
		failed(client, LOGIN_PROXY_FAILURE_TYPE_AUTH_TEMPFAIL, line + 5);
		return -1;
	}
	if (begins(line, "-ERR "))
		client_send_raw(client, t_strconcat(line, "\r\n", NULL));
	else
		client_send_raw(client, "-ERR [AUTH] "AUTH_FAILED_MSG"\r\n");
	failed(client, MAUTH_PROXY_FAILURE_REPLIED, begins(line, "-ERR ") ? line + 5 : line);
	return -1;
}

static int accepted(struct client *client, const char *line)
{
	o_stream_nsend_str(client->output, t_strconcat(line, "\r\n", NULL));
	client_proxy_finish_destroy_client(client);
	return 1;
}

int mauth_pop3_parse_line(struct client *client, const char *line)
{
	bool challenge = strcmp(line, "+") == 0 || begins(line, "+ ");

	switch (mauth_login_session(client)->pop3_step) {
	case POP3_BANNER:
		return banner(client, line);
	case POP3_STLS:
		return stls_answered(client, line);
	case POP3_CONTINUATION:
		return challenge ? send_response(client) : refused(client, line);
	case POP3_RESULT:
		if (challenge)
			return mauth_login_answer_challenge(client, line);
		return begins(line, "+OK") ? accepted(client, line) : refused(client, line);
	}
	i_unreached();
}
