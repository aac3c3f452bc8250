/* SPDX-License-Identifier: MIT */
#include "core/json.h"
#include "core/jwt.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* header.payload.signature of payload; the caller frees */
static char *token_of(const char *payload, size_t size)
{
	struct mauth_buf buf = { 0 };
	char *token;

	mauth_base64url_encode(&buf, "{\"alg\":\"none\"}", 14);
	mauth_buf_putc(&buf, '.');
	mauth_base64url_encode(&buf, payload, size);
	mauth_buf_puts(&buf, ".c2ln");
	token = mauth_strndup(buf.data, buf.size);
	mauth_buf_free(&buf);
	return token;
}

static bool read_payload(const char *payload, struct mauth_jwt *jwt_r)
{
	char *token = token_of(payload, strlen(payload));
	bool ok = mauth_jwt_read(token, strlen(token), jwt_r);

	free(token);
	return ok;
}

static void base64url_speaks_as_rfc_4648_does(void **state)
{
	static const struct {
		const char *data, *text;
	} cases[] = {
		{ "", "" }, { "f", "Zg" }, { "fo", "Zm8" }, { "foo", "Zm9v" }, { "foob", "Zm9vYg" },
		{ "fooba", "Zm9vYmE" }, { "foobar", "Zm9vYmFy" }, { "\xfb\xff\xbf", "-_-_" },
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct mauth_buf text = { 0 }, data = { 0 };

		mauth_buf_puts(&text, "");
		mauth_buf_puts(&data, "");
		mauth_base64url_encode(&text, cases[i].data, strlen(cases[i].data));
		assert_string_equal(text.data, cases[i].text);
		assert_true(mauth_base64url_decode(&data, cases[i].text, strlen(cases[i].text)));
		assert_string_equal(data.data, cases[i].data);
		mauth_buf_free(&text);
		mauth_buf_free(&data);
	}
}

static void base64url_gives_every_octet_back(void **state)
{
	unsigned char all[256];
	struct mauth_buf text = { 0 }, data = { 0 };

	for (size_t i = 0; i < sizeof(all); i++)
		all[i] = (unsigned char)i;
	mauth_base64url_encode(&text, all, sizeof(all));
	assert_true(mauth_base64url_decode(&data, text.data, text.size));
	assert_int_equal(data.size, sizeof(all));
	assert_memory_equal(data.data, all, sizeof(all));
	mauth_buf_free(&text);
	mauth_buf_free(&data);
}

static void what_is_not_base64url_is_refused_and_leaves_the_buffer_alone(void **state)
{
	/* padding, the other alphabet, white space, one digit alone, bits that mean nothing */
	static const char *const cases[] = {
		"Zg==", "Zm9+", "Zm9/", "Zm9 ", "Zm9v\n", "Z", "A", "Zm9vA", "Zm9vY", "Zh", "Zm9",
	};
	struct mauth_buf buf = { 0 };

	mauth_buf_puts(&buf, "before");
	for (size_t i = 0; i < COUNT(cases); i++) {
		if (mauth_base64url_decode(&buf, cases[i], strlen(cases[i])))
			fail_msg("\"%s\" was read", cases[i]);
		assert_string_equal(buf.data, "before");
	}
	mauth_buf_free(&buf);
}

static void claims_are_read(void **state)
{
	struct mauth_jwt jwt;

	assert_true(read_payload("{\"aud\":\"https://outlook.office.com\",\"exp\":1763790000,"
				 "\"upn\":\"a@contoso.com\",\"oid\":\"11111111-2222-3333-4444-555555555555\","
				 "\"tid\":\"t\"}", &jwt));
	assert_string_equal(jwt.upn, "a@contoso.com");
	assert_string_equal(jwt.oid, "11111111-2222-3333-4444-555555555555");
	assert_string_equal(jwt.tid, "t");
	assert_int_equal(jwt.exp, 1763790000);
}

static void the_upn_claim_goes_before_its_older_and_newer_cousins(void **state)
{
	static const struct {
		const char *payload, *upn;
	} cases[] = {
		{ "{\"unique_name\":\"c\",\"preferred_username\":\"b\",\"upn\":\"a\"}", "a" },
		{ "{\"unique_name\":\"c\",\"preferred_username\":\"b\"}", "b" },
		{ "{\"unique_name\":\"c\"}", "c" },
		{ "{\"unique_name\":\"c\",\"upn\":\"\"}", "c" },
		{ "{\"unique_name\":\"c\",\"upn\":[\"a\"]}", "c" },
		{ "{\"unique_name\":\"c\",\"upn\":\"bell\\u0007\"}", "c" },
		{ "{}", "" },
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct mauth_jwt jwt;

		assert_true(read_payload(cases[i].payload, &jwt));
		assert_string_equal(jwt.upn, cases[i].upn);
	}
}

static void a_claim_that_does_not_fit_is_left_out_and_not_cut(void **state)
{
	char payload[2 * MAUTH_USER_MAX], name[MAUTH_USER_MAX + 2];
	struct mauth_jwt jwt;

	memset(name, 'u', sizeof(name));
	name[MAUTH_USER_MAX + 1] = '\0';
	snprintf(payload, sizeof(payload), "{\"upn\":\"%s\"}", name);
	assert_true(read_payload(payload, &jwt));
	assert_string_equal(jwt.upn, "");
	name[MAUTH_USER_MAX] = '\0';
	snprintf(payload, sizeof(payload), "{\"upn\":\"%s\"}", name);
	assert_true(read_payload(payload, &jwt));
	assert_string_equal(jwt.upn, name);
}

static void exp_is_a_number_however_it_is_written(void **state)
{
	static const struct {
		const char *payload;
		int64_t exp;
	} cases[] = {
		{ "{\"exp\":12}", 12 }, { "{\"exp\":\"12\"}", 12 }, { "{\"exp\":12.9}", 12 },
		{ "{\"exp\":null}", 0 }, { "{\"exp\":-1}", 0 },
		{ "{\"exp\":1e300}", INT64_MAX }, { "{\"exp\":\"99999999999999999999\"}", INT64_MAX },
		{ "{\"exp\":\"-99999999999999999999\"}", 0 }, { "{\"exp\":-1e300}", 0 }, { "{\"exp\":\"x\"}", 0 },
		{ "{\"exp\":\"\"}", 0 }, { "{\"exp\":\"-\"}", 0 }, { "{\"exp\":\" 1\"}", 0 },
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct mauth_jwt jwt;

		assert_true(read_payload(cases[i].payload, &jwt));
		assert_int_equal(jwt.exp, cases[i].exp);
	}
}

static void what_is_no_jwt_is_opaque(void **state)
{
	static const char *const cases[] = {
		"", ".", "..", "...", "EwBwA8l6BAAU", "a.b", "a.e30", "a.!!.c", "a..c", "a.e30.c.d.e", "a.e3.c",
		"a.W10.c", "a.bnVsbA.c",
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct mauth_jwt jwt = { .exp = 42 };

		if (mauth_jwt_read(cases[i], strlen(cases[i]), &jwt))
			fail_msg("\"%s\" was read", cases[i]);
		assert_int_equal(jwt.exp, 42);
	}
	/* The emptiest one that can be read. */
	assert_true(mauth_jwt_read("a.e30.c", 7, &(struct mauth_jwt){ 0 }));
}

static void a_token_ends_where_it_is_said_to(void **state)
{
	/* The second dot and what follows do not belong to the token. */
	assert_false(mauth_jwt_read("a.e30.c", 5, &(struct mauth_jwt){ 0 }));
	assert_true(mauth_jwt_read("a.e30.c.d.e", 7, &(struct mauth_jwt){ 0 }));
}

static void claims_are_bounded(void **state)
{
	char deep[100] = "{\"a\":", *large = malloc(MAUTH_TOKEN_MAX + 1u);
	struct mauth_jwt jwt;

	assert_non_null(large);
	memset(deep + 5, '[', 20);
	memset(deep + 25, ']', 20);
	strcpy(deep + 45, "}");
	assert_false(read_payload(deep, &jwt));
	memset(large, 'a', MAUTH_TOKEN_MAX + 1u);
	memcpy(large, "a.e30.", 6);
	assert_true(mauth_jwt_read(large, MAUTH_TOKEN_MAX, &jwt));
	assert_false(mauth_jwt_read(large, MAUTH_TOKEN_MAX + 1u, &jwt));
	free(large);
	/* Two readers of this could see two users. */
	assert_false(read_payload("{\"upn\":\"a\",\"upn\":\"b\"}", &jwt));
}

static void depth_is_counted_outside_of_strings(void **state)
{
	static const char text[] = "{\"a\":\"[[[[[[[[[[[[[[[[[[[[\\\"[[[[[[[[[[[[[[[[[[[[\",\"b\":[]}";
	json_t *root = mauth_json_object(text, sizeof(text) - 1);

	assert_non_null(root);
	json_decref(root);
	assert_null(mauth_json_object("[]", 2));
	assert_null(mauth_json_object("{} x", 4));
	assert_null(mauth_json_object("", 0));
	assert_null(mauth_json_object(NULL, 0));
}

static const char *watched;
static bool watched_is_wiped;

/* Stands in for libc's, which mauth_wipe() calls: freed memory must not be looked at, so the wiping is. */
#if defined(__USE_FORTIFY_LEVEL) && __USE_FORTIFY_LEVEL > 0
void __explicit_bzero_chk(void *data, size_t size, size_t room)
#else
void explicit_bzero(void *data, size_t size)
#endif
{
	const char *begin = data;

	if (watched != NULL && watched >= begin && watched + strlen("secret") <= begin + size)
		watched_is_wiped = true;
	memset(data, 0, size);
}

static void jansson_wipes_what_it_frees(void **state)
{
	json_t *root = mauth_json_object("{\"access_token\":\"secret\"}", 25);

	watched = mauth_json_str(root, "access_token");
	assert_string_equal(watched, "secret");
	json_decref(root);
	assert_true(watched_is_wiped);
	watched = NULL;
}

static void jansson_memory_can_be_of_any_size(void **state)
{
	json_malloc_t alloc;
	json_free_t release;

	/* May be called again, with values alive. */
	mauth_json_init();
	json_get_alloc_funcs(&alloc, &release);
	release(alloc(0));
	release(NULL);
	/* Sizes that would wrap around with our prefix. */
	assert_null(alloc(SIZE_MAX));
	assert_null(alloc(SIZE_MAX - 8));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		{ "base64url speaks as RFC 4648 does", base64url_speaks_as_rfc_4648_does },
		{ "base64url gives every octet back", base64url_gives_every_octet_back },
		{ "what is not base64url is refused and leaves the buffer alone",
		  what_is_not_base64url_is_refused_and_leaves_the_buffer_alone },
		{ "claims are read", claims_are_read },
		{ "the upn claim goes before its older and newer cousins",
		  the_upn_claim_goes_before_its_older_and_newer_cousins },
		{ "a claim that does not fit is left out and not cut",
		  a_claim_that_does_not_fit_is_left_out_and_not_cut },
		{ "exp is a number however it is written", exp_is_a_number_however_it_is_written },
		{ "what is no JWT is opaque", what_is_no_jwt_is_opaque },
		{ "a token ends where it is said to", a_token_ends_where_it_is_said_to },
		{ "claims are bounded", claims_are_bounded },
		{ "depth is counted outside of strings", depth_is_counted_outside_of_strings },
		{ "jansson wipes what it frees", jansson_wipes_what_it_frees },
		{ "jansson's memory can be of any size", jansson_memory_can_be_of_any_size },
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
