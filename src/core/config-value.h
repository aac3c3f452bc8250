/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_CONFIG_VALUE_H
#define MAUTH_CONFIG_VALUE_H
/* Values of modernauth.conf: each function gives the value, or MAUTH_CONFIG with what is wrong and what was expected
 * and *_r untouched. Strings are new and the caller's. */

#include "core/config-parse.h"
#include "core/config.h"

enum mauth_status mauth_conf_bool(const struct mauth_conf_value *value, bool *bool_r, struct mauth_error *error_r);
enum mauth_status mauth_conf_number(const struct mauth_conf_value *value, unsigned int min, unsigned int max,
				    unsigned int *number_r, struct mauth_error *error_r);
/* "500ms", "20s", "15m", "1h", "30d". min and max in milliseconds. */
enum mauth_status mauth_conf_time(const struct mauth_conf_value *value, int64_t min, int64_t max, int64_t *msecs_r,
				  struct mauth_error *error_r);
/* "2027-03-01": the last second of that day in UTC. false: no such day. */
bool mauth_day_parse(const char *text, int64_t *last_r);
/* The same of a value. */
enum mauth_status mauth_conf_date(const struct mauth_conf_value *value, int64_t *end_r, struct mauth_error *error_r);
/* "64 MiB": KiB, MiB, GiB. min and max in octets. */
enum mauth_status mauth_conf_size(const struct mauth_conf_value *value, uint64_t min, uint64_t max, uint64_t *size_r,
				  struct mauth_error *error_r);
/* Name of a system user. */
enum mauth_status mauth_conf_user(const struct mauth_conf_value *value, char **user_r, struct mauth_error *error_r);
enum mauth_status mauth_conf_path(const struct mauth_conf_value *value, char **path_r, struct mauth_error *error_r);
/* A DNS domain with a dot in it, lower-cased. */
enum mauth_status mauth_conf_domain(const struct mauth_conf_value *value, char **domain_r,
				    struct mauth_error *error_r);
/* A mail address that can be put into a header and an argument list: "name@host", ASCII without blanks, quotes, brackets, commas. */
enum mauth_status mauth_conf_address(const struct mauth_conf_value *value, char **address_r, struct mauth_error *error_r);
bool mauth_conf_is_guid(const char *text);
bool mauth_conf_is_domain(const char *text);
/* "https://host[:port][/path]" without a slash at the end. */
enum mauth_status mauth_conf_https_url(const struct mauth_conf_value *value, char **url_r,
				       struct mauth_error *error_r);
/* "http://host:port", https too. */
enum mauth_status mauth_conf_proxy(const struct mauth_conf_value *value, char **url_r, struct mauth_error *error_r);
/* "host", "host:port", "[::1]:port". *host_r is new and the caller's, *port_r untouched if there is none. */
bool mauth_conf_host_port(const char *text, char **host_r, unsigned int *port_r);
/* "imaps://host[:port]" and its like. endpoint_r->host is new and the caller's. */
enum mauth_status mauth_conf_endpoint(const struct mauth_conf_value *value, enum mauth_service service,
				      struct mauth_endpoint *endpoint_r, struct mauth_error *error_r);

#endif
