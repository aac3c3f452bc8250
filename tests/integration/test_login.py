# SPDX-License-Identifier: MIT
"""Legacy clients log in, read and send, and notice nothing; Exchange sees XOAUTH2."""

import email
import imaplib
import poplib
import smtplib

import pytest

from harness.programs import MAIL, Programs
from standin.client import sha256

TLS = [None, "implicit", "starttls"]
MECHS = {"imap": ["LOGIN-COMMAND", "PLAIN", "PLAIN-IR", "LOGIN"], "pop3": ["USER", "PLAIN", "LOGIN"],
         "submission": ["PLAIN", "LOGIN"]}
UPSTREAM = {"imap": "imap", "pop3": "pop3", "submission": "smtp"}
FORMS = {"imap": ("initial", "two-step"), "pop3": ("two-step",), "submission": ("initial", "two-step")}


@pytest.fixture
def programs(front):
    with Programs(front) as programs:
        yield programs


def exchange_saw(standin, account, protocol, tls=True, starttls=None):
    """The newest session of account at Exchange: it must have been XOAUTH2 over TLS, accepted."""
    session = standin.wait_sessions(user=account.upn, protocol=protocol)[-1]
    assert session["mech"] == "XOAUTH2" and session["result"] == "ok" and session["logged_in"] and session["tls"] == tls
    assert [attempt["mech"] for attempt in session["attempts"]] == ["XOAUTH2"]
    assert session["token_upn"] == account.upn
    if starttls is not None:
        assert session["starttls"] == starttls
    return session


# -- every way to log in

@pytest.mark.sanitize
@pytest.mark.parametrize("tls", TLS)
@pytest.mark.parametrize("protocol, mech", [(protocol, mech) for protocol, mechs in MECHS.items() for mech in mechs])
def test_every_mechanism_over_every_kind_of_tls_becomes_xoauth2(front, standin, people, protocol, mech, tls):
    account = people.new()
    reply = front.login(protocol, account, tls=tls, mech=mech)
    assert reply.ok, reply
    session = exchange_saw(standin, account, UPSTREAM[protocol])
    assert session["attempts"][0]["form"] in FORMS[protocol]
    asked = standin.token_requests(username=account.upn)
    assert len(asked) == 1 and asked[0]["password_sha256"] == sha256(account.password)


@pytest.mark.sanitize
@pytest.mark.parametrize("protocol", list(MECHS))
def test_upstreams_may_want_the_other_kind_of_tls(front, standin, people, protocol):
    """STARTTLS for IMAP, STLS for POP3, TLS at once for submission."""
    account = people.new(domain="starttls.test")
    assert front.login(protocol, account).ok
    exchange_saw(standin, account, UPSTREAM[protocol], starttls=protocol != "submission")


@pytest.mark.sanitize
@pytest.mark.parametrize("protocol", ["imap", "pop3"])
def test_upstreams_may_send_a_bare_plus(front, standin, people, protocol):
    standin.exchange(bare_plus=True, sasl_ir=False)
    account = people.new()
    assert front.login(protocol, account).ok
    exchange_saw(standin, account, protocol)


def test_pop3_goes_in_two_lines(front, standin, people):
    """Exchange refuses AUTH with an initial response: the stand-in does, too."""
    account = people.new()
    assert front.pop3(account).ok
    session = exchange_saw(standin, account, "pop3")
    assert session["attempts"][0]["form"] == "two-step" and session["verbs"].count("AUTH") == 1


def test_one_token_serves_all_three_protocols(front, standin, people):
    account = people.new()
    assert front.imap(account).ok and front.pop3(account).ok and front.smtp(account).ok
    assert len(standin.token_requests(username=account.upn)) == 1
    tokens = {session["token_sha256"] for session in standin.wait_sessions(3, user=account.upn)}
    assert len(tokens) == 1


@pytest.mark.parametrize("password", [
    "p+\u00e4&=%/ \"\\x", "plain-words in between", "0123456789abcdef" * 16, "back\\slash in it",
    "\u65e5\u672c\u8a9e-pass",
    "%41%00+&x=1#?", "'; DROP TABLE users; --", "{PLAIN}looks-like-a-scheme",
])
def test_passwords_arrive_at_entra_as_they_were_typed(front, standin, people, password):
    account = people.new(password=password)
    assert front.imap(account, mech="PLAIN").ok
    assert standin.token_requests(username=account.upn)[0]["password_sha256"] == sha256(password)


@pytest.mark.parametrize("size", [1500, 4000, 8000, 12000])
def test_large_tokens_pass(front, standin, people, size):
    account = people.new()
    standin.fault(endpoint="token", user=account.upn, action="token", token={"token_size": size})
    for protocol in MECHS:
        assert front.login(protocol, account).ok, protocol


def test_a_token_that_dovecot_could_not_carry_is_a_temporary_failure(front, standin, people, spare_domain):
    account = people.new(domain=spare_domain)
    standin.fault(endpoint="token", user=account.upn, action="token", token={"token_size": 16384})
    front.expect("user=%s " % account.upn, account.upn + ",")
    for protocol in MECHS:
        assert front.login(protocol, account).temporary, protocol


def test_user_names_may_be_written_in_capitals(front, standin, people):
    account = people.new()
    account.login = account.upn.upper()
    assert front.imap(account).ok
    account.login = account.upn.title()
    assert front.pop3(account).ok
    assert len(standin.token_requests(password_sha256=sha256(account.password))) == 1


def test_without_tls_nobody_logs_in_where_tls_is_required(fronts, standin, people):
    front = fronts.new(dovecot="ssl = required\n")
    account = people.new()
    assert front.imap(account).code == "PRIVACYREQUIRED"
    assert not front.pop3(account).ok and not front.smtp(account).ok
    assert front.imap(account, tls="starttls").ok
    assert len(standin.token_requests(username=account.upn)) == 1


# -- Python's own clients

@pytest.mark.parametrize("tls", TLS)
def test_imaplib_reads_a_message(front, standin, people, tls):
    account = people.new()
    if tls == "implicit":
        client = imaplib.IMAP4_SSL("127.0.0.1", front.ports["imaps"], ssl_context=front.tls_context())
    else:
        client = imaplib.IMAP4("127.0.0.1", front.ports["imap"])
    if tls == "starttls":
        client.starttls(front.tls_context())
    client.login(account.login, account.password)
    assert client.select("INBOX")[1] == [b"1"]
    message = email.message_from_bytes(client.fetch("1", "(RFC822)")[1][0][1])
    client.logout()
    assert account.upn in message["Subject"]
    exchange_saw(standin, account, "imap")


def test_imaplib_appends_and_idles_through_the_proxy(front, standin, people):
    account = people.new()
    client = imaplib.IMAP4("127.0.0.1", front.ports["imap"])
    client.authenticate("PLAIN", lambda _: b"\0%s\0%s" % (account.login.encode(), account.password.encode()))
    # Exchange's capabilities after the login, not Dovecot's.
    assert "MOVE" in client.capability()[1][-1].decode()
    body = (MAIL % (account.upn, account.upn, "Appended")).encode() + b"x" * 200000
    assert client.append("Drafts", None, None, body)[0] == "OK"
    client.logout()
    assert [message["size"] for message in standin.mailbox(account.upn)["Drafts"]] == [len(body)]


@pytest.mark.parametrize("tls", TLS)
def test_poplib_retrieves_a_message(front, standin, people, tls):
    account = people.new()
    if tls == "implicit":
        client = poplib.POP3_SSL("127.0.0.1", front.ports["pop3s"], context=front.tls_context())
    else:
        client = poplib.POP3("127.0.0.1", front.ports["pop3"])
    if tls == "starttls":
        client.stls(front.tls_context())
    client.user(account.login)
    client.pass_(account.password)
    assert client.stat()[0] == 1
    assert account.upn in b"\n".join(client.retr(1)[1]).decode()
    client.quit()
    exchange_saw(standin, account, "pop3")


@pytest.mark.parametrize("tls", TLS)
def test_smtplib_sends_a_message(front, standin, people, tls):
    account, other = people.new(), people.new()
    subject = "By smtplib, %s, %s" % (tls, account.upn)
    if tls == "implicit":
        client = smtplib.SMTP_SSL("127.0.0.1", front.ports["submissions"], context=front.tls_context())
    else:
        client = smtplib.SMTP("127.0.0.1", front.ports["submission"])
    if tls == "starttls":
        client.starttls(context=front.tls_context())
    client.login(account.login, account.password)
    client.sendmail(account.upn, [other.upn], MAIL % (account.upn, other.upn, subject))
    client.quit()
    assert subject in standin.mailbox(other.upn)["INBOX"][-1]["data"]
    exchange_saw(standin, account, "smtp", starttls=True)


# -- programs

@pytest.mark.parametrize("auth", ["", "PLAIN", "LOGIN"])
@pytest.mark.parametrize("scheme, starttls", [("imap", False), ("imap", True), ("imaps", False), ("pop3", False),
                                              ("pop3", True), ("pop3s", False)])
def test_curl_fetches_a_message(front, standin, people, programs, scheme, starttls, auth):
    account = people.new()
    path = "/INBOX;MAILINDEX=1" if scheme.startswith("imap") else "/1"
    assert "Welcome to the stand-in, " + account.upn in programs.curl(account, scheme + ":" + path, starttls=starttls,
                                                                      auth=auth)
    exchange_saw(standin, account, scheme.rstrip("s"))


@pytest.mark.parametrize("scheme, starttls", [("smtp", True), ("smtps", False)])
@pytest.mark.parametrize("auth", ["PLAIN", "LOGIN"])
def test_curl_sends_a_message(front, standin, people, programs, scheme, starttls, auth):
    account, other = people.new(), people.new()
    subject = "By curl from " + account.upn
    programs.curl(account, scheme + ":/client.test", starttls=starttls, auth=auth, sender=account.upn,
                  recipient=other.upn, upload=MAIL % (account.upn, other.upn, subject))
    assert subject in standin.mailbox(other.upn)["INBOX"][-1]["data"]
    exchange_saw(standin, account, "smtp")


@pytest.mark.parametrize("tls", ["implicit", "starttls"])
@pytest.mark.parametrize("protocol", ["imap", "pop3"])
def test_fetchmail_fetches_a_message(front, standin, people, programs, protocol, tls):
    account = people.new()
    assert account.upn in programs.fetchmail(account, protocol, tls)
    exchange_saw(standin, account, protocol)


@pytest.mark.parametrize("tls, mech", [("implicit", "PLAIN"), ("starttls", "LOGIN"), (None, "LOGIN")])
def test_mbsync_pulls_a_mailbox(front, standin, people, programs, tls, mech):
    account = people.new()
    assert "Welcome to the stand-in, " + account.upn in programs.mbsync(account, tls, mech)
    exchange_saw(standin, account, "imap")


@pytest.mark.parametrize("protocol, tls", [("imap", "implicit"), ("imap", "starttls"), ("pop3", "implicit")])
def test_mutt_reads_a_message(front, standin, people, programs, protocol, tls):
    account = people.new()
    programs.mutt_read(account, protocol, tls, "This message was here before you.")
    exchange_saw(standin, account, protocol)


@pytest.mark.parametrize("program, tls, mech", [
    ("mutt_send", "starttls", "plain"), ("mutt_send", "implicit", "login"), ("msmtp", "starttls", "plain"),
    ("msmtp", "implicit", "login"), ("swaks", "starttls", "PLAIN"), ("swaks", "implicit", "LOGIN"),
])
def test_programs_send_a_message(front, standin, people, programs, program, tls, mech):
    account, other = people.new(), people.new()
    subject = "By %s from %s" % (program, account.upn)
    getattr(programs, program)(account, other.upn, subject, tls, mech)
    assert subject in standin.mailbox(other.upn)["INBOX"][-1]["data"]
    exchange_saw(standin, account, "smtp")
