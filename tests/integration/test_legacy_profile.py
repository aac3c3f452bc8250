# SPDX-License-Identifier: MIT
"""The drop-in for devices that know no TLS, or an old one: what it lets in from their network, and that it lets in nothing
from anywhere else. The file is the shipped one, with its settings no longer commented out."""

import imaplib
import os
import re
import smtplib
import ssl
import subprocess

import pytest

from harness import settings
from harness.clients import b64
from harness.front import free_port
from harness.programs import Failed, Programs, run
from standin.entra_model import APP

DOMAIN, NETWORK, INSIDE, OUTSIDE = "legacy.test", "127.20.0.0/16", "127.20.0.9", "127.21.0.9"
OLD_CIPHERS = "DEFAULT@SECLEVEL=0"
pytestmark = pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1 is deprecated")
# What is in force for everybody else: Dovecot's own defaults, and the drop-in's.
STRICT = "ssl = required\ndisable_plaintext_auth = yes\nssl_min_protocol = TLSv1.2\n!include %s\n"


def in_force(text):
    """The drop-in with what is commented out in force: prose has one blank after its "#", settings none or two."""
    return re.sub(r"(?m)^#(?=[^\s#]|  )", "", text)


@pytest.fixture(scope="module")
def site(fronts, running_standin):
    running_standin.domain(DOMAIN)
    front = fronts.new(start=False, tenants=settings.tenant(
        running_standin, "legacy", [DOMAIN], grants=["app"], client_id=APP % 3,
        certificate_file=running_standin.path("client.crt"), private_key_file=running_standin.path("client.key")))
    front.expect("login refused")
    os.mkdir(front.path("private"), 0o700)
    run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=legacy.test", "-addext",
         "subjectAltName=IP:127.0.0.1,DNS:localhost", "-keyout", front.path("private/legacy-rsa.key"), "-out",
         front.path("private/legacy-rsa.pem")])
    front.secret_files.append("legacy-rsa.key")
    front.ports["legacy"] = free_port()
    text = in_force(settings.shipped("92-modernauth-legacy.conf", front.config_path))
    for old, new in (("10.20.0.0/16", NETWORK), ("/etc/dovecot/private", front.path("private")),
                     ("port = 25\n", "port = %d\n" % front.ports["legacy"])):
        assert old in text
        text = text.replace(old, new)
    path = front.write("92-modernauth-legacy.conf", text)
    front.write("dovecot.conf", front.read("dovecot.conf") + STRICT % path)
    return front.start()


@pytest.fixture
def account(site, people):
    """A scanner's account, with a device password that is good in its network only."""
    account = people.new(name="scanner", domain=DOMAIN, mfa=True)
    account.password = site.add_device(account, "Ricoh 7", networks=NETWORK).password
    return account


def old_context(site):
    context = ssl.create_default_context(cafile=site.path("private/legacy-rsa.pem"))
    context.set_ciphers(OLD_CIPHERS)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1
    return context


def s_client(site, source, commands, *options):
    """What openssl s_client shows of a conversation over imaps."""
    done = subprocess.run(["openssl", "s_client", "-connect", "127.0.0.1:%d" % site.ports["imaps"], "-bind", source + ":0",
                           "-crlf", "-ign_eof", *options], input=commands.encode(), capture_output=True, timeout=30)
    return (done.stdout + done.stderr).decode("utf-8", "replace")


def test_as_shipped_nothing_is_in_force():
    with open(os.path.join(settings.CONF_D, "92-modernauth-legacy.conf"), encoding="utf-8") as file:
        lines = file.read().splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == []
    active = in_force("\n".join(lines))
    assert "\nremote 10.20.0.0/16 {" in active and "ssl_min_protocol = TLSv1\n" in active


@pytest.mark.parametrize("version", ["-tls1", "-tls1_1"])
def test_openssl_with_old_tls(site, account, version):
    commands = "a LOGIN %s %s\nb SELECT INBOX\nc LOGOUT\n" % (account.login, account.password)
    inside = s_client(site, INSIDE, commands, version, "-cipher", OLD_CIPHERS)
    assert "b OK" in inside and "Protocol  : TLSv1" in inside, inside
    assert site.attempts(account.upn)[-1]["tls"]["established"] is True
    mark = site.log_mark()
    outside = s_client(site, OUTSIDE, commands, version, "-cipher", OLD_CIPHERS)
    assert "Cipher is (NONE)" in outside and "* OK" not in outside, outside
    site.wait_log("rip=%s,.*unsupported protocol" % OUTSIDE, mark)


def test_a_device_that_knows_no_key_exchange_but_rsa(site, account):
    commands = "a LOGIN %s %s\nc LOGOUT\n" % (account.login, account.password)
    shown = s_client(site, INSIDE, commands, "-tls1", "-cipher", "AES128-SHA:@SECLEVEL=0")
    assert "a OK" in shown and "AES128-SHA" in shown, shown


def test_who_is_newer_uses_new_tls_there_too(site, account):
    shown = s_client(site, INSIDE, "c LOGOUT\n")
    assert "TLSv1.3" in shown and "* OK" in shown, shown
    # And nothing is anonymous or broken.
    for cipher in ("aNULL", "RC4", "eNULL"):
        assert "* OK" not in s_client(site, INSIDE, "c LOGOUT\n", "-tls1_2", "-cipher", cipher + ":@SECLEVEL=0"), cipher


def test_swaks_with_auth_login_and_no_tls(site, account, standin):
    def send(source, port, *more):
        return run(["swaks", "--server", "127.0.0.1", "--port", str(site.ports[port]), "--local-interface", source,
                    "--auth", "LOGIN", "--auth-user", account.login, "--auth-password", account.password,
                    "--auth-hide-password", "--from", account.upn, "--to", "boss@contoso.com", "--header",
                    "Subject: page of " + account.upn, *more])
    for port in ("submission", "legacy"):
        assert "235 " in send(INSIDE, port)
    assert str(standin.sent()).count("page of " + account.upn) == 2
    assert site.attempts(account.upn)[-1]["tls"]["established"] is False
    with pytest.raises(Failed) as refused:
        send(OUTSIDE, "submission")
    assert "235" not in str(refused.value)


def test_curl_with_nothing_newer_than_tls_1_0(site, account):
    def fetch(source):
        with Programs(site) as programs:
            programs.ca = site.path("private/legacy-rsa.pem")
            return programs.curl(account, "imaps:/INBOX;MAILINDEX=1", more=[
                "tlsv1.0", 'tls-max = "1.0"', 'ciphers = "%s"' % OLD_CIPHERS, 'interface = "%s"' % source])
    assert "Welcome to the stand-in" in fetch(INSIDE)
    with pytest.raises(Failed) as refused:
        fetch(OUTSIDE)
    assert "curl ended with 35" in str(refused.value)


def test_python_with_starttls_of_version_1_0(site, account):
    def send(source):
        with smtplib.SMTP("127.0.0.1", site.ports["submission"], source_address=(source, 0), timeout=30) as smtp:
            smtp.starttls(context=old_context(site))
            assert smtp.sock.version() == "TLSv1"
            smtp.login(account.login, account.password)
            smtp.sendmail(account.upn, ["boss@contoso.com"], "Subject: old TLS\r\n\r\nscanned\r\n")

    send(INSIDE)
    with pytest.raises((ssl.SSLError, smtplib.SMTPException, OSError)):
        send(OUTSIDE)


def test_python_reads_with_tls_1_0(site, account, monkeypatch):
    def read(source):
        # imaplib cannot be told where to call from.
        monkeypatch.setattr(imaplib.IMAP4, "_create_socket", lambda self, timeout: site.connect("imap", 30, source))
        imap = imaplib.IMAP4("127.0.0.1", site.ports["imap"])
        try:
            imap.starttls(old_context(site))
            imap.login(account.login, account.password)
            return imap.select("INBOX")[0]
        finally:
            imap.shutdown()

    assert read(INSIDE) == "OK"
    with pytest.raises((ssl.SSLError, imaplib.IMAP4.error, OSError)):
        read(OUTSIDE)


@pytest.mark.parametrize("protocol", ["imap", "pop3", "submission"])
def test_without_tls_from_outside_no_password_is_taken(site, account, protocol):
    assert site.login(protocol, account, source=INSIDE).ok
    before = len(site.attempts(account.upn))
    reply = site.login(protocol, account, source=OUTSIDE)
    assert not reply.ok and not reply.temporary, reply
    # Dovecot has not even looked at it.
    assert len(site.attempts(account.upn)) == before


def test_the_user_name_in_the_line_of_auth_login(site, account):
    """What some scanners send."""
    line = site.open("submission", source=INSIDE)
    line.send("EHLO scanner\r\n")
    assert line.reply().startswith("250")
    line.send("AUTH LOGIN %s\r\n" % b64(account.login))
    assert line.reply() == "334 " + b64("Password:")
    line.send(b64(account.password) + "\r\n")
    assert line.reply().startswith("235")
    line.close()


def test_dovecot_takes_no_auth_mechanisms_in_such_a_block(site):
    """If this fails it does, and the drop-in can offer less to others."""
    path = site.write("try.conf", "remote 10.0.0.0/8 {\n  auth_mechanisms = login\n}\n")
    done = subprocess.run(["doveconf", "-n", "-c", path], capture_output=True, text=True, timeout=30)
    assert done.returncode != 0 and "not supported inside local/remote blocks" in done.stderr
