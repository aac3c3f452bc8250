/* SPDX-License-Identifier: MIT */
#include "core/mem.h"
#include "core/verifier.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <openssl/evp.h>
#include <openssl/params.h>

static const struct mauth_verifier_key key_1 = { .key = "0123456789abcdef0123456789abcde" };
static const struct mauth_verifier_key key_2 = { .key = "0123456789abcdef0123456789abcdf" };
static const unsigned char salt_1[MAUTH_SALT_SIZE] = "salt-salt-salt-";
static const unsigned char salt_2[MAUTH_SALT_SIZE] = "salt-salt-salt.";

/* What a verifier is made of. */
struct input {
	const struct mauth_verifier_key *key;
	const unsigned char *salt;
	uint32_t tenant;
	const char *upn, *password;
};

static void make(const struct input *input, unsigned char verifier_r[static MAUTH_VERIFIER_SIZE])
{
	struct mauth_secret *password = mauth_secret_new(input->password, strlen(input->password));

	mauth_verifier(input->key, input->salt, input->tenant, input->upn, password, verifier_r);
	mauth_secret_free(&password);
}

static void the_same_gives_the_same(void **state)
{
	struct input input = { &key_1, salt_1, 7, "alice@contoso.com", "password" };
	unsigned char a[MAUTH_VERIFIER_SIZE], b[MAUTH_VERIFIER_SIZE];

	make(&input, a);
	make(&input, b);
	assert_memory_equal(a, b, sizeof(a));
}

static void whatever_differs_gives_another_verifier(void **state)
{
	static const struct input base = { &key_1, salt_1, 7, "alice@contoso.com", "password" };
	static const struct input others[] = {
		{ &key_2, salt_1, 7, "alice@contoso.com", "password" },
		{ &key_1, salt_2, 7, "alice@contoso.com", "password" },
		{ &key_1, salt_1, 8, "alice@contoso.com", "password" },
		{ &key_1, salt_1, 7, "alicf@contoso.com", "password" },
		{ &key_1, salt_1, 7, "alice@contoso.com", "Password" },
		{ &key_1, salt_1, 7, "alice@contoso.com", "password " },
		{ &key_1, salt_1, 7, "alice@contoso.com", "" },
		/* the same octets, divided at another place */
		{ &key_1, salt_1, 7, "alice@contoso.co", "mpassword" },
		{ &key_1, salt_1, 7, "alice@contoso.comp", "assword" },
	};
	unsigned char a[MAUTH_VERIFIER_SIZE], b[MAUTH_VERIFIER_SIZE];

	make(&base, a);
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		make(&others[i], b);
		assert_memory_not_equal(a, b, sizeof(a));
	}
	/* Nothing of the others stays behind. */
	make(&base, b);
	assert_memory_equal(a, b, sizeof(a));
}

static void the_longest_names_and_passwords_fit(void **state)
{
	char upn[MAUTH_USER_MAX + 1], password[MAUTH_PASSWORD_MAX + 1];
	struct input input = { &key_1, salt_1, 7, upn, password };
	unsigned char a[MAUTH_VERIFIER_SIZE], b[MAUTH_VERIFIER_SIZE];

	memset(upn, 'u', sizeof(upn));
	memset(password, 'p', sizeof(password));
	upn[MAUTH_USER_MAX] = password[MAUTH_PASSWORD_MAX] = '\0';
	make(&input, a);
	make(&input, b);
	assert_memory_equal(a, b, sizeof(a));
	password[MAUTH_PASSWORD_MAX - 1] = 'q';
	make(&input, b);
	assert_memory_not_equal(a, b, sizeof(a));
}

static void a_password_too_long_is_never_verified(void **state)
{
	char password[MAUTH_PASSWORD_MAX + 2];
	struct input input = { &key_1, salt_1, 7, "alice@contoso.com", password };
	unsigned char a[MAUTH_VERIFIER_SIZE], b[MAUTH_VERIFIER_SIZE];

	memset(password, 'p', sizeof(password));
	password[MAUTH_PASSWORD_MAX + 1] = '\0';
	make(&input, a);
	make(&input, b);
	assert_memory_not_equal(a, b, sizeof(a));
}

static void two_keys_are_never_the_same(void **state)
{
	struct mauth_verifier_key a, b;

	mauth_verifier_key_new(&a);
	mauth_verifier_key_new(&b);
	assert_memory_not_equal(&a, &b, sizeof(a));
}

/* SipHash-2-4 with 64 bits as OpenSSL computes it. */
static uint64_t siphash(const struct mauth_verifier_key *key, const char *text)
{
	EVP_MAC *mac = EVP_MAC_fetch(NULL, "SIPHASH", NULL);
	EVP_MAC_CTX *ctx = EVP_MAC_CTX_new(mac);
	size_t size = 8, got;
	OSSL_PARAM params[] = { OSSL_PARAM_construct_size_t("size", &size), OSSL_PARAM_construct_end() };
	uint64_t hash = 0;

	assert_true(EVP_MAC_init(ctx, key->key, 16, params));
	assert_true(EVP_MAC_update(ctx, (const unsigned char *)text, strlen(text)));
	assert_true(EVP_MAC_final(ctx, (unsigned char *)&hash, &got, sizeof(hash)));
	EVP_MAC_CTX_free(ctx);
	EVP_MAC_free(mac);
	return hash;
}

static void names_are_hashed_with_siphash(void **state)
{
	static const char text[] = "abcdefghijklmnopqrstuvwxyz\xff\x80";

	for (size_t i = 0; i < sizeof(text); i++) {
		assert_true(mauth_name_hash(&key_1, 0, text + i) == siphash(&key_1, text + i));
		assert_true(mauth_name_hash(&key_1, 1, text + i) != siphash(&key_1, text + i));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_same_gives_the_same),
		cmocka_unit_test(whatever_differs_gives_another_verifier),
		cmocka_unit_test(the_longest_names_and_passwords_fit),
		cmocka_unit_test(a_password_too_long_is_never_verified),
		cmocka_unit_test(two_keys_are_never_the_same),
		cmocka_unit_test(names_are_hashed_with_siphash),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
