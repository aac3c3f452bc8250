/* SPDX-License-Identifier: MIT */
/* Dovecot's side of diagnose: what doveconf says, which plugins are there, who may connect to the sockets. */
#include "lib.h"
#include "env-util.h"
#include "execv-const.h"
#include "master-service.h"
#include "doveadm-settings.h"

#include "doveadm/diagnose.h"

#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define DOVECONF_OUTPUT_MAX 65536u
#define ABI_MARK ".ABIv"
#define DROP_IN "conf.d/10-modernauth.conf"

static const char *const protocol_names[] = { "imap", "pop3", "submission" };

/* What is looked at. Texts are on the data stack of the whole command. */
struct local {
	struct mauth_findings *report;
	const char *settings[N_ELEMENTS(protocol_names)];    /* of each protocol: lines "name = value" */
	bool enabled[N_ELEMENTS(protocol_names)];
	const char *passdbs;
	const char **login_ca_r;
};

/* -- doveconf ----------------------------------------------------------------------------------------------- */

static void run_doveconf(const char *const *args, int fd)
{
	int null = open("/dev/null", O_RDWR);

	/* With the environment of a doveadm server it would take itself for one, and our descriptors for its listeners.
	 */
	env_clean_except((const char *const[]){ "PATH", NULL });
	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(fd, STDOUT_FILENO) < 0 || dup2(null, STDERR_FILENO) < 0)
		_exit(127);
	execvp_const(args[0], args);
}

/* What doveconf prints; NULL if it fails. */
static const char *doveconf(const char *const *args)
{
	char *output = t_malloc0(DOVECONF_OUTPUT_MAX + 1);
	size_t size = 0;
	ssize_t got;
	int fds[2], status;
	pid_t pid;

	if (pipe(fds) < 0)
		return NULL;
	pid = fork();
	if (pid == 0)
		run_doveconf(args, fds[1]);
	(void)close(fds[1]);
	while (pid > 0 && size < DOVECONF_OUTPUT_MAX &&
	       ((got = read(fds[0], output + size, DOVECONF_OUTPUT_MAX - size)) > 0 || (got < 0 && errno == EINTR)))
		size += got > 0 ? (size_t)got : 0;
	(void)close(fds[0]);
	if (pid < 0)
		return NULL;
	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return NULL;
	}
	return status == 0 ? output : NULL;
}

/* The value of a setting in doveconf's lines; "" if it is not there. */
static const char *setting(const char *lines, const char *name)
{
	const char *const *line;
	size_t size = strlen(name);

	if (lines == NULL)
		return "";
	for (line = t_strsplit(lines, "\n"); *line != NULL; line++) {
		if (strncmp(*line, name, size) == 0 && strncmp(*line + size, " = ", 3) == 0)
			return t_str_trim(*line + size + 3, " ");
	}
	return "";
}

static bool has_word(const char *list, const char *word)
{
	const char *const *words;

	for (words = t_strsplit_spaces(list, " ,"); *words != NULL; words++) {
		if (strcmp(*words, word) == 0)
			return TRUE;
	}
	return FALSE;
}

/* A doveadm server has its settings from a socket, which doveconf cannot read; the master leaves a link to the file. */
static const char *config_file(void)
{
	const char *path = master_service_get_config_path(master_service);
	struct stat st;

	if (stat(path, &st) == 0 && S_ISSOCK(st.st_mode))
		return t_strconcat(doveadm_settings->base_dir, "/dovecot.conf", NULL);
	return path;
}

static bool read_settings(struct local *local)
{
	const char *path = config_file();

	for (unsigned int i = 0; i < N_ELEMENTS(protocol_names); i++) {
		const char *const args[] = {
			"doveconf", "-c", path, "-f", t_strconcat("protocol=", protocol_names[i], NULL), "protocols",
			"login_plugins", "login_plugin_dir", "ssl_ca", "auth_failure_delay", "auth_mechanisms",
			"default_internal_user", "default_login_user", "auth_cache_size", NULL
		};

		local->settings[i] = doveconf(args);
		if (local->settings[i] == NULL)
			return FALSE;
		local->enabled[i] = has_word(setting(local->settings[i], "protocols"), protocol_names[i]);
	}
	const char *const args[] = { "doveconf", "-c", path, "passdb", NULL };
	local->passdbs = doveconf(args);
	return TRUE;
}

/* -- checks ------------------------------------------------------------------------------------------------- */

static void check_passdb(struct local *local)
{
	const char *mechanisms = setting(local->settings[0], "auth_mechanisms");

	if (local->passdbs == NULL || strstr(local->passdbs, "driver = modernauth") == NULL)
		mauth_findings_say(local->report, MAUTH_FINDING_FAIL, "passdb",
				 "cp "DROP_IN" /etc/dovecot/conf.d/, which has the passdb; doveadm reload",
				 "no passdb with driver = modernauth: no login ever comes to us");
	else if (!has_word(mechanisms, "plain"))
		mauth_findings_say(local->report, MAUTH_FINDING_FAIL, "passdb",
				 "auth_mechanisms = plain login in "DROP_IN"; doveadm reload",
				 "auth_mechanisms = %s: clients cannot send a password", mechanisms);
	else if (strcmp(setting(local->settings[0], "auth_cache_size"), "0") != 0)
		mauth_findings_say(local->report, MAUTH_FINDING_WARN, "passdb", "auth_cache_size = 0; doveadm reload",
				 "auth_cache_size = %s: our answers are not cached there, and must not be",
				 setting(local->settings[0], "auth_cache_size"));
	else
		mauth_findings_say(local->report, MAUTH_FINDING_PASS, "passdb", NULL, "driver = modernauth, %s",
				 mechanisms);
}

static const char *joined(const char *list, const char *word)
{
	return *list == '\0' ? word : t_strconcat(list, ", ", word, NULL);
}

static void check_login_plugin(struct local *local)
{
	const char *missing = "", *present = "", *file = "";
	struct stat st;

	for (unsigned int i = 0; i < N_ELEMENTS(protocol_names); i++) {
		if (!local->enabled[i])
			continue;
		file = t_strconcat(setting(local->settings[i], "login_plugin_dir"), "/libmodernauth_login.so", NULL);
		if (has_word(setting(local->settings[i], "login_plugins"), "modernauth_login"))
			present = joined(present, protocol_names[i]);
		else
			missing = joined(missing, protocol_names[i]);
	}
	if (*missing != '\0')
		mauth_findings_say(local->report, MAUTH_FINDING_FAIL, "login plugin",
				 "login_plugins = $login_plugins modernauth_login, as in "DROP_IN"; doveadm reload",
				 "not loaded for %s: POP3 sessions fail, and refused tokens are not noticed", missing);
	else if (*present == '\0')
		mauth_findings_say(local->report, MAUTH_FINDING_FAIL, "login plugin",
				 "apt-get install dovecot-imapd dovecot-pop3d dovecot-submissiond; protocols = imap "
				 "pop3 submission; doveadm reload",
				 "none of imap, pop3 and submission is in \"protocols\"");
	else if (stat(file, &st) < 0)
		mauth_findings_say(local->report, MAUTH_FINDING_FAIL, "login plugin",
				 "meson install -C build; and check login_plugin_dir; doveadm reload", "%s: %m", file);
	else
		mauth_findings_say(local->report, MAUTH_FINDING_PASS, "login plugin", NULL, "loaded for %s", present);
}

/* The ABI that the plugin in path was built for; NULL if it cannot be read, "" if it says none. */
static const char *abi_of(const char *path)
{
	const char *found = "", *mark;
	struct stat st;
	char *data;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st) < 0 || st.st_size == 0) {
		if (fd >= 0)
			(void)close(fd);
		return NULL;
	}
	data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	(void)close(fd);
	if (data == MAP_FAILED)
		return NULL;
	mark = memmem(data, (size_t)st.st_size, ABI_MARK, strlen(ABI_MARK));
	if (mark != NULL) {
		const char *begin = mark, *end = mark;

		while (begin > data && begin[-1] != '\0' && mark - begin < 32)
			begin--;
		while (end < data + st.st_size && *end != '\0' && end - mark < 64)
			end++;
		found = t_strdup_until(begin, end);
	}
	(void)munmap(data, (size_t)st.st_size);
	return found;
}

static void check_abi(struct local *local)
{
	const char *paths[] = {
		MAUTH_MODULE_DIR "/auth/libauthdb_modernauth.so",
		t_strconcat(setting(local->settings[0], "login_plugin_dir"), "/libmodernauth_login.so", NULL),
	};
	bool bad = FALSE;

	for (unsigned int i = 0; i < N_ELEMENTS(paths); i++) {
		const char *abi = abi_of(paths[i]);

		if (abi != NULL && strcmp(abi, DOVECOT_ABI_VERSION) == 0)
			continue;
		bad = TRUE;
		if (abi == NULL)
			mauth_findings_say(local->report, MAUTH_FINDING_FAIL, "plugin ABI",
					 "meson install -C build; doveadm reload", "%s cannot be read: %m", paths[i]);
		else
			mauth_findings_say(local->report, MAUTH_FINDING_FAIL, "plugin ABI",
					 "build it anew: apt-get install dovecot-dev; meson setup --wipe build; ninja "
					 "-C build; meson install -C build; systemctl restart dovecot",
					 "%s was built for %s, this Dovecot is %s", paths[i],
					 *abi == '\0' ? "another Dovecot" : abi, DOVECOT_ABI_VERSION);
	}
	if (!bad)
		mauth_findings_say(local->report, MAUTH_FINDING_PASS, "plugin ABI", NULL,
				 "%s: doveadm, auth and login plugin", DOVECOT_ABI_VERSION);
}

/* -- sockets ------------------------------------------------------------------------------------------------ */

static const struct wanted_socket {
	const char *name, *owner_setting, *who;
} wanted_sockets[] = {
	{ "modernauth-auth", "default_internal_user", "auth" },
	{ "login/modernauth-login", "default_login_user", "the login processes" },
	{ "modernauth-admin", NULL, "doveadm" },
	{ "modernauth-handover", NULL, "the broker's successor" },
};

static bool check_socket(struct local *local, const struct wanted_socket *wanted)
{
	const char *path = t_strconcat(doveadm_settings->base_dir, "/", wanted->name, NULL);
	const char *owner = wanted->owner_setting == NULL ? NULL : setting(local->settings[0], wanted->owner_setting);
	const struct passwd *pw = owner == NULL ? NULL : getpwnam(owner);
	struct stat st;

	if (lstat(path, &st) < 0 || !S_ISSOCK(st.st_mode)) {
		mauth_findings_say(local->report, MAUTH_FINDING_FAIL, "sockets",
				 t_strdup_printf("service modernauth { unix_listener %s { ... } } as in " DROP_IN
						 "; doveadm reload, or systemctl start dovecot",
						 wanted->name),
				 "%s is not there for %s", path, wanted->who);
		return FALSE;
	}
	if ((st.st_mode & 06) != 0) {
		mauth_findings_say(
			local->report, MAUTH_FINDING_FAIL, "sockets",
			t_strdup_printf("mode = 0600 in unix_listener %s of " DROP_IN "; doveadm reload", wanted->name),
			"everybody may connect to %s (mode %04o)", path, (unsigned int)st.st_mode & 07777);
		return FALSE;
	}
	if (pw != NULL && pw->pw_uid != st.st_uid && (st.st_mode & 020) == 0) {
		mauth_findings_say(local->report, MAUTH_FINDING_FAIL, "sockets",
				 t_strdup_printf("user = $%s in unix_listener %s of " DROP_IN "; doveadm reload",
						 wanted->owner_setting, wanted->name),
				 "%s belongs to uid %ld: %s, who are %s, cannot connect", path, (long)st.st_uid,
				 wanted->who, owner);
		return FALSE;
	}
	return TRUE;
}

static void check_sockets(struct local *local)
{
	bool good = TRUE;

	for (unsigned int i = 0; i < N_ELEMENTS(wanted_sockets); i++)
		good = check_socket(local, &wanted_sockets[i]) && good;
	if (good)
		mauth_findings_say(local->report, MAUTH_FINDING_PASS, "sockets", NULL,
				 "%u in %s, owners and modes as they should be",
				 (unsigned int)N_ELEMENTS(wanted_sockets), doveadm_settings->base_dir);
}

/* -- the rest ----------------------------------------------------------------------------------------------- */

static void check_trust(struct local *local)
{
	const char *value = setting(local->settings[0], "ssl_ca"), *fix, *path;
	int fd;

	fix = "ssl_ca = </etc/ssl/certs/ca-certificates.crt in "DROP_IN"; doveadm reload";
	if (*value == '\0') {
		mauth_findings_say(local->report, MAUTH_FINDING_FAIL, "TLS trust", fix,
				 "ssl_ca is not set: login processes trust nobody, every session fails with \"unable "
				 "to get local issuer certificate\"");
		return;
	}
	if (*value != '<') {
		mauth_findings_say(local->report, MAUTH_FINDING_PASS, "TLS trust", NULL,
				 "ssl_ca is in the configuration itself");
		return;
	}
	path = t_str_trim(value + 1, " ");
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		mauth_findings_say(local->report, MAUTH_FINDING_FAIL, "TLS trust", fix, "ssl_ca: %s: %m", path);
		return;
	}
	(void)close(fd);
	*local->login_ca_r = path;
	mauth_findings_say(local->report, MAUTH_FINDING_PASS, "TLS trust", NULL, "ssl_ca = <%s", path);
}

static void check_penalty(struct local *local)
{
	const char *delay = setting(local->settings[0], "auth_failure_delay");

	mauth_findings_say(local->report, MAUTH_FINDING_PASS, "penalty", NULL,
			 "refused logins wait %s, and addresses that fail again and again up to 15 s", delay);
}

void mauth_diagnose_local(struct mauth_findings *report, const char **login_ca_r)
{
	static void (*const checks[])(struct local *local) = {
		check_passdb, check_login_plugin, check_abi, check_sockets, check_trust, check_penalty,
	};
	struct local local = { .report = report, .login_ca_r = login_ca_r };

	*login_ca_r = NULL;
	mauth_findings_progress(report, "Dovecot");
	if (!read_settings(&local)) {
		mauth_findings_say(report, MAUTH_FINDING_FAIL, "dovecot", "doveconf -n says what is wrong",
				 "Dovecot's configuration cannot be read");
		return;
	}
	for (unsigned int i = 0; i < N_ELEMENTS(checks); i++)
		checks[i](&local);
}
