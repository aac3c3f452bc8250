# SPDX-License-Identifier: MIT
"""Rules through a real Dovecot: each action over each protocol with the clients that people use, the conditions that
only a front end can see, and configurations that are refused."""

import imaplib
import re
import smtplib
import socket
import ssl

import pytest

from harness import clients, settings
from harness.people import People
from harness.programs import MAIL, Failed, Programs
from standin.client import sha256

PROTOCOLS = ["imap", "pop3", "submission"]
UPSTREAM = {"imap": "imap", "pop3": "pop3", "submission": "smtp"}
MECHS = {"imap": ["LOGIN-COMMAND", "PLAIN", "LOGIN"], "pop3": ["USER", "LOGIN"], "submission": ["PLAIN", "LOGIN"]}
MESSAGE = "Basic authentication is off. See https://contoso.com/mail?x=1&y=(2)"
MUTE = "Logging in with a password alone is switched off here. Ask your administrator."
OLD = "This mail program is too old."
RULES = """
rule "up" { users = {"up*@contoso.com"} }
rule "basic" { users = {"basic*@contoso.com"} action = "basic" }
rule "deny" { users = {"deny*@contoso.com"} action = "deny" message = "%s" }
rule "mute" { users = {"mute*@contoso.com"} action = "deny" }
rule "onsite" { users = {"onsite*@contoso.com"} action = "local" }
rule "watch" { users = {"watch*@contoso.com"} action = "monitor" }
rule "would deny" { users = {"watch*@contoso.com"} protocols = {"imap"} action = "deny" }
rule "modern" { users = {"tls*@contoso.com"} tls = "TLSv1.3" }
rule "old" { users = {"tls*@contoso.com"} action = "deny" message = "%s" }
rule "mech" { users = {"mech*@contoso.com"} mechanisms = {"LOGIN"} action = "deny" message = "LOGIN is off." }
rule "id" { users = {"clid*@contoso.com"} client_ids = {"*Legacy*"} action = "deny" message = "Too old." }
rule "net" { users = {"net*@contoso.com"} networks = {"127.250.0.0/16", "::1"} action = "deny"
             message = "Not from there." }
rule "group" { users_file = "%%s/group" action = "deny" message = "Not this group." }
""" % (MESSAGE, OLD)
# A passdb after ours, with mailboxes that are here.
NEXT = """
passdb {
  driver = passwd-file
  args = scheme=plain username_format=%%u %s/users
}
userdb {
  driver = static
  args = uid=nobody gid=nogroup home=%s/mail/%%u
}
submission_relay_port = %d
listen = 127.0.0.1, ::1
"""


@pytest.fixture(scope="module")
def site(fronts, running_standin, canary):
    """A front end with RULES. site.here: users of the next passdb, by what their rule does."""
    people = People(running_standin, canary)
    front = fronts.new(start=False)
    front.write("group", "# nobody yet\n")
    front.write("modernauth.conf", settings.modernauth_conf(front, extra=RULES % front.directory))
    front.write("dovecot.conf", front.read("dovecot.conf") + NEXT % (
        front.directory, front.directory, running_standin.ports["smtp"]))
    front.here = {name: people.new(name=name) for name in ("onsite", "watch", "deny")}
    front.entra = {name: account.password for name, account in front.here.items()}
    front.local_users(*front.here.values())
    front.expect("rule \"basic\": \"basic\" for IMAP or POP3")
    return front.start()


@pytest.fixture
def programs(site):
    with Programs(site) as programs:
        yield programs


def last(front, account):
    """The newest attempt of account, our part of its record."""
    return front.attempts(account.upn)[-1]["modernauth"]


# -- upgrade

@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_upgrade(site, standin, people, protocol):
    account = people.new(name="up")
    for mech in MECHS[protocol]:
        assert site.login(protocol, account, mech=mech).ok, mech
    assert last(site, account)["rule"] == "up" and last(site, account)["decision"] == "upgrade"
    assert standin.wait_sessions(user=account.upn)[-1]["mech"] == "XOAUTH2"


# -- basic

@pytest.mark.parametrize("mech", ["default", "LOGIN"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_basic_brings_the_password_to_exchange_and_nobody_else(site, standin, people, protocol, mech):
    account = people.new(name="basic", basic=[UPSTREAM[protocol]], password="b\"a s\\ic%+&=" + people.password()[:12])
    if protocol == "pop3" and mech == "default":
        account = people.new(name="basic", basic=["pop3"])
    reply = site.login(protocol, account, mech=None if mech == "default" else mech)
    assert reply.ok, reply
    session = standin.wait_sessions(user=account.upn)[-1]
    assert session["tls"] and session["logged_in"] and len(session["attempts"]) == 1
    assert session["attempts"][0]["form"] == "basic"
    assert session["attempts"][0]["password_sha256"] == sha256(account.password)
    assert standin.requests(username=account.upn) == []
    first, second = last(site, account), site.wait_upstream(account.upn)[0]["modernauth"]
    assert first["decision"] == "basic" and first["rule"] == "basic" and first["status"] == "ok"
    assert second["status"] == "accepted" and second["session"] == first["session"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_basic_that_exchange_refuses_is_refused_in_its_words(site, standin, people, protocol):
    account = people.new(name="basic", smtp_reply="tenant-disabled")
    site.expect_trouble(account)
    reply = site.login(protocol, account)
    assert not reply.ok and not reply.temporary
    record = site.wait_upstream(account.upn)[0]
    assert record["event"]["action"] == "upstream-session-refused"
    words = {"imap": "LOGIN failed", "pop3": "Logon failure", "submission": "SmtpClientAuthentication is disabled"}
    assert words[protocol] in record["modernauth"]["reply"]
    assert last(site, account)["decision"] == "basic" and standin.requests(username=account.upn) == []
    # Nothing of this is remembered: the next attempt goes to Exchange again.
    site.login(protocol, account)
    assert len(site.wait_upstream(account.upn, 2)) == 2


def test_basic_is_no_ok_for_who_opens_no_session(site, people):
    account = people.new(name="basic", basic=["smtp"])
    done = site.doveadm("auth", "test", "-x", "service=smtp", account.upn, account.password, check=False)
    assert done.returncode != 0 and "auth failed" in done.stdout + done.stderr
    assert last(site, account)["decision"] == "basic"


def test_programs_send_with_the_password_as_it_is(site, standin, people, programs):
    account, other = people.new(name="basic", basic=["smtp"]), people.new()
    for number, program in enumerate((programs.msmtp, programs.swaks)):
        program(account, other.upn, "Basic %d from %s" % (number, account.upn), "starttls", ("plain", "LOGIN")[number])
    programs.curl(account, "smtps:/client.test", sender=account.upn, recipient=other.upn,
                  upload=MAIL % (account.upn, other.upn, "Basic by curl"))
    # The first message is the stand-in's own.
    assert len(standin.mailbox(other.upn)["INBOX"]) == 4
    assert {session["mech"] for session in standin.sessions(user=account.upn)} == {"LOGIN"}
    assert standin.requests(username=account.upn) == []


# -- deny

def told(site, protocol, account, **options):
    """The line of the refusal, as the client has it."""
    reply = site.login(protocol, account, **options)
    assert not reply.ok
    return reply


@pytest.mark.parametrize("name, message", [("deny", MESSAGE), ("mute", MUTE)])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_deny_tells_the_user_why(site, standin, people, protocol, name, message):
    account = people.new(name=name)
    for mech in MECHS[protocol]:
        reply = told(site, protocol, account, mech=mech)
        assert reply.text == message, reply
        assert reply.code == {"imap": "ALERT", "pop3": "AUTH", "submission": "535 5.7.8"}[protocol]
    assert last(site, account)["decision"] == "deny" and last(site, account)["rule"] == name
    assert standin.requests(username=account.upn) == [] and standin.sessions(user=account.upn) == []


def test_a_password_that_the_next_passdb_knows_does_not_help(site):
    for protocol in PROTOCOLS:
        assert told(site, protocol, site.here["deny"]).text == MESSAGE
    done = site.doveadm("auth", "test", site.here["deny"].upn, site.here["deny"].password, check=False)
    assert done.returncode != 0


def test_programs_show_the_message(site, people, programs):
    account = people.new(name="deny")
    # These two keep what they were told to themselves.
    for use in (lambda: programs.fetchmail(account, "pop3", "starttls"),
                lambda: programs.swaks(account, account.upn, "x", "implicit", "LOGIN")):
        with pytest.raises(Failed):
            use()
    for use in (lambda: programs.mbsync(account, "implicit", "LOGIN"),
                lambda: programs.msmtp(account, account.upn, "x", "starttls", "plain"),
                lambda: programs.curl(account, "imaps:/INBOX", more=["verbose"]),
                lambda: programs.curl(account, "pop3s:/1", more=["verbose"])):
        with pytest.raises(Failed, match=re.escape(MESSAGE)):
            use()
    with pytest.raises(imaplib.IMAP4.error, match=re.escape(MESSAGE)):
        imaplib.IMAP4("127.0.0.1", site.ports["imap"]).login(account.login, account.password)
    with smtplib.SMTP("127.0.0.1", site.ports["submission"]) as client, \
            pytest.raises(smtplib.SMTPAuthenticationError) as caught:
        client.login(account.login, account.password)
    assert caught.value.smtp_error.decode() == "5.7.8 " + MESSAGE


# -- local and monitor

@pytest.mark.parametrize("name, decision", [("onsite", "local"), ("watch", "monitor")])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_next_passdb_decides(site, standin, people, protocol, name, decision):
    account = site.here[name]
    before = standin.last_session()
    assert site.login(protocol, account).ok
    # The password at Entra is none here, and a stranger's is none anywhere.
    assert site.login(protocol, account, site.entra[name]).wrong
    assert site.login(protocol, people.new(name=name)).wrong
    record = last(site, account)
    assert record["decision"] == decision and record["rule"] == name
    assert standin.requests(username=account.upn) == []
    assert [session for session in standin.sessions(since=before) if session["attempts"]] == []
    if decision == "monitor":
        would = ("deny", "would deny") if protocol == "imap" else ("upgrade", "tenant")
        assert (record["would"], record["would_rule"]) == would


def test_programs_read_the_mailbox_that_is_here(site, people, programs):
    account = site.here["watch"]
    client = imaplib.IMAP4("127.0.0.1", site.ports["imap"])
    client.login(account.login, account.password)
    client.append("INBOX", None, None, (MAIL % (account.upn, account.upn, "Local")).encode())
    client.logout()
    assert "Subject: Local" in programs.curl(account, "imaps:/INBOX;MAILINDEX=1")
    assert "Subject: Local" in programs.fetchmail(account, "pop3", "implicit")


# -- conditions that only a front end knows

def tls_of_1_2(site):
    context = ssl.create_default_context(cafile=site.standin.ca_file)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


@pytest.mark.parametrize("tls", ["implicit", "starttls"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_version_of_the_clients_tls(site, standin, people, monkeypatch, protocol, tls):
    account = people.new(name="tls")
    assert site.login(protocol, account, tls=tls).ok
    record = site.attempts(account.upn)[-1]
    assert record["tls"] == {"established": True, "version": "1.3", "version_protocol": "tls"}
    monkeypatch.setattr(site, "tls_context", lambda: tls_of_1_2(site))
    assert told(site, protocol, account, tls=tls).text == OLD
    assert site.attempts(account.upn)[-1]["tls"]["version"] == "1.2"
    monkeypatch.undo()
    assert told(site, protocol, account).text == OLD


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_login_right_behind_the_handshake_has_its_version(site, people, protocol):
    """The client's last handshake message and its first command in one packet."""
    account = people.new(name="tls")
    plain = clients.plain(account.login, account.password)
    command = {"imap": "a AUTHENTICATE PLAIN %s\r\n" % plain, "pop3": "AUTH PLAIN %s\r\n" % plain,
               "submission": "EHLO x\r\nAUTH PLAIN %s\r\n" % plain}[protocol].encode()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = site.tls_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    port = site.ports[clients.PROTOCOLS[protocol][0]]
    with socket.create_connection(("127.0.0.1", port), 30, (clients.fresh_address(), 0)) as sock:
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                sock.sendall(outgoing.read())
                incoming.write(sock.recv(65536))
        tls.write(command)
        sock.sendall(outgoing.read())
        text = b""
        while not re.search(rb"(?m)^(a OK|a NO|235|535|-ERR|\+OK Log|\+OK User)", text):
            data = sock.recv(65536)
            assert data, text
            incoming.write(data)
            try:
                while True:
                    text += tls.read(65536)
            except ssl.SSLWantReadError:
                pass
    assert re.search(rb"(?m)^(a OK|235|\+OK User|\+OK Log)", text), text
    assert site.attempts(account.upn)[-1]["tls"]["version"] == "1.3"
    assert b"modernauth" not in text and b"forward" not in text


def test_the_version_goes_to_nobody_else(site, standin, people):
    account = people.new(name="tls")
    assert site.imap(account, tls="implicit", client_id='"name" "x"').ok
    session = standin.wait_sessions(user=account.upn)[-1]
    assert "forward" not in str(session) and "TLSv1" not in str(session)


def test_the_mechanism(site, people):
    account = people.new(name="mech")
    for protocol in PROTOCOLS:
        assert told(site, protocol, account, mech="LOGIN").text == "LOGIN is off."
        assert site.login(protocol, account).ok


def test_what_the_client_calls_itself(site, people):
    account = people.new(name="clid")
    assert told(site, "imap", account, client_id='"name" "Legacy Mail" "version" "2"').text == "Too old."
    assert site.imap(account, client_id='"name" "Modern Mail"').ok and site.imap(account).ok


def test_the_clients_network(site, people):
    account = people.new(name="net")
    for number, protocol in enumerate(PROTOCOLS):
        assert told(site, protocol, account, source="127.250.3.%d" % number).text == "Not from there."
        assert site.login(protocol, account, source="127.249.255.255").ok
    with socket.create_connection(("::1", site.ports["imap"]), 30) as sock:
        line = clients.Line(sock)
        line.line()
        assert clients.imap_auth(line, account.login, account.password, "PLAIN-IR", None).text == "Not from there."
    for address, allowed in (("::ffff:127.250.1.1", False), ("::ffff:127.251.1.1", True)):
        done = site.doveadm("auth", "test", "-x", "service=imap", "-x", "rip=" + address, account.upn, account.password,
                            check=False)
        assert (done.returncode == 0) == allowed, done.stdout


def test_a_group_file_is_read_again_at_a_reload(site, people):
    account = people.new(name="grouped")
    assert site.imap(account).ok
    site.write("group", account.upn + "\n")
    assert site.imap(account).ok
    site.reload()
    assert told(site, "imap", account).text == "Not this group."
    site.write("group", "# nobody again\n")
    site.reload()
    assert site.imap(account).ok


@pytest.mark.parametrize("rule, expected", [
    ('rule "x" {\n  action = "denied"\n}\n', '"upgrade", "monitor", "basic", "deny" or "local" was expected'),
    ('rule "x" {\n  networks = {"10.0.0.0/33"}\n}\n', "was expected"),
    ('rule "x" {\n  until = "2027-02-30"\n}\n', "was expected"),
])
def test_a_bad_rule_leaves_the_old_configuration_in_force(site, people, rule, expected):
    good, account, mark = site.read("modernauth.conf"), people.new(name="deny"), site.log_mark()
    site.expect(re.escape(site.config_path))
    site.write("modernauth.conf", rule + good)
    try:
        # It is the second line of the file.
        site.doveadm("reload")
        site.wait_log(re.escape(site.config_path) + r":2: .*" + re.escape(expected), mark)
        assert told(site, "imap", account).text == MESSAGE
    finally:
        site.write("modernauth.conf", good)
        site.reload()
    assert told(site, "imap", account).text == MESSAGE
