/* SPDX-License-Identifier: MIT */
/* Texts that may quote who logs in: what Entra and Exchange say, what a client calls itself, lines of the log. */
#include "core/privacy-private.h"

#include <string.h>

static bool is_word(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (unsigned char)c >= 0x80;
}

/* Of the part of an address before "@"; quotes, blanks and brackets end it. */
static bool is_local(char c)
{
	return is_word(c) || (c != '\0' && strchr(".!#$%&'*+-/=?^_`{|}~", c) != NULL);
}

static bool is_domain(char c)
{
	return is_word(c) || c == '.' || c == '-';
}

void privacy_scrub_add(struct privacy_scrub *scrub, const char *text, size_t size, const char *instead)
{
	if (size == 0 || scrub->count == PRIVACY_NEEDLES_MAX)
		return;
	scrub->needles[scrub->count++] = (struct privacy_needle){ text, size, instead };
}

/* -- one place ---------------------------------------------------------------------------------------------- */

/* Does a word go on before begin or behind to? */
static bool is_part(const char *text, const char *begin, const char *to, const char *end)
{
	return (begin > text && is_word(begin[-1]) && is_word(*begin)) || (to < end && is_word(*to) && is_word(to[-1]));
}

/* The longest needle that is here, or NULL. */
static const struct privacy_needle *needle_at(const struct privacy_scrub *scrub, const char *text, const char *begin,
					      const char *end)
{
	const struct privacy_needle *found = NULL;

	for (size_t i = 0; i < scrub->count; i++) {
		const struct privacy_needle *needle = &scrub->needles[i];

		if ((size_t)(end - begin) < needle->size || strncasecmp(begin, needle->text, needle->size) != 0 ||
		    (found != NULL && found->size >= needle->size))
			continue;
		/* A name of three letters is part of too many words; an address is part of none. */
		if ((!scrub->inside || needle->size < 4) && memchr(needle->text, '@', needle->size) == NULL &&
		    is_part(text, begin, begin + needle->size, end))
			continue;
		found = needle;
	}
	return found;
}

/* Octets of the mail address that begins here; 0: none does. */
static size_t address_at(const char *text, const char *begin, const char *end)
{
	const char *at = begin, *domain;

	if (begin > text && is_local(begin[-1]) && begin[-1] != '=' && begin[-1] != '\'' && begin[-1] != '`')
		return 0;
	while (at < end && is_local(*at))
		at++;
	if (at == begin || at == end || *at != '@')
		return 0;
	domain = ++at;
	while (at < end && is_domain(*at))
		at++;
	while (at > domain && (at[-1] == '.' || at[-1] == '-'))
		at--;
	return at == domain ? 0 : (size_t)(at - begin);
}

static void put_address(const struct privacy_scrub *scrub, const char *address, size_t size, struct mauth_buf *out)
{
	char name[MAUTH_USER_MAX + 1], pseudonym[MAUTH_PSEUDONYM_SIZE];

	/* "user=anna@contoso.com", "'anna@contoso.com": what stands before the name is not part of it. */
	for (;;) {
		const char *equals = memchr(address, '=', size), *sign = memchr(address, '@', size);

		if ((equals == NULL || equals > sign || equals + 1 == sign) && *address != '\'' && *address != '`')
			break;
		if (equals == NULL || equals > sign)
			equals = address;
		mauth_buf_append(out, address, (size_t)(equals + 1 - address));
		size -= (size_t)(equals + 1 - address);
		address = equals + 1;
	}
	if (size > MAUTH_USER_MAX)
		size = MAUTH_USER_MAX;
	memcpy(name, address, size);
	name[size] = '\0';
	privacy_name(scrub->privacy, name, scrub->works, pseudonym);
	mauth_buf_puts(out, pseudonym);
}

/* An escape of JSON stays together: its letters are not part of a name. */
static size_t escape_at(const struct privacy_scrub *scrub, const char *at, const char *end)
{
	size_t size = at + 1 < end && at[1] == 'u' ? 6 : 2;

	return !scrub->escaped || *at != '\\' ? 0 : (size_t)(end - at) < size ? (size_t)(end - at) : size;
}

void privacy_scrub_text(const struct privacy_scrub *scrub, const char *text, size_t size, struct mauth_buf *out)
{
	const bool names = scrub->privacy->config->privacy_users != MAUTH_USERS_CLEAR;
	const char *begin = text, *end = text + size;
	const bool addresses = names && memchr(text, '@', size) != NULL;

	while (begin < end) {
		const struct privacy_needle *needle = needle_at(scrub, text, begin, end);
		size_t address = addresses ? address_at(text, begin, end) : 0;
		size_t escape = escape_at(scrub, begin, end);

		if (needle != NULL && needle->size >= address) {
			mauth_buf_puts(out, needle->instead);
			begin += needle->size;
			text = begin;
		} else if (address > 0) {
			put_address(scrub, begin, address, out);
			begin += address;
			text = begin;
		} else if (escape > 0) {
			mauth_buf_append(out, begin, escape);
			begin += escape;
			text = begin;
		} else {
			mauth_buf_putc(out, *begin++);
		}
	}
}

/* -- lines of the log --------------------------------------------------------------------------------------- */

/* Where the value of "name=" ends: before " word=", ": " or the end; a name that somebody typed may have blanks. */
static size_t value_size(const char *value)
{
	for (const char *at = value; *at != '\0'; at++) {
		const char *word = at + 1;

		if (at[0] == ':' && at[1] == ' ')
			return (size_t)(at - value);
		if (*at != ' ')
			continue;
		while (*word >= 'a' && *word <= 'z')
			word++;
		if (word > at + 1 && *word == '=')
			return (size_t)(at - value);
	}
	return strlen(value);
}

static const char *find_value(const char *text, const char *name)
{
	size_t size = strlen(name);

	for (const char *at = text; (at = strstr(at, name)) != NULL; at += size) {
		if (at == text || at[-1] == ' ')
			return at + size;
	}
	return NULL;
}

void mauth_privacy_text(const struct mauth_privacy *privacy, const char *text, struct mauth_buf *out)
{
	struct privacy_scrub scrub = { .privacy = privacy };
	char person[MAUTH_USER_MAX + 1], pseudonym[MAUTH_PSEUDONYM_SIZE], address[PRIVACY_ADDRESS_SIZE], prefix[PRIVACY_ADDRESS_SIZE];
	const char *user = find_value(text, "user="), *ip = find_value(text, "ip=");

	if (user != NULL && privacy->config->privacy_users != MAUTH_USERS_CLEAR) {
		size_t size = value_size(user);

		/* "-" is nobody. */
		if (size > 0 && size <= MAUTH_USER_MAX && !(size == 1 && *user == '-')) {
			memcpy(person, user, size);
			person[size] = '\0';
			privacy_name(privacy, person, false, pseudonym);
			privacy_scrub_add(&scrub, user, size, pseudonym);
		}
	}
	if (ip != NULL && privacy->config->privacy_ips) {
		size_t size = strcspn(ip, " ,;");

		if (size < sizeof(address)) {
			memcpy(address, ip, size);
			address[size] = '\0';
			if (size > 0 && address[size - 1] == ':')
				address[--size] = '\0';
			if (mauth_privacy_prefix(address, prefix, sizeof(prefix)))
				privacy_scrub_add(&scrub, ip, size, prefix);
		}
	}
	privacy_scrub_text(&scrub, text, strlen(text), out);
}
