/* SPDX-License-Identifier: MIT */
#include "store/worker.h"

#include "core/mem.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

struct job {
	struct job *next;
	void (*work)(void *job);
	void (*done)(void *job);
	void *job;
};

struct queue {
	struct job *first, *last;
};

struct mauth_worker_thread {
	struct mauth_worker worker;
	const struct mauth_loop *loop;
	const struct mauth_log *log;
	pthread_t thread;
	bool running;
	bool complained;
	unsigned int pending;
	struct mauth_watch *watch;
	struct mauth_timer *here;       /* the thread could not be started: the next job runs in the loop */
	int fd;                         /* an eventfd, readable while there is something in finished; -1: none */

	pthread_mutex_t mutex;          /* guards all below */
	pthread_cond_t submitted, done;
	struct queue todo, finished;
	bool stop;
};

static void push(struct queue *queue, struct job *job)
{
	job->next = NULL;
	if (queue->first == NULL)
		queue->first = job;
	else
		queue->last->next = job;
	queue->last = job;
}

static struct job *pop(struct queue *queue)
{
	struct job *job = queue->first;

	if (job != NULL)
		queue->first = job->next;
	return job;
}

static struct job *locked_pop(struct mauth_worker_thread *thread, struct queue *queue)
{
	struct job *job;

	pthread_mutex_lock(&thread->mutex);
	job = pop(queue);
	pthread_mutex_unlock(&thread->mutex);
	return job;
}

/* -- in the thread -- */

static void *run(void *context)
{
	static const uint64_t one = 1;
	struct mauth_worker_thread *thread = context;
	struct job *job;

	pthread_mutex_lock(&thread->mutex);
	for (;;) {
		while (thread->todo.first == NULL && !thread->stop)
			pthread_cond_wait(&thread->submitted, &thread->mutex);
		job = pop(&thread->todo);
		if (job == NULL)
			break;
		pthread_mutex_unlock(&thread->mutex);
		job->work(job->job);
		pthread_mutex_lock(&thread->mutex);
		push(&thread->finished, job);
		pthread_cond_signal(&thread->done);
		/* Fails only if the counter were full, and then it is readable already. */
		(void)!write(thread->fd, &one, sizeof(one));
	}
	pthread_mutex_unlock(&thread->mutex);
	return NULL;
}

/* -- in the loop -- */

/* One job that is finished, if there is one. Comes last: done() may do anything but free the thread. */
static bool call_done(struct mauth_worker_thread *thread)
{
	struct job *job = locked_pop(thread, &thread->finished);
	void (*done)(void *job);
	void *context;

	if (job == NULL)
		return false;
	done = job->done;
	context = job->job;
	free(job);
	thread->pending--;
	done(context);
	return true;
}

static void something_finished(bool readable, bool writable, void *context)
{
	struct mauth_worker_thread *thread = context;
	uint64_t count = 0;

	/* As many as were finished when this turn began: the loop has other things to do as well. */
	if (read(thread->fd, &count, sizeof(count)) != (ssize_t)sizeof(count))
		return;
	while (count-- > 0 && call_done(thread))
		;
}

static int start_thread(struct mauth_worker_thread *thread)
{
	sigset_t all, before;
	int code;

	/* Signals are the loop's: in a thread that the host does not know they would be lost, or interrupt a commit. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	code = pthread_create(&thread->thread, NULL, run, thread);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return code;
}

static bool cannot_start(struct mauth_worker_thread *thread, const char *what, int code)
{
	if (!thread->complained)
		mauth_log(thread->log, MAUTH_ERROR,
			  "worker thread: %s: %s; its work is done in between, which makes logins wait (raise the limits "
			  "of the service)", what, strerror(code));
	thread->complained = true;
	return false;
}

static bool start(struct mauth_worker_thread *thread)
{
	int code;

	if (thread->running)
		return true;
	if (thread->fd < 0)
		thread->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (thread->fd < 0)
		return cannot_start(thread, "eventfd()", errno);
	code = start_thread(thread);
	if (code != 0)
		return cannot_start(thread, "pthread_create()", code);
	(void)pthread_setname_np(thread->thread, "modernauth-work");
	thread->running = true;
	thread->watch = mauth_watch_add(thread->loop, thread->fd, something_finished, thread);
	mauth_watch_set(thread->loop, thread->watch, true, false);
	return true;
}

/* The next job, without the thread. */
static void work_here(struct mauth_worker_thread *thread)
{
	struct job *job = locked_pop(thread, &thread->todo);

	if (job == NULL)
		return;
	job->work(job->job);
	pthread_mutex_lock(&thread->mutex);
	push(&thread->finished, job);
	pthread_mutex_unlock(&thread->mutex);
}

static void start_or_work_here(void *context)
{
	struct mauth_worker_thread *thread = context;

	thread->here = NULL;
	if (start(thread))
		return;
	work_here(thread);
	if (thread->todo.first != NULL)
		thread->here = mauth_timer_add(thread->loop, 0, start_or_work_here, thread);
	(void)call_done(thread);
}

static void submit(void *context, void (*work)(void *job), void (*done)(void *job), void *data)
{
	struct mauth_worker_thread *thread = context;
	struct job *job = mauth_new(sizeof(*job));

	*job = (struct job){ .work = work, .done = done, .job = data };
	thread->pending++;
	pthread_mutex_lock(&thread->mutex);
	push(&thread->todo, job);
	pthread_cond_signal(&thread->submitted);
	pthread_mutex_unlock(&thread->mutex);
	if (!start(thread) && thread->here == NULL)
		thread->here = mauth_timer_add(thread->loop, 0, start_or_work_here, thread);
}

static unsigned int pending(const void *context)
{
	return ((const struct mauth_worker_thread *)context)->pending;
}

static void wait_for_one(struct mauth_worker_thread *thread, const struct timespec *until)
{
	int code = 0;

	pthread_mutex_lock(&thread->mutex);
	while (thread->finished.first == NULL && code != ETIMEDOUT) {
		if (until != NULL)
			code = pthread_cond_timedwait(&thread->done, &thread->mutex, until);
		else
			(void)pthread_cond_wait(&thread->done, &thread->mutex);
	}
	pthread_mutex_unlock(&thread->mutex);
}

static bool wait_msecs(void *context, unsigned int msecs)
{
	struct mauth_worker_thread *thread = context;
	struct timespec until;

	if (thread->pending == 0)
		return false;
	if (!thread->running) {
		work_here(thread);
		return call_done(thread);
	}
	(void)clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += msecs / 1000;
	until.tv_nsec += (long)(msecs % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	wait_for_one(thread, &until);
	return call_done(thread);
}

struct mauth_worker_thread *mauth_worker_thread_new(const struct mauth_loop *loop, const struct mauth_log *log)
{
	struct mauth_worker_thread *thread = mauth_new(sizeof(*thread));
	pthread_condattr_t monotonic;

	thread->worker = (struct mauth_worker){ .submit = submit, .pending = pending, .context = thread, .wait = wait_msecs };
	thread->loop = loop;
	thread->log = log;
	thread->fd = -1;
	/* Such attributes: these cannot fail. */
	(void)pthread_mutex_init(&thread->mutex, NULL);
	(void)pthread_cond_init(&thread->submitted, NULL);
	(void)pthread_condattr_init(&monotonic);
	(void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&thread->done, &monotonic);
	(void)pthread_condattr_destroy(&monotonic);
	return thread;
}

const struct mauth_worker *mauth_worker_thread_worker(struct mauth_worker_thread *thread)
{
	return &thread->worker;
}

static void stop(struct mauth_worker_thread *thread)
{
	if (!thread->running)
		return;
	pthread_mutex_lock(&thread->mutex);
	thread->stop = true;
	pthread_cond_signal(&thread->submitted);
	pthread_mutex_unlock(&thread->mutex);
	(void)pthread_join(thread->thread, NULL);
	mauth_watch_remove(thread->loop, &thread->watch);
}

void mauth_worker_thread_free(struct mauth_worker_thread **thread_p)
{
	struct mauth_worker_thread *thread = *thread_p;

	if (thread == NULL)
		return;
	/* Not before it is over: a done() may look at the worker, or submit more. */
	while (thread->pending > 0) {
		if (thread->running)
			wait_for_one(thread, NULL);
		else
			work_here(thread);
		(void)call_done(thread);
	}
	*thread_p = NULL;
	stop(thread);
	mauth_timer_remove(thread->loop, &thread->here);
	if (thread->fd >= 0)
		close(thread->fd);
	(void)pthread_cond_destroy(&thread->done);
	(void)pthread_cond_destroy(&thread->submitted);
	(void)pthread_mutex_destroy(&thread->mutex);
	free(thread);
}
