/* SPDX-License-Identifier: MIT */
#include "core/config-load.h"

#include <string.h>

static enum mauth_status load_sources(const struct mauth_conf_section *section, struct mauth_tenant *tenant,
				      struct mauth_error *error_r)
{
	const struct {
		const char *name;
		bool *flag;
	} sources[] = {
		{ "passdb", &tenant->side_by_passdb },
		{ "map", &tenant->side_by_map },
		{ "autodiscover", &tenant->side_by_autodiscover },
	};
	const struct mauth_conf_value *value = mauth_conf_get(section, "mailbox_sources");
	size_t count = sizeof(sources) / sizeof(sources[0]);

	tenant->side_by_passdb = value == NULL;
	for (; value != NULL; value = mauth_conf_next(section, value)) {
		size_t i = 0;

		/* An empty list: nobody is asked. */
		if (value->text[0] == '\0')
			continue;
		while (i < count && strcmp(sources[i].name, value->text) != 0)
			i++;
		if (i == count)
			return mauth_conf_refuse(error_r, value, "mailbox_sources: \"%s\"; \"passdb\", \"map\" or "
						 "\"autodiscover\" was expected", value->text);
		*sources[i].flag = true;
	}
	return MAUTH_OK;
}

static enum mauth_status load_map_path(struct mauth_loader *loader, const struct mauth_conf_section *section,
				       struct mauth_tenant *tenant, struct mauth_error *error_r)
{
	const struct mauth_conf_value *path = mauth_conf_get(section, "mailbox_map");

	if (path == NULL && tenant->side_by_map)
		return mauth_conf_refuse(error_r, mauth_conf_get(section, "mailbox_sources"),
					 "mailbox_sources has \"map\" and there is no mailbox_map; the path of a file was "
					 "expected there");
	if (path == NULL)
		return MAUTH_OK;
	if (!tenant->side_by_map)
		mauth_load_warn(loader, path->line, "mailbox_map is never read: mailbox_sources does not have \"map\"");
	return mauth_conf_path(path, &tenant->mailbox_map, error_r);
}

enum mauth_status mauth_load_hybrid(struct mauth_loader *loader, const struct mauth_conf_section *section,
				    struct mauth_tenant *tenant, const char *autodiscover, struct mauth_error *error_r)
{
	const struct mauth_conf_value *standard = mauth_conf_get(section, "mailbox_default");
	const struct mauth_conf_value *url = mauth_conf_get(section, "autodiscover");

	tenant->mailbox_default = MAUTH_SIDE_CLOUD;
	if (standard != NULL && !mauth_side_parse(standard->text, &tenant->mailbox_default))
		return mauth_conf_refuse(error_r, standard, "mailbox_default = \"%s\"; \"cloud\" or \"onprem\" was expected",
					 standard->text);
	if (load_sources(section, tenant, error_r) != MAUTH_OK)
		return MAUTH_CONFIG;
	if (url == NULL)
		tenant->autodiscover = mauth_strdup(autodiscover);
	else if (mauth_conf_https_url(url, &tenant->autodiscover, error_r) != MAUTH_OK)
		return MAUTH_CONFIG;
	return load_map_path(loader, section, tenant, error_r);
}
