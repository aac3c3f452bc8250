/* SPDX-License-Identifier: MIT */
#ifndef MODERNAUTH_PROBE_H
#define MODERNAUTH_PROBE_H
/* A session with a mail host that is opened only to see whether it can be: connection, TLS, login with a token, one
 * harmless command (SELECT INBOX, STAT; none for submission), end. src/net/probe-curl.c is the real one. */

#include "modernauth/modernauth.h"

struct mauth_probe;

struct mauth_probe_request {
	enum mauth_service service;
	struct mauth_endpoint endpoint;
	const char *mailbox;                 /* XOAUTH2 user=; NULL: no login */
	const struct mauth_secret *token;    /* with mailbox */
	const char *ca_file;                 /* PEM trust anchors; NULL: the system's */
	unsigned int timeout_msecs;          /* from start to end, measured by us */
};

/* What the host said. Strings live only during the callback. */
struct mauth_probe_result {
	bool logged_in;                      /* it took the login (without one: it is ready for it) */
	bool completed;                      /* and the command */
	const char *reply;                   /* its last status line, cleaned and cut; "" if it said nothing */
	const char *address;                 /* of the host, "" if not known */
	int64_t duration_usecs;
};

/* Exactly one call, never before start() has returned, none after cancel(). error: there was no answer (as in http.h:
 * MAUTH_TEMPORARY, MAUTH_TIMEOUT, MAUTH_CONFIG, MAUTH_PROTOCOL); result is set if it is NULL, whatever the host
 * answered. */
typedef void mauth_probe_fn(const struct mauth_probe_result *result, const struct mauth_error *error, void *context);

struct mauth_prober_vfuncs {
	struct mauth_probe *(*start)(void *prober, const struct mauth_probe_request *request, mauth_probe_fn *done,
				     void *context);
	/* *probe becomes NULL. */
	void (*cancel)(void *prober, struct mauth_probe **probe);
};

struct mauth_prober {
	const struct mauth_prober_vfuncs *v;
	void *context;
};

static inline struct mauth_probe *
mauth_probe_start(const struct mauth_prober *prober, const struct mauth_probe_request *request, mauth_probe_fn *done,
		  void *context)
{
	return prober->v->start(prober->context, request, done, context);
}

static inline void mauth_probe_cancel(const struct mauth_prober *prober, struct mauth_probe **probe)
{
	if (*probe != 0)
		prober->v->cancel(prober->context, probe);
	*probe = 0;
}

#endif
