# SPDX-License-Identifier: MIT
"""How sessions end that Exchange has accepted: each has one record of it, whoever ends it, with the octets that passed."""

import os
import signal
import time

import pytest

from harness.clients import PROTOCOLS

pytestmark = pytest.mark.sanitize


class Counted:
    """A conversation after its login that counts the octets of both directions."""

    def __init__(self, line):
        self.line, self.sent, self.received = line, 0, len(line.buffer)
        recv = line.sock.recv

        class Sock:
            def __getattr__(self, name):
                return getattr(line_sock, name)

            @staticmethod
            def recv(size):
                data = recv(size)
                self.received += len(data)
                return data
        line_sock, line.sock = line.sock, Sock()

    def ask(self, text, until=None):
        self.sent += len(text)
        self.line.send(text)
        return self.line.until(until) if until else self.line.line()

    def drain(self):
        while self.line.line():
            pass

    def close(self):
        self.line.close()


def session(front, protocol, account, **options):
    reply = front.login(protocol, account, keep=True, **options)
    assert reply.ok, reply
    return Counted(reply.sock)


def ended(front, user, count=1, timeout=10):
    return front.wait(lambda: (lambda found: found if len(found) >= count else None)(
        front.audit(user, action="session-ended")), timeout, "no record of the session's end: " + user)


def joined(front, account):
    """All records of the only session of account: its attempt, the upstream's answer, its end."""
    last = ended(front, account.upn)[0]
    records = front.audit(account.upn)
    assert [record["event"]["action"] for record in records] == \
        ["basic-auth-intercepted", "upstream-session-opened", "session-ended"]
    for name in ("session", "token_id", "tenant", "protocol"):
        assert len({record["modernauth"][name] for record in records}) == 1, name
    assert records[1]["modernauth"]["mailbox"] == last["modernauth"]["mailbox"] == account.upn
    assert records[1]["modernauth"]["upstream"] == last["modernauth"]["upstream"]
    for name in ("user", "network", "service", "tls"):
        assert records[1][name] == last[name], name
    for end in ("source", "destination"):
        assert {**records[1][end], "bytes": last[end]["bytes"]} == last[end]
    return last


def octets(record):
    return record["source"]["bytes"], record["destination"]["bytes"]


@pytest.mark.parametrize("protocol", ["imap", "pop3", "submission"])
@pytest.mark.parametrize("tls", [None, "implicit"])
def test_a_session_that_the_client_leaves(front, people, protocol, tls):
    account = people.new()
    talk = session(front, protocol, account, tls=tls)
    talk.ask("a NOOP\r\n" if protocol == "imap" else "NOOP\r\n")
    time.sleep(0.2)
    talk.close()
    record = joined(front, account)
    assert record["modernauth"]["status"] == "client" and record["event"]["outcome"] == "success"
    assert octets(record) == (talk.sent, talk.received)
    assert 0.2e9 <= record["event"]["duration"] < 30e9
    assert record["event"]["start"] < record["event"]["end"] <= record["@timestamp"]


@pytest.mark.parametrize("protocol", ["imap", "pop3", "submission"])
def test_a_session_that_ends_with_a_goodbye(front, people, protocol):
    account = people.new()
    talk = session(front, protocol, account)
    if protocol == "imap":
        talk.ask("a SELECT INBOX\r\n", "a")
        talk.ask("b FETCH 1:* (BODY.PEEK[])\r\n", "b")
    talk.ask(PROTOCOLS[protocol][3])
    talk.drain()
    talk.close()
    record = joined(front, account)
    assert record["modernauth"]["status"] == "client" and record["event"]["reason"] == "logged out"
    assert octets(record) == (talk.sent, talk.received) and record["event"]["outcome"] == "success"
    assert "reply" not in record["modernauth"]


def test_what_comes_together_with_the_login_is_counted_as_what_it_is(front, people):
    """Commands in one packet with the login, answered after it."""
    account = people.new()
    line = front.open("imap")
    more = "b NOOP\r\nc LOGOUT\r\n"
    line.send('a LOGIN "%s" "%s"\r\n%s' % (account.upn, account.password, more))
    assert line.until("a").startswith("a OK") and line.until("c").startswith("c OK")
    line.close()
    record = joined(front, account)
    assert record["source"]["bytes"] == len(more)


def test_an_octet_after_4_gib_is_counted_as_one(front, people):
    """Not so many are sent here: the report is the login process's own words."""
    account = people.new()
    with front.broker("login") as broker:
        fields = {"user": account.upn, "service": "imap", "by": "client", "duration": 5, "in": 2 ** 40, "out": 1}
        assert broker.ask("ENDED", **fields).verb == "DONE"
    assert octets(ended(front, account.upn)[0]) == (2 ** 40, 1)


def test_a_session_that_ends_with_its_token(front, standin, people):
    account = people.new()
    talk = session(front, "imap", account)
    talk.ask("b IDLE\r\n")
    standin.expire_sessions(user=account.upn)
    talk.drain()
    record = joined(front, account)
    assert record["modernauth"]["status"] == "token-expired"
    assert record["modernauth"]["reply"] == "* BYE Session invalidated - AccessTokenExpired"
    assert octets(record) == (talk.sent, talk.received)


def test_a_session_that_exchange_cuts_off(front, standin, people):
    account = people.new()
    talk = session(front, "imap", account)
    talk.ask("b NOOP\r\n", "b")
    standin.abort_sessions(user=account.upn)
    talk.drain()
    record = joined(front, account)
    assert record["modernauth"]["status"] == "server" and "reply" not in record["modernauth"]


def test_a_session_of_a_user_whom_an_admin_kicks(front, people):
    account = people.new()
    talk = session(front, "imap", account)
    front.doveadm("proxy", "kick", account.upn)
    talk.drain()
    record = joined(front, account)
    assert record["modernauth"]["status"] == "front-end" and "admin" in record["event"]["reason"]


def test_a_refused_login_has_no_session(front, standin, people):
    account = people.new()
    front.expect_trouble(account)
    standin.refuse(user=account.upn)
    assert not front.imap(account).ok
    front.wait_upstream(account.upn)
    other = people.new()
    session(front, "imap", other).close()
    ended(front, other.upn)
    assert front.audit(account.upn, action="session-ended") == []


def test_the_words_of_a_mail_are_no_goodbye(front, standin, people):
    account = people.new()
    standin.add_message(account.upn, text="Subject: x\r\n\r\n* BYE AccessTokenExpired\r\nq BAD User is authenticated but not "
                                          "connected.\r\n" + "text\r\n" * 20)
    talk = session(front, "imap", account)
    talk.ask("a SELECT INBOX\r\n", "a")
    talk.ask("b FETCH 1:* (BODY.PEEK[])\r\n", "b")
    standin.abort_sessions(user=account.upn)
    talk.drain()
    assert "reply" not in joined(front, account)["modernauth"]


# -- the front end's own ends

@pytest.fixture(scope="module")
def own_front(fronts):
    front = fronts.new()
    # Dovecot's own at reloads one soon after another
    front.expect("IPC proxy sent invalid input", "SIGTERM", "Killed with signal 15", "ipc-proxy")
    return front


def test_sessions_that_a_reload_ends(own_front, people):
    front, accounts = own_front, [people.new() for _ in range(3)]
    talks = [session(front, *both) for both in zip(PROTOCOLS, accounts)]
    front.reload()
    for account, talk in zip(accounts, talks):
        talk.drain()
        record = joined(front, account)
        assert record["modernauth"]["status"] == "front-end" and record["event"]["reason"] == "Process shutting down"
        assert octets(record) == (0, talk.received)


def test_sessions_that_outlive_a_reload(fronts, people):
    front = fronts.new(dovecot="shutdown_clients = no\n")
    accounts = [people.new() for _ in range(3)]
    talks = [session(front, "imap", account) for account in accounts]
    front.reload()
    for talk in talks:
        assert talk.ask("b NOOP\r\n", "b").startswith("b OK")
        talk.close()
    for account, talk in zip(accounts, talks):
        assert octets(joined(front, account)) == (talk.sent, talk.received)


def test_ends_that_no_broker_hears_are_told_to_the_next(own_front, people):
    front, account, other = own_front, people.new(), people.new()
    front.expect("lost the connection to the broker", "cannot connect to the broker", "killed with signal 9",
                 r"auth: Error: modernauth\(")
    talk = session(front, "imap", account)
    front.wait_upstream(account.upn)
    pid = front.kill_broker()
    talk.close()
    front.wait(lambda: pid not in front.broker_pids(), 10)
    front.wait(lambda: front.imap(other).ok)
    assert joined(front, account)["modernauth"]["status"] == "client"


def test_a_process_for_each_session_tells_its_end(fronts, people):
    front = fronts.new(dovecot="service imap-login {\n  service_count = 1\n}\n")
    account = people.new()
    talk = session(front, "imap", account)
    talk.ask("b NOOP\r\n", "b")
    talk.close()
    assert octets(joined(front, account)) == (talk.sent, talk.received)


def test_a_login_process_that_is_told_to_end(fronts, people):
    front = fronts.new()
    front.expect("imap-login: Warning: Killed with signal 15")
    account = people.new()
    talk = session(front, "imap", account)
    front.wait_upstream(account.upn)
    for pid, name in front.processes().items():
        if name == "imap-login":
            os.kill(pid, signal.SIGTERM)
    talk.drain()
    record = joined(front, account)
    assert record["modernauth"]["status"] == "front-end"


@pytest.mark.parametrize("everybody", [False, True])
def test_sessions_that_are_open_when_dovecot_stops(fronts, people, everybody):
    """The master alone is told to end, or every process at once, as systemd does it."""
    front = fronts.new()
    front.expect("Killed with signal 15", "Shutting down logging", r"read\(anvil\) failed")
    accounts = [people.new() for _ in range(5)]
    talks = [session(front, "imap", account) for account in accounts]
    for account in accounts:
        front.wait_upstream(account.upn)
    if everybody:
        for pid in front.processes():
            os.kill(pid, signal.SIGTERM)
    front.stop()
    for talk in talks:
        talk.drain()
    for account in accounts:
        assert joined(front, account)["modernauth"]["status"] == "front-end"


# -- a mailbox that is not there

def test_a_mailbox_that_is_not_connected_is_noted_once(front, people):
    account = people.new(not_connected=True)
    front.expect_trouble(account)
    talk = session(front, "imap", account)
    for tag in "bcd":
        assert "authenticated but not connected" in talk.ask("%s SELECT INBOX\r\n" % tag, tag)
    record = front.wait(lambda: front.audit(account.upn, action="mailbox-not-connected"))[0]
    assert record["modernauth"]["reply"] == "b BAD User is authenticated but not connected."
    assert record["event"]["outcome"] == "failure" and "not in Exchange Online" in record["event"]["reason"]
    talk.close()
    last = ended(front, account.upn)[0]
    assert last["modernauth"]["session"] == record["modernauth"]["session"]
    assert len(front.audit(account.upn)) == 4
