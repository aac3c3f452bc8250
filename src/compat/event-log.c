/* SPDX-License-Identifier: MIT */
#include "lib.h"
#include "event-log.h"
#include "lib-event-private.h"

#include "compat/ioloop.h"
#include "core/mem.h"

#include <stdlib.h>

struct event_log {
	struct mauth_log log;
	struct event *event;
};

static struct event_category category_modernauth = { .name = "modernauth" };

static void event_log_line(void *context, enum mauth_level level, const char *text)
{
	struct event_log *self = context;

	switch (level) {
	case MAUTH_DEBUG:
		e_debug(self->event, "%s", text);
		break;
	case MAUTH_INFO:
		e_info(self->event, "%s", text);
		break;
	case MAUTH_WARNING:
		e_warning(self->event, "%s", text);
		break;
	case MAUTH_ERROR:
		e_error(self->event, "%s", text);
		break;
	}
}

static void event_log_event(void *context, const char *name, int64_t started_usecs,
			    const struct mauth_field *fields, size_t count)
{
	struct event_log *self = context;
	struct event *event;

	/* Nobody counts events and nobody debugs: spare every login the making of one. */
	if (event_get_global_debug_send_filter() == NULL && !self->log.debug)
		return;
	event = event_create(self->event);
	if (started_usecs > 0) {
		/* There is no other way to tell when something began that had no event of its own, and without it
		   the field "duration", which metrics are made of, would always be zero. */
		event->tv_created.tv_sec = started_usecs / 1000000;
		event->tv_created.tv_usec = started_usecs % 1000000;
	}
	for (size_t i = 0; i < count; i++) {
		if (fields[i].str != NULL)
			event_add_str(event, fields[i].name, fields[i].str);
		else
			event_add_int(event, fields[i].name, fields[i].num);
	}
	event_set_name(event, name);
	/* At debug level the event reaches the metrics without a line in everybody's log. */
	e_debug(event, "%s", name);
	event_unref(&event);
}

struct mauth_log *mauth_event_log_new(struct event *parent)
{
	struct event_log *self = mauth_new(sizeof(*self));

	self->event = event_create(parent);
	event_add_category(self->event, &category_modernauth);
	event_set_append_log_prefix(self->event, "modernauth: ");
	self->log = (struct mauth_log){
		.line = event_log_line,
		.event = event_log_event,
		.context = self,
		.debug = event_want_debug_log(self->event),
	};
	return &self->log;
}

void mauth_event_log_free(struct mauth_log **log)
{
	struct event_log *self;

	if (*log == NULL)
		return;
	self = (*log)->context;
	*log = NULL;
	event_unref(&self->event);
	free(self);
}
