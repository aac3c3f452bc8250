/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_COMPAT_IOLOOP_H
#define MAUTH_COMPAT_IOLOOP_H
/* Dovecot's ioloop and log as the seams of include/modernauth/{loop,log}.h. Shared by the broker and the plugins. */

#include "modernauth/log.h"
#include "modernauth/loop.h"

struct event;

/* The current ioloop at the time of each call. One object for the whole process. */
const struct mauth_loop *mauth_ioloop(void);

/* Lines and events below parent (which may be NULL), with the category "modernauth". Free with mauth_event_log_free(). */
struct mauth_log *mauth_event_log_new(struct event *parent);
void mauth_event_log_free(struct mauth_log **log);

#endif
