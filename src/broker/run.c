/* SPDX-License-Identifier: MIT */
#include "broker/run.h"

#include "core/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* Whether it has ended is asked, not signalled: SIGCHLD is lib-master's and the loop knows no signals. Nobody waits for it. */
#define LOOK_MSECS 50u
#define QUEUE_MAX 200u
#define SAID_MAX 256u
#define PATH_ENV "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

struct job {
	struct job *next;
	char *what;
	char **argv, **env;
	char *input;
	size_t size;
	unsigned int timeout_msecs;
};

struct mauth_runner {
	struct mauth_run run;
	const struct mauth_loop *loop;
	const struct mauth_log *log;
	struct job *first, **last;           /* the first one is running if pid is set */
	size_t count;
	pid_t pid;                           /* 0: none */
	int said_fd;                         /* its stderr; -1: none */
	struct mauth_watch *watch;
	struct mauth_timer *look;
	int64_t started_msecs;
	bool killed;
	char said[SAID_MAX];
	size_t said_size;
};

static void start_next(struct mauth_runner *runner);

/* -- jobs --------------------------------------------------------------------------------------------------- */

static char **copy_list(const char *const *list, const char *more)
{
	size_t count = 0;
	char **copy;

	while (list[count] != NULL)
		count++;
	copy = mauth_new_array(count + 2, sizeof(*copy));
	for (size_t i = 0; i < count; i++)
		copy[i] = mauth_strdup(list[i]);
	copy[count] = mauth_strdup(more);
	return copy;
}

static void free_list(char **list)
{
	for (size_t i = 0; list[i] != NULL; i++)
		free(list[i]);
	free(list);
}

static void drop_first(struct mauth_runner *runner)
{
	struct job *job = runner->first;

	runner->first = job->next;
	if (runner->first == NULL)
		runner->last = &runner->first;
	runner->count--;
	free(job->what);
	free_list(job->argv);
	free_list(job->env);
	free(job->input);
	free(job);
}

/* -- the child ---------------------------------------------------------------------------------------------- */

/* stdin of the child is a file in memory: it can take all of it at once or never read it, and nobody waits. */
static int input_fd(const struct job *job)
{
	int fd = memfd_create("modernauth-notice", MFD_CLOEXEC);
	size_t done = 0;
	ssize_t wrote = 0;

	while (fd >= 0 && done < job->size) {
		wrote = write(fd, job->input + done, job->size - done);
		if (wrote <= 0)
			break;
		done += (size_t)wrote;
	}
	if (fd < 0 || done < job->size || lseek(fd, 0, SEEK_SET) != 0) {
		if (fd >= 0)
			(void)close(fd);
		return -1;
	}
	return fd;
}

/* Between fork() and exec() of a process with threads: nothing but system calls. Tells by its exit status that it came so far
 * only: 126, 127 as a shell does. */
static void become(const struct job *job, int in, int err)
{
	static const int reset[] = { SIGPIPE, SIGXFSZ, SIGHUP, SIGINT, SIGTERM, SIGALRM, SIGUSR1, SIGUSR2, SIGCHLD };
	int null_fd = open("/dev/null", O_WRONLY);
	sigset_t none;

	(void)setsid();
	if (null_fd < 0 || dup2(in, STDIN_FILENO) < 0 || dup2(null_fd, STDOUT_FILENO) < 0 || dup2(err, STDERR_FILENO) < 0 ||
	    close_range(STDERR_FILENO + 1, ~0U, 0) < 0 || chdir("/") < 0)
		_exit(126);
	for (size_t i = 0; i < sizeof(reset) / sizeof(reset[0]); i++)
		(void)signal(reset[i], SIG_DFL);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	/* Should the broker be gone by then: an alarm outlives exec(). */
	(void)alarm((job->timeout_msecs + 999) / 1000 + 5);
	(void)execve(job->argv[0], job->argv, job->env);
	(void)dprintf(STDERR_FILENO, "%s: %s", job->argv[0], strerror(errno));
	_exit(127);
}

/* -- how it ends -------------------------------------------------------------------------------------------- */

static void hear(struct mauth_runner *runner)
{
	char chunk[1024];
	ssize_t got;

	while ((got = read(runner->said_fd, chunk, sizeof(chunk))) > 0) {
		size_t left = sizeof(runner->said) - 1 - runner->said_size;
		size_t size = (size_t)got < left ? (size_t)got : left;

		memcpy(runner->said + runner->said_size, chunk, size);
		runner->said_size += size;
	}
	/* The end, or an error: there is nothing to wait for any more. */
	if (got == 0 || (errno != EAGAIN && errno != EINTR))
		mauth_watch_remove(runner->loop, &runner->watch);
}

static void said_something(bool readable, bool writable, void *context)
{
	struct mauth_runner *runner = context;

	(void)writable;
	if (readable)
		hear(runner);
}

static void close_said(struct mauth_runner *runner)
{
	mauth_watch_remove(runner->loop, &runner->watch);
	if (runner->said_fd >= 0)
		(void)close(runner->said_fd);
	runner->said_fd = -1;
}

static void log_end(struct mauth_runner *runner, int status)
{
	const struct job *job = runner->first;
	char first_line[SAID_MAX], how[64] = "";

	runner->said[strcspn(runner->said, "\r\n")] = '\0';
	mauth_clean_copy(first_line, sizeof(first_line), runner->said, strlen(runner->said));
	if (runner->killed)
		snprintf(how, sizeof(how), "killed after %u s", job->timeout_msecs / 1000);
	else if (WIFSIGNALED(status))
		snprintf(how, sizeof(how), "killed by signal %d", WTERMSIG(status));
	else if (WEXITSTATUS(status) != 0)
		snprintf(how, sizeof(how), "exit status %d", WEXITSTATUS(status));
	if (*how != '\0')
		mauth_log(runner->log, MAUTH_ERROR, "%s: %s: %s%s%s", job->what, job->argv[0], how, *first_line != '\0' ? ": " : "",
			  first_line);
	else
		mauth_log(runner->log, MAUTH_INFO, "%s: %s has taken it%s%s", job->what, job->argv[0],
			  *first_line != '\0' ? ": " : "", first_line);
}

static void look(void *context)
{
	struct mauth_runner *runner = context;
	int status = 0;
	pid_t pid = waitpid(runner->pid, &status, WNOHANG);

	runner->look = NULL;
	if (pid == 0 && !runner->killed &&
	    mauth_mono_msecs(runner->loop) >= runner->started_msecs + runner->first->timeout_msecs) {
		runner->killed = true;
		/* It leads its own session: whatever it has started goes with it. */
		(void)kill(-runner->pid, SIGKILL);
	}
	if (pid == 0 || (pid < 0 && errno == EINTR)) {
		runner->look = mauth_timer_add(runner->loop, LOOK_MSECS, look, runner);
		return;
	}
	hear(runner);
	close_said(runner);
	log_end(runner, status);
	runner->pid = 0;
	drop_first(runner);
	start_next(runner);
}

/* -- the queue ---------------------------------------------------------------------------------------------- */

static bool start_child(struct mauth_runner *runner, const struct job *job)
{
	int in = input_fd(job), pipe_fds[2] = { -1, -1 };
	pid_t pid = -1;

	if (in >= 0 && pipe2(pipe_fds, O_CLOEXEC) == 0) {
		(void)fcntl(pipe_fds[0], F_SETFL, O_NONBLOCK);
		pid = fork();
		if (pid == 0)
			become(job, in, pipe_fds[1]);
	}
	if (pid < 0)
		mauth_log(runner->log, MAUTH_ERROR, "%s: %s could not be started: %s", job->what, job->argv[0], strerror(errno));
	if (in >= 0)
		(void)close(in);
	if (pipe_fds[1] >= 0)
		(void)close(pipe_fds[1]);
	runner->said_fd = pipe_fds[0];
	if (pid < 0) {
		close_said(runner);
		return false;
	}
	runner->pid = pid;
	return true;
}

static void start_next(struct mauth_runner *runner)
{
	while (runner->first != NULL && !start_child(runner, runner->first))
		drop_first(runner);
	if (runner->first == NULL)
		return;
	runner->killed = false;
	runner->said_size = 0;
	memset(runner->said, 0, sizeof(runner->said));
	runner->started_msecs = mauth_mono_msecs(runner->loop);
	runner->watch = mauth_watch_add(runner->loop, runner->said_fd, said_something, runner);
	mauth_watch_set(runner->loop, runner->watch, true, false);
	runner->look = mauth_timer_add(runner->loop, LOOK_MSECS, look, runner);
}

static void start(void *context, const struct mauth_run_job *what)
{
	struct mauth_runner *runner = context;
	struct job *job;

	if (runner->count == QUEUE_MAX) {
		mauth_log(runner->log, MAUTH_ERROR, "%s: not run, %u others are waiting", what->what, QUEUE_MAX);
		return;
	}
	job = mauth_new(sizeof(*job));
	job->what = mauth_strdup(what->what);
	job->argv = copy_list(what->argv, NULL);
	job->env = copy_list(what->env, PATH_ENV);
	job->input = mauth_new_array(what->size + 1, 1);
	memcpy(job->input, what->input, what->size);
	job->size = what->size;
	job->timeout_msecs = what->timeout_msecs;
	*runner->last = job;
	runner->last = &job->next;
	if (runner->count++ == 0)
		start_next(runner);
}

struct mauth_runner *mauth_runner_new(const struct mauth_loop *loop, const struct mauth_log *log)
{
	struct mauth_runner *runner = mauth_new(sizeof(*runner));

	runner->run = (struct mauth_run){ .start = start, .context = runner };
	runner->loop = loop;
	runner->log = log;
	runner->last = &runner->first;
	runner->said_fd = -1;
	return runner;
}

void mauth_runner_free(struct mauth_runner **runner)
{
	struct mauth_runner *old = *runner;

	if (old == NULL)
		return;
	*runner = NULL;
	mauth_timer_remove(old->loop, &old->look);
	close_said(old);
	if (old->pid != 0)
		drop_first(old);
	for (; old->first != NULL; drop_first(old))
		mauth_log(old->log, MAUTH_WARNING, "%s: %s was not run, the broker has ended before its turn", old->first->what,
			  old->first->argv[0]);
	free(old);
}

const struct mauth_run *mauth_runner_run(struct mauth_runner *runner)
{
	return &runner->run;
}
