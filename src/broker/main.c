/* SPDX-License-Identifier: MIT */
/* modernauth - the broker as a service of Dovecot.
 *
 * Started by Dovecot's master as root: reads modernauth.conf and the secrets it names, opens its lock, then becomes the user of
 * "service modernauth" and never root again. */
#include "lib.h"
#include <ioloop.h>
#include "master-service.h"
#include "master-service-settings.h"
#include "restrict-access.h"

#include "broker/handover.h"
#include "broker/service.h"
#include "broker/session.h"
#include "broker/status.h"
#include "compat/ioloop.h"
#include "compat/service.h"
#include "core/json.h"

#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEFAULT_CONFIG "/etc/dovecot/modernauth.conf"
#define HANDOVER_LISTENER "modernauth-handover"
#define LOCK_FILE "modernauth.lock"
#define KILLED_LINGER_MSECS 1000u
/* Octets */
#define HEAP_STEP (1 << 20)
#define HEAP_KEPT (4 << 20)

static struct mauth_service_state broker_service;
static struct mauth_log *broker_log;
static bool master_wants_us_gone, lingering;

static void client_connected(struct master_service_connection *conn)
{
	struct mauth_error error;
	enum mauth_role role;

	if (!mauth_role_parse(conn->name, &role)) {
		mauth_log(broker_log, MAUTH_ERROR, "listener %s: its name must end in -auth, -login, -admin, -handover, -relay or -status",
			  conn->name);
		return;
	}
	master_service_client_connection_accept(conn);
	if ((role == MAUTH_ROLE_STATUS ? mauth_status_session_new(&broker_service, conn->fd, &error) :
					 mauth_session_new(&broker_service, role, conn->fd, &error)) != MAUTH_OK)
		mauth_log(broker_log, MAUTH_ERROR, "%s", error.text);
}

static void client_gone(void)
{
	master_service_client_connection_destroyed(master_service);
}

static void master_gone(void)
{
	/* Whether it is a reload or the end cannot be told from here. A reload starts a successor, which takes our state over;
	   at the end nobody accepts it, and the listeners go with the master. */
	master_wants_us_gone = TRUE;
	mauth_service_leave(&broker_service);
}

static void left(void)
{
	lingering = FALSE;
	io_loop_stop(current_ioloop);
}

static void usage(void)
{
	i_fatal("usage: modernauth [-f /path/of/modernauth.conf]");
}

/* restrict_access_by_env() takes the user from the master; without one the broker would stay root. */
static void drop_privileges(bool runs_programs)
{
	restrict_access_by_env(RESTRICT_ACCESS_FLAG_ALLOW_ROOT, NULL);
	if (geteuid() == 0)
		i_fatal("service modernauth: user is not set: the broker does not run as root");
	/* No core file, no ptrace and no /proc/self/environ of a process that holds tokens. */
	restrict_access_set_dumpable(FALSE);
	/* Postfix's sendmail is setgid, Exim's setuid: it could do nothing. */
	if (!runs_programs && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		i_fatal("prctl(PR_SET_NO_NEW_PRIVS) failed: %m");
}

/* Logins take some KB each and give them back together. glibc returns every 128 KiB of that to the kernel and asks for them again
 * at the next burst, and each page is a fault then: several times what a login costs otherwise. */
static void keep_heap(void)
{
#ifdef __GLIBC__
	(void)mallopt(M_TOP_PAD, HEAP_STEP);
	(void)mallopt(M_TRIM_THRESHOLD, HEAP_KEPT);
	(void)mallopt(M_MMAP_THRESHOLD, HEAP_STEP);
#endif
}

int main(int argc, char *argv[])
{
	const enum master_service_flags flags = MASTER_SERVICE_FLAG_NO_IDLE_DIE | MASTER_SERVICE_FLAG_DISABLE_SSL_SET |
						MASTER_SERVICE_FLAG_UPDATE_PROCTITLE;
	struct mauth_service_settings settings = {
		.config_path = DEFAULT_CONFIG, .client_gone = client_gone, .left = left,
	};
	struct mauth_error error;
	const char *read_error;
	int c;

	keep_heap();
	master_service = master_service_init("modernauth", flags, &argc, &argv, "f:");
	while ((c = master_getopt(master_service)) > 0) {
		if (c != 'f')
			usage();
		settings.config_path = optarg;
	}
	if (argc != optind)
		usage();
	if (mauth_compat_read_settings(master_service, &read_error) < 0)
		i_fatal("Error reading Dovecot's configuration: %s", read_error);
	master_service_init_log(master_service);
	/* A limit on the size of files must be an error of the audit, not the end of the broker. */
	(void)signal(SIGXFSZ, SIG_IGN);
	settings.handover_path = mauth_compat_base_dir_path(master_service, HANDOVER_LISTENER);
	settings.lock_path = mauth_compat_base_dir_path(master_service, LOCK_FILE);
	mauth_json_init();
	broker_log = mauth_event_log_new(NULL);
	if (mauth_service_init(&broker_service, &settings, mauth_ioloop(), broker_log, &error) != MAUTH_OK)
		i_fatal("%s", error.text);
	drop_privileges(broker_service.config != NULL && (broker_service.config->notice_mail_to != NULL ||
							  broker_service.config->notice_command != NULL));
	master_service_set_die_with_master(master_service, TRUE);
	master_service_set_die_callback(master_service, master_gone);
	master_service_init_finish(master_service);
	/* One client that never goes: without any, lib-master stops a process that its master wants gone without telling the
	   master so, and that would wait for seconds; and the loop would end before the handing over. */
	master_service_client_connection_created(master_service);
	mauth_service_start(&broker_service);

	master_service_run(master_service, client_connected);
	/* lib-master stops the loop after half a minute of dying; the handing over may not have ended by then. */
	while (!mauth_service_has_left(&broker_service) && !master_service_is_killed(master_service))
		io_loop_run(current_ioloop);
	/* Whoever sends a signal to all processes of a service that is stopped (systemd) has sent it to login processes, too: their
	   last reports are on the way. */
	if (master_service_is_killed(master_service)) {
		mauth_handover_abort(&broker_service);
		lingering = TRUE;
		mauth_service_linger(&broker_service, KILLED_LINGER_MSECS);
		if (lingering)
			io_loop_run(current_ioloop);
	}
	mauth_service_deinit(&broker_service);
	mauth_event_log_free(&broker_log);
	master_service_deinit(&master_service);
	return 0;
}
