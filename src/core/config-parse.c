/* SPDX-License-Identifier: MIT */
#include "core/config-parse.h"

#include <confuse.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A value as libconfuse stores it: a pointer of ours, because its own strings do not know their lines. */
struct parsed {
	const char *name;               /* libconfuse's own copy, lives as long as its tree */
	unsigned int line;
	char *text;
};

#define TITLED 3u

/* Sections that libconfuse has read: it would compare the title of each with those of all before it. */
struct taken {
	cfg_value_t **values;
	size_t count, size;
};

struct parser {
	const char *path;
	struct taken taken[TITLED];     /* as the kinds below */
	struct mauth_error *error_r;
	const struct mauth_conf_lines *lines;
	size_t sections, domains, patterns;
	const char *replaced;           /* name of a value that was thrown away by a second one; NULL: none */
	unsigned int replaced_line;
	bool failed;
};
/* libconfuse has no context pointer for its callbacks (and is not reentrant itself). */
static struct parser *current;

static int parse_value(cfg_t *cfg, cfg_opt_t *opt, const char *text, void *result);
static void free_value(void *value);
static int section_done(cfg_t *cfg, cfg_opt_t *opt);

#define VALUE(name_) \
	{ .name = (name_), .type = CFGT_PTR, .flags = CFGF_NODEFAULT, .parsecb = parse_value, .freecb = free_value }
#define LIST(name_) \
	{ .name = (name_), .type = CFGT_PTR, .flags = CFGF_NODEFAULT | CFGF_LIST, .parsecb = parse_value, \
	  .freecb = free_value }
#define SECTION(name_, opts_, flags_) \
	{ .name = (name_), .type = CFGT_SEC, .flags = CFGF_MULTI | (flags_), .subopts = (opts_), .validcb = section_done }

/* tests/style/check_settings.py reads these tables: every name must be explained in conf.d/modernauth.conf. */
static cfg_opt_t audit_opts[] = {
	VALUE("path"),
	VALUE("required"),
	VALUE("durability"),
	VALUE("seal"),
	VALUE("key_file"),
	VALUE("syslog"),
	VALUE("syslog_message"),
	VALUE("journald"),
	VALUE("keep"),
	VALUE("max_size"),
	CFG_END()
};
static cfg_opt_t privacy_opts[] = {
	VALUE("users"),
	VALUE("ips"),
	VALUE("key_file"),
	CFG_END()
};
static cfg_opt_t lockout_opts[] = {
	VALUE("threshold"),
	VALUE("threshold_us_government"),
	VALUE("window"),
	VALUE("duration"),
	VALUE("remember"),
	CFG_END()
};
static cfg_opt_t notice_opts[] = {
	VALUE("mail_to"),
	VALUE("mail_from"),
	VALUE("sendmail"),
	VALUE("command"),
	CFG_END()
};
static cfg_opt_t tenant_opts[] = {
	LIST("domains"),
	VALUE("tenant_id"),
	VALUE("cloud"),
	VALUE("client_id"),
	LIST("client_secret_file"),
	LIST("client_secret_expires"),
	LIST("certificate_file"),
	LIST("private_key_file"),
	LIST("grants"),
	LIST("verified_by"),
	VALUE("client_tokens"),
	VALUE("upn_domain"),
	VALUE("user_realm"),
	VALUE("check_accounts"),
	LIST("scopes"),
	VALUE("app_scope"),
	VALUE("authority"),
	VALUE("graph"),
	VALUE("ca_file"),
	VALUE("proxy"),
	LIST("mailbox_sources"),
	VALUE("mailbox_map"),
	VALUE("mailbox_default"),
	VALUE("autodiscover"),
	VALUE("imap"),
	VALUE("pop3"),
	VALUE("submission"),
	CFG_END()
};
static cfg_opt_t rule_opts[] = {
	LIST("protocols"),
	LIST("users"),
	LIST("domains"),
	VALUE("users_file"),
	LIST("networks"),
	LIST("mechanisms"),
	LIST("client_ids"),
	VALUE("tls"),
	LIST("days"),
	VALUE("hours"),
	VALUE("action"),
	VALUE("message"),
	VALUE("until"),
	VALUE("then"),
	VALUE("notice_days"),
	LIST("grants"),
	VALUE("self_service"),
	VALUE("check_accounts"),
	LIST("mailboxes"),
	CFG_END()
};
static cfg_opt_t map_opts[] = {
	LIST("logins"),
	VALUE("account"),
	VALUE("mailbox"),
	CFG_END()
};
static cfg_opt_t root_opts[] = {
	VALUE("state_dir"),
	VALUE("default_domain"),
	VALUE("cache_max"),
	VALUE("deadline"),
	VALUE("request_timeout"),
	VALUE("refresh_ahead"),
	VALUE("min_life"),
	VALUE("max_connections"),
	VALUE("replies"),
	VALUE("aadsts_file"),
	VALUE("auth_user"),
	VALUE("login_user"),
	VALUE("relay_user"),
	VALUE("key_file"),
	VALUE("keep_alive"),
	VALUE("expiry_warning"),
	VALUE("credential_warning"),
	VALUE("self_service_password"),
	VALUE("self_service_codes_per_hour"),
	VALUE("mailbox_separators"),
	VALUE("inventory"),
	VALUE("inventory_max"),
	VALUE("inventory_keep"),
	SECTION("audit", audit_opts, 0),
	SECTION("privacy", privacy_opts, 0),
	SECTION("lockout", lockout_opts, 0),
	SECTION("notice", notice_opts, 0),
	SECTION("tenant", tenant_opts, CFGF_TITLE | CFGF_NO_TITLE_DUPES),
	SECTION("rule", rule_opts, CFGF_TITLE | CFGF_NO_TITLE_DUPES),
	SECTION("map", map_opts, CFGF_TITLE | CFGF_NO_TITLE_DUPES),
	CFG_END()
};

enum mauth_status mauth_conf_fail(struct mauth_error *error_r, const char *path, unsigned int line, const char *fmt, ...)
{
	char text[MAUTH_TEXT_MAX];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	return mauth_fail(error_r, MAUTH_CONFIG, 0, "%s:%u: %s", path, line, text);
}

/* -- a name that does not exist -- */

static const char *nearest(const cfg_opt_t *opts, const char *name)
{
	const char *best = NULL;
	unsigned int best_distance = 4;

	if (strlen(name) > MAUTH_CONF_NAME_MAX)
		return NULL;
	for (; opts->name != NULL; opts++) {
		unsigned int d = mauth_conf_distance(name, opts->name);

		/* Half of the letters wrong is another word, not a slip. */
		if (d < best_distance && (size_t)2 * d < strlen(opts->name)) {
			best = opts->name;
			best_distance = d;
		}
	}
	return best;
}

static bool is_known(const cfg_opt_t *opts, const char *name)
{
	while (opts->name != NULL && strcmp(opts->name, name) != 0)
		opts++;
	return opts->name != NULL;
}

static void unknown_name(const cfg_t *cfg, const char *name)
{
	static const struct {
		const char *where;
		const cfg_opt_t *opts;
	} places[] = {
		{ "outside of every section", root_opts }, { "in the section \"audit\"", audit_opts },
		{ "in the section \"lockout\"", lockout_opts }, { "in the section \"notice\"", notice_opts },
		{ "in a section tenant \"...\"", tenant_opts }, { "in a section rule \"...\"", rule_opts },
		{ "in a section map \"...\"", map_opts }, { "in the section \"privacy\"", privacy_opts } };
	const char *near = nearest(cfg->opts, name);

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		if (is_known(places[i].opts, name)) {
			mauth_conf_fail(current->error_r, current->path, (unsigned int)cfg->line,
					"no setting \"%s\" here; its place is %s", name, places[i].where);
			return;
		}
	}
	if (near != NULL)
		mauth_conf_fail(current->error_r, current->path, (unsigned int)cfg->line,
				"no setting \"%s\" here; did you mean \"%s\"?", name, near);
	else
		mauth_conf_fail(current->error_r, current->path, (unsigned int)cfg->line,
				"no setting \"%.100s\" here; the example modernauth.conf has them all", name);
}

/* -- libconfuse's callbacks -- */

/* libconfuse tells what is wrong as a text only. That something is wrong is its return value's business; this table
 * merely adds what was expected. */
static const struct {
	const char *begins, *expected;
} hints[] = {
	{ "missing equal sign", "a setting is written as name = \"value\"" },
	{ "missing title", "a name was expected, as in tenant \"name\" { ... }" },
	{ "missing opening brace", "\"{\" was expected" },
	{ "premature end of file", "a value was expected" },
	{ "unexpected token", "a setting is written as name = \"value\", a list as name = {\"one\", \"two\"}" },
};

static void report(cfg_t *cfg, const char *fmt, va_list args) MAUTH_PRINTF(2, 0);
static void report(cfg_t *cfg, const char *fmt, va_list args)
{
	static const char unknown[] = "no such option";
	char text[256];

	if (current == NULL || current->failed)
		return;
	current->failed = true;
	if (strncmp(fmt, unknown, sizeof(unknown) - 1) == 0) {
		unknown_name(cfg, va_arg(args, const char *));
		return;
	}
	vsnprintf(text, sizeof(text), fmt, args);
	for (size_t i = 0; i < sizeof(hints) / sizeof(hints[0]); i++) {
		if (strncmp(fmt, hints[i].begins, strlen(hints[i].begins)) == 0) {
			mauth_conf_fail(current->error_r, current->path, (unsigned int)cfg->line, "%s; %s", text, hints[i].expected);
			return;
		}
	}
	mauth_conf_fail(current->error_r, current->path, (unsigned int)cfg->line, "%s", text);
}

static int refuse(const cfg_t *cfg, const char *fmt, ...) MAUTH_PRINTF(2, 3);
static int refuse(const cfg_t *cfg, const char *fmt, ...)
{
	char text[256];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	if (!current->failed)
		mauth_conf_fail(current->error_r, current->path, (unsigned int)cfg->line, "%s", text);
	current->failed = true;
	return -1;
}

/* libconfuse lets the last of two equal settings win, silently. */
static int refuse_second(const cfg_t *cfg)
{
	return refuse(cfg, "\"%s\" is set again, first on line %u; one of them is too many", current->replaced, current->replaced_line);
}

/* Something that every login may be compared with. */
static bool is_pattern(const cfg_opt_t *opt)
{
	static const char *const names[] = { "users", "networks", "mailboxes", "logins" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(opt->name, names[i]) == 0)
			return true;
	}
	return false;
}

static int parse_value(cfg_t *cfg, cfg_opt_t *opt, const char *text, void *result)
{
	struct parsed *value;

	if (current->replaced != NULL)
		return refuse_second(cfg);
	if (strcmp(opt->name, "domains") == 0 && ++current->domains > MAUTH_CONF_DOMAINS_MAX)
		return refuse(cfg, "more than %u domains", MAUTH_CONF_DOMAINS_MAX);
	if (is_pattern(opt) && ++current->patterns > MAUTH_CONF_PATTERNS_MAX)
		return refuse(cfg, "more than %u users, networks, mailboxes and logins in rules and maps",
			      MAUTH_CONF_PATTERNS_MAX);
	value = mauth_new(sizeof(*value));
	value->name = opt->name;
	value->line = (unsigned int)cfg->line;
	value->text = mauth_strdup(text);
	*(void **)result = value;
	return 0;
}

static void free_value(void *data)
{
	struct parsed *value = data;

	if (current != NULL) {
		current->replaced = value->name;
		current->replaced_line = value->line;
	}
	free(value->text);
	free(value);
}

static const struct {
	const char *kind;
	unsigned int max;
} kinds[TITLED] = { { "tenant", MAUTH_CONF_TENANTS_MAX },
		    { "rule", MAUTH_CONF_RULES_MAX },
		    { "map", MAUTH_CONF_MAPS_MAX } };

static void take(struct taken *taken, cfg_opt_t *opt)
{
	if (taken->count == taken->size) {
		taken->size = taken->size == 0 ? 16 : taken->size * 2;
		taken->values = mauth_grow(taken->values, taken->size, sizeof(cfg_value_t *));
	}
	taken->values[taken->count++] = opt->values[--opt->nvalues];
}

static void give_back(struct taken *taken, cfg_opt_t *opt)
{
	while (opt->nvalues > 0)
		take(taken, opt);       /* one that was not finished */
	free(opt->values);
	opt->values = taken->values;
	opt->nvalues = (unsigned int)taken->count;
	*taken = (struct taken){ 0 };
}

static int compare_titles(const void *a, const void *b)
{
	const cfg_t *left = *(cfg_t *const *)a, *right = *(cfg_t *const *)b;
	int order = strcmp(left->title, right->title);

	return order != 0 ? order : (left->line > right->line) - (left->line < right->line);
}

static enum mauth_status check_titles(const struct parser *parser, const cfg_opt_t *opt)
{
	cfg_t **sections = mauth_new_array(opt->nvalues + 1u, sizeof(cfg_t *)), *second = NULL;
	enum mauth_status status = MAUTH_OK;

	for (unsigned int i = 0; i < opt->nvalues; i++)
		sections[i] = opt->values[i]->section;
	if (opt->nvalues > 0)
		qsort(sections, opt->nvalues, sizeof(cfg_t *), compare_titles);
	for (unsigned int i = 1; i < opt->nvalues; i++) {
		if (strcmp(sections[i - 1]->title, sections[i]->title) == 0 &&
		    (second == NULL || sections[i]->line < second->line))
			second = sections[i];
	}
	if (second != NULL)
		status = mauth_conf_fail(parser->error_r, parser->path, (unsigned int)second->line,
					 "found duplicate title '%.100s'; every tenant, rule and map needs a name of its own",
					 second->title);
	free(sections);
	return status;
}

static int section_done(cfg_t *cfg, cfg_opt_t *opt)
{
	cfg_t *section = cfg_opt_getnsec(opt, opt->nvalues - 1);

	if (current->replaced != NULL)
		return refuse_second(cfg);
	if ((opt->flags & CFGF_TITLE) == 0 && opt->nvalues > 1)
		return refuse(cfg, "a second section \"%s\"; it may appear only once", opt->name);
	/* libconfuse has moved this to the end of the section; a message about the whole of it belongs to its
	 * head. */
	if (current->sections < current->lines->count)
		section->line = (int)current->lines->lines[current->sections++];
	for (size_t i = 0; i < TITLED; i++) {
		if (strcmp(opt->name, kinds[i].kind) != 0)
			continue;
		take(&current->taken[i], opt);
		if (current->taken[i].count > kinds[i].max)
			return refuse(cfg, "more than %u %ss", kinds[i].max, kinds[i].kind);
	}
	return 0;
}

/* -- the tree -- */

/* Nobody's word is a value of its own; of everything else none is a mistake. */
static bool may_be_empty(const cfg_opt_t *opt)
{
	return strcmp(opt->name, "verified_by") == 0 || strcmp(opt->name, "mailbox_sources") == 0;
}

static bool is_empty_list(const cfg_opt_t *opt)
{
	return opt->nvalues == 0 && (opt->flags & CFGF_MODIFIED) != 0;
}

/* names: the table that from was made of; its strings outlive libconfuse's copies of them. */
static enum mauth_status copy_values(struct mauth_conf *conf, struct mauth_conf_section *section,
				     const cfg_t *from, const cfg_opt_t *names, struct mauth_error *error_r)
{
	size_t i = 0, count = 0;

	for (const cfg_opt_t *opt = from->opts; opt->name != NULL; opt++) {
		if (opt->type != CFGT_PTR)
			continue;
		if (is_empty_list(opt) && !may_be_empty(opt))
			return mauth_conf_fail(error_r, conf->path, section->line,
					       "\"%s\" is an empty list; leave it out or name something", opt->name);
		count += is_empty_list(opt) ? 1 : opt->nvalues;
	}
	section->values = mauth_new_array(count, sizeof(*section->values));
	section->count = count;
	for (size_t o = 0; names[o].name != NULL; o++) {
		const cfg_opt_t *opt = &from->opts[o];

		/* libconfuse does not say where an empty list stands. */
		if (opt->type == CFGT_PTR && is_empty_list(opt))
			section->values[i++] = (struct mauth_conf_value){ .path = conf->path, .line = section->line,
									  .name = names[o].name,
									  .text = mauth_strdup("") };
		for (unsigned int n = 0; opt->type == CFGT_PTR && n < opt->nvalues; n++) {
			const struct parsed *value = opt->values[n]->ptr;

			section->values[i++] = (struct mauth_conf_value){ .path = conf->path, .line = value->line,
									  .name = names[o].name,
									  .text = mauth_strdup(value->text) };
		}
	}
	return MAUTH_OK;
}

static enum mauth_status copy_tree(struct mauth_conf *conf, cfg_t *root, struct mauth_error *error_r)
{
	size_t count = 1, i = 1;
	enum mauth_status status;

	for (const cfg_opt_t *opt = root->opts; opt->name != NULL; opt++)
		count += opt->type == CFGT_SEC ? opt->nvalues : 0;
	conf->sections = mauth_new_array(count, sizeof(*conf->sections));
	conf->count = count;
	conf->sections[0] = (struct mauth_conf_section){ .kind = "", .line = 1 };
	status = copy_values(conf, &conf->sections[0], root, root_opts, error_r);
	for (size_t o = 0; status == MAUTH_OK && root_opts[o].name != NULL; o++) {
		cfg_opt_t *opt = &root->opts[o];

		for (unsigned int n = 0; status == MAUTH_OK && opt->type == CFGT_SEC && n < opt->nvalues; n++, i++) {
			const cfg_t *from = opt->values[n]->section;

			conf->sections[i] = (struct mauth_conf_section){ .kind = root_opts[o].name,
									 .title = mauth_strdup(from->title),
									 .line = (unsigned int)from->line };
			status = copy_values(conf, &conf->sections[i], from, root_opts[o].subopts, error_r);
		}
	}
	return status;
}

static enum mauth_status parse_clean(struct parser *parser, const char *text, struct mauth_conf *conf)
{
	cfg_t *root = cfg_init(root_opts, CFGF_NONE);
	enum mauth_status status = MAUTH_OK;

	if (root == NULL)
		abort();        /* out of memory */
	cfg_set_error_function(root, report);
	current = parser;
	if (cfg_parse_buf(root, text) != CFG_SUCCESS) {
		status = MAUTH_CONFIG;
		if (!parser->failed)
			refuse(root, "this cannot be understood; a setting is written as name = \"value\"");
	}
	current = NULL;
	for (size_t i = 0; i < TITLED; i++) {
		give_back(&parser->taken[i], cfg_getopt(root, kinds[i].kind));
		if (status == MAUTH_OK)
			status = check_titles(parser, cfg_getopt(root, kinds[i].kind));
	}
	if (status == MAUTH_OK)
		status = copy_tree(conf, root, parser->error_r);
	cfg_free(root);
	return status;
}

enum mauth_status mauth_conf_parse(const char *path, const char *text, size_t size, struct mauth_conf **conf_r,
				   struct mauth_error *error_r)
{
	struct mauth_conf_lines lines;
	struct mauth_buf clean = { 0 };
	struct parser parser = { .path = path, .error_r = error_r, .lines = &lines };
	struct mauth_conf *conf;
	enum mauth_status status;

	if (size > MAUTH_CONFIG_MAX)
		return mauth_conf_fail(error_r, path, 1, "more than %u octets", MAUTH_CONFIG_MAX);
	mauth_buf_puts(&clean, "");
	status = mauth_conf_clean(path, text, size, &clean, &lines, error_r);
	if (status != MAUTH_OK) {
		mauth_buf_free(&clean);
		return status;
	}
	conf = mauth_new(sizeof(*conf));
	conf->path = mauth_strdup(path);
	status = parse_clean(&parser, clean.data, conf);
	mauth_buf_free(&clean);
	free(lines.lines);
	if (status != MAUTH_OK) {
		mauth_conf_free(&conf);
		return status;
	}
	*conf_r = conf;
	return MAUTH_OK;
}

void mauth_conf_free(struct mauth_conf **conf)
{
	struct mauth_conf *old = *conf;

	if (old == NULL)
		return;
	*conf = NULL;
	for (size_t s = 0; s < old->count; s++) {
		for (size_t v = 0; v < old->sections[s].count; v++)
			free(old->sections[s].values[v].text);
		free(old->sections[s].values);
		free(old->sections[s].title);
	}
	free(old->sections);
	free(old->path);
	free(old);
}

const struct mauth_conf_section *mauth_conf_section(const struct mauth_conf *conf, const char *kind)
{
	for (size_t i = 0; i < conf->count; i++) {
		if (strcmp(conf->sections[i].kind, kind) == 0)
			return &conf->sections[i];
	}
	return NULL;
}

const struct mauth_conf_value *mauth_conf_get(const struct mauth_conf_section *section, const char *name)
{
	for (size_t i = 0; section != NULL && i < section->count; i++) {
		if (strcmp(section->values[i].name, name) == 0)
			return &section->values[i];
	}
	return NULL;
}

const struct mauth_conf_value *mauth_conf_next(const struct mauth_conf_section *section,
					       const struct mauth_conf_value *value)
{
	const struct mauth_conf_value *next = value + 1;

	return next < section->values + section->count && next->name == value->name ? next : NULL;
}
