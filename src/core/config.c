/* SPDX-License-Identifier: MIT */
#include "core/config.h"

#include "core/aadsts.h"
#include "core/assertion.h"
#include "core/chain.h"
#include "core/mem.h"
#include "core/policy.h"
#include "core/upn.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char *mauth_grant_name(enum mauth_grant_type grant)
{
	switch (grant) {
	case MAUTH_GRANT_PASSWORD:
		return "password";
	case MAUTH_GRANT_ENROLLED:
		return "enrolled";
	case MAUTH_GRANT_APP:
		return "app";
	case MAUTH_GRANT_COUNT:
		break;
	}
	return "unknown";
}

static void tenant_free(struct mauth_tenant *tenant)
{
	char *const strings[] = { tenant->name, tenant->tenant_id, tenant->cloud, tenant->client_id, tenant->authority,
				  tenant->token_url, tenant->device_code_url, tenant->scope, tenant->app_scope,
				  tenant->graph, tenant->graph_scope, tenant->upn_domain, tenant->ca_file, tenant->proxy,
				  tenant->mailbox_map, tenant->autodiscover };

	for (size_t i = 0; i < sizeof(strings) / sizeof(strings[0]); i++)
		free(strings[i]);
	for (size_t i = 0; tenant->domains != NULL && tenant->domains[i] != NULL; i++)
		free(tenant->domains[i]);
	free(tenant->domains);
	for (size_t i = 0; i < MAUTH_SERVICE_COUNT; i++) {
		char *host;

		/* const for those who are shown an endpoint; this one is ours. */
		memcpy(&host, &tenant->endpoints[i].host, sizeof(host));
		free(host);
	}
	/* tenant->client_secret and tenant->assertion_key are two of these. */
	for (size_t i = 0; i < tenant->credentials_count; i++) {
		mauth_secret_free(&tenant->credentials[i].secret);
		mauth_assertion_key_free(&tenant->credentials[i].key);
		free(tenant->credentials[i].path);
	}
	free(tenant);
}

static void map_free(struct mauth_map *map)
{
	for (size_t i = 0; map->logins != NULL && map->logins[i] != NULL; i++)
		free(map->logins[i]);
	free(map->logins);
	free(map->name);
	free(map->account);
	free(map->mailbox);
}

static void config_free(struct mauth_config *config)
{
	char *const strings[] = { config->path, config->state_dir, config->audit_path, config->default_domain,
				  config->auth_user, config->login_user, config->relay_user, config->mailbox_separators,
				  config->key_file, config->notice_mail_to, config->notice_mail_from,
				  config->notice_sendmail, config->notice_command };

	for (size_t i = 0; i < sizeof(strings) / sizeof(strings[0]); i++)
		free(strings[i]);
	for (size_t i = 0; i < config->tenants_count; i++)
		tenant_free(config->tenants[i]);
	free(config->tenants);
	free(config->domains);
	mauth_policy_index_free(&config->policy_index);
	for (size_t i = 0; i < config->rules_count; i++)
		mauth_rule_free(&config->rules[i]);
	free(config->rules);
	for (size_t i = 0; i < config->maps_count; i++)
		map_free(&config->maps[i]);
	free(config->maps);
	for (size_t i = 0; i < config->files_count; i++) {
		free(config->files[i].path);
		mauth_secret_free(&config->files[i].content);
	}
	free(config->files);
	free(config->audit_key_file);
	free(config->audit_syslog_host);
	free(config->audit_syslog_message);
	free(config->privacy_key_file);
	mauth_secret_free(&config->privacy_key);
	mauth_chain_key_free(&config->audit_key);
	mauth_aadsts_free(&config->aadsts);
	mauth_secret_free(&config->text);
	free(config);
}

struct mauth_config *mauth_config_ref(struct mauth_config *config)
{
	config->refcount++;
	return config;
}

void mauth_config_unref(struct mauth_config **config)
{
	struct mauth_config *old = *config;

	*config = NULL;
	if (old != NULL && --old->refcount == 0)
		config_free(old);
}

static int compare_name(const void *name, const void *domain)
{
	return strcmp(name, ((const struct mauth_config_domain *)domain)->name);
}

const struct mauth_tenant *mauth_config_tenant_for(const struct mauth_config *config, const char *domain)
{
	char name[MAUTH_USER_MAX + 1];
	size_t size = strnlen(domain, sizeof(name));
	const struct mauth_config_domain *found;

	if (size == sizeof(name) || config->domains_count == 0)
		return NULL;
	memcpy(name, domain, size + 1);
	mauth_lowercase(name);
	found = bsearch(name, config->domains, config->domains_count, sizeof(*config->domains), compare_name);
	return found == NULL ? NULL : found->tenant;
}

/* Reads to the end of fd, which may be longer than fstat() said. */
static enum mauth_status read_fd(int fd, const char *path, struct mauth_secret **content_r,
				 struct mauth_error *error_r)
{
	struct mauth_buf buf = { 0 };
	char chunk[4096];
	ssize_t got;

	while ((got = read(fd, chunk, sizeof(chunk))) != 0) {
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0 || buf.size + (size_t)got > MAUTH_CONFIG_MAX)
			break;
		mauth_buf_append(&buf, chunk, (size_t)got);
	}
	mauth_wipe(chunk, sizeof(chunk));
	if (got == 0)
		*content_r = mauth_secret_new(buf.data, buf.size);
	mauth_buf_free(&buf);
	if (got < 0)
		return mauth_fail(error_r, MAUTH_CONFIG, errno, "%s: %s", path, strerror(errno));
	if (got > 0)
		return mauth_fail(error_r, MAUTH_CONFIG, EFBIG, "%s: more than %u octets", path, MAUTH_CONFIG_MAX);
	return MAUTH_OK;
}

enum mauth_status mauth_config_read_file(void *context, const char *path, bool secret,
					 struct mauth_secret **content_r, struct mauth_error *error_r)
{
	/* O_NONBLOCK: opening a FIFO must not wait for a writer before it is refused. */
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	enum mauth_status status;
	struct stat st;

	if (fd < 0)
		return mauth_fail(error_r, MAUTH_CONFIG, errno, "%s: %s", path, strerror(errno));
	if (fstat(fd, &st) < 0)
		status = mauth_fail(error_r, MAUTH_CONFIG, errno, "%s: %s", path, strerror(errno));
	else if (!S_ISREG(st.st_mode))
		status = mauth_fail(error_r, MAUTH_CONFIG, 0, "%s is not a regular file", path);
	else if (secret && (st.st_mode & S_IRWXO) != 0)
		status = mauth_fail(error_r, MAUTH_CONFIG, 0, "%s may be used by everybody (mode %04o); "
				    "a secret needs chmod o= (0600 or 0640)", path, st.st_mode & 07777);
	else
		status = read_fd(fd, path, content_r, error_r);
	close(fd);
	return status;
}

const struct mauth_tenant *mauth_config_tenant_named(const struct mauth_config *config, const char *name, size_t size)
{
	for (size_t i = 0; i < config->tenants_count; i++) {
		const struct mauth_tenant *tenant = config->tenants[i];

		if (strlen(tenant->name) == size && strncmp(tenant->name, name, size) == 0)
			return tenant;
	}
	return NULL;
}
