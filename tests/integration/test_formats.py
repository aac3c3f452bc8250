# SPDX-License-Identifier: MIT
"""audit export and tail: what comes out is what public schemas and strict parsers take, whatever is in the records."""

import contextlib
import datetime
import gzip
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time

import pytest

from harness.records import Ecs, Ocsf, parse_cef, parse_syslog
from harness.settings import TOP

NAMES = ['quo"te]\\@contoso.com', "back\\slash=|x@contoso.com", "\u202egnp.exe@contoso.com", "\x1b[31mred@contoso.com", "\u65e5\u672c@contoso.com",
         "\x85\x9b@contoso.com", "tab\tand\nnewline@contoso.com", "a src=1.2.3.4 msg=x@contoso.com", "]] [x@1 a=\"b\"]@contoso.com"]


def written_out(text, but=""):
    """Control characters as formats show them that have no spelling for them."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", lambda m: m.group(0) if m.group(0) in but else "<U+%04X>" % ord(m.group(0)), text)


@pytest.fixture(scope="module")
def lived(fronts, running_standin, canary):
    """A front end that has seen all kinds of records, in a rotated file and the current one."""
    from harness.people import People

    front, people = fronts.new(dovecot="import_environment = TZ NO_COLOR\n"), People(running_standin, canary)
    front.expect("login refused", "upstream refused", "refused: user=", "cannot")
    accounts = [people.new() for _ in range(4)]
    for protocol in ("imap", "pop3", "submission"):
        assert front.login(protocol, accounts[0], tls="implicit", mech="PLAIN").ok
        front.wait_upstream(accounts[0].upn, 1)
    assert front.imap(accounts[1], client_id='"name" "Legacy \\"Mail\\"" "version" "4.5.6"').ok
    front.imap(accounts[1], people.password())
    os.rename(front.audit_path, front.audit_path + ".1")
    front.wait(lambda: front.imap(accounts[2]).ok and os.path.exists(front.audit_path), 15)
    front.doveadm("modernauth", "allow", "--protocol", "pop3", "--user", accounts[3].upn, "--until",
                  (datetime.date.today() + datetime.timedelta(days=30)).isoformat(), "--reason", "Scanner", "--yes")
    password = people.password()
    with front.broker("auth") as broker:
        for name in NAMES:
            broker.login(name, password, session="s", rip="2001:db8::1", client_id='"name" "x"')
    # Sessions that go on writing would disturb those who compare.
    front.wait(lambda: len(front.audit(action="upstream-session")) >= 1)
    size = -1
    while size != (size := os.path.getsize(front.audit_path)):
        time.sleep(1)
    return front


def lines_of(path):
    with open(path, "rb") as file:
        return [json.loads(line) for line in file.read().splitlines()]


def export(front, form, *args, check=True):
    done = front.doveadm("modernauth", "audit", "export", "--format", form, *args, check=False)
    assert done.returncode == 0 or not check, done.stderr
    return done


@pytest.fixture(scope="module")
def records(lived):
    return lines_of(lived.audit_path + ".1") + lines_of(lived.audit_path)


def test_ecs_is_ecs(lived, records):
    exported = [json.loads(line) for line in export(lived, "ecs").stdout.splitlines()]
    assert exported == records
    ecs = Ecs()
    for record in exported:
        ecs.check(record)
    actions = {record["event"]["action"] for record in exported}
    assert {"basic-auth-intercepted", "upstream-session-opened", "exception-added", "audit-begun", "audit-rotated", "audit-resumed"} <= actions


def test_ocsf_is_valid_by_the_public_schema(lived, records):
    ocsf = Ocsf()
    events = [json.loads(line) for line in export(lived, "ocsf").stdout.splitlines()]
    assert len(events) == len(records)
    for event, record in zip(events, records):
        ocsf.check(event)
        assert event["metadata"]["uid"] == record["event"]["id"] if "id" in record["event"] else True
        if "authentication" in record["event"]["category"]:
            assert event["class_uid"] == 3002 and event["user"]["name"] == record["user"]["name"]
            assert event["is_mfa"] is False and event["is_cleartext"] is not record["tls"]["established"]
            assert event["status_id"] == {"success": 1, "failure": 2, "unknown": 0}[record["event"]["outcome"]]
        assert event["time"] == int(datetime.datetime.fromisoformat(
            record["@timestamp"].replace("Z", "+00:00")).timestamp() * 1000 + 0.0005)
    assert {event["class_uid"] for event in events} == {0, 3002, 3004}


def test_the_reduced_schema_can_say_no(lived):
    """Each constraint that counts, broken by hand."""
    ocsf = Ocsf()
    event = next(event for event in map(json.loads, export(lived, "ocsf").stdout.splitlines()) if event["class_uid"] == 3002)
    for change in ({"activity_id": 8}, {"type_uid": 300202}, {"class_uid": 3003}, {"severity_id": 7}, {"time": "now"}, {"user": {}},
                   {"auth_protocol_id": 13}, {"metadata": {"version": "1.8.0"}}, {"no_such": 1}, {"src_endpoint": {"port": 5}},
                   {"src_endpoint": {"ip": "localhost"}}, {"is_mfa": "no"}, {"user": {"name": "a", "email_addr": "b"}}):
        with pytest.raises(AssertionError):
            ocsf.check({**event, **change})
    for gone in ("user", "metadata", "time", "severity_id", "type_uid"):
        with pytest.raises(AssertionError):
            ocsf.check({key: value for key, value in event.items() if key != gone})


def test_cef_is_read_by_a_strict_parser(lived, records):
    lines = export(lived, "cef").stdout.split("\n")[:-1]
    assert len(lines) == len(records)
    for line, record in zip(lines, records):
        header, extension = parse_cef(line)
        assert header["signature"] == record["event"]["action"]
        if "user" in record:
            assert extension["duser"] == written_out(record["user"]["name"], "\n\r")
        if "source" in record:
            assert record["source"]["ip"] in (extension.get("src"), extension.get("c6a2"))
    names = {parse_cef(line)[1].get("duser") for line in lines}
    assert {written_out(name, "\n\r") for name in NAMES} <= names


def test_cef_is_read_by_liblognorm(lived, records, tmp_path):
    """The library with which rsyslog (mmnormalize) reads CEF. It takes the first key of an extension without its first
    letter; ours begins with the time."""
    rules = tmp_path / "rules"
    rules.write_text("version=2\nrule=:%f:cef%\n", encoding="ascii")
    lines = export(lived, "cef").stdout
    done = subprocess.run(["lognormalizer", "-r", str(rules), "-e", "json"], input=lines, check=True, capture_output=True, text=True)
    read = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(read) == len(records)
    for event, record in zip(read, records):
        assert event["f"]["SignatureID"] == record["event"]["action"], event
        assert event["f"]["DeviceProduct"] == "dovecot-modernauth"
        if "user" in record:
            assert event["f"]["Extensions"]["duser"] == written_out(record["user"]["name"], "\n\r"), event


def test_syslog_is_read_by_a_strict_parser(lived, records):
    lines = export(lived, "syslog").stdout.split("\n")[:-1]
    assert len(lines) == len(records)
    for line, record in zip(lines, records):
        message = parse_syslog(line)
        assert message["msgid"] == record["event"]["action"] and message["time"] == record["@timestamp"]
        assert message["pri"] == 80 + {"success": 6, "failure": 4, "unknown": 5}[record["event"]["outcome"]]
        if "user" in record:
            assert message["data"]["ecs@32473"]["user.name"] == written_out(record["user"]["name"])
        if "session" in record["modernauth"]:
            assert message["data"]["modernauth@32473"]["session"] == record["modernauth"]["session"]


# -- which records ---------------------------------------------------------------------------------------------------------------------

def test_time_and_user_choose_records(lived, records):
    name = next(record["user"]["name"] for record in records if "user" in record)
    assert {json.loads(line)["user"]["name"] for line in export(lived, "ecs", "--user", name.upper()).stdout.splitlines()} == {name}
    assert export(lived, "ecs", "--user", "nobody@*").stdout == ""
    assert export(lived, "ecs", "--since", "2099-01-01").stdout == "" and export(lived, "ecs", "--until", "2000-01-01T00:00:00Z").stdout == ""
    assert len(export(lived, "ecs", "--since", "1d").stdout.splitlines()) == len(records)
    for wrong in (("--since", "soon"), ("--until", "2026-02-31")):
        done = export(lived, "ecs", *wrong, check=False)
        assert done.returncode == 64 and "not a time like 30d" in done.stderr
    done = export(lived, "xml", check=False)
    assert done.returncode == 64 and "ecs, ocsf, cef or syslog" in done.stderr


def test_compressed_files_damage_and_the_exit_status(lived, records, tmp_path):
    good = open(lived.audit_path + ".1", "rb").read()
    with gzip.open(tmp_path / "a.gz", "wb") as file:
        file.write(good)
    subprocess.run(["zstd", "-q", "-", "-o", str(tmp_path / "a.zst")], input=good, check=True)
    for name in ("a.gz", "a.zst"):
        assert export(lived, "ecs", str(tmp_path / name)).stdout.encode() == good
    (tmp_path / "bad").write_bytes(good + b"not a record\n" + b"x" * 100000 + b"\n" + good[:300])
    done = export(lived, "ecs", str(tmp_path / "bad"), check=False)
    count = good.count(b"\n")
    assert done.returncode == 65 and done.stdout.encode() == good
    assert "bad:%d: not a record" % (count + 1) in done.stderr and "bad:%d: a line that is longer" % (count + 2) in done.stderr
    assert "bad:%d: the file ends in half a record" % (count + 3) in done.stderr and "3 lines are no records" in done.stderr
    (tmp_path / "cut.gz").write_bytes((tmp_path / "a.gz").read_bytes()[:-20])
    assert export(lived, "ecs", str(tmp_path / "cut.gz"), check=False).returncode == 66
    # Whoever reads only the begin is no error.
    done = subprocess.run("doveadm -c %s modernauth audit export --format cef | head -1" % lived.dovecot_path, shell=True, capture_output=True,
                          text=True, timeout=60)
    assert done.stdout.startswith("CEF:0|") and done.stderr == ""


@contextlib.contextmanager
def running(front, *args, **options):
    process = subprocess.Popen(["doveadm", "-c", front.dovecot_path, "modernauth", *args], text=True, **{"stdout": subprocess.PIPE, **options})
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def rotated(front, account, suffix):
    os.rename(front.audit_path, front.audit_path + suffix)
    front.wait(lambda: front.imap(account).ok and os.path.exists(front.audit_path), 15)


@pytest.fixture(scope="module")
def moving(fronts):
    """A front end whose files are renamed."""
    return fronts.new()


def test_following_goes_across_rotation(moving, people, tmp_path):
    account = people.new()
    assert moving.imap(account).ok
    out = tmp_path / "out"
    with out.open("w") as file, running(moving, "audit", "export", "--format", "ecs", "--follow", stdout=file) as process:
        moving.wait(lambda: account.upn in out.read_text())
        rotated(moving, account, ".2")
        rotated(moving, account, ".1")
        assert moving.imap(account).ok

        def written():
            return b"".join(open(moving.audit_path + suffix, "rb").read() for suffix in (".2", ".1", ""))
        moving.wait(lambda: sorted(out.read_bytes().splitlines()) == sorted(written().splitlines()), 20)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
    ids = [json.loads(line)["event"].get("id") for line in out.read_text().splitlines()]
    assert len([name for name in ids if name]) == len({name for name in ids if name})


# -- tail ------------------------------------------------------------------------------------------------------------------------------

def test_tail_shows_a_line_for_each_record(lived, records):
    shown = lived.doveadm("modernauth", "tail", "--no-follow", "--lines", "1000").stdout.splitlines()
    assert len(shown) == len(records)
    assert "\x1b" not in "".join(shown) and not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", "".join(shown))
    assert any("<U+202E>gnp.exe@contoso.com" in line for line in shown)
    assert len(lived.doveadm("modernauth", "tail", "--no-follow").stdout.splitlines()) == 10
    wrong = lived.doveadm("modernauth", "tail", "--no-follow", "--outcome", "refused", "--lines", "100").stdout.splitlines()
    expected = [record for record in records if "authentication" in record["event"]["category"] and record["event"]["outcome"] == "failure"
                and record["modernauth"]["status"] not in ("temporary", "timeout", "protocol", "config", "audit", "failed")]
    assert len(wrong) == len(expected) and all(" refused " in line for line in wrong) and any("AADSTS50126" in line for line in wrong)
    changed = lived.doveadm("modernauth", "tail", "--no-follow", "--outcome", "changed,note", "--json", "--lines", "100").stdout.splitlines()
    assert any(json.loads(line)["event"]["action"] == "exception-added" for line in changed)
    pop3 = [record for record in records if record.get("service", {}).get("name") == "pop3"]
    assert lived.doveadm("modernauth", "tail", "--no-follow", "--protocol", "pop3", "--lines", "100").stdout.count(" pop3 ") == len(pop3) >= 2
    for wrong in (("--outcome", "good"), ("--protocol", "smtp"), ("--lines", "x")):
        assert lived.doveadm("modernauth", "tail", *wrong, check=False).returncode == 64


def test_tail_is_coloured_on_a_terminal_only(lived):
    def on_a_terminal(**env):
        master, slave = pty.openpty()
        subprocess.run(["doveadm", "-c", lived.dovecot_path, "modernauth", "tail", "--no-follow"], stdout=slave, check=True, timeout=60,
                       env={**os.environ, **env})
        os.close(slave)
        data = b""
        with contextlib.suppress(OSError):
            while part := os.read(master, 65536):
                data += part
        os.close(master)
        return data
    assert b"\x1b[33mrefused" in on_a_terminal()
    assert b"\x1b" not in on_a_terminal(NO_COLOR="1")
    assert "\x1b[33m" in lived.doveadm("modernauth", "tail", "--no-follow", "--color", "always").stdout
    assert lived.doveadm("modernauth", "tail", "--no-follow", "--color", "red", check=False).returncode == 64


def test_tail_follows_across_rotation(moving, people, tmp_path):
    first, second, third = (people.new() for _ in range(3))
    out = tmp_path / "out"
    with out.open("w") as file, running(moving, "tail", "--user", "*@contoso.com", stdout=file) as process:
        assert moving.imap(first).ok
        moving.wait(lambda: first.upn in out.read_text())
        rotated(moving, second, "-20261126")
        moving.wait(lambda: second.upn in out.read_text())
        assert moving.imap(third).ok
        moving.wait(lambda: third.upn in out.read_text())
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_memory_does_not_depend_on_the_size(lived):
    """tests/bench/auditsize.py with ten times as much; a gigabyte is for those who have the time."""
    done = subprocess.run([sys.executable, os.path.join(TOP, "tests/bench/auditsize.py"), "--build", os.environ["MODERNAUTH_BUILD"],
                           "--format", "ocsf", "5", "50"], capture_output=True, text=True, check=True, timeout=280)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    peaks = {(row["command"], row["mb"]): row["peak_mb"] for row in rows}
    assert all(row["exit"] == 0 for row in rows) and len(peaks) == 4
    for command in ("verify", "export ocsf"):
        assert peaks[command, 50] < 64 and peaks[command, 50] < peaks[command, 5] + 4
    assert all(row["lines"] == row["records"] for row in rows if row["command"] != "verify")


def test_a_terminal_shows_how_far_it_has_come(lived, tmp_path):
    big = tmp_path / "big"
    line = open(lived.audit_path, "rb").read().splitlines(keepends=True)[-1]
    big.write_bytes(line * 30000)
    master, slave = pty.openpty()
    with running(lived, "audit", "export", "--format", "ocsf", str(big), stdout=subprocess.DEVNULL, stderr=slave) as process:
        os.close(slave)
        said = b""
        with contextlib.suppress(OSError):
            while part := os.read(master, 65536):
                said += part
        assert process.wait(60) == 0
    os.close(master)
    assert re.search(rb"\[#*\.*\] +\d+ %%  \d+ of %d MB" % (big.stat().st_size // 1000000), said)
