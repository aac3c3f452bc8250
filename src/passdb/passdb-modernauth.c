/* SPDX-License-Identifier: MIT */
#include "auth-common.h"
#include "auth-client-interface.h"
#include "auth-fields.h"
#include "hash.h"
#include "net.h"
#include "passdb.h"
#include "auth-request-handler.h"
#include "auth-request-handler-private.h"
#include "auth-client-connection.h"

#include "compat/compat.h"
#include "compat/ioloop.h"
#include "passdb/passdb-hold.h"
#include "passdb/passdb-modernauth.h"

/* Room in the reply line for its id and for what core adds to our fields. */
#define REPLY_LINE_MARGIN 512u

struct mauth_passdb {
	struct passdb_module module;
	struct mauth_passdb_settings settings;
	struct mauth_log *log;
	struct mauth_client *client;     /* NULL before init and after deinit */
	struct mauth_passdb_holds *holds;    /* the same */
};

/* A request that the broker is thinking about. */
struct pending {
	struct auth_request *request;
	verify_plain_callback_t *verify;            /* one of them */
	lookup_credentials_callback_t *lookup;
	bool to_login_process;
};

/* --- who is asking ------------------------------------------------------------------------------------------- */

/* Only a login process may get a token, since it needs it and keeps it to itself. An explicit "pass" field goes
 * to whoever asked: Postfix, "doveadm auth test", any auth client. auth_only tells these apart from clients
 * that may log in, but "doveadm auth login" is one of the latter, so the socket has to be one of base_dir/login
 * as well: that directory belongs to the login processes, they are locked in there. */
static bool is_login_process(const struct auth_request *request)
{
	const char *path, *name, *dir;

	if (request->mech == NULL || request->handler == NULL || request->auth_only)
		return false;
	if (MAUTH_REQUEST_CLIENT_FD(request) == -1 ||
	    net_getunixname(MAUTH_REQUEST_CLIENT_FD(request), &path) < 0)
		return false;
	name = strrchr(path, '/');
	if (name == NULL)
		return false;
	dir = t_strdup_until(path, name);
	name = strrchr(dir, '/');
	return name != NULL && strcmp(name, "/login") == 0;
}

/* What the request's service is to us; false if we do not serve it. A client that gets no token is only told
 * whether the password is right, so it is asked for as the service that comes closest. */
static bool find_service(const struct auth_request *request, bool to_login_process, enum mauth_service *service_r)
{
	const char *name = MAUTH_REQUEST_PROTOCOL(request);

	if (mauth_service_parse(name, service_r))
		return true;
	if (to_login_process)
		return false;
	if (strcmp(name, "smtp") == 0)
		*service_r = MAUTH_SERVICE_SUBMISSION;
	else if (strcmp(name, "doveadm") == 0)
		*service_r = MAUTH_SERVICE_IMAP;
	else
		return false;
	return true;
}

/* --- fields of the reply ------------------------------------------------------------------------------------- */

/* What an earlier passdb may have set and what would weaken or redirect our session: "any-cert" most of all. */
static const char *const foreign_fields[] = {
	"ssl", "starttls", "proxy_maybe", "proxy_always", "proxy_noauth", "proxy_mech", "nologin", "master", "pass",
};

/* Where the user's mailbox is, if an earlier passdb knows; NULL: none has said so. It is for the broker: hidden, the field goes
 * to no client, and a second block of ours still finds it. */
static const char *read_side_field(struct auth_request *request)
{
	struct auth_fields *fields = request->fields.extra_fields;
	const char *side = t_strdup(auth_fields_find(fields, MAUTH_SIDE_FIELD));

	if (side != NULL)
		auth_fields_add(fields, MAUTH_SIDE_FIELD, side, AUTH_FIELD_FLAG_HIDDEN);
	return side;
}

static bool fits_reply_line(const struct auth_request *request, const struct mauth_client_reply *reply)
{
	const struct auth_field *field;
	size_t size = REPLY_LINE_MARGIN + strlen(reply->host) +
		(reply->token == NULL ? MAUTH_PASSWORD_MAX : mauth_secret_size(reply->token)) +
		strlen(reply->mailbox) + strlen(reply->token_id) + 2 * strlen(request->fields.user);

	/* Each octet of a foreign field may need an escape. */
	array_foreach(auth_fields_export(request->fields.extra_fields), field)
		size += 2 * (strlen(field->key) + (field->value == NULL ? 0 : strlen(field->value)) + 2);
	return size <= AUTH_CLIENT_MAX_LINE_LENGTH;
}

static void set_field(struct auth_request *request, const char *name, const char *value)
{
	auth_request_set_field(request, name, value, "PLAIN");
}

/* False if Dovecot could not carry them: a reply line above its limit makes submission-login panic. */
static bool set_proxy_fields(struct auth_request *request, const struct mauth_client_reply *reply)
{
	for (unsigned int i = 0; i < N_ELEMENTS(foreign_fields); i++)
		auth_fields_remove(request->fields.extra_fields, foreign_fields[i]);
	mauth_passdb_clear_note(request);
	if (!fits_reply_line(request, reply)) {
		e_error(authdb_event(request), "the token of %zu octets and the other fields do not fit "
			"into Dovecot's reply line of %d octets",
			reply->token == NULL ? 0 : mauth_secret_size(reply->token), AUTH_CLIENT_MAX_LINE_LENGTH);
		return false;
	}
	set_field(request, "proxy", "y");
	set_field(request, "host", reply->host);
	set_field(request, "port", dec2str(reply->port));
	switch (reply->tls) {
	case MAUTH_TLS_IMPLICIT:
		set_field(request, "ssl", "yes");
		break;
	case MAUTH_TLS_STARTTLS:
		set_field(request, "starttls", "yes");
		break;
	}
	if (reply->token != NULL)
		set_field(request, "proxy_mech", "xoauth2");
	else if (strcmp(MAUTH_REQUEST_PROTOCOL(request), "submission") == 0)
		/* Exchange Online offers no other one for passwords; Dovecot would take PLAIN. */
		set_field(request, "proxy_mech", "login");
	set_field(request, "destuser", reply->mailbox);
	/* Dovecot has this for Exchange: "to work around other IMAP servers' bugs (MS Exchange 2013 especially)", NEWS
	   of 2.2.11. A round trip is cheap, a user who cannot log in is not. */
	set_field(request, "proxy_nopipelining", "y");
	/* Nobody there believes our XCLIENT, and clients' addresses are none of their business. */
	set_field(request, "proxy_not_trusted", "y");
	/* By this our login plugin knows its sessions, and the audit joins grant and outcome. Dovecot's logs hide
	   fields with "pass" in their name. */
	set_field(request, "modernauth", *reply->token_id != '\0' ? reply->token_id : "unknown");
	/* Without it Dovecot sends what the client has sent. */
	if (reply->token != NULL)
		set_field(request, "pass", mauth_secret_expose(reply->token));
	return true;
}

static bool rule_continues(enum auth_db_rule rule)
{
	switch (rule) {
	case AUTH_DB_RULE_RETURN:
	case AUTH_DB_RULE_RETURN_OK:
	case AUTH_DB_RULE_RETURN_FAIL:
		return false;
	case AUTH_DB_RULE_CONTINUE:
	case AUTH_DB_RULE_CONTINUE_OK:
	case AUTH_DB_RULE_CONTINUE_FAIL:
		return true;
	}
	return true;
}

/* Like auth_request_want_skip_passdb(), which is not exported. */
static bool is_skipped(const struct auth_request *request, const struct auth_passdb *block)
{
	const char *const *users = MAUTH_PASSDB_USERNAME_FILTER(block);
	const char *const *mechs = MAUTH_PASSDB_MECHANISMS(block);
	const char *mech = request->fields.mech_name != NULL ? request->fields.mech_name : "none";

	if (users != NULL && !auth_request_username_accepted(users, request->fields.user))
		return true;
	if (mechs != NULL && !str_array_icase_find(mechs, mech))
		return true;
	switch (block->skip) {
	case AUTH_PASSDB_SKIP_NEVER:
		return false;
	case AUTH_PASSDB_SKIP_AUTHENTICATED:
		return request->fields.skip_password_check;
	case AUTH_PASSDB_SKIP_UNAUTHENTICATED:
		return !request->fields.skip_password_check;
	}
	return false;
}

/* Dovecot takes back the fields of a passdb that failed; the snapshot keeps them. But only when nobody is asked
 * after us: our "nodelay" would let passwords be guessed at the next passdb without delay, and our reason is
 * not its. */
static void keep_fields(struct auth_request *request, enum auth_db_rule rule, bool is_final)
{
	const struct auth_passdb *next = request->passdb->next;

	if (is_final)
		next = NULL;
	while (next != NULL && is_skipped(request, next))
		next = next->next;
	if (next == NULL || !rule_continues(rule))
		auth_fields_snapshot(request->fields.extra_fields);
}

/* IMAP, POP3 and SMTP replies are ASCII. The client has removed the control characters. */
static void set_reason(struct auth_request *request, const char *text)
{
	char *reason = t_strdup_noconst(text);

	if (*text == '\0')
		return;
	for (char *p = reason; *p != '\0'; p++) {
		if ((unsigned char)*p < 0x20 || (unsigned char)*p > 0x7e)
			*p = '?';
	}
	set_field(request, "reason", reason);
}

/* --- answers ------------------------------------------------------------------------------------------------- */

static enum passdb_result set_failure(struct auth_request *request, const struct mauth_client_reply *reply)
{
	switch (reply->status) {
	case MAUTH_BAD_CREDENTIALS:
	case MAUTH_USER_UNKNOWN:
		/* One answer for both: nobody shall find out which users exist. */
		return PASSDB_RESULT_PASSWORD_MISMATCH;
	case MAUTH_LOCKED:
	case MAUTH_INTERACTION:
	case MAUTH_POLICY:
		set_reason(request, reply->reason);
		keep_fields(request, request->passdb->result_failure, reply->is_final);
		return PASSDB_RESULT_PASSWORD_MISMATCH;
	case MAUTH_DISABLED:
		set_reason(request, reply->reason);
		return PASSDB_RESULT_USER_DISABLED;
	case MAUTH_EXPIRED:
		return PASSDB_RESULT_PASS_EXPIRED;
	case MAUTH_NOT_OURS:
		return PASSDB_RESULT_USER_UNKNOWN;
	case MAUTH_CONFIG:
	case MAUTH_TEMPORARY:
	case MAUTH_TIMEOUT:
	case MAUTH_PROTOCOL:
	case MAUTH_AUDIT:
	case MAUTH_CANCELLED:
		/* Not the client's fault: without this an outage would slow down everybody behind one address. */
		set_field(request, "nodelay", "y");
		keep_fields(request, request->passdb->result_internalfail, reply->is_final);
		return PASSDB_RESULT_INTERNAL_FAILURE;
	case MAUTH_OK:
	case MAUTH_STATUS_COUNT:
		break;
	}
	i_unreached();
}

/* Not auth_request_log_password_mismatch(): with auth_verbose_passwords it writes the password. */
static void log_failure(struct auth_request *request, const struct mauth_client_reply *reply,
			enum passdb_result result)
{
	const char *name = mauth_status_name(reply->status);
	const char *reason = reply->reason_is_secret ? "(told the user his device password)" : reply->reason;
	const char *colon = *reason != '\0' ? ": " : "";

	if (result == PASSDB_RESULT_INTERNAL_FAILURE)
		e_error(authdb_event(request), "%s%s%s", name, colon, reason);
	else
		e_info(authdb_event(request), "%s%s%s", name, colon, reason);
}

/* The callback comes last: it may end the request, the connection or the module. */
static void answer(struct auth_request *request, verify_plain_callback_t *verify,
		   lookup_credentials_callback_t *lookup, enum passdb_result result)
{
	if (verify != NULL)
		verify(result, request);
	else
		passdb_handle_credentials(result, NULL, NULL, lookup, request);
}

/* Whom a rule denies is not let in by the passdbs behind us either. Their turn is a matter of our block's settings, which
 * Dovecot reads within its callback, before it comes back: so they are other ones for so long. */
static void answer_finally(struct auth_request *request, verify_plain_callback_t *verify,
			   lookup_credentials_callback_t *lookup, enum passdb_result result)
{
	struct auth_passdb *block = request->passdb;
	enum auth_db_rule failure = block->result_failure, internalfail = block->result_internalfail;

	block->result_failure = block->result_internalfail = AUTH_DB_RULE_RETURN_FAIL;
	answer(request, verify, lookup, result);
	block->result_failure = failure;
	block->result_internalfail = internalfail;
}

static void answer_pending(const struct mauth_client_reply *reply, void *context)
{
	struct pending *pending = context;
	struct auth_request *request = pending->request;
	verify_plain_callback_t *verify = pending->verify;
	lookup_credentials_callback_t *lookup = pending->lookup;
	bool to_login_process = pending->to_login_process;
	enum passdb_result result = PASSDB_RESULT_OK;

	i_free(pending);
	if (reply->status != MAUTH_OK) {
		result = set_failure(request, reply);
		log_failure(request, reply, result);
	} else if (verify != NULL && to_login_process && !set_proxy_fields(request, reply)) {
		set_field(request, "nodelay", "y");
		keep_fields(request, request->passdb->result_internalfail, false);
		result = PASSDB_RESULT_INTERNAL_FAILURE;
	}
	if (reply->is_final)
		answer_finally(request, verify, lookup, result);
	else
		answer(request, verify, lookup, result);
	auth_request_unref(&request);
}

static struct mauth_passdb *passdb_of(const struct auth_request *request)
{
	return container_of(request->passdb->passdb, struct mauth_passdb, module);
}

static void broker_answered(const struct mauth_client_reply *reply, void *context)
{
	const struct pending *pending = context;

	if (!mauth_passdb_hold(passdb_of(pending->request)->holds, pending->request, reply, context))
		answer_pending(reply, context);
}

static struct pending *pending_new(struct auth_request *request)
{
	struct pending *pending = i_new(struct pending, 1);

	pending->request = request;
	auth_request_ref(request);
	return pending;
}

/* --- Dovecot's interface ------------------------------------------------------------------------------------- */

static const char *ip_or_null(const struct ip_addr *ip)
{
	return ip->family == 0 ? NULL : net_ip2addr(ip);
}

static bool brings_token(const struct auth_request *request)
{
	const char *mech = request->fields.mech_name;

	return mech != NULL && (strcasecmp(mech, "XOAUTH2") == 0 || strcasecmp(mech, "OAUTHBEARER") == 0);
}

/* Our login plugin has left it there; it is nobody else's business. Dovecot has a snapshot of forward fields, which brings them
 * back when we fail or leave the login to the next passdb, who might forward it: so there has to be one without it. What
 * "default_fields" of our block have added since remains outside. */
static const char *take_tls_protocol(struct auth_request *request)
{
	struct auth_fields *fields = request->fields.extra_fields;
	const char *protocol = auth_fields_find(fields, "forward_modernauth_tls");
	const struct auth_field *field;
	ARRAY_TYPE(auth_field) added;

	if (protocol == NULL)
		return NULL;
	protocol = t_strdup(protocol);
	t_array_init(&added, 8);
	array_foreach(auth_fields_export(fields), field) {
		if ((field->flags & AUTH_FIELD_FLAG_CHANGED) != 0 && strcmp(field->key, "forward_modernauth_tls") != 0)
			array_push_back(&added, field);
	}
	auth_fields_rollback(fields);
	auth_fields_remove(fields, "forward_modernauth_tls");
	auth_fields_snapshot(fields);
	array_foreach(&added, field)
		auth_fields_add(fields, field->key, field->value, field->flags);
	return protocol;
}

/* Postfix's smtpd has one word for it, "secured", and says that of nothing but TLS. */
static bool is_tls(const struct auth_request *request)
{
	return MAUTH_REQUEST_IS_TLS(request) ||
		(strcmp(MAUTH_REQUEST_PROTOCOL(request), "smtp") == 0 && MAUTH_REQUEST_IS_SECURED(request));
}

static void ask_login(struct mauth_passdb *db, struct auth_request *request, const char *password,
		      const char *tls_protocol, enum mauth_service service, struct pending *pending)
{
	struct mauth_secret *secret = mauth_secret_new(password, strlen(password));
	struct mauth_attempt attempt = {
		.user = request->fields.user,
		.password = secret,
		.service = service,
		.mechanism = request->fields.mech_name,
		.client_ip = ip_or_null(&request->fields.remote_ip),
		.client_port = request->fields.remote_port,
		.local_ip = ip_or_null(&request->fields.local_ip),
		.local_port = request->fields.local_port,
		.tls = is_tls(request),
		.tls_protocol = tls_protocol,
		.session = request->fields.session_id,
		.client_id = request->fields.client_id,
		.verified_by_dovecot = mauth_passdb_is_verified(request),
		.check_only = !pending->to_login_process,
		.password_is_token = brings_token(request),
		.mailbox_side = read_side_field(request),
		.timeout_msecs = db->settings.timeout_msecs,
	};

	mauth_client_login(db->client, &attempt, broker_answered, pending);
	mauth_secret_free(&secret);
}

/* Why this request is not for us, or NULL. */
static const char *why_not_ours(const struct auth_request *request, bool to_login_process)
{
	const char *mech = request->fields.mech_name;

	/* Only Exchange can say whether a client's own token is good, and asks for it itself: who does not open a session
	   there must not hear that it is. */
	if (brings_token(request) && !to_login_process)
		return "nobody here can verify a token";
	/* Other mechanisms come with something else than a password, or nothing at all. */
	if (!brings_token(request) && (mech == NULL || (strcasecmp(mech, "PLAIN") != 0 && strcasecmp(mech, "LOGIN") != 0)))
		return "its mechanism brings no password";
	/* The password is the master's, the mailbox somebody else's. */
	if (request->fields.requested_login_user != NULL || request->fields.master_user != NULL)
		return "master users are not supported";
	return NULL;
}

static void passdb_verify_plain(struct auth_request *request, const char *password,
				verify_plain_callback_t *callback)
{
	struct mauth_passdb *db = passdb_of(request);
	bool to_login_process = is_login_process(request);
	const char *why = why_not_ours(request, to_login_process), *tls_protocol = take_tls_protocol(request);
	enum mauth_service service;
	struct pending *pending;

	if (db->client == NULL) {
		callback(PASSDB_RESULT_INTERNAL_FAILURE, request);
		return;
	}
	if (why == NULL && !find_service(request, to_login_process, &service))
		why = "its service is not served by us";
	if (why != NULL) {
		e_info(authdb_event(request), "not ours: %s", why);
		callback(PASSDB_RESULT_USER_UNKNOWN, request);
		return;
	}
	pending = pending_new(request);
	pending->verify = callback;
	pending->to_login_process = to_login_process;
	ask_login(db, request, password, tls_protocol, service, pending);
}

/* Without a password there is never a token: this answers "is there such a user", for doveadm and for LMTP. */
static void passdb_lookup_credentials(struct auth_request *request, lookup_credentials_callback_t *callback)
{
	struct mauth_passdb *db = passdb_of(request);
	enum mauth_service service;
	struct pending *pending;

	if (db->client == NULL) {
		callback(PASSDB_RESULT_INTERNAL_FAILURE, NULL, 0, request);
		return;
	}
	/* CRAM-MD5 and its like need the password itself, which only Entra has. */
	if (*request->wanted_credentials_scheme != '\0') {
		callback(PASSDB_RESULT_SCHEME_NOT_AVAILABLE, NULL, 0, request);
		return;
	}
	/* With a mechanism this would be a login, and our OK without proxy fields a local one. */
	/* And whose mailbox is elsewhere is not ours. */
	if (request->mech != NULL || !find_service(request, false, &service) ||
	    null_strcmp(read_side_field(request), "onprem") == 0) {
		callback(PASSDB_RESULT_USER_UNKNOWN, NULL, 0, request);
		return;
	}
	pending = pending_new(request);
	pending->lookup = callback;
	mauth_client_lookup(db->client, request->fields.user, service, db->settings.timeout_msecs, broker_answered,
			    pending);
}

struct passdb_module *mauth_passdb_new(pool_t pool, const struct mauth_passdb_settings *settings)
{
	struct mauth_passdb *db = p_new(pool, struct mauth_passdb, 1);

	db->settings = *settings;
	db->module.default_pass_scheme = "PLAIN";
	/* No default_cache_key: the auth cache would keep tokens past their end and accept old passwords. */
	return &db->module;
}

/* Runs once per process. Auth workers come here too, for the sake of other passdbs; they never ask us anything,
 * and the client connects only when it is asked. */
static void passdb_modernauth_init(struct passdb_module *module)
{
	struct mauth_passdb *db = container_of(module, struct mauth_passdb, module);

	if (module->blocking)
		i_fatal("passdb modernauth: does not run in auth workers: remove passdb_use_worker=yes");
	mauth_passdb_watch_earlier();
	db->log = mauth_event_log_new(auth_event);
	db->client = mauth_client_new(&(struct mauth_client_settings){
		.path = db->settings.socket_path,
		.name = "auth",
		.config_path = db->settings.config_path,
	}, mauth_ioloop(), db->log);
	db->holds = mauth_passdb_holds_new(mauth_ioloop(), answer_pending);
}

static void passdb_modernauth_deinit(struct passdb_module *module)
{
	struct mauth_passdb *db = container_of(module, struct mauth_passdb, module);
	struct mauth_client *client = db->client;

	mauth_passdb_unwatch_earlier();
	/* The answers below may come back to us through another passdb block of ours. */
	db->client = NULL;
	mauth_passdb_holds_free(&db->holds);
	mauth_client_free(&client);
	mauth_event_log_free(&db->log);
}

struct passdb_module_interface mauth_passdb_interface = {
	.name = "modernauth",
	.preinit = mauth_passdb_preinit,
	.init = passdb_modernauth_init,
	.deinit = passdb_modernauth_deinit,
	.verify_plain = passdb_verify_plain,
	.lookup_credentials = passdb_lookup_credentials,
};
