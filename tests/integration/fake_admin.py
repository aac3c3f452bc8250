# SPDX-License-Identifier: MIT
"""A broker's administration socket that says what a test wants it to say, or nothing, or rubbish."""

import os
import socket
import threading
import time

MARK = "\001"
LETTERS = {"\0": "0", MARK: "1", "\t": "t", "\n": "n", "\r": "r"}
OCTETS = {letter: octet for octet, letter in LETTERS.items()}


def escape(text):
    return "".join(MARK + LETTERS[c] if c in LETTERS else c for c in text)


def unescape(text):
    out, chars = [], iter(text)
    for char in chars:
        out.append(OCTETS[next(chars)] if char == MARK else char)
    return "".join(out)


def fields(values):
    return "".join("\t%s=%s" % (key, escape(str(value))) for key, value in values.items() if value is not None)


class Request:
    """What was asked; answers go back with its methods."""

    def __init__(self, connection, verb, number, values):
        self.connection, self.verb, self.id, self.values = connection, verb, number, values

    def __getitem__(self, key):
        return self.values.get(key)

    def say(self, verb, **values):
        self.connection.send("%s\t%s%s\n" % (verb, self.id, fields(values)))

    def row(self, **values):
        self.say("ROW", **values)

    def note(self, **values):
        self.say("NOTE", **values)

    def ok(self, **values):
        self.say("OK", **values)

    def fail(self, code, reason="", advice=None):
        self.say("FAIL", code=code, reason=reason, advice=advice)

    def code(self, code, account=None, seconds=900, uri="https://login.example.com/device"):
        self.say("CODE", user_code=code, uri=uri, message="m", expires_at=int(time.time()) + seconds, interval=5,
                 account=account or self["user"])


class Connection:
    def __init__(self, sock):
        self.sock, self.lock, self.closed = sock, threading.Lock(), False

    def send(self, text):
        """text as it is."""
        with self.lock:
            try:
                self.sock.sendall(text.encode("utf-8", "surrogateescape"))
            except OSError:
                self.closed = True

    def bye(self):
        self.send("BYE\n")

    def close(self):
        self.closed = True
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


class FakeAdmin:
    """Calls answer(request) for every request, in the thread of its connection. hello: what is said instead of the real
    one; None: nothing."""

    HELLO = "VERSION\tmodernauth\t1\t0\nREADY\trole=admin\n"

    def __init__(self, path, answer, hello=HELLO):
        self.path, self.answer, self.hello = path, answer, hello
        self.requests, self.connections, self.errors = [], [], []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(64)
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
        assert not self.errors, self.errors

    def stop(self):
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        for connection in self.connections:
            connection.close()
        if os.path.exists(self.path):
            os.unlink(self.path)

    def asked(self, verb):
        return [request for request in self.requests if request.verb == verb]

    def wait_for(self, what, seconds=20):
        """Until what() is true."""
        end = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < end, "nothing happened"
            time.sleep(0.01)

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            connection = Connection(sock)
            self.connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        if self.hello is not None:
            connection.send(self.hello)
        lines = connection.sock.makefile("r", encoding="utf-8", errors="surrogateescape", newline="\n")
        try:
            for number, line in enumerate(lines):
                self._line(connection, number, line.rstrip("\n"))
        except OSError:
            pass
        except Exception as error:  # pylint: disable=broad-except
            self.errors.append(repr(error))
        finally:
            connection.close()

    def _line(self, connection, number, line):
        if number == 0:
            assert line == "VERSION\tmodernauth\t1\t0", line
            return
        if number == 1:
            assert line.startswith(("CLIENT\tname=doveadm\tpid=", "CLIENT\tname=doveadm-server\tpid=")), line
            return
        verb, request_id, *rest = line.split("\t")
        values = dict((key, unescape(value)) for key, _, value in (field.partition("=") for field in rest))
        request = Request(connection, verb, request_id, values)
        self.requests.append(request)
        self.answer(request)
