# SPDX-License-Identifier: MIT
"""The broker's sockets: who may ask what (PROTOCOL.md), and what nonsense does to it: nothing."""

import os
import pwd
import random
import socket
import subprocess
import sys
import time

import pytest

from harness import sanitizer
from harness.front import broker_socket
from harness.sockets import HELLO, Lines

pytestmark = pytest.mark.sanitize
ROLES = ["auth", "login", "admin", "handover"]
REQUESTS = {
    "LOGIN": "LOGIN\t7\tuser=u@contoso.com\tpass=x\tservice=imap",
    "LOOKUP": "LOOKUP\t7\tuser=u@contoso.com\tservice=imap",
    "UPSTREAM": "UPSTREAM\t7\tuser=u@contoso.com\tmailbox=u\tservice=imap\tresult=accepted", "STATUS": "STATUS\t7",
    "TAKE": "TAKE\t7\twhat=end",
}
ALLOWED = {"auth": {"LOGIN", "LOOKUP"}, "login": {"UPSTREAM"}, "admin": {"STATUS"}, "handover": set()}


@pytest.fixture(scope="module")
def own_front(fronts):
    front = fronts.new()
    front.expect("speaks nonsense", "refused a client", "does not read its replies", "did not say hello",
                 "was told to use", "login refused")
    return front


@pytest.fixture(scope="module")
def mute(own_front):
    """Connected, and not a word: closed after ten seconds, which other tests use meanwhile."""
    client = Lines(own_front.socket_path(broker_socket("auth")))
    return client, time.monotonic()


def alive(front, people):
    assert front.imap(people.new()).ok


# -- manners

@pytest.mark.parametrize("role", ROLES)
def test_each_listener_says_its_role(own_front, mute, role):
    with own_front.broker(role):
        pass                         # Broker() has checked READY


@pytest.mark.parametrize("role", ROLES)
def test_a_listener_takes_its_own_requests_and_no_others(own_front, role):
    for verb, request in REQUESTS.items():
        with own_front.broker(role) as broker:
            broker.send(request + "\n")
            answer = broker.answer()
            assert (answer.verb != "BAD") == (verb in ALLOWED[role]), (role, verb, answer)


def test_a_login_is_answered_with_all_that_the_front_end_needs(own_front, standin, people):
    account = people.new()
    with own_front.broker("auth") as broker:
        answer = broker.login(account, service="pop3", rip="192.0.2.1", rport="1234", mech="PLAIN", session="abc")
        assert answer.verb == "OK"
        assert answer["host"] == "127.0.0.1" and int(answer["port"]) == standin.ports["pop3s"]
        assert answer["tls"] == "implicit" and answer["mailbox"] == account.upn and answer["cached"] == "no"
        again = broker.login(account, service="submission")
        assert again["tls"] == "starttls" and again["cached"] == "yes" and again["token"] == answer["token"]
        assert answer["token_id"] == standin.token_requests(username=account.upn)[0]["access_token_sha256"][:32]
    record = own_front.attempts(account.upn)[0]
    assert record["source"] == {"ip": "192.0.2.1", "port": 1234} and record["modernauth"]["session"] == "abc"


def test_a_lookup_never_has_a_token(own_front, people):
    account = people.new()
    with own_front.broker("auth") as broker:
        assert broker.login(account).verb == "OK"
        answer = broker.ask("LOOKUP", user=account.upn, service="imap")
        assert answer.verb == "OK" and answer.fields == {}
        answer = broker.ask("LOOKUP", user="somebody@elsewhere.test", service="imap")
        assert answer.verb == "FAIL" and answer["code"] == "not_ours"


def test_a_refusal_has_a_code_and_words_for_the_user(own_front, people):
    with own_front.broker("auth") as broker:
        answer = broker.login(people.new(mfa=True))
        assert answer.verb == "FAIL" and answer["code"] == "interaction" and answer["reason"]
        answer = broker.login(people.new(), people.password())
        assert answer["code"] == "bad_credentials" and "token" not in answer.fields


def test_unknown_keys_are_ignored_and_a_later_minor_version_is_welcome(own_front, people):
    with own_front.broker("auth", hello=False) as broker:
        broker.send("VERSION\tmodernauth\t1\t7\nCLIENT\tname=future\tpid=1\tcolour=blue\n")
        assert broker.line() and broker.line()
        assert broker.login(people.new(), weather="fine").verb == "OK"


@pytest.mark.parametrize("hello", ["VERSION\tmodernauth\t2\t0\n", "VERSION\tauth\t1\t0\n", "GET / HTTP/1.1\r\n\r\n",
                                   "EHLO x\r\n", "\n", "\0\0\0\n", "VERSION\n"])
def test_another_protocol_ends_the_connection(own_front, hello):
    with Lines(own_front.socket_path(broker_socket("auth"))) as client:
        client.send(hello)
        lines = client.rest()
        assert lines[:2] == [HELLO.rstrip("\n"), "READY\trole=auth"] and len(lines) <= 3


def test_replies_come_in_any_order(own_front, standin, people):
    slow, fast = people.new(), people.new()
    standin.fault(endpoint="token", user=slow.upn, latency_ms=800)
    with own_front.broker("auth") as broker:
        first = broker.request("LOGIN", user=slow.upn, **{"pass": slow.password}, service="imap")
        second = broker.request("LOGIN", user=fast.upn, **{"pass": fast.password}, service="imap")
        assert [broker.answer().id, broker.answer().id] == [second, first]


def test_a_cancelled_login_is_on_record_and_unanswered(own_front, standin, people):
    account = people.new()
    standin.fault(endpoint="token", user=account.upn, latency_ms=600)
    with own_front.broker("auth") as broker:
        number = broker.request("LOGIN", user=account.upn, **{"pass": account.password}, service="imap")
        standin.wait_requests(username=account.upn)
        broker.send("CANCEL\t%d\n" % number)
        own_front.wait(lambda: own_front.attempts(account.upn))
        assert own_front.attempts(account.upn)[0]["modernauth"]["status"] == "cancelled"
        # The flight goes on and fills the cache.
        own_front.wait(lambda: broker.login(account)["cached"] == "yes")
        assert len(standin.token_requests(username=account.upn)) == 1


def test_a_client_that_goes_leaves_a_record(own_front, standin, people):
    account = people.new()
    standin.fault(endpoint="token", user=account.upn, latency_ms=600)
    with own_front.broker("auth") as broker:
        broker.request("LOGIN", user=account.upn, **{"pass": account.password}, service="imap")
        standin.wait_requests(username=account.upn)
    own_front.wait(lambda: own_front.attempts(account.upn))
    assert own_front.attempts(account.upn)[0]["modernauth"]["status"] == "cancelled"


def test_a_client_with_another_configuration_is_refused(own_front, people):
    with own_front.broker("auth", config="/etc/dovecot/other.conf") as broker:
        assert broker.login(people.new())["code"] == "config"
    own_front.wait_log("was told to use /etc/dovecot/other.conf")
    with own_front.broker("auth", config=own_front.config_path) as broker:
        assert broker.login(people.new()).verb == "OK"


# -- nonsense

@pytest.mark.parametrize("line", [
    "LOGIN", "LOGIN\t", "LOGIN\tx\tuser=a", "LOGIN\t0\tuser=a\tpass=b\tservice=imap",
    "LOGIN\t-1\tuser=a\tpass=b\tservice=imap",
    "LOGIN\t4294967296\tuser=a\tpass=b\tservice=imap", "LOGIN\t1\tuser=a\tservice=imap",
    "LOGIN\t1\tpass=b\tservice=imap",
    "LOGIN\t1\tuser=a\tpass=b", "LOGIN\t1\tuser=a\tpass=b\tservice=nntp", "LOGIN\t1\tuser=a\tpass=b\tservice=",
    "login\t1\tuser=a\tpass=b\tservice=imap", "\t\t\t", "\x01", "\x01\x01\x01", "OK\t1", "=", "LOGIN\t1\t=\t=\t=",
    "CANCEL", "LOOKUP\t1", "VERSION\tmodernauth\t1\t0\t",
])
def test_malformed_requests_are_answered_bad_and_the_connection_lives(own_front, people, line):
    with own_front.broker("auth") as broker:
        broker.send(line + "\n")
        assert broker.answer().verb == "BAD"
        broker.next_id = 50
        assert broker.login(people.new()).verb == "OK"


def test_twenty_malformed_lines_are_enough(own_front, people):
    with own_front.broker("auth") as broker:
        broker.send("nonsense\n" * 40)
        assert len(broker.rest()) == 20
    alive(own_front, people)


def test_a_line_that_is_too_long_ends_the_connection(own_front, people):
    for text in ("x" * 16385 + "\n", "x" * 100000, "LOGIN\t1\tuser=" + "u" * 17000 + "\tpass=p\tservice=imap\n"):
        with own_front.broker("auth") as broker:
            try:
                broker.send(text)
                lines = broker.rest()
            except OSError:
                lines = []
            assert len(lines) <= 1
    alive(own_front, people)


def test_lines_may_come_octet_by_octet_and_all_at_once(own_front, people):
    account = people.new()
    with own_front.broker("auth") as broker:
        line = "LOGIN\t1\tuser=%s\tpass=%s\tservice=imap\n" % (account.upn, account.password)
        for octet in line:
            broker.send(octet)
            time.sleep(0.0005)
        assert broker.answer().verb == "OK"
        broker.send("".join(line.replace("\t1\t", "\t%d\t" % number) for number in range(2, 102)))
        assert {broker.answer().id for _ in range(100)} == set(range(2, 102))


def test_nuls_and_control_characters_are_data(own_front, standin, people):
    with own_front.broker("auth") as broker:
        for user in ("a\0b@contoso.com", "a\tb@contoso.com", "a\nb@contoso.com", "\x01@contoso.com",
                     "\u202egnp@contoso.com",
                     "\udcff\udcfe@contoso.com"):
            before = standin.last_request()
            answer = broker.login(user, people.password())
            assert answer is None or answer.verb in ("FAIL", "BAD"), user
            if answer is None:
                break
            assert standin.token_requests(since=before) == [] or "\u202e" in user
        broker.send(b"LOGIN\t900\tuser=u@contoso.com\0\tpass=x\tservice=imap\n")
        assert broker.answer().verb in ("BAD", "FAIL")
    alive(own_front, people)


def test_noise_does_nothing(own_front, people):
    chance = random.Random(7)
    for _ in range(60):
        with own_front.broker("auth") as broker:
            noise = bytes(chance.choice(b"\0\1\t\n\r=LOGIN0123abc\xff\xc3 ") for _ in range(chance.randrange(2000)))
            try:
                broker.send(noise)
                broker.sock.shutdown(socket.SHUT_WR)
                broker.rest()
            except OSError:
                pass
    for role in ROLES:
        with Lines(own_front.socket_path(broker_socket(role))) as client:
            try:
                client.send(chance.randbytes(5000))
                client.sock.shutdown(socket.SHUT_WR)
                client.rest()
            except OSError:
                pass
    alive(own_front, people)


def test_a_predecessor_that_nobody_expects_is_refused(own_front, people):
    """Whoever serves takes no state over: a second one would fork it."""
    with own_front.broker("handover") as broker:
        for what in ("config", "key", "token", "user", "slot", "end"):
            assert broker.ask("TAKE", what=what, path="/x", data="x").verb == "BAD"
    alive(own_front, people)


# -- crowds

def test_ten_thousand_open_requests_are_all_answered(own_front, standin, people):
    account, count = people.new(), 10000
    standin.fault(endpoint="token", user=account.upn, latency_ms=8000 if sanitizer.KIND else 1500)
    with own_front.broker("auth", timeout=120) as broker:
        broker.send("".join("LOGIN\t%d\tuser=%s\tpass=%s\tservice=imap\tsession=s%d\n" % (
            number, account.upn, account.password, number) for number in range(1, count + 1)))
        own_front.wait(lambda: own_front.status()["open"] == count, 30)
        answers = {}
        for _ in range(count):
            answer = broker.answer()
            answers[answer.id] = answer.verb
    assert set(answers) == set(range(1, count + 1)) and set(answers.values()) == {"OK"}
    assert len(standin.token_requests(username=account.upn)) == 1
    sessions = {record["modernauth"]["session"] for record in own_front.attempts(account.upn)}
    assert len(sessions) == count


def test_one_open_request_too_many_is_a_temporary_failure(own_front, standin, people):
    account, limit = people.new(), 20000
    standin.fault(endpoint="token", user=account.upn, latency_ms=6000)
    with own_front.broker("auth", timeout=120) as broker:
        broker.send("".join("LOGIN\t%d\tuser=%s\tpass=%s\tservice=imap\n" % (number, account.upn, account.password)
                            for number in range(1, limit + 6)))
        answers = [broker.answer() for _ in range(5)]
        assert [answer.id for answer in answers] == list(range(limit + 1, limit + 6))
        assert {answer["code"] for answer in answers} == {"temporary"}
    alive(own_front, people)
    own_front.wait(lambda: own_front.status()["open"] == 0, 20)


def test_a_client_that_does_not_read_is_disconnected_and_nobody_else_waits(own_front, people):
    account = people.new()
    with own_front.broker("auth") as reader, own_front.broker("auth") as lazy:
        assert reader.login(account).verb == "OK"
        mark = own_front.log_mark()
        line = "LOGIN\t%d\tuser=%s\tpass=%s\tservice=imap\n"
        try:
            for start in range(1, 20000, 500):
                lazy.send("".join(line % (number, account.upn, account.password)
                                  for number in range(start, start + 500)))
        except OSError:
            pass                     # that is what should happen
        own_front.wait_log("does not read its replies", mark, 20)
        started = time.monotonic()
        assert reader.login(account).verb == "OK"
        assert time.monotonic() - started < 5
    alive(own_front, people)


def test_many_connections_at_once(own_front, people):
    clients = [own_front.broker("admin") for _ in range(300)]
    assert all(client.status()["logins"] >= 0 for client in clients)
    for client in clients:
        client.close()
    alive(own_front, people)


# -- who is it?

CONNECT = """
import os, socket, sys
os.setgroups([]); os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[1]))
s = socket.socket(socket.AF_UNIX); s.settimeout(10)
try:
    s.connect(sys.argv[3])
    s.sendall(b"VERSION\\tmodernauth\\t1\\t0\\nCLIENT\\tname=stranger\\tpid=1\\n")
    print(len(s.recv(1000)))
except (ConnectionError, BrokenPipeError):
    print(0)
except PermissionError:
    print("permission")
"""


def as_user(user, path):
    entry = pwd.getpwnam(user)
    return subprocess.run([sys.executable, "-c", CONNECT, str(entry.pw_uid), str(entry.pw_gid), path],
                          capture_output=True,
                          text=True, timeout=30, check=True).stdout.strip()


def test_file_permissions_keep_strangers_out(own_front):
    for role in ROLES:
        assert as_user("nobody", own_front.socket_path(broker_socket(role))) == "permission", role
    assert as_user("dovenull", own_front.socket_path("modernauth-auth")) == "permission"
    assert as_user("dovecot", own_front.socket_path("modernauth-admin")) == "permission"


def test_the_peers_uid_is_checked_even_if_the_permissions_are_wrong(own_front, people):
    allowed = {"auth": "dovecot", "login": "dovenull", "handover": "modernauth"}
    os.chmod(own_front.path("run/login"), 0o755)
    for role in ROLES:
        path = own_front.socket_path(broker_socket(role))
        os.chmod(path, 0o666)
        for user in ("nobody", "dovecot", "dovenull", "modernauth"):
            got = as_user(user, path)
            # The broker is the admin listener's owner: its own user may ask for its numbers.
            welcome = user == allowed.get(role) or (role, user) == ("admin", "modernauth")
            assert (int(got) > 0) == welcome, (role, user, got)
    own_front.wait_log("refused a client on the auth listener: pid .* has uid %d" % pwd.getpwnam("nobody").pw_uid)
    alive(own_front, people)


def test_who_does_not_say_hello_is_shown_the_door(own_front, mute):
    client, since = mute
    lines = client.rest()
    assert lines[0] == HELLO.rstrip("\n") and time.monotonic() - since > 8
    client.close()
