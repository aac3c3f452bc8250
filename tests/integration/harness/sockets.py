# SPDX-License-Identifier: MIT
"""The broker's wire protocol (src/client/PROTOCOL.md) and Dovecot's auth protocol, spoken by hand."""

import os
import re
import socket

from .clients import b64, fresh_address, plain

HELLO = "VERSION\tmodernauth\t1\t0\n"
ESCAPES = {"\0": "\x010", "\x01": "\x011", "\t": "\x01t", "\n": "\x01n", "\r": "\x01r"}
PLAIN_OF = {escape[1]: plain_ for plain_, escape in ESCAPES.items()}


def escape(text):
    return "".join(ESCAPES.get(c, c) for c in text)


def unescape(text):
    return re.sub("\x01(.)", lambda match: PLAIN_OF.get(match[1], match[1]), text)


class Lines:
    def __init__(self, path, timeout=30):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(timeout)
        self.buffer = b""
        try:
            self.sock.connect(path)
        except OSError:
            self.sock.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    def send(self, text):
        self.sock.sendall(text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape"))

    def line(self):
        """The next line; None at the end of the connection."""
        while b"\n" not in self.buffer:
            try:
                data = self.sock.recv(65536)
            except ConnectionResetError:
                data = b""
            if not data:
                return None
            self.buffer += data
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line.decode("utf-8", "replace")

    def rest(self):
        """Everything until the end of the connection."""
        lines = []
        while True:
            line = self.line()
            if line is None:
                return lines
            lines.append(line)


class Answer:
    """One reply of the broker: verb, id, fields."""

    def __init__(self, line):
        self.text = line
        self.verb, *fields = line.split("\t")
        self.id = int(fields.pop(0)) if fields and fields[0].isdigit() else None
        self.fields = dict(field.partition("=")[::2] for field in map(unescape, fields))

    def __getitem__(self, name):
        return self.fields[name]

    def get(self, name, default=None):
        return self.fields.get(name, default)

    def __repr__(self):
        return "Answer(%s)" % {**self.fields, "verb": self.verb, "id": self.id, "token": "token" in self.fields}


class Broker(Lines):
    """A connection to one of the broker's listeners, hello said."""

    def __init__(self, path, role, name="test", config=None, hello=True, timeout=30):
        super().__init__(path, timeout)
        self.next_id = 0
        if hello:
            told = "\tconfig=" + config if config else ""
            self.send(HELLO + "CLIENT\tname=%s\tpid=%d%s\n" % (name, os.getpid(), told))
            assert self.line() == HELLO.rstrip("\n")
            ready = self.line()
            assert ready == "READY\trole=" + role, ready

    def request(self, verb, **fields):
        """Sends a request; returns its id."""
        self.next_id += 1
        self.send("\t".join([verb, str(self.next_id), *("%s=%s" % (key, escape(str(value)))
                                                        for key, value in fields.items())]) + "\n")
        return self.next_id

    def answer(self):
        line = self.line()
        return None if line is None else Answer(line)

    def ask(self, verb, **fields):
        number = self.request(verb, **fields)
        while True:
            answer = self.answer()
            if answer is None or answer.id == number or answer.verb == "BAD":
                return answer

    def login(self, account, password=None, service="imap", **fields):
        return self.ask("LOGIN", user=getattr(account, "login", account),
                        **{"pass": account.password if password is None else password}, service=service, **fields)

    def status(self):
        """The numbers as numbers, the texts as they are."""
        return {name: int(value) if value.isdigit() else value for name, value in self.ask("STATUS").fields.items()}

    def all(self, verb, **fields):
        """Asks something whose answer has several lines: (those before the last one, the last one)."""
        number, lines = self.request(verb, **fields), []
        while True:
            answer = self.answer()
            assert answer is not None, "the broker closed the connection"
            if answer.verb in ("OK", "FAIL", "BAD") and answer.id in (number, 0):
                return lines, answer
            lines.append(answer)


class AuthClient(Lines):
    """A client of Dovecot's auth protocol, e.g. Postfix."""

    def __init__(self, path):
        super().__init__(path)
        self.send("VERSION\t1\t2\nCPID\t%d\n" % os.getpid())
        self.greeting = []
        while True:
            line = self.line()
            assert line is not None, "the auth process closed the connection"
            self.greeting.append(line)
            if line == "DONE":
                break
        self.next_id = 0

    def plain_line(self, user, password, *parameters):
        self.next_id += 1
        parameters = self.with_address(parameters)
        return "\t".join(["AUTH", str(self.next_id), "PLAIN", *parameters, "resp=" + plain(user, password)]) + "\n"

    def plain(self, user, password, *parameters):
        """AUTH PLAIN; the reply's fields."""
        self.send(self.plain_line(user, password, *parameters))
        return self.line().split("\t")

    @staticmethod
    def with_address(parameters):
        """Dovecot slows down whoever fails, and those without an address all together."""
        return parameters if any(p.startswith("rip=") for p in parameters) else [*parameters, "rip=" + fresh_address()]

    def login(self, user, password, *parameters):
        self.next_id += 1
        parameters = self.with_address(parameters)
        self.send("\t".join(["AUTH", str(self.next_id), "LOGIN", *parameters]) + "\n")
        for text in (user, password):
            prompt = self.line()
            assert prompt.startswith("CONT"), prompt
            self.send("CONT\t%d\t%s\n" % (self.next_id, b64(text)))
        return self.line().split("\t")


class MasterClient(Lines):
    """A client of a *-master socket: lookups without a password."""

    def __init__(self, path):
        super().__init__(path)
        self.send("VERSION\t1\t1\n")
        self.greeting = [self.line(), self.line()]      # VERSION, SPID

    def passdb(self, user, service):
        self.send("PASS\t1\t%s\tservice=%s\n" % (user, service))
        return self.line().split("\t")
