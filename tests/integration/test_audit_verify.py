# SPDX-License-Identifier: MIT
"""doveadm modernauth audit verify: what nobody touched is right, after crashes and rotations, too; what somebody touched is named."""

import gzip
import json
import os
import shutil
import subprocess

import pytest


@pytest.fixture(scope="module")
def front(fronts):
    return fronts.new()


@pytest.fixture(scope="module")
def written(fronts, running_standin, canary):
    """A directory with the files of a life: logins, a rotation, a kill, a reload, a stop; and its front end."""
    from harness.people import People

    front, people = fronts.new(), People(running_standin, canary)
    front.expect("killed with signal", "lost the connection", "cannot connect to the broker", "ending before the broker")
    accounts = [people.new() for _ in range(6)]
    assert all(front.imap(account).ok for account in accounts)
    assert front.imap(accounts[0], people.password()).wrong
    first = front.audit_path + ".1"
    os.rename(front.audit_path, first)
    front.wait(lambda: front.imap(accounts[1]).ok and os.path.exists(front.audit_path), 15)
    front.kill_and_wait()
    assert all(front.pop3(account).ok for account in accounts)
    front.reload()
    assert all(front.imap(account).ok for account in accounts)
    assert front.stop() == []
    directory = front.path("life")
    os.mkdir(directory)
    for name, path in (("1", first), ("2", front.audit_path)):
        shutil.copy(path, os.path.join(directory, name))
    shutil.copy(front.path("audit.key"), os.path.join(directory, "key"))
    shutil.copy(front.path("audit.key.pub"), os.path.join(directory, "pub"))
    os.unlink(first)
    return front, directory


@pytest.fixture
def life(written, tmp_path):
    """A copy of it that a test may spoil."""
    front, directory = written
    copy = str(tmp_path / "life")
    shutil.copytree(directory, copy)
    return Life(front, copy)


class Life:
    def __init__(self, front, directory):
        self.front, self.directory = front, directory

    def path(self, name):
        return os.path.join(self.directory, name)

    def lines(self, name):
        with open(self.path(name), "rb") as file:
            return file.read().splitlines(keepends=True)

    def write(self, name, lines):
        with open(self.path(name), "wb") as file:
            file.writelines(lines)

    def verify(self, *names, key="key"):
        done = self.front.doveadm("-f", "json", "modernauth", "audit", "verify", "--key", self.path(key),
                                  *[self.path(name) for name in names or ("1", "2")], check=False)
        rows = json.loads(done.stdout or "[]")
        return done.returncode, [row for row in rows if row["result"] == "finding"], done.stderr, rows


def test_what_nobody_touched_is_as_it_was_written(life):
    for key in ("key", "pub"):
        status, findings, said, rows = life.verify(key=key)
        assert status == 0 and findings == [] and "as they were written" in said, rows
    assert {row["fault"] for row in rows} <= {"open-end"}, rows
    # The public key is PEM like any other.
    done = subprocess.run(["openssl", "pkey", "-pubin", "-in", life.path("pub"), "-noout", "-text"], capture_output=True, text=True,
                          check=True)
    assert "ED25519" in done.stdout
    assert os.stat(life.front.path("audit.key")).st_mode & 0o777 == 0o600 and os.stat(life.front.path("audit.key")).st_uid == 0


def test_compressed_files_are_read(life):
    with open(life.path("1"), "rb") as file:
        data = file.read()
    with open(life.path("1.gz"), "wb") as file:
        # As two members, since that is how files are appended to.
        file.write(gzip.compress(data[:1000]) + gzip.compress(data[1000:]))
    subprocess.run(["zstd", "-q", life.path("2"), "-o", life.path("2.zst")], check=True)
    status, findings, said, _ = life.verify("1.gz", "2.zst")
    assert status == 0 and findings == [], said
    with open(life.path("2.zst"), "r+b") as file:
        file.truncate(os.path.getsize(life.path("2.zst")) - 5)
    status, _, said, _ = life.verify("1.gz", "2.zst")
    assert status == 66 and "2.zst: " in said


def flip(life):
    lines = life.lines("1")
    lines[3] = lines[3].replace(b"success", b"failure", 1)
    life.write("1", lines)
    return {"edited"}, {"changed"}, ("1", 4)


def delete_one(life):
    lines = life.lines("1")
    del lines[4]
    life.write("1", lines)
    return {"missing"}, {"missing"}, ("1", 5)


def delete_the_end(life):
    life.write("1", life.lines("1")[:-3])
    return {"missing", "cut"}, {"missing", "cut"}, ("2", 1)


def swap_lines(life):
    lines = life.lines("1")
    lines[2], lines[3] = lines[3], lines[2]
    life.write("1", lines)
    return {"missing", "repeated"}, {"missing", "repeated"}, ("1", 4)


def swap_files(life):
    one, two = life.lines("1"), life.lines("2")
    life.write("1", two)
    life.write("2", one)
    return {"repeated", "missing", "cut"}, {"repeated", "missing", "cut"}, None


def replay(life):
    life.write("2", life.lines("2") + life.lines("1"))
    return {"repeated"}, {"repeated"}, None


def insert(life):
    lines = life.lines("2")
    record = json.loads(lines[3])
    del record["chain"]
    lines.insert(5, json.dumps(record, separators=(",", ":")).encode() + b"\n")
    life.write("2", lines)
    return {"foreign"}, {"foreign"}, ("2", 6)


def cut_a_line(life):
    lines = life.lines("1")
    lines[5] = lines[5][:60] + b"\n"
    life.write("1", lines)
    return {"foreign", "missing"}, {"foreign", "missing"}, None


@pytest.mark.parametrize("spoil", [flip, delete_one, delete_the_end, swap_lines, swap_files, replay, insert, cut_a_line])
def test_what_somebody_touched_is_named(life, spoil):
    secret, public, place = spoil(life)
    for key, faults in (("key", secret), ("pub", public)):
        status, findings, said, _ = life.verify(key=key)
        found = {row["fault"] for row in findings}
        assert status == 65 and found and found <= faults | {"changed"}, (found, said)
        if place is not None and key == "key":
            assert any(row["file"].endswith("/" + place[0]) and row["line"] == str(place[1]) for row in findings), findings


def test_another_key_verifies_nothing(life):
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", life.path("other.pem")], check=True)
    subprocess.run(["openssl", "pkey", "-in", life.path("other.pem"), "-pubout", "-out", life.path("other")], check=True)
    status, findings, _, _ = life.verify(key="other")
    assert status == 65 and {row["fault"] for row in findings} == {"forged"}
    status, _, said, _ = life.verify(key="other.pem")
    assert status == 78 and "neither the key file of an audit nor its public key" in said


def test_the_running_front_end_is_verified_without_arguments(front, people):
    account = people.new()
    assert front.imap(account).ok
    front.wait_upstream(account.upn)
    status, rows, said = front.verify_audit()
    assert status == 0 and "as they were written" in said, rows
    # Whoever takes the last records away, while the broker runs, is contradicted by it; so is an old copy.
    with open(front.audit_path, "rb") as file:
        lines = file.read().splitlines(keepends=True)
    front.audit_touched = True
    with open(front.audit_path, "r+b") as file:
        file.truncate(sum(map(len, lines[:-1])))
    status, rows, _ = front.verify_audit()
    assert status == 65 and [row["fault"] for row in rows] == ["cut"], rows
    with open(front.audit_path, "ab") as file:
        file.write(lines[-1])
    status, rows, _ = front.verify_audit()
    assert status == 0, rows
