/* SPDX-License-Identifier: MIT */
/* After the upstream's yes a session is no longer its client's: Dovecot copies octets until one side goes, and tells no plugin.
 * But it sends events, and each is a descendant of its client's. The two that count here are sent in every case, whoever ends
 * the session (client, server, doveadm, a reload, the end of the process), and at the last one all reports can still be sent:
 * modules are unloaded later. */
#include "login-common.h"
#include "client-common.h"
#include "istream.h"
#include "lib-event-private.h"
#include "ostream.h"
#include "time-util.h"

#include "compat/compat.h"
#include "compat/ioloop.h"
#include "login/session.h"
#include "modernauth/client.h"

/* Of a client's event: the client */
#define KEY "modernauth_client"

/* What Dovecot calls them changed with 2.3.20. */
static int64_t octets(const struct event *event, const char *name, const char *old_name)
{
	const struct event_field *field = event_find_field_recursive(event, name);

	if (field == NULL)
		field = event_find_field_recursive(event, old_name);
	return field != NULL && field->value_type == EVENT_FIELD_VALUE_TYPE_INTMAX && field->value.intmax > 0 ?
	       field->value.intmax : 0;
}

static uint64_t after(int64_t all, uint64_t before)
{
	return (uint64_t)all > before ? (uint64_t)all - before : 0;
}

static enum mauth_ended_by ended_by(const char *side)
{
	if (side != NULL && strcmp(side, "client") == 0)
		return MAUTH_ENDED_BY_CLIENT;
	if (side != NULL && strcmp(side, "server") == 0)
		return MAUTH_ENDED_BY_SERVER;
	return MAUTH_ENDED_BY_FRONT_END;
}

/* Just before the octets of both sides are left to the copying. */
static void session_began(struct client *client)
{
	struct mauth_login_session *session = mauth_login_session(client);
	struct mauth_login_ear *ear;

	if (!session->ours || session->ear != NULL || client->login_proxy == NULL || client->input == NULL ||
	    client->output == NULL)
		return;
	ear = session->ear = i_new(struct mauth_login_ear, 1);
	ear->client = client;
	ear->began_usecs = mauth_mono_usecs(mauth_ioloop());
	ear->base_in = mauth_proxy_ostream(client->login_proxy)->offset;
	ear->base_out = client->output->offset;
	mauth_login_ear_begin(ear, mauth_proxy_istream(client->login_proxy), client->input);
}

static void session_ended(struct client *client, const struct event *event)
{
	struct mauth_login_session *session = mauth_login_session(client);
	const struct mauth_login_ear *ear = session->ear;
	const struct mauth_loop *loop = mauth_ioloop();
	struct mauth_upstream_report about;
	struct mauth_session_end end;

	/* The upstream had not said yes: that is reported as its answer. */
	if (ear == NULL)
		return;
	end = (struct mauth_session_end){
		.by = ended_by(event_find_field_recursive_str(event, "disconnect_side")),
		.reason = event_find_field_recursive_str(event, "disconnect_reason"),
		.at_usecs = mauth_wall_usecs(loop),
		.duration_usecs = mauth_mono_usecs(loop) - ear->began_usecs,
		.bytes_in = after(octets(event, "net_in_bytes", "bytes_in"), ear->base_in),
		.bytes_out = after(octets(event, "net_out_bytes", "bytes_out"), ear->base_out),
		.said = ear->said[0] == '\0' ? NULL : ear->said,
	};
	if (end.by == MAUTH_ENDED_BY_SERVER && ear->logged_out) {
		end.by = MAUTH_ENDED_BY_CLIENT;
		end.reason = "logged out";
	}
	/* Who says goodbye does so to a client that wants to go, too. */
	if (end.by != MAUTH_ENDED_BY_SERVER)
		end.said = NULL;
	mauth_login_session_about(client, &about);
	mauth_client_report_end(mauth_login_broker(), &about, &end);
	mauth_login_session_clear(session);
}

static bool event_sent(struct event *event, enum event_callback_type type, struct failure_context *ctx ATTR_UNUSED,
		       const char *fmt ATTR_UNUSED, va_list args ATTR_UNUSED)
{
	struct client *client = NULL;
	bool began;

	if (type != EVENT_CALLBACK_TYPE_SEND || event->sending_name == NULL)
		return TRUE;
	began = strcmp(event->sending_name, "proxy_session_established") == 0;
	if (!began && strcmp(event->sending_name, "proxy_session_finished") != 0)
		return TRUE;
	for (const struct event *at = event; at != NULL && client == NULL; at = event_get_parent(at))
		client = event_get_ptr(at, KEY);
	if (client != NULL && began)
		session_began(client);
	else if (client != NULL)
		session_ended(client, event);
	return TRUE;
}

void mauth_login_ended_watch(struct client *client)
{
	event_set_ptr(client->event, KEY, client);
}

void mauth_login_ended_forget(struct mauth_login_session *session)
{
	if (session->ear == NULL)
		return;
	mauth_login_ear_end(session->ear);
	i_free(session->ear);
}

void mauth_login_ended_init(void)
{
	event_register_callback(event_sent);
}

void mauth_login_ended_deinit(void)
{
	event_unregister_callback(event_sent);
}
