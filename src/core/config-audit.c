/* SPDX-License-Identifier: MIT */
#include "core/config-load.h"

#include "core/chain.h"

#include <stdlib.h>
#include <string.h>

/* Where root writes and the broker does not: its directory belongs to root. Not below /etc, which systemd keeps from Dovecot. */
#define KEY_FILE "/var/lib/dovecot/modernauth-audit.key"

#define DAY INT64_C(86400000)

static enum mauth_status load_key(struct mauth_loader *loader, const struct mauth_conf_value *value, struct mauth_error *error_r)
{
	struct mauth_config *config = loader->config;
	const struct mauth_secret *text;
	struct mauth_error error;

	if (value != NULL && mauth_conf_path(value, &config->audit_key_file, error_r) != MAUTH_OK)
		return MAUTH_CONFIG;
	if (value == NULL)
		config->audit_key_file = mauth_strdup(KEY_FILE);
	if (mauth_load_file_if_any(loader, config->audit_key_file, value, &text, error_r) != MAUTH_OK)
		return MAUTH_CONFIG;
	if (text == NULL)
		return MAUTH_OK;
	if (mauth_chain_key_read(text, &config->audit_key, &error) == MAUTH_OK && mauth_chain_key_is_secret(config->audit_key))
		return MAUTH_OK;
	return mauth_conf_fail(error_r, config->path, value == NULL ? 1 : value->line,
			       "audit: %s is not a key file that a broker has made; move it away, and the next start makes a new one "
			       "(the old one still verifies old files)",
			       config->audit_key_file);
}

static enum mauth_status load_durability(struct mauth_loader *loader, const struct mauth_conf_value *value,
					 struct mauth_error *error_r)
{
	struct mauth_config *config = loader->config;

	if (value == NULL || strcmp(value->text, "os") == 0)
		return MAUTH_OK;
	config->audit_group = strcmp(value->text, "group") == 0;
	if (config->audit_group)
		return MAUTH_OK;
	return mauth_conf_fail(error_r, config->path, value->line,
			       "audit: durability = \"%.100s\": must be \"os\" (a record is in the file before its login is answered) or "
			       "\"group\" (it is on disk)", value->text);
}

/* "unix:/dev/log", "udp:host[:514]", "tcp:host[:601]" */
static enum mauth_status load_syslog(struct mauth_config *config, const struct mauth_conf_value *value, struct mauth_error *error_r)
{
	static const struct {
		const char *begin;
		enum mauth_transport transport;
		unsigned int port;
	} ways[] = { { "unix:", MAUTH_TRANSPORT_UNIX, 0 }, { "udp:", MAUTH_TRANSPORT_UDP, 514 }, { "tcp:", MAUTH_TRANSPORT_TCP, 601 } };
	struct mauth_forward_target *target = &config->audit_syslog;

	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		const char *rest = value->text + strlen(ways[i].begin);

		if (strncmp(value->text, ways[i].begin, strlen(ways[i].begin)) != 0)
			continue;
		target->port = ways[i].port;
		if (ways[i].transport != MAUTH_TRANSPORT_UNIX && !mauth_conf_host_port(rest, &config->audit_syslog_host, &target->port))
			break;
		if (ways[i].transport == MAUTH_TRANSPORT_UNIX) {
			/* What the kernel has room for, with a NUL. */
			if (*rest != '/' || strlen(rest) > 107)
				break;
			config->audit_syslog_host = mauth_strdup(rest);
		}
		target->transport = ways[i].transport;
		target->host = config->audit_syslog_host;
		return MAUTH_OK;
	}
	return mauth_conf_refuse(error_r, value, "syslog = \"%s\"; \"unix:/dev/log\", \"udp:host:514\" or \"tcp:host:601\" was expected",
				 value->text);
}

static enum mauth_status load_message(struct mauth_config *config, const struct mauth_conf_value *value, struct mauth_error *error_r)
{
	static const char *const words[] = { "text", "ecs", "ocsf", "cef" };

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (strcmp(value->text, words[i]) == 0) {
			config->audit_syslog_message = mauth_strdup(words[i]);
			return MAUTH_OK;
		}
	}
	return mauth_conf_refuse(error_r, value, "syslog_message = \"%s\"; \"text\", \"ecs\", \"ocsf\" or \"cef\" was expected", value->text);
}

static enum mauth_status load_forwarding(struct mauth_loader *loader, const struct mauth_conf_section *section,
					 struct mauth_error *error_r)
{
	const struct mauth_conf_value *syslog = mauth_conf_get(section, "syslog"), *journald = mauth_conf_get(section, "journald");
	const struct mauth_conf_value *message = mauth_conf_get(section, "syslog_message");
	struct mauth_config *config = loader->config;

	if (syslog != NULL && load_syslog(config, syslog, error_r) != MAUTH_OK)
		return MAUTH_CONFIG;
	if (message != NULL && load_message(config, message, error_r) != MAUTH_OK)
		return MAUTH_CONFIG;
	if (message == NULL)
		config->audit_syslog_message = mauth_strdup("text");
	if (message != NULL && syslog == NULL)
		mauth_load_warn(loader, message->line, "syslog_message without syslog: nothing is sent");
	return journald == NULL ? MAUTH_OK : mauth_conf_bool(journald, &config->audit_journald, error_r);
}

enum mauth_status mauth_load_audit(struct mauth_loader *loader, struct mauth_error *error_r)
{
	const struct mauth_conf_section *section = mauth_conf_section(loader->conf, "audit");
	const struct mauth_conf_value *required = mauth_conf_get(section, "required"), *seal = mauth_conf_get(section, "seal");
	struct mauth_config *config = loader->config;
	const struct mauth_conf_value *keep = mauth_conf_get(section, "keep"), *size = mauth_conf_get(section, "max_size");
	bool sealed = true;
	int64_t msecs = 0;

	config->audit_required = true;
	if (required != NULL && mauth_conf_bool(required, &config->audit_required, error_r) != MAUTH_OK)
		return MAUTH_CONFIG;
	if (seal != NULL && mauth_conf_bool(seal, &sealed, error_r) != MAUTH_OK)
		return MAUTH_CONFIG;
	if (load_durability(loader, mauth_conf_get(section, "durability"), error_r) != MAUTH_OK ||
	    load_forwarding(loader, section, error_r) != MAUTH_OK)
		return MAUTH_CONFIG;
	if (keep != NULL && mauth_conf_time(keep, DAY, 36500 * DAY, &msecs, error_r) != MAUTH_OK)
		return MAUTH_CONFIG;
	if (size != NULL && mauth_conf_size(size, 1u << 20, (uint64_t)1 << 50, &config->audit_max_size, error_r) != MAUTH_OK)
		return MAUTH_CONFIG;
	config->audit_keep_secs = msecs / 1000;
	return sealed ? load_key(loader, mauth_conf_get(section, "key_file"), error_r) : MAUTH_OK;
}
