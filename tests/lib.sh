# SPDX-License-Identifier: MIT
# What demo.sh and run.sh share: packages, the system user, the build. Sourced by bash.

say() { printf '\n== %s\n' "$*"; }

need_root() {
	[ "$(id -u)" = 0 ] || { echo "run this as root: it installs packages and starts Dovecot" >&2; exit 1; }
}

# Installs the Debian packages that are missing, quietly unless it fails.
install_packages() {
	local missing=() package log
	for package in "$@"; do
		dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	say "installing ${#missing[@]} Debian packages"
	log=$(mktemp)
	# Dovecot's own service is not needed, and must not take the ports of the machine's real one.
	if ! { apt-get update && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
		"${missing[@]}"; } >"$log" 2>&1; then
		tail -30 "$log" >&2
		rm -f "$log"
		return 1
	fi
	rm -f "$log"
}

build_packages=(build-essential pkg-config meson ninja-build dovecot-core dovecot-dev dovecot-imapd dovecot-pop3d
	dovecot-submissiond libcurl4-openssl-dev libssl-dev libjansson-dev libconfuse-dev libsqlite3-dev zlib1g-dev libzstd-dev ca-certificates adduser)
demo_packages=(python3 python3-cryptography python3-h2 curl)

ensure_user() {
	id modernauth >/dev/null 2>&1 ||
		adduser --system --group --no-create-home --home /nonexistent --shell /usr/sbin/nologin --quiet modernauth
}

# build DIR [meson options]: configures and compiles, or says why not.
build() {
	local dir=$1 log
	shift
	log=$(mktemp)
	if ! { { [ -d "$dir/meson-private" ] || meson setup "$dir" "$top" "$@"; } && ninja -C "$dir"; } >"$log" 2>&1; then
		tail -40 "$log" >&2
		rm -f "$log"
		return 1
	fi
	# Nobody reads a warning that scrolled by.
	if grep -q 'warning:' "$log"; then
		grep -A5 'warning:' "$log" >&2
		rm -f "$log"
		return 1
	fi
	rm -f "$log"
}
