/* SPDX-License-Identifier: MIT */
#include "fake_worker.h"

#include "core/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

struct job {
	struct job *next;
	void (*work)(void *job);         /* NULL: it has been worked on */
	void (*done)(void *job);
	void *job;
};

struct fake_worker {
	struct mauth_worker worker;
	const struct mauth_loop *loop;
	struct mauth_timer *timer;
	struct job *waiting;             /* oldest first */
	unsigned int done;
	bool held, stuck;
};

static void turn(void *context);

static void wait_for_turn(struct fake_worker *worker)
{
	if (worker->waiting != NULL && !worker->held && worker->loop != NULL && worker->timer == NULL)
		worker->timer = mauth_timer_add(worker->loop, 0, turn, worker);
}

static void turn(void *context)
{
	struct fake_worker *worker = context;

	worker->timer = NULL;
	fake_worker_run(worker, 1);
}

static void fake_submit(void *context, void (*work)(void *job), void (*done)(void *job), void *job)
{
	struct fake_worker *worker = context;
	struct job *entry = mauth_new(sizeof(*entry)), **last = &worker->waiting;

	*entry = (struct job){ NULL, work, done, job };
	while (*last != NULL)
		last = &(*last)->next;
	*last = entry;
	wait_for_turn(worker);
}

static unsigned int fake_pending(const void *context)
{
	return fake_worker_waiting(context);
}

static bool fake_wait(void *context, unsigned int msecs)
{
	struct fake_worker *worker = context;

	return !worker->stuck && fake_worker_run(worker, 1) == 1;
}

struct fake_worker *fake_worker_new(const struct mauth_loop *loop)
{
	struct fake_worker *worker = mauth_new(sizeof(*worker));

	worker->worker = (struct mauth_worker){ fake_submit, fake_pending, worker, fake_wait };
	worker->loop = loop;
	return worker;
}

const struct mauth_worker *fake_worker_worker(const struct fake_worker *worker)
{
	return &worker->worker;
}

void fake_worker_free(struct fake_worker **worker)
{
	if (*worker == NULL)
		return;
	assert_null((*worker)->waiting);
	if ((*worker)->loop != NULL)
		mauth_timer_remove((*worker)->loop, &(*worker)->timer);
	free(*worker);
	*worker = NULL;
}

void fake_worker_hold(struct fake_worker *worker, bool hold)
{
	worker->held = hold;
	if (hold && worker->loop != NULL)
		mauth_timer_remove(worker->loop, &worker->timer);
	wait_for_turn(worker);
}

void fake_worker_stick(struct fake_worker *worker, bool stick)
{
	worker->stuck = stick;
}

static void work(struct job *job)
{
	if (job->work != NULL)
		job->work(job->job);
	job->work = NULL;
}

unsigned int fake_worker_run(struct fake_worker *worker, unsigned int max)
{
	unsigned int waiting = fake_worker_waiting(worker), count;

	for (count = 0; count < max && count < waiting; count++) {
		struct job *job = worker->waiting;

		work(job);
		worker->waiting = job->next;
		worker->done++;
		job->done(job->job);
		free(job);
	}
	wait_for_turn(worker);
	return count;
}

bool fake_worker_work(struct fake_worker *worker)
{
	struct job *job = worker->waiting;

	while (job != NULL && job->work == NULL)
		job = job->next;
	if (job != NULL)
		work(job);
	return job != NULL;
}

unsigned int fake_worker_done(const struct fake_worker *worker)
{
	return worker->done;
}

unsigned int fake_worker_waiting(const struct fake_worker *worker)
{
	unsigned int count = 0;

	for (const struct job *job = worker->waiting; job != NULL; job = job->next)
		count++;
	return count;
}
