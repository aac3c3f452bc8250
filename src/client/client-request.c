/* SPDX-License-Identifier: MIT */
#include "client/client-private.h"

#include <stdlib.h>

void client_list_remove(struct mauth_client_request *req)
{
	struct client_list *list = req->list;

	*(req->prev != NULL ? &req->prev->next : &list->first) = req->next;
	*(req->next != NULL ? &req->next->prev : &list->last) = req->prev;
	req->prev = req->next = NULL;
	req->list = NULL;
}

void client_list_append(struct client_list *list, struct mauth_client_request *req)
{
	req->list = list;
	req->prev = list->last;
	*(list->last != NULL ? &list->last->next : &list->first) = req;
	list->last = req;
}

void client_list_prepend(struct client_list *list, struct mauth_client_request *req)
{
	req->list = list;
	req->next = list->first;
	*(list->first != NULL ? &list->first->prev : &list->last) = req;
	list->first = req;
}

struct mauth_client_request *client_request_find(const struct mauth_client *client, uint32_t id)
{
	struct mauth_client_request *req = client->buckets[id % BUCKETS];

	while (req != NULL && req->id != id)
		req = req->same_bucket;
	return req;
}

static uint32_t unused_id(struct mauth_client *client)
{
	do {
		client->last_id++;
	} while (client->last_id == 0 || client_request_find(client, client->last_id) != NULL);
	return client->last_id;
}

struct mauth_client_request *client_request_new(struct mauth_client *client, enum client_kind kind)
{
	static const char *const verbs[] = { "LOGIN", "LOOKUP", "UPSTREAM" };
	struct mauth_client_request *req = mauth_new(sizeof(*req));
	struct mauth_client_request **bucket;

	req->client = client;
	req->kind = kind;
	req->verb = verbs[kind];
	req->id = unused_id(client);
	req->started_msecs = mauth_mono_msecs(client->loop);
	bucket = &client->buckets[req->id % BUCKETS];
	req->same_bucket = *bucket;
	*bucket = req;
	if (kind == KIND_REPORT)
		client->reports++;
	else
		client->open++;
	client_list_append(&client->queue, req);
	return req;
}

void client_request_free(struct mauth_client_request *req)
{
	struct mauth_client *client = req->client;
	struct mauth_client_request **pos = &client->buckets[req->id % BUCKETS];

	while (*pos != req)
		pos = &(*pos)->same_bucket;
	*pos = req->same_bucket;
	client_list_remove(req);
	mauth_timer_remove(client->loop, &req->timer);
	if (req->kind == KIND_REPORT)
		client->reports--;
	else
		client->open--;
	mauth_buf_free(&req->fields);
	free(req);
	client_may_idle(client);
}

void client_request_finish(struct mauth_client_request *req, const struct mauth_client_reply *reply)
{
	mauth_client_login_fn *done = req->done;
	void *context = req->context;

	client_request_free(req);
	done(reply, context);
}

void client_request_fail(struct mauth_client_request *req, enum mauth_status status)
{
	struct mauth_client_reply reply = {
		.status = req->early != MAUTH_OK ? req->early : status,
		.reason = "",
	};

	client_request_finish(req, &reply);
}

/* The broker has to give up first: only its answer can be an old token that still lives, and only then does the audit
 * say what became of the attempt. */
static int64_t broker_msecs(int64_t left)
{
	if (left > 2 * ANSWER_MARGIN_MSECS)
		return left - ANSWER_MARGIN_MSECS;
	return left > 1 ? left / 2 : 1;
}

void client_request_write(const struct mauth_client_request *req, struct mauth_buf *out)
{
	int64_t left = req->started_msecs + req->timeout_msecs - mauth_mono_msecs(req->client->loop);

	mauth_wire_begin(out, req->verb);
	mauth_wire_id(out, req->id);
	mauth_buf_append(out, req->fields.data, req->fields.size);
	if (req->kind == KIND_LOGIN)
		mauth_wire_num(out, "timeout", broker_msecs(left));
	mauth_wire_end(out);
}
