/* SPDX-License-Identifier: MIT */
#include "net/forward.h"

#include "net/forward-link.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OUTPUTS_MAX 2u
/* Records that are put into words in one turn of the loop: logins come in between. */
#define BATCH 64u
#define QUIET_MSECS 120000

struct output {
	struct mauth_forward *forward;
	char *name;                          /* for people: "syslog tcp:logs.contoso.com:601" */
	bool journal;                        /* else syslog */
	enum mauth_format message;
	struct mauth_link *link;
	struct mauth_buf queue;              /* lines, as they were written */
	size_t taken;                        /* octets of it that are done */
	struct mauth_buf rendered;           /* the message that is being sent */
	size_t sent;                         /* octets of it */
	uint64_t lost;                       /* records since it was last said that all is well */
	bool complained, lost_said;
	bool lossy;                          /* UDP: that one datagram was sent does not mean that anybody is there */
	int64_t quiet_until;                 /* monotonic msecs: then it may be said again that it works */
	struct mauth_timer *turn;
};

struct mauth_forward {
	struct mauth_audit_sink sink;
	const struct mauth_audit_sink *file;
	const struct mauth_loop *loop;
	const struct mauth_log *log;
	const struct mauth_worker *worker;
	char *host;
	struct output outputs[OUTPUTS_MAX];
	size_t count;
};

static void go_on(struct output *output);

/* -- what is lost ------------------------------------------------------------------------------------------- */

static void lose(struct output *output)
{
	output->lost++;
	if (output->lost_said)
		return;
	output->lost_said = true;
	mauth_log(output->forward->log, MAUTH_WARNING,
		  "%s: it does not take records as fast as they come; from here on some are in the audit file only", output->name);
}

/* Once the queue is empty again: how many those were, in log, file and metrics. */
static void tell_lost(struct mauth_forward *forward, struct output *output)
{
	struct mauth_buf record = { 0 };
	uint64_t lost = output->lost;
	const struct mauth_field fields[] = { MAUTH_FIELD_STR("to", output->name), MAUTH_FIELD_NUM("lost", (int64_t)lost) };

	output->lost = 0;
	output->lost_said = false;
	mauth_log(forward->log, MAUTH_WARNING, "%s: %" PRIu64 " records were not forwarded; the audit file has them", output->name, lost);
	if (forward->log->event != NULL)
		forward->log->event(forward->log->context, "modernauth_audit_not_forwarded", 0, fields, 2);
	mauth_format_lost(&record, mauth_wall_usecs(forward->loop), output->name, lost);
	(void)forward->sink.append(forward->sink.context, record.data, record.size, NULL);
	mauth_buf_free(&record);
}

/* -- sending ------------------------------------------------------------------------------------------------ */

static bool is_empty(const struct output *output)
{
	return output->taken == output->queue.size;
}

static void render(struct output *output, const char *line, size_t size)
{
	const struct mauth_format_source source = { .host = output->forward->host, .pid = getpid(), .message = output->message };
	json_t *record = mauth_format_read(line, size);
	struct mauth_buf *out = &output->rendered;
	struct mauth_buf message = { 0 };

	/* Only records are queued. */
	if (record == NULL)
		return;
	if (output->journal) {
		mauth_format_journal(record, out);
	} else {
		mauth_format_write(MAUTH_FORMAT_SYSLOG, record, line, size, &source, &message);
		message.size--;         /* its LF */
		if (mauth_link_is_stream(output->link))
			mauth_buf_printf(out, "%zu ", message.size);
		mauth_buf_append(out, message.data, message.size);
		mauth_buf_free(&message);
	}
	json_decref(record);
}

static void take_line(struct output *output)
{
	const char *line = output->queue.data + output->taken;
	const char *newline = memchr(line, '\n', output->queue.size - output->taken);

	render(output, line, (size_t)(newline - line));
	output->taken += (size_t)(newline - line) + 1;
	if (is_empty(output)) {
		mauth_buf_free(&output->queue);
		output->taken = 0;
	} else if (output->taken > MAUTH_FORWARD_QUEUE_MAX / 4) {
		mauth_buf_consume(&output->queue, output->taken);
		output->taken = 0;
	}
}

static void rendered_done(struct output *output)
{
	mauth_buf_clear(&output->rendered);
	output->sent = 0;
}

/* false: it cannot go on now. */
static bool send_one(struct output *output)
{
	if (output->rendered.size == 0)
		take_line(output);
	if (output->rendered.size == 0)
		return true;
	switch (mauth_link_send(output->link, output->rendered.data, output->rendered.size, &output->sent)) {
	case MAUTH_LINK_SENT:
		rendered_done(output);
		return true;
	case MAUTH_LINK_TOO_LONG:
		rendered_done(output);
		lose(output);
		return true;
	case MAUTH_LINK_LATER:
		break;
	}
	return false;
}

static void turn(void *context)
{
	struct output *output = context;

	output->turn = NULL;
	for (unsigned int i = 0; i < BATCH && (output->rendered.size > 0 || !is_empty(output)); i++) {
		if (!send_one(output))
			return;
	}
	if (output->complained && mauth_mono_msecs(output->forward->loop) >= output->quiet_until) {
		output->complained = false;
		mauth_log(output->forward->log, MAUTH_INFO, "%s: it takes records again", output->name);
	}
	if (!is_empty(output))
		go_on(output);
	else if (output->lost > 0)
		tell_lost(output->forward, output);
}

/* Later: what there is to do now is somebody's login. */
static void go_on(struct output *output)
{
	if (output->turn != NULL)
		return;
	if (mauth_link_is_up(output->link))
		output->turn = mauth_timer_add(output->forward->loop, 0, turn, output);
	else
		mauth_link_want(output->link);
}

static void link_ready(void *context)
{
	go_on(context);
}

static void link_down(void *context, const struct mauth_error *error)
{
	struct output *output = context;

	mauth_timer_remove(output->forward->loop, &output->turn);
	/* Whoever gets a new connection knows nothing of the half message on the old one. */
	output->sent = 0;
	if (output->lossy)
		output->quiet_until = mauth_mono_msecs(output->forward->loop) + QUIET_MSECS;
	if (output->complained)
		return;
	output->complained = true;
	mauth_log(output->forward->log, MAUTH_WARNING,
		  "%s: %s; records wait, up to %zu MiB of them, and are in the audit file in any case", output->name, error->text,
		  MAUTH_FORWARD_QUEUE_MAX >> 20);
}

/* -- the sink ----------------------------------------------------------------------------------------------- */

static void enqueue(struct output *output, const char *lines, size_t size)
{
	const char *end = lines + size, *newline;

	for (; lines < end; lines = newline + 1) {
		newline = memchr(lines, '\n', (size_t)(end - lines));
		if (newline == NULL)
			break;
		if (output->queue.size + (size_t)(newline - lines) + 1 > MAUTH_FORWARD_QUEUE_MAX)
			lose(output);
		else
			mauth_buf_append(&output->queue, lines, (size_t)(newline - lines) + 1);
	}
	if (!is_empty(output))
		go_on(output);
}

static enum mauth_status append(void *context, const char *lines, size_t size, struct mauth_error *error_r)
{
	struct mauth_forward *forward = context;
	enum mauth_status status = forward->file->append(forward->file->context, lines, size, error_r);

	for (size_t i = 0; status == MAUTH_OK && i < forward->count; i++)
		enqueue(&forward->outputs[i], lines, size);
	return status;
}

static void commit(void *context, mauth_audit_commit_fn *done, void *done_context)
{
	const struct mauth_forward *forward = context;

	forward->file->commit(forward->file->context, done, done_context);
}

struct mauth_forward *mauth_forward_new(const struct mauth_audit_sink *file, const struct mauth_loop *loop, const struct mauth_log *log,
					const struct mauth_worker *worker, const char *host)
{
	struct mauth_forward *forward = mauth_new(sizeof(*forward));

	forward->sink = (struct mauth_audit_sink){ .append = append, .context = forward };
	if (file->commit != NULL)
		forward->sink.commit = commit;
	forward->file = file;
	forward->loop = loop;
	forward->log = log;
	forward->worker = worker;
	forward->host = mauth_strdup(host);
	return forward;
}

static struct output *add(struct mauth_forward *forward, const struct mauth_forward_target *target, char *name)
{
	struct output *output = &forward->outputs[forward->count++];
	const struct mauth_link_callbacks callbacks = { .ready = link_ready, .down = link_down, .context = output };

	output->forward = forward;
	output->name = name;
	output->lossy = target->transport == MAUTH_TRANSPORT_UDP;
	output->link = mauth_link_new(target, forward->loop, forward->worker, &callbacks);
	return output;
}

void mauth_forward_syslog(struct mauth_forward *forward, const struct mauth_forward_target *target, enum mauth_format message)
{
	static const char *const words[] = { "", "unix", "udp", "tcp" };
	bool path = target->transport == MAUTH_TRANSPORT_UNIX;

	if (forward->count == OUTPUTS_MAX)
		return;
	add(forward, target, path ? mauth_printf("syslog unix:%s", target->host) :
			     mauth_printf(strchr(target->host, ':') != NULL ? "syslog %s:[%s]:%u" : "syslog %s:%s:%u",
					  words[target->transport], target->host, target->port))->message = message;
}

void mauth_forward_journal(struct mauth_forward *forward, const char *path)
{
	const struct mauth_forward_target target = { .transport = MAUTH_TRANSPORT_UNIX, .host = path };

	if (forward->count < OUTPUTS_MAX)
		add(forward, &target, mauth_strdup("journald"))->journal = true;
}

const struct mauth_audit_sink *mauth_forward_sink(struct mauth_forward *forward)
{
	return &forward->sink;
}

/* -- the end ------------------------------------------------------------------------------------------------ */

static uint64_t count_waiting(const struct output *output)
{
	uint64_t count = output->rendered.size > 0;

	for (size_t i = output->taken; i < output->queue.size; i++)
		count += output->queue.data[i] == '\n';
	return count;
}

static void end_output(struct output *output)
{
	mauth_timer_remove(output->forward->loop, &output->turn);
	while (mauth_link_is_up(output->link) && (output->rendered.size > 0 || !is_empty(output)) && send_one(output))
		;
	output->lost += count_waiting(output);
	mauth_buf_free(&output->queue);
	mauth_buf_free(&output->rendered);
	output->taken = 0;
	mauth_link_free(&output->link);
}

void mauth_forward_free(struct mauth_forward **forward)
{
	struct mauth_forward *old = *forward;
	size_t count;

	if (old == NULL)
		return;
	*forward = NULL;
	count = old->count;
	for (size_t i = 0; i < count; i++)
		end_output(&old->outputs[i]);
	/* What is recorded now goes to the file only. */
	old->count = 0;
	for (size_t i = 0; i < count; i++) {
		if (old->outputs[i].lost > 0)
			tell_lost(old, &old->outputs[i]);
		free(old->outputs[i].name);
	}
	free(old->host);
	free(old);
}
