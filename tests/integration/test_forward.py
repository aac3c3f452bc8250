# SPDX-License-Identifier: MIT
"""Records as they are written, to real collectors: rsyslog over each transport, and systemd-journald."""

import contextlib
import glob
import json
import os
import shutil
import socket
import subprocess
import tempfile

import pytest

from harness.front import free_port
from harness.records import parse_cef

# What rsyslog made of a message, as JSON: its header, the structured data (mmpstrucdata), the text.
TEMPLATE = r"""
module(load="mmpstrucdata")
template(name="all" type="list" option.jsonf="on") {
  property(outname="host" name="hostname" format="jsonf")
  property(outname="app" name="app-name" format="jsonf")
  property(outname="pid" name="procid" format="jsonf")
  property(outname="msgid" name="msgid" format="jsonf")
  property(outname="time" name="timereported" dateFormat="rfc3339" format="jsonf")
  property(outname="severity" name="syslogseverity-text" format="jsonf")
  property(outname="facility" name="syslogfacility-text" format="jsonf")
  property(outname="protocol" name="protocol-version" format="jsonf")
  property(outname="text" name="msg" format="jsonf")
  property(outname="data" name="$!rfc5424-sd" format="jsonf")
}
"""


class Rsyslog:
    """An unprivileged one in a directory of its own."""

    def __init__(self, user, transport):
        self.directory = tempfile.mkdtemp(prefix="rs-", dir="/tmp")
        os.chmod(self.directory, 0o755)
        self.user, self.transport, self.port = user, transport, free_port()
        self.path, self.out = os.path.join(self.directory, "log"), os.path.join(self.directory, "out")
        module = {"unix": 'module(load="imuxsock" SysSock.Use="off")\n'
                  'input(type="imuxsock" socket="%s" useSpecialParser="off" parseHostname="on" ruleset="r")\n' % self.path,
                  "udp": 'module(load="imudp")\ninput(type="imudp" address="127.0.0.1" port="%d" ruleset="r")\n' % self.port,
                  "tcp": 'module(load="imptcp")\ninput(type="imptcp" address="127.0.0.1" port="%d" ruleset="r")\n' % self.port}[transport]
        with open(os.path.join(self.directory, "conf"), "w", encoding="utf-8") as file:
            file.write('global(workDirectory="%s" maxMessageSize="64k" parser.escapeControlCharactersOnReceive="off")\n' % self.directory)
            file.write(module + TEMPLATE)
            file.write('ruleset(name="r") {\n action(type="mmpstrucdata")\n action(type="omfile" file="%s" template="all")\n}\n' % self.out)
        subprocess.run(["chown", "-R", user.pw_name, self.directory], check=True)
        self.process = None

    def setting(self):
        return "unix:" + self.path if self.transport == "unix" else "%s:127.0.0.1:%d" % (self.transport, self.port)

    def start(self):
        self.process = subprocess.Popen(["setpriv", "--reuid", str(self.user.pw_uid), "--regid", str(self.user.pw_gid), "--clear-groups",
                                         "rsyslogd", "-n", "-i", os.path.join(self.directory, "pid"), "-f", os.path.join(self.directory, "conf")],
                                        stdout=subprocess.DEVNULL, stderr=open(os.path.join(self.directory, "err"), "ab"))

    def stop(self):
        if self.process is not None:
            self.process.terminate()
            self.process.wait(20)
            self.process = None

    def close(self):
        self.stop()
        shutil.rmtree(self.directory)

    def messages(self):
        try:
            with open(self.out, encoding="utf-8") as file:
                messages = [json.loads(line) for line in file.read().split("\n")[:-1]]
        except FileNotFoundError:
            return []
        # A JSON object within a JSON string.
        return [{**message, "data": json.loads(message["data"])} for message in messages]


@pytest.fixture(scope="module")
def rsyslogs(user_of_broker):
    with contextlib.ExitStack() as stack:
        made = {}
        for transport in ("unix", "udp", "tcp"):
            made[transport] = Rsyslog(user_of_broker, transport)
            stack.callback(made[transport].close)
        yield made


@pytest.fixture(scope="module")
def user_of_broker():
    from harness.front import ensure_broker_user
    return ensure_broker_user()


NAME = 'o\'b"r]\\ien=\u65e5\u672c@contoso.com'


def reload_loses_nothing(front, rsyslog, account):
    assert front.imap(account).ok
    front.reload()
    assert front.imap(account).ok
    front.wait_upstream(account.upn, 2)
    records = {record["event"]["id"] for record in front.audit(account.upn)}

    def ids():
        return [message["data"]["ecs@32473"]["event.id"] for message in rsyslog.messages() if
                message["data"]["ecs@32473"].get("user.name") == account.upn]
    front.wait(lambda: set(ids()) >= records, 20)
    assert len(ids()) == len(set(ids()))


@pytest.mark.parametrize("transport", ["unix", "udp", "tcp"])
def test_rsyslog_reads_what_it_gets(fronts, people, rsyslogs, transport):
    rsyslog = rsyslogs[transport]
    rsyslog.start()
    front = fronts.new(audit_settings='syslog = "%s"\n' % rsyslog.setting())
    front.expect("login refused", r"records wait", "were not forwarded")
    # UDP does not wait for anybody.
    front.wait(lambda: rsyslog.process.poll() is None and (transport != "udp" or "%04X" % rsyslog.port in open("/proc/net/udp").read()))
    account, password = people.new(), people.password()
    assert front.imap(account).ok
    second = front.wait_upstream(account.upn)[0]
    with front.broker("auth") as broker:
        broker.login(NAME, password, session="s", rip="192.0.2.9")
    # The session's end comes when the client has gone: nothing more after it.
    front.wait(lambda: front.audit(account.upn, action="session-ended"), 20)
    records = {record["event"]["id"]: record for record in front.audit()}

    def arrived():
        found = {message["data"]["ecs@32473"]["event.id"]: message for message in rsyslog.messages()}
        return found if set(found) >= set(records) else None
    found = front.wait(arrived, 20)
    assert set(found) == set(records)
    for name, record in records.items():
        message, data = found[name], found[name]["data"]
        assert message["host"] == socket.gethostname() and message["app"] == "dovecot-modernauth" and message["protocol"] == "1"
        assert message["msgid"] == record["event"]["action"] and message["pid"].isdigit() and message["facility"] == "authpriv"
        assert message["severity"] == {"success": "info", "failure": "warning", "unknown": "notice"}[record["event"]["outcome"]]
        assert data["ecs@32473"].get("user.name") == record.get("user", {}).get("name") and data["origin"]["software"] == "dovecot-modernauth"
        assert data["modernauth@32473"].get("session") == record["modernauth"].get("session")
        assert message["text"].lstrip("\ufeff").startswith(record["event"]["action"] + ": ")
    assert NAME in {message["data"]["ecs@32473"].get("user.name") for message in found.values()}
    assert second["event"]["id"] in found
    if transport == "unix":
        reload_loses_nothing(front, rsyslog, people.new())
    rsyslog.stop()
    if transport == "tcp":
        # Logins do not notice, and what they leave waits.
        before = len(rsyslog.messages())
        front.expect(r"records wait", "were not forwarded")
        for _ in range(5):
            assert front.imap(account).ok
        front.wait_log("records wait")
        rsyslog.start()
        front.wait(lambda: len(rsyslog.messages()) >= before + 5, 30)
        rsyslog.stop()
    assert front.verify_audit()[0] == 0


def test_another_format_goes_as_the_text(fronts, people):
    """To a collector that only keeps what it gets, and has a name."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as collector:
        collector.bind(("127.0.0.1", 0))
        collector.settimeout(20)
        front = fronts.new(audit_settings='syslog = "udp:localhost:%d"\nsyslog_message = cef\n' % collector.getsockname()[1])
        front.expect("records wait", "were not forwarded")
        account = people.new()
        assert front.imap(account).ok
        head = ""
        while not head.endswith(" basic-auth-intercepted"):
            head, text = collector.recv(65536).decode().split(" - ", 1)
        assert head.startswith("<86>1 ")
        assert parse_cef(text)[1]["duser"] == account.upn


@contextlib.contextmanager
def journald():
    """A journal of its own ("systemd-journald NAMESPACE"), where programs look for the system's if there is none."""
    name, path = "mauth%d" % os.getpid(), "/run/systemd/journal"
    had = os.path.isdir(path)
    if os.path.exists(path + "/socket"):
        yield []
        return
    process = subprocess.Popen(["/lib/systemd/systemd-journald", name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        from harness.front import Front
        Front.wait(lambda: os.path.exists("/run/systemd/journal.%s/socket" % name), 20)
        os.makedirs(path, exist_ok=True)
        os.symlink("/run/systemd/journal.%s/socket" % name, path + "/socket")
        yield ["--namespace", name]
    finally:
        process.terminate()
        process.wait(20)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path + "/socket")
        if not had:
            os.rmdir(path)
        for left in [*glob.glob("/run/systemd/journal." + name), *glob.glob("/var/log/journal/*." + name), *glob.glob("/run/log/journal/*." + name)]:
            shutil.rmtree(left)


def test_journald_has_each_field(fronts, people):
    with journald() as where:
        front = fronts.new(audit_settings="journald = yes\n")
        front.expect("login refused")
        account, password = people.new(), people.password()
        assert front.imap(account).ok
        front.wait_upstream(account.upn)
        hostile = "line\nfeed@contoso.com"
        with front.broker("auth") as broker:
            broker.login(hostile, password, session="s", rip="192.0.2.9")
        records = {record["event"]["id"]: record for record in front.audit()}

        def arrived():
            done = subprocess.run(["journalctl", *where, "-o", "json", "-t", "dovecot-modernauth", "--no-pager"], capture_output=True,
                                  text=True, check=True, timeout=60)
            found = {entry["ECS_EVENT_ID"]: entry for entry in map(json.loads, done.stdout.splitlines()) if entry.get("ECS_EVENT_ID") in records}
            return found if set(found) == set(records) else None
        found = front.wait(arrived, 30)
        for name, record in records.items():
            entry = found[name]
            assert entry["ECS_EVENT_ACTION"] == record["event"]["action"] and entry.get("MODERNAUTH_SESSION") == record["modernauth"].get("session")
            assert entry["PRIORITY"] == {"success": "6", "failure": "4", "unknown": "5"}[record["event"]["outcome"]] and entry["SYSLOG_FACILITY"] == "10"
            assert entry["_UID"] == str(front.user.pw_uid) and entry["MESSAGE"].startswith(record["event"]["action"])
        assert any(entry.get("ECS_USER_NAME") in (hostile, list(hostile.encode())) for entry in found.values())
        front.stop()
