# SPDX-License-Identifier: MIT
"""Clients of the front end's ports that tell exactly what they were answered. Every failing login comes from an address
of its own, because Dovecot slows down addresses that fail; source= makes one come from a given address."""

import asyncio
import base64
import dataclasses
import itertools
import re
import socket
import ssl
import time

TIMEOUT = 60
_addresses = itertools.count(1)


def fresh_address():
    """An address of 127.0.0.0/8 that nobody has used before; never 127.0.0.x."""
    number = next(_addresses)
    return "127.%d.%d.%d" % (1 + number // 64000 % 250, number // 250 % 250, 1 + number % 250)


@dataclasses.dataclass
class Reply:
    """How a login ended. code: IMAP's or POP3's response code, SMTP's "535 5.7.8"."""
    ok: bool
    code: str
    text: str
    elapsed: float = 0
    source: str = ""
    port: int = 0                    # the client's
    sock: object = None              # logged in and open, if keep was asked for

    @property
    def temporary(self):
        """Will the client keep the password and come back?"""
        return not self.ok and self.code in ("UNAVAILABLE", "SYS/TEMP", "454 4.7.0")

    @property
    def wrong(self):
        """Does the client think that the password is wrong?"""
        return not self.ok and self.code in ("AUTHENTICATIONFAILED", "AUTH", "535 5.7.8")


class Line:
    """A line-based conversation over a socket."""

    def __init__(self, sock):
        self.sock, self.buffer = sock, b""

    def send(self, text):
        self.sock.sendall(text if isinstance(text, bytes) else text.encode())

    def line(self):
        while b"\n" not in self.buffer:
            data = self.sock.recv(65536)
            if not data:
                return ""
            self.buffer += data
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line.decode("utf-8", "replace").rstrip("\r")

    def reply(self):
        """An SMTP reply: its last line."""
        while True:
            line = self.line()
            if line[3:4] != "-":
                return line

    def until(self, tag):
        """IMAP: the tagged line; "" if the connection ends before."""
        while True:
            line = self.line()
            if line == "" or line.startswith(tag + " "):
                return line

    def start_tls(self, context):
        self.sock = context.wrap_socket(self.sock, server_hostname="localhost")

    def close(self):
        self.sock.close()


def b64(text):
    return base64.b64encode(text if isinstance(text, bytes) else text.encode()).decode()


def plain(user, password):
    return b64("\0%s\0%s" % (user, password))


def imap_quote(text):
    """A quoted string, or a literal if the text cannot be one."""
    data = text.encode()
    if any(c < 0x20 or c > 0x7e for c in data):
        return b"{%d+}\r\n%s" % (len(data), data)
    return b'"' + data.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def imap_reply(line):
    match = re.match(r"\S+ (OK|NO|BAD)(?: \[([^\]]*)\])? ?(.*)", line)
    if not match:
        return Reply(False, "", line or "connection closed")
    code = (match[2] or "").split(" ")[0]
    return Reply(match[1] == "OK", "" if match[1] == "OK" else code or match[1], match[3])


def pop3_reply(line):
    match = re.match(r"(\+OK|-ERR)(?: \[([^\]]*)\])? ?(.*)", line)
    if not match:
        return Reply(False, "", line or "connection closed")
    return Reply(match[1] == "+OK", match[2] or "", match[3])


def smtp_reply(line):
    match = re.match(r"(\d{3}) (\d\.\d+\.\d+)? ?(.*)", line)
    if not match:
        return Reply(False, "", line or "connection closed")
    return Reply(match[1][0] == "2", "%s %s" % (match[1], match[2]), match[3])


def imap_auth(line, user, password, mech, client_id):
    if client_id:
        line.send("i ID (%s)\r\n" % client_id)
        line.until("i")
    if mech == "LOGIN-COMMAND":
        line.send(b"a LOGIN %s %s\r\n" % (imap_quote(user), imap_quote(password)))
        return imap_reply(line.until("a"))
    if mech == "PLAIN":
        line.send("a AUTHENTICATE PLAIN\r\n")
        line.line()
        line.send(plain(user, password) + "\r\n")
        return imap_reply(line.until("a"))
    if mech == "PLAIN-IR":
        line.send("a AUTHENTICATE PLAIN %s\r\n" % plain(user, password))
        return imap_reply(line.until("a"))
    line.send("a AUTHENTICATE LOGIN\r\n")
    line.line()
    line.send(b64(user) + "\r\n")
    line.line()
    line.send(b64(password) + "\r\n")
    return imap_reply(line.until("a"))


def pop3_auth(line, user, password, mech, client_id):
    if mech == "USER":
        line.send("USER %s\r\n" % user)
        reply = line.line()
        if not reply.startswith("+OK"):
            return pop3_reply(reply)
        line.send("PASS %s\r\n" % password)
        return pop3_reply(line.line())
    if mech == "PLAIN":
        line.send("AUTH PLAIN %s\r\n" % plain(user, password))
        return pop3_reply(line.line())
    line.send("AUTH LOGIN\r\n")
    line.line()
    line.send(b64(user) + "\r\n")
    line.line()
    line.send(b64(password) + "\r\n")
    return pop3_reply(line.line())


def smtp_auth(line, user, password, mech, client_id):
    line.send("EHLO client.test\r\n")
    line.reply()
    if mech == "PLAIN":
        line.send("AUTH PLAIN %s\r\n" % plain(user, password))
        return smtp_reply(line.reply())
    line.send("AUTH LOGIN\r\n")
    line.reply()
    line.send(b64(user) + "\r\n")
    line.reply()
    line.send(b64(password) + "\r\n")
    return smtp_reply(line.reply())


PROTOCOLS = {
    # port: (its TLS twin, STARTTLS command, words of a success, goodbye, log in, default mechanism)
    "imap": ("imaps", "s STARTTLS\r\n", "s OK", "z LOGOUT\r\n", imap_auth, "LOGIN-COMMAND"),
    "pop3": ("pop3s", "STLS\r\n", "+OK", "QUIT\r\n", pop3_auth, "USER"),
    "submission": ("submissions", "STARTTLS\r\n", "220", "QUIT\r\n", smtp_auth, "PLAIN"),
}


class Clients:
    """A mix-in of Front."""

    def connect(self, port, timeout=TIMEOUT, source=""):
        return socket.create_connection(("127.0.0.1", self.ports[port]), timeout, (source, 0) if source else None)

    def tls_context(self):
        return ssl.create_default_context(cafile=self.standin.ca_file)

    def open(self, protocol, tls=None, source="", timeout=TIMEOUT):
        """A conversation past the greeting. tls: None, "implicit" or "starttls"."""
        twin, starttls, good, *_ = PROTOCOLS[protocol]
        line = Line(self.connect(twin if tls == "implicit" else protocol, timeout, source))
        if tls == "implicit":
            line.start_tls(self.tls_context())
        greeting = line.reply() if protocol == "submission" else line.line()
        assert greeting, "no greeting"
        if tls == "starttls":
            if protocol == "submission":
                line.send("EHLO client.test\r\n")
                line.reply()
            line.send(starttls)
            answer = line.line()
            assert answer.startswith(good), answer
            line.start_tls(self.tls_context())
        return line

    def login(self, protocol, account, password=None, *, tls=None, mech=None, source=None, keep=False, timeout=TIMEOUT,
              client_id=None):
        """Logs in as account (which has .upn and .password, or is a name) and out again; with keep the conversation
        stays open in reply.sock."""
        user = getattr(account, "login", account)
        password = account.password if password is None else password
        *_, goodbye, auth, default = PROTOCOLS[protocol]
        source = fresh_address() if source is None else source
        started = time.monotonic()
        line = self.open(protocol, tls, source, timeout)
        try:
            reply = auth(line, user, password, mech or default, client_id)
            reply.elapsed, reply.source, reply.port = time.monotonic() - started, source, line.sock.getsockname()[1]
            if keep and reply.ok:
                reply.sock = line
                return reply
            line.send(goodbye)
        except BrokenPipeError:
            pass
        finally:
            if not (keep and reply_is_ok(locals())):
                line.close()
        return reply

    def imap(self, account, password=None, **options):
        return self.login("imap", account, password, **options)

    def pop3(self, account, password=None, **options):
        return self.login("pop3", account, password, **options)

    def smtp(self, account, password=None, **options):
        return self.login("submission", account, password, **options)

    def storm(self, accounts, password=None, parallel=200, protocol="imap", timeout=TIMEOUT):
        """Logs all accounts in, at most so many at the same time; the replies in order."""
        return asyncio.run(self.storm_async(accounts, password, parallel, protocol, timeout))

    async def storm_async(self, accounts, password=None, parallel=200, protocol="imap", timeout=TIMEOUT):
        gate = asyncio.Semaphore(parallel)

        async def one(account):
            async with gate:
                try:
                    return await asyncio.wait_for(self.quick_login(account, password, protocol), timeout)
                except asyncio.TimeoutError:
                    return Reply(False, "", "timeout", timeout)
        return await asyncio.gather(*(one(account) for account in accounts))

    async def quick_login(self, account, password=None, protocol="imap", linger=0):
        """One login without TLS, for many at a time."""
        started = time.monotonic()
        password = account.password if password is None else password
        writer, source = None, fresh_address()
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.ports[protocol], limit=1 << 20,
                                                           local_addr=(source, 0))
            await reader.readline()
            if protocol == "imap":
                writer.write(b"a LOGIN %s %s\r\n" % (imap_quote(account.login), imap_quote(password)))
                line = b"*"
                while line.startswith(b"*"):
                    line = await reader.readline()
                reply = imap_reply(line.decode("utf-8", "replace").rstrip())
            else:
                writer.write(b"USER %s\r\nPASS %s\r\n" % (account.login.encode(), password.encode()))
                await reader.readline()
                reply = pop3_reply((await reader.readline()).decode("utf-8", "replace").rstrip())
            if linger:
                await asyncio.sleep(linger)
            writer.write(b"z LOGOUT\r\n" if protocol == "imap" else b"QUIT\r\n")
            await writer.drain()
        except OSError as error:
            reply = Reply(False, "", "%s" % error)
        finally:
            if writer:
                writer.close()
        reply.elapsed, reply.source = time.monotonic() - started, source
        return reply


def reply_is_ok(names):
    return "reply" in names and names["reply"].ok
