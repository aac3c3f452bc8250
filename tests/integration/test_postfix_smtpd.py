# SPDX-License-Identifier: MIT
"""Scanners and applications in front of Postfix: its smtpd asks Dovecot, and so our passdb, whether name and password are right; what it takes
leaves through the queue as XOAUTH2. And other programs that use Cyrus SASL with our plugin."""

import os
import re
import smtplib
import subprocess

import pytest

from harness import settings
from harness.clients import fresh_address
from harness.postfix import Postfix
from harness.programs import run
from harness.relay import add_key
from harness.sanitizer import KIND
from harness.sockets import AuthClient
from standin.entra_model import APP

DOMAIN, DENIED = "smtpd.test", "denied-smtpd.test"
pytestmark = pytest.mark.slow
RULES = """
rule "no relaying" {
  users     = {"*@%s"}
  protocols = {"smtp"}
  action    = "deny"
  message   = "ask the help desk"
}
""" % DENIED


@pytest.fixture(scope="module")
def site(fronts, running_standin, canary):
    for domain in (DOMAIN, DENIED):
        running_standin.domain(domain)
    postfix = Postfix(running_standin, canary)
    front = fronts.new(start=False, extra=RULES, tenants=settings.tenant(
        running_standin, "smtpd", [DOMAIN, DENIED], grants=["app"], client_id=APP % 3,
        certificate_file=running_standin.path("client.crt"), private_key_file=running_standin.path("client.key")))
    front.expect("relay: ", "login refused")
    front.write("dovecot.conf", front.read("dovecot.conf") + "!include %s\n" % postfix.listeners(front))
    front.start()
    front.postfix = postfix
    front.key = add_key(front, "postfix", "*@" + DOMAIN)
    postfix.start()
    yield front
    problems = postfix.examine()
    postfix.remove()
    assert not problems, problems


@pytest.fixture
def scanner(site, people):
    """An account that may send over submission from one network only, with a device password."""
    account = people.new(name="scanner", domain=DOMAIN, mfa=True)
    account.password = site.add_device(account, "Ricoh", networks="127.0.0.0/8", services="smtp").password
    site.postfix.set_identities({**site.postfix.identities, account.upn: "%s:%s" % (account.upn, site.key)})
    return account


def submit(site, account, sender=None, password=None, **options):
    # Dovecot slows down the address of a login that failed.
    site.postfix.send(sender or account.upn, port="submission", login=(account.login, password or account.password),
                      **{"source": fresh_address(), **options})


def wait_sent(site, standin, subject):
    return site.postfix.wait_flushed(lambda: [mail for mail in standin.sent() if "Subject: %s\r\n" % subject in mail["data"]], 30,
                                     "not sent: " + subject)


# -- the whole way

@pytest.mark.sanitize
@pytest.mark.parametrize("mech", ["LOGIN", "PLAIN"])
def test_a_scanner_that_knows_only_passwords_reaches_exchange(site, standin, scanner, mech):
    submit(site, scanner, mech=mech, subject="page of " + scanner.upn, source="127.20.0.9")
    [mail] = wait_sent(site, standin, "page of " + scanner.upn)
    assert mail["user"] == mail["sender"] == scanner.upn
    [session] = standin.sessions(user=scanner.upn)
    assert session["mech"] == "XOAUTH2" and session["tls"] is True
    # Both legs: what came in, and what went out.
    came, = site.attempts(scanner.upn)
    own = came["modernauth"]
    assert own["protocol"] == "Authenticated SMTP" and own["verified_by"] == "device" and own["device"]["name"] == "Ricoh"
    assert own["decision"] == "verify" and "grant" not in own and "token" not in own, own
    assert came["source"]["ip"] == "127.20.0.9" and came["tls"]["established"] is True and own["status"] == "ok"
    went = site.wait(lambda: site.audit(scanner.upn, action="relay-mail-accepted"), 10, "no second leg")[0]
    assert went["modernauth"]["relay"]["key_name"] == "postfix" and went["modernauth"]["reply"].startswith("250 2.0.0 OK")


def test_swaks_and_msmtp(site, standin, scanner, tmp_path):
    port = str(site.postfix.ports["submission"])
    run(["swaks", "--server", "127.0.0.1", "--port", port, "-tls", "--auth", "LOGIN", "--auth-user", scanner.login, "--auth-password",
         scanner.password, "--auth-hide-password", "--from", scanner.upn, "--to", "boss@example.com", "--header",
         "Subject: swaks of " + scanner.upn])
    wait_sent(site, standin, "swaks of " + scanner.upn)
    config = tmp_path / "msmtprc"
    config.write_text("account default\nhost localhost\nport %s\ntls on\ntls_trust_file %s\nauth login\nuser %s\npassword %s\nfrom %s\n" % (
        port, standin.ca_file, scanner.login, scanner.password, scanner.upn))
    config.chmod(0o600)
    run(["msmtp", "-C", str(config), "boss@example.com"], "Subject: msmtp of %s\n\nscanned\n" % scanner.upn)
    wait_sent(site, standin, "msmtp of " + scanner.upn)


@pytest.mark.skipif("NULLMAILER" not in os.environ, reason="NULLMAILER names no unpacked package: it cannot be installed beside Postfix")
def test_nullmailer(site, standin, scanner, tmp_path):
    mail = tmp_path / "mail"
    mail.write_text("%s\nboss@example.com\n\nSubject: nullmailer of %s\n\nscanned\n" % (scanner.upn, scanner.upn))
    options = "host=localhost\nport=%d\nstarttls\nauth-login\nx509cafile=%s\nuser=%s\npass=%s\n\n" % (
        site.postfix.ports["submission"], standin.ca_file, scanner.login, scanner.password)
    with open(mail, "rb") as file:
        done = subprocess.run(["bash", "-c", 'exec "$0" 3<&"$1"', os.environ["NULLMAILER"] + "/usr/lib/nullmailer/smtp", str(file.fileno())],
                              input=options, text=True, capture_output=True, timeout=30, pass_fds=[file.fileno()],
                              env={**os.environ, "HELOHOST": "scanner.test"})
    assert done.returncode == 0, done.stdout + done.stderr
    wait_sent(site, standin, "nullmailer of " + scanner.upn)


# -- who is let in, and as whom

def test_what_is_not_right_is_refused(site, people, scanner):
    with pytest.raises(smtplib.SMTPAuthenticationError):
        submit(site, scanner, password="not-the-password")
    imap_only = people.new(name="reader", domain=DOMAIN, mfa=True)
    imap_only.password = site.add_device(imap_only, "phone", services="imap").password
    elsewhere = people.new(name="elsewhere", domain=DOMAIN, mfa=True)
    elsewhere.password = site.add_device(elsewhere, "printer", networks="10.9.0.0/16").password
    denied = people.new(name="denied", domain=DENIED, mfa=True)
    denied.password = site.add_device(denied, "printer").password
    for account in (imap_only, elsewhere, denied):
        with pytest.raises(smtplib.SMTPAuthenticationError):
            submit(site, account)
        record = site.attempts(account.upn)[-1]
        assert record["modernauth"]["protocol"] == "Authenticated SMTP" and record["modernauth"]["status"] == "policy", record
    assert site.attempts(denied.upn)[-1]["modernauth"]["rule"] == "no relaying"


def test_a_scanner_sends_as_itself_only(site, standin, scanner, people):
    other = people.new(name="boss", domain=DOMAIN)
    for sender in (other.upn, "someone@elsewhere.test"):
        with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
            submit(site, scanner, sender=sender)
        assert b"not owned by user" in str(refused.value).encode()
    submit(site, scanner, sender=scanner.upn.upper(), subject="capitals of " + scanner.upn)
    wait_sent(site, standin, "capitals of " + scanner.upn)
    # Nobody sends without having logged in, from wherever.
    with pytest.raises(smtplib.SMTPException):
        site.postfix.send(scanner.upn, port="submission", tls=True, source=fresh_address())


def test_no_password_in_clear(site, scanner):
    with smtplib.SMTP("127.0.0.1", site.postfix.ports["submission"]) as smtp:
        smtp.ehlo()
        assert not smtp.has_extn("auth")


def test_postfix_is_told_yes_and_no_more(site, scanner):
    """What Dovecot answers on the socket that smtpd asks."""
    with AuthClient(site.postfix.path("spool/private/auth")) as client:
        answer = client.plain(scanner.login, scanner.password, "service=smtp", "secured", "rip=" + fresh_address())
    assert answer[0] == "OK" and "user=" + scanner.login in answer, answer
    assert not re.search("pass=|token|proxy|eyJ", " ".join(answer)), answer


# -- other programs with Cyrus SASL

@pytest.fixture
def sasl_home(site, tmp_path):
    """A directory for SASL_CONF_PATH that tells the plugin where the broker is."""
    (tmp_path / "modernauth.conf").write_text("modernauth_socket: %s\n" % site.postfix.path("spool/private/modernauth-relay"))
    return str(tmp_path)


def plugin_dir():
    return os.path.join(subprocess.run(["pkg-config", "--variable=libdir", "libsasl2"], capture_output=True, text=True,
                                       check=True).stdout.strip(), "sasl2")


def test_pluginviewer_shows_it_beside_the_distributions(tmp_path):
    argv = ["saslpluginviewer", "-c"]
    shown = run(argv)
    assert re.search(r"Plugin \"modernauth_sasl\" .*API version: 4", shown) and "SASL mechanism: XOAUTH2, best SSF: 50" in shown, shown
    assert "NO_PLAINTEXT|PASS_CREDENTIALS" in shown and "SASL mechanism: PLAIN" in shown
    (tmp_path / "modernauth.conf").write_text("modernauth_mech: X-OURS\nmodernauth_priority: 100\n")
    shown = run(["env", "SASL_CONF_PATH=%s" % tmp_path, *argv])
    assert "SASL mechanism: X-OURS, best SSF: 100" in shown, shown
    assert os.path.exists(os.path.join(plugin_dir(), "libmodernauth_sasl.so"))
    if not KIND:
        run(["valgrind", "-q", "--leak-check=full", "--show-leak-kinds=definite", "--errors-for-leak-kinds=definite", "--error-exitcode=99",
             *argv])


def test_mbsync_logs_in_with_an_identity_and_a_key(site, standin, scanner, sasl_home, tmp_path):
    """A program with libsasl2 of its own, over IMAP, with no word of OAuth in its configuration."""
    (tmp_path / "mbsyncrc").write_text("""
IMAPAccount exchange
Host localhost
Port %d
User %s
Pass "%s"
AuthMechs XOAUTH2
SSLType IMAPS
CertificateFile %s

IMAPStore far
Account exchange

MaildirStore near
Path %s/
Inbox %s/INBOX

Channel all
Far :far:
Near :near:
Patterns INBOX
Create Near
""" % (standin.ports["imaps"], scanner.upn, site.key, standin.ca_file, tmp_path, tmp_path))
    (tmp_path / "mbsyncrc").chmod(0o600)
    standin.add_message(scanner.upn, subject="for mbsync")
    environment = ["env", "SASL_CONF_PATH=" + sasl_home, "HOME=" + sasl_home]
    run([*environment, "mbsync", "-c", str(tmp_path / "mbsyncrc"), "all"])
    assert "for mbsync" in "".join(path.read_text() for path in (tmp_path / "INBOX").glob("[cn]*/*"))
    [session] = standin.sessions(user=scanner.upn)
    assert session["mech"] == "XOAUTH2" and session["result"] == "ok"
    [record] = site.audit(scanner.upn, action="relay-token-requested")
    assert record["modernauth"]["relay"]["program"] == "mbsync"


# -- the README

def commands():
    """The shell commands of the README's chapter, in their order: [(line, ...), ...]."""
    with open(os.path.join(settings.TOP, "README.md"), encoding="utf-8") as file:
        chapter = re.search(r"^## Postfix\n(.*?)^## ", file.read(), re.M | re.S)[1]
    return [re.sub(r"(?m)^ +", "", text) for text in re.findall(r"^ *```sh\n(.*?)^ *```$", chapter, re.M | re.S)]


def test_the_chapter_as_it_is_written(fronts, standin, people, canary):
    """What it tells to type, on this machine's paths, from an empty Postfix to a scanner's mail at Exchange."""
    standin.user("scans@contoso.com", password=people.password("scans"))
    postfix = Postfix(standin, canary, bare=True)
    front = fronts.new(start=False, tenants=settings.tenant(
        standin, "contoso", ["contoso.com"], grants=["app"], client_id=APP % 3, certificate_file=standin.path("client.crt"),
        private_key_file=standin.path("client.key")))
    os.mkdir(front.path("conf.d"))
    front.write("dovecot.conf", front.read("dovecot.conf") + "!include_try %s/*.conf\n" % front.path("conf.d"))
    front.start()
    postfix.start()
    try:
        for name in ("bin", "conf.d", "conf.d/postfix"):
            os.mkdir(postfix.path(name))
        for name in ("main.cf", "master.cf", "exchange_identities", "93-modernauth-postfix.conf"):
            with open(os.path.join(settings.CONF_D, "postfix", name), encoding="utf-8") as file:
                postfix.write("conf.d/postfix/" + name, postfix.here(file.read()))
        postfix.write("bin/doveadm", "#!/bin/sh\nexec /usr/bin/doveadm -c %s \"$@\"\n" % front.dovecot_path, 0o755)
        postfix.write("bin/postfix", "#!/bin/sh\nexec /usr/sbin/postfix -c %s \"$@\"\n" % postfix.path("etc"), 0o755)
        dovecots, postfixs = commands()
        said = shell(front, postfix, dovecots)
        device, key = re.findall(r"\b(?:[0-9A-Za-z]{3,6}-){2,}[0-9A-Za-z]{3,6}\b", said)
        canary.add(device, "device password")
        canary.add(key, "relay key")
        shell(front, postfix, postfixs.replace("RELAY-KEY", key))
        assert os.stat(postfix.path("etc/exchange_identities")).st_mode & 0o777 == 0o600
        postfix.wait(lambda: postfix.greeting("submission"), 20, "no greeting")
        postfix.send("scans@contoso.com", "boss@example.com", port="submission", login=("scans@contoso.com", device), subject="chapter page",
                     mech="LOGIN")
        front.wait(lambda: "chapter page" in str(standin.sent()), 30, "not sent" + postfix.log())
        assert standin.sessions(user="scans@contoso.com")[-1]["mech"] == "XOAUTH2"
        front.wait(lambda: front.audit("scans@contoso.com", action="relay-mail-accepted"), 10, "no second leg")
        assert front.attempts("scans@contoso.com")[-1]["modernauth"]["device"]["name"] == "Ricoh 3rd floor"
    finally:
        problems = postfix.examine()
        postfix.remove()
    assert not problems, problems


def shell(front, postfix, text):
    text = text.replace("/etc/dovecot", front.directory).replace("/etc/postfix", postfix.path("etc"))
    done = subprocess.run(["bash", "-euc", text], capture_output=True, text=True, timeout=60, cwd=postfix.directory, env={
        "PATH": postfix.path("bin") + ":" + os.environ["PATH"], "LC_ALL": "C.UTF-8"})
    assert done.returncode == 0, text + done.stdout + done.stderr
    return done.stdout
