/* SPDX-License-Identifier: MIT */
/* OCSF (schema.ocsf.io): a login and its session are class 3002 (Authentication), what an admin changes is 3004 (Entity Management),
 * what the audit says about itself is 0 (Base Event). */
#include "core/format-private.h"
#include "core/network.h"

#include <stdlib.h>
#include <string.h>

#define SCHEMA_VERSION "1.8.0"

enum { BASE_EVENT = 0, AUTHENTICATION = 3002, ENTITY_MANAGEMENT = 3004 };
enum { LOGON = 1, LOGOFF = 2, CREATE = 1, READ = 2, UPDATE = 3, DELETE = 4, DEACTIVATE = 11, OTHER = 99 };

struct event {
	json_t *rest;                        /* a copy, from which everything is taken that has a place */
	json_t *out;
	const json_t *record;
	int class_uid, activity_id;
	char action[64];
};

/* -- taking ------------------------------------------------------------------------------------------------- */

/* The value at path is the caller's and no longer in object, nor are objects that became empty. */
static json_t *take(json_t *object, const char *path)
{
	const char *dot = strchr(path, '.');
	json_t *value, *inner;
	char name[32];

	if (dot == NULL) {
		value = json_incref(json_object_get(object, path));
		(void)json_object_del(object, path);
		return value;
	}
	if ((size_t)(dot - path) >= sizeof(name))
		return NULL;
	memcpy(name, path, (size_t)(dot - path));
	name[dot - path] = '\0';
	inner = json_object_get(object, name);
	value = take(inner, dot + 1);
	if (json_is_object(inner) && json_object_size(inner) == 0)
		(void)json_object_del(object, name);
	return value;
}

static bool is_text(const json_t *value)
{
	return json_is_string(value) && json_string_length(value) > 0;
}

/* Moves a text to key of object; what is no text stays where it was. */
static void move_text(struct event *event, const char *path, json_t *object, const char *key)
{
	if (is_text(mauth_format_get(event->rest, path)))
		json_object_set_new(object, key, take(event->rest, path));
}

static void move_number(struct event *event, const char *path, json_t *object, const char *key, json_int_t max)
{
	const json_t *value = mauth_format_get(event->rest, path);

	if (json_is_integer(value) && json_integer_value(value) >= 0 && json_integer_value(value) <= max)
		json_object_set_new(object, key, take(event->rest, path));
}

static void set_text(json_t *object, const char *key, const char *text)
{
	if (text != NULL && *text != '\0')
		json_object_set_new(object, key, json_string(text));
}

static void set_number(json_t *object, const char *key, json_int_t number)
{
	json_object_set_new(object, key, json_integer(number));
}

/* An object in which nothing was put says nothing. */
static void set_object(json_t *object, const char *key, json_t *value)
{
	if (json_object_size(value) > 0)
		json_object_set_new(object, key, value);
	else
		json_decref(value);
}

/* -- which class, which activity ---------------------------------------------------------------------------- */

static int activity_of_change(const char *action)
{
	static const struct {
		const char *end;
		int activity_id;
	} ends[] = {
		{ "-added", CREATE }, { "-finished", CREATE }, { "-created", CREATE }, { "-imported", CREATE }, { "-removed", DELETE },
		{ "-revoked", DELETE }, { "-deleted", DELETE }, { "-forgotten", DELETE }, { "-erased", DELETE }, { "-ended", DEACTIVATE },
		{ "-expired", DEACTIVATE }, { "-revealed", READ }, { "-exported", READ },
	};
	size_t size = strlen(action);

	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		size_t end = strlen(ends[i].end);

		if (size > end && strcmp(action + size - end, ends[i].end) == 0)
			return ends[i].activity_id;
	}
	return UPDATE;
}

static void classify(struct event *event)
{
	const json_t *record = event->rest;

	if (mauth_format_has(record, "event.category", "authentication") || mauth_format_has(record, "event.category", "session")) {
		event->class_uid = AUTHENTICATION;
		event->activity_id = mauth_format_has(record, "event.type", "end")     ? LOGOFF :
				     mauth_format_has(record, "event.type", "start")   ? LOGON :
										       OTHER;
	} else if (mauth_format_has(record, "event.type", "change")) {
		event->class_uid = ENTITY_MANAGEMENT;
		event->activity_id = activity_of_change(event->action);
	} else {
		event->class_uid = BASE_EVENT;
		event->activity_id = OTHER;
	}
}

static const char *activity_name(const struct event *event)
{
	if (event->class_uid == AUTHENTICATION && event->activity_id != OTHER)
		return event->activity_id == LOGON ? "Logon" : "Logoff";
	if (event->class_uid == ENTITY_MANAGEMENT) {
		switch (event->activity_id) {
		case CREATE:
			return "Create";
		case READ:
			return "Read";
		case DELETE:
			return "Delete";
		case DEACTIVATE:
			return "Deactivate";
		default:
			return "Update";
		}
	}
	/* "Other" has the source's own word. */
	return event->action;
}

static void put_classification(struct event *event)
{
	static const char *const classes[] = { "Base Event", "Authentication", "Entity Management" };
	const char *class_name = classes[event->class_uid == AUTHENTICATION ? 1 : event->class_uid == ENTITY_MANAGEMENT ? 2 : 0];
	const char *activity = activity_name(event);
	char *type = mauth_printf("%s: %s", class_name, event->activity_id == OTHER ? "Other" : activity);

	set_number(event->out, "category_uid", event->class_uid / 1000);
	set_text(event->out, "category_name", event->class_uid == BASE_EVENT ? "Uncategorized" : "Identity & Access Management");
	set_number(event->out, "class_uid", event->class_uid);
	set_text(event->out, "class_name", class_name);
	set_number(event->out, "activity_id", event->activity_id);
	set_text(event->out, "activity_name", activity);
	set_number(event->out, "type_uid", event->class_uid * 100 + event->activity_id);
	set_text(event->out, "type_name", type);
	free(type);
}

/* -- what all classes have ---------------------------------------------------------------------------------- */

static void put_status(struct event *event)
{
	const char *outcome = mauth_format_str(event->rest, "event.outcome");
	bool success = strcmp(outcome, "success") == 0, failure = strcmp(outcome, "failure") == 0;

	set_number(event->out, "severity_id", failure ? 2 : 1);
	set_text(event->out, "severity", failure ? "Low" : "Informational");
	set_number(event->out, "status_id", success ? 1 : failure ? 2 : 0);
	set_text(event->out, "status", success ? "Success" : failure ? "Failure" : "Unknown");
	if (success || failure || strcmp(outcome, "unknown") == 0)
		json_decref(take(event->rest, "event.outcome"));
	/* AADSTS is more exact than ours. */
	if (is_text(mauth_format_get(event->rest, "event.code")))
		move_text(event, "event.code", event->out, "status_code");
	else
		move_text(event, "modernauth.status", event->out, "status_code");
	move_text(event, "event.reason", event->out, "status_detail");
}

static void put_metadata(struct event *event)
{
	json_t *metadata = json_object(), *product = json_object();

	set_text(metadata, "version", SCHEMA_VERSION);
	set_text(product, "name", "dovecot-modernauth");
	set_text(product, "vendor_name", "dovecot-modernauth");
	set_text(product, "version", MAUTH_VERSION);
	json_object_set_new(metadata, "product", product);
	move_text(event, "event.id", metadata, "uid");
	move_text(event, "event.action", metadata, "event_code");
	move_text(event, "event.provider", metadata, "log_provider");
	move_text(event, "event.dataset", metadata, "log_name");
	move_text(event, "@timestamp", metadata, "original_time");
	set_text(metadata, "correlation_uid", mauth_format_str(event->record, "modernauth.session"));
	set_text(metadata, "log_format", "ECS");
	json_object_set_new(event->out, "metadata", metadata);
}

static void put_times_and_message(struct event *event)
{
	struct mauth_buf message = { 0 };
	int64_t msecs = 0;

	(void)mauth_format_time(mauth_format_str(event->record, "@timestamp"), &msecs);
	set_number(event->out, "time", msecs);
	set_number(event->out, "timezone_offset", 0);
	mauth_format_summary(event->record, &message);
	set_text(event->out, "message", message.data);
	mauth_buf_free(&message);
}

/* ip_t of the dictionary; what a client only says of itself may be anything. */
static bool is_address(const char *text)
{
	struct mauth_address address;

	return strlen(text) <= 40 && mauth_address_parse(text, &address);
}

/* email_t of the dictionary: fewer than there are. */
static bool is_email(const char *text)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-";
	static const char local[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+,-./=?^_`{|}~";
	size_t size = strspn(text, local), label;

	if (size == 0 || text[size] != '@')
		return false;
	text += size + 1;
	label = strspn(text, letters);
	if (label == 0 || text[label] != '.' || text[label + 1] == '\0')
		return false;
	for (text += label; *text == '.' || (*text != '\0' && strchr(letters, *text) != NULL); text++)
		;
	return *text == '\0';
}

static json_t *endpoint(struct event *event, const char *ip, const char *port)
{
	json_t *object = json_object();

	/* A port alone is no endpoint. */
	if (is_address(mauth_format_str(event->rest, ip))) {
		move_text(event, ip, object, "ip");
		move_number(event, port, object, "port", 65535);
	}
	return object;
}

/* An endpoint needs more than a port. */
static void put_endpoint(struct event *event, const char *key, json_t *object)
{
	if (json_object_get(object, "ip") != NULL || json_object_get(object, "svc_name") != NULL)
		json_object_set_new(event->out, key, object);
	else
		json_decref(object);
}

static json_t *take_user(struct event *event)
{
	json_t *user = json_object(), *org = json_object();

	move_text(event, "user.name", user, "name");
	if (is_email(mauth_format_str(event->rest, "user.email")))
		move_text(event, "user.email", user, "email_addr");
	move_text(event, "user.domain", user, "domain");
	move_text(event, "user.id", user, "uid");
	move_text(event, "modernauth.tenant", org, "name");
	move_text(event, "cloud.account.id", org, "uid");
	set_object(user, "org", org);
	return user;
}

static bool is_named(const json_t *user)
{
	return json_object_get(user, "name") != NULL || json_object_get(user, "uid") != NULL;
}

/* -- 3002 --------------------------------------------------------------------------------------------------- */

/* How this leg proves who the user is: the client to us by its mechanism, we to Exchange with a token. */
static void put_protocol(struct event *event)
{
	const char *mechanism = mauth_format_str(event->rest, "modernauth.mechanism");
	bool attempt = strcmp(event->action, "basic-auth-intercepted") == 0;
	bool token = strcmp(mechanism, "XOAUTH2") == 0 || strcmp(mechanism, "OAUTHBEARER") == 0;

	if (!attempt && mauth_format_get(event->rest, "modernauth.token_id") != NULL)
		token = true;
	else if (!attempt && *mechanism == '\0') {
		set_number(event->out, "auth_protocol_id", 0);
		set_text(event->out, "auth_protocol", "Unknown");
		return;
	}
	set_number(event->out, "auth_protocol_id", token ? 6 : 11);
	set_text(event->out, "auth_protocol", token ? "OAUTH 2.0" : "Basic Authentication");
	if (event->activity_id == LOGON) {
		set_number(event->out, "logon_type_id", token ? 3 : 8);
		set_text(event->out, "logon_type", token ? "Network" : "Network Cleartext");
	}
}

static void put_authentication(struct event *event)
{
	json_t *user = take_user(event), *session = json_object(), *service = json_object(), *response = json_object();
	const json_t *tls = mauth_format_get(event->rest, "tls.established");
	const char *service_name = mauth_format_str(event->rest, "service.name");
	json_t *target = endpoint(event, "destination.ip", "destination.port");

	put_protocol(event);
	/* Whoever may not be named is a user all the same. */
	if (!is_named(user))
		set_text(user, "name", "-");
	set_number(user, "type_id", 1);
	set_text(user, "type", "User");
	json_object_set_new(event->out, "user", user);
	put_endpoint(event, "src_endpoint", endpoint(event, "source.ip", "source.port"));
	set_text(target, "svc_name", *service_name == '\0' ? "modernauth" : service_name);
	put_endpoint(event, "dst_endpoint", target);
	set_text(service, "name", *service_name == '\0' ? "modernauth" : service_name);
	json_object_set_new(event->out, "service", service);
	json_decref(take(event->rest, "service.name"));
	move_text(event, "modernauth.session", session, "uid");
	set_object(event->out, "session", session);
	/* One factor, whatever a user did when he enrolled: these protocols know no second one. */
	json_object_set_new(event->out, "is_mfa", json_false());
	json_object_set_new(event->out, "is_remote", json_true());
	if (json_is_boolean(tls)) {
		json_object_set_new(event->out, "is_cleartext", json_boolean(!json_is_true(tls)));
		json_decref(take(event->rest, "tls.established"));
	}
	move_number(event, "http.response.status_code", response, "code", 999);
	set_object(event->out, "http_response", response);
}

/* -- 3004 --------------------------------------------------------------------------------------------------- */

static void put_change(struct event *event)
{
	json_t *entity = json_object(), *actor = json_object(), *admin = json_object(), *user = take_user(event);
	size_t word = strcspn(event->action, "-");
	char *type = mauth_strndup(event->action, word == 0 ? strlen(event->action) : word);

	set_number(entity, "type_id", OTHER);
	set_text(entity, "type", *type == '\0' ? "setting" : type);
	free(type);
	move_text(event, "modernauth.device.name", entity, "name");
	if (json_object_get(entity, "name") == NULL && is_named(user))
		json_object_set(entity, "name", json_object_get(user, "name"));
	if (json_object_get(entity, "name") == NULL)
		set_text(entity, "name", event->action);
	move_text(event, "modernauth.device.id", entity, "uid");
	if (json_object_get(entity, "uid") == NULL)
		move_text(event, "modernauth.exception", entity, "uid");
	if (is_named(user))
		json_object_set(entity, "user", user);
	json_decref(user);
	json_object_set_new(event->out, "entity", entity);
	move_text(event, "modernauth.by", admin, "name");
	set_object(actor, "user", admin);
	move_text(event, "modernauth.actor", actor, "app_name");
	set_object(event->out, "actor", actor);
	put_endpoint(event, "src_endpoint", endpoint(event, "source.ip", "source.port"));
}

/* ----------------------------------------------------------------------------------------------------------- */

/* What the classification says already. */
static void drop_said(struct event *event)
{
	static const char *const paths[] = { "event.kind", "event.category", "event.type", "ecs.version" };

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		json_decref(take(event->rest, paths[i]));
}

void mauth_format_ocsf(const json_t *record, struct mauth_buf *buf)
{
	struct event event = { .rest = json_deep_copy(record), .out = json_object(), .record = record };
	const char *action = mauth_format_str(record, "event.action");

	mauth_clean_copy(event.action, sizeof(event.action), *action == '\0' ? "event" : action, strlen(*action == '\0' ? "event" : action));
	classify(&event);
	put_classification(&event);
	put_times_and_message(&event);
	if (event.class_uid == AUTHENTICATION)
		put_authentication(&event);
	put_status(&event);
	put_metadata(&event);
	if (event.class_uid == ENTITY_MANAGEMENT)
		put_change(&event);
	drop_said(&event);
	if (json_object_size(event.rest) > 0)
		json_object_set(event.out, "unmapped", event.rest);
	mauth_format_json(buf, event.out);
	json_decref(event.rest);
	json_decref(event.out);
}
