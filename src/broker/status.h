/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_BROKER_STATUS_H
#define MAUTH_BROKER_STATUS_H
/* The status listener: Postfix asks it about every delivery status (smtp_delivery_status_filter), in the protocol of
 * socketmap_table(5). What a mail became of is joined with the token that its process was given last. */

#include "broker/service.h"

struct mauth_status_session;

/* Takes fd over. The uids are those of the relay role; otherwise the connection is closed and *error_r says so. */
enum mauth_status mauth_status_session_new(struct mauth_service_state *service, int fd, struct mauth_error *error_r);
/* Ends all of them: Postfix connects again, and asks again what has not been answered. */
void mauth_status_end_all(struct mauth_service_state *service);

/* What a status of Postfix says. */
struct mauth_status_text {
	char class;                          /* '2', '4', '5' */
	char dsn[16];                        /* "5.7.139" */
	const char *text;                    /* the rest */
	const char *host;                    /* of the server that it is about, host_size octets; NULL: it names none */
	size_t host_size;
	bool token_refused;                  /* the server took the login for wrong: our token */
	bool no_token;                       /* the SASL client had nothing to send */
};
/* false: it is none. */
bool mauth_status_parse_text(const char *status, struct mauth_status_text *text_r);
/* Does it speak of another server than host ("": nobody knows)? */
bool mauth_status_is_of_another(const struct mauth_status_text *text, const char *host);

#endif
