/* SPDX-License-Identifier: MIT */
#include "login-common.h"
#include "client-common.h"

#include "login/session.h"

int mauth_imap_parse_line(struct client *client, const char *line)
{
	struct mauth_login_session *session = mauth_login_session(client);

	/* RFC 3501 wants a blank after the "+"; Dovecot insists on it, Exchange may not send it. */
	if (strcmp(line, "+") == 0)
		line = "+ ";
	/* Our mechanism knows no challenge but the empty one; what has content explains a refusal. */
	if (strncmp(line, "+ ", 2) == 0 && line[2] != '\0')
		return mauth_login_answer_challenge(client, line);
	return session->module_ctx.super.proxy_parse_line(client, line);
}
