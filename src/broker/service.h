/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_SERVICE_H
#define MAUTH_SERVICE_H
/* The broker as a process: its life, its listeners' sessions, and the handing over to a successor.
 *
 * The life of a broker:
 *   WAITING   another broker still holds the lock: requests are left in their sockets until its handover has come
 *   SERVING   the lock is ours: we alone ask Entra and write records
 *   LEAVING   the master wants us gone: clients have been sent to the successor (BYE), the state follows them
 */

#include "client/wire.h"
#include "core/broker.h"
#include "modernauth/log.h"
#include "modernauth/loop.h"

#include <sys/types.h>

enum mauth_role { MAUTH_ROLE_AUTH, MAUTH_ROLE_LOGIN, MAUTH_ROLE_ADMIN, MAUTH_ROLE_HANDOVER, MAUTH_ROLE_RELAY, MAUTH_ROLE_STATUS,
		  MAUTH_ROLE_COUNT };
enum mauth_phase { MAUTH_PHASE_WAITING, MAUTH_PHASE_SERVING, MAUTH_PHASE_LEAVING };

struct mauth_session;
struct mauth_runner;
struct mauth_config_seen;
struct mauth_service_state;
struct mauth_storage;
struct mauth_audit_keep;
struct mauth_audit_sink;
struct mauth_privacy;
struct mauth_pseudonyms;
struct mauth_handover_out;
struct mauth_handover_in;
struct mauth_relay_state;
struct mauth_status_session;

struct mauth_exception_new;

/* Somebody whom an exception would concern. Strings live during the call; NULL: not known. */
struct mauth_affected {
	const char *user, *client, *network;
	enum mauth_service service;
	int64_t last_seen;
};
struct mauth_affected_counts {
	size_t users, clients;
};
typedef void mauth_affected_row_fn(const struct mauth_affected *row, void *context);
/* Calls row for everybody whom what describes by protocol, user and network, and counts them. false: nobody keeps an
 * inventory. */
typedef bool mauth_affected_fn(struct mauth_service_state *service, const struct mauth_exception_new *what,
			       mauth_affected_row_fn *row, void *context, struct mauth_affected_counts *counts_r);

struct mauth_service_settings {
	const char *config_path;
	const char *handover_path;           /* socket that our successor listens on */
	const char *lock_path;               /* the same for both, whatever their configurations say */
	void (*client_gone)(void);           /* a session has ended */
	void (*left)(void);                  /* everything is handed over */
};

struct mauth_service_state {
	const struct mauth_loop *loop;
	const struct mauth_log *log;
	struct mauth_service_settings settings;
	enum mauth_phase phase;
	struct mauth_config *config;         /* NULL: the file is broken and there is no older one */
	struct mauth_error config_error;     /* then: why */
	int64_t config_read_at;              /* wall clock, seconds */
	int64_t config_error_logged;         /* monotonic msecs */
	struct mauth_http_curl *http;
	struct mauth_worker_thread *reader;  /* of files that change */
	struct mauth_audit_file *audit;
	struct mauth_worker_thread *syncer;  /* waits for its disk; NULL: nobody does */
	uint64_t changes, changes_told;      /* by admins; those that they have been told of, or that it failed */
	struct mauth_forward *forward;       /* of its records to syslog and journald; NULL: nobody wants them */
	struct mauth_audit_keep *keep;       /* retention; NULL: none */
	struct mauth_worker_thread *keeper;  /* of it */
	const struct mauth_audit_sink *sink; /* where records go; NULL while there is no broker */
	struct mauth_privacy *privacy;       /* what stands before sink and log; NULL: nothing does */
	struct mauth_pseudonyms *pseudonyms; /* whose are whose; NULL: users are clear, or nobody is to know */
	struct mauth_runner *runner;         /* of the programs that notices are given to */
	struct mauth_storage *storage;       /* open while we are alone */
	struct mauth_config_seen *seen;      /* puts on record which configuration is in force */
	mauth_affected_fn *affected;         /* who has been seen; NULL: nobody keeps an inventory */
	struct mauth_broker *broker;         /* NULL while WAITING, until the verifier key is known */
	uid_t role_uids[MAUTH_ROLE_COUNT];   /* who, besides root, may use a listener of that role */
	int lock_fd;
	int64_t waiting_since;
	bool inherited;                      /* a predecessor has handed over everything */
	struct mauth_timer *lock_timer;
	int64_t linger_until;
	struct mauth_timer *reopen;          /* of the store, after an import */
	struct mauth_session *sessions;
	struct mauth_status_session *status_sessions;
	unsigned int mta_clients;            /* sessions of both kinds that MTAs have */
	struct mauth_relay_state *relay;     /* what the processes of MTAs were given */
	struct mauth_handover_out *out;
	struct mauth_handover_in *in;
};

/* Settings are read and files are opened with the privileges that the caller has now. MAUTH_OK also if the configuration is
 * broken: a predecessor may hand over the one in force. */
enum mauth_status mauth_service_init(struct mauth_service_state *service, const struct mauth_service_settings *settings,
				     const struct mauth_loop *loop, const struct mauth_log *log,
				     struct mauth_error *error_r);
/* After privileges have been dropped: begins to serve, or to wait for a predecessor. */
void mauth_service_start(struct mauth_service_state *service);
/* The master wants this process gone: sends the clients to the successor and hands over. settings.left() follows, never
 * before this returns. */
void mauth_service_leave(struct mauth_service_state *service);
/* Sends the clients that are still served to the successor. */
void mauth_service_bye(struct mauth_service_state *service);
/* There is no successor: login processes, which end too, are heard until none is connected, at most so long. Then the end. */
void mauth_service_linger(struct mauth_service_state *service, unsigned int msecs);
/* Closes the store, lets go of the lock, and calls settings.left(). */
void mauth_service_end(struct mauth_service_state *service);
bool mauth_service_has_left(const struct mauth_service_state *service);
void mauth_service_deinit(struct mauth_service_state *service);

/* A listener's name ends in "-<role>". */
bool mauth_role_parse(const char *listener, enum mauth_role *role_r);
const char *mauth_role_name(enum mauth_role role);

/* Makes the broker, with the key of a predecessor or (NULL) a fresh one, and lets the sessions' requests in. */
void mauth_service_make_broker(struct mauth_service_state *service, const struct mauth_verifier_key *key);
/* Takes over a configuration that a predecessor had in force. */
void mauth_service_adopt_config(struct mauth_service_state *service, struct mauth_config *config);
/* A predecessor has handed over everything: we are alone as soon as the lock is ours. */
void mauth_service_predecessor_done(struct mauth_service_state *service);

#endif
