# SPDX-License-Identifier: MIT
"""doveadm modernauth diagnose: each fault is planted, and the command alone says what it is and what mends it."""

import json
import os
import termios

import pytest

import doveadm_run
from harness import settings
from standin.entra_model import APP, APP_SECRET, EXCHANGE_ROLES, EXPIRED_SECRET


def secret(front, name, text, mode=0o600):
    front.secret_files.append(name)
    front.canary.add(text, name)
    return front.write(name, text + "\n", mode)


def tenants(front, standin):
    """A tenant for each fault that is one of the configuration; name -> settings."""
    ports = standin.ports
    certificate = {"client_id": APP % 3, "certificate_file": standin.path("client.crt"),
                   "private_key_file": standin.path("client.key"), "grants": ["app"]}
    daemon = {"client_id": APP % 4, "client_secret_file": secret(front, "daemon-secret", APP_SECRET), "grants": ["app"]}
    return {
        "good": certificate,
        "person": {},
        "daemon": daemon,
        "wrongsecret": {**daemon, "client_secret_file": secret(front, "diag-wrong", "wr0ng~secret/of+nobody")},
        "oldsecret": {**daemon, "client_secret_file": secret(front, "diag-old", EXPIRED_SECRET)},
        "oldcert": {**certificate, "certificate_file": standin.path("client-expired.crt"),
                    "private_key_file": standin.path("client-expired.key")},
        "noapp": {"client_id": APP % 999},
        "noconsent": {"client_id": APP % 6},
        "enrolled": {"grants": ["enrolled"]},
        "graph": {**certificate, "app_scope": "https://graph.microsoft.com/.default"},
        "noroles": {**daemon, "client_id": APP % 8},
        "nograph": {**certificate, "client_id": APP % 43},
        "unregistered": {**certificate, "client_id": APP % 41},
        "notenant": {"tenant_id": "nobody.example"},
        "wrongcloud": {**certificate, "cloud": "gcc-high", "app_scope": "https://outlook.office365.com/.default"},
        "federated": {"domains": ["federated.contoso.com"]},
        "hanging": {"authority": "https://localhost:%d" % ports["entra_silent"]},
        "blockedproxy": {"proxy": "http://127.0.0.1:%d" % ports["proxy"]},
        "intercepted": {"authority": "https://localhost:%d" % ports["entra_untrusted"]},
        "nodns": {"authority": "https://login.nowhere.invalid"},
        "nomaildns": {**certificate, "imap": "imaps://mail.nowhere.invalid"},
        "mailtls": {**certificate, "imap": "imaps://127.0.0.1:%d" % ports["imaps_untrusted"]},
        "noport": {**certificate, "pop3": "pop3s://127.0.0.1:1"},
    }


@pytest.fixture(scope="module")
def front(fronts, running_standin):
    front = fronts.new(start=False, tenants="")
    text = ""
    for name, values in tenants(front, running_standin).items():
        domains = values.pop("domains", [name + ".test"])
        running_standin.domain(name + ".test")
        text += settings.tenant(running_standin, name, domains, **values)
    running_standin.app(APP % 41, certificates=["client"], roles=EXCHANGE_ROLES, mailboxes=["*"], registered=False)
    running_standin.app(APP % 43, certificates=["client"], roles=EXCHANGE_ROLES, mailboxes=["*"], graph_roles=[])
    front.write("modernauth.conf", settings.modernauth_conf(front, text))
    front.expect("tenant oldcert: ", "client-expired", "login refused", "diagnose")
    return front.start()


class Report:
    def __init__(self, done):
        self.status, self.text = done.returncode, done.stdout + done.stderr
        self.rows = json.loads(done.stdout)

    def bad(self, *results):
        return [row for row in self.rows if row["result"] in (results or ("fail",))]

    def row(self, check, subject=""):
        found = [row for row in self.rows if row["check"] == check and row["subject"] == subject]
        assert len(found) == 1, (check, subject, self.text)
        return found[0]

    def first(self):
        """What the admin mends first."""
        assert self.bad(), self.text
        return self.bad()[0]


def diagnose(front, tenant=None, user=None, password=None, config=None, hangs=False):
    """Once more if a host took too long although none is meant to: the stand-ins share a busy machine with other tests, and
    a connection is given up after five seconds."""
    for _ in range(3):
        report = diagnose_once(front, tenant, user, password, config)
        if hangs or not [row for row in report.bad() if "no connection within" in row["seen"] or "no answer within" in row["seen"]]:
            break
    return report


def diagnose_once(front, tenant, user, password, config):
    args = ["--tenant", tenant] if tenant else []
    args += ["--user", getattr(user, "login", user)] if user else []
    args += ["--password-prompt"] if password else []
    saved = front.dovecot_path
    front.dovecot_path = config or saved
    try:
        done = front.doveadm("modernauth", "diagnose", "--json", *args, check=False,
                             input=password and password + "\n")
    finally:
        front.dovecot_path = saved
    assert done.stdout.startswith("["), done.stderr
    return Report(done)


def check(row, name, seen, *fixes):
    assert row["check"] == name and row["result"] == "fail", row
    assert seen in row["seen"], row
    for fix in fixes:
        assert fix in row["fix"], row


def test_nothing_is_wrong(front, people):
    """Everything is right from the configuration to the mailbox, and the exit status says so."""
    report = diagnose(front, user=people.new(domain="good.test"))
    assert report.status == 0 and not report.bad("fail", "warn", "skip"), report.text
    for protocol in ("imap", "pop3", "submission"):
        assert report.row("mailbox", protocol)["result"] == "pass"
        assert "here: upgraded" in report.row("protocol", protocol)["seen"]
    assert report.row("mailbox", "imap")["seen"].startswith("SELECT INBOX: ")
    assert "basic at Microsoft: off" in report.row("protocol", "pop3")["seen"]


def test_without_a_user(front):
    """Mailboxes are not opened, and it says so and how."""
    report = diagnose(front, tenant="good")
    assert report.status == 0, report.text
    assert report.row("mailbox")["result"] == "skip" and "--user" in report.row("mailbox")["fix"]


@pytest.mark.parametrize("tenant, name, seen, fix", [
    ("wrongsecret", "application", "7000215", "create a secret"),
    ("oldsecret", "application", "7000222", "create a new secret"),
    ("oldcert", "credential", "ended", "make a new certificate"),
    ("noapp", "application", "700016", "client_id"),
    ("noconsent", "application", "65001", "Grant admin consent"),
    ("graph", "rights", "Microsoft Graph", "app_scope = \"https://outlook.office365.com/.default\""),
    ("noroles", "rights", "lacks IMAP.AccessAsApp, POP.AccessAsApp, SMTP.SendAsApp", "Application permissions"),
    ("notenant", "tenant", "90002", "tenant_id"),
    ("wrongcloud", "cloud", "lives in \"worldwide\"", "cloud = \"worldwide\""),
    ("federated", "realm", "federated", "enroll"),
    ("intercepted", "authority", "certificate is not trusted", "ca_file"),
    ("nodns", "authority", "cannot be resolved", "DNS"),
    ("nomaildns", "mail host", "cannot be resolved", "DNS"),
    ("noport", "mail host", "no connection", "let this machine out"),
    ("mailtls", "mail host", "certificate is not trusted", "ssl_ca"),
])
def test_fault_of_a_tenant(front, tenant, name, seen, fix):
    report = diagnose(front, tenant=tenant)
    assert report.status == 2
    check(report.first(), name, seen, fix)


def test_egress_blocked(front, standin):
    """The proxy lets nobody through."""
    standin.entra(proxy_status=403)
    report = diagnose(front, tenant="blockedproxy")
    check(report.first(), "authority", "answered 403", "CONNECT")


@pytest.mark.parametrize("code, fix", [
    (900382, "Set cloud in modernauth.conf"), (90038, "Set cloud in modernauth.conf"),
    (7000112, "Enabled for users to sign-in"), (500011, "cloud fits the tenant")])
def test_what_entra_says_of_the_application(front, standin, code, fix):
    """The advice of the table of codes is the fix."""
    standin.fault(action="aadsts", code=code, endpoint="token")
    check(diagnose(front, tenant="good").first(), "application", str(code), fix)


def test_a_host_that_hangs_costs_its_timeout(front):
    """Nobody answers at the authority; the mail hosts are tested all the same."""
    report = diagnose(front, tenant="hanging", hangs=True)
    check(report.first(), "authority", "no connection within 5 s", "firewall")
    assert len(report.bad()) == 1 and report.row("mail host", "submission")["result"] == "pass", report.text


def test_clock(front, standin):
    for offset, word in ((600, "behind"), (-600, "ahead")):
        standin.entra(date_offset=offset)
        row = diagnose(front, tenant="good").first()
        check(row, "clock", word, "chronyc")
        assert "10 min" in row["seen"] or "9 min" in row["seen"]


def test_graph_is_not_allowed(front, people):
    """Device passwords would open nothing, and the mailbox itself is all right."""
    report = diagnose(front, user=people.new(domain="nograph.test"))
    check(report.first(), "account", "Graph", "User.Read.All")
    assert len(report.bad()) == 1 and report.row("mailbox", "imap")["result"] == "pass", report.text


def test_a_disabled_account(front, people, standin):
    account = people.new(domain="good.test")
    assert diagnose(front, user=account).row("account")["result"] == "pass"
    standin.user(account.upn, disabled=True)
    check(diagnose(front, user=account).first(), "account", "disabled", "check_accounts = false")


def test_wrong_object_id(front, people):
    """Exchange does not know the service principal: all three protocols refuse the token."""
    report = diagnose(front, user=people.new(domain="unregistered.test"))
    check(report.first(), "mailbox", "refuses the login", "New-ServicePrincipal -AppId " + APP % 41,
          "Enterprise applications > the app > Overview > Object ID")
    assert len(report.bad()) == 3, report.text


def test_missing_mailbox_permission(front, people):
    account = people.new(domain="daemon.test")
    report = diagnose(front, user=account)
    row = report.row("mailbox", "imap")
    check(row, "mailbox", "authenticated but not connected")
    assert row["fix"].startswith("Exchange Online PowerShell: Add-MailboxPermission -Identity %s" % account.upn), row
    assert report.first() == row


@pytest.mark.parametrize("fields, protocol, seen, fix", [
    ({"imap": False}, "imap", "authenticated but not connected", "-ImapEnabled $true"),
    ({"pop": False}, "pop3", "Server Unavailable", "-PopEnabled $true"),
    ({"smtp": False}, "submission", "for the Mailbox", "-SmtpClientAuthenticationDisabled $false"),
    ({"smtp_reply": "tenant-disabled"}, "submission", "off in the tenant", "Set-TransportConfig"),
    ({"smtp_reply": "security-defaults"}, "submission", "security defaults", "Manage security defaults"),
    ({"smtp_reply": "criteria"}, "submission", "a policy of the tenant", "Conditional Access"),
])
def test_switch_of_a_mailbox(front, people, fields, protocol, seen, fix):
    """The first command of the fix is the one that mends it; the other protocols are found to work."""
    report = diagnose(front, user=people.new(domain="good.test", **fields))
    assert [row["subject"] for row in report.bad()] == [protocol], report.text
    row = report.first()
    check(row, "mailbox", seen)
    assert fix in row["fix"].split("; ")[0] or fix in row["fix"], row
    if "Enabled" in fix:
        assert fix in row["fix"].split("; ")[0], row


def test_password_grant(front, people):
    """With a password at the prompt everything is tested, and the password is nowhere."""
    account = people.new(domain="person.test")
    skipped = diagnose(front, user=account)
    assert skipped.row("token", "password")["result"] == "skip"
    assert "--password-prompt" in skipped.row("token", "password")["fix"]
    report = diagnose(front, user=account, password=account.password)
    assert report.status == 0 and report.row("mailbox", "pop3")["result"] == "pass", report.text
    assert account.password not in report.text


@pytest.mark.parametrize("fields, seen, fix", [
    ({"mfa": True}, "50076", "enroll"),
    ({"ca_blocked": True}, "53003", "Conditional Access"),
    ({"aadsts": 530035}, "530035", "security defaults"),
    ({"disabled": True}, "50057", "Account status"),
])
def test_refused_user(front, people, fields, seen, fix):
    account = people.new(domain="person.test", **fields)
    front.expect_trouble(account)
    report = diagnose(front, user=account, password=account.password)
    check(report.first(), "token", seen, fix)


def test_unknown_user(front):
    report = diagnose(front, user="alice@elsewhere.example")
    check(report.first(), "user", "elsewhere.example", "domains")


def variant(front, name, *changes, more=""):
    """A copy of dovecot.conf, its drop-in included, with texts replaced."""
    text = front.read("dovecot.conf")
    drop_in = "!include %s\n" % front.path("10-modernauth.conf")
    assert drop_in in text
    text = text.replace(drop_in, front.read("10-modernauth.conf"))
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    return front.write(name, text + more)


def test_login_plugin_missing(front):
    config = variant(front, "noplugin.conf", ("login_plugins = $login_plugins modernauth_login", ""))
    check(diagnose(front, tenant="good", config=config).first(), "login plugin", "imap, pop3, submission",
          "login_plugins = ")


def test_passdb_missing(front):
    config = variant(front, "nopassdb.conf", ("driver = modernauth", "driver = pam"))
    check(diagnose(front, tenant="good", config=config).first(), "passdb", "no passdb", "10-modernauth.conf")


def test_login_processes_trust_nobody(front):
    config = variant(front, "noca.conf", more="ssl_ca =\n")
    check(diagnose(front, tenant="good", config=config).first(), "TLS trust", "not set", "ssl_ca = <")


def test_plugin_of_another_dovecot(front):
    """The login plugin's file is looked at, not what it is called."""
    directory = front.path("plugins")
    os.makedirs(directory, exist_ok=True)
    front.write("plugins/libmodernauth_login.so", "\x7fELF\0" + "2.3.ABIv18(2.3.18)\0")
    config = variant(front, "abi.conf", more="login_plugin_dir = %s\n" % directory)
    check(diagnose(front, tenant="good", config=config).first(), "plugin ABI", "2.3.ABIv18(2.3.18)", "dovecot-dev")


def test_socket(front):
    path = front.socket_path("modernauth-auth")
    os.chmod(path, 0o666)
    try:
        check(diagnose(front, tenant="good").first(), "sockets", "everybody may connect", "mode = 0600")
    finally:
        os.chmod(path, 0o600)


def test_world_readable_secret(front):
    path = front.path("daemon-secret")
    os.chmod(path, 0o644)
    try:
        check(diagnose(front, tenant="daemon").first(), "files", "may be read by everybody", "chmod o= " + path)
    finally:
        os.chmod(path, 0o600)


def test_broken_configuration(front):
    """The old one stays in force after a reload; the report names file, line and what was expected."""
    good = front.read("modernauth.conf")
    front.expect("has no tenant_id", "the file is broken")
    try:
        front.write("modernauth.conf", good + "tenant \"broken\" {\n  domains = {\"broken.test\"}\n}\n")
        warned = diagnose(front, tenant="good").row("configuration")
        assert warned["result"] == "warn" and warned["fix"] == "doveadm reload"
        front.reload()
        row = diagnose(front, tenant="good").first()
        check(row, "configuration", "modernauth.conf:", "doveadm reload")
    finally:
        front.write("modernauth.conf", good)
        front.reload()


def test_store_without_its_key(front, people):
    """The store's own words; what does not need it is tested all the same."""
    keys = front.path("lib/modernauth.keys")
    front.expect("store", "key file")
    os.rename(keys, keys + ".away")
    try:
        front.kill_and_wait_for_trouble()
        report = diagnose(front, user=people.new(domain="good.test"))
        check(report.first(), "store", "modernauth.keys", "key")
        assert report.row("mailbox", "imap")["result"] == "pass"
    finally:
        os.rename(keys + ".away", keys)
        front.kill_and_wait()


def test_enrolled(front, people):
    """Whoever is not enrolled is told how; whoever is opens the mailbox; a grant that is dead says why."""
    account = people.new(domain="enrolled.test", mfa=True)
    check(diagnose(front, user=account).first(), "token", "not enrolled", "doveadm modernauth enroll " + account.upn)
    assert front.enrol(account)[0].verb == "OK"
    report = diagnose(front, user=account)
    assert report.status == 0 and report.row("rights", "enrolled")["result"] == "pass", report.text
    assert report.row("mailbox", "submission")["result"] == "pass"
    front.standin.revoke(account.upn)
    front.expect_trouble(account)
    check(diagnose(front, user=account).first(), "token", "50173", "doveadm modernauth enroll " + account.upn)


def test_state_dir_and_audit(front):
    """Both are looked at with the broker's eyes."""
    for path, mode, seen in ((front.path("lib"), 0o755, "may be entered by others"),
                             (front.audit_path, 0o400, "audit")):
        before = os.stat(path).st_mode & 0o7777
        os.chmod(path, mode)
        try:
            check(diagnose(front, tenant="good").first(), "files", seen, "install -d")
        finally:
            os.chmod(path, before)


def test_socket_is_missing(front):
    path = front.socket_path("modernauth-auth")
    os.rename(path, path + ".away")
    try:
        check(diagnose(front, tenant="good").first(), "sockets", "is not there for auth",
              "unix_listener modernauth-auth")
    finally:
        os.rename(path + ".away", path)


def test_broker_not_running(fronts):
    """The first failure says so and how to start it; Dovecot's side is tested all the same."""
    front = fronts.new(start=False, tenants="")
    report = diagnose(front)
    assert report.status == 2
    check(report.first(), "broker", "does not answer", "systemctl start dovecot")
    assert report.row("login plugin")["result"] == "pass"


def test_for_people(front):
    """Without a format: one line for each test, what to do under it, the protocols, a summary."""
    done = front.doveadm("modernauth", "diagnose", "--tenant", "wrongsecret", check=False)
    assert done.returncode == 2 and done.stderr == ""
    lines = done.stdout.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("FAIL  application (wrongsecret)"))
    assert "AADSTS7000215" in lines[at] and lines[at + 1].startswith("      fix: App registrations")
    assert any(line.startswith("POP3  basic at Microsoft: off") for line in lines)
    assert lines[-1].endswith("not tested")


def terminal(front, *args):
    return doveadm_run.Terminal(["doveadm", "-c", front.dovecot_path, "modernauth", "diagnose", *args], 50, 200,
                                front.directory)


def test_progress_on_a_terminal(front):
    """What is being tested is shown while it is, and gone afterwards."""
    term = terminal(front, "--tenant", "good")
    assert term.finish() == 0
    assert "testing: mail host of good ..." in term.text()
    screen = "\n".join(term.screen())
    assert "testing:" not in screen and "PASS  mail host (good, pop3)" in screen and "0 failed" in screen


def test_password_at_a_terminal(front, people):
    """It is not shown as it is typed."""
    account = people.new(domain="person.test", password="typed-%s" % os.urandom(6).hex())
    term = terminal(front, "--user", account.upn, "--password-prompt")
    term.wait_for("Password of " + account.upn)
    # What is typed before the echo is off is thrown away.
    front.wait(lambda: not termios.tcgetattr(term.fd)[3] & termios.ECHO)
    term.write(account.password + "\n")
    assert term.finish() == 0
    assert account.password not in term.text() and "PASS  token (person, password)" in term.text()


def test_stopped(front, standin, people):
    """Ctrl-C ends it at once; what was found stays."""
    account = people.new(domain="good.test")
    standin.refuse(user=account.upn, kind="hang")
    term = terminal(front, "--user", account.upn)
    term.wait_for("testing: mailbox of good")
    term.write("\x03")
    assert term.finish() == 1
    assert "stopped by a signal" in term.text()


def test_whoever_asked_goes_away(front, people):
    """The diagnosis ends with its listener, wherever it is, and the broker is none the worse."""
    before = front.broker_pids()
    for _ in range(3):
        with front.broker("admin") as broker:
            broker.request("DIAGNOSE", user=people.new(domain="good.test").upn)
            assert broker.answer().verb in ("NOTE", "ROW")
    report = diagnose(front, tenant="good")
    assert report.status == 0 and front.broker_pids() == before, report.text
