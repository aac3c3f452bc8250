#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The main job on loopback, on a machine that has nothing yet (Debian 12, root): an IMAP, a POP3 and a submission login with
# a password, which a stand-in for Exchange Online sees as XOAUTH2, and their audit records.
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
. "$top/tests/lib.sh"
need_root
export PYTHONDONTWRITEBYTECODE=1
dir=$(mktemp -d /tmp/modernauth-demo.XXXXXX)
dovecot_pid='' standin_pid=''
cleanup() {
	[ -z "$dovecot_pid" ] || { kill "$dovecot_pid" 2>/dev/null && wait "$dovecot_pid" 2>/dev/null; } || true
	[ -z "$standin_pid" ] || { kill "$standin_pid" 2>/dev/null && wait "$standin_pid" 2>/dev/null; } || true
	rm -rf "$dir"
}
trap cleanup EXIT

install_packages "${build_packages[@]}" "${demo_packages[@]}"
ensure_user

say "building and installing the plugins (meson)"
build "$dir/build" -Dtests=false
meson install -C "$dir/build" --no-rebuild >"$dir/install.log" || { cat "$dir/install.log"; exit 1; }

say "starting stand-ins for Microsoft Entra ID and Exchange Online"
(cd "$top/tests/integration" && exec /usr/bin/python3 -m standin --dir "$dir/standin") >"$dir/standin.log" 2>&1 &
standin_pid=$!
for _ in $(seq 100); do
	[ -e "$dir/standin/ports.json" ] && break
	kill -0 "$standin_pid" || { cat "$dir/standin.log"; exit 1; }
	sleep 0.1
done
port() { /usr/bin/python3 -c 'import json,sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$dir/standin/ports.json" "$1"; }

say "starting Dovecot $(dovecot --version) with conf.d/10-modernauth.conf"
chmod 755 "$dir"
mkdir -m 755 "$dir/run"
install -d -m 700 -o modernauth -g modernauth "$dir/state" "$dir/audit"
cat >"$dir/modernauth.conf" <<CONF
state_dir = "$dir/state"
audit { path = "$dir/audit/modernauth-audit.jsonl"  key_file = "$dir/audit.key" }
tenant "contoso" {
  domains   = {"contoso.com"}
  tenant_id = "contoso.onmicrosoft.com"
  client_id = "a0000000-0000-4000-8000-000000000001"
  grants    = {"enrolled", "password"}
  # the stand-ins instead of Microsoft:
  authority = "https://127.0.0.1:$(port entra)"  ca_file = "$dir/standin/ca.pem"
  imap = "imaps://127.0.0.1:$(port imaps)"  pop3 = "pop3s://127.0.0.1:$(port pop3s)"
  submission = "smtp://127.0.0.1:$(port smtp)"
}
CONF
# Free ports for the front end.
read -r imap_port pop3_port smtp_port < <(/usr/bin/python3 - <<'PY'
import socket
socks = [socket.socket() for _ in range(3)]
for s in socks: s.bind(("127.0.0.1", 0))
print(*[s.getsockname()[1] for s in socks])
PY
)
# The shipped drop-in, told only where this demo's files are.
sed "s#/etc/dovecot/modernauth.conf#$dir/modernauth.conf#; s#^ *executable = modernauth\$#  executable = modernauth -f $dir/modernauth.conf#
	s#^ssl_ca = .*#ssl_ca = <$dir/standin/ca.pem#" "$top/conf.d/10-modernauth.conf" >"$dir/10-modernauth.conf"
cat >"$dir/dovecot.conf" <<CONF
base_dir = $dir/run
state_dir = $dir/run
log_path = $dir/dovecot.log
listen = 127.0.0.1
protocols = imap pop3 submission
mail_location = maildir:$dir/mail/%u
auth_failure_delay = 0
service imap-login { 
  inet_listener imap { 
    port = $imap_port
  } 
  inet_listener imaps { 
    port = 0
  }
}
service pop3-login { 
  inet_listener pop3 { 
    port = $pop3_port
  } 
  inet_listener pop3s { 
    port = 0
  }
}
service submission-login { 
  inet_listener submission { 
    port = $smtp_port
  }
}
!include 10-modernauth.conf
# The demo's clients are on loopback and speak without TLS.
ssl = no
disable_plaintext_auth = no
CONF
dovecot -F -c "$dir/dovecot.conf" >"$dir/dovecot.out" 2>&1 &
dovecot_pid=$!
for _ in $(seq 100); do
	[ -S "$dir/run/modernauth-auth" ] && break
	kill -0 "$dovecot_pid" || { cat "$dir/dovecot.out"; exit 1; }
	sleep 0.1
done

user=alice@contoso.com password=alice-Passw0rd
# From a file: a password in an argument could be read by every user of the machine.
printf 'user = "%s:%s"\n' "$user" "$password" >"$dir/curlrc"
failed=0
# attempt WHAT COMMAND...
attempt() {
	local what=$1
	shift
	say "$what"
	if "$@" >"$dir/out" 2>&1; then
		sed 's/\r$//' "$dir/out" | grep -iE '^(subject|from|\* (LIST|[0-9]+ FETCH))' | head -4 || true
		echo "ok"
	else
		cat "$dir/out"
		failed=1
	fi
}
curl="curl -sS --max-time 30 -K $dir/curlrc"
attempt "IMAP with a password (curl: LOGIN)" $curl --login-options AUTH=LOGIN "imap://127.0.0.1:$imap_port/INBOX;MAILINDEX=1;SECTION=HEADER"
attempt "POP3 with a password (poplib: USER and PASS)" /usr/bin/python3 -c '
import poplib, re, sys
user, password = re.search("\"(.*?):(.*)\"", open(sys.argv[1]).read()).groups()
pop = poplib.POP3("127.0.0.1", int(sys.argv[2]), timeout=30)
pop.user(user)
pop.pass_(password)
print(*[line.decode() for line in pop.retr(1)[1]], sep="\n")
pop.quit()' "$dir/curlrc" "$pop3_port"
printf 'From: alice@contoso.com\nTo: bob@contoso.com\nSubject: from a scanner\n\nhello\n' >"$dir/mail.eml"
attempt "Submission with a password (curl: AUTH PLAIN)" $curl "smtp://127.0.0.1:$smtp_port" --mail-from alice@contoso.com \
	--mail-rcpt bob@contoso.com -T "$dir/mail.eml"

say "what the stand-in for Exchange saw"
curl -sS "http://127.0.0.1:$(port control)/exchange/sessions" >"$dir/sessions.json"
/usr/bin/python3 - "$dir/sessions.json" <<'PY' || failed=1
import json, sys
data = json.load(open(sys.argv[1]))
rows = data.get("records", data.get("sessions", data)) if isinstance(data, dict) else data
seen = set()
for row in rows:
    if row.get("mech") or row.get("mechanism"):
        mech = row.get("mech") or row.get("mechanism")
        print("  %-5s %-8s user=%s  %s" % (row["protocol"], mech, row.get("user"), row.get("result")))
        if mech.upper() == "XOAUTH2":
            seen.add(row["protocol"].lower().rstrip("s"))
missing = {"imap", "pop3", "smtp"} - seen
print("  %d of 3 protocols with XOAUTH2" % (3 - len(missing)))
sys.exit(1 if missing else 0)
PY

say "the audit records (modernauth-audit.jsonl)"
sleep 0.5
/usr/bin/python3 - "$dir/audit/modernauth-audit.jsonl" <<'PY' || failed=1
import json, sys
lines = [json.loads(line) for line in open(sys.argv[1])]
# The audit also says where it begins, signs what it has, and with which configuration the service has started.
records = [line for line in lines if "user" in line]
for r in records:
    m = r["modernauth"]
    print("  %s  %-26s %-18s %s  %s  %s" % (r["@timestamp"], r["event"]["action"], m.get("protocol", "-"), r["user"]["name"],
          r.get("source", {}).get("ip", "-"), m.get("token_source", m.get("upstream", {}).get("reply", "")) or ""))
print("\n  one of them in full:\n")
print(json.dumps(records[0], indent=2) if records else "none")
legs = [r["event"]["action"] for r in records]
sys.exit(0 if legs.count("basic-auth-intercepted") == 3 and legs.count("upstream-session-opened") == 3 else 1)
PY

say "has anybody touched them? (doveadm modernauth audit verify)"
doveadm -c "$dir/dovecot.conf" modernauth audit verify || failed=1

say "an account with MFA: no password helps, so it is enrolled once (here the stand-in plays the user's browser)"
curl -sS -X POST -d '{"device_user": "mfa@contoso.com", "device_approve_after": 1, "device_interval": 1}' \
	"http://127.0.0.1:$(port control)/entra/settings" >/dev/null
if doveadm -c "$dir/dovecot.conf" -f tab modernauth enroll mfa@contoso.com --device "old phone" >"$dir/enrolled"; then
	# The only time that it is shown.
	printf 'user = "mfa@contoso.com:%s"\n' "$(awk 'NR == 2 { print $NF }' "$dir/enrolled")" >"$dir/curlrc"
	doveadm -c "$dir/dovecot.conf" modernauth list
	attempt "IMAP with its device password" $curl "imap://127.0.0.1:$imap_port/INBOX;MAILINDEX=1;SECTION=HEADER"
else
	failed=1
fi

if [ "$failed" != 0 ]; then
	say "something failed; Dovecot's log:"
	tail -40 "$dir/dovecot.log"
	exit 1
fi
say "three legacy logins, and one of an enrolled account, upgraded to XOAUTH2"
