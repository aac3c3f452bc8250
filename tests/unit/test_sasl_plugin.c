/* SPDX-License-Identifier: MIT */
/* The SASL plugin as libsasl2 loads it, with callbacks like Postfix's. argv: the plugin's directory, another plugin's. */
#include "sasl_world.h"

#include <sasl/sasl.h>

#include "modernauth/modernauth.h"

#define KEY "mark-0123456789abcdef"

static const char *plugin_dir, *other_dir;

static struct {
	struct fake_relay *relay;
	sasl_conn_t *conn;
	char path[512];              /* of plugins */
	char said[8192];             /* to the log */
	const char *socket, *mech, *priority;     /* what the program answers when it is asked for options */
} world;

static int get_path(void *context, const char **path_r)
{
	*path_r = world.path;
	return SASL_OK;
}

static int get_option(void *context, const char *plugin, const char *option, const char **result_r, unsigned int *size_r)
{
	const char *value = NULL;

	if (strcmp(option, "modernauth_socket") == 0)
		value = world.socket;
	else if (strcmp(option, "modernauth_mech") == 0)
		value = world.mech;
	else if (strcmp(option, "modernauth_priority") == 0)
		value = world.priority;
	if (value == NULL)
		return SASL_FAIL;
	*result_r = value;
	if (size_r != NULL)
		*size_r = (unsigned int)strlen(value);
	return SASL_OK;
}

static int take_log(void *context, int level, const char *text)
{
	size_t have = strlen(world.said);

	if (level != SASL_LOG_DEBUG)
		snprintf(world.said + have, sizeof(world.said) - have, "%d %s\n", level, text);
	return SASL_OK;
}

static int get_name(void *context, int id, const char **result_r, unsigned int *size_r)
{
	*result_r = "scans@contoso.com";
	if (size_r != NULL)
		*size_r = (unsigned int)strlen(*result_r);
	return SASL_OK;
}

static int get_secret(sasl_conn_t *conn, void *context, int id, sasl_secret_t **secret_r)
{
	static union {
		sasl_secret_t secret;
		char room[64];
	} kept;

	kept.secret.len = strlen(KEY);
	memcpy(kept.secret.data, KEY, sizeof(KEY));
	*secret_r = &kept.secret;
	return SASL_OK;
}

typedef int (*callback_fn)(void);
#define PROC(function) ((callback_fn)(void (*)(void))(function))

static sasl_callback_t global_callbacks[] = {
	{ SASL_CB_GETPATH, PROC(get_path), NULL },
	{ SASL_CB_GETOPT, PROC(get_option), NULL },
	{ SASL_CB_LOG, PROC(take_log), NULL },
	{ SASL_CB_LIST_END, NULL, NULL },
};
static sasl_callback_t postfix_callbacks[] = {
	{ SASL_CB_AUTHNAME, PROC(get_name), NULL },
	{ SASL_CB_PASS, PROC(get_secret), NULL },
	{ SASL_CB_LIST_END, NULL, NULL },
};
static sasl_callback_t asking_callbacks[] = {
	{ SASL_CB_AUTHNAME, NULL, NULL },
	{ SASL_CB_PASS, NULL, NULL },
	{ SASL_CB_LIST_END, NULL, NULL },
};

static int set_up(void **state)
{
	memset(&world, 0, sizeof(world));
	world.relay = relay_new();
	world.socket = world.relay->path;
	snprintf(world.path, sizeof(world.path), "%s", plugin_dir);
	return 0;
}

static int tear_down(void **state)
{
	char path[128];

	if (world.conn != NULL)
		sasl_dispose(&world.conn);
	sasl_done();
	snprintf(path, sizeof(path), "%s/modernauth.conf", world.relay->directory);
	unlink(path);
	relay_free(world.relay);
	return 0;
}

static void configure(const char *text)
{
	char path[128];
	FILE *file;

	snprintf(path, sizeof(path), "%s/modernauth.conf", world.relay->directory);
	file = fopen(path, "w");
	assert_non_null(file);
	fputs(text, file);
	assert_int_equal(fclose(file), 0);
}

static void load_with(const sasl_callback_t *callbacks)
{
	/* As Postfix's smtp_sasl_security_options are by default. */
	sasl_security_properties_t props = { .security_flags = SASL_SEC_NOPLAINTEXT | SASL_SEC_NOANONYMOUS };

	/* As Postfix does with cyrus_sasl_config_path. */
	assert_int_equal(sasl_set_path(SASL_PATH_TYPE_CONFIG, world.relay->directory), SASL_OK);
	assert_int_equal(sasl_client_init(global_callbacks), SASL_OK);
	assert_int_equal(sasl_client_new("smtp", "smtp.office365.com", NULL, NULL, callbacks, 0, &world.conn), SASL_OK);
	assert_int_equal(sasl_setprop(world.conn, SASL_SEC_PROPS, &props), SASL_OK);
}

static void load(void)
{
	load_with(postfix_callbacks);
}

static int start(const char *mechs, const char **out_r, unsigned int *size_r, const char **mech_r)
{
	*out_r = NULL;
	*size_r = 0;
	return sasl_client_start(world.conn, mechs, NULL, out_r, size_r, mech_r);
}

static void assert_response(const char *out, unsigned int size)
{
	static const char expected[] = "user=scans@contoso.com\001auth=Bearer " TOKEN "\001\001";

	assert_int_equal(size, sizeof(expected) - 1);
	assert_memory_equal(out, expected, sizeof(expected) - 1);
}

static void assert_no_secret_was_said(void)
{
	assert_null(strstr(world.said, KEY));
	assert_null(strstr(world.said, TOKEN));
}

static void a_token_becomes_the_initial_response(void **state)
{
	const char *out, *mech = NULL;
	unsigned int size;

	relay_scene(world.relay, HELLO, GRANTED, false);
	relay_start(world.relay);
	load();
	assert_int_equal(start("LOGIN XOAUTH2", &out, &size, &mech), SASL_OK);
	assert_string_equal(mech, "XOAUTH2");
	assert_response(out, size);
	assert_string_equal(world.said, "");
	relay_stop(world.relay);
	assert_non_null(strstr(world.relay->questions[0], "identity=scans@contoso.com\tkey=" KEY "\thost=smtp.office365.com\tmin_life=600\t"));
}

static void a_connection_may_ask_twice(void **state)
{
	const char *out, *mech = NULL;
	unsigned int size;

	relay_scene(world.relay, HELLO, GRANTED, false);
	relay_scene(world.relay, HELLO, GRANTED, false);
	relay_start(world.relay);
	load();
	assert_int_equal(start("XOAUTH2", &out, &size, &mech), SASL_OK);
	sasl_dispose(&world.conn);
	assert_int_equal(sasl_client_new("smtp", "smtp.office365.com", NULL, NULL, postfix_callbacks, 0, &world.conn), SASL_OK);
	assert_int_equal(start("XOAUTH2", &out, &size, &mech), SASL_OK);
	assert_response(out, size);
}

static void a_server_that_speaks_first_gets_it_too(void **state)
{
	const char *out, *mech = NULL;
	unsigned int size;

	relay_scene(world.relay, HELLO, GRANTED, false);
	relay_start(world.relay);
	load();
	assert_int_equal(sasl_client_start(world.conn, "XOAUTH2", NULL, NULL, NULL, &mech), SASL_CONTINUE);
	assert_int_equal(sasl_client_step(world.conn, "", 0, NULL, &out, &size), SASL_OK);
	assert_response(out, size);
}

static void an_error_challenge_is_answered_and_reported(void **state)
{
	static const char error[] = "{\"status\":\"401\",\"schemes\":\"bearer\"}";
	const char *out, *mech = NULL;
	unsigned int size;

	relay_scene(world.relay, HELLO, GRANTED, false);
	relay_scene(world.relay, HELLO, "DONE\t1\n", false);
	relay_start(world.relay);
	load();
	assert_int_equal(start("XOAUTH2", &out, &size, &mech), SASL_OK);
	assert_int_equal(sasl_client_step(world.conn, error, sizeof(error) - 1, NULL, &out, &size), SASL_OK);
	assert_int_equal(size, 0);
	assert_non_null(out);
	/* Once is enough. */
	assert_int_equal(sasl_client_step(world.conn, error, sizeof(error) - 1, NULL, &out, &size), SASL_OK);
	relay_stop(world.relay);
	assert_int_equal(world.relay->connections, 2);
	assert_non_null(strstr(world.relay->questions[1], "\nREFUSED\t1\tidentity=scans@contoso.com\ttoken_id=00112233445566778899aabbccddeeff\t"
			       "reply={\"status\":\"401\""));
}

static void a_failure_says_why(void **state)
{
	const char *out, *mech = NULL;
	unsigned int size;

	relay_scene(world.relay, HELLO, "FAIL\t1\tcode=config\ttemporary=no\treason=AADSTS7000222: client secret expired, run 100%%s\n", false);
	relay_start(world.relay);
	load();
	assert_int_equal(start("XOAUTH2", &out, &size, &mech), SASL_FAIL);
	assert_null(out);
	assert_string_equal(world.said, "2 modernauth: AADSTS7000222: client secret expired, run 100%%s (identity scans@contoso.com)\n");
	assert_non_null(strstr(sasl_errdetail(world.conn), "modernauth: AADSTS7000222: client secret expired"));
	assert_no_secret_was_said();
}

static void each_cause_has_its_number(void **state)
{
	static const struct {
		enum mauth_status status;
		int result;
	} rows[] = {
		{ MAUTH_BAD_CREDENTIALS, SASL_BADAUTH }, { MAUTH_USER_UNKNOWN, SASL_BADAUTH }, { MAUTH_LOCKED, SASL_UNAVAIL },
		{ MAUTH_DISABLED, SASL_DISABLED }, { MAUTH_EXPIRED, SASL_EXPIRED }, { MAUTH_INTERACTION, SASL_FAIL },
		{ MAUTH_POLICY, SASL_NOAUTHZ }, { MAUTH_NOT_OURS, SASL_NOAUTHZ }, { MAUTH_CONFIG, SASL_FAIL },
		{ MAUTH_TEMPORARY, SASL_UNAVAIL }, { MAUTH_TIMEOUT, SASL_UNAVAIL }, { MAUTH_PROTOCOL, SASL_FAIL },
		{ MAUTH_AUDIT, SASL_UNAVAIL }, { MAUTH_CANCELLED, SASL_FAIL },
	};
	char lines[sizeof(rows) / sizeof(rows[0])][80];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		snprintf(lines[i], sizeof(lines[i]), "FAIL\t1\tcode=%s\treason=r\n", mauth_status_name(rows[i].status));
		relay_scene(world.relay, HELLO, lines[i], false);
	}
	relay_start(world.relay);
	load();
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const char *out, *mech = NULL;
		unsigned int size;
		int result = start("XOAUTH2", &out, &size, &mech);

		/* libsasl2 does not tell programs whether it is the name that is wrong. */
		if (result == SASL_NOUSER)
			result = SASL_BADAUTH;
		assert_int_equal(result, rows[i].result);
		sasl_dispose(&world.conn);
		assert_int_equal(sasl_client_new("smtp", "smtp.office365.com", NULL, NULL, postfix_callbacks, 0, &world.conn), SASL_OK);
	}
}

static void a_program_that_must_ask_asks(void **state)
{
	const char *out, *mech = NULL;
	sasl_interact_t *prompts = NULL;
	unsigned int size;

	relay_scene(world.relay, HELLO, GRANTED, false);
	relay_start(world.relay);
	load_with(asking_callbacks);
	assert_int_equal(sasl_client_start(world.conn, "XOAUTH2", &prompts, &out, &size, &mech), SASL_INTERACT);
	assert_non_null(prompts);
	assert_int_equal(prompts[0].id, SASL_CB_AUTHNAME);
	assert_int_equal(prompts[1].id, SASL_CB_PASS);
	assert_int_equal(prompts[2].id, SASL_CB_LIST_END);
	prompts[0].result = "scans@contoso.com";
	prompts[0].len = 17;
	prompts[1].result = KEY;
	prompts[1].len = sizeof(KEY) - 1;
	assert_int_equal(sasl_client_start(world.conn, "XOAUTH2", &prompts, &out, &size, &mech), SASL_OK);
	assert_response(out, size);
	assert_null(prompts);
	relay_stop(world.relay);
	assert_non_null(strstr(world.relay->questions[0], "identity=scans@contoso.com\tkey=" KEY "\t"));
}

static void a_file_sets_options(void **state)
{
	const char *out, *mech = NULL;
	unsigned int size;
	char text[256];

	world.socket = NULL;
	snprintf(text, sizeof(text), "# ours\n\nmodernauth_socket: %s\n modernauth_mech :X-OURS  \nmodernauth_min_life:1200\n", world.relay->path);
	configure(text);
	relay_scene(world.relay, HELLO, GRANTED, false);
	relay_start(world.relay);
	load();
	assert_int_equal(start("XOAUTH2", &out, &size, &mech), SASL_NOMECH);
	assert_int_equal(start("X-OURS", &out, &size, &mech), SASL_OK);
	assert_response(out, size);
	relay_stop(world.relay);
	assert_non_null(strstr(world.relay->questions[0], "\tmin_life=1200\t"));
}

static void the_program_has_the_last_word(void **state)
{
	const char *out, *mech = NULL;
	unsigned int size;

	configure("modernauth_socket: /nonexistent\nmodernauth_mech: X-OURS\n");
	world.mech = "XOAUTH2";
	relay_scene(world.relay, HELLO, GRANTED, false);
	relay_start(world.relay);
	load();
	assert_int_equal(start("XOAUTH2", &out, &size, &mech), SASL_OK);
}

static void what_is_wrong_with_the_file_is_said_when_mail_is_sent(void **state)
{
	static const struct {
		const char *text, *said;
	} rows[] = {
		{ "modernauth_timeout: 15\nmodernauth_timeout: 0\n", "modernauth.conf line 2: modernauth_timeout: not a number in its range" },
		{ "modernauth_timeout: 121\n", "line 1: modernauth_timeout: not a number" },
		{ "modernauth_timeout: 5s\n", "line 1: modernauth_timeout: not a number" },
		{ "modernauth_timeout: -5\n", "line 1: modernauth_timeout: not a number" },
		{ "modernauth_min_life: 99999999999999999999\n", "line 1: modernauth_min_life: not a number" },
		{ "modernauth_mech: \n", "line 1: modernauth_mech: a mechanism has at most 20 of" },
		{ "modernauth_mech: xoauth2\n", "line 1: modernauth_mech: a mechanism has" },
		{ "modernauth_mech: A23456789012345678901\n", "line 1: modernauth_mech: a mechanism has" },
		{ "modernauth_socket:\n", "line 1: modernauth_socket: the path of a UNIX socket" },
		{ "modernauth_sokcet: x\n", "line 1: modernauth_sokcet: there is no such option" },
		{ "socket\n", "line 1: socket: a line has the form" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const char *out, *mech = NULL;
		unsigned int size;

		configure(rows[i].text);
		world.said[0] = '\0';
		load();
		assert_int_equal(start("XOAUTH2", &out, &size, &mech), SASL_FAIL);
		if (strstr(world.said, rows[i].said) == NULL)
			fail_msg("%s: %s", rows[i].said, world.said);
		sasl_dispose(&world.conn);
		sasl_done();
	}
}

static void lines_that_are_too_long_are_refused(void **state)
{
	const char *out, *mech = NULL;
	char text[3000];
	unsigned int size;

	memset(text, '#', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	configure(text);
	load();
	assert_int_equal(start("XOAUTH2", &out, &size, &mech), SASL_FAIL);
	assert_non_null(strstr(world.said, "line 1: line: too long"));
}

static void somebody_elses_mechanism_is_left_alone(void **state)
{
	const char *out, *mech = NULL;
	unsigned int size;

	snprintf(world.path, sizeof(world.path), "%s:%s", plugin_dir, other_dir);
	load();
	assert_int_equal(start("XOAUTH2", &out, &size, &mech), SASL_OK);
	assert_memory_equal(out, "of another", 10);
}

static void unless_ours_has_priority(void **state)
{
	const char *out, *mech = NULL;
	unsigned int size;

	snprintf(world.path, sizeof(world.path), "%s:%s", other_dir, plugin_dir);
	world.priority = "61";
	relay_scene(world.relay, HELLO, GRANTED, false);
	relay_start(world.relay);
	load();
	assert_int_equal(start("XOAUTH2", &out, &size, &mech), SASL_OK);
	assert_response(out, size);
}

static void both_may_have_a_name(void **state)
{
	const char *out, *mech = NULL;
	unsigned int size;

	snprintf(world.path, sizeof(world.path), "%s:%s", other_dir, plugin_dir);
	world.mech = "X-MODERNAUTH";
	relay_scene(world.relay, HELLO, GRANTED, false);
	relay_start(world.relay);
	load();
	assert_int_equal(start("XOAUTH2", &out, &size, &mech), SASL_OK);
	assert_memory_equal(out, "of another", 10);
	sasl_dispose(&world.conn);
	assert_int_equal(sasl_client_new("smtp", "smtp.office365.com", NULL, NULL, postfix_callbacks, 0, &world.conn), SASL_OK);
	assert_int_equal(start("X-MODERNAUTH", &out, &size, &mech), SASL_OK);
	assert_response(out, size);
}

int main(int argc, char **argv)
{
#define CASE(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		CASE(a_token_becomes_the_initial_response),
		CASE(a_connection_may_ask_twice),
		CASE(a_server_that_speaks_first_gets_it_too),
		CASE(an_error_challenge_is_answered_and_reported),
		CASE(a_failure_says_why),
		CASE(each_cause_has_its_number),
		CASE(a_program_that_must_ask_asks),
		CASE(a_file_sets_options),
		CASE(the_program_has_the_last_word),
		CASE(what_is_wrong_with_the_file_is_said_when_mail_is_sent),
		CASE(lines_that_are_too_long_are_refused),
		CASE(somebody_elses_mechanism_is_left_alone),
		CASE(unless_ours_has_priority),
		CASE(both_may_have_a_name),
	};

	if (argc != 3)
		return 2;
	plugin_dir = argv[1];
	other_dir = argv[2];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
