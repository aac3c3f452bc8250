# SPDX-License-Identifier: MIT
"""Starts the stand-ins from a test and talks to their control API."""

import http.client
import json
import os
import ssl
import subprocess
import sys
import time
import urllib.parse

from .entra_model import sha256    # noqa: F401 (for tests: sha256("text") as the records have it)

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
START_SECONDS = 90


class ControlError(Exception):
    """The control API said no; the text is its own."""


class Standin:
    """One running pair of stand-ins.

        with Standin().start(directory) as standin:
            standin.fault(endpoint="token", action="status", status=503, times=2)
            standin.ports["entra"], standin.ca_file
    """

    def __init__(self, *options):
        """options: further command-line options, e.g. "--no-h2"."""
        self.options, self.process, self.ports, self.directory = options, None, {}, None

    def start(self, directory):
        """Starts in directory and waits until it is ready."""
        self.directory = str(directory)
        ready = os.path.join(self.directory, "ports.json")
        if os.path.exists(ready):
            os.unlink(ready)
        self.process = subprocess.Popen([sys.executable, "-m", "standin", "--dir", self.directory, *self.options],
                                        cwd=HERE, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + START_SECONDS
        while not os.path.exists(ready):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError("the stand-ins do not start")
            time.sleep(0.02)
        return self.attach(self.directory)

    def attach(self, directory):
        """Uses stand-ins that somebody else started in directory."""
        self.directory = str(directory)
        with open(os.path.join(self.directory, "ports.json"), encoding="ascii") as ports:
            self.ports = json.load(ports)
        return self

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    # -- where things are

    def path(self, name):
        """ca.pem, untrusted-ca.pem, client.crt, client.key, stranger.*, client-expired.*"""
        return os.path.join(self.directory, name)

    @property
    def ca_file(self):
        return self.path("ca.pem")

    @property
    def authority(self):
        return "https://127.0.0.1:%d" % self.ports["entra"]

    def token_url(self, tenant="contoso.com"):
        return "%s/%s/oauth2/v2.0/token" % (self.authority, tenant)

    def context(self):
        """A client's TLS context that trusts the stand-ins."""
        return ssl.create_default_context(cafile=self.ca_file)

    # -- the control API

    def call(self, method, route, body=None, **query):
        connection = http.client.HTTPConnection("127.0.0.1", self.ports["control"], timeout=30)
        target = "/" + route + ("?" + urllib.parse.urlencode(query) if query else "")
        try:
            connection.request(method, target, None if body is None else json.dumps(body))
            reply = connection.getresponse()
            data = json.loads(reply.read())
        finally:
            connection.close()
        if reply.status != 200:
            raise ControlError(data.get("error"))
        return data

    def reset(self):
        return self.call("POST", "reset")

    def stats(self, server="entra"):
        return self.call("GET", "stats")[server]

    def proxied(self):
        """What the proxy was asked to CONNECT to: [{"time", "target"}]."""
        return self.call("GET", "proxy")

    def forget_stats(self):
        return self.call("DELETE", "stats")

    def user(self, upn, **fields):
        """Makes or changes a user: password=, mfa=, disabled=, locked=, expired=, ca_blocked=, imap=, ..."""
        return self.call("POST", "users", {"upn": upn, **fields})[0]

    def bulk_users(self, pattern, count, **fields):
        return self.call("POST", "users/bulk", {"pattern": pattern, "count": count, **fields})

    def delete_user(self, upn):
        return self.call("DELETE", "users", upn=upn)

    def app(self, client_id, **fields):
        return self.call("POST", "apps", {"client_id": client_id, **fields})[0]

    def domain(self, name, **fields):
        return self.call("POST", "domains", {"name": name, **fields})[0]

    def entra(self, **settings):
        return self.call("POST", "entra/settings", settings)

    def exchange(self, **settings):
        return self.call("POST", "exchange/settings", settings)

    def fault(self, **fields):
        """Adds a rule; returns its id."""
        return self.call("POST", "entra/faults", fields)[0]

    def clear_faults(self, number=None):
        return self.call("DELETE", "entra/faults", **({} if number is None else {"id": number}))

    def requests(self, since=0, **fields):
        """What Entra was asked: records whose fields have these values, as text."""
        return self.call("GET", "entra/requests", since=since, **fields)["records"]

    def last_request(self):
        """The number to give as since= later."""
        return self.call("GET", "entra/requests", since=2 ** 40)["last"]

    def forget_requests(self):
        return self.call("DELETE", "entra/requests")

    def token_requests(self, since=0, **fields):
        return self.requests(since, endpoint="token", **fields)

    def wait(self, ask, count=1, timeout=10):
        """Calls ask() until it returns count things or more."""
        deadline = time.monotonic() + timeout
        while True:
            found = ask()
            if len(found) >= count or time.monotonic() > deadline:
                return found
            time.sleep(0.02)

    def wait_requests(self, count=1, timeout=10, since=0, **fields):
        return self.wait(lambda: self.requests(since, **fields), count, timeout)

    def mint(self, user=None, **fields):
        """A token, past the token endpoint: {"access_token", "sha256", "expires_in"}. No user: app-only."""
        return self.call("POST", "entra/mint", {**({"user": user} if user else {}), **fields})

    def refresh_token(self, user, **fields):
        return self.call("POST", "entra/refresh-tokens", {"user": user, **fields})["refresh_token"]

    def revoke(self, user="*", code=50173):
        return self.call("POST", "entra/revoke", {"user": user, "code": code})["count"]

    def issued(self, skip=0):
        """Refresh tokens and device codes, in clear, in the order in which they were made, without the first ones."""
        return self.call("GET", "entra/issued", skip=skip)

    def device(self, action, code="latest", **fields):
        """action: approve | decline | expire"""
        return self.call("POST", "entra/devices", {"action": action, "code": code, **fields})

    def sessions(self, since=0, **fields):
        """Exchange's sessions, newest last."""
        return self.call("GET", "exchange/sessions", since=since, **fields)["records"]

    def wait_sessions(self, count=1, timeout=10, since=0, **fields):
        return self.wait(lambda: self.sessions(since, **fields), count, timeout)

    def last_session(self):
        return self.call("GET", "exchange/sessions", since=2 ** 40)["last"]

    def live(self):
        return self.call("GET", "exchange/live")

    def refuse(self, **rule):
        """token_sha256= or user= or all=True; protocols=, times=, text=, kind="""
        return self.call("POST", "exchange/refuse", rule)

    def clear_refusals(self):
        return self.call("DELETE", "exchange/refuse")

    def expire_sessions(self, **which):
        """As if the tokens of these sessions ended now; which: user=, token_sha256=, protocol="""
        return self.call("POST", "exchange/expire", which)["count"]

    def kick_sessions(self, **which):
        return self.call("POST", "exchange/kick", which)["count"]

    def abort_sessions(self, **which):
        return self.call("POST", "exchange/abort", which)["count"]

    def sent(self):
        """Messages that were submitted over SMTP."""
        return self.call("GET", "exchange/messages")

    def add_message(self, user, **fields):
        return self.call("POST", "exchange/messages", {"user": user, **fields})

    def mailbox(self, user):
        return self.call("GET", "exchange/mailbox", user=user)
