/* SPDX-License-Identifier: MIT */
/* libmodernauth_login.so, for imap-login, pop3-login and submission-login: makes sessions that our passdb has
 * set up work with Exchange Online, and tells the broker what Exchange said to the token. All other sessions
 * are left as they are. */
#include "login-common.h"
#include "client-common.h"
#include "iostream-ssl.h"
#include "module-context.h"
#include "module-dir.h"

#include "compat/compat.h"
#include "compat/ioloop.h"
#include "login/session.h"
#include "modernauth/client.h"

/* Relative to base_dir/login, where login processes live and which most cannot leave. */
#define BROKER_SOCKET "modernauth-login"

extern MAUTH_EXPORT const char *modernauth_login_version;
MAUTH_EXPORT void modernauth_login_init(struct module *module);
MAUTH_EXPORT void modernauth_login_deinit(void);

const char *modernauth_login_version = DOVECOT_ABI_VERSION;

static MODULE_CONTEXT_DEFINE_INIT(login_module, &login_module_register);

/* One per process, made when the first report is due: the process is in its final place then. */
static struct mauth_client *broker;
static struct mauth_log *broker_log;

struct mauth_login_session *mauth_login_session(struct client *client)
{
	return MODULE_CONTEXT_REQUIRE(client, login_module);
}

struct mauth_client *mauth_login_broker(void)
{
	if (broker == NULL) {
		broker_log = mauth_event_log_new(NULL);
		broker = mauth_client_new(&(struct mauth_client_settings){
			.path = BROKER_SOCKET,
			.name = login_binary->process_name,
		}, mauth_ioloop(), broker_log);
	}
	return broker;
}

static enum mauth_upstream_result result_of(enum login_proxy_failure_type type)
{
	switch (type) {
	case LOGIN_PROXY_FAILURE_TYPE_CONNECT:
	case LOGIN_PROXY_FAILURE_TYPE_INTERNAL:
	case LOGIN_PROXY_FAILURE_TYPE_INTERNAL_CONFIG:
	case LOGIN_PROXY_FAILURE_TYPE_REMOTE:
	case LOGIN_PROXY_FAILURE_TYPE_REMOTE_CONFIG:
	case LOGIN_PROXY_FAILURE_TYPE_PROTOCOL:
		return MAUTH_UPSTREAM_FAILED;
	case MAUTH_PROXY_FAILURE_REPLIED:
	MAUTH_CASE_PROXY_FAILURE_NOT_REPLIED
	MAUTH_CASE_PROXY_FAILURE_LIMIT
	MAUTH_CASE_PROXY_FAILURE_REDIRECT
	case LOGIN_PROXY_FAILURE_TYPE_AUTH_TEMPFAIL:
		return MAUTH_UPSTREAM_REFUSED;
	}
	return MAUTH_UPSTREAM_FAILED;
}

/* --- the client's vfuncs ------------------------------------------------------------------------------------- */

/* Comes before every connection to an upstream, the first one and each retry. */
static void login_proxy_reset(struct client *client)
{
	struct mauth_login_session *session = mauth_login_session(client);

	mauth_login_session_begin(client);
	session->module_ctx.super.proxy_reset(client);
}

static int login_proxy_parse_line(struct client *client, const char *line)
{
	struct mauth_login_session *session = mauth_login_session(client);

	if (!session->ours || (session->basic && strcmp(login_binary->protocol, "submission") != 0))
		return session->module_ctx.super.proxy_parse_line(client, line);
	if (strcmp(login_binary->protocol, "pop3") == 0)
		return mauth_pop3_parse_line(client, line);
	if (strcmp(login_binary->protocol, "imap") == 0)
		return mauth_imap_parse_line(client, line);
	return mauth_submission_parse_line(client, line);
}

static void login_proxy_failure(struct client *client, enum login_proxy_failure_type type, const char *reason,
				bool reconnecting)
{
	struct mauth_login_session *session = mauth_login_session(client);

	if (!reconnecting)
		mauth_login_session_report(client, result_of(type), reason);
	session->module_ctx.super.proxy_failed(client, type, reason, reconnecting);
}

static const char *login_proxy_state(struct client *client)
{
	struct mauth_login_session *session = mauth_login_session(client);

	if (session->ours && !session->basic && strcmp(login_binary->protocol, "pop3") == 0)
		return mauth_pop3_step_name(session->pop3_step);
	return session->module_ctx.super.proxy_get_state(client);
}

/* auth knows of TLS only that there is some; rules may ask for its version. So it goes along with what is known of the
 * client. */
static void note_tls(struct client *client)
{
	struct mauth_login_session *session = mauth_login_session(client);

	if (session->tls_noted || client->ssl_iostream == NULL || !ssl_iostream_is_handshaked(client->ssl_iostream))
		return;
	session->tls_noted = TRUE;
	client_add_forward_field(client, "modernauth_tls", ssl_iostream_get_protocol_name(client->ssl_iostream));
}

/* Every login of every protocol asks this before it begins, and its command has come through TLS if there is any. */
static bool login_sasl_filter_mech(struct client *client, struct auth_mech_desc *mech)
{
	struct mauth_login_session *session = mauth_login_session(client);

	note_tls(client);
	return session->module_ctx.super.sasl_filter_mech == NULL ||
	       session->module_ctx.super.sasl_filter_mech(client, mech);
}

/* The one place that every successful login of every protocol passes, once the client has been told. */
static void login_destroy(struct client *client)
{
	struct mauth_login_session *session = mauth_login_session(client);

	if (client->login_success)
		mauth_login_session_report(client, MAUTH_UPSTREAM_ACCEPTED, NULL);
	else
		mauth_login_session_report(client, MAUTH_UPSTREAM_FAILED,
					   "the client left before the upstream answered");
	/* What was accepted goes on without its client's input and output; it is cleared when that has ended. */
	if (session->ear == NULL)
		mauth_login_session_clear(session);
	if (session->module_ctx.super.destroy != NULL)
		session->module_ctx.super.destroy(client);
}

static void login_free(struct client *client)
{
	struct mauth_login_session *session = mauth_login_session(client);

	mauth_login_session_clear(session);
	if (session->module_ctx.super.free != NULL)
		session->module_ctx.super.free(client);
}

static void login_client_allocated(struct client *client)
{
	struct mauth_login_session *session;
	enum mauth_service service;

	/* managesieve-login and others load the same list of plugins. */
	if (!mauth_service_parse(login_binary->protocol, &service))
		return;
	session = p_new(client->pool, struct mauth_login_session, 1);
	session->module_ctx.super = client->v;
	client->v.proxy_reset = login_proxy_reset;
	client->v.proxy_parse_line = login_proxy_parse_line;
	client->v.proxy_failed = login_proxy_failure;
	client->v.proxy_get_state = login_proxy_state;
	client->v.destroy = login_destroy;
	client->v.free = login_free;
	client->v.sasl_filter_mech = login_sasl_filter_mech;
	MODULE_CONTEXT_SET(client, login_module, session);
}

static const struct login_client_hooks hooks = { .client_allocated = login_client_allocated };

void modernauth_login_init(struct module *module)
{
	login_client_hooks_add(module, &hooks);
	mauth_login_ended_init();
}

void modernauth_login_deinit(void)
{
	login_client_hooks_remove(&hooks);
	mauth_login_ended_deinit();
	mauth_client_free(&broker);
	mauth_event_log_free(&broker_log);
}
