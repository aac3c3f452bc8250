# SPDX-License-Identifier: MIT
"""A Postfix in a directory of its own: main.cf, master.cf, queue, log. What the project ships for it is used as it is, but for paths and
addresses. Its processes run as Postfix's do, root's master and the user postfix below it."""

import contextlib
import json
import os
import pwd
import re
import shutil
import smtplib
import socket
import ssl
import subprocess
import tempfile
import time

from . import settings
from .front import free_port

SERVER = "[smtp.office365.com]:587"
# What Debian's master.cf has, and this needs. Chroot as there.
SERVICES = """# generated
smtp      inet  n       -       y       -       -       smtpd
pickup    unix  n       -       y       60      1       pickup
cleanup   unix  n       -       y       -       0       cleanup
qmgr      unix  n       -       n       300     1       qmgr
tlsmgr    unix  -       -       y       1000?   1       tlsmgr
rewrite   unix  -       -       y       -       -       trivial-rewrite
bounce    unix  -       -       y       -       0       bounce
defer     unix  -       -       y       -       0       bounce
trace     unix  -       -       y       -       0       bounce
verify    unix  -       -       y       -       1       verify
proxymap  unix  -       -       n       -       -       proxymap
proxywrite unix -       -       n       -       1       proxymap
smtp      unix  -       -       y       -       -       smtp
showq     unix  n       -       y       -       -       showq
error     unix  -       -       y       -       -       error
retry     unix  -       -       y       -       -       error
discard   unix  -       -       y       -       -       discard
anvil     unix  -       -       y       -       1       anvil
scache    unix  -       -       y       -       1       scache
postlog   unix-dgram n  -       n       -       1       postlogd
"""
# Postfix's hours in a test's seconds.
HURRY = {"minimal_backoff_time": "1s", "maximal_backoff_time": "2s", "queue_run_delay": "1s",
         "exchange_destination_rate_delay": "0s"}


# As "exchange", for recipients in the domain of that name and ".example": chroot as given.
COPIES = {"busy": "y", "open": "n"}


def shipped(name):
    with open(os.path.join(settings.CONF_D, "postfix", name), encoding="utf-8") as file:
        return file.read()


class Postfix:
    """Postfix(standin, canary, **parameters of main.cf); bare: without what the project ships."""

    def __init__(self, standin, canary, bare=False, **parameters):
        self.standin, self.canary, self.bare = standin, canary, bare
        self.directory = tempfile.mkdtemp(prefix="ma-pf-", dir="/tmp")
        os.chmod(self.directory, 0o755)
        user = pwd.getpwnam("postfix")
        for name, owner, mode in (("etc", 0, 0o755), ("spool", 0, 0o755), ("data", user.pw_uid, 0o700), ("log", 0, 0o755),
                                  ("spool/private", user.pw_uid, 0o700)):
            os.mkdir(self.path(name), mode)
            os.chown(self.path(name), owner, -1)
        self.ports = {"smtp": free_port(), "submission": free_port()}
        self.parameters = {**HURRY, **parameters}
        self.identities = {}
        self.skipped = 0                 # mails that a flush has been asked for
        self.write("etc/master.cf", self.here(SERVICES + ("" if bare else self.services())))
        self.configure()
        if not bare:
            self.set_identities()

    # -- files

    def path(self, name):
        return os.path.join(self.directory, name)

    def write(self, name, text, mode=0o644):
        with open(self.path(name), "w", encoding="utf-8", opener=lambda p, f: os.open(p, f, mode)) as file:
            file.write(text)

    def read(self, name):
        with open(self.path(name), encoding="utf-8", errors="replace") as file:
            return file.read()

    def here(self, text):
        """A shipped text with this machine's paths, ports and certificates."""
        for old, new in (("/etc/postfix", self.path("etc")), ("/var/spool/postfix", self.path("spool")),
                         ("/etc/ssl/certs/ca-certificates.crt", self.standin.ca_file), (SERVER, self.server)):
            text = text.replace(old, new)
        for name in ("smtp", "submission"):
            text = re.sub(r"(?m)^%s( +)inet" % name, r"127.0.0.1:%d\1inet" % self.ports[name], text)
        return text

    def services(self):
        """What is shipped, and copies of "exchange" for the recipients of COPIES. The processes of the first one deliver one mail each, so that
        they know identities that a test has just added: a reload in the midst of a delivery makes Postfix wait five minutes."""
        text = shipped("master.cf")
        service = re.search(r"(?m)^exchange .*\n(?:[ #].*\n)+", text)[0]
        for name, chroot in COPIES.items():
            text += re.sub(r"^exchange( .*?) y ", r"%-9s\1 %s " % (name, chroot), service)
        return text.replace(service, service + "  -o max_use=1\n")

    @property
    def server(self):
        return "[127.0.0.1]:%d" % self.standin.ports["smtp"]

    def configure(self):
        values = {"compatibility_level": "3.6", "queue_directory": self.path("spool"), "data_directory": self.path("data"),
                  "maillog_file": self.path("log/mail.log"), "maillog_file_prefixes": self.path("log"),
                  "myhostname": "relay.test", "mydestination": "", "mynetworks": "127.0.0.0/8", "inet_interfaces":
                  "127.0.0.1", "inet_protocols": "ipv4", "smtp_dns_support_level": "disabled", "alias_maps": "",
                  "smtpd_tls_cert_file": self.standin.path("server.pem"), "smtpd_tls_key_file": "$smtpd_tls_cert_file",
                  "smtpd_tls_security_level": "may", "default_process_limit": "20", "smtp_bind_address": "127.0.0.1",
                  "smtp_tls_secure_cert_match": "smtp.office365.com", "smtpd_client_connection_count_limit": "0",
                  "in_flow_delay": "0s",
                  "transport_maps": "inline:{ %s }" % ", ".join("{%s.example = %s:%s}" % (name, name, self.server) for name in COPIES)}
        text = "".join("%s = %s\n" % item for item in values.items())
        # What comes last wins; Postfix warns of what is there twice.
        ours = "" if self.bare else self.here(shipped("main.cf"))
        for name, value in self.parameters.items():
            ours = re.sub(r"(?m)^%s = .*\n" % re.escape(name), "", ours)
            text += "%s = %s\n" % (name, value)
        text += ours
        # Each service of master.cf has its own limits.
        for name in COPIES:
            text += "".join("%s%s\n" % (name, line) for line in re.findall(r"(?m)^exchange(_destination_.*)", text))
        self.write("etc/main.cf", text)

    def set_identities(self, identities=None):
        """{sender, @domain or server: "identity:key"}; reload() makes them known to processes that run and deliver more than one mail."""
        self.identities = self.identities if identities is None else identities
        lines = "".join("%s %s\n" % item for item in self.identities.items())
        self.write("etc/exchange_identities", self.here(shipped("exchange_identities") + lines), 0o600)

    def listeners(self, front):
        """The drop-in for Dovecot, for a front end that shares this queue directory."""
        return front.write("93-modernauth-postfix.conf", self.here(shipped("93-modernauth-postfix.conf")))

    # -- life

    def postfix(self, *args, check=True):
        done = subprocess.run(["postfix", "-c", self.path("etc"), *args], capture_output=True, text=True, timeout=60)
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def start(self):
        self.postfix("start")
        self.wait(lambda: self.greeting("smtp"), 20, "no greeting")
        return self

    def greeting(self, name):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.ports[name]), 5) as sock:
            return sock.recv(3) == b"220"

    def reload(self):
        self.postfix("reload")

    def stop(self):
        """Ends it; which processes stayed behind."""
        self.postfix("stop", check=False)
        deadline = time.monotonic() + 10
        while self.processes() and time.monotonic() < deadline:
            time.sleep(0.05)
        left = self.processes()
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
        return ["%d %s" % item for item in left.items()]

    def remove(self):
        shutil.rmtree(self.directory, ignore_errors=True)

    def processes(self):
        """pid -> name: all of them work in the queue directory, or are locked into it."""
        found, spool = {}, os.path.realpath(self.path("spool"))
        for entry in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                if os.readlink("/proc/%s/cwd" % entry).startswith(spool):
                    with open("/proc/%s/comm" % entry, encoding="ascii") as file:
                        found[int(entry)] = file.read().strip()
        return found

    # -- mail

    def send(self, sender, *recipients, subject="page", port="smtp", login=None, mech=None, body="scanned", tls=None,
             source="127.0.0.1"):
        """Submits a message. login: (name, password) at the submission port, with TLS."""
        with smtplib.SMTP("127.0.0.1", self.ports[port], timeout=30, source_address=(source, 0)) as smtp:
            if login or tls:
                smtp.starttls(context=ssl.create_default_context(cafile=self.standin.ca_file))
            if login:
                smtp.ehlo()
                smtp.user, smtp.password = login
                smtp.auth(mech or "LOGIN", getattr(smtp, "auth_" + (mech or "LOGIN").lower()))
            smtp.sendmail(sender, list(recipients) or ["boss@example.com"], "From: <%s>\r\nSubject: %s\r\n\r\n%s\r\n" %
                          (sender, subject, body))

    def many(self, count, sender, recipient="boss@example.com", sessions=3):
        """Postfix's own generator: count small messages."""
        subprocess.run(["smtp-source", "-s", str(sessions), "-m", str(count), "-l", "400", "-f", sender, "-t", recipient,
                        "-N", "127.0.0.1:%d" % self.ports["smtp"]], check=True, timeout=120)

    def postqueue(self, *args):
        # Its own postqueue is setgid, and then believes in no other directory.
        mine = self.path("postqueue")
        if not os.path.exists(mine):
            shutil.copy("/usr/sbin/postqueue", mine)
            os.chmod(mine, 0o755)
        return subprocess.run([mine, "-c", self.path("etc"), *args], capture_output=True, text=True, timeout=60, check=True).stdout

    def queue(self):
        """What showq says: [{"queue_name", "sender", "recipients": [{"address", "delay_reason"}]}]."""
        return [json.loads(line) for line in self.postqueue("-j").splitlines()]

    def forget_mail(self):
        subprocess.run(["postsuper", "-c", self.path("etc"), "-d", "ALL"], capture_output=True, timeout=60, check=True)

    def reasons(self):
        """Why mail is in the queue, each once."""
        return {recipient["delay_reason"] for mail in self.queue() for recipient in mail["recipients"]
                if recipient.get("delay_reason")}

    def wait_empty(self, timeout=60):
        self.wait_flushed(lambda: not self.queue(), timeout, "the queue is not empty")

    def wait_flushed(self, ask, timeout=30, message="waited in vain"):
        """wait() for what mail has to leave for. A queue manager that comes back to a mail, as soon as tests want it, before a loaded machine
        has ended its smtp process leaves it alone for five minutes, whatever its settings say."""
        deadline = time.monotonic() + timeout
        while True:
            skipped = self.log().count("skipped, still being delivered")
            if skipped > self.skipped:
                time.sleep(1)
                self.postqueue("-f")
                self.skipped = skipped
            with contextlib.suppress(AssertionError):
                return self.wait(ask, 2)
            assert time.monotonic() < deadline, "%s\n%s" % (message, self.log()[-3000:])

    def wait_deferred(self, pattern, timeout=20):
        """A reason in the queue that fits."""
        return self.wait(lambda: next((text for text in self.reasons() if re.search(pattern, text)), None), timeout,
                         "nothing is deferred for " + pattern)

    # -- what it says

    def log(self, since=0):
        with contextlib.suppress(FileNotFoundError), open(self.path("log/mail.log"), "rb") as file:
            file.seek(since)
            return file.read().decode("utf-8", "replace")
        return ""

    def log_mark(self):
        return os.path.getsize(self.path("log/mail.log")) if os.path.exists(self.path("log/mail.log")) else 0

    def wait_log(self, pattern, since=0, timeout=20):
        return self.wait(lambda: re.search(pattern, self.log(since)), timeout, "not in the mail log: " + pattern)

    def postconf(self, *args):
        return subprocess.run(["postconf", "-c", self.path("etc"), *args], capture_output=True, text=True, timeout=30,
                              check=True).stdout

    def wait(self, ask, timeout=10, message="waited in vain"):
        deadline = time.monotonic() + timeout
        while True:
            found = ask()
            if found:
                return found
            assert time.monotonic() < deadline, "%s\n%s" % (message, self.log()[-3000:])
            time.sleep(0.05)

    def examine(self):
        """Stops it; what is wrong with what it leaves, as {what: ...}."""
        self.write("log/postconf", self.postconf("-n") + self.postconf("-M"))
        found = {}
        left = self.stop()
        if left:
            found["left behind"] = left
        for line in self.log().splitlines():
            if re.search(r"\]: (fatal|panic|error): ", line) or "killed by signal" in line:
                found.setdefault("log", []).append(line)
        found.update(self.canary.search_tree(self.directory, ["etc/exchange_identities"]))
        return found
