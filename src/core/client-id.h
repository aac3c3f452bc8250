/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_CLIENT_ID_H
#define MAUTH_CLIENT_ID_H
/* What a client calls itself. Dovecot hands on IMAP's ID as '"name" "Thunderbird" "version" "115.1"'. */

#include "modernauth/modernauth.h"

#define MAUTH_CLIENT_ID_MAX 512u         /* a longer one is not looked at */
#define MAUTH_CLIENT_ID_PART 257u

/* Cut, but otherwise as the client sent them: "" where it said nothing. */
struct mauth_client_id {
	char name[MAUTH_CLIENT_ID_PART], version[MAUTH_CLIENT_ID_PART];
};
/* false: text (which may be NULL) is no such list, and *id_r holds two empty texts. */
bool mauth_client_id_parse(const char *text, struct mauth_client_id *id_r);

#endif
