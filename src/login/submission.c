/* SPDX-License-Identifier: MIT */
/* Dovecot's submission proxy ends its process with a failed assertion when the upstream's answer to AUTH is no
 * SMTP reply, or one of several lines: that would be every session of that process. Such answers do not reach
 * it. */
#include "login-common.h"
#include "client-common.h"
#include "dsasl-client-private.h"

#include "login/session.h"

/* AUTH LOGIN with the name in the command's line, as other clients do. Dovecot's own form, "AUTH LOGIN =", has an empty name
 * there. */
struct login_mech {
	struct dsasl_client client;
	unsigned int replies;
};

static int login_mech_input(struct dsasl_client *client ATTR_UNUSED, const unsigned char *input ATTR_UNUSED,
			    size_t size ATTR_UNUSED, const char **error_r ATTR_UNUSED)
{
	return 0;
}

static int login_mech_output(struct dsasl_client *client, const unsigned char **output_r, size_t *size_r,
			     const char **error_r)
{
	struct login_mech *mech = container_of(client, struct login_mech, client);
	const char *texts[] = { client->set.authid, client->password };

	if (mech->replies >= N_ELEMENTS(texts) || texts[mech->replies] == NULL) {
		*error_r = "the upstream asks for more than name and password";
		return -1;
	}
	*output_r = (const unsigned char *)texts[mech->replies];
	*size_r = strlen(texts[mech->replies++]);
	return 0;
}

static const struct dsasl_client_mech login_mech = {
	.name = "LOGIN",
	.struct_size = sizeof(struct login_mech),
	.input = login_mech_input,
	.output = login_mech_output,
};

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* The bounds are those of submission-proxy.c. */
static bool parse_status(const char *line, unsigned int *status_r)
{
	for (unsigned int i = 0; i < 3; i++) {
		if (!is_digit(line[i]))
			return false;
	}
	*status_r = (unsigned int)((line[0] - '0') * 100 + (line[1] - '0') * 10 + (line[2] - '0'));
	return *status_r >= 200 && *status_r < 560 && (line[3] == '\0' || line[3] == ' ' || line[3] == '-');
}

int mauth_submission_parse_line(struct client *client, const char *line)
{
	struct mauth_login_session *session = mauth_login_session(client);
	unsigned int status;

	/* Passwords by rule. What Exchange Online offers for these is LOGIN. */
	if (session->basic)
		client->proxy_mech = &login_mech;
	if (!parse_status(line, &status)) {
		mauth_login_protocol_error(client, "Invalid reply", line);
		return -1;
	}
	/* The banner and EHLO's answer have lines that matter; of all others the last one says it. */
	if (line[3] == '-' && status != 220 && status != 250)
		return 0;
	if (line[3] == '\0')
		line = t_strconcat(line, " ", NULL);
	/* XOAUTH2 knows no challenge but the empty one; what has content explains a refusal. LOGIN has two. */
	if (status == 334 && line[4] != '\0' && !session->basic)
		return mauth_login_answer_challenge(client, line);
	return session->module_ctx.super.proxy_parse_line(client, line);
}
