/* SPDX-License-Identifier: MIT */
#include "client/wire.h"
#include "sasl/options.h"
#include "sasl/relay.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The end of a conversation that has failed must not wait long for the broker. */
#define REFUSED_MSECS 3000u

/* libsasl2 has one of these, each connection that chose the mechanism one of those. */
struct plugin {
	struct mauth_sasl_options options;
	sasl_client_plug_t plug;
};

struct session {
	const struct mauth_sasl_options *options;
	char *identity;
	struct mauth_buf key;
	char token_id[MAUTH_TOKEN_ID_SIZE];
	struct mauth_buf response;
	bool sent, refused;
};

static int say(const sasl_client_params_t *params, int result, const char *text)
{
	/* Also a line in the program's log. */
	params->utils->seterror(params->utils->conn, 0, "modernauth: %s", text);
	return result;
}

/* Postfix prints libsasl2's fixed text for this number in the deferral, and our own text only in the log. All of them defer. */
static int sasl_result(const struct mauth_relay_answer *answer)
{
	switch (answer->status) {
	case MAUTH_OK:
		return SASL_OK;
	case MAUTH_BAD_CREDENTIALS:
		return SASL_BADAUTH;
	case MAUTH_POLICY:
	case MAUTH_NOT_OURS:
		return SASL_NOAUTHZ;
	case MAUTH_USER_UNKNOWN:
		return SASL_NOUSER;
	case MAUTH_DISABLED:
		return SASL_DISABLED;
	case MAUTH_EXPIRED:
		return SASL_EXPIRED;
	case MAUTH_TEMPORARY:
	case MAUTH_TIMEOUT:
	case MAUTH_AUDIT:
	case MAUTH_LOCKED:
		return SASL_UNAVAIL;
	case MAUTH_INTERACTION:
	case MAUTH_CONFIG:
	case MAUTH_PROTOCOL:
	case MAUTH_CANCELLED:
	case MAUTH_STATUS_COUNT:
		break;
	}
	return SASL_FAIL;
}

/* -- what the program knows: SASL hands it out through callbacks, or has the program ask somebody and call again */

static sasl_interact_t *find_prompt(sasl_interact_t **prompts, unsigned long id)
{
	sasl_interact_t *prompt = prompts == NULL ? NULL : *prompts;

	while (prompt != NULL && prompt->id != SASL_CB_LIST_END) {
		if (prompt->id == id)
			return prompt;
		prompt++;
	}
	return NULL;
}

static int get_identity(struct session *session, const sasl_client_params_t *params, sasl_interact_t **prompts)
{
	const sasl_interact_t *prompt = find_prompt(prompts, SASL_CB_AUTHNAME);
	sasl_callback_ft callback = NULL;
	void *context = NULL;
	const char *text = NULL;
	unsigned int size = 0;
	int result;

	if (session->identity != NULL)
		return SASL_OK;
	if (prompt != NULL) {
		text = prompt->result;
		size = prompt->len;
	} else {
		result = params->utils->getcallback(params->utils->conn, SASL_CB_AUTHNAME, &callback, &context);
		if (result != SASL_OK || callback == NULL)
			return result == SASL_OK ? SASL_INTERACT : result;
		result = ((sasl_getsimple_t *)(void (*)(void))callback)(context, SASL_CB_AUTHNAME, &text, &size);
		if (result != SASL_OK)
			return result;
		/* The length is optional. */
		if (text != NULL && size == 0)
			size = (unsigned int)strnlen(text, MAUTH_USER_MAX + 1);
	}
	if (text == NULL || size == 0 || size > MAUTH_USER_MAX || memchr(text, '\0', size) != NULL)
		return say(params, SASL_BADPARAM, "no user name, or one that is too long: an entry of smtp_sasl_password_maps has the form identity:key");
	session->identity = mauth_strndup(text, size);
	return SASL_OK;
}

static int get_key(struct session *session, const sasl_client_params_t *params, sasl_interact_t **prompts)
{
	const sasl_interact_t *prompt = find_prompt(prompts, SASL_CB_PASS);
	sasl_callback_ft callback = NULL;
	sasl_secret_t *secret = NULL;
	void *context = NULL;
	const void *data = NULL;
	size_t size = 0;
	int result;

	if (session->key.size > 0)
		return SASL_OK;
	if (prompt != NULL) {
		data = prompt->result;
		size = prompt->len;
	} else {
		result = params->utils->getcallback(params->utils->conn, SASL_CB_PASS, &callback, &context);
		if (result != SASL_OK || callback == NULL)
			return result == SASL_OK ? SASL_INTERACT : result;
		result = ((sasl_getsecret_t *)(void (*)(void))callback)(params->utils->conn, context, SASL_CB_PASS, &secret);
		if (result != SASL_OK)
			return result;
		/* It stays the program's, who may come back with it. */
		data = secret == NULL ? NULL : secret->data;
		size = secret == NULL ? 0 : secret->len;
	}
	if (data == NULL || size == 0 || size > MAUTH_PASSWORD_MAX)
		return say(params, SASL_BADPARAM, "no relay key, or one that is too long: doveadm modernauth relay add prints one");
	mauth_buf_append(&session->key, data, size);
	return SASL_OK;
}

static void free_prompts(const sasl_client_params_t *params, sasl_interact_t **prompts)
{
	if (prompts == NULL || *prompts == NULL)
		return;
	params->utils->free(*prompts);
	*prompts = NULL;
}

static int make_prompts(const struct session *session, const sasl_client_params_t *params, sasl_interact_t **prompts)
{
	sasl_interact_t *prompt;

	if (prompts == NULL)
		return say(params, SASL_BADPARAM, "the program gives no user name and no password, and cannot ask for them");
	prompt = params->utils->calloc(3, sizeof(*prompt));
	if (prompt == NULL)
		return SASL_NOMEM;
	*prompts = prompt;
	if (session->identity == NULL) {
		prompt->id = SASL_CB_AUTHNAME;
		prompt->challenge = "Authentication Name";
		prompt->prompt = "Identity";
		prompt++;
	}
	if (session->key.size == 0) {
		prompt->id = SASL_CB_PASS;
		prompt->challenge = "Password";
		prompt->prompt = "Relay key";
		prompt++;
	}
	prompt->id = SASL_CB_LIST_END;
	return SASL_INTERACT;
}

static int get_credentials(struct session *session, const sasl_client_params_t *params, sasl_interact_t **prompts)
{
	int identity = get_identity(session, params, prompts);
	int key = get_key(session, params, prompts);

	free_prompts(params, prompts);
	if (identity != SASL_OK && identity != SASL_INTERACT)
		return identity;
	if (key != SASL_OK && key != SASL_INTERACT)
		return key;
	return identity == SASL_OK && key == SASL_OK ? SASL_OK : make_prompts(session, params, prompts);
}

/* -- the conversation */

static struct mauth_relay_question question_of(const struct session *session, const sasl_client_params_t *params, unsigned int timeout_msecs)
{
	return (struct mauth_relay_question){
		.socket = session->options->socket, .identity = session->identity, .key = session->key.data,
		.key_size = session->key.size, .host = params->serverFQDN,
		.min_life_secs = session->options->min_life_secs, .timeout_msecs = timeout_msecs,
	};
}

static int send_token(struct session *session, sasl_client_params_t *params, const char **out_r, unsigned int *size_r,
		      sasl_out_params_t *oparams)
{
	struct mauth_relay_question question = question_of(session, params, session->options->timeout_secs * 1000);
	struct mauth_relay_answer answer = { 0 };
	int result;

	mauth_relay_token(&question, &answer);
	if (answer.status != MAUTH_OK) {
		char text[MAUTH_RELAY_REASON_MAX + MAUTH_USER_MAX + 32];

		snprintf(text, sizeof(text), "%s (identity %s)", answer.reason, session->identity);
		result = say(params, sasl_result(&answer), text);
		mauth_relay_answer_clear(&answer);
		return result;
	}
	mauth_buf_clear(&session->response);
	mauth_buf_puts(&session->response, "user=");
	mauth_buf_puts(&session->response, answer.user);
	mauth_buf_puts(&session->response, "\001auth=Bearer ");
	mauth_buf_append(&session->response, answer.token, answer.token_size);
	mauth_buf_puts(&session->response, "\001\001");
	memcpy(session->token_id, answer.token_id, sizeof(session->token_id));
	mauth_relay_answer_clear(&answer);
	result = params->canon_user(params->utils->conn, session->identity, 0, SASL_CU_AUTHID | SASL_CU_AUTHZID, oparams);
	if (result != SASL_OK)
		return result;
	session->sent = true;
	*out_r = session->response.data;
	*size_r = (unsigned int)session->response.size;
	return SASL_OK;
}

/* What a server asks after it has the token is why it refuses it, in JSON; it says so in full once it has an empty answer. */
static int answer_refusal(struct session *session, const sasl_client_params_t *params, const char *text, unsigned int size,
			  const char **out_r, unsigned int *size_r)
{
	struct mauth_relay_question question;

	if (size > 0 && !session->refused) {
		session->refused = true;
		question = question_of(session, params, REFUSED_MSECS);
		mauth_relay_refused(&question, session->token_id, text, size);
	}
	mauth_buf_clear(&session->response);
	*out_r = "";
	*size_r = 0;
	return SASL_OK;
}

static int mech_new(void *glob_context, sasl_client_params_t *params, void **context_r)
{
	const struct plugin *plugin = glob_context;
	struct session *session = mauth_new(sizeof(*session));

	session->options = &plugin->options;
	*context_r = session;
	return SASL_OK;
}

static int mech_step(void *context, sasl_client_params_t *params, const char *serverin, unsigned int serverinlen,
		     sasl_interact_t **prompts, const char **out_r, unsigned int *size_r, sasl_out_params_t *oparams)
{
	struct session *session = context;
	int result;

	*out_r = NULL;
	*size_r = 0;
	if (session->sent)
		return answer_refusal(session, params, serverin, serverinlen, out_r, size_r);
	if (session->options->wrong[0] != '\0')
		return say(params, SASL_FAIL, session->options->wrong);
	result = get_credentials(session, params, prompts);
	if (result != SASL_OK)
		return result;
	oparams->mech_ssf = 0;
	oparams->maxoutbuf = 0;
	oparams->encode_context = oparams->decode_context = NULL;
	oparams->encode = NULL;
	oparams->decode = NULL;
	oparams->param_version = 0;
	return send_token(session, params, out_r, size_r, oparams);
}

static void mech_dispose(void *context, const sasl_utils_t *utils)
{
	struct session *session = context;

	if (session == NULL)
		return;
	mauth_buf_free(&session->response);
	mauth_buf_free(&session->key);
	free(session->identity);
	free(session);
}

static void mech_free(void *glob_context, const sasl_utils_t *utils)
{
	free(glob_context);
}

/* The name that libsasl2 looks for. */
__attribute__((visibility("default")))
int sasl_client_plug_init(const sasl_utils_t *utils, int max_version, int *version_r, sasl_client_plug_t **plugs_r, int *count_r);

int sasl_client_plug_init(const sasl_utils_t *utils, int max_version, int *version_r, sasl_client_plug_t **plugs_r, int *count_r)
{
	struct plugin *plugin;

	if (max_version < SASL_CLIENT_PLUG_VERSION)
		return SASL_BADVERS;
	plugin = mauth_new(sizeof(*plugin));
	/* Now: a program like Postfix locks itself into a directory before its first connection. */
	mauth_sasl_options(utils, &plugin->options);
	plugin->plug = (sasl_client_plug_t){
		.mech_name = plugin->options.mech,
		.max_ssf = plugin->options.priority,
		/* No password of anybody crosses the wire: else Postfix's default smtp_sasl_security_options leave it out. */
		.security_flags = SASL_SEC_NOANONYMOUS | SASL_SEC_NOPLAINTEXT | SASL_SEC_PASS_CREDENTIALS,
		.features = SASL_FEAT_WANT_CLIENT_FIRST | SASL_FEAT_ALLOWS_PROXY,
		.glob_context = plugin,
		.mech_new = mech_new,
		.mech_step = mech_step,
		.mech_dispose = mech_dispose,
		.mech_free = mech_free,
	};
	*version_r = SASL_CLIENT_PLUG_VERSION;
	*plugs_r = &plugin->plug;
	*count_r = 1;
	return SASL_OK;
}
