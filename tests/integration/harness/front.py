# SPDX-License-Identifier: MIT
"""One Dovecot front end in a directory of its own: settings, start, reload, stop, what it logged."""

import contextlib
import itertools
import json
import os
import pwd
import re
import resource
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from . import sanitizer, settings
from .clients import Clients
from .enrolling import Enrolling
from .sockets import Broker

START_SECONDS = 60 if sanitizer.KIND else 20
BROKER_USER = "modernauth"
LEVELS = re.compile(r"(?:^|\s)(Panic|Fatal|Error|Warning): ")
# What is said of this machine and of a run without mailboxes, not of the product.
HARMLESS = [
    r"fd limit \(ulimit -n\) is lower than required",
    r"Raw backtrace",                     # a Panic or Fatal line comes before it and counts
    r"master: Warning: (Killed with signal 15|SIGHUP received)",
    r"imap-login: Error: connect\(ipc-proxy\) failed",       # Dovecot's own, for a moment, at a reload
    r"imap-login: Error: IPC proxy sent invalid input",
    r"-login: Error: auth-client: conn unix:login: connect\(login\) failed: No such file",   # the same
    r"auth: Error: stat\(.*/auth-userdb\) failed: No such file",                           # and again
    r"auth: Error: stats: open\(old-stats-user\) failed: No such file",
    r"Fatal: Error reading configuration: read\(.*/run/config\) failed: read\(size=\d+\) failed: Connection reset",
    r"auth: Error: net_connect_unix\(.*/stats-writer\) failed: No such file",
    r"Error: conn unix:stats-writer \(.*\): Timeout waiting for handshake response",
    r"auth: Error: (read|net_connect_unix)\(anvil-auth-penalty\) failed: (EOF|Permission denied)",
    r"-login: Warning: auth-client: conn unix:login \(.*\): Error sending handshake to auth server: Broken pipe",
    r"master: Warning: Time moved forwards",                # a machine that is busy, or virtual
    r"user=aadsts\d+|\(aadsts\d+",          # the stand-in's magic users are there to be refused
]
# What processes say that end all at once while sessions are still open.
STOPPING = [
    r"lost the connection to the broker",
    r"ending before the broker has confirmed",
    r"reports of the upstream's answers are lost",
    r"cannot connect to the broker",
]


# Below those that the kernel gives to whoever asks for any, and different ones for each process of pytest-xdist.
PORTS = itertools.cycle(range(12000 + 2000 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]),
                              14000 + 2000 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])))


def free_port():
    while True:
        with contextlib.suppress(OSError), socket.socket() as sock:
            sock.bind(("127.0.0.1", next(PORTS)))
            return sock.getsockname()[1]


def free_ports(names):
    """A port for each name."""
    return {name: free_port() for name in names}


def ensure_broker_user():
    try:
        return pwd.getpwnam(BROKER_USER)
    except KeyError:
        subprocess.run(["adduser", "--system", "--group", "--no-create-home", "--home", "/nonexistent", "--shell",
                        "/usr/sbin/nologin", "--quiet", BROKER_USER], check=True)
        return pwd.getpwnam(BROKER_USER)


class Front(Clients, Enrolling):
    """front.ports["imap"|"imaps"|"pop3"|"pop3s"|"submission"|"submissions"|"http"]; Clients has imap(), pop3(),
    smtp(). Options:
    dovecot   text at the end of dovecot.conf
    early     text at its begin
    tenants   text of modernauth.conf's tenants (None: settings.all_tenants)
    extra     more text for modernauth.conf
    the rest  settings of modernauth.conf"""

    def __init__(self, standin, canary, dovecot="", early="", tenants=None, extra="", audit_required=True,
                 durability="os", audit_settings="", before_start=None, **options):
        self.standin, self.canary, self.user = standin, canary, ensure_broker_user()
        self.secret_files, self.dovecots_own = [], []
        # The paths of UNIX sockets end at 107 octets.
        self.directory = tempfile.mkdtemp(prefix="ma-", dir="/tmp")
        os.chmod(self.directory, 0o755)
        self.audit_dir, self.audit_required, self.audit_settings = self.path("audit"), audit_required, audit_settings
        self.durability = durability
        self.audit_path = self.path("audit/audit.jsonl")
        for name, owned in (("run", False), ("state", False), ("log", False), ("mail", False), ("lib", True),
                            ("audit", True)):
            os.mkdir(self.path(name), 0o700 if owned else 0o755)
            if owned:
                os.chown(self.path(name), self.user.pw_uid, self.user.pw_gid)
        os.chmod(self.path("mail"), 0o1777)
        self.ports = free_ports([*settings.PROTOCOLS, "http"])
        self.config_path, self.dovecot_path = self.path("modernauth.conf"), self.path("dovecot.conf")
        self.write("10-modernauth.conf", settings.shipped("10-modernauth.conf", self.config_path))
        self.write("modernauth.conf", settings.modernauth_conf(self, tenants, extra, **options))
        self.write("dovecot.conf", settings.dovecot_conf(self, sanitizer.dovecot_settings(self) + dovecot, early))
        self.process, self.expected, self.stopped_at = None, [], None
        self.audit_touched = False  # by the test: it does not verify
        self.stops = []              # (from, to) in the log: what was said while it ended
        self.before_start = before_start

    # -- files

    def path(self, name):
        return os.path.join(self.directory, name)

    def write(self, name, text, mode=0o644):
        """Replaces a file, as an editor does."""
        path = self.path(name)
        with open(path + ".new", "w", encoding="utf-8", opener=lambda p, f: os.open(p, f, mode)) as file:
            file.write(text)
        os.chmod(path + ".new", mode)
        os.rename(path + ".new", path)
        return path

    def read(self, name):
        with open(self.path(name), encoding="utf-8", errors="replace") as file:
            return file.read()

    def secret_file(self, name):
        """A file with a client secret that this front end's tenants use."""
        from standin.entra_model import APP_SECRET
        text = {"app-secret": APP_SECRET, "wrong-secret": "wr0ng~secret/of+nobody"}[name]
        self.canary.add(text, name)
        self.secret_files.append(name)
        return self.write(name, text + "\n", 0o600)

    def secret_names(self):
        """Files that hold secrets on purpose."""
        return self.secret_files

    def put_before(self, text):
        """Puts text before the drop-in in dovecot.conf, before the start. "{directory}" is this front end's."""
        head, body = self.read("dovecot.conf").split("\n", 1)
        self.write("dovecot.conf", head + "\n" + text.replace("{directory}", self.directory) + body)

    def local_users(self, *accounts, more="", name="users"):
        """Writes a passwd-file for an earlier passdb: accounts have passwords of their own there. Before the start:
        Dovecot looks at the file once a second. No "%" and no ":" in them, which it would take for its own."""
        text = ""
        for account in accounts:
            account.password = self.canary.add("local" + secrets.token_hex(8), account.upn)
            text += "%s:{PLAIN}%s::::::%s\n" % (account.login, account.password, more)
        self.secret_files.append(name)
        return self.write(name, text, 0o644)

    # -- life

    def start(self, ready=True):
        if self.stopped_at is not None:
            self.stops.append((self.stopped_at, self.log_mark()))
        self.stopped_at = None
        if self.before_start:
            self.before_start(self)

        def limits():
            # A core file of the broker would be a finding: give the kernel every reason to write one.
            for what in (resource.RLIMIT_NOFILE, resource.RLIMIT_CORE):
                hard = resource.getrlimit(what)[1]
                resource.setrlimit(what, (hard, hard))
        self.process = subprocess.Popen(["dovecot", "-F", "-c", self.dovecot_path], preexec_fn=limits,
                                        start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, cwd=self.directory)
        if ready:
            self.wait_ready()
        return self

    def wait_ready(self):
        deadline = time.monotonic() + START_SECONDS
        for name in ("imap", "pop3", "submission"):
            while True:
                if self.process.poll() is not None:
                    raise RuntimeError("dovecot does not start: %s" % self.process.stdout.read().decode())
                with contextlib.suppress(OSError), self.connect(name, timeout=5) as sock:
                    if sock.recv(1) in (b"*", b"+", b"2"):
                        break
                if time.monotonic() > deadline:
                    raise RuntimeError("no greeting from %s: %s" % (name, self.log()))
                time.sleep(0.05)

    def doveadm(self, *args, check=True, timeout=60, input=None):
        done = subprocess.run(["doveadm", "-c", self.dovecot_path, *args], capture_output=True, text=True,
                              timeout=timeout, input=input)
        if check and done.returncode != 0:
            raise RuntimeError("doveadm %s: %s%s" % (args, done.stdout, done.stderr))
        return done

    def reload(self, wait=True):
        """doveadm reload; with wait until the successor of the broker is alone and answers."""
        before = self.broker_pids()
        self.doveadm("reload")
        if wait:
            self.wait(lambda: not before & self.broker_pids(), 30, "the old broker does not leave")
            self.wait(self.broker_answers, 20, "no new broker after the reload")
            self.wait_store()

    def terminate(self):
        """Begins to stop: what takes a second or two can be waited for with others."""
        if self.stopped_at is None and self.process is not None:
            self.stopped_at = self.log_mark()
            if self.process.poll() is None:
                self.process.terminate()

    def stop(self):
        """Ends Dovecot as an admin would, and tells which processes stayed behind."""
        if self.process is None:
            return []
        session = self.process.pid
        self.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.process = None
        deadline = time.monotonic() + (60 if sanitizer.KIND else 10)
        while time.monotonic() < deadline and processes(session):
            time.sleep(0.05)
        left = processes(session)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return ["%d %s" % item for item in left.items()]

    def remove(self):
        shutil.rmtree(self.directory, ignore_errors=True)

    def processes(self):
        """pid -> name of all processes of this front end."""
        return processes(self.process.pid) if self.process else {}

    def broker_pids(self):
        return {pid for pid, name in self.processes().items()
                if name == "modernauth" or "/modernauth" in command_line(pid)}

    def kill_broker(self):
        pid = max(self.broker_pids())
        os.kill(pid, signal.SIGKILL)
        return pid

    # -- what it says

    def socket_path(self, name):
        return self.path("run/" + name)

    def broker(self, role, **options):
        """A connection to the broker's listener of that role."""
        return Broker(self.socket_path(broker_socket(role)), role, **options)

    def broker_answers(self):
        with contextlib.suppress(OSError), self.broker("admin") as broker:
            return broker.ask("STATUS")

    def status(self):
        with self.broker("admin") as broker:
            return broker.status()

    def log(self, since=0, until=None):
        if not os.path.exists(self.path("log/dovecot.log")):
            return ""
        with open(self.path("log/dovecot.log"), "rb") as file:
            file.seek(since)
            return file.read(-1 if until is None else until - since).decode("utf-8", "replace")

    def log_mark(self):
        path = self.path("log/dovecot.log")
        return os.path.getsize(path) if os.path.exists(path) else 0

    def wait_log(self, pattern, since=0, timeout=10):
        found = self.wait(lambda: re.search(pattern, self.log(since)), timeout, "not in the log: " + pattern)
        return found

    def expect(self, *patterns):
        """Errors and warnings that a test provokes on purpose."""
        self.expected.extend(patterns)

    def expect_trouble(self, *names):
        """Whatever is said of these users, domains or tenants was provoked."""
        self.expected.extend(re.escape(getattr(name, "upn", name)) for name in names)
        self.expected.extend("tenant %s: " % re.escape(name.split(".")[0]) for name in names if isinstance(name, str))

    def complaints(self):
        """Warnings and worse that nobody expected."""
        found, at = [], 0
        stops = [*self.stops, (self.log_mark() if self.stopped_at is None else self.stopped_at, None)]
        parts = []
        for begun, ended in stops:
            parts += [(self.log(at, begun), HARMLESS), (self.log(begun, ended), HARMLESS + STOPPING)]
            at = ended
        for text, known in parts:
            known = [re.compile(pattern) for pattern in [*known, *self.expected]]
            found += [line for line in text.splitlines() if (LEVELS.search(line) or "BUG:" in line) and
                      not any(pattern.search(line) for pattern in known)]
        return found

    def audit_data(self):
        try:
            with open(self.audit_path, "rb") as file:
                return file.read()
        except FileNotFoundError:
            return b""

    def audit(self, user=None, session=None, action=None):
        """The records, oldest first; every line must be one whole JSON object."""
        data = self.audit_data()
        # Whoever reads while the broker writes may see half of it.
        if data and not data.endswith(b"\n"):
            time.sleep(0.2)
            data = self.audit_data()
        assert data == b"" or data.endswith(b"\n"), "the audit ends in a torn line"
        records = [json.loads(line) for line in data.splitlines()]
        # What the audit says of itself is for those who verify it, as is the chain.
        chained = [record.pop("chain", None) for record in records]
        assert all(chained) or self.audit_touched or not any(chained), "a record that is not sealed"
        records = [record for record in records if not record["event"]["action"].startswith("audit-")]
        return [record for record in records
                if (user is None or record.get("user", {}).get("name") == user) and
                (session is None or record["modernauth"].get("session") == session) and
                (action is None or record["event"]["action"].startswith(action))]

    def verify_audit(self, *files, key="audit.key"):
        """What "audit verify" says of the files: its exit status, rows, and last words."""
        done = self.doveadm("-f", "json", "modernauth", "audit", "verify", *(["--key", self.path(key)] if files else []),
                            *files, check=False)
        return done.returncode, json.loads(done.stdout or "[]"), done.stderr

    def attempts(self, user=None):
        return self.audit(user, action="basic-auth-intercepted")

    def wait_upstream(self, user, count=1, timeout=10):
        """The second legs of user, once there are count of them."""
        return self.wait(lambda: (lambda found: found if len(found) >= count else None)(
            self.audit(user, action="upstream-session")), timeout, "no record of the upstream for " + user)

    @staticmethod
    def wait(ask, timeout=10, message="waited in vain"):
        """The first true answer of ask()."""
        deadline = time.monotonic() + timeout
        while True:
            found = ask()
            if found:
                return found
            assert time.monotonic() < deadline, message
            time.sleep(0.02)


def broker_socket(role):
    """Where the listeners are, below base_dir."""
    return {"login": "login/modernauth-login"}.get(role, "modernauth-" + role)


def processes(session):
    """pid -> name of the processes in a session, zombies left out."""
    found = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open("/proc/%s/stat" % entry, encoding="utf-8", errors="replace") as file:
                text = file.read()
        except OSError:
            continue
        name, _, rest = text.partition("(")[2].rpartition(")")
        fields = rest.split()
        if int(fields[3]) == session and fields[0] != "Z":
            found[int(entry)] = name
    return found


def command_line(pid):
    try:
        with open("/proc/%d/cmdline" % pid, "rb") as file:
            return file.read().replace(b"\0", b" ").decode("utf-8", "replace")
    except OSError:
        return ""
