/* SPDX-License-Identifier: MIT */
/* Dovecot stops reading from an auth client that has 50 KiB of replies to read (auth-client-connection.c, OUTBUF_THROTTLE_SIZE), and
 * begins again when its stream's flush callback finds fewer. But stream_send_io() (ostream-file.c) flushes once more after that
 * callback: if the client reads just then, the stream is empty, the callback is never called again, and nobody ever reads from that
 * client, which to its users is a server that hangs until somebody restarts it. Replies with a token have 2 KB and more, and when
 * Entra is slow many come at once. So there is never that much for a client to read: what its socket does not take waits here. */
#include "auth-common.h"
#include "hash.h"
#include "ostream.h"
#include "passdb.h"
#include "safe-memset.h"
#include "auth-request.h"
#include "auth-request-handler.h"
#include "auth-request-handler-private.h"
#include "auth-client-connection.h"

#include "compat/compat.h"
#include "passdb/passdb-hold.h"

/* Octets in the stream, beyond what the socket has taken. A reply more has up to 8 KiB (AUTH_CLIENT_MAX_LINE_LENGTH). */
#define UNREAD_MAX 16384u
/* The socket alone has replies for some milliseconds' work of the client. One that reads nothing is looked at ever less often. */
#define LOOK_MSECS 1u
#define LOOK_MAX_MSECS 64u

struct held {
	struct held *next;
	const struct auth_request *request;
	struct mauth_client_reply reply;
	struct mauth_secret *token;
	char *reason, *token_id, *mailbox, *host;
	void *context;
};

struct mauth_passdb_holds {
	const struct mauth_loop *loop;
	mauth_client_login_fn *answer;
	struct held *first, **last;
	size_t count;
	unsigned int wait_msecs;
	struct mauth_timer *timer;
	bool looking, gone;                  /* look() is under way, and frees what is gone */
};

struct mauth_passdb_holds *mauth_passdb_holds_new(const struct mauth_loop *loop, mauth_client_login_fn *answer)
{
	struct mauth_passdb_holds *holds = i_new(struct mauth_passdb_holds, 1);

	holds->loop = loop;
	holds->answer = answer;
	holds->last = &holds->first;
	return holds;
}

static bool has_room(const struct auth_request *request)
{
	const struct auth_request_handler *handler = request->handler;
	const struct ostream *output;

	/* Lookups of doveadm and LMTP have none; who has gone reads nothing more. */
	if (handler == NULL || handler->destroyed || handler->conn == NULL || MAUTH_REQUEST_CLIENT_FD(request) == -1)
		return true;
	output = MAUTH_REQUEST_CLIENT_OUTPUT(request);
	return output == NULL || output->closed || output->stream_errno != 0 ||
	       o_stream_get_buffer_used_size(output) < UNREAD_MAX;
}

static void answer_held(struct mauth_passdb_holds *holds, struct held *held)
{
	holds->answer(&held->reply, held->context);
	mauth_secret_free(&held->token);
	/* It may be a device password. */
	safe_memset(held->reason, 0, strlen(held->reason));
	i_free(held->reason);
	i_free(held->token_id);
	i_free(held->mailbox);
	i_free(held->host);
	i_free(held);
}

static struct held *take_first(struct mauth_passdb_holds *holds)
{
	struct held *held = holds->first;

	holds->first = held->next;
	if (holds->first == NULL)
		holds->last = &holds->first;
	holds->count--;
	return held;
}

static void append(struct mauth_passdb_holds *holds, struct held *held)
{
	held->next = NULL;
	*holds->last = held;
	holds->last = &held->next;
	holds->count++;
}

static void look(void *context);

static void look_later(struct mauth_passdb_holds *holds)
{
	if (holds->timer == NULL && holds->first != NULL)
		holds->timer = mauth_timer_add(holds->loop, holds->wait_msecs, look, holds);
}

static void look(void *context)
{
	struct mauth_passdb_holds *holds = context;

	holds->timer = NULL;
	holds->looking = true;
	holds->wait_msecs = I_MIN(holds->wait_msecs * 2, LOOK_MAX_MSECS);
	/* An answer may end the module: then mauth_passdb_holds_free() has seen to the others. */
	for (size_t left = holds->count; left > 0 && !holds->gone; left--) {
		struct held *held = take_first(holds);

		if (has_room(held->request)) {
			holds->wait_msecs = LOOK_MSECS;
			answer_held(holds, held);
		} else {
			append(holds, held);
		}
	}
	holds->looking = false;
	if (holds->gone)
		i_free(holds);
	else
		look_later(holds);
}

bool mauth_passdb_hold(struct mauth_passdb_holds *holds, const struct auth_request *request,
		       const struct mauth_client_reply *reply, void *context)
{
	struct held *held;

	if (holds == NULL || has_room(request))
		return false;
	held = i_new(struct held, 1);
	held->request = request;
	held->context = context;
	held->token = mauth_secret_dup(reply->token);
	held->reason = i_strdup(reply->reason == NULL ? "" : reply->reason);
	held->token_id = i_strdup(reply->token_id);
	held->mailbox = i_strdup(reply->mailbox);
	held->host = i_strdup(reply->host);
	held->reply = *reply;
	held->reply.token = held->token;
	held->reply.reason = held->reason;
	held->reply.token_id = held->token_id;
	held->reply.mailbox = held->mailbox;
	held->reply.host = held->host;
	if (holds->first == NULL)
		holds->wait_msecs = LOOK_MSECS;
	append(holds, held);
	look_later(holds);
	return true;
}

void mauth_passdb_holds_free(struct mauth_passdb_holds **holds_p)
{
	struct mauth_passdb_holds *holds = *holds_p;

	if (holds == NULL)
		return;
	*holds_p = NULL;
	mauth_timer_remove(holds->loop, &holds->timer);
	/* Nothing is added meanwhile: *holds_p is what mauth_passdb_hold() is given. */
	while (holds->first != NULL)
		answer_held(holds, take_first(holds));
	holds->gone = true;
	if (!holds->looking)
		i_free(holds);
}
