# SPDX-License-Identifier: MIT
"""The commands of "doveadm modernauth" against a broker that follows a script."""

import json
import os
import re
import signal
import stat
import time

import pytest

import doveadm_run
from fake_admin import FakeAdmin

EX_USAGE, EX_DATAERR, EX_NOINPUT, EX_NOUSER, EX_UNAVAILABLE, EX_CANTCREAT = 64, 65, 66, 67, 69, 73
EX_TEMPFAIL, EX_PROTOCOL, EX_NOPERM, EX_CONFIG = 75, 76, 77, 78

T = 1764151200          # 2025-11-26T10:00:00Z
ISO = "2025-11-26T10:00:00Z"
PASSWORD = "K7QM-8XTR-5WZP-2H"


@pytest.fixture
def doveadm(tmp_path):
    assert doveadm_run.available(), "the plugin is neither installed nor in $MODERNAUTH_BUILD"
    return doveadm_run.Doveadm(tmp_path)


@pytest.fixture
def broker(doveadm):
    brokers = []

    def start(answer, **options):
        brokers.append(FakeAdmin(doveadm.socket, answer, **options))
        return brokers[-1]

    yield start
    for one in brokers:
        one.stop()
        assert not one.errors, one.errors


def replies(**verbs):
    """Answers each verb with a function of the request."""
    return lambda request: verbs[request.verb.replace("-", "_")](request)


ENROLMENT = {"user": "alice@example.com", "tenant": "main", "account": "a@example.com", "mailbox": "m@example.com",
             "state": "active", "enrolled_at": T, "expires_at": T, "devices": 2}
DEVICE = {"user": "alice@example.com", "tenant": "main", "device_id": "abcdefghijkl", "name": "phone",
          "origin": "generated", "networks": "192.0.2.0/24", "services": "imap", "created_at": T, "last_used_at": T,
          "last_ip": "192.0.2.7", "last_service": "imap"}


def rows_of(*rows):
    def answer(request):
        for row in rows:
            request.row(**row)
        request.ok(rows=len(rows))
    return answer


# --- every command, in the formats ----------------------------------------------------------------------------------

def test_status(doveadm, broker):
    broker(replies(STATUS=lambda r: r.ok(version="0.2.0", tokens=3)))
    assert json.loads(doveadm.run("status", output="json").out) == [
        {"name": "version", "value": "0.2.0"}, {"name": "tokens", "value": "3"}]
    table = doveadm.run("status", output=None)
    assert table.status == 0 and not table.err
    assert [line.split() for line in table.out.splitlines() if line] == [["name", "value"], ["version", "0.2.0"],
                                                                         ["tokens", "3"]]


def test_list(doveadm, broker):
    fake = broker(replies(LIST=rows_of(ENROLMENT, {"user": "bob@example.com", "state": "dead", "reason": "AADSTS70043",
                                                   "devices": 0})))
    rows = json.loads(doveadm.run("list", output="json").out)
    assert rows[0]["expires_at"] == ISO and rows[0]["devices"] == 2 and rows[0]["refreshed_at"] == ""
    assert rows[1]["reason"] == "AADSTS70043" and rows[1]["expires_at"] == ""
    assert doveadm.run("list").rows()[0]["user"] == "alice@example.com"
    table = doveadm.run("list", output=None).out.splitlines()
    assert table[0].split()[:4] == ["user", "tenant", "state", "expires_at"]
    assert table[2].split() == ["bob@example.com", "-", "dead", "-", "0", "-", "-", "-", "-", "AADSTS70043"]
    assert "user=bob@example.com" in doveadm.run("list", output="flow").out
    assert "user: bob@example.com" in doveadm.run("list", output="pager").out
    assert fake.requests[-1].values == {}


def test_list_asks_for_what_was_chosen(doveadm, broker):
    fake = broker(replies(LIST=rows_of()))
    result = doveadm.run("list", "--expiring", "14d", "--tenant", "main", output="json")
    assert json.loads(result.out) == [] and result.status == 0
    assert fake.requests[0].values == {"tenant": "main", "expiring": "1209600"}
    assert "expires_at" in doveadm.run("list").out
    for wrong in ("14", "d", "14 d", "14y", "-1d", "9999999d", ""):
        result = doveadm.run("list", "--expiring=" + wrong)
        assert result.status == EX_USAGE and "not a time like" in result.err


def test_show(doveadm, broker):
    def show(request):
        request.row(item="enrolment", **ENROLMENT)
        request.row(item="device", **DEVICE)
        request.row(item="token", grant="refresh_token", token_id="0123", expires_at=T, refused="no")
        request.row(item="refusal", reason="bad_credentials", until=T)
        request.ok()
    fake = broker(replies(SHOW=show))
    rows = json.loads(doveadm.run("show", "alice@example.com", output="json").out)
    assert {"item": "device", "id": "abcdefghijkl", "name": "last_ip", "value": "192.0.2.7"} in rows
    assert {"item": "refusal", "id": "", "name": "until", "value": ISO} in rows
    assert {"item": "token", "id": "0123", "name": "expires_at", "value": ISO} in rows
    assert fake.requests[0].values == {"user": "alice@example.com"}


def test_forget(doveadm, broker):
    broker(replies(FORGET=lambda r: r.ok(tokens=2, refusals=1)))
    assert json.loads(doveadm.run("forget", "alice", output="json").out) == [{"tokens": 2, "refusals": 1}]


def revoked(request):
    request.ok(tokens=1, refusals=0, enrolments=1, devices=4, relay_keys=1, relay_keys_left="postfix, \x1b[2Jother")


def test_revoke_needs_a_yes(doveadm, broker):
    fake = broker(replies(REVOKE=revoked))
    result = doveadm.run("revoke", "alice")
    assert result.status == EX_USAGE and "--yes" in result.err and not fake.requests
    result = doveadm.run("revoke", "--yes", "alice", output="json")
    assert json.loads(result.out) == [{"tokens": 1, "refusals": 0, "enrolments": 1, "devices": 4, "relay_keys": 1}]
    assert "relay keys that still give tokens for alice: postfix, " in result.err and "\x1b" not in result.err, result.err


@pytest.mark.parametrize("answer, asked", [("y\n", 1), ("yes\n", 1), ("n\n", 0), ("\n", 0), ("yesterday\n", 0)])
def test_revoke_asks_on_a_terminal(doveadm, broker, answer, asked):
    fake = broker(replies(REVOKE=revoked))
    terminal = doveadm.terminal("revoke", "alice")
    terminal.wait_for("Revoke? [y/N]")
    terminal.write(answer)
    assert terminal.finish() == (0 if asked else EX_TEMPFAIL)
    assert len(fake.requests) == asked


def test_device_add(doveadm, broker):
    fake = broker(replies(DEVICE_ADD=lambda r: r.ok(device_id="abc", device_password=PASSWORD)))
    result = doveadm.run("device", "add", "alice", "Alice's phone", "--networks", "192.0.2.0/24,2001:db8::/32",
                         "--protocols", "imap,submission", "--expires", "2099-11-26", output="json")
    assert json.loads(result.out) == [{"device_id": "abc", "device_password": PASSWORD}]
    assert PASSWORD not in result.err and "not shown again" in result.err
    assert fake.requests[0].values == {"user": "alice", "name": "Alice's phone",
                                       "networks": "192.0.2.0/24,2001:db8::/32", "services": "imap,submission",
                                       # The first second after that day.
                                       "expires_at": "4099420800"}
    for wrong in ("2099-02-29", "2099-1-01", "26.11.2099", "tomorrow"):
        result = doveadm.run("device", "add", "alice", "phone", "--expires", wrong)
        assert result.status == EX_USAGE and "not a date" in result.err
    assert "is over" in doveadm.run("device", "add", "alice", "phone", "--expires", "2025-01-01").err
    assert len(fake.requests) == 1


def test_device_list(doveadm, broker):
    fake = broker(replies(DEVICE_LIST=rows_of(DEVICE)))
    row = doveadm.run("device", "list").rows()[0]
    assert row["last_used_at"] == ISO and row["expires_at"] == "" and row["networks"] == "192.0.2.0/24"
    doveadm.run("device", "list", "alice")
    assert [request.values for request in fake.requests] == [{}, {"user": "alice"}]


def test_device_remove_and_expire(doveadm, broker):
    fake = broker(replies(DEVICE_REMOVE=lambda r: r.ok(), DEVICE_EXPIRE=lambda r: r.ok()))
    assert doveadm.run("device", "remove", "alice", "phone").rows() == [
        {"user": "alice", "device": "phone", "state": "removed"}]
    before = int(time.time())
    assert doveadm.run("device", "expire", "alice", "phone", "--at", "now").status == 0
    assert doveadm.run("device", "expire", "alice", "phone").status == 0
    assert doveadm.run("device", "expire", "alice", "phone", "--at", "2025-11-25").rows()[0]["state"] == \
        "expires 2025-11-26T00:00:00Z"
    now, unsaid, day = (int(request["expires_at"]) for request in fake.asked("DEVICE-EXPIRE"))
    assert before <= now <= unsaid <= time.time() and day == 1764115200
    assert doveadm.run("device", "expire", "alice", "phone", "--at", "soon").status == EX_USAGE


def test_store_rekey(doveadm, broker):
    def rekey(request):
        for done in range(0, 1001, 250):
            request.note(done=done, total=1000)
        request.ok(resealed=1000, key_id="k2")
    broker(replies(REKEY=rekey))
    result = doveadm.run("store", "rekey", output="json")
    assert json.loads(result.out) == [{"resealed": 1000, "key_id": "k2"}]
    assert result.err.splitlines() == ["Sealing again: 0 of 1000"]
    terminal = doveadm.terminal("store", "rekey")
    assert terminal.finish() == 0
    assert "1000 of 1000" in terminal.text() and not any("Sealing" in line for line in terminal.screen())


@pytest.mark.parametrize("args", [["show"], ["forget"], ["revoke"], ["enroll"], ["device", "add"],
                                  ["device", "add", "alice"], ["device", "remove", "alice"], ["device", "expire"],
                                  ["store", "export"], ["store", "import"]])
def test_usage(doveadm, args):
    result = doveadm.run(*args)
    assert result.status == EX_USAGE and "doveadm modernauth " + " ".join(args[:2]) in result.err


# --- what goes wrong ------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("code, status", [
    ("user_unknown", EX_NOUSER), ("not_ours", EX_NOUSER), ("config", EX_CONFIG), ("temporary", EX_TEMPFAIL),
    ("policy", EX_NOPERM), ("audit", EX_TEMPFAIL), ("timeout", EX_TEMPFAIL), ("of the future", EX_PROTOCOL)])
def test_failures_have_a_status_and_advice(doveadm, broker, code, status):
    broker(replies(SHOW=lambda r: r.fail(code, "something is wrong", "mend it")))
    result = doveadm.run("show", "alice")
    assert result.status == status and result.err.strip() == "Error: something is wrong; to do: mend it"


def test_no_broker(doveadm):
    result = doveadm.run("status")
    assert result.status == EX_UNAVAILABLE and "check that Dovecot is running" in result.err
    assert doveadm.socket in result.err


def test_older_broker(doveadm, broker):
    broker(lambda request: request.say("BAD", reason="unknown verb"))
    result = doveadm.run("list")
    assert result.status == EX_PROTOCOL and "same version" in result.err


def test_reload_in_between(doveadm, broker):
    broker(lambda request: request.connection.bye())
    result = doveadm.run("revoke", "alice", "--yes")
    assert result.status == EX_TEMPFAIL and "restarted" in result.err and "run the command again" in result.err


@pytest.mark.parametrize("hello", ["HTTP/1.1 400 Bad Request\r\n\r\n", "x" * 20000, "\0\0\0\n",
                                   "VERSION\tmodernauth\t2\t0\n", "VERSION\tmodernauth\t1\t0\nREADY\trole=auth\n"])
def test_strangers_on_the_socket(doveadm, broker, hello):
    broker(None, hello=hello)
    result = doveadm.run("status")
    assert result.status == EX_PROTOCOL and result.err.startswith("Error: ")


def test_a_broker_that_says_nothing(doveadm, broker):
    broker(lambda request: None)
    result = doveadm.run("status", "--timeout", "1s")
    assert result.status == EX_TEMPFAIL and "does not answer" in result.err
    assert doveadm.run("status", "--timeout", "soon").status == EX_USAGE


def test_no_hello(doveadm, broker):
    broker(None, hello=None)
    result = doveadm.run("status", "--timeout", "1s")
    assert result.status == EX_TEMPFAIL and "does not say hello" in result.err


def test_a_broker_that_hangs_up(doveadm, broker):
    broker(lambda request: request.connection.close())
    result = doveadm.run("list")
    assert result.status == EX_TEMPFAIL and "restarted before it answered" in result.err


@pytest.mark.parametrize("rubbish", ["x" * 17000, "ROW\n", "ROW\t1\t=\n", "ROW\t1\tuser=\001\n", "\n",
                                     "ROW\t1" + "\ta=b" * 70 + "\n", "ROW\t1\tuser=alice\n",
                                     "ROW\t1\tuser=a\tdevices=-1\n", "ROW\t1\tuser=a\tdevices=1e9\n",
                                     "OK\t1\trows=5\n"])
def test_rubbish(doveadm, broker, rubbish):
    broker(lambda request: request.connection.send(rubbish))
    result = doveadm.run("list", output="json")
    assert result.status == EX_PROTOCOL and result.err.startswith("Error: ")


def test_ctrl_c(doveadm, broker):
    fake = broker(lambda request: None)
    process = doveadm.popen("status")
    fake.wait_for(lambda: fake.requests)
    process.send_signal(signal.SIGINT)
    result = doveadm.finish(process)
    assert result.status == EX_TEMPFAIL and "interrupted" in result.err


HOSTILE = "a\033]0;x\007\033[2J\tb\nc\rd\u009b31me\u202ef\udcff\x7f"


def is_harmless(text):
    return not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", text)


@pytest.mark.parametrize("output", [None, "tab", "flow", "pager", "json"])
def test_hostile_texts_do_not_reach_the_terminal(doveadm, broker, output):
    row = dict(ENROLMENT, user=HOSTILE, account=HOSTILE, reason=HOSTILE)
    broker(replies(LIST=rows_of(row), SHOW=lambda r: r.fail("config", HOSTILE, HOSTILE),
                   STATUS=lambda r: r.connection.send("OK\t%s\tx\033[2Jy=1\n" % r.id)))
    result = doveadm.run("list", output=output)
    assert result.status == 0 and is_harmless(result.out.replace("\f", ""))
    if output == "tab":
        assert len(result.rows()) == 1 and result.rows()[0]["tenant"] == "main"
    result = doveadm.run("show", "alice", output=output)
    assert result.status == EX_CONFIG and is_harmless(result.err) and result.err.count("\n") == 1
    assert is_harmless(doveadm.run("status", output=output).out.replace("\f", ""))


def test_a_hostile_password_is_not_shown(doveadm, broker):
    broker(replies(DEVICE_ADD=lambda r: r.ok(device_id="abc", device_password="\033[2J")))
    result = doveadm.run("device", "add", "alice", "phone")
    assert result.status == EX_PROTOCOL and is_harmless(result.out + result.err)


# --- export and import ----------------------------------------------------------------------------------------------

LINES = ["version 1 %d" % i + "x" * (i % 300) for i in range(1000)]


def exported(request):
    for line in LINES:
        request.row(data=line)
    request.ok(rows=len(LINES))


def test_export(doveadm, broker, tmp_path):
    broker(replies(EXPORT=exported))
    path = tmp_path / "export"
    assert doveadm.run("store", "export", str(path)).rows() == [{"rows": "1000", "file": str(path)}]
    assert path.read_text().splitlines() == LINES
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_text("mine")
    result = doveadm.run("store", "export", str(path))
    assert result.status == EX_CANTCREAT and "--force" in result.err and path.read_text() == "mine"
    assert doveadm.run("store", "export", "--force", str(path)).status == 0
    assert path.read_text().splitlines() == LINES


@pytest.mark.parametrize("answer", [
    lambda r: (r.row(data="one"), r.ok(rows=2)), lambda r: (r.row(data="one"), r.ok()),
    lambda r: (r.row(data="one\ntwo"), r.ok(rows=1)), lambda r: (r.row(x="y"), r.ok(rows=1)),
    lambda r: (r.row(data="one"), r.fail("temporary", "no")), lambda r: (r.row(data="one"), r.connection.close())])
def test_half_an_export_is_none(doveadm, broker, tmp_path, answer):
    broker(replies(EXPORT=answer))
    before = sorted(os.listdir(tmp_path))
    assert doveadm.run("store", "export", "export").status in (EX_PROTOCOL, EX_TEMPFAIL)
    assert sorted(os.listdir(tmp_path)) == before


def test_export_to_where_no_file_can_be(doveadm, broker, tmp_path):
    broker(replies(EXPORT=exported))
    for path in ("/nonexistent/file", "/dev/full", str(tmp_path)):
        result = doveadm.run("store", "export", "--force", path)
        assert result.status == EX_CANTCREAT and result.err.startswith("Error: ")
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)


def test_import(doveadm, broker, tmp_path):
    fake = broker(replies(IMPORT_LINE=lambda r: r.ok(), IMPORT=lambda r: r.ok(rows=1000)))
    path = tmp_path / "export"
    path.write_text("\n".join(LINES) + "\n")
    assert doveadm.run("store", "import", str(path)).rows() == [{"rows": "1000"}]
    assert [request["data"] for request in fake.asked("IMPORT-LINE")] == LINES
    assert [request.values for request in fake.asked("IMPORT")] == [{}]
    assert doveadm.run("store", "import", "--replace", str(path)).status == 0
    assert fake.asked("IMPORT")[1].values == {"replace": "yes"}


@pytest.mark.parametrize("content, status, text", [
    (b"one\n\nthree\n", EX_CONFIG, "line 2: is empty"), (b"one\n" + b"x" * 17000, EX_CONFIG, "line 2: too long"),
    (b"one\ntwo\0\n", EX_CONFIG, "line 2: not a text"), (b"one\nbad\nthree\n", EX_CONFIG, "line 2: who wrote that?"),
    (None, EX_NOINPUT, "No such file")])
def test_import_of_something_else(doveadm, broker, tmp_path, content, status, text):
    fake = broker(replies(IMPORT_LINE=lambda r: r.fail("config", "who wrote that?") if r["data"] == "bad" else r.ok()))
    path = tmp_path / "export"
    if content is not None:
        path.write_bytes(content)
    result = doveadm.run("store", "import", str(path))
    assert result.status == status and text in result.err
    assert not fake.asked("IMPORT")


# --- enroll ---------------------------------------------------------------------------------------------------------

def enrolled_after(polls, **ok):
    def answer(request):
        request.code("ABCD-EFGH", account="alice@corp.example")
        for poll in range(1, polls + 1):
            time.sleep(0.3)
            request.note(state="pending", polls=poll)
        request.ok(**{"account": "alice@corp.example", "mailbox": "m@corp.example", **ok})
    return answer


def test_enroll(doveadm, broker):
    fake = broker(replies(ENROLL=enrolled_after(2, device_id="abc", device_password=PASSWORD)))
    result = doveadm.run("enroll", "alice@example.com", "--tenant", "main", "--account", "alice@corp.example",
                         "--mailbox", "m@corp.example", "--device", "phone", output="json")
    assert json.loads(result.out) == [{"user": "alice@example.com", "account": "alice@corp.example",
                                       "mailbox": "m@corp.example", "device_id": "abc", "device_password": PASSWORD}]
    assert re.match(r"To sign in, open https://login.example.com/device and enter ABCD-EFGH \(as alice@corp.example\); "
                    r"valid until (\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d UTC\n", result.err)
    assert PASSWORD not in result.err and "not shown again" in result.err
    assert fake.requests[0].values == {"user": "alice@example.com", "tenant": "main", "account": "alice@corp.example",
                                       "mailbox": "m@corp.example", "device": "phone"}


def test_enroll_without_a_device(doveadm, broker):
    broker(replies(ENROLL=enrolled_after(0)))
    result = doveadm.run("enroll", "alice", output=None)
    assert result.out.splitlines()[1].split() == ["alice", "alice@corp.example", "m@corp.example", "-", "-"]
    assert "not shown again" not in result.err


def test_enroll_on_a_terminal(doveadm, broker):
    broker(replies(ENROLL=enrolled_after(4, device_id="abc", device_password=PASSWORD)))
    terminal = doveadm.terminal("enroll", "alice")
    assert terminal.finish() == 0
    assert re.search(r"Waiting for the sign-in: 1[45]:\d\d left, asked \d times", terminal.text())
    screen = "\n".join(terminal.screen())
    assert "ABCD-EFGH" in screen and screen.count(PASSWORD) == 1 and "Waiting" not in screen


@pytest.mark.parametrize("code, status", [("policy", EX_NOPERM), ("timeout", EX_TEMPFAIL)])
def test_enroll_refused(doveadm, broker, code, status):
    broker(replies(ENROLL=lambda r: (r.code("ABCD-EFGH"), r.fail(code, "declined", "ask again"))))
    result = doveadm.run("enroll", "alice")
    assert result.status == status and "Error: declined; to do: ask again" in result.err


@pytest.mark.parametrize("signo", [signal.SIGINT, signal.SIGTERM])
def test_enroll_stopped(doveadm, broker, tmp_path, signo):
    fake = broker(replies(ENROLL=lambda r: r.code("ABCD-EFGH")))
    errors = tmp_path / "errors"
    with open(errors, "wb") as file:
        process = doveadm.popen("enroll", "alice", stderr=file)
    fake.wait_for(lambda: "ABCD" in errors.read_text())
    process.send_signal(signo)
    process.communicate(timeout=20)
    assert process.returncode == EX_TEMPFAIL
    assert re.search(r"The code stays valid until .* UTC; the same command waits for it again\.", errors.read_text())


def test_enroll_over_a_reload(doveadm, broker):
    fake = broker(None)

    def answer(request):
        request.code("ABCD-EFGH")
        if len(fake.requests) == 1:
            request.connection.bye()
        else:
            request.ok(account="a", mailbox="m")
    fake.answer = answer
    result = doveadm.run("enroll", "alice")
    assert result.status == 0 and result.err.count("ABCD-EFGH") == 1 and len(fake.requests) == 2


def test_enroll_with_a_broker_that_forgets(doveadm, broker):
    broker(lambda request: None)
    result = doveadm.run("enroll", "alice", "--timeout", "1s")
    assert result.status == EX_TEMPFAIL and "does not answer" in result.err


def test_hostile_code(doveadm, broker):
    broker(replies(ENROLL=lambda r: (r.code(HOSTILE, account=HOSTILE, uri=HOSTILE), r.ok(account=HOSTILE))))
    result = doveadm.run("enroll", "alice")
    assert is_harmless(result.out + result.err)
    terminal = doveadm.terminal("enroll", "alice")
    terminal.finish()
    terminal.screen()
