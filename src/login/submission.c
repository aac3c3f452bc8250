/* SPDX-License-Identifier: MIT */
/* Dovecot's submission proxy ends its process with a failed assertion when the upstream's answer to AUTH is no
 * SMTP reply, or one of several lines: that would be every session of that process. Such answers do not reach
 * it. */
#include "login-common.h"
#include "client-common.h"

#include "login/session.h"

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

	if (!parse_status(line, &status)) {
		mauth_login_protocol_error(client, "Invalid reply", line);
		return -1;
	}
	/* The banner and EHLO's answer have lines that matter; of all others the last one says it. */
	if (line[3] == '-' && status != 220 && status != 250)
		return 0;
	if (line[3] == '\0')
		line = t_strconcat(line, " ", NULL);
	/* Our mechanism knows no challenge but the empty one; what has content explains a refusal. */
	if (status == 334 && line[4] != '\0')
		return mauth_login_answer_challenge(client, line);
	return session->module_ctx.super.proxy_parse_line(client, line);
}
