# SPDX-License-Identifier: MIT
"""Everything that both doubles share, and that POST /reset throws away."""

import collections
import time

from . import entra_faults
from .entra_model import Directory
from .exchange_mail import Mailboxes

RECORDS_MAX = 100000

ENTRA_SETTINGS = {
    # tokens; a fault of action "token" may override any of these for one reply
    "expires_in": 3599,             # seconds, or [from, to] for a random number
    "token_exp_in": None,           # the token's own exp, if it is to differ from expires_in
    "refresh_in": None,             # seconds: adds refresh_in to the reply
    "token_size": 0,                # octets; 0: as it comes (about 1,900)
    "audience": "",                 # "": by scope
    "upn": "",                      # claims name this user instead
    "opaque": False,                # not a JWT (Exchange knows it all the same)
    "nonprintable": "",             # this text is put into the token
    "token_type": "Bearer",
    "numbers_as_strings": False,
    "missing": [],                  # keys that the reply lacks, e.g. ["access_token"]
    "extra": {},                    # keys that it has in addition
    "body_padding_kib": 0,          # a key that makes the reply this much longer
    # the rest is global
    "latency_ms": 0,                # of each request to Entra
    "description_separator": " ",   # older builds: "\r\n"
    "old_errors": False,            # old `error` spellings and "\r\n" for all errors
    "refuse_ps256": False,
    "refuse_jti_replay": False,
    "lockout_threshold": 10,
    "lockout_seconds": 60,
    "lockout_same_hash_exempt": True,
    "refresh_rotation": "keep-old",  # keep-old | revoke-old | none (no new refresh token in the reply)
    "device_expires_in": 900,
    "device_interval": 5,
    "device_slow_down": False,      # polls below the interval are answered slow_down
    "device_approve_after": -1,     # "pending" polls before the code is good for device_user
    "device_user": "alice@contoso.com",
    "consent_all": False,           # every app has consent
    "date_offset": 0,               # seconds that the Date header is ahead
    "region": ["EU", ""],           # tenant_region_scope, tenant_region_sub_scope
    "cloud_instance": "microsoftonline.com",
    "proxy_status": 0,              # the proxy answers CONNECT with this status
}
EXCHANGE_SETTINGS = {
    "sasl_ir": True,                # IMAP: SASL-IR in CAPABILITY, and initial responses taken
    "bare_plus": False,             # IMAP and POP3: "+" instead of "+ "
    "pop_one_line": False,          # POP3 takes AUTH XOAUTH2 with an initial response (Exchange does not)
    "fail_delay": 0,                # seconds before a refusal
    "auth_delay": 0,                # seconds before any answer to AUTH
    "greeting_delay": 0,
    "imap_cap": 20, "pop3_cap": 20, "smtp_cap": 3,   # connections of one mailbox
    "imap_bad_limit": 3,            # commands of a "not connected" session before the BYE
    "auth_failure_limit": 3,        # refusals before the connection is closed
    "imap_no_text": "AUTHENTICATE failed.",
    "kill_at_exp": True,            # a session dies with its token
    "smtp_min_token_life": 0,       # seconds; less is answered 501 5.5.127
    "smtp_busy": False,             # greets with 421
    "smtp_chunking": True,
    "check_tenant": True,
    "check_audience": True,
}


class Recorder:
    """Numbered records, oldest first, forgotten beyond RECORDS_MAX."""

    def __init__(self):
        self.records = collections.deque(maxlen=RECORDS_MAX)
        self.last = 0

    def new(self, **fields):
        self.last += 1
        record = {"seq": self.last, "time": time.time(), **fields}
        self.records.append(record)
        return record

    def since(self, seq):
        """Records whose number is above seq."""
        skip = max(0, len(self.records) - (self.last - seq))
        records = list(self.records)
        return records[skip:]

    def forget(self):
        """Forgets the records; numbers go on, so that a stale "since" never shows old news."""
        self.records.clear()


class Settings(dict):
    """A dict that takes no unknown keys."""

    def change(self, values):
        unknown = set(values) - set(self)
        if unknown:
            raise ValueError("unknown setting: " + ", ".join(sorted(unknown)))
        self.update(values)


class World:
    def __init__(self, pki, tokens):
        self.pki, self.tokens = pki, tokens
        self.requests, self.sessions = Recorder(), Recorder()
        self.live = {}               # session number -> Exchange session
        self.open_by_mailbox = {}    # (protocol, mailbox) -> sessions that are logged in
        self.reset()

    def reset(self):
        """Back to the defaults; records are forgotten, running Exchange sessions go."""
        self.directory = Directory()
        self.entra = Settings(ENTRA_SETTINGS)
        self.exchange = Settings(EXCHANGE_SETTINGS)
        self.faults = entra_faults.Faults()
        self.refusals = []
        self.mailboxes = Mailboxes()
        self.outbox = []             # what was submitted
        self.jti_seen = set()
        self.requests.forget()
        self.sessions.forget()
        for session in list(self.live.values()):
            session.abort()
