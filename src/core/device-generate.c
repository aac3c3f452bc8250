/* SPDX-License-Identifier: MIT */
#include "core/devices-private.h"

/* Read from paper, typed on a printer's panel: nothing that looks like something else, and no case. */
static const char password_alphabet[] = "23456789ABCDEFGHJKMNPQRSTUVWXYZ";
static const char id_alphabet[] = "0123456789abcdefghijklmnopqrstuvwxyz";

#define PASSWORD_CHARS 17u               /* times log2(31): 84 bits */
#define GROUP_CHARS 4u
#define GROUPS 4u                        /* the last one takes what is left */

/* One of the count characters of alphabet, each as likely as the other. */
static char pick(const char *alphabet, unsigned int count)
{
	unsigned char octet;

	do
		mauth_random(&octet, 1);
	while (octet >= 256u - 256u % count);
	return alphabet[octet % count];
}

struct mauth_secret *mauth_device_generate(void)
{
	char text[PASSWORD_CHARS + GROUPS - 1];
	struct mauth_secret *password;
	size_t size = 0;

	for (unsigned int i = 0; i < PASSWORD_CHARS; i++) {
		if (i > 0 && i % GROUP_CHARS == 0 && i / GROUP_CHARS < GROUPS)
			text[size++] = '-';
		text[size++] = pick(password_alphabet, sizeof(password_alphabet) - 1);
	}
	password = mauth_secret_new(text, size);
	mauth_wipe(text, sizeof(text));
	return password;
}

struct mauth_secret *mauth_device_typed(const struct mauth_secret *password)
{
	const char *text = mauth_secret_expose(password);
	size_t size = mauth_secret_size(password);
	struct mauth_buf meant = { 0 };
	struct mauth_secret *typed;

	for (size_t i = 0; i < size; i++) {
		char c = text[i];

		if (c >= 'a' && c <= 'z')
			c = (char)(c - 'a' + 'A');
		if (c != '-' && c != ' ' && c != '\t')
			mauth_buf_putc(&meant, c);
	}
	typed = mauth_secret_new(meant.data, meant.size);
	mauth_buf_free(&meant);
	return typed;
}

void mauth_device_id_new(char id_r[static MAUTH_DEVICE_ID_SIZE])
{
	for (size_t i = 0; i < MAUTH_DEVICE_ID_SIZE - 1; i++)
		id_r[i] = pick(id_alphabet, sizeof(id_alphabet) - 1);
	id_r[MAUTH_DEVICE_ID_SIZE - 1] = '\0';
}
