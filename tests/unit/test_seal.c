/* SPDX-License-Identifier: MIT */
#include "core/jwt.h"
#include "core/seal.h"
#include "modernauth/store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct mauth_seal_context alice = { "enrolment", "contoso", "alice@contoso.com" };

struct fixture {
	struct mauth_keyring *keyring;
	struct mauth_buf sealed;
	struct mauth_error error;
};

static int set_up(void **state)
{
	struct fixture *f = mauth_new(sizeof(*f));

	f->keyring = mauth_keyring_new();
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	mauth_keyring_free(&f->keyring);
	mauth_buf_free(&f->sealed);
	free(f);
	return 0;
}

/* Seals plain for alice into f->sealed. */
static void seal(struct fixture *f, const char *plain, size_t size)
{
	struct mauth_secret *secret = mauth_secret_new(plain, size);

	mauth_buf_clear(&f->sealed);
	mauth_seal(f->keyring, &alice, secret, &f->sealed);
	mauth_secret_free(&secret);
}

static void assert_refused(struct fixture *f, const struct mauth_seal_context *context, const char *text, size_t size)
{
	struct mauth_secret *plain = NULL;

	assert_int_equal(mauth_unseal(f->keyring, context, text, size, &plain, &f->error), MAUTH_CONFIG);
	assert_null(plain);
	assert_int_equal(f->error.status, MAUTH_CONFIG);
	assert_string_not_equal(f->error.text, "");
	assert_string_not_equal(f->error.advice, "");
}

static void assert_opens(struct fixture *f, const char *expected, size_t size)
{
	struct mauth_secret *plain = NULL;

	assert_int_equal(mauth_unseal(f->keyring, &alice, f->sealed.data, f->sealed.size, &plain, &f->error), MAUTH_OK);
	assert_int_equal(mauth_secret_size(plain), size);
	assert_memory_equal(mauth_secret_expose(plain), expected, size);
	mauth_secret_free(&plain);
}

static void what_was_sealed_comes_back(void **state)
{
	struct fixture *f = *state;
	static const char octets[] = "0.AXoA\0\n\xff refresh token";

	seal(f, octets, sizeof(octets));
	assert_opens(f, octets, sizeof(octets));
	assert_null(strstr(f->sealed.data, "refresh"));
}

static void the_empty_and_the_largest_value_come_back(void **state)
{
	struct fixture *f = *state;
	char *large = mauth_new(MAUTH_SEAL_PLAIN_MAX);

	seal(f, "", 0);
	assert_opens(f, "", 0);
	memset(large, 'x', MAUTH_SEAL_PLAIN_MAX);
	seal(f, large, MAUTH_SEAL_PLAIN_MAX);
	assert_opens(f, large, MAUTH_SEAL_PLAIN_MAX);
	assert_true(f->sealed.size <= MAUTH_STORE_VALUE_MAX);
	free(large);
}

static void sealing_appends(void **state)
{
	struct fixture *f = *state;
	struct mauth_secret *plain = mauth_secret_new("x", 1);

	mauth_buf_puts(&f->sealed, "before ");
	mauth_seal(f->keyring, &alice, plain, &f->sealed);
	assert_memory_equal(f->sealed.data, "before ", 7);
	mauth_buf_consume(&f->sealed, 7);
	assert_opens(f, "x", 1);
	mauth_secret_free(&plain);
}

static void the_same_is_never_sealed_alike(void **state)
{
	struct fixture *f = *state;
	char *first;

	seal(f, "token", 5);
	first = mauth_strdup(f->sealed.data);
	seal(f, "token", 5);
	assert_string_not_equal(first, f->sealed.data);
	free(first);
}

static void every_flipped_bit_is_noticed(void **state)
{
	struct fixture *f = *state;
	struct mauth_buf octets = { 0 }, text = { 0 };

	seal(f, "token", 5);
	assert_true(mauth_base64url_decode(&octets, f->sealed.data, f->sealed.size));
	for (size_t i = 0; i < octets.size * 8; i++) {
		octets.data[i / 8] = (char)(octets.data[i / 8] ^ (1 << i % 8));
		mauth_buf_clear(&text);
		mauth_base64url_encode(&text, octets.data, octets.size);
		assert_refused(f, &alice, text.data, text.size);
		octets.data[i / 8] = (char)(octets.data[i / 8] ^ (1 << i % 8));
	}
	mauth_buf_free(&octets);
	mauth_buf_free(&text);
}

static void every_changed_character_is_noticed(void **state)
{
	struct fixture *f = *state;

	seal(f, "token", 5);
	for (size_t i = 0; i < f->sealed.size; i++) {
		char right = f->sealed.data[i];

		for (int c = 0; c < 256; c++) {
			f->sealed.data[i] = (char)c;
			if ((char)c != right)
				assert_refused(f, &alice, f->sealed.data, f->sealed.size);
		}
		f->sealed.data[i] = right;
	}
	assert_opens(f, "token", 5);
}

static void a_value_cut_or_lengthened_anywhere_is_refused(void **state)
{
	struct fixture *f = *state;
	size_t size;

	seal(f, "token", 5);
	size = f->sealed.size;
	for (size_t i = 0; i < size; i++)
		assert_refused(f, &alice, f->sealed.data, i);
	for (unsigned int i = 0; i < 8; i++) {
		mauth_buf_putc(&f->sealed, 'A');
		assert_refused(f, &alice, f->sealed.data, f->sealed.size);
	}
}

static void a_value_larger_than_any_is_refused_unread(void **state)
{
	struct fixture *f = *state;
	size_t size = 10u << 20;
	char *text = mauth_new(size);

	memset(text, 'A', size);
	assert_refused(f, &alice, text, size);
	assert_string_equal(f->error.text, "not a sealed value: it is too long");
	free(text);
}

static void a_value_of_another_context_is_refused(void **state)
{
	static const struct mauth_seal_context others[] = {
		{ "device", "contoso", "alice@contoso.com" },
		{ "enrolment", "fabrikam", "alice@contoso.com" },
		{ "enrolment", "contoso", "bob@contoso.com" },
		{ "enrolment", "contoso", "" },
		{ "enrolment", "", "alice@contoso.com" },
		{ "", "contoso", "alice@contoso.com" },
		/* the same octets, divided at another place */
		{ "enrolmentc", "ontoso", "alice@contoso.com" },
		{ "enrolment", "contosoa", "lice@contoso.com" },
		{ "enrolmentcontoso", "", "alice@contoso.com" },
		{ "enrolment", "contosoalice@contoso.com", "" },
		{ "", "", "enrolmentcontosoalice@contoso.com" },
	};
	struct fixture *f = *state;

	seal(f, "token", 5);
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		assert_refused(f, &others[i], f->sealed.data, f->sealed.size);
		assert_non_null(strstr(f->error.text, "belongs to somebody else"));
	}
}

static void an_unknown_key_is_named(void **state)
{
	struct fixture *f = *state;
	char id[MAUTH_SEAL_KEY_ID_SIZE];

	seal(f, "token", 5);
	strcpy(id, mauth_keyring_id(f->keyring));
	mauth_keyring_free(&f->keyring);
	f->keyring = mauth_keyring_new();
	assert_refused(f, &alice, f->sealed.data, f->sealed.size);
	assert_non_null(strstr(f->error.text, id));
	assert_non_null(strstr(f->error.advice, "key file"));
}

static void an_added_key_seals_and_the_old_ones_open(void **state)
{
	struct fixture *f = *state;
	char first[MAUTH_SEAL_KEY_ID_SIZE];

	strcpy(first, mauth_keyring_id(f->keyring));
	seal(f, "token", 5);
	assert_true(mauth_seal_is_current(f->keyring, f->sealed.data, f->sealed.size));
	assert_int_equal(mauth_keyring_add(f->keyring, &f->error), MAUTH_OK);
	assert_int_equal(mauth_keyring_count(f->keyring), 2);
	assert_string_not_equal(mauth_keyring_id(f->keyring), first);
	assert_opens(f, "token", 5);
	assert_false(mauth_seal_is_current(f->keyring, f->sealed.data, f->sealed.size));
	seal(f, "token", 5);
	assert_true(mauth_seal_is_current(f->keyring, f->sealed.data, f->sealed.size));
}

static void a_retired_key_opens_nothing_any_more(void **state)
{
	struct fixture *f = *state;
	char *old;

	seal(f, "token", 5);
	old = mauth_strdup(f->sealed.data);
	assert_int_equal(mauth_keyring_add(f->keyring, &f->error), MAUTH_OK);
	seal(f, "token", 5);
	mauth_keyring_retire(f->keyring);
	assert_int_equal(mauth_keyring_count(f->keyring), 1);
	assert_opens(f, "token", 5);
	assert_refused(f, &alice, old, strlen(old));
	free(old);
}

static void eight_keys_are_the_most(void **state)
{
	struct fixture *f = *state;

	for (unsigned int i = 1; i < MAUTH_SEAL_KEYS_MAX; i++)
		assert_int_equal(mauth_keyring_add(f->keyring, &f->error), MAUTH_OK);
	assert_int_equal(mauth_keyring_add(f->keyring, &f->error), MAUTH_CONFIG);
	assert_int_equal(mauth_keyring_count(f->keyring), MAUTH_SEAL_KEYS_MAX);
	assert_string_not_equal(f->error.advice, "");
}

static void what_is_no_envelope_is_not_current(void **state)
{
	struct fixture *f = *state;

	seal(f, "token", 5);
	assert_false(mauth_seal_is_current(f->keyring, "", 0));
	assert_false(mauth_seal_is_current(f->keyring, f->sealed.data, 12));
	f->sealed.data[0] = '=';
	assert_false(mauth_seal_is_current(f->keyring, f->sealed.data, f->sealed.size));
	f->sealed.data[0] = 'B';
	assert_false(mauth_seal_is_current(f->keyring, f->sealed.data, f->sealed.size));
}

/* -- the key file's text -- */

static enum mauth_status parse(struct fixture *f, const char *text, size_t size, struct mauth_keyring **keyring_r)
{
	struct mauth_secret *secret = mauth_secret_new(text, size);
	enum mauth_status status = mauth_keyring_parse("/etc/keys", secret, keyring_r, &f->error);

	mauth_secret_free(&secret);
	return status;
}

static void a_keyring_survives_its_text(void **state)
{
	struct fixture *f = *state;
	struct mauth_secret *text, *again;
	struct mauth_keyring *copy = NULL;

	seal(f, "token", 5);
	assert_int_equal(mauth_keyring_add(f->keyring, &f->error), MAUTH_OK);
	text = mauth_keyring_format(f->keyring);
	assert_int_equal(mauth_secret_expose(text)[0], '#');
	assert_int_equal(parse(f, mauth_secret_expose(text), mauth_secret_size(text), &copy), MAUTH_OK);
	assert_string_equal(mauth_keyring_id(copy), mauth_keyring_id(f->keyring));
	again = mauth_keyring_format(copy);
	assert_true(mauth_secret_equal(text, again));
	mauth_keyring_free(&f->keyring);
	f->keyring = mauth_keyring_dup(copy);
	assert_opens(f, "token", 5);
	mauth_keyring_free(&copy);
	mauth_secret_free(&text);
	mauth_secret_free(&again);
}

/* Octets 0..31 and 32..63, and what was computed of them with Python. */
#define KEY_1 "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
#define KEY_2 "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8"
#define ID_1 "1ab6e37e8aa40340"
#define ID_2 "a341b69d5acb5fca"
#define LINE_1 "modernauth-key " ID_1 " " KEY_1
#define LINE_2 "modernauth-key " ID_2 " " KEY_2

static void a_key_file_may_be_written_loosely(void **state)
{
	static const char *const texts[] = {
		LINE_1 "\n" LINE_2 "\n",
		LINE_1 "\n" LINE_2,
		"\n# a comment\n\n" LINE_1 "\r\n  # another\n\t" LINE_2 " \t\n\n",
		"modernauth-key   " ID_1 "\t" KEY_1 "\n" LINE_2 "\n",
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct mauth_keyring *keyring = NULL;

		assert_int_equal(parse(f, texts[i], strlen(texts[i]), &keyring), MAUTH_OK);
		assert_int_equal(mauth_keyring_count(keyring), 2);
		assert_string_equal(mauth_keyring_id(keyring), ID_2);
		mauth_keyring_free(&keyring);
	}
}

/* Sealed with Python's cryptography.AESGCM: an envelope is what seal.h says, not only what we write ourselves. */
static void an_envelope_made_elsewhere_opens(void **state)
{
	static const char text[] = LINE_1 "\n", sealed[] = "ARq2436KpANAZGVmZ2hpamtsbW5vPHS1AxclAQUHYPs3CDSYRD39fww6";
	struct fixture *f = *state;

	mauth_keyring_free(&f->keyring);
	assert_int_equal(parse(f, text, strlen(text), &f->keyring), MAUTH_OK);
	mauth_buf_puts(&f->sealed, sealed);
	assert_opens(f, "token", 5);
}

static void a_broken_key_file_is_refused_with_its_line(void **state)
{
	static const struct {
		const char *text, *message;
	} files[] = {
		{ "", "/etc/keys:1: the file ends without a key" },
		{ "# nothing\n", "/etc/keys:2: the file ends without a key" },
		{ "hello\n", "/etc/keys:1: neither a comment nor a key" },
		{ LINE_1 "\nmodernauth-keys " ID_2 " " KEY_2, "/etc/keys:2: neither a comment nor a key" },
		{ LINE_1 "\n\nmodernauth-key " ID_2, "/etc/keys:3: a key has an id and 43 characters" },
		{ LINE_1 "\nmodernauth-key", "/etc/keys:2: a key has an id and 43 characters" },
		{ LINE_1 " x", "/etc/keys:1: a key has an id and 43 characters" },
		{ LINE_1 "A", "/etc/keys:1: not a key: 43 characters of base64url are" },
		{ LINE_1 "\n" "modernauth-key " KEY_2 " " ID_2, "/etc/keys:2: not a key: 43 characters of base64url are" },
		{ "modernauth-key " ID_1 " AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9",     /* no spelling of 32 octets */
		  "/etc/keys:1: not a key: 43 characters of base64url are" },
		{ "modernauth-key " ID_1 " AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh",
		  "/etc/keys:1: not a key: 43 characters of base64url are" },
		{ "modernauth-key " ID_2 " " KEY_1,
		  "/etc/keys:1: the key is not the one that its id names; one of them was changed" },
		{ "modernauth-key " ID_1 " BAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",
		  "/etc/keys:1: the key is not the one that its id names; one of them was changed" },
		{ LINE_1 "\n" LINE_2 "\n" LINE_1 "\n", "/etc/keys:3: this key was there before" },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		struct mauth_keyring *keyring = NULL;

		assert_int_equal(parse(f, files[i].text, strlen(files[i].text), &keyring), MAUTH_CONFIG);
		assert_null(keyring);
		assert_string_equal(f->error.text, files[i].message);
		assert_non_null(strstr(f->error.advice, "copy"));
	}
}

static void a_key_file_that_is_none_is_refused(void **state)
{
	struct fixture *f = *state;
	struct mauth_keyring *keyring = NULL;
	struct mauth_secret *text;
	size_t size = 65537;
	char *large = mauth_new(size);

	memset(large, '#', size);
	assert_int_equal(parse(f, large, size, &keyring), MAUTH_CONFIG);
	free(large);
	assert_int_equal(parse(f, "\0\0\0", 3, &keyring), MAUTH_CONFIG);
	assert_int_equal(parse(f, LINE_1 "\0", sizeof(LINE_1), &keyring), MAUTH_CONFIG);
	/* Nine keys. */
	for (unsigned int i = 1; i < MAUTH_SEAL_KEYS_MAX; i++)
		assert_int_equal(mauth_keyring_add(f->keyring, &f->error), MAUTH_OK);
	text = mauth_keyring_format(f->keyring);
	mauth_buf_append(&f->sealed, mauth_secret_expose(text), mauth_secret_size(text));
	mauth_buf_puts(&f->sealed, LINE_1 "\n");
	mauth_secret_free(&text);
	assert_int_equal(parse(f, f->sealed.data, f->sealed.size, &keyring), MAUTH_CONFIG);
	assert_string_equal(f->error.text, "/etc/keys:12: more than 8 keys");
	assert_null(keyring);
}

/* Every way to get an error out of this module, and no piece of a key or of a token in it. */
static void no_error_tells_a_secret(void **state)
{
	static const char *const texts[] = {
		KEY_1, "modernauth-key " KEY_1, "modernauth-key " KEY_1 " " KEY_1, "modernauth-key " ID_2 " " KEY_1,
		KEY_1 " " KEY_1, "modernauth-key " ID_1 " " KEY_1 KEY_1, LINE_1 " " KEY_1, LINE_1 "\n" LINE_1,
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct mauth_keyring *keyring = NULL;

		assert_int_equal(parse(f, texts[i], strlen(texts[i]), &keyring), MAUTH_CONFIG);
		assert_null(strstr(f->error.text, "AAECAw"));
		assert_null(strstr(f->error.advice, "AAECAw"));
	}
	assert_refused(f, &alice, "0.AXoA-refresh-token-in-the-clear-which-nobody-has-sealed", 57);
	assert_null(strstr(f->error.text, "AXoA"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(what_was_sealed_comes_back),
		TEST(the_empty_and_the_largest_value_come_back),
		TEST(sealing_appends),
		TEST(the_same_is_never_sealed_alike),
		TEST(every_flipped_bit_is_noticed),
		TEST(every_changed_character_is_noticed),
		TEST(a_value_cut_or_lengthened_anywhere_is_refused),
		TEST(a_value_larger_than_any_is_refused_unread),
		TEST(a_value_of_another_context_is_refused),
		TEST(an_unknown_key_is_named),
		TEST(an_added_key_seals_and_the_old_ones_open),
		TEST(a_retired_key_opens_nothing_any_more),
		TEST(eight_keys_are_the_most),
		TEST(what_is_no_envelope_is_not_current),
		TEST(a_keyring_survives_its_text),
		TEST(a_key_file_may_be_written_loosely),
		TEST(an_envelope_made_elsewhere_opens),
		TEST(a_broken_key_file_is_refused_with_its_line),
		TEST(a_key_file_that_is_none_is_refused),
		TEST(no_error_tells_a_secret),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
