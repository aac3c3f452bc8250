/* SPDX-License-Identifier: MIT */
#include "core/network.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define COUNT(rows) (sizeof(rows) / sizeof((rows)[0]))

static void networks_have_one_spelling(void **state)
{
	static const struct {
		const char *text, *canonical;
	} rows[] = {
		{ "10.20.0.0/16", "10.20.0.0/16" }, { "192.0.2.7", "192.0.2.7" }, { "192.0.2.7/32", "192.0.2.7" },
		{ "192.0.2.6/31", "192.0.2.6/31" }, { "128.0.0.0/1", "128.0.0.0/1" }, { "0.0.0.0/0", "0.0.0.0/0" },
		{ "0.0.0.0", "0.0.0.0" }, { "255.255.255.255", "255.255.255.255" },
		{ "2001:db8::/32", "2001:db8::/32" }, { "2001:DB8:0:0:0:0:0:1", "2001:db8::1" }, { "::/0", "::/0" },
		{ "::1/128", "::1" }, { "fe80::/10", "fe80::/10" }, { "2001:db8::8000/113", "2001:db8::8000/113" },
		{ "::ffff:10.0.0.1", "10.0.0.1" }, { "::ffff:a00:1/128", "10.0.0.1" },
		{ "::ffff:10.0.0.0/104", "10.0.0.0/8" }, { "::ffff:0.0.0.0/96", "0.0.0.0/0" },
		{ "::10.0.0.1", "::10.0.0.1" }, { "::fffe:0:0/95", "::fffe:0:0/95" },
	};

	for (size_t i = 0; i < COUNT(rows); i++) {
		struct mauth_network network, again;
		char text[MAUTH_NETWORK_TEXT_SIZE];

		if (!mauth_network_parse(rows[i].text, &network, NULL))
			fail_msg("%s", rows[i].text);
		mauth_network_format(&network, text);
		assert_string_equal(text, rows[i].canonical);
		assert_true(mauth_network_parse(text, &again, NULL));
		assert_memory_equal(&network, &again, sizeof(network));
	}
}

static void what_is_no_network_is_refused_with_a_reason(void **state)
{
#define NOTHING "an IPv4 or IPv6 address or network was expected"
#define LENGTH_4 "a prefix length of 0 to 32 was expected after the slash"
#define LENGTH_6 "a prefix length of 0 to 128 was expected after the slash"
#define HOST_BITS "there are bits set beyond the prefix length: a network was expected, as in 10.20.0.0/16"
#define ZONE "a zone id (%...) has no meaning here"
	static const struct {
		const char *text, *why;
	} rows[] = {
		{ "", NOTHING }, { "/", NOTHING }, { "/8", NOTHING }, { "10", NOTHING }, { "10.0.0/8", NOTHING },
		{ "10.0.0.0.0/8", NOTHING }, { "256.0.0.0/8", NOTHING }, { "010.0.0.0/8", NOTHING },
		{ "0x0a.0.0.0/8", NOTHING }, { " 10.0.0.0/8", NOTHING }, { "10.0.0.0 /8", NOTHING },
		{ "-1.0.0.0/8", NOTHING }, { "mail.contoso.com", NOTHING }, { "localhost", NOTHING }, { "*", NOTHING },
		{ "::1::/64", NOTHING }, { "[::1]", NOTHING }, { "2001:db8", NOTHING }, { "12345::/16", NOTHING },
		{ "2001:db8::2001:db8::", NOTHING }, { ":", NOTHING }, { "\xff", NOTHING },
		{ "1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111", NOTHING },
		{ "10.0.0.0/", LENGTH_4 }, { "10.0.0.0/33", LENGTH_4 }, { "10.0.0.0/08", LENGTH_4 },
		{ "10.0.0.0/+8", LENGTH_4 }, { "10.0.0.0/-0", LENGTH_4 }, { "10.0.0.0/8 ", LENGTH_4 },
		{ "10.0.0.0/8/8", LENGTH_4 }, { "10.0.0.0/255.0.0.0", LENGTH_4 }, { "10.0.0.0/4294967304", LENGTH_4 },
		{ "10.0.0.0/1000", LENGTH_4 }, { "10.0.0.0/00", LENGTH_4 },
		{ "::/129", LENGTH_6 }, { "::/", LENGTH_6 }, { "::/0x20", LENGTH_6 },
		{ "::ffff:10.0.0.0/129", LENGTH_6 },
		{ "10.20.0.1/16", HOST_BITS }, { "10.20.0.0/8", HOST_BITS }, { "192.0.2.1/31", HOST_BITS },
		{ "0.0.0.1/0", HOST_BITS }, { "2001:db8::1/32", HOST_BITS }, { "::1/0", HOST_BITS },
		{ "2001:db8::1/127", HOST_BITS }, { "::ffff:10.0.0.0/8", HOST_BITS },
		{ "::ffff:10.0.0.1/104", HOST_BITS },
		{ "fe80::1%eth0", ZONE }, { "fe80::%1/64", ZONE }, { "10.0.0.1%lo", ZONE }, { "%", ZONE },
	};

	for (size_t i = 0; i < COUNT(rows); i++) {
		struct mauth_network network = { .bits = 77 };
		const char *why = NULL;

		if (mauth_network_parse(rows[i].text, &network, &why))
			fail_msg("%s", rows[i].text);
		if (strcmp(why, rows[i].why) != 0)
			fail_msg("%s: %s", rows[i].text, why);
		assert_int_equal(network.bits, 77);
		assert_false(mauth_network_parse(rows[i].text, &network, NULL));
	}
}

static void addresses_are_in_their_networks_and_in_no_other(void **state)
{
	static const struct {
		const char *network, *ip;
		bool in;
	} rows[] = {
		{ "10.20.0.0/16", "10.20.0.0", true }, { "10.20.0.0/16", "10.20.255.255", true },
		{ "10.20.0.0/16", "10.21.0.0", false }, { "10.20.0.0/16", "10.19.255.255", false },
		{ "10.20.0.0/15", "10.21.255.255", true }, { "10.20.0.0/15", "10.22.0.0", false },
		{ "192.0.2.7", "192.0.2.7", true }, { "192.0.2.7", "192.0.2.6", false },
		{ "192.0.2.6/31", "192.0.2.7", true }, { "192.0.2.6/31", "192.0.2.8", false },
		/* mapped is IPv4, on either side */
		{ "10.0.0.1", "::ffff:10.0.0.1", true }, { "::ffff:10.0.0.1", "10.0.0.1", true },
		{ "10.0.0.0/8", "::ffff:a01:203", true }, { "::ffff:10.0.0.0/104", "10.1.2.3", true },
		{ "10.0.0.0/8", "::10.0.0.1", false },
		/* everything of a family, and nothing of the other */
		{ "0.0.0.0/0", "255.255.255.255", true }, { "0.0.0.0/0", "0.0.0.0", true },
		{ "0.0.0.0/0", "::ffff:1.2.3.4", true }, { "0.0.0.0/0", "::1", false },
		{ "0.0.0.0/0", "2001:db8::1", false },
		{ "::/0", "2001:db8::1", true }, { "::/0", "::", true }, { "::/0", "10.0.0.1", false },
		{ "::/0", "::ffff:10.0.0.1", false }, { "::/64", "10.0.0.1", false }, { "::/64", "::1", true },
		{ "2001:db8::/32", "2001:db8:ffff::", true }, { "2001:db8::/32", "2001:db9::", false },
		{ "2001:db8::8000/113", "2001:db8::ffff", true }, { "2001:db8::8000/113", "2001:db8::7fff", false },
		{ "::1", "::1", true }, { "::1", "::2", false },
		/* no addresses */
		{ "0.0.0.0/0", "", false }, { "0.0.0.0/0", NULL, false }, { "0.0.0.0/0", "10.0.0.1 ", false },
		{ "0.0.0.0/0", "10.0.0.0/8", false }, { "0.0.0.0/0", "localhost", false },
		{ "fe80::/10", "fe80::1%eth0", false }, { "fe80::/10", "fe80::1", true },
	};

	for (size_t i = 0; i < COUNT(rows); i++) {
		struct mauth_network network;

		assert_true(mauth_network_parse(rows[i].network, &network, NULL));
		if (mauth_network_contains(&network, rows[i].ip) != rows[i].in)
			fail_msg("%s in %s", rows[i].ip, rows[i].network);
	}
}

static void one_of_several_networks_is_enough(void **state)
{
	struct mauth_network networks[2];

	assert_true(mauth_network_parse("10.0.0.0/8", &networks[0], NULL));
	assert_true(mauth_network_parse("2001:db8::/32", &networks[1], NULL));
	assert_true(mauth_networks_contain(networks, 2, "10.9.8.7"));
	assert_true(mauth_networks_contain(networks, 2, "2001:db8::7"));
	assert_false(mauth_networks_contain(networks, 1, "2001:db8::7"));
	assert_false(mauth_networks_contain(networks, 2, "192.0.2.7"));
	assert_false(mauth_networks_contain(networks, 2, NULL));
	assert_false(mauth_networks_contain(networks, 0, "10.9.8.7"));
	assert_false(mauth_networks_contain(NULL, 0, "10.9.8.7"));
}

static void patterns_match_whole_texts_in_any_case(void **state)
{
	static const struct {
		const char *pattern, *text;
		bool match;
	} rows[] = {
		{ "", "", true }, { "", "a", false }, { "*", "", true }, { "*", "anything", true }, { "**", "", true },
		{ "?", "", false }, { "?", "a", true }, { "?", "ab", false }, { "??", "\xc3\xa9", true },
		{ "alice@contoso.com", "alice@contoso.com", true }, { "ALICE@contoso.com", "alice@CONTOSO.com", true },
		{ "alice@contoso.com", "alice@contoso.comm", false },
		{ "alice@contoso.com", "alice@contoso.co", false },
		{ "*@contoso.com", "alice@contoso.com", true }, { "*@contoso.com", "@contoso.com", true },
		{ "*@contoso.com", "alice@contoso.com.evil", false }, { "*@contoso.com", "alice@xcontoso.com", false },
		{ "printer-*@contoso.com", "printer-7@contoso.com", true },
		{ "printer-*@contoso.com", "printer@contoso.com", false },
		{ "printer-?@contoso.com", "printer-12@contoso.com", false }, { "*-*", "a-b-c", true },
		{ "a*b", "ab", true }, { "a*b", "axbxb", true }, { "a*b", "axbx", false }, { "a*b*c", "abbcabc", true },
		{ "a*b*c", "acb", false }, { "*ab*ba*", "aba", false }, { "*ab*ba*", "abba", true },
		{ "*?", "", false }, { "*?", "x", true }, { "?*?", "x", false }, { "?*?", "xy", true },
		{ "*aab", "aaaab", true },
		/* only "*" and "?" mean anything, and only ASCII has a case */
		{ "[ab]", "a", false }, { "[ab]", "[AB]", true }, { "\\*", "*", false }, { "\\*", "\\x", true },
		{ "\xc3\x84", "\xc3\xa4", false }, { "@", "`", false }, { "[", "{", false },
	};

	for (size_t i = 0; i < COUNT(rows); i++) {
		if (mauth_glob_match(rows[i].pattern, rows[i].text) != rows[i].match)
			fail_msg("%s against %s", rows[i].pattern, rows[i].text);
	}
}

static void no_pattern_takes_long(void **state)
{
	static const char *const patterns[] = {
		"*a*a*a*a*b", "*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b", "*?*?*?*?*?*?*?*?*?*?*b",
		"a*a*a*a*a*a*a*a*a*a*a*ab",
		"*aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", "********************b",
	};
	char text[MAUTH_USER_MAX + 1];
	clock_t begin = clock();

	memset(text, 'a', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	for (int round = 0; round < 100; round++) {
		for (size_t i = 0; i < COUNT(patterns); i++)
			assert_false(mauth_glob_match(patterns[i], text));
	}
	/* Milliseconds in fact. A matcher that tries every star again would still be here next year. */
	assert_true(clock() - begin < 10 * CLOCKS_PER_SEC);
	text[sizeof(text) - 2] = 'b';
	for (size_t i = 0; i < COUNT(patterns); i++)
		assert_true(mauth_glob_match(patterns[i], text));
}

static void networks_overlap_if_one_has_the_other(void **state)
{
	static const struct {
		const char *a, *b;
		bool overlap;
	} cases[] = {
		{ "10.1.2.0/24", "10.0.0.0/8", true }, { "10.1.2.0/24", "10.1.2.7", true }, { "10.1.2.0/24", "10.1.3.0/24", false },
		{ "0.0.0.0/0", "10.1.2.0/24", true }, { "::/0", "10.1.2.0/24", false }, { "::/0", "2001:db8::/64", true },
		{ "0.0.0.0/0", "2001:db8::/64", false }, { "2001:db8::/33", "2001:db8:8000::/33", false },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct mauth_network a, b;

		assert_true(mauth_network_parse(cases[i].a, &a, NULL));
		assert_true(mauth_network_parse(cases[i].b, &b, NULL));
		if (mauth_networks_overlap(&a, &b) != cases[i].overlap || mauth_networks_overlap(&b, &a) != cases[i].overlap)
			fail_msg("%s and %s", cases[i].a, cases[i].b);
	}
}

static void no_address_is_in_no_neighbourhood(void **state)
{
	struct mauth_network network;
	unsigned char address[16];

	assert_false(mauth_network_around(NULL, &network, address));
	assert_false(mauth_network_around("", &network, address));
	assert_false(mauth_network_around("10.0.0.0/8", &network, address));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(networks_have_one_spelling),
		cmocka_unit_test(what_is_no_network_is_refused_with_a_reason),
		cmocka_unit_test(addresses_are_in_their_networks_and_in_no_other),
		cmocka_unit_test(one_of_several_networks_is_enough),
		cmocka_unit_test(patterns_match_whole_texts_in_any_case),
		cmocka_unit_test(no_pattern_takes_long),
		cmocka_unit_test(networks_overlap_if_one_has_the_other),
		cmocka_unit_test(no_address_is_in_no_neighbourhood),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
