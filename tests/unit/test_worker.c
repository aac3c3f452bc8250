/* SPDX-License-Identifier: MIT */
#include "core/mem.h"
#include "fake_sinks.h"
#include "poll_loop.h"
#include "store/worker.h"

#include <dirent.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define JOBS 200

struct fixture {
	struct poll_loop *loop;
	struct fake_sinks sinks;
	struct mauth_worker_thread *thread;
	const struct mauth_worker *worker;
	atomic_uint inside;             /* jobs at work at this moment */
	unsigned int worked, finished;  /* the next number that is expected */
	bool all_done, submitting;
};

struct job {
	struct fixture *f;
	unsigned int number, more;      /* how many follow, each submitted by the one before */
	bool last;
	pid_t tid;
	sigset_t blocked;
};

static int set_up(void **state)
{
	struct fixture *f = mauth_new(sizeof(*f));

	fake_sinks_init(&f->sinks);
	f->loop = poll_loop_new();
	f->thread = mauth_worker_thread_new(poll_loop_loop(f->loop), &f->sinks.log);
	f->worker = mauth_worker_thread_worker(f->thread);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	mauth_worker_thread_free(&f->thread);
	if (poll_loop_timers(f->loop) != 0 || poll_loop_watches(f->loop) != 0)
		return -1;
	poll_loop_free(&f->loop);
	fake_sinks_free(&f->sinks);
	free(f);
	return 0;
}

static void work(void *context)
{
	struct job *job = context;

	if (atomic_fetch_add(&job->f->inside, 1) != 0)
		abort();
	job->tid = gettid();
	pthread_sigmask(SIG_BLOCK, NULL, &job->blocked);
	/* No lock: one job at a time, in order, is what the worker promises. A race checker would see if not. */
	if (job->f->worked++ != job->number)
		abort();
	atomic_fetch_sub(&job->f->inside, 1);
}

static void submit(struct fixture *f, struct job *job);

static void finished(void *context)
{
	struct job *job = context;
	struct fixture *f = job->f;

	assert_false(f->submitting);
	assert_int_equal(job->number, f->finished);
	f->finished++;
	f->all_done = job->last && job->more == 0;
	if (job->more > 0) {
		job->more--;
		job->number++;
		submit(f, job);
	}
}

static void submit(struct fixture *f, struct job *job)
{
	job->f = f;
	f->submitting = true;
	f->worker->submit(f->worker->context, work, finished, job);
	f->submitting = false;
}

static unsigned int threads(void)
{
	DIR *dir = opendir("/proc/self/task");
	unsigned int count = 0;

	assert_non_null(dir);
	for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
		count += entry->d_name[0] != '.';
	closedir(dir);
	return count;
}

static void jobs_run_one_at_a_time_and_end_in_order(void **state)
{
	static struct job jobs[JOBS];
	struct fixture *f = *state;

	for (unsigned int i = 0; i < JOBS; i++) {
		jobs[i] = (struct job){ .number = i, .last = i == JOBS - 1 };
		submit(f, &jobs[i]);
	}
	assert_int_equal(f->finished, 0);
	assert_int_equal(f->worker->pending(f->worker->context), JOBS);
	assert_true(poll_loop_run_until(f->loop, &f->all_done, 20000));
	assert_int_equal(f->finished, JOBS);
	assert_int_equal(f->worker->pending(f->worker->context), 0);
}

static void the_work_is_done_in_one_other_thread_without_signals(void **state)
{
	static struct job jobs[2];
	struct fixture *f = *state;
	sigset_t mine;

	for (unsigned int i = 0; i < 2; i++) {
		jobs[i] = (struct job){ .number = i, .last = i == 1 };
		submit(f, &jobs[i]);
	}
	assert_true(poll_loop_run_until(f->loop, &f->all_done, 20000));
	assert_int_equal(jobs[0].tid, jobs[1].tid);
	assert_int_not_equal(jobs[0].tid, gettid());
	for (int sig = 1; sig < 32; sig++)
		assert_true(sig == SIGKILL || sig == SIGSTOP || sigismember(&jobs[0].blocked, sig) == 1);
	pthread_sigmask(SIG_BLOCK, NULL, &mine);
	assert_int_equal(sigismember(&mine, SIGTERM), 0);
}

static void nothing_is_started_before_the_first_job(void **state)
{
	struct fixture *f = *state;
	struct job job = { .last = true };
	unsigned int before = threads();

	assert_int_equal(poll_loop_watches(f->loop), 0);
	submit(f, &job);
	assert_int_equal(threads(), before + 1);
	assert_true(poll_loop_run_until(f->loop, &f->all_done, 20000));
	mauth_worker_thread_free(&f->thread);
	assert_int_equal(threads(), before);
}

static void a_worker_made_before_a_fork_works_after_it(void **state)
{
	struct fixture *f = *state;
	pid_t child = fork();
	int status;

	assert_true(child >= 0);
	if (child == 0) {
		struct job job = { .last = true };

		submit(f, &job);
		_exit(poll_loop_run_until(f->loop, &f->all_done, 20000) ? 0 : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void an_end_may_submit_the_next(void **state)
{
	struct fixture *f = *state;
	struct job job = { .more = 50, .last = true };

	submit(f, &job);
	assert_true(poll_loop_run_until(f->loop, &f->all_done, 20000));
	assert_int_equal(f->finished, 51);
}

static void freeing_ends_every_job_first(void **state)
{
	static struct job jobs[JOBS];
	struct fixture *f = *state;

	for (unsigned int i = 0; i < JOBS; i++) {
		jobs[i] = (struct job){ .number = i, .more = i == JOBS - 1 ? 10 : 0 };
		submit(f, &jobs[i]);
	}
	mauth_worker_thread_free(&f->thread);
	assert_null(f->thread);
	assert_int_equal(f->finished, JOBS + 10);
	assert_int_equal(poll_loop_watches(f->loop), 0);
}

static void set_open_files(rlim_t limit)
{
	struct rlimit now;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &now), 0);
	now.rlim_cur = limit == RLIM_INFINITY ? now.rlim_max : limit;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &now), 0);
}

static void without_a_thread_jobs_run_in_the_loop(void **state)
{
	static struct job jobs[3];
	struct fixture *f = *state;
	struct rlimit before;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	set_open_files(0);
	for (unsigned int i = 0; i < 3; i++) {
		jobs[i] = (struct job){ .number = i, .last = i == 2, .more = i == 2 ? 2 : 0 };
		submit(f, &jobs[i]);
	}
	assert_int_equal(f->worked, 0);
	assert_true(poll_loop_run_until(f->loop, &f->all_done, 20000));
	set_open_files(before.rlim_cur);
	assert_int_equal(f->finished, 5);
	assert_int_equal(jobs[0].tid, gettid());
	assert_non_null(strstr(f->sinks.lines, "error worker thread: eventfd(): Too many open files"));
	/* Once is enough. */
	assert_null(strchr(strchr(f->sinks.lines, '\n') + 1, '\n'));
}

static void without_a_thread_freeing_ends_every_job_too(void **state)
{
	static struct job jobs[3];
	struct fixture *f = *state;
	struct rlimit before;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	set_open_files(0);
	for (unsigned int i = 0; i < 3; i++) {
		jobs[i] = (struct job){ .number = i };
		submit(f, &jobs[i]);
	}
	set_open_files(before.rlim_cur);
	mauth_worker_thread_free(&f->thread);
	assert_int_equal(f->finished, 3);
	assert_int_equal(poll_loop_timers(f->loop), 0);
}

static void a_thread_that_can_be_started_later_takes_over(void **state)
{
	static struct job jobs[2];
	struct fixture *f = *state;
	struct rlimit before;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	set_open_files(0);
	jobs[0] = (struct job){ .number = 0 };
	submit(f, &jobs[0]);
	set_open_files(before.rlim_cur);
	jobs[1] = (struct job){ .number = 1, .last = true };
	submit(f, &jobs[1]);
	assert_true(poll_loop_run_until(f->loop, &f->all_done, 20000));
	assert_int_not_equal(jobs[0].tid, gettid());
	assert_int_equal(jobs[0].tid, jobs[1].tid);
}

static void wait_for_flag(void *context)
{
	while (!atomic_load((atomic_bool *)context))
		usleep(1000);
}

static void note_end(void *context)
{
	atomic_store((atomic_bool *)context, false);
}

static void a_job_can_be_waited_for_without_the_loop(void **state)
{
	static struct job job;
	struct fixture *f = *state;
	atomic_bool flag = false;

	assert_false(f->worker->wait(f->worker->context, 1000));
	job = (struct job){ .more = 1 };
	submit(f, &job);
	assert_true(f->worker->wait(f->worker->context, 20000));
	assert_int_equal(f->finished, 1);
	/* The one that its end has submitted. */
	assert_true(f->worker->wait(f->worker->context, 20000));
	assert_int_equal(f->finished, 2);
	/* The loop finds nothing left to do. */
	poll_loop_run_until(f->loop, &f->submitting, 1);
	assert_int_equal(f->finished, 2);

	f->worker->submit(f->worker->context, wait_for_flag, note_end, &flag);
	assert_false(f->worker->wait(f->worker->context, 1));
	assert_int_equal(f->worker->pending(f->worker->context), 1);
	atomic_store(&flag, true);
	assert_true(f->worker->wait(f->worker->context, 20000));
	assert_false(atomic_load(&flag));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(jobs_run_one_at_a_time_and_end_in_order),
		TEST(the_work_is_done_in_one_other_thread_without_signals),
		TEST(nothing_is_started_before_the_first_job),
		TEST(a_worker_made_before_a_fork_works_after_it),
		TEST(an_end_may_submit_the_next),
		TEST(a_job_can_be_waited_for_without_the_loop),
		TEST(freeing_ends_every_job_first),
		TEST(without_a_thread_jobs_run_in_the_loop),
		TEST(without_a_thread_freeing_ends_every_job_too),
		TEST(a_thread_that_can_be_started_later_takes_over),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
