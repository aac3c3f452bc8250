# SPDX-License-Identifier: MIT
"""The commands through Dovecot's doveadm server and its HTTP API, against a broker that follows a script."""

import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request

import pytest

import doveadm_run
from fake_admin import FakeAdmin

CONFIG = """base_dir = %(directory)s/run
state_dir = %(directory)s/state
log_path = %(directory)s/log
protocols =
ssl = no
doveadm_api_key = key
service doveadm {
  inet_listener http {
    address = 127.0.0.1
    port = %(port)d
  }
}
"""


def answer(request):
    if request.verb == "LIST":
        request.row(user="alice@example.com", state="active", devices=1, expires_at=1764151200)
        request.ok(rows=1)
    elif request.verb == "ENROLL":
        request.code("ABCD-EFGH")
    elif request.verb == "DIAGNOSE":
        request.row(check="clock", tenant="main", result="fail", seen="off by " + request["user"], fix="chronyc")
        request.ok(rows=1)
    elif request.verb == "SHOW":
        request.fail("user_unknown", "no such user")
    elif request.verb == "ALLOW" and request["commit"] == "no":
        request.ok(rows=0, tenant_wide="no" if request["user"] else "yes", tenants="contoso", inventory="no", until=1806530400,
                   last_day="2027-03-31", days_left=125)
    elif request.verb == "ALLOW":
        request.ok(exception=request["by"], until=1806530400, last_day="2027-03-31", days_left=125)
    elif request.verb == "POLICY":
        request.row(order=1, kind="rule", name="the rest", state="active", action="deny")
        request.ok(rows=1, store="open")
    elif request.verb == "DISALLOW":
        request.ok(exception=request["exception"])
    elif request.verb == "DEVICE-ADD":
        request.ok(device_id="abc", device_password="K7QM-8XTR")
    else:
        request.ok(tokens=2, refusals=1, enrolments=0, devices=0, relay_keys=0)


class Api:
    def __init__(self, directory, port):
        self.directory, self.port = directory, port

    def post(self, *commands):
        """The answers: what was printed, or the exit status."""
        request = urllib.request.Request(
            "http://127.0.0.1:%d/doveadm/v1" % self.port, json.dumps([[*c, "tag"] for c in commands]).encode(),
            {"Authorization": "X-Dovecot-API " + base64.b64encode(b"key").decode(), "Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as response:
            answers = json.load(response)
        return [a[1] if a[0] == "doveadmResponse" else a[1]["exitCode"] for a in answers]


@pytest.fixture(scope="module")
def api():
    assert doveadm_run.available(), "the plugin is neither installed nor in $MODERNAUTH_BUILD"
    # Not pytest's own directory: Dovecot's users must be able to enter it.
    directory = tempfile.mkdtemp(prefix="ma-", dir="/tmp")
    os.chmod(directory, 0o755)
    for name in ("run", "state"):
        os.mkdir(os.path.join(directory, name))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = os.path.join(directory, "dovecot.conf")
    with open(config, "w", encoding="ascii") as file:
        file.write(CONFIG % {"directory": directory, "port": port})
    with subprocess.Popen(doveadm_run.covered(["dovecot", "-F", "-c", config])) as process:
        end = time.monotonic() + 30
        while socket.socket().connect_ex(("127.0.0.1", port)) != 0:
            assert time.monotonic() < end and process.poll() is None, "dovecot does not start"
            time.sleep(0.1)
        with FakeAdmin(os.path.join(directory, "run/modernauth-admin"), answer):
            yield Api(directory, port)
        process.send_signal(signal.SIGTERM)
    shutil.rmtree(directory)


def test_rows(api):
    assert api.post(["modernauthList", {}]) == [[
        {"user": "alice@example.com", "tenant": "", "state": "active", "expires_at": "2025-11-26T10:00:00Z",
         "devices": 1, "account": "", "mailbox": "", "enrolled_at": "", "refreshed_at": "", "reason": ""}]]
    assert api.post(["modernauthForget", {"user": "a"}], ["modernauthRevoke", {"user": "a", "yes": True}]) == [
        [{"tokens": 2, "refusals": 1}], [{"tokens": 2, "refusals": 1, "enrolments": 0, "devices": 0, "relay_keys": 0}]]
    assert api.post(["modernauthDeviceAdd", {"user": "a", "name": "phone"}]) == [
        [{"device_id": "abc", "device_password": "K7QM-8XTR"}]]


def test_exceptions(api):
    """What is tenant-wide needs a yes; and nobody is there whose name could be told."""
    what = {"protocol": "pop3", "until": "2027-03-31", "reason": "x"}
    wide, said, narrow, removed, rows = api.post(
        ["modernauthAllow", what], ["modernauthAllow", {**what, "yes": True}],
        ["modernauthAllow", {**what, "user": "anna@contoso.com"}], ["modernauthDisallow", {"exception": "abc"}],
        ["modernauthPolicy", {}])
    assert wide == 64
    assert said == [{"exception": "doveadm-server", "last_day": "2027-03-31", "until": "2027-03-31T22:00:00Z",
                     "days_left": "125", "tenant_wide": "yes", "users": "", "clients": ""}]
    assert narrow[0]["tenant_wide"] == "no" and removed == [{"exception": "abc", "state": "removed"}]
    assert [row["name"] for row in rows] == ["the rest"] and rows[0]["order"] == 1
    assert api.post(["modernauthAllow", {"protocol": "pop3"}], ["modernauthDisallow", {}]) == [64, 64]


def test_diagnose(api):
    """The rows come although some are failures; Dovecot's side is this one's, without protocols."""
    rows = api.post(["modernauthDiagnose", {"user": "alice"}])[0]
    found = {row["check"]: row for row in rows}
    assert found["broker"]["result"] == "pass" and found["login plugin"]["result"] == "fail"
    assert found["clock"] == {"result": "fail", "check": "clock", "tenant": "main", "subject": "", "seen": "off by alice",
                              "fix": "chronyc"}
    # Nobody is there to type one.
    assert api.post(["modernauthDiagnose", {"user": "alice", "password-prompt": True}]) == [64]


def test_enroll_answers_with_the_code(api):
    row, = api.post(["modernauthEnroll", {"user": "alice@example.com"}])[0]
    assert row["state"] == "pending" and row["code"] == "ABCD-EFGH" and row["uri"].startswith("https://")


def test_what_a_server_does_not_do(api):
    """No questions, no files, no password that nobody would see; and it goes on after each."""
    assert api.post(["modernauthRevoke", {"user": "a"}], ["modernauthShow", {}], ["modernauthShow", {"user": "a"}],
                    ["modernauthEnroll", {"batch": "/etc/passwd"}], ["modernauthStoreExport", {"file": "/tmp/x"}],
                    ["modernauthEnroll", {"user": "a", "device": "phone"}], ["modernauthForget", {"user": "a"}]) == [
        64, 64, 67, 64, 64, 64, [{"tokens": 2, "refusals": 1}]]
    with open(os.path.join(api.directory, "log"), encoding="utf-8") as file:
        log = file.read()
    assert "Error: no such user" in log and "only on the command line" in log and "K7QM" not in log
    assert "Panic" not in log and "Fatal" not in log
