/* SPDX-License-Identifier: MIT */
/* Who of the inventory meets a rule, or would miss an exception. */
#include "vault_world.h"

#include "core/exceptions.h"
#include "core/mem.h"
#include "core/usage.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define DAY 86400
#define DAY_MSECS (DAY * 1000u)
/* Behind a midnight of UTC, in which the world's first day ends. */
#define UNTIL ((WORLD_WALL / DAY + 11) * DAY)

static void see(struct vault_world *world, const char *user, enum mauth_service service, const char *ip, enum mauth_status status)
{
	const struct mauth_attempt_record record = {
		.started_usecs = mauth_wall_usecs(fake_loop_loop(world->w.loop)), .user = user, .upn = user, .tenant_name = CONTOSO,
		.service = service, .mechanism = "PLAIN", .client_ip = ip, .decision = status == MAUTH_OK ? "upgrade" : "refuse",
		.status = status,
	};

	mauth_inventory_note(mauth_broker_inventory(world->w.broker), &record);
}

static struct mauth_rule *only_for(struct vault_world *world, const char *name, enum mauth_service service, enum mauth_action action)
{
	struct mauth_rule *rule = world_rule(&world->w, name);

	rule->services = 1u << service;
	rule->action = action;
	rule->then = MAUTH_ACTION_DENY;
	return rule;
}

static void begin(struct vault_world *world)
{
	vault_world_begin(world);
	world->w.config->inventory = true;
	world->w.config->inventory_max = 100;
	world->w.config->inventory_keep_secs = 400 * DAY;
	vault_world_grants(world->w.tenant, "EP");
}

static void a_notice_counts_those_whom_its_rule_decides_about(void **state)
{
	struct mauth_rule *pop3, *imap;
	struct vault_world world;

	begin(&world);
	pop3 = only_for(&world, "pop", MAUTH_SERVICE_POP3, MAUTH_ACTION_UPGRADE);
	imap = only_for(&world, "imap", MAUTH_SERVICE_IMAP, MAUTH_ACTION_UPGRADE);
	pop3->until = imap->until = UNTIL;
	pop3->notice_days = imap->notice_days = 20;
	vault_world_open(&world);
	see(&world, ALICE, MAUTH_SERVICE_POP3, "192.0.2.7", MAUTH_OK);
	see(&world, ALICE, MAUTH_SERVICE_POP3, "198.51.100.7", MAUTH_OK);
	see(&world, BOB, MAUTH_SERVICE_POP3, "192.0.2.8", MAUTH_OK);
	see(&world, "eve@contoso.com", MAUTH_SERVICE_POP3, "203.0.113.9", MAUTH_BAD_CREDENTIALS);
	see(&world, BOB, MAUTH_SERVICE_SUBMISSION, "192.0.2.8", MAUTH_OK);
	fake_loop_run(world.w.loop, 60000);
	assert_int_equal(world_count(world.w.sinks.lines, "rule \"pop\" ends in "), 1);
	assert_int_equal(world_count(world.w.sinks.lines, "then \"deny\"; 2 users used it in the last 30 days"), 1);
	assert_int_equal(world_count(world.w.sinks.lines, "then \"deny\"; 0 users used it in the last 30 days"), 1);
	assert_non_null(strstr(world.w.sinks.events, "rule=pop action=upgrade then=deny"));
	assert_non_null(strstr(world.w.sinks.events, "users=2"));
	vault_world_end(&world);
}

static void added(const struct mauth_exception *exception, const struct mauth_error *error, void *context)
{
	assert_null(error);
	*(bool *)context = true;
}

static void the_end_of_an_exception_is_announced_to_whom_it_concerns(void **state)
{
	struct mauth_exception_new from = {
		.services = 1u << MAUTH_SERVICE_POP3, .user = "alice@*", .action = MAUTH_ACTION_UPGRADE, .until = UNTIL, .by = "root",
		.reason = "the ticket system",
	};
	struct vault_world world;
	bool done = false;

	begin(&world);
	(void)only_for(&world, "no pop", MAUTH_SERVICE_POP3, MAUTH_ACTION_DENY);
	vault_world_open(&world);
	see(&world, ALICE, MAUTH_SERVICE_POP3, "192.0.2.7", MAUTH_OK);
	see(&world, BOB, MAUTH_SERVICE_POP3, "192.0.2.8", MAUTH_OK);
	assert_int_equal(mauth_exceptions_add(mauth_vault_exceptions(world.vault), &from, added, &done, NULL), MAUTH_OK);
	fake_loop_run(world.w.loop, 60000);
	assert_true(done);
	assert_int_equal(world_count(world.w.sinks.lines, "warning exception \""), 1);
	assert_int_equal(world_count(world.w.sinks.lines, "then \"deny\"; 1 user used it in the last 30 days"), 1);
	vault_world_end(&world);
}

static void a_protocols_users_are_those_of_the_last_days(void **state)
{
	struct mauth_inventory_counts counts;
	struct vault_world world;

	begin(&world);
	vault_world_open(&world);
	see(&world, ALICE, MAUTH_SERVICE_POP3, "192.0.2.7", MAUTH_OK);
	fake_loop_run(world.w.loop, 31 * DAY_MSECS);
	see(&world, BOB, MAUTH_SERVICE_POP3, "192.0.2.8", MAUTH_OK);
	see(&world, BOB, MAUTH_SERVICE_POP3, "198.51.100.8", MAUTH_OK);
	mauth_usage_of_service(world.w.broker, MAUTH_SERVICE_POP3, CONTOSO, &counts);
	assert_int_equal(counts.users, 1);
	assert_int_equal(counts.clients, 2);
	mauth_usage_of_service(world.w.broker, MAUTH_SERVICE_IMAP, CONTOSO, &counts);
	assert_int_equal(counts.users, 0);
	mauth_usage_of_service(world.w.broker, MAUTH_SERVICE_POP3, "fabrikam", &counts);
	assert_int_equal(counts.users, 0);
	vault_world_end(&world);
}

/* A question for each row and notice: they are spread, so that nobody waits for seconds. */
static void a_large_inventory_spreads_the_notices(void **state)
{
	struct vault_world world;
	char name[64];

	begin(&world);
	world.w.config->inventory_max = 5000;
	for (unsigned int i = 0; i < 30; i++) {
		struct mauth_rule *rule;

		snprintf(name, sizeof(name), "ends %u", i);
		rule = only_for(&world, name, MAUTH_SERVICE_POP3, MAUTH_ACTION_UPGRADE);
		rule->until = UNTIL;
		rule->notice_days = 20;
	}
	vault_world_open(&world);
	for (unsigned int i = 0; i < 5000; i++) {
		snprintf(name, sizeof(name), "user%u@contoso.com", i);
		see(&world, name, MAUTH_SERVICE_POP3, "192.0.2.7", MAUTH_OK);
	}
	fake_loop_run(world.w.loop, 10000);
	assert_int_equal(world_count(world.w.sinks.lines, "ends in "), 17);
	assert_int_equal(world_count(world.w.sinks.lines, "5000 users used it"), 1);
	fake_loop_run(world.w.loop, 20000);
	assert_int_equal(world_count(world.w.sinks.lines, "ends in "), 30);
	vault_world_end(&world);
}

static void a_row_asks_the_rules_what_its_attempts_asked(void **state)
{
	struct mauth_inventory_row row = { .service = MAUTH_SERVICE_IMAP, .tls = true, .mechanism = "LOGIN" };
	struct mauth_policy_question question;
	char ip[MAUTH_USAGE_IP_SIZE];

	mauth_usage_question(ALICE, &row, 7, ip, &question);
	assert_null(question.client_ip);
	assert_string_equal(question.mechanism, "LOGIN");
	assert_true(question.tls && question.now == 7 && question.client_id == NULL);
	assert_true(mauth_network_parse("192.0.2.0/24", &row.network, NULL));
	memcpy(row.address, row.network.address, sizeof(row.address));
	row.address[15] = 9;
	mauth_usage_question(ALICE, &row, 7, ip, &question);
	assert_string_equal(question.client_ip, "192.0.2.9");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_notice_counts_those_whom_its_rule_decides_about),
		cmocka_unit_test(the_end_of_an_exception_is_announced_to_whom_it_concerns),
		cmocka_unit_test(a_protocols_users_are_those_of_the_last_days),
		cmocka_unit_test(a_large_inventory_spreads_the_notices),
		cmocka_unit_test(a_row_asks_the_rules_what_its_attempts_asked),
	};

	setenv("TZ", "UTC", 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
