# SPDX-License-Identifier: MIT
"""privacy { }: nothing that the broker writes says who it was, root can look behind it on record, and a person can be forgotten."""

import contextlib
import json
import os
import re
import sqlite3
import subprocess

import pytest

PSEUDONYM = re.compile(r"^anon-[a-z2-7]{16}$")


def put_key_here(front):
    """The key is made where this front end is."""
    front.write("modernauth.conf", front.read("modernauth.conf").replace("KEYHERE", front.path("privacy.key")))


@pytest.fixture(scope="module")
def front(fronts):
    front = fronts.new(extra='privacy {\n  users = "pseudonym"\n  ips = "prefix"\n  key_file = "KEYHERE"\n}\n', before_start=put_key_here)
    front.expect("login refused", "pseudonym-revealed", "person-erased", "upstream refused")
    return front


def reveal(front, *args, check=True):
    return front.doveadm("-f", "json", "modernauth", "audit", "reveal", "--reason", "ticket 4711", *args, check=check)


def kinds_of_rows(front):
    with contextlib.closing(sqlite3.connect("file:%s?mode=ro" % front.path("lib/modernauth.db"), uri=True)) as db:
        return {kind for (kind,) in db.execute("SELECT DISTINCT kind FROM records")}


def pseudonym_of(front, name):
    found = json.loads(reveal(front, "--user", name).stdout)[0]["pseudonym"]
    assert PSEUDONYM.match(found)
    return found



@pytest.fixture(scope="module")
def anna(people_module):
    return people_module.new(name="anna.lee")


@pytest.fixture(scope="module")
def people_module(running_standin, canary):
    from harness.people import People
    return People(running_standin, canary)


def test_the_key_is_root_s(front):
    # The broker makes it, which starts a moment after Dovecot.
    front.wait(lambda: os.path.exists(front.path("privacy.key")))
    status = os.stat(front.path("privacy.key"))
    assert (status.st_mode & 0o777, status.st_uid) == (0o600, 0)


def test_no_record_and_no_line_names_anybody(front, anna, people_module):
    mark = front.log_mark()
    local = anna.upn.split("@")[0]
    assert front.imap(anna, source="127.9.1.77", client_id='"name" "%s phone" "version" "1"' % local.upper()).ok
    assert front.imap(anna, people_module.password(), source="127.9.1.78").wrong
    front.wait_upstream(pseudonym_of(front, anna.upn))
    records = [record for record in front.audit() if record.get("user", {}).get("name") == pseudonym_of(front, anna.upn)]
    assert {record["event"]["action"] for record in records} >= {"basic-auth-intercepted", "upstream-session-opened"}
    assert len([record for record in records if record["event"]["action"] == "basic-auth-intercepted"]) == 2
    assert {record["source"]["ip"] for record in records if "ip" in record.get("source", {})} == {"127.9.1.0"}
    assert not any("port" in record.get("source", {}) for record in records)
    with open(front.audit_path, encoding="utf-8") as file:
        assert local not in file.read().lower()
    lines = [line for line in front.log(mark).splitlines() if "modernauth: " in line]
    assert any("login refused" in line for line in lines)
    assert not any(local in line.lower() or "127.9.1.7" in line for line in lines), lines


def test_root_looks_behind_it_on_record(front, anna):
    mine = pseudonym_of(front, anna.upn)
    shown = json.loads(reveal(front, mine).stdout)
    assert shown == [{"pseudonym": mine, "name": anna.upn}]
    told = reveal(front, front.audit_path).stdout
    assert anna.upn in told and mine not in [json.loads(line).get("user", {}).get("name") for line in told.splitlines() if '"user":{' in line]
    assert anna.upn in front.doveadm("modernauth", "audit", "reveal", "--reason", "x", "-", input="a line about %s\n" % mine).stdout
    records = front.audit(action="pseudonym-revealed")
    assert {record["modernauth"]["pseudonym"] for record in records} >= {mine}
    assert all(record["event"]["reason"] in ("ticket 4711", "x") and record["modernauth"]["by"] and record["modernauth"]["uid"] == 0
               for record in records)
    # Who nobody knows is an answer, too, and on record.
    nobody = "anon-" + "a" * 16
    done = reveal(front, nobody, check=False)
    assert done.returncode == 67 and front.audit(action="pseudonym-revealed")[-1]["modernauth"]["pseudonym"] == nobody
    # No reason, no name.
    done = front.doveadm("modernauth", "audit", "reveal", mine, check=False)
    assert done.returncode != 0 and anna.upn not in done.stdout


def test_others_may_not(front, anna):
    mine = pseudonym_of(front, anna.upn)
    done = subprocess.run(["setpriv", "--reuid=modernauth", "--regid=modernauth", "--clear-groups", "doveadm", "-c", front.dovecot_path,
                           "modernauth", "audit", "reveal", "--reason", "x", mine], capture_output=True, text=True, check=False)
    assert done.returncode != 0 and anna.upn not in done.stdout + done.stderr


def test_names_survive_and_the_inventory_has_them(front, anna):
    assert front.stop() == []
    front.start()
    front.wait_store()
    mine = pseudonym_of(front, anna.upn)
    assert json.loads(reveal(front, mine).stdout)[0]["name"] == anna.upn
    rows = json.loads(front.doveadm("-f", "json", "modernauth", "report", "--user", anna.upn).stdout)
    assert rows and {row["user"] for row in rows} == {anna.upn}
    assert all(row["last_ip"].endswith(".0") for row in rows if "last_ip" in row)
    assert "pseudonym" in kinds_of_rows(front)


def test_a_person_can_be_forgotten(front, people_module):
    bob = people_module.new(name="bob.hay")
    assert front.pop3(bob).ok
    his = pseudonym_of(front, bob.upn)
    front.wait_upstream(his)
    done = front.doveadm("-f", "json", "modernauth", "audit", "erase", "--user", bob.upn.upper(), "--reason", "request 17")
    row = json.loads(done.stdout)[0]
    assert (row["pseudonym"], row["name"], int(row["inventory"])) == (his, "erased", 1)
    assert reveal(front, his, check=False).returncode == 67
    assert json.loads(front.doveadm("-f", "json", "modernauth", "report", "--user", bob.upn).stdout or "[]") == []
    record = front.audit(action="person-erased")[-1]
    assert record["user"]["name"] == his and record["event"]["reason"] == "request 17"
    assert front.stop() == []
    front.start()
    front.wait_store()
    assert reveal(front, his, check=False).returncode == 67


def test_with_hash_nobody_knows(front, anna):
    mine = pseudonym_of(front, anna.upn)
    front.write("modernauth.conf", front.read("modernauth.conf").replace('"pseudonym"', '"hash"'))
    front.reload()
    assert front.imap(anna).ok
    assert pseudonym_of(front, anna.upn) == mine
    assert reveal(front, mine, check=False).returncode == 67
    rows = json.loads(front.doveadm("-f", "json", "modernauth", "report").stdout)
    assert mine in {row["user"] for row in rows} and not any("@" in row["user"] for row in rows)
    assert json.loads(front.doveadm("-f", "json", "modernauth", "report", "--user", anna.upn).stdout)
    assert front.stop() == []
    kinds = kinds_of_rows(front)
    assert "inventory" in kinds and not any(kind.startswith("pseudonym") for kind in kinds)
    front.start()
    front.wait_store()


def test_what_retention_has_not_deleted_is_missing(front):
    """The file before this one, taken away by hand."""
    old = front.audit_path + "-20260101"
    os.rename(front.audit_path, old)
    front.wait(lambda: front.doveadm("modernauth", "audit", "reveal", "--reason", "x", "--user", "nobody@contoso.com") and
               os.path.exists(front.audit_path), 15)
    status = front.doveadm("-f", "json", "modernauth", "audit", "verify", check=False)
    assert status.returncode == 0, status.stdout + status.stderr
    os.rename(old, front.path("elsewhere"))
    status = front.doveadm("-f", "json", "modernauth", "audit", "verify", check=False)
    assert status.returncode == 65 and "missing" in {row["fault"] for row in json.loads(status.stdout)}
    os.rename(front.path("elsewhere"), old)
    assert front.doveadm("modernauth", "audit", "verify", check=False).returncode == 0
