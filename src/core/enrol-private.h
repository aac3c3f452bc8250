/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_ENROL_PRIVATE_H
#define MAUTH_ENROL_PRIVATE_H
/* What enrol.c (who waits for what), enrol-ask.c (asking Entra), enrol-keep.c (the end, and the store) share. */

#include "core/enrol.h"

struct mauth_enrol_listener {
	struct mauth_enrol_listener *next, **link;
	struct enrol *enrol;
	mauth_enrol_fn *fn;
	void *context;
	struct mauth_timer *first;           /* tells the code to one who came later */
};

/* One that is under way. */
struct enrol {
	struct enrol *next, **link;
	struct mauth_enrols *enrols;
	const struct mauth_tenant *tenant;
	char *login, *account, *mailbox, *device, *ip;
	char *hash;                          /* self-service: of the password that was typed */
	unsigned char salt[MAUTH_SALT_SIZE], verifier[MAUTH_VERIFIER_SIZE];  /* the same, to compare the next one with */
	struct mauth_device_code code;
	int64_t expires_at;                  /* wall clock, seconds */
	bool shown, storing;                 /* the code is on disk and may be told; the end is being written */
	bool has_row;                        /* in the store, or on its way there */
	bool revoked;                        /* while the end is being written: it is to be undone */
	unsigned int polls, failures;
	size_t credential, credentials_refused;      /* what was sent; how many were, in vain */
	struct mauth_http_call *call;
	struct mauth_secret *form;
	struct mauth_timer *timer;
	struct mauth_enrol_listener *listeners;
	struct enrol_hold *hold;             /* a call that cannot be cancelled is under way */
	struct mauth_secret *device_password;
};

/* What such a call is given: it outlives what it is about. */
struct enrol_hold {
	struct enrol *enrol;                 /* NULL: gone meanwhile */
};

struct mauth_enrols {
	struct mauth_enrols_deps deps;
	struct enrol *list;
	size_t count;
	int64_t hour;                        /* of the codes counted */
	unsigned int codes_this_hour;
};

extern const struct mauth_error enrol_revoked;
struct enrol_hold *enrol_hold(struct enrol *enrol);
/* The enrol that hold was for, or NULL; frees hold. */
struct enrol *enrol_unhold(struct enrol_hold *hold);
/* Tells all listeners. May free nothing; enrol stays. */
void enrol_tell(struct enrol *enrol, enum mauth_enrol_event event);
/* Tells DONE (error NULL) or FAILED, forgets the row of the store, and frees. */
void enrol_end(struct enrol *enrol, const char *device_id, const struct mauth_error *error);
void enrol_free(struct enrol *enrol);

/* enrol-ask.c */
void enrol_ask_code(struct enrol *enrol);
void enrol_poll_later(struct enrol *enrol);

/* enrol-keep.c */
/* Writes the row; enrol_told() or enrol_end() follows. */
void enrol_write(struct enrol *enrol);
void enrol_erase(struct enrol *enrol);
/* Somebody has signed in: checks who, keeps the refresh token, makes the device password. */
void enrol_keep(struct enrol *enrol, const struct mauth_entra_reply *reply);
/* One row of kind "pending": NULL if it cannot be read, or is of no use any more. */
struct enrol *enrol_from_row(struct mauth_enrols *enrols, const struct mauth_store_row *row);
char *enrol_row_name(const struct enrol *enrol);

#endif
