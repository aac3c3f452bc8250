# SPDX-License-Identifier: MIT
"""One record for each attempt, written before the answer, and one for what the upstream said, joined by the session."""

import datetime
import json
import os
import re
import stat
import threading

import pytest

pytestmark = pytest.mark.sanitize
WORDS = {"imap": ("IMAP4", "imap", "imap"), "pop3": ("POP3", "pop3", "pop3"),
         "submission": ("Authenticated SMTP", "smtp", "submission")}
SESSION = re.compile(r"[A-Za-z0-9+/]{10,}")
GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def when(record):
    return datetime.datetime.fromisoformat(record["@timestamp"].replace("Z", "+00:00")).timestamp()


@pytest.mark.parametrize("protocol", list(WORDS))
@pytest.mark.parametrize("tls", [None, "implicit", "starttls"])
def test_a_successful_login_has_two_records(front, standin, people, protocol, tls):
    account = people.new()
    mech = "LOGIN" if tls else "PLAIN"
    reply = front.login(protocol, account, tls=tls, mech=mech)
    assert reply.ok
    second = front.wait_upstream(account.upn)[0]
    first, = front.attempts(account.upn)
    entra, network, service = WORDS[protocol]
    asked = standin.token_requests(username=account.upn)[0]
    for record in (first, second):
        assert record["ecs"]["version"] and record["event"]["kind"] == "event"
        assert record["event"]["category"] == ["authentication"] and record["event"]["type"] == ["start"]
        assert record["event"]["provider"] == "dovecot-modernauth" and record["event"]["outcome"] == "success"
        assert record["user"] == {"name": account.upn, "email": account.upn, "domain": "contoso.com"}
        assert record["source"] == {"ip": reply.source, "port": reply.port}
        assert record["destination"]["ip"] == "127.0.0.1"
        assert record["network"] == {"protocol": network, "transport": "tcp"} and record["service"]["name"] == service
        assert record["tls"]["established"] is (tls is not None)
        assert record["cloud"]["account"]["id"] == "c0000000-0000-4000-8000-000000000001"
        own = record["modernauth"]
        assert own["protocol"] == entra and SESSION.fullmatch(own["session"]) and own["tenant"] == "contoso"
        assert own["token_id"] == asked["access_token_sha256"][:32]
        assert own["upstream"]["host"] == "127.0.0.1"
    assert first["event"]["action"] == "basic-auth-intercepted"
    assert second["event"]["action"] == "upstream-session-opened"
    assert first["modernauth"]["session"] == second["modernauth"]["session"]
    assert first["event"]["id"] != second["event"]["id"]
    own = first["modernauth"]
    assert own["mechanism"] == mech and own["decision"] == "upgrade" and own["rule"] == "tenant"
    assert own["verified_by"] == "entra" and own["grant"] == "password" and own["token_source"] == "fetched"
    assert own["status"] == "ok" and first["http"]["response"]["status_code"] == 200
    assert own["correlation_id"] == asked["client_request_id"] and GUID.fullmatch(own["correlation_id"])
    assert first["trace"]["id"] == asked["trace_id"]
    assert 0 < first["event"]["duration"] < 60e9
    if tls:
        assert second["tls"]["version"] == "1.3" and second["tls"]["version_protocol"] == "tls"
        assert second["tls"]["cipher"]
    assert second["modernauth"]["mailbox"] == account.upn and second["modernauth"]["status"] == "accepted"
    assert second["modernauth"]["upstream"]["ip"] == "127.0.0.1"


def test_localhost_is_secured_but_not_tls(front, people):
    account = people.new()
    assert front.imap(account, source="127.0.0.1").ok
    assert front.attempts(account.upn)[0]["tls"] == {"established": False}


def test_a_refused_login_has_one_record_that_says_why(front, standin, people):
    account = people.new()
    reply = front.pop3(account, people.password())
    record, = front.audit(account.upn)
    asked = standin.token_requests(username=account.upn)[0]
    assert record["event"]["outcome"] == "failure" and record["event"]["code"] == "50126"
    assert record["error"]["code"] == "50126" and "wrong user name or password" in record["error"]["message"]
    assert record["modernauth"]["decision"] == "refuse" and record["modernauth"]["verified_by"] == "none"
    assert record["modernauth"]["correlation_id"] == asked["client_request_id"]
    assert record["trace"]["id"] == asked["trace_id"] and record["source"]["ip"] == reply.source
    assert "token_id" not in record["modernauth"]
    # Remembered: nobody was asked, so there is no correlation id.
    front.pop3(account, account.password + "x")
    front.pop3(account, account.password + "x")
    last = front.attempts(account.upn)[-1]
    assert last["modernauth"]["rule"] == "remembered refusal" and "correlation_id" not in last["modernauth"]


def test_a_session_that_exchange_refuses_says_so_in_exchanges_words(front, standin, people):
    account = people.new()
    front.expect_trouble(account)
    standin.refuse(user=account.upn, text='AUTHENTICATE failed. Error="AuthFailed:LogonDenied"')
    assert not front.imap(account).ok
    record = front.wait_upstream(account.upn)[0]
    assert record["event"]["action"] == "upstream-session-refused" and record["event"]["outcome"] == "failure"
    assert "LogonDenied" in record["modernauth"]["reply"] and "LogonDenied" in record["error"]["message"]
    assert record["event"]["reason"]
    front.wait_log("upstream refused: user=%s .*to do: " % re.escape(account.upn))


@pytest.mark.parametrize("reply, advice", [("tenant", "Set-TransportConfig"), ("mailbox", "Set-CASMailbox"),
                                           ("criteria", "conditional access"), ("defaults", "security defaults")])
def test_known_words_of_exchange_come_with_advice(front, standin, people, reply, advice):
    names = {"tenant": "tenant-disabled", "mailbox": "mailbox-disabled", "criteria": "criteria",
             "defaults": "security-defaults"}
    account = people.new(smtp_reply=names[reply])
    front.expect_trouble(account)
    answer = front.smtp(account)
    assert not answer.ok and answer.code.startswith("535 5.7.139")
    assert advice in front.wait_upstream(account.upn)[0]["event"]["reason"]


def test_the_record_is_there_before_the_answer(front, people):
    """No login is ever ahead of its record."""
    account = people.new()
    for _ in range(30):
        before = len(front.attempts(account.upn))
        assert front.imap(account).ok
        assert len(front.attempts(account.upn)) == before + 1


def test_every_attempt_of_a_crowd_is_on_record_once(front, people):
    crowd = people.many(100)
    replies = front.storm(crowd + crowd, parallel=50)
    assert all(reply.ok for reply in replies)
    names = [record["user"]["name"] for record in front.attempts() if record["user"]["name"].startswith(
        crowd[0].upn.split("-")[0] + "-")]
    assert sorted(names) == sorted([account.upn for account in crowd] * 2)
    records = front.audit()
    assert len({record["event"]["id"] for record in records}) == len(records)


@pytest.mark.parametrize("name", [
    'quo"te@contoso.com', "back\\slash@contoso.com", "</script>@contoso.com", "\u202egnp.exe@contoso.com",
    "$(id)@contoso.com",
    "%n%s%x@contoso.com", "\x1b[31mred@contoso.com", '","admin":true,"x":"@contoso.com',
    "x" * 320 + "@contoso.com", "\u65e5\u672c@contoso.com", "\x85\x9b@contoso.com", "tab\tand\nnewline@contoso.com",
])
def test_hostile_names_cannot_break_a_record(front, people, name):
    """Over the broker's own socket, since Dovecot refuses some of them itself."""
    before = len(front.attempts())
    password = people.password()
    with front.broker("auth") as broker:
        answer = broker.login(name, password, session="s1\"\n\x1b", mech="PL\x01AIN", rip="not an address",
                              client_id='"name" "\x1b[2J"')
    assert answer.verb == "FAIL"
    records = front.attempts()
    assert len(records) == before + 1
    record = records[-1]
    assert set(record) <= {"@timestamp", "ecs", "event", "user", "source", "destination", "network", "service", "tls",
                           "user_agent", "cloud", "trace", "http", "error", "modernauth"}
    with open(front.audit_path, "rb") as file:
        line = [line for line in file.read().splitlines() if b"basic-auth-intercepted" in line][-1]
    assert not re.search(rb"[\x00-\x1f\x7f]", line) and len(line) < 8192
    assert json.loads(line)["user"]["name"].startswith(name[:3].replace("\udcff", "\ufffd"))
    front.expect(r"session=s1\"")


def test_names_with_what_is_no_utf8_become_replacement_characters(front, people):
    password = people.password()
    with front.broker("auth") as broker:
        broker.send(b"LOGIN\t1\tuser=a\xff\xfe\xc3@contoso.com\tpass=" + password.encode() + b"\tservice=imap\n")
        assert broker.answer().verb == "FAIL"
    assert "\ufffd" in front.attempts()[-1]["user"]["name"]


def test_what_a_client_calls_itself_is_kept(front, people):
    account = people.new()
    assert front.imap(account, client_id='"name" "Legacy \\"Mail\\"" "version" "4.5.6" "os" "none"').ok
    record = front.attempts(account.upn)[0]
    assert record["user_agent"] == {"name": 'Legacy "Mail"', "version": "4.5.6"}


def test_the_file_is_private(front, people):
    assert front.imap(people.new()).ok
    info = os.stat(front.audit_path)
    assert stat.S_IMODE(info.st_mode) == 0o600 and info.st_uid == front.user.pw_uid


def test_no_record_is_lost_when_the_file_is_rotated(fronts, people):
    front = fronts.new()
    crowd, replies, enough = [people.new() for _ in range(20)], [], threading.Event()

    def load():
        while not enough.is_set():
            replies.extend(front.storm(crowd, parallel=5))
    thread = threading.Thread(target=load)
    thread.start()
    paths = ["%s.%d" % (front.audit_path, number) for number in range(3)]
    for path in paths:
        front.wait(lambda: front.attempts())
        os.rename(front.audit_path, path)
        # The broker looks once a second.
        front.wait(lambda: os.path.exists(front.audit_path))
    enough.set()
    thread.join()
    assert all(reply.ok for reply in replies)
    count, current = len(front.attempts()), front.audit_path
    for path in paths:
        front.audit_path = path
        count += len(front.attempts())
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    front.audit_path = current
    assert count == len(replies)


def test_a_torn_line_of_a_crash_is_cut_off(fronts, people):
    def tear(front):
        with open(front.audit_path, "wb") as file:
            file.write(b'{"whole":1,"event":{"action":"x"},"modernauth":{}}\n{"torn":')
        os.chown(front.audit_path, front.user.pw_uid, front.user.pw_gid)
    front = fronts.new(before_start=tear)
    front.audit_touched = True
    front.expect("ended in half a record")
    assert front.imap(people.new()).ok
    records = front.audit()
    assert records[0]["whole"] == 1 and "torn" not in str(records)


@pytest.mark.parametrize("what", ["symlink", "directory", "fifo", "everybody may write"])
def test_a_file_that_is_not_ours_is_refused(fronts, people, what):
    def prepare(front):
        target = front.path("elsewhere")
        if what == "symlink":
            open(target, "wb").close()
            os.chmod(target, 0o666)
            os.symlink(target, front.audit_path)
        elif what == "directory":
            os.mkdir(front.audit_path)
        elif what == "fifo":
            os.mkfifo(front.audit_path, 0o600)
            os.chown(front.audit_path, front.user.pw_uid, front.user.pw_gid)
        else:
            open(front.audit_path, "wb").close()
            os.chmod(front.audit_path, 0o666)
    front = fronts.new(before_start=prepare)
    front.expect("audit file", "login refused", r"auth: Error: modernauth\(")
    assert front.imap(people.new()).temporary
    if what == "symlink":
        assert os.path.getsize(front.path("elsewhere")) == 0
    if os.path.isdir(front.audit_path):
        os.rmdir(front.audit_path)
    else:
        os.unlink(front.audit_path)


def test_times_are_true(front, standin, people):
    account = people.new()
    standin.fault(endpoint="token", user=account.upn, latency_ms=400)
    assert front.imap(account).ok
    asked = standin.token_requests(username=account.upn)[0]
    record, = front.attempts(account.upn)
    assert abs(when(record) - asked["time"]) < 5 and 0.35e9 < record["event"]["duration"] < 30e9
