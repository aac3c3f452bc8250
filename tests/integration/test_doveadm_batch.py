# SPDX-License-Identifier: MIT
"""The batch enrolment of doveadm against a broker that follows a script: files, stopping and resuming, the picture."""

import csv
import json
import os
import re
import signal
import stat
import threading
import time

import pytest

# pylint: disable=unused-import
from test_doveadm_plugin import (EX_CANTCREAT, EX_DATAERR, EX_NOINPUT, EX_TEMPFAIL, EX_UNAVAILABLE, EX_USAGE, HOSTILE,
                                 broker, doveadm, is_harmless)  # noqa: F401

COLUMNS = ["user", "account", "mailbox", "state", "code", "uri", "expires_at", "device_password", "error"]


@pytest.fixture
def batch(tmp_path):
    return Batch(tmp_path)


class Batch:
    def __init__(self, directory):
        self.input, self.output = directory / "users.csv", directory / "users-codes.csv"

    def write(self, text):
        self.input.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))

    def write_users(self, count):
        self.write("user\n" + "".join("user%d@example.com\n" % i for i in range(count)))

    def rows(self):
        """The output, by user."""
        with open(self.output, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, strict=True)
            rows = list(reader)
        assert reader.fieldnames == COLUMNS
        return {row["user"]: row for row in rows}

    def states(self):
        return [row["state"] for row in self.rows().values()]

    def wait_for_states(self, *wanted, seconds=30):
        end = time.monotonic() + seconds
        while not (self.output.exists() and sorted(self.states()) == sorted(wanted)):
            assert time.monotonic() < end, self.output.exists() and self.states()
            time.sleep(0.05)


def code_of(user):
    return "CODE-%s" % user.partition("@")[0].upper()


class People:
    """Gives everybody a code, and says OK to those who have signed in."""

    def __init__(self):
        self.open, self.lock, self.signed_in = [], threading.Lock(), set()

    def __call__(self, request):
        assert request.verb == "ENROLL"
        request.code(code_of(request["user"]))
        with self.lock:
            self.open.append(request)
            if request["user"] in self.signed_in:
                self.finish(request)

    @staticmethod
    def finish(request):
        password = "PW-%s" % request["user"] if request["device"] else None
        request.ok(account=request["account"] or request["user"], mailbox=request["mailbox"] or request["user"],
                   device_id="abc" if password else None, device_password=password)

    def sign_in(self, user):
        with self.lock:
            self.signed_in.add(user)
            for request in self.open:
                if request["user"] == user and not request.connection.closed:
                    self.finish(request)


def test_all_enrolled(doveadm, broker, batch):
    fake = broker(lambda r: (r.code(code_of(r["user"])), People.finish(r)))
    batch.write("\ufeffuser,account,mailbox,device\r\n"
                "alice@example.com,a@corp.example,\"team, box@corp.example\",phone\r\n"
                "bob@example.com,,,\r\n")
    result = doveadm.run("enroll", "--batch", "users.csv", output="json")
    assert result.status == 0
    assert json.loads(result.out) == [{"users": 2, "enrolled": 2, "pending": 0, "not_asked": 0, "expired": 0,
                                       "failed": 0, "file": "users-codes.csv"}]
    assert batch.rows()["alice@example.com"] == {
        "user": "alice@example.com", "account": "a@corp.example", "mailbox": "team, box@corp.example",
        "state": "enrolled", "code": "", "uri": "", "expires_at": "", "device_password": "PW-alice@example.com", "error": ""}
    assert batch.rows()["bob@example.com"]["device_password"] == ""
    assert stat.S_IMODE(batch.output.stat().st_mode) == 0o600
    assert fake.requests[0].values == {"user": "alice@example.com", "account": "a@corp.example",
                                       "mailbox": "team, box@corp.example", "device": "phone"}
    assert fake.requests[1].values == {"user": "bob@example.com"}
    assert "alice@example.com: enrolled\n" in result.err and "PW-" not in result.err + result.out
    assert sorted(os.listdir(os.path.dirname(batch.output))) == ["dovecot.conf", "modernauth-admin", "users-codes.csv",
                                                                 "users.csv"]


def test_a_device_for_all_and_another_output(doveadm, broker, batch, tmp_path):
    fake = broker(lambda r: People.finish(r))
    batch.write("user,device\nalice,\nbob,tablet\n")
    batch.output = tmp_path / "other.csv"
    result = doveadm.run("enroll", "--batch", "users.csv", "--output", "other.csv", "--device", "phone", "--tenant",
                         "main")
    assert result.status == 0
    assert [request["device"] for request in fake.requests] == ["phone", "tablet"]
    assert {request["tenant"] for request in fake.requests} == {"main"}
    assert batch.rows()["bob"]["device_password"] == "PW-bob"


def test_some_are_left(doveadm, broker, batch):
    def answer(request):
        user = request["user"]
        if user == "unknown":
            request.fail("user_unknown", "no such user", "create it")
            return
        request.code(code_of(user))
        if user == "slow":
            request.fail("expired", "nobody entered the code")
        elif user == "no":
            request.fail("policy", "declined")
        else:
            People.finish(request)
    broker(answer)
    batch.write("user\nalice\nunknown\nslow\nno\n")
    result = doveadm.run("enroll", "--batch", "users.csv", output="json")
    assert result.status == EX_TEMPFAIL and "3 of 4 users are not enrolled" in result.err
    assert batch.states() == ["enrolled", "failed", "expired", "failed"]
    assert batch.rows()["unknown"]["error"] == "no such user; to do: create it"
    # A code that is of no use any more must not be mailed.
    assert [row["code"] for row in batch.rows().values()] == ["", "", "", ""]


@pytest.mark.parametrize("signo", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_stopped_and_resumed(doveadm, broker, batch, signo):
    people = People()
    fake = broker(people)
    batch.write("user,device\nalice,phone\nbob,phone\ncarol,phone\n")
    process = doveadm.popen("enroll", "--batch", "users.csv")
    batch.wait_for_states("pending", "pending", "pending")
    row = batch.rows()["alice"]
    assert row["code"] == "CODE-ALICE" and row["uri"] == "https://login.example.com/device"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", row["expires_at"])
    people.sign_in("bob")
    fake.wait_for(lambda: "enrolled" in batch.states())
    process.send_signal(signo)
    result = doveadm.finish(process)
    assert result.status == EX_TEMPFAIL and "Stopped. Codes stay valid" in result.err
    assert batch.states() == ["pending", "enrolled", "pending"]
    assert batch.rows()["bob"]["device_password"] == "PW-bob"
    assert "alice: pending, code CODE-ALICE at https://login.example.com/device until" in result.err

    before = len(fake.requests)
    process = doveadm.popen("enroll", "--batch", "users.csv")
    fake.wait_for(lambda: len(fake.requests) == before + 2)
    assert [request["user"] for request in fake.requests[before:]] == ["alice", "carol"]
    people.sign_in("alice")
    people.sign_in("carol")
    result = doveadm.finish(process)
    assert result.status == 0
    # The same codes again are no news.
    assert "CODE-" not in result.err
    assert [row["device_password"] for row in batch.rows().values()] == ["PW-alice", "PW-bob", "PW-carol"]
    assert doveadm.run("enroll", "--batch", "users.csv").status == 0
    assert len(fake.requests) == before + 2


def test_what_is_in_the_output_only_is_kept(doveadm, broker, batch):
    broker(lambda r: People.finish(r))
    batch.write("user,device\nalice,phone\n")
    assert doveadm.run("enroll", "--batch", "users.csv").status == 0
    batch.write("user,device\nbob,phone\n")
    result = doveadm.run("enroll", "--batch", "users.csv", output="json")
    assert json.loads(result.out)[0]["users"] == 1
    assert {user: row["device_password"] for user, row in batch.rows().items()} == {"alice": "PW-alice",
                                                                                    "bob": "PW-bob"}


def test_codes_of_an_earlier_run_survive_a_broker_that_is_away(doveadm, broker, batch):
    fake = broker(People())
    batch.write("user\nalice\n")
    process = doveadm.popen("enroll", "--batch", "users.csv")
    batch.wait_for_states("pending")
    process.send_signal(signal.SIGTERM)
    doveadm.finish(process)
    fake.stop()
    result = doveadm.run("enroll", "--batch", "users.csv")
    assert result.status == EX_UNAVAILABLE
    assert batch.rows()["alice"]["code"] == "CODE-ALICE"


def test_thousands_at_most_200_unanswered(doveadm, broker, batch):
    waiting, most = set(), [0]

    def answer(request):
        # Reads all that has been sent before it answers anything; the last ones are fewer.
        waiting.add(request)
        most[0] = max(most[0], len(waiting))
        if len(waiting) >= 200 or len(fake.requests) == 3000:
            for one in list(waiting):
                one.code(code_of(one["user"]))
            for one in waiting:
                People.finish(one)
            waiting.clear()
    fake = broker(answer)
    batch.write_users(3000)
    result = doveadm.run("enroll", "--batch", "users.csv", output="json")
    assert result.status == 0 and json.loads(result.out)[0]["enrolled"] == 3000
    assert most[0] == 200 and set(batch.states()) == {"enrolled"}


def test_all_stay_pending_at_once(doveadm, broker, batch):
    people = People()
    fake = broker(people)
    batch.write_users(500)
    process = doveadm.popen("enroll", "--batch", "users.csv")
    fake.wait_for(lambda: len(fake.requests) == 500)
    batch.wait_for_states(*["pending"] * 500)
    for i in range(500):
        people.sign_in("user%d@example.com" % i)
    assert doveadm.finish(process).status == 0


def test_a_reload_in_between(doveadm, broker, batch):
    people = People()
    fake = broker(people)
    batch.write("user\nalice\nbob\n")
    process = doveadm.popen("enroll", "--batch", "users.csv")
    batch.wait_for_states("pending", "pending")
    fake.connections[0].bye()
    fake.wait_for(lambda: len(fake.requests) == 4)
    # Not only told to go: gone.
    fake.connections[1].close()
    fake.wait_for(lambda: len(fake.requests) == 6)
    people.sign_in("alice")
    people.sign_in("bob")
    result = doveadm.finish(process)
    assert result.status == 0 and result.err.count("CODE-ALICE") == 1


def test_a_code_that_nobody_ends(doveadm, broker, batch):
    broker(lambda r: r.code("ABCD", seconds=-70))
    batch.write("user\nalice\n")
    result = doveadm.run("enroll", "--batch", "users.csv")
    assert result.status == EX_TEMPFAIL and batch.states() == ["expired"]


def test_a_broker_that_says_nothing(doveadm, broker, batch):
    broker(lambda r: r["user"] == "alice" and r.code("ABCD"))
    batch.write("user\nalice\nbob\n")
    result = doveadm.run("enroll", "--batch", "users.csv", "--timeout", "2s")
    assert result.status == EX_TEMPFAIL and "does not answer" in result.err
    assert batch.states() == ["pending", "not_asked"]


@pytest.mark.parametrize("rubbish", ["x" * 17000, "CODE\n", "OK\t1\tdevice_password=\001\n"])
def test_rubbish_keeps_what_there_is(doveadm, broker, batch, rubbish):
    def answer(request):
        if request["user"] == "alice":
            request.code("ABCD")
            time.sleep(0.5)
        else:
            request.connection.send(rubbish)
    broker(answer)
    batch.write("user\nalice\nbob\n")
    result = doveadm.run("enroll", "--batch", "users.csv")
    assert result.status == EX_TEMPFAIL and "Error: " in result.err
    assert batch.states() == ["pending", "not_asked"]


def test_answers_without_what_is_needed(doveadm, broker, batch):
    def answer(request):
        if request["user"] == "alice":
            request.say("CODE", user_code="ABCD")
        else:
            request.ok(device_password="two words")
    broker(answer)
    batch.write("user\nalice\nbob\n")
    assert doveadm.run("enroll", "--batch", "users.csv").status == EX_TEMPFAIL
    assert batch.states() == ["failed", "failed"] and "two words" not in batch.output.read_text()


def test_hostile_texts(doveadm, broker, batch):
    def answer(request):
        if request["user"] == "alice":
            request.code(HOSTILE, account=HOSTILE, uri=HOSTILE)
        request.fail("config", HOSTILE, HOSTILE)
    broker(answer)
    batch.write("user\nalice\nbob\n")
    result = doveadm.run("enroll", "--batch", "users.csv")
    assert is_harmless(result.out + result.err)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", batch.output.read_text())
    terminal = doveadm.terminal("enroll", "--batch", "users.csv")
    terminal.finish()
    terminal.screen()


@pytest.mark.parametrize("content, status, text", [
    (None, EX_NOINPUT, "No such file"), (b"", EX_DATAERR, "no column user"),
    (b"user;mailbox\n", EX_DATAERR, "separated by commas"), (b"user\na\nb\nA\n", EX_DATAERR, "line 4, column user"),
    (b"user\n\xff\n", EX_DATAERR, "not UTF-8"), (b"user\n\"a\033[2J\n", EX_DATAERR, "line 2, column 1"),
    (b"user\n" + b"x" * 70000, EX_DATAERR, "65536 octets"), (b"user,\033[2J\n", EX_DATAERR, "unknown column")])
def test_mistakes_in_the_input(doveadm, broker, batch, content, status, text):
    fake = broker(None)
    if content is not None:
        batch.write(content)
    result = doveadm.run("enroll", "--batch", "users.csv")
    assert result.status == status and text in result.err and is_harmless(result.err)
    assert not fake.connections and not batch.output.exists()


def test_other_files_are_not_overwritten(doveadm, broker, batch, tmp_path):
    fake = broker(None)
    batch.write("user\nalice\n")
    batch.output.write_text("mine\n")
    result = doveadm.run("enroll", "--batch", "users.csv")
    assert result.status == EX_CANTCREAT and "was not written by this command" in result.err
    assert batch.output.read_text() == "mine\n"
    assert doveadm.run("enroll", "--batch", "users.csv", "--output", "users.csv").status == EX_USAGE
    assert doveadm.run("enroll", "--batch", "users.csv", "--output", "/nonexistent/file").status != 0
    os.symlink("/dev/null", tmp_path / "link")
    assert doveadm.run("enroll", "--batch", "users.csv", "--output", "link").status != 0
    assert os.path.islink(tmp_path / "link")
    assert not fake.connections


def test_two_at_once(doveadm, broker, batch):
    broker(People())
    batch.write("user\nalice\n")
    process = doveadm.popen("enroll", "--batch", "users.csv")
    batch.wait_for_states("pending")
    result = doveadm.run("enroll", "--batch", "users.csv")
    assert result.status == EX_TEMPFAIL and "another doveadm" in result.err
    process.send_signal(signal.SIGTERM)
    doveadm.finish(process)


def test_arguments(doveadm, batch):
    batch.write("user\nalice\n")
    for extra in (["alice"], ["--account", "a"], ["--mailbox", "m"]):
        result = doveadm.run("enroll", "--batch", "users.csv", *extra)
        assert result.status == EX_USAGE and "are in the file" in result.err


# --- the picture ----------------------------------------------------------------------------------------------------

def start_picture(doveadm, broker, batch, users, **size):
    people = People()
    broker(people)
    batch.write_users(users)
    return people, doveadm.terminal("enroll", "--batch", "users.csv", **size)


@pytest.mark.parametrize("rows, columns", [(24, 80), (8, 40), (3, 20), (50, 200)])
def test_the_picture_fits(doveadm, broker, batch, rows, columns):
    people, terminal = start_picture(doveadm, broker, batch, 30, rows=rows, columns=columns)
    batch.wait_for_states(*["pending"] * 30)
    for i in range(30):
        people.sign_in("user%d@example.com" % i)
    assert terminal.finish() == 0
    # Each picture: what comes between the sequence that takes away the last one and the next.
    pictures = terminal.text().replace("\r", "").split("\033[J")[1:]
    assert len(pictures) >= 2
    for picture in pictures[:-1]:
        lines = re.sub(r"\033\[\d+A$", "", picture).split("\n")
        assert lines[-1] == "" and len(lines) - 1 < rows
        assert all(len(line) < columns for line in lines)
    if columns >= 80:
        screen = terminal.screen()
        assert any("enrolled 30 of 30, pending 0, not asked 0, expired 0, failed 0" in line for line in screen)
        assert sum("since the start" in line for line in screen) == 1
        assert any("user29@example.com: enrolled" in line for line in screen)


def test_the_picture_follows_the_size(doveadm, broker, batch):
    people, terminal = start_picture(doveadm, broker, batch, 30, rows=30, columns=120)
    terminal.wait_for("enrolled 0 of 30, pending 30")
    terminal.resize(6, 30)
    people.sign_in("user0@example.com")
    terminal.wait_for("enrolled 1 of 30, pending 29")
    mark = len(terminal.text())
    people.sign_in("user1@example.com")
    terminal.wait_for("enrolled 2 of 30, pending 28")
    last = terminal.text()[mark:].replace("\r", "").split("\033[J")[-1].split("\n")
    assert all(len(line) < 30 for line in last) and len(last) <= 6
    os.write(terminal.fd, b"\x03")
    assert terminal.finish() == EX_TEMPFAIL


def test_ctrl_c_in_the_picture(doveadm, broker, batch):
    people, terminal = start_picture(doveadm, broker, batch, 3, rows=24, columns=100)
    people.sign_in("user1@example.com")
    terminal.wait_for("enrolled 1 of 3, pending 2")
    assert re.search(r"the next code ends in 1[45]:\d\d", terminal.text())
    os.write(terminal.fd, b"\x03")
    assert terminal.finish() == EX_TEMPFAIL
    assert "Stopped. Codes stay valid" in terminal.text()
    assert batch.states() == ["pending", "enrolled", "pending"]


def test_hostile_picture(doveadm, broker, batch):
    broker(lambda r: r.fail("config", HOSTILE))
    batch.write("user\nalice\n")
    terminal = doveadm.terminal("enroll", "--batch", "users.csv")
    assert terminal.finish() == EX_TEMPFAIL
    terminal.screen()
    assert "\033[2J" not in terminal.text() and "\033]" not in terminal.text()
