/* SPDX-License-Identifier: MIT */
#ifndef MODERNAUTH_ADMIN_H
#define MODERNAUTH_ADMIN_H
/* Client of the broker's administration socket (src/client/PROTOCOL.md, "Administration") for programs without an event
 * loop: it waits. Any number of requests may be open at once; what the broker says to them comes one line at a time.
 *
 * A broker that says BYE has a successor on the same path. An ENROLL is asked again there, since a code that is pending
 * stays the same; every other request is answered with MAUTH_TEMPORARY, "run the command again": it may have been
 * carried out. */

#include "modernauth/modernauth.h"

struct mauth_admin;

struct mauth_admin_settings {
	const char *path;                /* the socket */
	const char *name;                /* of this program, for the broker's log */
	const char *by;                  /* who sits there, for the audit; NULL: unknown */
	unsigned int timeout_msecs;      /* until the broker has said hello, also after a restart of it; 0: 10 s */
	unsigned int window;             /* requests that may be sent before one of them is answered; 0: any number */
	const int *stop_fd;              /* when it is readable every wait ends with MAUTH_CANCELLED; NULL: none */
};

#define MAUTH_ADMIN_FIELDS_MAX 64u
struct mauth_admin_field {
	const char *key, *value;
};

enum mauth_admin_kind { MAUTH_ADMIN_ROW, MAUTH_ADMIN_NOTE, MAUTH_ADMIN_CODE, MAUTH_ADMIN_OK, MAUTH_ADMIN_FAIL };

/* One line of the broker. Texts are valid UTF-8 without control characters, whatever was sent. OK and FAIL end a
 * request. */
struct mauth_admin_reply {
	uint32_t id;
	enum mauth_admin_kind kind;
	struct mauth_error error;        /* of a FAIL */
	size_t count;
	struct mauth_admin_field fields[MAUTH_ADMIN_FIELDS_MAX];   /* without passwords, see mauth_admin_secret() */
};

/* Connects and waits for the broker's hello. error_r->code is the errno if the socket could not be connected to. */
enum mauth_status mauth_admin_open(const struct mauth_admin_settings *settings, struct mauth_admin **admin_r,
				   struct mauth_error *error_r);
/* Ends nothing that the broker has begun. Sets *admin to NULL. */
void mauth_admin_close(struct mauth_admin **admin);

/* Puts a request into the queue and does not wait; it is sent by mauth_admin_next(). fields ends with a key of NULL; a
 * value of NULL is left out. MAUTH_CONFIG: it does not fit into a line. */
enum mauth_status mauth_admin_ask(struct mauth_admin *admin, const char *verb, const struct mauth_admin_field *fields,
				  uint32_t *id_r, struct mauth_error *error_r);

/* Waits for the next line to any open request, at most timeout_msecs. *reply_r lives until the next call.
 * MAUTH_TIMEOUT: there was none; MAUTH_CANCELLED: stop_fd. Everything else is the end: nothing will be answered any
 * more. */
enum mauth_status mauth_admin_next(struct mauth_admin *admin, unsigned int timeout_msecs,
				   const struct mauth_admin_reply **reply_r, struct mauth_error *error_r);

/* The text of key, or NULL. */
const char *mauth_admin_get(const struct mauth_admin_reply *reply, const char *key);
/* The number of key; false if there is none and *num_r is untouched. */
bool mauth_admin_num(const struct mauth_admin_reply *reply, const char *key, int64_t *num_r);
/* What was sent last as key, unchanged: passwords, which are nowhere else, and lines of an export. The caller frees;
 * NULL: nothing was sent. Only before the next call of mauth_admin_next(). */
struct mauth_secret *mauth_admin_secret(const struct mauth_admin *admin, const char *key);

#endif
