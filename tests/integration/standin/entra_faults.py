# SPDX-License-Identifier: MIT
"""What the control API lets go wrong at Entra: rules, and what they do to an answer."""

import dataclasses
import email.utils
import fnmatch
import itertools
import time

from . import httpd
from .entra_errors import Aadsts, variant
from .entra_model import checked

HTML_503 = (b"<!DOCTYPE html><html><head><title>Service Unavailable</title></head><body><h2>Our services aren't "
            b"available right now</h2><p>We're working to restore all services as soon as possible.</p></body>"
            b"</html>")
ACTIONS = {
    "none",             # only latency_ms
    "token",            # the real answer with settings overridden: "token": {...}
    "status",           # "status", "body", "content_type", "headers", "retry_after"
    "aadsts",           # "code", "variants": as for magic users; any endpoint, any grant
    "truncate",         # the first half of the real body, Content-Length to match
    "empty",            # no body, status 200 or "status"
    "garbage",          # "kib" KiB that are no JSON
    "redirect",         # 302 (or "status") to "location"
    "reset", "reset-mid", "short", "close", "hang", "goaway", "refuse-stream",    # see httpd
}
MODES = {"reset": httpd.RESET, "reset-mid": httpd.RESET_MID, "short": httpd.SHORT, "close": httpd.CLOSE,
         "hang": httpd.HANG, "goaway": httpd.GOAWAY, "refuse-stream": httpd.REFUSE_STREAM}
# The real handler runs for these, and the answer is spoilt afterwards.
AFTERWARDS = {"none", "token", "truncate", "reset-mid", "short"}


@dataclasses.dataclass
class Fault:
    action: str = "none"
    endpoint: str = "*"          # glob: token | devicecode | realm | discovery | autodiscover | other
    user: str = "*"              # glob
    client_id: str = "*"         # glob
    grant: str = "*"             # glob
    times: int = 0               # 0: until it is deleted
    skip: int = 0                # matching requests that pass before the first hit
    latency_ms: int = 0
    status: int = 0
    body: str = ""
    content_type: str = ""
    headers: dict = dataclasses.field(default_factory=dict)
    retry_after: object = None   # seconds as a number, "date:30" for an HTTP date in 30 s, any other text as it is
    code: int = 0
    variants: list = dataclasses.field(default_factory=list)
    kib: int = 0
    location: str = ""
    token: dict = dataclasses.field(default_factory=dict)
    id: int = 0
    hits: int = 0

    def matches(self, endpoint, user, client_id, grant):
        pairs = ((endpoint, self.endpoint), (user, self.user), (client_id, self.client_id), (grant, self.grant))
        return all(fnmatch.fnmatchcase(value.lower(), pattern.lower()) for value, pattern in pairs)

    def instead(self, request):
        """The answer that replaces the real one, or None. Raises Aadsts."""
        if self.action in AFTERWARDS:
            return None
        if self.action in MODES:
            return httpd.Response(mode=MODES[self.action])
        if self.action == "aadsts":
            raise variant(Aadsts(self.code, status=self.status or None, retry_after=self.retry_after_text()),
                          self.variants)
        headers = [("Content-Type", self.content_type or "text/html; charset=utf-8"), *self.headers.items()]
        if self.retry_after is not None:
            headers.append(("Retry-After", self.retry_after_text()))
        if self.action == "redirect":
            location = self.location or "https://%s/redirect-trap" % request.authority
            return httpd.Response(self.status or 302, [*headers, ("Location", location)])
        if self.action == "garbage":
            return httpd.Response(self.status or 200, headers, b"x" * (self.kib * 1024))
        if self.action == "empty":
            return httpd.Response(self.status or 200, headers)
        body = self.body.encode() if self.body or self.status != 503 else HTML_503
        return httpd.Response(self.status or 500, headers, body)

    def afterwards(self, response):
        """Spoils the real answer."""
        if self.action == "truncate":
            response.body = response.body[:len(response.body) // 2]
        if self.action in MODES:
            response.mode = MODES[self.action]

    def retry_after_text(self):
        if isinstance(self.retry_after, str) and self.retry_after.startswith("date:"):
            return email.utils.formatdate(time.time() + int(self.retry_after[5:]), usegmt=True)
        return None if self.retry_after is None else str(self.retry_after)


FAULT_FIELDS = {field.name for field in dataclasses.fields(Fault)} - {"id", "hits"}


class Faults:
    """The rules in force; the first that matches is taken."""

    def __init__(self):
        self.rules = []
        self.ids = itertools.count(1)

    def add(self, fields, token_settings):
        fault = Fault(**checked(FAULT_FIELDS, fields))
        if fault.action not in ACTIONS:
            raise ValueError("no such action: " + fault.action)
        checked(set(token_settings), fault.token)
        variant(Aadsts(fault.code), fault.variants)
        fault.id = next(self.ids)
        self.rules.append(fault)
        return fault

    def take(self, endpoint, user, client_id, grant):
        for fault in self.rules:
            if not fault.matches(endpoint, user, client_id, grant):
                continue
            if fault.skip:
                fault.skip -= 1
                continue
            fault.hits += 1
            if fault.times and fault.hits >= fault.times:
                self.rules.remove(fault)
            return fault
        return None

    def remove(self, number=None):
        self.rules = [fault for fault in self.rules if number not in (None, fault.id)]
