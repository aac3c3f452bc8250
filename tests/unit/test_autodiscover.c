/* SPDX-License-Identifier: MIT */
#include "core/hybrid-ask.h"
#include "fake_http.h"
#include "fake_loop.h"
#include "fake_sinks.h"
#include "test_config_tree.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define ANNA "anna@contoso.com"
#define CLOUD "{\"Protocol\":\"AutodiscoverV1\",\"Url\":\"https://outlook.office365.com/autodiscover/autodiscover.xml\"}"
#define ONPREM "{\"Protocol\":\"AutodiscoverV1\",\"Url\":\"https://mail.contoso.com/autodiscover/autodiscover.xml\"}"
#define NOBODY "{\"ErrorCode\":\"UserNotFound\",\"ErrorMessage\":\"The given user is not found\"}"

struct fixture {
	struct fake_loop *loop;
	struct fake_http *http;
	struct fake_sinks sinks;
	struct mauth_config *config;
	struct mauth_tenant *tenant;
	struct mauth_verifier_key key;
	struct mauth_autodiscover *autodiscover;
};

static void begin(struct fixture *f)
{
	memset(f, 0, sizeof(*f));
	f->loop = fake_loop_new(1700000000);
	f->http = fake_http_new(f->loop);
	fake_sinks_init(&f->sinks);
	f->config = test_config_new();
	f->tenant = f->config->tenants[0];
	f->autodiscover = mauth_autodiscover_new(&(struct mauth_autodiscover_deps){
		.loop = fake_loop_loop(f->loop), .http = fake_http_http(f->http), .log = &f->sinks.log, .config = f->config,
		.key = &f->key,
	});
}

static void end(struct fixture *f)
{
	mauth_autodiscover_free(&f->autodiscover);
	mauth_config_unref(&f->config);
	fake_http_free(&f->http);
	fake_loop_free(&f->loop);
	fake_sinks_free(&f->sinks);
}

struct answer {
	unsigned int calls;
	bool known;
	enum mauth_side side;
	struct mauth_autodiscover_waiter *waiter;
	struct answer *cancels;              /* another one, from the callback */
};

static void told(bool known, enum mauth_side side, void *context)
{
	struct answer *answer = context;

	answer->calls++;
	answer->known = known;
	answer->side = side;
	answer->waiter = NULL;
	if (answer->cancels != NULL)
		mauth_autodiscover_cancel(&answer->cancels->waiter);
}

static void ask(struct fixture *f, const char *address, struct answer *answer)
{
	answer->waiter = mauth_autodiscover_ask(f->autodiscover, f->tenant, address, told, answer);
}

/* What is kept about ANNA: "none", or the side, with "old " before it. */
static const char *kept(const struct fixture *f)
{
	static char text[32];
	enum mauth_side side;
	bool is_old;

	if (!mauth_autodiscover_known(f->autodiscover, f->tenant, ANNA, &side, &is_old))
		return "none";
	snprintf(text, sizeof(text), "%s%s", is_old ? "old " : "", mauth_side_name(side));
	return text;
}

/* Asks about ANNA, who is told of with status and body. */
static struct answer ask_and_reply(struct fixture *f, unsigned int status, const char *body)
{
	struct answer answer = { 0 };

	ask(f, ANNA, &answer);
	assert_non_null(answer.waiter);
	fake_http_reply(f->http, status, body, NULL);
	assert_int_equal(answer.calls, 1);
	return answer;
}

static void the_cloud_is_asked_without_a_secret(void **state)
{
	struct answer answer = { 0 };
	struct fixture f;

	begin(&f);
	ask(&f, "a+b@contoso.com", &answer);
	assert_string_equal(fake_http_url(f.http), "https://outlook.example/autodiscover/autodiscover.json/v1.0/a%2Bb%40contoso.com"
			    "?Protocol=AutodiscoverV1");
	assert_string_equal(fake_http_form(f.http), "");
	mauth_autodiscover_cancel(&answer.waiter);
	end(&f);
	assert_int_equal(answer.calls, 0);
}

static void answers_name_the_side_by_their_host(void **state)
{
	static const struct {
		unsigned int status;
		const char *body, *location, *side;
	} cases[] = {
		{ 200, CLOUD, "", "cloud" },
		{ 200, ONPREM, "", "onprem" },
		{ 200, "{\"Url\":\"https://OUTLOOK.example/x\"}", "", "cloud" },
		{ 200, "{\"Url\":\"https://eu.outlook.com:443/x\"}", "", "cloud" },
		{ 200, "{\"Url\":\"https://outlook.office365.us/x\"}", "", "cloud" },
		{ 200, "{\"Url\":\"https://webmail.apps.mil/x\"}", "", "cloud" },
		{ 200, "{\"Url\":\"https://partner.outlook.cn/x\"}", "", "cloud" },
		{ 200, "{\"Url\":\"https://notoutlook.com/x\"}", "", "onprem" },
		{ 200, "{\"Url\":\"https://outlook.office365.com.evil.example/x\"}", "", "onprem" },
		{ 302, "", "https://autodiscover.contoso.com/autodiscover/autodiscover.json?Email=a", "onprem" },
		{ 307, "<html>", "https://autodiscover-s.outlook.com/x", "cloud" },
		{ 404, NOBODY, "", "unknown" },
		{ 400, NOBODY, "", "unknown" },
		{ 302, CLOUD, "", "none" },
		{ 302, "", "/relative", "none" },
		{ 200, "{\"Url\":\"mail\"}", "", "none" },
		{ 200, "{\"Url\":7}", "", "none" },
		{ 200, "<html>captive portal</html>", "", "none" },
		{ 200, "", "", "none" },
		{ 400, "{\"ErrorCode\":\"ProtocolNotSupported\"}", "", "none" },
		{ 404, "not found", "", "none" },
		{ 401, CLOUD, "", "none" },
		{ 503, CLOUD, "", "none" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct mauth_http_reply reply = {
			.status = cases[i].status, .body = cases[i].body, .body_size = strlen(cases[i].body),
			.location = cases[i].location,
		};
		enum mauth_side side;
		bool good = mauth_autodiscover_read("https://outlook.example", &reply, &side);

		assert_string_equal(good ? mauth_side_name(side) : "none", cases[i].side);
	}
}

static void an_answer_is_kept_for_hours_and_old_ones_for_days(void **state)
{
	struct fixture f;

	begin(&f);
	assert_string_equal(kept(&f), "none");
	assert_int_equal(ask_and_reply(&f, 200, ONPREM).side, MAUTH_SIDE_ONPREM);
	assert_string_equal(kept(&f), "onprem");
	fake_loop_run(f.loop, 4 * 3600 * 1000 - 1000);
	assert_string_equal(kept(&f), "onprem");
	fake_loop_run(f.loop, 1000);
	assert_string_equal(kept(&f), "old onprem");
	fake_loop_run(f.loop, (7 * 24 - 4) * 3600 * 1000u - 1000);
	assert_string_equal(kept(&f), "old onprem");
	fake_loop_run(f.loop, 1000);
	assert_string_equal(kept(&f), "none");
	/* Whoever asks then and hears nothing is not told what was a week ago. */
	assert_false(ask_and_reply(&f, 503, "").known);
	end(&f);
}

static void who_is_unknown_is_asked_about_again_soon(void **state)
{
	struct fixture f;

	begin(&f);
	assert_true(ask_and_reply(&f, 404, NOBODY).known);
	assert_string_equal(kept(&f), "unknown");
	fake_loop_run(f.loop, 15 * 60 * 1000);
	assert_string_equal(kept(&f), "old unknown");
	end(&f);
}

static void a_refresh_takes_the_place_of_what_is_old(void **state)
{
	struct fixture f;

	begin(&f);
	ask_and_reply(&f, 200, ONPREM);
	fake_loop_run(f.loop, 4 * 3600 * 1000);
	mauth_autodiscover_refresh(f.autodiscover, f.tenant, ANNA);
	mauth_autodiscover_refresh(f.autodiscover, f.tenant, ANNA);
	assert_int_equal(fake_http_open(f.http), 1);
	assert_string_equal(kept(&f), "old onprem");
	fake_http_reply(f.http, 200, CLOUD, NULL);
	assert_string_equal(kept(&f), "cloud");
	/* One that fails leaves it, and is not repeated at each login. */
	fake_loop_run(f.loop, 4 * 3600 * 1000);
	mauth_autodiscover_refresh(f.autodiscover, f.tenant, ANNA);
	fake_http_fail(f.http, MAUTH_TIMEOUT);
	assert_string_equal(kept(&f), "cloud");
	fake_loop_run(f.loop, 60000);
	assert_string_equal(kept(&f), "old cloud");
	end(&f);
}

static void those_who_ask_about_one_share_a_request(void **state)
{
	struct answer a = { 0 }, b = { 0 }, c = { 0 };
	struct fixture f;

	begin(&f);
	ask(&f, ANNA, &a);
	ask(&f, ANNA, &b);
	ask(&f, ANNA, &c);
	/* The one that was last is told first, and cancels another. */
	c.cancels = &a;
	assert_int_equal(fake_http_open(f.http), 1);
	fake_http_reply(f.http, 200, CLOUD, NULL);
	assert_int_equal(a.calls, 0);
	assert_int_equal(b.calls, 1);
	assert_int_equal(c.calls, 1);
	end(&f);
}

static void without_an_answer_nothing_is_kept(void **state)
{
	struct fixture f;
	struct answer answer = { 0 };

	begin(&f);
	ask(&f, ANNA, &answer);
	fake_http_fail(f.http, MAUTH_TIMEOUT);
	assert_int_equal(answer.calls, 1);
	assert_false(answer.known);
	assert_string_equal(kept(&f), "none");
	assert_int_equal(mauth_autodiscover_count(f.autodiscover), 0);
	end(&f);
}

static void who_does_not_answer_is_left_alone_for_a_while(void **state)
{
	struct answer answer = { 0 };
	struct fixture f;

	begin(&f);
	for (unsigned int i = 0; i < 5; i++) {
		ask(&f, ANNA, &answer);
		assert_non_null(answer.waiter);
		fake_http_fail(f.http, MAUTH_TEMPORARY);
	}
	ask(&f, ANNA, &answer);
	assert_null(answer.waiter);
	assert_non_null(strstr(f.sinks.lines, "Autodiscover is not asked for 5 s"));
	assert_int_equal(mauth_autodiscover_count(f.autodiscover), 0);
	fake_loop_run(f.loop, 5000);
	/* One tries. */
	ask(&f, ANNA, &answer);
	assert_non_null(answer.waiter);
	struct answer other = { 0 };
	ask(&f, "other@contoso.com", &other);
	assert_null(other.waiter);
	fake_http_reply(f.http, 200, CLOUD, NULL);
	ask(&f, "other@contoso.com", &other);
	assert_non_null(other.waiter);
	fake_http_reply(f.http, 200, CLOUD, NULL);
	end(&f);
}

static void who_asks_to_wait_is_waited_for(void **state)
{
	struct answer answer = { 0 };
	struct fixture f;

	begin(&f);
	ask(&f, ANNA, &answer);
	fake_http_reply(f.http, 429, "", "90");
	ask(&f, ANNA, &answer);
	assert_null(answer.waiter);
	fake_loop_run(f.loop, 90000);
	ask_and_reply(&f, 200, CLOUD);
	end(&f);
}

static void an_answer_is_doubted_once_in_a_minute(void **state)
{
	struct fixture f;

	begin(&f);
	mauth_autodiscover_doubt(f.autodiscover, f.tenant, ANNA);
	ask_and_reply(&f, 200, CLOUD);
	mauth_autodiscover_doubt(f.autodiscover, f.tenant, ANNA);
	assert_string_equal(kept(&f), "none");
	ask_and_reply(&f, 200, CLOUD);
	fake_loop_run(f.loop, 59000);
	mauth_autodiscover_doubt(f.autodiscover, f.tenant, ANNA);
	assert_string_equal(kept(&f), "cloud");
	fake_loop_run(f.loop, 1000);
	mauth_autodiscover_doubt(f.autodiscover, f.tenant, ANNA);
	assert_string_equal(kept(&f), "none");
	end(&f);
}

static void requests_at_once_are_bounded(void **state)
{
	static struct answer answers[1001];
	struct fixture f;
	char name[64];

	begin(&f);
	memset(answers, 0, sizeof(answers));
	for (unsigned int i = 0; i < 1001; i++) {
		snprintf(name, sizeof(name), "u%u@contoso.com", i);
		ask(&f, name, &answers[i]);
		assert_true((answers[i].waiter != NULL) == (i < 1000));
	}
	/* And what nobody waits for gives way long before. */
	mauth_autodiscover_refresh(f.autodiscover, f.tenant, ANNA);
	assert_int_equal(fake_http_open(f.http), 1000);
	for (unsigned int i = 0; i < 1000; i++)
		fake_http_reply(f.http, 200, CLOUD, NULL);
	end(&f);
}

static void the_oldest_answers_go_first(void **state)
{
	struct fixture f;
	struct answer answer = { 0 };
	enum mauth_side side;
	char name[64];
	bool is_old;

	begin(&f);
	for (unsigned int i = 0; i < 100001; i++) {
		snprintf(name, sizeof(name), "u%u@contoso.com", i);
		ask(&f, name, &answer);
		fake_http_reply(f.http, 200, CLOUD, NULL);
	}
	assert_int_equal(mauth_autodiscover_count(f.autodiscover), 100000);
	assert_false(mauth_autodiscover_known(f.autodiscover, f.tenant, "u0@contoso.com", &side, &is_old));
	assert_true(mauth_autodiscover_known(f.autodiscover, f.tenant, "u1@contoso.com", &side, &is_old));
	end(&f);
}

static void what_is_stopped_asks_no_more(void **state)
{
	struct answer answer = { 0 }, late = { 0 };
	struct fixture f;

	begin(&f);
	ask(&f, ANNA, &answer);
	mauth_autodiscover_stop(f.autodiscover);
	assert_int_equal(fake_http_open(f.http), 0);
	ask(&f, "late@contoso.com", &late);
	assert_null(late.waiter);
	mauth_autodiscover_cancel(&answer.waiter);
	end(&f);
	assert_int_equal(answer.calls, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_cloud_is_asked_without_a_secret),
		cmocka_unit_test(answers_name_the_side_by_their_host),
		cmocka_unit_test(an_answer_is_kept_for_hours_and_old_ones_for_days),
		cmocka_unit_test(who_is_unknown_is_asked_about_again_soon),
		cmocka_unit_test(a_refresh_takes_the_place_of_what_is_old),
		cmocka_unit_test(those_who_ask_about_one_share_a_request),
		cmocka_unit_test(without_an_answer_nothing_is_kept),
		cmocka_unit_test(who_does_not_answer_is_left_alone_for_a_while),
		cmocka_unit_test(who_asks_to_wait_is_waited_for),
		cmocka_unit_test(an_answer_is_doubted_once_in_a_minute),
		cmocka_unit_test(requests_at_once_are_bounded),
		cmocka_unit_test(the_oldest_answers_go_first),
		cmocka_unit_test(what_is_stopped_asks_no_more),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
