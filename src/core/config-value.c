/* SPDX-License-Identifier: MIT */
#include "core/config-value.h"

#include "core/upn.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PATH_LENGTH_MAX 4095u

static bool is_lower(char c)
{
	return c >= 'a' && c <= 'z';
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static int two_digits(const char *text)
{
	return (text[0] - '0') * 10 + (text[1] - '0');
}

static bool is_alnum(char c)
{
	return is_lower(c) || (c >= 'A' && c <= 'Z') || is_digit(c);
}

enum mauth_status mauth_conf_bool(const struct mauth_conf_value *value, bool *bool_r, struct mauth_error *error_r)
{
	static const char *const words[] = { "false", "true", "no", "yes", "off", "on" };

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (strcmp(value->text, words[i]) == 0) {
			*bool_r = i % 2 == 1;
			return MAUTH_OK;
		}
	}
	return mauth_conf_refuse(error_r, value, "%s = \"%s\"; \"true\" or \"false\" was expected", value->name,
				 value->text);
}

/* Reads the digits that text begins with: a number below 10^15, so that no unit can make it overflow. */
static bool read_digits(const char **text, uint64_t *number_r)
{
	const char *at = *text;
	uint64_t number = 0;

	while (is_digit(*at) && at - *text < 15)
		number = number * 10 + (uint64_t)(*at++ - '0');
	if (at == *text || is_digit(*at))
		return false;
	*text = at;
	*number_r = number;
	return true;
}

enum mauth_status mauth_conf_number(const struct mauth_conf_value *value, unsigned int min, unsigned int max,
				    unsigned int *number_r, struct mauth_error *error_r)
{
	const char *text = value->text;
	uint64_t number;

	if (!read_digits(&text, &number) || *text != '\0' || number < min || number > max)
		return mauth_conf_refuse(error_r, value, "%s = \"%s\"; a number from %u to %u was expected",
					 value->name, value->text, min, max);
	*number_r = (unsigned int)number;
	return MAUTH_OK;
}

struct unit {
	const char *name;
	uint64_t factor;
};

/* "20s", "64 MiB": a number and one of the units. */
static bool read_units(const char *text, const struct unit *units, uint64_t *number_r)
{
	uint64_t number;

	if (!read_digits(&text, &number))
		return false;
	if (*text == ' ')
		text++;
	for (; units->name != NULL; units++) {
		if (strcmp(text, units->name) != 0)
			continue;
		if (number > UINT64_MAX / units->factor)
			return false;
		*number_r = number * units->factor;
		return true;
	}
	return false;
}

/* In the largest unit that says it exactly; units are in falling order. */
static char *write_units(uint64_t number, const struct unit *units)
{
	while (units[1].name != NULL && (number == 0 || number % units->factor != 0))
		units++;
	return mauth_printf("%" PRIu64 "%s%s", number / units->factor, strlen(units->name) > 2 ? " " : "",
			    units->name);
}

static enum mauth_status read_range(const struct mauth_conf_value *value, const struct unit *units, uint64_t min,
				    uint64_t max, const char *what, uint64_t *number_r, struct mauth_error *error_r)
{
	uint64_t number;
	char *least, *most;

	if (read_units(value->text, units, &number) && number >= min && number <= max) {
		*number_r = number;
		return MAUTH_OK;
	}
	least = write_units(min, units);
	most = write_units(max, units);
	mauth_conf_refuse(error_r, value, "%s = \"%s\"; %s from %s to %s was expected", value->name, value->text,
			  what, least, most);
	free(least);
	free(most);
	return MAUTH_CONFIG;
}

enum mauth_status mauth_conf_time(const struct mauth_conf_value *value, int64_t min, int64_t max, int64_t *msecs_r,
				  struct mauth_error *error_r)
{
	static const struct unit units[] = {
		{ "d", 86400000 }, { "h", 3600000 }, { "m", 60000 }, { "s", 1000 }, { "ms", 1 }, { NULL, 0 }
	};
	uint64_t msecs = 0;
	enum mauth_status status = read_range(value, units, (uint64_t)min, (uint64_t)max, "a time like \"20s\"",
					      &msecs, error_r);

	if (status == MAUTH_OK)
		*msecs_r = (int64_t)msecs;
	return status;
}

bool mauth_day_parse(const char *text, int64_t *last_r)
{
	static const char shape[] = "dddd-dd-dd";
	struct tm day = { .tm_hour = 23, .tm_min = 59, .tm_sec = 59 };
	bool good = strlen(text) == sizeof(shape) - 1;
	int64_t last = 0;

	for (size_t i = 0; good && shape[i] != '\0'; i++)
		good = shape[i] == 'd' ? is_digit(text[i]) : text[i] == shape[i];
	if (good) {
		day.tm_year = two_digits(text) * 100 + two_digits(text + 2) - 1900;
		day.tm_mon = two_digits(text + 5) - 1;
		day.tm_mday = two_digits(text + 8);
		last = timegm(&day);
		/* timegm() has made a 2 March of a 30 February. */
		good = day.tm_year >= 100 && day.tm_mon == two_digits(text + 5) - 1 &&
		       day.tm_mday == two_digits(text + 8);
	}
	if (good)
		*last_r = last;
	return good;
}

/* Entra's portal shows the last day of a secret, not its hour: the day counts as a whole. */
enum mauth_status mauth_conf_date(const struct mauth_conf_value *value, int64_t *end_r, struct mauth_error *error_r)
{
	if (mauth_day_parse(value->text, end_r))
		return MAUTH_OK;
	return mauth_conf_refuse(error_r, value, "%s: \"%s\"; a date like \"2027-03-01\" was expected", value->name,
				 value->text);
}

enum mauth_status mauth_conf_size(const struct mauth_conf_value *value, uint64_t min, uint64_t max, uint64_t *size_r,
				  struct mauth_error *error_r)
{
	static const struct unit units[] = {
		{ "GiB", 1 << 30 }, { "MiB", 1 << 20 }, { "KiB", 1 << 10 }, { NULL, 0 }
	};

	return read_range(value, units, min, max, "a size like \"64 MiB\"", size_r, error_r);
}

enum mauth_status mauth_conf_address(const struct mauth_conf_value *value, char **address_r, struct mauth_error *error_r)
{
	const char *text = value->text, *at = strchr(text, '@');
	bool good = at != NULL && at != text && at[1] != '\0' && strchr(at + 1, '@') == NULL && *text != '-' &&
		    strlen(text) <= MAUTH_USER_MAX;

	for (const char *c = text; *c != '\0'; c++)
		good = good && (is_alnum(*c) || *c == '@' || strchr("!#$%&'*+-/=?^_`{|}~.", *c) != NULL);
	if (!good)
		return mauth_conf_refuse(error_r, value, "%s = \"%s\"; one mail address like \"mailadmins@contoso.com\" was expected",
					 value->name, text);
	*address_r = mauth_strdup(text);
	return MAUTH_OK;
}

enum mauth_status mauth_conf_user(const struct mauth_conf_value *value, char **user_r, struct mauth_error *error_r)
{
	const char *text = value->text;
	size_t size = strlen(text);
	bool good = size > 0 && size <= 32 && !is_digit(text[0]) && text[0] != '-';

	for (size_t i = 0; i < size; i++)
		good = good && (is_alnum(text[i]) || strchr("_-.", text[i]) != NULL);
	if (!good)
		return mauth_conf_refuse(error_r, value, "%s = \"%s\"; the name of a system user was expected",
					 value->name, text);
	*user_r = mauth_strdup(text);
	return MAUTH_OK;
}

enum mauth_status mauth_conf_path(const struct mauth_conf_value *value, char **path_r, struct mauth_error *error_r)
{
	if (value->text[0] != '/' || strlen(value->text) > PATH_LENGTH_MAX)
		return mauth_conf_refuse(error_r, value, "%s = \"%s\"; an absolute path was expected", value->name,
					 value->text);
	*path_r = mauth_strdup(value->text);
	return MAUTH_OK;
}

bool mauth_conf_is_guid(const char *text)
{
	static const char shape[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";

	if (strlen(text) != sizeof(shape) - 1)
		return false;
	for (size_t i = 0; shape[i] != '\0'; i++) {
		if (shape[i] == '-' ? text[i] != '-' : !isxdigit((unsigned char)text[i]))
			return false;
	}
	return true;
}

/* Letters, digits and hyphens between dots (RFC 1123); size octets. */
static bool is_host(const char *text, size_t size, bool want_dot)
{
	size_t label = 0;
	bool dot = false;

	if (size == 0 || size > 253)
		return false;
	for (size_t i = 0; i < size; i++) {
		if (text[i] == '.') {
			if (label == 0 || text[i - 1] == '-')
				return false;
			label = 0;
			dot = true;
		} else if (is_alnum(text[i]) || (text[i] == '-' && label > 0)) {
			if (++label > 63)
				return false;
		} else {
			return false;
		}
	}
	return label > 0 && text[size - 1] != '-' && (dot || !want_dot);
}

bool mauth_conf_is_domain(const char *text)
{
	return is_host(text, strlen(text), true);
}

enum mauth_status mauth_conf_domain(const struct mauth_conf_value *value, char **domain_r,
				    struct mauth_error *error_r)
{
	if (!mauth_conf_is_domain(value->text))
		return mauth_conf_refuse(error_r, value, "%s: \"%s\" is no domain; a name like \"contoso.com\" was "
					 "expected, international ones as \"xn--...\"", value->name, value->text);
	*domain_r = mauth_strdup(value->text);
	mauth_lowercase(*domain_r);
	return MAUTH_OK;
}

/* "host", "host:port", "[::1]:port" at the begin of text, up to a slash or the end. */
struct authority {
	const char *host;
	size_t host_size;
	unsigned int port;      /* 0: none given */
	const char *rest;
};

static bool read_authority(const char *text, struct authority *authority_r)
{
	struct authority found = { .host = text };
	uint64_t port;

	if (*text == '[') {
		found.host++;
		found.host_size = strspn(found.host, "0123456789abcdefABCDEF:.");
		text = found.host + found.host_size;
		if (*text++ != ']' || found.host_size < 2 || found.host_size > 45)
			return false;
	} else {
		found.host_size = strcspn(text, ":/");
		if (!is_host(text, found.host_size, false))
			return false;
		text += found.host_size;
	}
	if (*text == ':') {
		text++;
		if (!read_digits(&text, &port) || port < 1 || port > 65535)
			return false;
		found.port = (unsigned int)port;
	}
	if (*text != '\0' && *text != '/')
		return false;
	found.rest = text;
	*authority_r = found;
	return true;
}

bool mauth_conf_host_port(const char *text, char **host_r, unsigned int *port_r)
{
	struct authority authority;

	if (!read_authority(text, &authority) || *authority.rest != '\0')
		return false;
	*host_r = mauth_strndup(authority.host, authority.host_size);
	if (authority.port != 0)
		*port_r = authority.port;
	return true;
}

enum mauth_status mauth_conf_https_url(const struct mauth_conf_value *value, char **url_r,
				       struct mauth_error *error_r)
{
	static const char scheme[] = "https://", allowed[] = "-._~/";
	const char *text = value->text;
	struct authority authority;
	bool good = strncmp(text, scheme, sizeof(scheme) - 1) == 0 &&
		    read_authority(text + sizeof(scheme) - 1, &authority);
	size_t size = strlen(text);

	for (const char *at = good ? authority.rest : ""; *at != '\0'; at++)
		good = good && (is_alnum(*at) || strchr(allowed, *at) != NULL);
	if (!good || size > 255)
		return mauth_conf_refuse(error_r, value,
					 "%s = \"%s\"; a URL \"https://host[:port][/path]\" was expected",
					 value->name, text);
	while (text[size - 1] == '/')
		size--;
	*url_r = mauth_strndup(text, size);
	return MAUTH_OK;
}

enum mauth_status mauth_conf_proxy(const struct mauth_conf_value *value, char **url_r, struct mauth_error *error_r)
{
	static const char *const schemes[] = { "http://", "https://" };
	struct authority authority;

	if (strchr(value->text, '@') != NULL)
		return mauth_conf_refuse(error_r, value, "%s names a user; \"http://host:port\" was expected, "
					 "this file is no place for passwords", value->name);
	for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
		size_t size = strlen(schemes[i]);

		if (strncmp(value->text, schemes[i], size) == 0 && read_authority(value->text + size, &authority) &&
		    authority.port != 0 && (*authority.rest == '\0' || strcmp(authority.rest, "/") == 0)) {
			*url_r = mauth_strndup(value->text, (size_t)(authority.rest - value->text));
			return MAUTH_OK;
		}
	}
	return mauth_conf_refuse(error_r, value, "%s = \"%s\"; a URL \"http://host:port\" was expected", value->name,
				 value->text);
}

enum mauth_status mauth_conf_endpoint(const struct mauth_conf_value *value, enum mauth_service service,
				      struct mauth_endpoint *endpoint_r, struct mauth_error *error_r)
{
	static const struct {
		const char *plain, *implicit;
		unsigned int plain_port, implicit_port;
	} schemes[MAUTH_SERVICE_COUNT] = {
		[MAUTH_SERVICE_IMAP] = { "imap", "imaps", 143, 993 },
		[MAUTH_SERVICE_POP3] = { "pop3", "pop3s", 110, 995 },
		[MAUTH_SERVICE_SUBMISSION] = { "smtp", "smtps", 587, 465 },
	};
	const char *colon = strstr(value->text, "://");
	size_t size = colon == NULL ? 0 : (size_t)(colon - value->text);
	const char *plain = schemes[service].plain, *implicit = schemes[service].implicit;
	bool is_implicit = size == strlen(implicit) && strncmp(value->text, implicit, size) == 0;
	bool is_plain = size == strlen(plain) && strncmp(value->text, plain, size) == 0;
	struct authority authority;

	if (colon == NULL || (!is_implicit && !is_plain) || !read_authority(colon + 3, &authority) ||
	    (*authority.rest != '\0' && strcmp(authority.rest, "/") != 0))
		return mauth_conf_refuse(error_r, value,
					 "%s = \"%s\"; \"%s://host[:port]\" (TLS at once) or "
					 "\"%s://host[:port]\" (STARTTLS, required) was expected",
					 value->name, value->text, implicit, plain);
	if (authority.port == 0)
		authority.port = is_implicit ? schemes[service].implicit_port : schemes[service].plain_port;
	endpoint_r->host = mauth_strndup(authority.host, authority.host_size);
	endpoint_r->port = authority.port;
	endpoint_r->tls = is_implicit ? MAUTH_TLS_IMPLICIT : MAUTH_TLS_STARTTLS;
	return MAUTH_OK;
}
