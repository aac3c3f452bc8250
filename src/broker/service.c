/* SPDX-License-Identifier: MIT */
#include "broker/service.h"

#include "broker/affected.h"

#include "broker/config-seen.h"
#include "broker/handover.h"
#include "broker/relay.h"
#include "broker/run.h"
#include "broker/session.h"
#include "broker/status.h"
#include "broker/storage.h"
#include "core/mem.h"
#include "core/privacy.h"
#include "core/pseudonyms.h"
#include "net/forward.h"
#include "net/http-curl.h"
#include "store/audit-file.h"
#include "store/audit-keep.h"
#include "store/key-file.h"
#include "store/text-file.h"
#include "store/worker.h"
#include "store/audit-key.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOCK_POLL_MSECS 20u
#define HAND_ON_MSECS 1000
#define WAITING_LOG_MSECS 10000
#define LINGER_POLL_MSECS 20u

static const char *const role_names[MAUTH_ROLE_COUNT] = {
	[MAUTH_ROLE_AUTH] = "auth",
	[MAUTH_ROLE_LOGIN] = "login",
	[MAUTH_ROLE_ADMIN] = "admin",
	[MAUTH_ROLE_HANDOVER] = "handover",
	[MAUTH_ROLE_RELAY] = "relay",
	[MAUTH_ROLE_STATUS] = "status",
};

const char *mauth_role_name(enum mauth_role role)
{
	return role_names[role];
}

bool mauth_role_parse(const char *listener, enum mauth_role *role_r)
{
	const char *suffix = strrchr(listener, '-');

	for (size_t i = 0; suffix != NULL && i < MAUTH_ROLE_COUNT; i++) {
		if (strcmp(suffix + 1, role_names[i]) == 0) {
			*role_r = (enum mauth_role)i;
			return true;
		}
	}
	return false;
}

static void log_warning(void *context, const char *text)
{
	const struct mauth_service_state *service = context;

	mauth_log(service->log, MAUTH_WARNING, "%s", text);
}

static enum mauth_status uid_of(const char *user, const char *setting, uid_t *uid_r, struct mauth_error *error_r)
{
	const struct passwd *pw = getpwnam(user);

	if (pw == NULL)
		return mauth_fail(error_r, MAUTH_CONFIG, 0, "%s = \"%s\": there is no such system user", setting, user);
	*uid_r = pw->pw_uid;
	return MAUTH_OK;
}

/* Who has no Postfix need not have its user. */
static enum mauth_status resolve_relay_user(struct mauth_service_state *service, struct mauth_error *error_r)
{
	const char *user = service->config == NULL ? MAUTH_RELAY_USER : service->config->relay_user;
	enum mauth_status status = uid_of(user, "relay_user", &service->role_uids[MAUTH_ROLE_RELAY], error_r);

	if (status != MAUTH_OK && strcmp(user, MAUTH_RELAY_USER) != 0)
		return status;
	if (status != MAUTH_OK)
		service->role_uids[MAUTH_ROLE_RELAY] = (uid_t)-1;
	service->role_uids[MAUTH_ROLE_STATUS] = service->role_uids[MAUTH_ROLE_RELAY];
	return MAUTH_OK;
}

static enum mauth_status resolve_users(struct mauth_service_state *service, struct mauth_error *error_r)
{
	const struct mauth_config *config = service->config;
	enum mauth_status status;

	status = uid_of(config->auth_user, "auth_user", &service->role_uids[MAUTH_ROLE_AUTH], error_r);
	if (status == MAUTH_OK)
		status = uid_of(config->login_user, "login_user", &service->role_uids[MAUTH_ROLE_LOGIN], error_r);
	return status == MAUTH_OK ? resolve_relay_user(service, error_r) : status;
}

/* Until a configuration says otherwise, the users of a stock Dovecot: when the file is broken its processes must still be
 * let in, to be told "not now" or to wait for a predecessor's configuration. */
static void assume_users(struct mauth_service_state *service)
{
	(void)uid_of("dovecot", "auth_user", &service->role_uids[MAUTH_ROLE_AUTH], NULL);
	(void)uid_of("dovenull", "login_user", &service->role_uids[MAUTH_ROLE_LOGIN], NULL);
	(void)resolve_relay_user(service, NULL);
}

/* The lock says who may ask Entra and write records: one broker, however many the master has running. */
static enum mauth_status open_lock(struct mauth_service_state *service, struct mauth_error *error_r)
{
	const char *path = service->settings.lock_path;

	service->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (service->lock_fd >= 0)
		return MAUTH_OK;
	service->lock_fd = -1;
	return mauth_fail(error_r, MAUTH_CONFIG, errno, "cannot open %s: %s", path, strerror(errno));
}

/* The audit's key of a first start, which only root may write. */
static enum mauth_status make_audit_key(struct mauth_service_state *service, struct mauth_error *error_r)
{
	const char *path = service->config->audit_key_file;
	enum mauth_status status = mauth_audit_key_create(path, error_r);

	if (status != MAUTH_OK)
		return status;
	mauth_log(service->log, MAUTH_INFO, "audit: made the key %s and its public half %s.pub: keep a copy elsewhere", path, path);
	return MAUTH_OK;
}

/* That of pseudonyms, likewise. */
static enum mauth_status make_privacy_key(struct mauth_service_state *service, struct mauth_error *error_r)
{
	const char *path = service->config->privacy_key_file;
	struct mauth_secret *text = mauth_privacy_key_text();
	enum mauth_status status = mauth_key_file_write(path, text, true, error_r);

	mauth_secret_free(&text);
	if (status == MAUTH_OK)
		mauth_log(service->log, MAUTH_INFO, "privacy: made the key %s: keep a copy elsewhere, without it pseudonyms begin anew", path);
	else if (error_r->advice[0] == '\0')
		snprintf(error_r->advice, sizeof(error_r->advice), "make its directory (root's), name another one in privacy { key_file }, "
			 "or do without: users = \"clear\"");
	return status;
}

/* The keys that a first start makes, and what has to be read again then. */
static enum mauth_status make_keys(struct mauth_service_state *service, struct mauth_error *error_r)
{
	const struct mauth_config *config = service->config;
	const bool audit = config->audit_key_file != NULL && config->audit_key == NULL;
	const bool privacy = config->privacy_key_file != NULL && config->privacy_key == NULL;

	if (!audit && !privacy)
		return MAUTH_OK;
	if ((audit && make_audit_key(service, error_r) != MAUTH_OK) || (privacy && make_privacy_key(service, error_r) != MAUTH_OK))
		return MAUTH_CONFIG;
	mauth_config_unref(&service->config);
	return mauth_config_load(service->settings.config_path, mauth_config_read_file, NULL, NULL, NULL, &service->config, error_r);
}

enum mauth_status mauth_service_init(struct mauth_service_state *service, const struct mauth_service_settings *settings,
				     const struct mauth_loop *loop, const struct mauth_log *log,
				     struct mauth_error *error_r)
{
	enum mauth_status status;

	memset(service, 0, sizeof(*service));
	service->loop = loop;
	service->log = log;
	service->settings = *settings;
	service->lock_fd = -1;
	service->config_error_logged = INT64_MIN / 2;
	service->config_read_at = mauth_wall_secs(loop);
	status = mauth_config_load(settings->config_path, mauth_config_read_file, NULL, log_warning,
				   service, &service->config, &service->config_error);
	if (status == MAUTH_OK)
		status = make_keys(service, &service->config_error);
	if (status == MAUTH_OK)
		status = resolve_users(service, &service->config_error);
	if (status != MAUTH_OK) {
		mauth_log(log, MAUTH_ERROR, "configuration: %s", service->config_error.text);
		assume_users(service);
		mauth_config_unref(&service->config);
	}
	service->relay = mauth_relay_state_new();
	service->storage = mauth_storage_new(service);
	service->seen = mauth_config_seen_new(service);
	return open_lock(service, error_r);
}

/* Where records go: to the file, and from there to whoever wants them as well. Needs the reader, for names of hosts. */
static const struct mauth_audit_sink *make_audit(struct mauth_service_state *service)
{
	const struct mauth_config *config = service->config;
	enum mauth_format message = MAUTH_FORMAT_SYSLOG;
	char host[256] = "";

	service->audit = mauth_audit_file_new(config->audit_path, service->loop, service->log);
	if (config->audit_key != NULL) {
		char *head = mauth_printf("%s/audit.head", config->state_dir);

		mauth_audit_file_seal(service->audit, config->audit_key, head);
		free(head);
	}
	if (config->audit_group) {
		service->syncer = mauth_worker_thread_new(service->loop, service->log);
		mauth_audit_file_group(service->audit, mauth_worker_thread_worker(service->syncer));
	}
	if (config->audit_syslog.transport == MAUTH_TRANSPORT_NONE && !config->audit_journald)
		return mauth_audit_file_sink(service->audit);
	/* "text" is the syslog message's own. */
	(void)mauth_format_parse(config->audit_syslog_message, &message);
	(void)gethostname(host, sizeof(host) - 1);
	service->forward = mauth_forward_new(mauth_audit_file_sink(service->audit), service->loop, service->log,
					     mauth_worker_thread_worker(service->reader), host);
	if (config->audit_syslog.transport != MAUTH_TRANSPORT_NONE)
		mauth_forward_syslog(service->forward, &config->audit_syslog, message);
	if (config->audit_journald)
		mauth_forward_journal(service->forward, MAUTH_FORWARD_JOURNAL);
	return mauth_forward_sink(service->forward);
}

/* From here on nothing is said or written but what may be. */
static void make_private(struct mauth_service_state *service, struct mauth_host *host)
{
	const struct mauth_config *config = service->config;

	if (!mauth_privacy_is_wanted(config))
		return;
	if (config->privacy_users == MAUTH_USERS_PSEUDONYM)
		service->pseudonyms = mauth_pseudonyms_new(service->loop, service->log, config->audit_keep_secs);
	service->privacy = mauth_privacy_new(service->config, service->pseudonyms);
	service->log = mauth_privacy_log(service->privacy, service->log);
	host->log = service->log;
}

void mauth_service_make_broker(struct mauth_service_state *service, const struct mauth_verifier_key *key)
{
	struct mauth_http_curl_settings http = {
		.user_agent = "dovecot-modernauth/" MAUTH_VERSION, .max_connections = service->config->max_connections,
	};
	struct mauth_host host = { .loop = service->loop, .log = service->log, .files = &mauth_text_files };

	make_private(service, &host);
	service->http = mauth_http_curl_new(&http, service->loop, service->log);
	service->runner = mauth_runner_new(service->loop, service->log);
	host.run = mauth_runner_run(service->runner);
	host.http = mauth_http_curl_http(service->http);
	/* A thread of its own: a map of 200,000 lines must not keep device passwords waiting. */
	service->reader = mauth_worker_thread_new(service->loop, service->log);
	host.worker = mauth_worker_thread_worker(service->reader);
	host.map_news = mauth_config_seen_maps(service->seen);
	service->sink = make_audit(service);
	if (service->privacy != NULL)
		service->sink = mauth_privacy_sink(service->privacy, service->sink);
	host.audit = service->sink;
	host.privacy = service->privacy;
	service->broker = mauth_broker_new(&host, service->config, key);
	service->affected = mauth_affected_by_inventory;
	if (service->phase == MAUTH_PHASE_WAITING)
		mauth_broker_pause(service->broker, true);
	for (struct mauth_session *session = service->sessions; session != NULL; session = session->next)
		mauth_session_update(session);
}

void mauth_service_adopt_config(struct mauth_service_state *service, struct mauth_config *config)
{
	struct mauth_error error;

	service->config = config;
	if (resolve_users(service, &error) != MAUTH_OK)
		mauth_log(service->log, MAUTH_ERROR, "configuration: %s", error.text);
}

/* One broker deletes: the one that is alone. Past privacy: what it records is about files. */
static void begin_to_keep(struct mauth_service_state *service)
{
	const struct mauth_config *config = service->config;

	if (service->audit == NULL || config == NULL || service->keep != NULL ||
	    (config->audit_keep_secs == 0 && config->audit_max_size == 0))
		return;
	service->keeper = mauth_worker_thread_new(service->loop, service->log);
	service->keep = mauth_audit_keep_new(&(struct mauth_audit_keep_settings){
		.path = config->audit_path, .keep_secs = config->audit_keep_secs, .max_size = config->audit_max_size,
		.settled_secs = MAUTH_AUDIT_KEEP_SETTLED_SECS,
		.key = config->audit_key, .loop = service->loop, .log = service->log,
		.worker = mauth_worker_thread_worker(service->keeper), .sink = mauth_audit_file_sink(service->audit) });
}

static void begin_to_serve(struct mauth_service_state *service)
{
	service->phase = MAUTH_PHASE_SERVING;
	mauth_timer_remove(service->loop, &service->lock_timer);
	mauth_handover_forget(service);
	if (service->broker == NULL && service->config != NULL)
		mauth_service_make_broker(service, NULL);
	begin_to_keep(service);
	/* First the store, so that nobody who waited for it finds it missing. */
	mauth_storage_open(service->storage);
	mauth_config_seen_begin(service->seen);
	if (service->broker != NULL)
		mauth_broker_pause(service->broker, false);
	for (struct mauth_session *session = service->sessions; session != NULL; session = session->next)
		mauth_session_update(session);
}

static void try_lock(void *context)
{
	struct mauth_service_state *service = context;
	int64_t now = mauth_mono_msecs(service->loop);

	service->lock_timer = NULL;
	if (flock(service->lock_fd, LOCK_EX | LOCK_NB) == 0) {
		begin_to_serve(service);
		return;
	}
	if (now >= service->waiting_since + WAITING_LOG_MSECS) {
		mauth_log(service->log, MAUTH_ERROR, "another broker still holds %s: if a process \"modernauth\" hangs, "
			  "kill it; logins without a cached token wait until then", service->settings.lock_path);
		service->waiting_since = now;
	}
	service->lock_timer = mauth_timer_add(service->loop, LOCK_POLL_MSECS, try_lock, service);
}

void mauth_service_start(struct mauth_service_state *service)
{
	service->role_uids[MAUTH_ROLE_ADMIN] = geteuid();
	service->role_uids[MAUTH_ROLE_HANDOVER] = geteuid();
	service->waiting_since = mauth_mono_msecs(service->loop);
	try_lock(service);
}

void mauth_service_predecessor_done(struct mauth_service_state *service)
{
	service->inherited = true;
	/* It lets go of the lock when it has read our confirmation. */
	mauth_timer_remove(service->loop, &service->lock_timer);
	service->lock_timer = mauth_timer_add(service->loop, 1, try_lock, service);
}

static void left_cold(void *context)
{
	struct mauth_service_state *service = context;

	service->lock_timer = NULL;
	service->settings.left();
}

/* Our predecessor lets go of the lock as soon as it has read our confirmation; our successor must not get it before us, or
 * it would serve without what we have inherited for it. */
static void hand_on(void *context)
{
	struct mauth_service_state *service = context;

	service->lock_timer = NULL;
	if (flock(service->lock_fd, LOCK_EX | LOCK_NB) == 0 ||
	    mauth_mono_msecs(service->loop) >= service->waiting_since + HAND_ON_MSECS)
		mauth_handover_send(service);
	else
		service->lock_timer = mauth_timer_add(service->loop, 1, hand_on, service);
}

void mauth_service_leave(struct mauth_service_state *service)
{
	bool had_lock = service->phase == MAUTH_PHASE_SERVING;

	if (service->phase == MAUTH_PHASE_LEAVING)
		return;
	service->phase = MAUTH_PHASE_LEAVING;
	mauth_timer_remove(service->loop, &service->lock_timer);
	mauth_timer_remove(service->loop, &service->reopen);
	mauth_audit_keep_free(&service->keep);
	/* What is on record has been answered by us: a successor would record it again. */
	if (service->audit != NULL)
		mauth_audit_file_settle(service->audit);
	/* What login processes report is recorded here until it is known that there is a successor. */
	for (struct mauth_session *session = service->sessions; session != NULL; session = session->next) {
		if (!had_lock || session->role != MAUTH_ROLE_LOGIN)
			mauth_session_bye(session);
	}
	mauth_status_end_all(service);
	service->waiting_since = mauth_mono_msecs(service->loop);
	if (had_lock)
		mauth_handover_send(service);
	else if (service->inherited)
		service->lock_timer = mauth_timer_add(service->loop, 0, hand_on, service);
	else
		/* Reloaded twice in a row: our predecessor finds our successor by itself. */
		service->lock_timer = mauth_timer_add(service->loop, 0, left_cold, service);
}

void mauth_service_bye(struct mauth_service_state *service)
{
	for (struct mauth_session *session = service->sessions; session != NULL; session = session->next)
		mauth_session_bye(session);
}

void mauth_service_end(struct mauth_service_state *service)
{
	/* Only now may the successor be alone, and open the store. */
	mauth_storage_close(service->storage);
	if (service->lock_fd != -1)
		(void)close(service->lock_fd);
	service->lock_fd = -1;
	service->settings.left();
}

static bool has_login_sessions(const struct mauth_service_state *service)
{
	const struct mauth_session *session = service->sessions;

	while (session != NULL && (session->role != MAUTH_ROLE_LOGIN || session->bye))
		session = session->next;
	return session != NULL;
}

static void linger(void *context)
{
	struct mauth_service_state *service = context;

	service->lock_timer = NULL;
	if (has_login_sessions(service) && mauth_mono_msecs(service->loop) < service->linger_until)
		service->lock_timer = mauth_timer_add(service->loop, LINGER_POLL_MSECS, linger, service);
	else
		mauth_service_end(service);
}

void mauth_service_linger(struct mauth_service_state *service, unsigned int msecs)
{
	mauth_timer_remove(service->loop, &service->lock_timer);
	service->linger_until = mauth_mono_msecs(service->loop) + msecs;
	linger(service);
}

bool mauth_service_has_left(const struct mauth_service_state *service)
{
	return service->phase != MAUTH_PHASE_LEAVING || (service->out == NULL && service->lock_timer == NULL);
}

void mauth_service_deinit(struct mauth_service_state *service)
{
	mauth_handover_abort(service);
	mauth_handover_forget(service);
	mauth_timer_remove(service->loop, &service->lock_timer);
	mauth_timer_remove(service->loop, &service->reopen);
	if (service->audit != NULL)
		mauth_audit_file_settle(service->audit);
	mauth_audit_keep_free(&service->keep);
	if (service->keeper != NULL)
		mauth_worker_thread_free(&service->keeper);
	while (service->sessions != NULL)
		mauth_session_end(service->sessions);
	mauth_status_end_all(service);
	if (service->broker != NULL)
		mauth_broker_stop(service->broker);
	mauth_storage_free(&service->storage);
	mauth_config_seen_stop(service->seen);
	mauth_broker_free(&service->broker);
	mauth_forward_free(&service->forward);
	if (service->reader != NULL)
		mauth_worker_thread_free(&service->reader);
	mauth_runner_free(&service->runner);
	if (service->http != NULL)
		mauth_http_curl_free(&service->http);
	if (service->syncer != NULL)
		mauth_worker_thread_free(&service->syncer);
	if (service->audit != NULL)
		mauth_audit_file_free(&service->audit);
	mauth_relay_state_free(&service->relay);
	mauth_config_seen_free(&service->seen);
	mauth_privacy_free(&service->privacy);
	mauth_pseudonyms_free(&service->pseudonyms);
	mauth_config_unref(&service->config);
	if (service->lock_fd != -1)
		(void)close(service->lock_fd);
	service->lock_fd = -1;
}
