# SPDX-License-Identifier: MIT
"""Mail programs that people use, each run once against a front end: what they fetched, or whether they sent."""

import glob
import os
import pty
import select
import signal
import subprocess
import tempfile
import time

TIMEOUT = 30
MAIL = "From: %s\r\nTo: %s\r\nSubject: %s\r\n\r\nText of the message.\r\n"


class Failed(Exception):
    pass


def run(argv, stdin="", home=None, ok=(0,)):
    environment = {"PATH": os.environ["PATH"], "HOME": home or "/nonexistent", "LC_ALL": "C.UTF-8", "TERM": "vt100"}
    done = subprocess.run(argv, input=stdin.encode(), capture_output=True, timeout=TIMEOUT, env=environment, cwd=home)
    text = (done.stdout + done.stderr).decode("utf-8", "replace")
    if done.returncode not in ok:
        raise Failed("%s ended with %d: %s" % (argv[0], done.returncode, text[-2000:]))
    return text


def quoted(text, specials='"\\'):
    return '"%s"' % "".join("\\" + c if c in specials else c for c in text)


class Programs:
    """With the files that programs want, in a directory that is gone afterwards."""

    def __init__(self, front):
        self.front, self.ca = front, front.standin.ca_file

    def __enter__(self):
        self.directory = tempfile.TemporaryDirectory(prefix="ma-home-", dir="/tmp")
        self.home = self.directory.name
        return self

    def __exit__(self, *_):
        self.directory.cleanup()

    def file(self, name, text=""):
        path = os.path.join(self.home, name)
        with open(path, "w", encoding="utf-8", opener=lambda p, f: os.open(p, f, 0o600)) as file:
            file.write(text)
        return path

    def read(self, pattern):
        text = ""
        for path in glob.glob(os.path.join(self.home, pattern), recursive=True):
            if os.path.isfile(path):
                with open(path, encoding="utf-8", errors="replace") as file:
                    text += file.read()
        return text

    # -- curl

    def curl(self, account, url, *, starttls=False, auth="", upload="", sender="", recipient="", more=()):
        """url like "imaps:/INBOX;MAILINDEX=1": scheme and path; its port is the front end's."""
        scheme, _, path = url.partition(":")
        port = self.front.ports[{"smtp": "submission", "smtps": "submissions"}.get(scheme, scheme)]
        lines = ["url = \"%s://127.0.0.1:%d%s\"" % (scheme, port, path),
                 "user = " + quoted("%s:%s" % (account.login, account.password)), "cacert = " + quoted(self.ca),
                 "silent",
                 "show-error", "max-time = %d" % TIMEOUT]
        if starttls:
            lines.append("ssl-reqd")
        if auth:
            lines.append("login-options = \"AUTH=%s\"" % auth)
        if upload:
            lines += ["upload-file = " + quoted(self.file("mail", upload)), "mail-from = " + quoted(sender),
                      "mail-rcpt = " + quoted(recipient)]
        return run(["curl", "-q", "-K", "-"], "\n".join([*lines, *more, ""]), self.home)

    # -- fetching

    def fetchmail(self, account, protocol, tls):
        port = self.front.ports[protocol + ("s" if tls == "implicit" else "")]
        words = {"implicit": "ssl", "starttls": "sslproto \"TLS1.2+\"", None: "sslproto \"\""}[tls]
        path = self.file("fetchmailrc",
                         "poll localhost protocol %s port %d auth password username %s password %s %s %s "
                         "fetchall keep mda \"cat >> %s\"\n" % (
                             protocol, port, quoted(account.login), quoted(account.password), words,
                             "sslcertck sslcertfile %s" % quoted(self.ca) if tls else "",
                             os.path.join(self.home, "inbox")))
        run(["fetchmail", "--nodetach", "--nosyslog", "-f", path, "--pidfile", os.path.join(self.home, "pid"),
             "--idfile",
             os.path.join(self.home, "ids")], home=self.home)
        return self.read("inbox")

    def mbsync(self, account, tls, mech):
        port = self.front.ports["imaps" if tls == "implicit" else "imap"]
        kind = {"implicit": "IMAPS", "starttls": "STARTTLS", None: "None"}[tls]
        os.mkdir(os.path.join(self.home, "maildir"))
        path = self.file("mbsyncrc", "IMAPStore far\nHost localhost\nPort %d\nUser %s\nPass %s\nSSLType %s\n"
                         "SystemCertificates no\nCertificateFile %s\nAuthMechs %s\n\n"
                         "MaildirStore near\nPath %s/maildir/\n"
                         "Inbox %s/maildir/INBOX\nSubFolders Verbatim\n\nChannel all\nFar :far:\nNear :near:\n"
                         "Patterns INBOX\nSync Pull\nCreate Near\nSyncState *\n" % (
                             port, quoted(account.login), quoted(account.password), kind, quoted(self.ca), mech,
                             self.home,
                             self.home))
        run(["mbsync", "-c", path, "all"], home=self.home)
        return self.read("maildir/**/*")

    def mutt_read(self, account, protocol, tls, words):
        """Opens the INBOX and shows its first message; the screen, once words are on it."""
        port = self.front.ports[protocol + ("s" if tls == "implicit" else "")]
        scheme = protocol.replace("pop3", "pop") + ("s" if tls == "implicit" else "")
        name = protocol.replace("pop3", "pop")
        secret = quoted(account.password, '"\\$`')
        path = self.file("muttrc", "\n".join([
            "set %s_user=%s" % (name, quoted(account.login)), "set %s_pass=%s" % (name, secret),
            "set ssl_ca_certificates_file=" + quoted(self.ca),
            "set ssl_starttls=yes", "set ssl_force_tls=%s" % ("yes" if tls else "no"), "set mbox_type=mbox",
            "set move=no", "set timeout=1", "set pop_authenticators=\"plain:user\"",
            "set imap_authenticators=\"plain:login\"", ""]))
        # mutt would ask whether to make it, and take the first key for the answer.
        os.mkdir(os.path.join(self.home, "Mail"))
        return self.on_terminal(["mutt", "-n", "-R", "-F", path, "-f", "%s://127.0.0.1:%d/%s" % (
            scheme, port, "INBOX" if protocol == "imap" else ""), "-e", "push <display-message>"], words)

    def on_terminal(self, argv, words):
        """Runs argv on a pseudo terminal until words are on its screen."""
        pid, master = pty.fork()
        if pid == 0:
            os.chdir(self.home)
            os.execvpe(argv[0], argv, {"PATH": os.environ["PATH"], "HOME": self.home, "TERM": "vt100",
                                       "LC_ALL": "C.UTF-8"})
        screen, deadline = "", time.monotonic() + TIMEOUT
        try:
            while time.monotonic() < deadline and words not in screen:
                if select.select([master], [], [], 0.05)[0]:
                    screen += os.read(master, 65536).decode("utf-8", "replace")
        except OSError:
            pass                     # the program has ended
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            os.close(master)
        if words not in screen:
            raise Failed("%s on a terminal: %r" % (argv[0], screen[-2000:]))
        return screen

    # -- sending

    def mutt_send(self, account, recipient, subject, tls, mech):
        port = self.front.ports["submissions" if tls == "implicit" else "submission"]
        scheme, user = "smtps" if tls == "implicit" else "smtp", account.login.replace("@", "%40")
        url = "%s://%s@127.0.0.1:%d/" % (scheme, user, port)
        path = self.file("muttrc", "\n".join([
            "set smtp_url=" + quoted(url), "set ssl_force_tls=yes",
            "set ssl_ca_certificates_file=" + quoted(self.ca), "set smtp_authenticators=" + quoted(mech),
            "set smtp_pass=" + quoted(account.password, '"\\$`'), "set from=" + quoted(account.upn), "set copy=no",
            "set use_envelope_from=yes", "set envelope_from_address=" + quoted(account.upn), ""]))
        return run(["mutt", "-n", "-F", path, "-s", subject, recipient], "Text of the message.\n", self.home)

    def msmtp(self, account, recipient, subject, tls, mech):
        port = self.front.ports["submissions" if tls == "implicit" else "submission"]
        path = self.file("msmtprc", "account default\nhost 127.0.0.1\nport %d\ntls on\ntls_starttls %s\n"
                         "tls_trust_file %s\nauth %s\nuser %s\npassword %s\nfrom %s\n" % (
                             port, "off" if tls == "implicit" else "on", self.ca, mech, account.login, account.password,
                             account.upn))
        return run(["msmtp", "--file=" + path, recipient], MAIL % (account.upn, recipient, subject), self.home)

    def swaks(self, account, recipient, subject, tls, mech):
        port = self.front.ports["submissions" if tls == "implicit" else "submission"]
        return run(["swaks", "--server", "127.0.0.1", "--port", str(port), "--tlsc" if tls == "implicit" else "--tls",
                    "--tls-ca-path", self.ca, "--tls-verify", "--auth", mech, "--auth-user", account.login,
                    "--auth-password", account.password, "--auth-hide-password", "--from", account.upn, "--to",
                    recipient,
                    "--header", "Subject: " + subject, "--hide-all"], home=self.home)
