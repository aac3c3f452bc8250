# SPDX-License-Identifier: MIT
"""Exchange Online's stand-in keeps the promises that the product's tests rely on."""

import base64
import contextlib
import email
import imaplib
import json
import poplib
import shutil
import smtplib
import socket
import ssl
import subprocess
import threading
import time

import pytest

from standin import entra_model as model
from standin.client import ControlError, Standin

ALICE, BOB, SHARED = "alice@contoso.com", "bob@contoso.com", "shared@contoso.com"
DAEMON, ROLELESS = model.APP % 4, model.APP % 8
CAPABILITY = ("* CAPABILITY IMAP4 IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2 SASL-IR UIDPLUS ID UNSELECT CHILDREN IDLE "
              "NAMESPACE LITERAL+")


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with Standin().start(tmp_path_factory.mktemp("standin")) as standin:
        yield standin


@pytest.fixture
def standin(running):
    running.reset()
    return running


def blob(user, token):
    return base64.b64encode(("user=%s\x01auth=Bearer %s\x01\x01" % (user, token)).encode()).decode()


class Wire:
    """A line-by-line client."""

    def __init__(self, standin, port, tls=True):
        self.standin = standin
        self.sock = socket.create_connection(("127.0.0.1", standin.ports[port]), timeout=10)
        if tls:
            self.start_tls()
        else:
            self.file = self.sock.makefile("rb")

    def start_tls(self):
        self.sock = self.standin.context().wrap_socket(self.sock, server_hostname="outlook.office365.com")
        self.file = self.sock.makefile("rb")

    def send(self, line):
        self.sock.sendall(line.encode() + b"\r\n")

    def line(self):
        return self.file.readline().decode().rstrip("\r\n")

    def ask(self, line):
        self.send(line)
        return self.line()

    def until(self, start):
        lines = []
        while not lines or not lines[-1].startswith(start):
            lines.append(self.line())
            assert lines[-1] or len(lines) < 50, lines
        return lines

    def close(self):
        self.file.close()
        self.sock.close()


@pytest.fixture
def wire(standin):
    """wire("imaps"): a client past the greeting, which is in .greeting."""
    with contextlib.ExitStack() as stack:
        def connect(port, tls=None):
            client = Wire(standin, port, port.endswith("s") if tls is None else tls)
            stack.callback(client.close)
            client.greeting = client.line()
            return client
        yield connect


def imap_login(wire, standin, user=ALICE, mailbox=None, **fields):
    client = wire("imaps")
    token = standin.mint(user, **fields)["access_token"]
    assert client.ask("1 AUTHENTICATE XOAUTH2 " + blob(mailbox or user, token)) == "1 OK AUTHENTICATE completed."
    return client


# -- IMAP: logging in

def test_imap_greets_and_announces_like_exchange(standin, wire):
    client = wire("imaps")
    assert client.greeting.startswith("* OK The Microsoft Exchange IMAP4 service is ready. [RgBSADMAUAAyADgAMQ")
    assert client.ask("1 CAPABILITY") == CAPABILITY and client.line() == "1 OK CAPABILITY completed."
    token = standin.mint(ALICE)["access_token"]
    assert client.ask("2 AUTHENTICATE XOAUTH2 " + blob(ALICE, token)) == "2 OK AUTHENTICATE completed."
    assert "UIDPLUS MOVE ID UNSELECT CLIENTACCESSRULES" in client.ask("3 CAPABILITY")
    session = standin.sessions()[0]
    assert session["attempts"][0]["form"] == "initial" and session["token_upn"] == ALICE


@pytest.mark.parametrize("bare, prompt", [(False, "+ "), (True, "+")])
def test_imap_without_initial_response_prompts(standin, wire, bare, prompt):
    standin.exchange(sasl_ir=False, bare_plus=bare)
    client = wire("imaps")
    assert "SASL-IR" not in client.ask("1 CAPABILITY") and client.line()
    response = blob(ALICE, standin.mint(ALICE)["access_token"])
    assert client.ask("2 AUTHENTICATE XOAUTH2 " + response).startswith("2 BAD")
    assert client.ask("3 AUTHENTICATE XOAUTH2") == prompt
    assert client.ask(response) == "3 OK AUTHENTICATE completed."


def test_imap_starttls_forgets_what_came_before_it(standin, wire):
    client = wire("imap")
    assert "LOGINDISABLED STARTTLS" in client.ask("1 CAPABILITY") and client.line()
    client.sock.sendall(b"2 STARTTLS\r\n9 NOOP\r\n")
    assert client.line().startswith("2 OK Begin TLS")
    client.start_tls()
    assert client.ask("3 CAPABILITY") == CAPABILITY and client.line()
    token = standin.mint(ALICE, token_size=20000)["access_token"]
    assert client.ask("4 AUTHENTICATE XOAUTH2 " + blob(ALICE, token)) == "4 OK AUTHENTICATE completed."
    assert standin.sessions()[0]["starttls"] is True


def test_imap_refuses_at_once_and_dislikes_empty_lines(standin, wire):
    client = wire("imaps")
    assert client.ask("1 AUTHENTICATE XOAUTH2 " + blob(ALICE, "rubbish")) == "1 NO AUTHENTICATE failed."
    assert client.ask("") == "* BAD Command Error. 12"
    assert client.ask("2 SELECT INBOX") == "2 BAD Command received in Invalid state."
    assert client.ask("3 LOGIN alice@contoso.com %s" % model.ALICE_PASSWORD) == "3 NO LOGIN failed."
    assert client.ask("4 AUTHENTICATE PLAIN AGEAYg==") == "4 NO AUTHENTICATE failed."
    assert client.line() == "* BYE Connection is closed. 13" and client.line() == ""
    session = standin.wait_sessions(ended="failures")[0]
    assert [attempt["result"] for attempt in session["attempts"]] == ["malformed-token"] + ["basic-disabled"] * 2
    assert model.ALICE_PASSWORD not in json.dumps(session)


def tokens_that_are_refused(standin):
    good = standin.mint(ALICE)["access_token"]
    head, body, signature = good.split(".")
    other = standin.mint(ALICE)["access_token"].split(".")
    graph = "https://graph.microsoft.com"
    yield ALICE, "%s.%s.%s" % (head, other[1], signature), "bad-signature"
    yield ALICE, "x.y", "malformed-token"
    yield ALICE, standin.mint(ALICE, aud=graph)["access_token"], "wrong-audience"
    yield ALICE, standin.mint(ALICE, token_exp_in=-5)["access_token"], "expired"
    yield "nobody@contoso.com", good, "unknown-user"
    yield "erin@fabrikam.com", good, "wrong-tenant"


def test_bad_tokens_are_refused_everywhere(standin, wire):
    standin.exchange(auth_failure_limit=99)
    imap, pop, smtp = wire("imaps"), wire("pop3s"), wire("smtps")
    smtp.send("EHLO test")
    smtp.until("250 ")
    for user, token, reason in tokens_that_are_refused(standin):
        response = blob(user, token)
        assert imap.ask("1 AUTHENTICATE XOAUTH2 " + response) == "1 NO AUTHENTICATE failed."
        assert pop.ask("AUTH XOAUTH2") == "+ "
        assert pop.ask(response) == "-ERR Authentication failure: unknown user name or bad password."
        assert smtp.ask("AUTH XOAUTH2 " + response).startswith("535 5.7.3 Authentication unsuccessful [fr3p281ca")
        assert [session["result"] for session in standin.sessions()] == [reason] * 3
    for response in ("!!!", base64.b64encode(b"user=a\x01auth=Basic x\x01\x01").decode(), "*"):
        assert imap.ask("2 AUTHENTICATE XOAUTH2 " + response).startswith("2 NO")


@pytest.mark.parametrize("user, mailbox, fields, reason", [
    (ALICE, SHARED, {}, "ok"), (BOB, SHARED, {}, "not-allowed"), (ALICE, BOB, {}, "not-allowed"),
    (ALICE, ALICE, {"opaque": True}, "ok"), (ALICE, ALICE, {"scopes": ["SMTP.Send"]}, "no-scope"),
    (ALICE, ALICE, {"upn": BOB}, "not-allowed"),
    (None, ALICE, {"client_id": DAEMON}, "ok"), (None, "carol@contoso.com", {"client_id": DAEMON}, "not-allowed"),
    (None, ALICE, {"client_id": ROLELESS}, "no-role"), ("noimap@contoso.com", None, {}, "protocol-disabled"),
    ("notconnected@contoso.com", None, {}, "not-connected"), ("onprem@contoso.com", None, {}, "no-mailbox")])
def test_imap_ok_is_no_proof_of_a_mailbox(standin, wire, user, mailbox, fields, reason):
    client = imap_login(wire, standin, user, mailbox or user, **fields)
    assert standin.sessions()[0]["result"] == reason
    if reason == "ok":
        client.send("2 SELECT INBOX")
        assert client.until("2 ")[-1].startswith("2 OK [READ-WRITE]")
        return
    assert client.ask("2 NOOP") == "2 OK NOOP completed."
    for tag in ("3", "4", "5"):
        assert client.ask(tag + " SELECT INBOX") == tag + " BAD User is authenticated but not connected."
    assert client.line() == "* BYE Connection closed. 14" and client.line() == ""


def test_a_token_s_end_ends_the_session_even_in_idle(standin, wire):
    client = imap_login(wire, standin, token_exp_in=2)
    client.send("2 SELECT INBOX")
    client.until("2 OK")
    assert client.ask("3 IDLE").startswith("+ IDLE accepted")
    assert client.line() == "* BYE Session invalidated - AccessTokenExpired" and client.line() == ""
    assert standin.wait_sessions(ended="expired")


def test_sessions_can_be_ended_by_the_control_api(standin, wire):
    first, second, third = (imap_login(wire, standin, user) for user in (ALICE, BOB, BOB))
    assert standin.expire_sessions(user=ALICE) == 1
    assert first.line() == "* BYE Session invalidated - AccessTokenExpired"
    assert standin.kick_sessions(user=BOB, protocol="imap") == 2
    assert second.line().startswith("* BYE") and third.line().startswith("* BYE")


def test_a_valid_token_can_be_refused(standin, wire):
    token = standin.mint(ALICE)
    other = standin.mint(ALICE)["access_token"]
    standin.refuse(token_sha256=token["sha256"], times=2, protocols=["imap"], text="Try me.")
    client = wire("imaps")
    assert client.ask("1 AUTHENTICATE XOAUTH2 " + blob(ALICE, token["access_token"])) == "1 NO Try me."
    assert client.ask("2 AUTHENTICATE XOAUTH2 " + blob(ALICE, token["access_token"])) == "2 NO Try me."
    assert client.ask("3 AUTHENTICATE XOAUTH2 " + blob(ALICE, token["access_token"])).startswith("3 OK")
    standin.refuse(token_sha256=token["sha256"])
    assert wire("imaps").ask("1 AUTHENTICATE XOAUTH2 " + blob(ALICE, other)).startswith("1 OK")
    with pytest.raises(ControlError):
        standin.refuse(kind="maybe", all=True)


@pytest.mark.parametrize("kind, answer", [
    ("refuse", "1 NO AUTHENTICATE failed."), ("unavailable", "1 NO Server Unavailable. 15"),
    ("limit", "1 NO AUTHENTICATE failed."), ("not-connected", "1 OK AUTHENTICATE completed."), ("close", "")])
def test_refusals_come_in_kinds(standin, wire, kind, answer):
    standin.refuse(user=ALICE, kind=kind)
    token = standin.mint(ALICE)["access_token"]
    assert wire("imaps").ask("1 AUTHENTICATE XOAUTH2 " + blob(ALICE, token)) == answer


def test_failures_can_be_slow(standin, wire):
    standin.user(BOB, fail_delay=0.5)
    began = time.monotonic()
    assert wire("imaps").ask("1 AUTHENTICATE XOAUTH2 " + blob(BOB, "x.y.z")).startswith("1 NO")
    assert time.monotonic() - began >= 0.5


@pytest.mark.parametrize("port, cap", [("imaps", 20), ("pop3s", 20), ("smtps", 3)])
def test_connections_of_one_mailbox_are_limited(standin, wire, port, cap):
    response = blob(ALICE, standin.mint(ALICE)["access_token"])

    def login():
        client = wire(port)
        if port == "smtps":
            client.send("EHLO test")
            client.until("250 ")
        command = {"imaps": "1 AUTHENTICATE XOAUTH2", "pop3s": "AUTH XOAUTH2", "smtps": "AUTH XOAUTH2"}[port]
        client.ask(command)
        return client, client.ask(response)
    clients = [login() for _ in range(cap)]
    assert all(answer.startswith(("1 OK", "+OK", "235")) for _, answer in clients)
    assert login()[1].startswith(("1 NO", "-ERR Connection", "432 4.3.2 Concurrent connections limit"))
    clients[0][0].close()
    standin.wait_sessions(ended="eof", user=ALICE)
    assert login()[1].startswith(("1 OK", "+OK", "235"))


@pytest.mark.parametrize("port", ["imaps_untrusted", "imaps_expired", "imaps_wrongname", "pop3s_untrusted"])
def test_bad_certificates_are_bad(standin, wire, port):
    with pytest.raises(ssl.SSLCertVerificationError):
        wire(port, tls=True)


# -- IMAP: the mailbox

@pytest.fixture
def mailbox(standin):
    client = imaplib.IMAP4_SSL("127.0.0.1", standin.ports["imaps"], ssl_context=standin.context())
    token = standin.mint(ALICE)["access_token"]
    client.authenticate("XOAUTH2", lambda _: ("user=%s\x01auth=Bearer %s\x01\x01" % (ALICE, token)).encode())
    yield client
    with contextlib.suppress(OSError, imaplib.IMAP4.error):
        client.logout()


def test_imap_reads_flags_and_removes_messages(standin, mailbox):
    standin.add_message(ALICE, subject="Second", text="body two\n")
    assert mailbox.select() == ("OK", [b"2"])
    assert mailbox.search(None, "UNSEEN") == ("OK", [b"1 2"])
    assert mailbox.search(None, "SUBJECT", '"Second"') == ("OK", [b"2"])
    data = mailbox.fetch("2", "(UID FLAGS RFC822.SIZE BODY.PEEK[HEADER.FIELDS (SUBJECT FROM)])")[1]
    assert data[0][1] == b"From: bob@contoso.com\r\nSubject: Second\r\n\r\n" and b"UID 2 FLAGS ()" in data[0][0]
    assert mailbox.search(None, "UNSEEN") == ("OK", [b"1 2"])
    message = email.message_from_bytes(mailbox.uid("FETCH", "2", "(BODY[])")[1][0][1])
    assert message["Subject"] == "Second" and message.get_payload() == "body two\r\n"
    assert mailbox.search(None, "UNSEEN") == ("OK", [b"1"])
    assert mailbox.fetch("1", "(BODY.PEEK[TEXT]<0.4>)")[1][0] == (b"1 (BODY[TEXT]<0> {4}", b"This")
    assert mailbox.store("1", "+FLAGS", "(\\Deleted)")[1] == [b"1 (FLAGS (\\Deleted))"]
    assert mailbox.expunge()[1] == [b"1"] and mailbox.search(None, "ALL") == ("OK", [b"1"])


def test_imap_appends_copies_and_manages_folders(standin, mailbox):
    assert mailbox.append("Drafts", "(\\Draft)", None, b"Subject: x\r\n\r\n{3}\r\nabc\r\n")[0] == "OK"
    status = mailbox.status("Drafts", "(MESSAGES UIDNEXT UNSEEN)")[1]
    assert status == [b'"Drafts" (MESSAGES 1 UIDNEXT 2 UNSEEN 1)']
    assert mailbox.create("New")[0] == "OK"
    names = [row.split(b'"/" ')[1] for row in mailbox.list()[1]]
    assert names == [b"INBOX", b"Drafts", b'"Sent Items"', b'"Deleted Items"', b'"Junk Email"', b"New"]
    assert [row.split(b'"/" ')[1] for row in mailbox.lsub('""', "%r*")[1]] == [b"Drafts"]
    mailbox.select()
    assert mailbox.copy("1", "New")[0] == "OK" and mailbox.select("New", readonly=True) == ("OK", [b"1"])
    assert mailbox.store("1", "+FLAGS", "(\\Seen)")[0] == "NO" and mailbox.namespace()[0] == "OK"
    assert mailbox.select("Nowhere")[0] == "NO"


def test_imap_idle_tells_of_new_mail_and_of_the_end(standin, wire):
    client = imap_login(wire, standin)
    client.send("2 SELECT INBOX")
    client.until("2 OK")
    client.ask("3 IDLE")
    standin.add_message(ALICE)
    assert client.line() == "* 2 EXISTS"
    assert client.ask("DONE") == "3 OK IDLE completed."
    for tag, nonsense in enumerate(("FETCH (", "FETCH 1", "STORE x FLAGS ()", "FETCH 1 (BODY[", "X",
                                    "STATUS INBOX y")):
        assert client.ask("%d %s" % (tag, nonsense)).startswith("%d BAD Command" % tag), nonsense


# -- POP3

def pop_login(client, user, token):
    assert client.ask("AUTH XOAUTH2") == "+ "
    return client.ask(blob(user, token))


def test_pop3_takes_two_lines_and_only_two(standin, wire):
    client = wire("pop3s")
    assert client.greeting.startswith("+OK The Microsoft Exchange POP3 service is ready. [RgBS")
    client.send("CAPA")
    assert client.until(".") == ["+OK", "TOP", "UIDL", "SASL PLAIN XOAUTH2", "USER", "."]
    token = standin.mint(ALICE)["access_token"]
    one_line = wire("pop3s").ask("AUTH XOAUTH2 " + blob(ALICE, token))
    assert one_line == "-ERR Protocol error. Connection is closed. 10"
    assert pop_login(client, ALICE, token) == "+OK User successfully authenticated."
    results = [session["result"] for session in standin.sessions()]
    assert sorted(results) == ["ok", "one-line-auth"]
    standin.exchange(pop_one_line=True)
    assert wire("pop3s").ask("AUTH XOAUTH2 " + blob(ALICE, token)).startswith("+OK")


def test_pop3_refuses_passwords_and_disabled_mailboxes(standin, wire):
    client = wire("pop3s")
    assert client.ask("USER alice@contoso.com") == "+OK"
    assert client.ask("PASS " + model.ALICE_PASSWORD) == "-ERR Logon failure: unknown user name or bad password."
    user = "nopop@contoso.com"
    assert pop_login(client, user, standin.mint(user)["access_token"]).startswith("+OK")
    assert client.ask("STAT") == "-ERR Server Unavailable. 21"


def test_pop3_ends_with_its_token_at_the_next_command(standin, wire):
    client = wire("pop3s")
    assert pop_login(client, ALICE, standin.mint(ALICE)["access_token"]).startswith("+OK")
    standin.expire_sessions()
    assert client.ask("STAT").startswith("-ERR Session invalidated") and client.line() == ""


def test_pop3_with_stls_reads_and_deletes(standin):
    standin.add_message(ALICE, subject="Second", text="before\n.\nafter\n")
    client = poplib.POP3("127.0.0.1", standin.ports["pop3"], timeout=10)
    client.stls(standin.context())
    client._putcmd("AUTH XOAUTH2")
    assert client.file.readline() == b"+ \r\n"
    client._shortcmd(blob(ALICE, standin.mint(ALICE)["access_token"]))
    assert client.stat()[0] == 2 and len(client.uidl()[1]) == 2
    assert b".A line with a dot." in client.retr(1)[1] and client.retr(2)[1][-3:] == [b"before", b".", b"after"]
    assert client.top(2, 0)[1][2] == b"Subject: Second"
    client.dele(1)
    client.quit()
    assert [message["uid"] for message in standin.mailbox(ALICE)["INBOX"]] == [2]


# -- SMTP

@pytest.fixture
def smtp_login(standin):
    """smtp_login(user): the client and the answer to AUTH."""
    with contextlib.ExitStack() as stack:
        def login(user=ALICE, initial=True, token=None):
            client = smtplib.SMTP("127.0.0.1", standin.ports["smtp"], timeout=10)
            stack.callback(client.close)
            client.ehlo()
            assert "auth" not in client.esmtp_features
            assert client.docmd("AUTH XOAUTH2")[0] == 530
            client.starttls(context=standin.context())
            client.ehlo()
            assert client.esmtp_features["auth"].strip() == "LOGIN XOAUTH2"
            response = blob(user, token or standin.mint(user)["access_token"])
            if initial:
                return client, client.docmd("AUTH", "XOAUTH2 " + response)
            assert client.docmd("AUTH", "XOAUTH2") == (334, b"")
            return client, client.docmd(response)
        yield login


@pytest.mark.parametrize("initial", [True, False])
def test_smtp_delivers_what_an_authenticated_user_sends(standin, smtp_login, initial):
    client, answer = smtp_login(initial=initial)
    assert answer == (235, b"2.7.0 Authentication successful")
    assert client.sendmail(ALICE, [BOB, "out@example.com"], "Subject: hello\r\n\r\n.dot\r\n") == {}
    assert client.mail(SHARED)[0] == 250 and client.rset()[0] == 250
    assert client.mail(BOB)[0] == 550
    client.quit()
    sent = standin.sent()[0]
    assert (sent["sender"], sent["recipients"]) == (ALICE, [BOB, "out@example.com"]) and "\r\n.dot" in sent["data"]
    assert "Subject: hello" in standin.mailbox(BOB)["INBOX"][1]["data"]


def test_smtp_takes_chunks(standin, smtp_login):
    client, _ = smtp_login()
    client.mail(ALICE), client.rcpt(BOB)
    client.send(b"BDAT 5\r\nSubje")
    assert client.getreply()[0] == 250
    client.send(b"BDAT 9 LAST\r\nct: b\r\n\r\n")
    assert client.getreply()[0] == 250 and standin.sent()[0]["data"].startswith("Subject: b")


def test_smtp_wants_authentication_first(standin):
    client = smtplib.SMTP_SSL("127.0.0.1", standin.ports["smtps"], context=standin.context(), timeout=10)
    client.ehlo()
    assert client.mail(ALICE)[0] == 530
    with pytest.raises(smtplib.SMTPAuthenticationError, match="basic authentication is disabled"):
        client.login(ALICE, model.ALICE_PASSWORD)
    assert client.docmd("AUTH PLAIN AGEAYg==")[0] == 504
    client.close()


@pytest.mark.parametrize("user, code, text", [
    ("smtp.tenant", 535, b"disabled for the Tenant"), ("smtp.mailbox", 535, b"disabled for the Mailbox"),
    ("smtp.basic", 535, b"basic authentication is disabled"), ("smtp.criteria", 535, b"did not meet the criteria"),
    ("smtp.defaults", 535, b"security defaults policy"), ("smtp.credentials", 535, b"credentials were incorrect"),
    ("smtp.refused", 535, b"5.7.3"), ("smtp.limit", 432, b"4.3.2"), ("smtp.busy", 421, b"4.3.2"),
    ("smtp.expiring", 501, b"5.5.127"), ("smtp.removed", 550, b"5.7.30"), ("nosmtp", 535, b"for the Mailbox"),
    ("notconnected", 535, b"5.7.3")])
def test_smtp_users_get_their_reply(standin, smtp_login, user, code, text):
    _, answer = smtp_login(user + "@contoso.com")
    assert answer[0] == code and text in answer[1]
    assert standin.sessions()[0]["logged_in"] is False


def test_smtp_can_be_busy_or_want_a_fresh_token(standin, smtp_login, wire):
    standin.exchange(smtp_min_token_life=600)
    assert smtp_login(token=standin.mint(ALICE, expires_in=300)["access_token"])[1][0] == 501
    standin.exchange(smtp_busy=True)
    assert wire("smtp").greeting.startswith("421 4.3.2")


# -- real clients

def curl(standin, token, *options):
    return subprocess.run(["curl", "-sS", "--noproxy", "", "--cacert", standin.ca_file, "--user", ALICE + ":",
                           "--oauth2-bearer", token, "--login-options", "AUTH=XOAUTH2", *options],
                          capture_output=True, timeout=30)


def test_curl_reads_by_imap_and_pop3_and_sends_by_smtp(standin, tmp_path):
    token, ports = standin.mint(ALICE)["access_token"], standin.ports
    for url, options in (("imaps://127.0.0.1:%d/INBOX;UID=1" % ports["imaps"], ("--sasl-ir",)),
                         ("imap://127.0.0.1:%d/INBOX;UID=1" % ports["imap"], ("--ssl-reqd",)),
                         ("pop3s://127.0.0.1:%d/1" % ports["pop3s"], ())):
        run = curl(standin, token, url, *options)
        assert b"Subject: Welcome to the stand-in" in run.stdout, (url, run.stderr)
    (tmp_path / "mail").write_text("Subject: by curl\n\nText\n")
    run = curl(standin, token, "smtp://127.0.0.1:%d" % ports["smtp"], "--ssl-reqd", "--mail-from", ALICE,
               "--mail-rcpt", BOB, "--upload-file", str(tmp_path / "mail"))
    assert run.returncode == 0, run.stderr
    assert "by curl" in standin.sent()[0]["data"]


def pump(source, sink):
    with contextlib.suppress(OSError):
        while True:
            data = source.recv(65536)
            if not data:
                break
            sink.sendall(data)
    for sock in (source, sink):
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def side_door(standin):
    """Address of a plain-text door to alice's IMAP for clients without XOAUTH2; it logs in for them."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(20)
        def serve():
            near, _ = listening.accept()
            far = Wire(standin, "imaps")
            far.line()
            far.ask("x AUTHENTICATE XOAUTH2 " + blob(ALICE, standin.mint(ALICE)["access_token"]))
            far.sock.settimeout(None)
            near.sendall(b"* PREAUTH Welcome\r\n")
            back = threading.Thread(target=pump, args=(far.sock, near))
            back.start()
            pump(near, far.sock)
            back.join()
            near.close()
            far.close()
        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()
        thread.join(10)


@pytest.mark.skipif(not shutil.which("mbsync"), reason="mbsync is not installed")
def test_mbsync_reads_the_mailbox(standin, side_door, tmp_path):
    host, port = side_door
    (tmp_path / "mail").mkdir()
    (tmp_path / "rc").write_text(
        "IMAPStore far\nHost %s\nPort %d\nSSLType None\nUser a\nPass a\n\nMaildirStore near\nPath %s/mail/\n"
        "Inbox %s/mail/INBOX\n\nChannel c\nFar :far:\nNear :near:\nPatterns INBOX\nCreate Near\nSync All\n"
        "SyncState *\n" % (host, port, tmp_path, tmp_path))
    run = subprocess.run(["mbsync", "-c", str(tmp_path / "rc"), "-a"], capture_output=True, timeout=20)
    assert run.returncode == 0, run.stderr
    files = [path for path in (tmp_path / "mail" / "INBOX").rglob("*") if path.is_file() and "U=" in path.name]
    assert len(files) == 1 and "Subject: Welcome" in files[0].read_text()


@pytest.mark.skipif(not shutil.which("mutt"), reason="mutt is not installed")
def test_mutt_reads_the_mailbox(standin, side_door, tmp_path):
    host, port = side_door
    copy = tmp_path / "copy"
    (tmp_path / "rc").write_text(
        "set imap_user=a imap_pass=a ssl_starttls=no ssl_force_tls=no mbox_type=mbox confirmcreate=no folder=%s "
        "confirmappend=no wait_key=no delete=no timeout=1\n"
        "push '<copy-message>%s<enter><quit>'\n" % (tmp_path, copy))
    mutt = "timeout --foreground -k 1 10 mutt -n -F %s -f imap://%s:%d/INBOX" % (tmp_path / "rc", host, port)
    subprocess.run(["script", "-qec", mutt, str(tmp_path / "screen")], stdin=subprocess.DEVNULL,
                   env={"TERM": "xterm", "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}, capture_output=True,
                   timeout=20)
    assert copy.exists(), (tmp_path / "screen").read_text()
    assert "Subject: Welcome to the stand-in" in copy.read_text()


@pytest.mark.skipif(not shutil.which("fetchmail"), reason="fetchmail is not installed")
def test_fetchmail_reads_the_mailbox(standin, side_door, tmp_path):
    host, port = side_door
    settings = tmp_path / "rc"
    settings.write_text("poll %s port %d protocol IMAP user a password b is root here fetchall sslproto '' "
                        "mda \"cat >%s\"\n" % (host, port, tmp_path / "copy"))
    settings.chmod(0o600)
    run = subprocess.run(["fetchmail", "-f", str(settings), "--nodetach", "--nosyslog"],
                         env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "FETCHMAILHOME": str(tmp_path)},
                         capture_output=True, timeout=20)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "Subject: Welcome to the stand-in" in (tmp_path / "copy").read_text()
    assert standin.mailbox(ALICE)["INBOX"] == []
