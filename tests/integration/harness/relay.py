# SPDX-License-Identifier: MIT
"""The relay role as an MTA speaks it: asking for tokens, and Postfix's socketmap protocol for delivery statuses."""

import socket

from .sockets import Broker

# In dovecot.conf: the listeners that 10-modernauth.conf has as comments, where a test can reach them.
LISTENERS = """
service modernauth {
  unix_listener modernauth-relay {
    mode = 0666
  }
  unix_listener modernauth-status {
    mode = 0666
  }
}
"""


class Relay(Broker):
    """A connection as the SASL plugin has one. answer["user"], answer["token"]."""

    def __init__(self, front, name="postfix/smtp", **options):
        super().__init__(front.socket_path("modernauth-relay"), "relay", name=name, **options)

    def token(self, identity, key, **fields):
        return self.ask("TOKEN", identity=getattr(identity, "upn", identity), key=key, **fields)

    def refused(self, identity, token_id, reply="535 5.7.3 Authentication unsuccessful"):
        return self.ask("REFUSED", identity=getattr(identity, "upn", identity), token_id=token_id, reply=reply)


class Socketmap:
    """A socketmap_table(5) client: netstrings."""

    def __init__(self, path, timeout=30):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(timeout)
        self.buffer = b""
        self.sock.connect(path)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def send(self, data):
        self.sock.sendall(data)

    def read(self):
        """The next reply; None at the end of the connection."""
        while True:
            size, colon, rest = self.buffer.partition(b":")
            if colon and len(rest) > int(size):
                assert rest[int(size):int(size) + 1] == b","
                self.buffer = rest[int(size) + 1:]
                return rest[:int(size)].decode()
            try:
                data = self.sock.recv(65536)
            except ConnectionResetError:
                data = b""
            if not data:
                return None
            self.buffer += data

    def lookup(self, key, name="status"):
        text = ("%s %s" % (name, key)).encode()
        self.send(b"%d:%s," % (len(text), text))
        return self.read()


def status_map(front, **options):
    return Socketmap(front.socket_path("modernauth-status"), **options)


def add_key(front, name, *identities, **fields):
    """A relay key, as doveadm makes one; nobody may find it anywhere from now on."""
    _, answer = front.ask("RELAY-ADD", name=name, identities=",".join(identities), **fields)
    assert answer.verb == "OK", answer
    for text in (answer["relay_password"], answer["relay_password"].replace("-", "")):
        front.canary.add(text, "relay key")
    return answer["relay_password"]
