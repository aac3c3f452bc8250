/* SPDX-License-Identifier: MIT */
/* Each format is read back by a parser written from its specification; whatever the strings are, they are the same then. */
#include "core/exceptions.h"
#include "core/format.h"
#include "core/record.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ROUNDS 4000
#define WALL INT64_C(1795326540000042)          /* 2026-11-22T05:49:00.000042Z */

static const struct mauth_format_source source = { .host = "front.contoso.com", .pid = 17, .message = MAUTH_FORMAT_SYSLOG };

/* -- what a parser has found -- */

#define PAIRS_MAX 96u
struct pairs {
	char *names[PAIRS_MAX], *values[PAIRS_MAX];
	size_t count;
};

static void add(struct pairs *pairs, const char *name, size_t name_size, const char *value, size_t value_size)
{
	assert_true(pairs->count < PAIRS_MAX);
	pairs->names[pairs->count] = mauth_strndup(name, name_size);
	pairs->values[pairs->count++] = mauth_strndup(value, value_size);
}

static void free_pairs(struct pairs *pairs)
{
	for (size_t i = 0; i < pairs->count; i++) {
		free(pairs->names[i]);
		free(pairs->values[i]);
	}
	pairs->count = 0;
}

static const char *value_of(const struct pairs *pairs, const char *name)
{
	for (size_t i = 0; i < pairs->count; i++) {
		if (strcmp(pairs->names[i], name) == 0)
			return pairs->values[i];
	}
	return NULL;
}

static bool has_value(const struct pairs *pairs, const char *value)
{
	for (size_t i = 0; i < pairs->count; i++) {
		if (strcmp(pairs->values[i], value) == 0)
			return true;
	}
	return false;
}

/* -- RFC 5424, section 6 -- */

static const char *take_field(const char *at, struct pairs *pairs, const char *name)
{
	size_t size = strcspn(at, " ");

	assert_true(size > 0 && at[size] == ' ');
	for (size_t i = 0; i < size; i++)
		assert_true(at[i] > ' ' && at[i] < 0x7f);
	add(pairs, name, strlen(name), at, size);
	return at + size + 1;
}

static bool is_sd_name(const char *name, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		if (name[i] <= ' ' || name[i] >= 0x7f || strchr("=]\"", name[i]) != NULL)
			return false;
	}
	return size > 0 && size <= 32;
}

static const char *take_param(const char *at, const char *id, size_t id_size, struct pairs *pairs)
{
	size_t size = strcspn(at, "=");
	struct mauth_buf value = { 0 };
	char name[128];

	assert_true(is_sd_name(at, size));
	snprintf(name, sizeof(name), "%.*s/%.*s", (int)id_size, id, (int)size, at);
	at += size + 1;
	assert_int_equal(*at++, '"');
	while (*at != '"') {
		assert_true(*at != '\0' && *at != ']');
		if (*at == '\\') {
			at++;
			assert_true(*at == '"' || *at == '\\' || *at == ']');
		}
		mauth_buf_putc(&value, *at++);
	}
	add(pairs, name, strlen(name), value.data == NULL ? "" : value.data, value.size);
	mauth_buf_free(&value);
	return at + 1;
}

static void parse_syslog(const char *text, struct pairs *pairs)
{
	const char *at = text, *seen[8];
	size_t count = 0;

	assert_int_equal(*at++, '<');
	add(pairs, "pri", 3, at, strspn(at, "0123456789"));
	at += strspn(at, "0123456789");
	assert_memory_equal(at, ">1 ", 3);
	at = take_field(at + 3, pairs, "timestamp");
	at = take_field(at, pairs, "hostname");
	at = take_field(at, pairs, "app");
	at = take_field(at, pairs, "procid");
	at = take_field(at, pairs, "msgid");
	assert_int_equal(*at, '[');
	while (*at == '[') {
		const char *id = ++at;
		size_t size = strcspn(id, " ]");

		assert_true(is_sd_name(id, size) && count < 8);
		/* Each element at most once. */
		for (size_t i = 0; i < count; i++)
			assert_true(strncmp(seen[i], id, size + 1) != 0);
		seen[count++] = id;
		for (at += size; *at == ' ';)
			at = take_param(at + 1, id, size, pairs);
		assert_int_equal(*at++, ']');
	}
	assert_int_equal(*at++, ' ');
	if (strncmp(at, "\xef\xbb\xbf", 3) == 0) {
		at += 3;
		assert_true(mauth_is_utf8(at, strlen(at)));
	} else {
		for (const char *c = at; *c != '\0'; c++)
			assert_true((unsigned char)*c < 0x80);
	}
	add(pairs, "msg", 3, at, strlen(at));
}

/* -- CEF, version 0 -- */

static const char *take_header(const char *at, struct pairs *pairs, const char *name)
{
	struct mauth_buf value = { 0 };

	for (; *at != '|'; at++) {
		assert_true(*at != '\0');
		if (*at == '\\') {
			at++;
			assert_true(*at == '|' || *at == '\\');
		}
		mauth_buf_putc(&value, *at);
	}
	add(pairs, name, strlen(name), value.data, value.size);
	mauth_buf_free(&value);
	return at + 1;
}

/* Where the value at at ends: before the blank of the next "key=", or at the end. */
static const char *value_end(const char *at)
{
	const char *blank = NULL;

	for (; *at != '\0'; at++) {
		if (*at == '\\') {
			at++;
			assert_true(*at == '=' || *at == '\\' || *at == 'n' || *at == 'r');
		} else if (*at == ' ') {
			blank = at;
		} else if (*at == '=') {
			assert_non_null(blank);
			return blank;
		}
	}
	return at;
}

static void parse_cef(const char *at, struct pairs *pairs)
{
	static const char *const header[] = { "vendor", "product", "version", "signature", "name", "severity" };

	assert_memory_equal(at, "CEF:0|", 6);
	at += 6;
	for (size_t i = 0; i < 6; i++)
		at = take_header(at, pairs, header[i]);
	while (*at != '\0') {
		size_t size = strspn(at, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789");
		const char *key = at, *end;
		struct mauth_buf value = { 0 };

		assert_true(size > 0 && at[size] == '=');
		at += size + 1;
		end = value_end(at);
		for (; at < end; at++) {
			if (*at == '\\') {
				at++;
				mauth_buf_putc(&value, *at == 'n' ? '\n' : *at == 'r' ? '\r' : *at);
			} else {
				mauth_buf_putc(&value, *at);
			}
		}
		for (size_t i = 6; i < pairs->count; i++)
			assert_false(strlen(pairs->names[i]) == size && strncmp(pairs->names[i], key, size) == 0);
		add(pairs, key, size, value.data == NULL ? "" : value.data, value.size);
		mauth_buf_free(&value);
		at = *end == ' ' ? end + 1 : end;
	}
}

/* -- systemd.io/JOURNAL_NATIVE_PROTOCOL -- */

static void parse_journal(const char *at, const char *end, struct pairs *pairs)
{
	while (at < end) {
		size_t name = strspn(at, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");
		const char *value = at + name + 1;
		uint64_t size = 0;

		assert_true(name > 0 && name <= 64 && *at >= 'A' && *at <= 'Z');
		if (at[name] == '=') {
			size = (uint64_t)((const char *)memchr(value, '\n', (size_t)(end - value)) - value);
		} else {
			assert_int_equal(at[name], '\n');
			for (unsigned int i = 0; i < 8; i++)
				size |= (uint64_t)(unsigned char)*value++ << 8 * i;
		}
		assert_true(value + size < end && value[size] == '\n');
		add(pairs, at, name, value, size);
		at = value + size + 1;
	}
}

/* -- the properties -- */

/* How formats that have no spelling for control characters write them. */
static char *controls_written_out(const char *text, const char *but)
{
	struct mauth_buf buf = { 0 };

	for (; *text != '\0'; text++) {
		unsigned char c = (unsigned char)*text, next = (unsigned char)text[1];

		if ((c < 0x20 || c == 0x7f) && strchr(but, c) == NULL) {
			mauth_buf_printf(&buf, "<U+%04X>", c);
		} else if (c == 0xc2 && next < 0xa0) {
			mauth_buf_printf(&buf, "<U+%04X>", next);
			text++;
		} else {
			mauth_buf_putc(&buf, *text);
		}
	}
	return buf.data == NULL ? mauth_strdup("") : buf.data;
}

struct check {
	const struct pairs *pairs;
	const char *but;                     /* control characters that are not written out; NULL: none is */
	const char *const *elsewhere;        /* paths that have another place, NULL-terminated */
};

static void value_is_there(void *context, const char *path, const char *text)
{
	const struct check *check = context;
	char *expected = check->but == NULL ? mauth_strdup(text) : controls_written_out(text, check->but);

	for (const char *const *at = check->elsewhere; *at != NULL; at++) {
		if (strcmp(*at, path) == 0) {
			free(expected);
			return;
		}
	}
	if (!has_value(check->pairs, expected))
		fail_msg("%s: \"%s\" is lost", path, expected);
	free(expected);
}

static void syslog_keeps_all(const json_t *record, const char *line, size_t size)
{
	static const char *const nowhere[] = { NULL };
	struct mauth_buf out = { 0 };
	struct pairs pairs = { 0 };
	char *name = controls_written_out(mauth_format_str(record, "user.name"), "");

	mauth_format_write(MAUTH_FORMAT_SYSLOG, record, line, size, &source, &out);
	assert_null(memchr(out.data, '\n', out.size - 1));
	out.data[out.size - 1] = '\0';
	parse_syslog(out.data, &pairs);
	assert_string_equal(value_of(&pairs, "msgid"), mauth_format_str(record, "event.action"));
	assert_string_equal(value_of(&pairs, "timestamp"), mauth_format_str(record, "@timestamp"));
	assert_string_equal(value_of(&pairs, "hostname"), "front.contoso.com");
	assert_string_equal(value_of(&pairs, "procid"), "17");
	if (*name != '\0')
		assert_string_equal(value_of(&pairs, "ecs@32473/user.name"), name);
	mauth_format_each(record, value_is_there, &(struct check){ &pairs, "", nowhere });
	free(name);
	free_pairs(&pairs);
	mauth_buf_free(&out);
}

static void cef_keeps_all(const json_t *record, const char *line, size_t size)
{
	/* As "rt", in milliseconds. */
	static const char *const elsewhere[] = { "@timestamp", NULL };
	struct mauth_buf out = { 0 };
	struct pairs pairs = { 0 };
	char *name = controls_written_out(mauth_format_str(record, "user.name"), "\n\r"), rt[24];
	int64_t msecs;

	mauth_format_write(MAUTH_FORMAT_CEF, record, line, size, &source, &out);
	assert_null(memchr(out.data, '\n', out.size - 1));
	out.data[out.size - 1] = '\0';
	parse_cef(out.data, &pairs);
	assert_true(mauth_format_time(mauth_format_str(record, "@timestamp"), &msecs));
	snprintf(rt, sizeof(rt), "%" PRId64, msecs);
	assert_string_equal(value_of(&pairs, "rt"), rt);
	assert_string_equal(value_of(&pairs, "signature"), mauth_format_str(record, "event.action"));
	if (*name != '\0')
		assert_string_equal(value_of(&pairs, "duser"), name);
	mauth_format_each(record, value_is_there, &(struct check){ &pairs, "\n\r", elsewhere });
	free(name);
	free_pairs(&pairs);
	mauth_buf_free(&out);
}

static void journal_keeps_all(const json_t *record)
{
	static const char *const nowhere[] = { NULL };
	struct mauth_buf out = { 0 };
	struct pairs pairs = { 0 };

	mauth_format_journal(record, &out);
	parse_journal(out.data, out.data + out.size, &pairs);
	assert_non_null(value_of(&pairs, "MESSAGE"));
	assert_string_equal(value_of(&pairs, "SYSLOG_IDENTIFIER"), "dovecot-modernauth");
	mauth_format_each(record, value_is_there, &(struct check){ &pairs, NULL, nowhere });
	free_pairs(&pairs);
	mauth_buf_free(&out);
}

static void collect(void *context, const char *path, const char *text)
{
	add(context, path, strlen(path), text, strlen(text));
}

static void ocsf_keeps_all(const json_t *record, const char *line, size_t size)
{
	/* As class, activity, status, is_cleartext, and organisation of the schema. */
	static const char *const elsewhere[] = { "event.kind", "event.category", "event.type", "ecs.version", "event.outcome",
						 "tls.established", NULL };
	struct mauth_buf out = { 0 };
	struct pairs pairs = { 0 };
	json_t *event;

	mauth_format_write(MAUTH_FORMAT_OCSF, record, line, size, &source, &out);
	assert_null(memchr(out.data, '\n', out.size - 1));
	event = json_loadb(out.data, out.size, JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(event);
	mauth_format_each(event, collect, &pairs);
	if (json_integer_value(json_object_get(event, "class_uid")) == 3002 && *mauth_format_str(record, "user.name") != '\0')
		assert_string_equal(mauth_format_str(event, "user.name"), mauth_format_str(record, "user.name"));
	mauth_format_each(record, value_is_there, &(struct check){ &pairs, NULL, elsewhere });
	json_decref(event);
	free_pairs(&pairs);
	mauth_buf_free(&out);
}

static void ecs_is_the_line(const json_t *record, const char *line, size_t size)
{
	struct mauth_buf out = { 0 };

	mauth_format_write(MAUTH_FORMAT_ECS, record, line, size, &source, &out);
	assert_int_equal(out.size, size + 1);
	assert_memory_equal(out.data, line, size);
	mauth_buf_free(&out);
}

static void all_formats_keep_all(const struct mauth_buf *line)
{
	json_t *record = mauth_format_read(line->data, line->size - 1), *before;

	assert_non_null(record);
	before = json_deep_copy(record);
	syslog_keeps_all(record, line->data, line->size - 1);
	cef_keeps_all(record, line->data, line->size - 1);
	ocsf_keeps_all(record, line->data, line->size - 1);
	journal_keeps_all(record);
	ecs_is_the_line(record, line->data, line->size - 1);
	/* None of them touches the record. */
	assert_true(json_equal(before, record));
	json_decref(before);
	json_decref(record);
}

/* -- records with anything in them -- */

static uint64_t state = 88172645463325252u;

static unsigned int draw(unsigned int below)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (unsigned int)(state >> 11) % below;
}

/* Pieces that are special somewhere. */
static const char *hostile(char text[static 256])
{
	static const char *const pieces[] = {
		"a", "Z", "7", " ", "  ", "=", "|", "\\", "\"", "]", "[", "\n", "\r", "\t", "\x1b[31m", "\x7f", "\xc2\x85", "\xc2\x9b", "\xe2\x80\xae",
		"\xe2\x81\xa6", "\xe2\x80\xa8", "\xef\xbb\xbf", "\xf0\x9f\x94\x91", "\xe6\x97\xa5", "\xff", "\xc3", "\xe2\x80", "%n%s", "</script>",
		"src=1.2.3.4", " msg=x", "\\n", "\\u0041", "]] [x@1 a=\"b\"]", "{\"a\":1}", "#011", "\nMESSAGE=x\n", "CEF:0|", "<13>1 - - - - - -", "'", ";",
	};
	unsigned int count = draw(10);
	char *at = text;

	*at = '\0';
	while (count-- > 0) {
		const char *piece = pieces[draw(sizeof(pieces) / sizeof(pieces[0]))];

		if ((size_t)(at - text) + strlen(piece) < 250)
			at = stpcpy(at, piece);
	}
	return text;
}

static void attempts_survive_whatever_is_in_them(void **unused)
{
	static const char *const decisions[] = { "upgrade", "deny", "monitor", "basic" };
	char t[20][256];

	for (unsigned int i = 0; i < ROUNDS; i++) {
		struct mauth_attempt_record record = {
			.started_usecs = WALL + i, .duration_usecs = draw(100000), .session = hostile(t[0]), .user = hostile(t[1]), .upn = hostile(t[2]),
			.domain = hostile(t[3]), .tenant_name = hostile(t[4]), .tenant_id = hostile(t[5]), .cloud = "worldwide",
			.service = (enum mauth_service)draw(MAUTH_SERVICE_COUNT), .mechanism = hostile(t[6]),
			.client_ip = draw(2) == 0 ? "192.0.2.1" : draw(2) == 0 ? "2001:db8::1" : hostile(t[7]), .client_port = draw(70000),
			.local_ip = "192.0.2.2", .local_port = 143, .tls = draw(2) == 0, .tls_protocol = hostile(t[8]), .client_id = hostile(t[9]),
			.decision = decisions[draw(4)], .rule = hostile(t[10]), .exception = hostile(t[11]), .grant = hostile(t[12]),
			.skipped = hostile(t[13]), .account = hostile(t[14]), .device_id = hostile(t[15]), .device_name = hostile(t[16]),
			.token_id = hostile(t[17]), .status = (enum mauth_status)draw(MAUTH_STATUS_COUNT), .code = (int)draw(60000),
			.reason = hostile(t[18]), .http_status = draw(600), .upstream_host = hostile(t[19]), .upstream_port = 993,
		};
		struct mauth_buf line = { 0 };

		mauth_record_attempt(&line, &record);
		all_formats_keep_all(&line);
		mauth_buf_free(&line);
	}
}

static void changes_and_second_legs_survive_as_well(void **unused)
{
	static const char *const actions[] = { "device-added", "device-removed", "enrolment-finished", "exception-ended", "key-changed" };
	char t[10][256];

	for (unsigned int i = 0; i < ROUNDS / 4; i++) {
		struct mauth_upstream_report report = {
			.session = hostile(t[0]), .user = hostile(t[1]), .mailbox = hostile(t[2]), .service = MAUTH_SERVICE_IMAP,
			.result = (enum mauth_upstream_result)draw(MAUTH_UPSTREAM_COUNT), .reply = hostile(t[3]), .host = hostile(t[4]),
			.host_ip = "192.0.2.3", .port = 993, .client_ip = "192.0.2.1", .client_port = 5, .token_id = "5f", .tls_protocol = "TLSv1.3",
		};
		struct mauth_upstream_record upstream = { .wall_usecs = WALL, .report = &report, .upn = hostile(t[5]), .advice = hostile(t[6]) };
		struct mauth_error error = { .status = MAUTH_CONFIG, .code = 5 };
		struct mauth_change_record change = {
			.wall_usecs = WALL, .action = actions[draw(5)], .actor = "doveadm", .login = hostile(t[1]), .account = hostile(t[2]),
			.device_id = hostile(t[7]), .device_name = hostile(t[8]), .by = hostile(t[9]), .uid = 0,
			.error = draw(3) == 0 ? &error : NULL,
		};
		struct mauth_buf line = { 0 };

		snprintf(error.text, sizeof(error.text), "%s", hostile(t[3]));
		mauth_record_upstream(&line, &upstream);
		all_formats_keep_all(&line);
		mauth_buf_clear(&line);
		mauth_record_change(&line, &change);
		all_formats_keep_all(&line);
		mauth_buf_free(&line);
	}
}

/* -- kinds of records -- */

static json_t *ocsf_of(const char *line)
{
	json_t *record = mauth_format_read(line, strlen(line)), *event;
	struct mauth_buf out = { 0 };

	assert_non_null(record);
	mauth_format_write(MAUTH_FORMAT_OCSF, record, line, strlen(line), &source, &out);
	event = json_loadb(out.data, out.size, 0, NULL);
	assert_non_null(event);
	json_decref(record);
	mauth_buf_free(&out);
	return event;
}

static json_int_t number(const json_t *event, const char *path)
{
	return json_integer_value(mauth_format_get(event, path));
}

#define BEGIN "{\"@timestamp\":\"2026-11-26T10:00:00.123456Z\",\"event\":{"

static void ocsf_has_a_class_for_each_kind(void **unused)
{
	static const struct {
		const char *event;
		int class_uid, activity_id, status_id;
		const char *activity;
	} rows[] = {
		{ "\"category\":[\"authentication\"],\"type\":[\"start\"],\"action\":\"basic-auth-intercepted\",\"outcome\":\"success\"", 3002, 1, 1, "Logon" },
		{ "\"category\":[\"authentication\"],\"type\":[\"start\"],\"action\":\"upstream-session-refused\",\"outcome\":\"failure\"", 3002, 1, 2, "Logon" },
		{ "\"category\":[\"authentication\"],\"type\":[\"end\"],\"action\":\"session-ended\",\"outcome\":\"success\"", 3002, 2, 1, "Logoff" },
		{ "\"category\":[\"session\"],\"type\":[\"end\"],\"action\":\"session-ended\",\"outcome\":\"unknown\"", 3002, 2, 0, "Logoff" },
		{ "\"category\":[\"authentication\"],\"type\":[\"info\"],\"action\":\"new-thing\"", 3002, 99, 0, "new-thing" },
		{ "\"category\":[\"iam\"],\"type\":[\"change\"],\"action\":\"device-added\",\"outcome\":\"success\"", 3004, 1, 1, "Create" },
		{ "\"category\":[\"iam\"],\"type\":[\"change\"],\"action\":\"exception-removed\",\"outcome\":\"success\"", 3004, 4, 1, "Delete" },
		{ "\"category\":[\"configuration\"],\"type\":[\"change\"],\"action\":\"configuration-changed\",\"outcome\":\"success\"", 3004, 3, 1, "Update" },
		{ "\"category\":[\"configuration\"],\"type\":[\"info\"],\"action\":\"audit-begun\",\"outcome\":\"success\"", 0, 99, 1, "audit-begun" },
		{ "\"dataset\":\"x\"", 0, 99, 0, "event" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char line[512];
		json_t *event;

		snprintf(line, sizeof(line), BEGIN "%s}}", rows[i].event);
		event = ocsf_of(line);
		assert_int_equal(number(event, "class_uid"), rows[i].class_uid);
		assert_int_equal(number(event, "category_uid"), rows[i].class_uid / 1000);
		assert_int_equal(number(event, "activity_id"), rows[i].activity_id);
		assert_int_equal(number(event, "type_uid"), rows[i].class_uid * 100 + rows[i].activity_id);
		assert_int_equal(number(event, "status_id"), rows[i].status_id);
		assert_string_equal(mauth_format_str(event, "activity_name"), rows[i].activity);
		assert_true(number(event, "time") == INT64_C(1795687200123));
		json_decref(event);
	}
}

static void ocsf_says_by_which_protocol(void **unused)
{
	json_t *event = ocsf_of(BEGIN "\"category\":[\"authentication\"],\"type\":[\"start\"],\"action\":\"basic-auth-intercepted\"},"
				"\"tls\":{\"established\":false},\"modernauth\":{\"mechanism\":\"LOGIN\",\"session\":\"s\"}}");

	assert_int_equal(number(event, "auth_protocol_id"), 11);
	assert_int_equal(number(event, "logon_type_id"), 8);
	assert_true(json_is_true(json_object_get(event, "is_cleartext")));
	assert_true(json_is_false(json_object_get(event, "is_mfa")));
	assert_string_equal(mauth_format_str(event, "session.uid"), "s");
	assert_string_equal(mauth_format_str(event, "metadata.correlation_uid"), "s");
	json_decref(event);
	event = ocsf_of(BEGIN "\"category\":[\"authentication\"],\"type\":[\"start\"],\"action\":\"basic-auth-intercepted\"},"
			"\"tls\":{\"established\":true},\"modernauth\":{\"mechanism\":\"XOAUTH2\"}}");
	assert_int_equal(number(event, "auth_protocol_id"), 6);
	assert_int_equal(number(event, "logon_type_id"), 3);
	assert_true(json_is_false(json_object_get(event, "is_cleartext")));
	json_decref(event);
}

static void fields_of_the_wrong_kind_go_where_nothing_is_promised(void **unused)
{
	json_t *event = ocsf_of(BEGIN "\"category\":[\"authentication\"],\"type\":[\"start\"],\"action\":7,\"outcome\":[1]},\"user\":{\"name\":{\"x\":1}},"
				"\"source\":{\"ip\":\"not an address\",\"port\":70000},\"modernauth\":5,\"extra\":{\"a\":[1,{\"b\":2.5}],\"n\":null}}");

	assert_string_equal(mauth_format_str(event, "user.name"), "-");
	assert_null(json_object_get(event, "src_endpoint"));
	assert_string_equal(mauth_format_str(event, "unmapped.source.ip"), "not an address");
	assert_int_equal(number(event, "unmapped.source.port"), 70000);
	assert_int_equal(number(event, "unmapped.user.name.x"), 1);
	assert_int_equal(number(event, "unmapped.modernauth"), 5);
	json_decref(event);
}

static void what_is_no_record_is_refused(void **unused)
{
	static const char *const lines[] = { "", "{}", "[]", "null", "{\"@timestamp\":\"2026-11-26T10:00:00Z\"}", "{\"@timestamp\":5,\"event\":{}}",
					     "{\"@timestamp\":\"yesterday\",\"event\":{}}", "{\"@timestamp\":\"2026-11-26T10:00:00Z\",\"event\":{}",
					     "{\"@timestamp\":\"2026-13-26T10:00:00Z\",\"event\":{}}", "{\"@timestamp\":\"2026-11-26T10:00:00+01:00\",\"event\":{}}" };
	static const char good[] = "{\"@timestamp\":\"2026-11-26T10:00:00Z\",\"event\":{}}";
	json_t *record;

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		assert_null(mauth_format_read(lines[i], strlen(lines[i])));
	record = mauth_format_read(good, sizeof(good) - 1);
	assert_non_null(record);
	json_decref(record);
}

static void syslog_may_carry_other_formats(void **unused)
{
	static const char line[] = BEGIN "\"action\":\"a b\",\"outcome\":\"failure\"},\"user\":{\"name\":\"\xc3\xa9\"}}";
	const struct mauth_format_source ecs = { .message = MAUTH_FORMAT_ECS }, cef = { .message = MAUTH_FORMAT_CEF };
	json_t *record = mauth_format_read(line, sizeof(line) - 1);
	struct mauth_buf out = { 0 };
	char *expected = mauth_printf("<84>1 2026-11-26T10:00:00.123456Z - dovecot-modernauth - a_b - \xef\xbb\xbf%s\n", line);

	mauth_format_write(MAUTH_FORMAT_SYSLOG, record, line, sizeof(line) - 1, &ecs, &out);
	assert_string_equal(out.data, expected);
	free(expected);
	mauth_buf_clear(&out);
	mauth_format_write(MAUTH_FORMAT_SYSLOG, record, line, sizeof(line) - 1, &cef, &out);
	assert_non_null(strstr(out.data, " a_b - \xef\xbb\xbf" "CEF:0|dovecot-modernauth|"));
	mauth_buf_free(&out);
	json_decref(record);
}

static void nobody_steers_a_terminal(void **unused)
{
	struct mauth_buf out = { 0 };

	mauth_format_visible(&out, "a\x1b[2J\n\xc2\x9b\xe2\x80\xae" "gpj\xe2\x80\x8b\xc3\xa9\xff.");
	assert_string_equal(out.data, "a<U+001B>[2J<U+000A><U+009B><U+202E>gpj<U+200B>\xc3\xa9<U+FFFD>.");
	mauth_buf_free(&out);
}

static void a_summary_is_short_and_whole_characters(void **unused)
{
	struct mauth_buf line = { 0 }, out = { 0 };
	json_t *record;

	mauth_buf_puts(&line, BEGIN "\"action\":\"x\",\"reason\":\"");
	for (unsigned int i = 0; i < 1000; i++)
		mauth_buf_puts(&line, "\xe6\x97\xa5");
	mauth_buf_puts(&line, "\"}}");
	record = mauth_format_read(line.data, line.size);
	assert_non_null(record);
	mauth_format_summary(record, &out);
	assert_true(out.size > 990 && out.size <= 1000 && mauth_is_utf8(out.data, out.size));
	json_decref(record);
	mauth_buf_free(&line);
	mauth_buf_free(&out);
}

static void times_are_read_exactly(void **unused)
{
	static const struct {
		const char *text;
		int64_t msecs;
	} rows[] = { { "1970-01-01T00:00:00Z", 0 }, { "2000-02-29T23:59:59.9Z", INT64_C(951868799900) }, { "2026-11-22T05:49:00.000042Z", WALL / 1000 },
		     { "2100-03-01T00:00:00.001Z", INT64_C(4107542400001) } };
	int64_t msecs;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_true(mauth_format_time(rows[i].text, &msecs));
		assert_true(msecs == rows[i].msecs);
	}
}

static void what_was_lost_is_a_record(void **unused)
{
	struct mauth_buf line = { 0 };

	mauth_format_lost(&line, WALL, "syslog tcp:a \"b\":601", 17);
	all_formats_keep_all(&line);
	assert_non_null(strstr(line.data, "\"forwarding\":{\"to\":\"syslog tcp:a \\\"b\\\":601\",\"lost\":17}"));
	mauth_buf_free(&line);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(attempts_survive_whatever_is_in_them),
		cmocka_unit_test(changes_and_second_legs_survive_as_well),
		cmocka_unit_test(ocsf_has_a_class_for_each_kind),
		cmocka_unit_test(ocsf_says_by_which_protocol),
		cmocka_unit_test(fields_of_the_wrong_kind_go_where_nothing_is_promised),
		cmocka_unit_test(what_is_no_record_is_refused),
		cmocka_unit_test(syslog_may_carry_other_formats),
		cmocka_unit_test(nobody_steers_a_terminal),
		cmocka_unit_test(a_summary_is_short_and_whole_characters),
		cmocka_unit_test(times_are_read_exactly),
		cmocka_unit_test(what_was_lost_is_a_record),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
