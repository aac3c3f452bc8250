# SPDX-License-Identifier: MIT
"""What IMAP, POP3 and SMTP share: the session, the check of an XOAUTH2 blob, refusals, connection limits."""

import asyncio
import base64
import dataclasses
import enum
import time

from .entra_model import checked, sha256
from .entra_tokens import EXCHANGE_AUDIENCES
from .httpd import reset

LINE_MAX = 256 * 1024
LITERAL_MAX = 32 * 1024 * 1024
SERVER_FQDN = "FR3P281CA0157.DEUP281.PROD.OUTLOOK.COM"
SERVER_ID = base64.b64encode(SERVER_FQDN.encode("utf-16-le")).decode()
RIGHTS = {"imap": ("IMAP.AccessAsUser.All", "IMAP.AccessAsApp"),
          "pop3": ("POP.AccessAsUser.All", "POP.AccessAsApp"),
          "smtp": ("SMTP.Send", "SMTP.SendAsApp")}
FEATURES = {"imap": "imap", "pop3": "pop", "smtp": "smtp"}
REFUSAL_KINDS = {"refuse", "not-connected", "unavailable", "limit", "close", "reset", "hang"}


class Outcome(enum.Enum):
    OK = "ok"
    REFUSED = "refused"
    NOT_CONNECTED = "not-connected"      # the token is good, the mailbox is not to be had
    UNAVAILABLE = "unavailable"
    LIMIT = "limit"                      # too many connections of that mailbox
    CLOSED = "closed"                    # nothing is to be sent any more


@dataclasses.dataclass
class Verdict:
    outcome: Outcome
    reason: str
    user: str = ""
    text: str = ""                       # replaces the protocol's own words
    claims: dict = None
    delay: float = 0


@dataclasses.dataclass
class Refusal:
    """A rule of POST /exchange/refuse."""
    token_sha256: str = ""
    user: str = ""
    all: bool = False
    protocols: list = dataclasses.field(default_factory=lambda: ["imap", "pop3", "smtp"])
    times: int = 0                       # 0: until deleted
    text: str = ""
    kind: str = "refuse"
    hits: int = 0

    def matches(self, protocol, user, digest):
        return protocol in self.protocols and (self.all or self.token_sha256 == digest or
                                               (self.user != "" and self.user.lower() == user.lower()))


REFUSAL_FIELDS = {field.name for field in dataclasses.fields(Refusal)} - {"hits"}


def new_refusal(fields):
    refusal = Refusal(**checked(REFUSAL_FIELDS, fields))
    if refusal.kind not in REFUSAL_KINDS or not set(refusal.protocols) <= set(RIGHTS):
        raise ValueError("kind is one of %s; protocols of %s" % (sorted(REFUSAL_KINDS), sorted(RIGHTS)))
    return refusal


def parse_xoauth2(blob):
    """(user, token) of base64("user=" user ^A "auth=Bearer " token ^A ^A); ValueError if it is anything else."""
    text = base64.b64decode(blob, validate=True).decode("utf-8")
    user, auth, *rest = text.split("\x01")
    if not user.startswith("user=") or not auth.startswith("auth=Bearer ") or rest != ["", ""]:
        raise ValueError("malformed-blob")
    return user[5:], auth[12:]


def parse_plain(blob):
    """(user, password) of base64(authzid NUL user NUL password), the password as octets; ("", blob) if it is anything
    else."""
    try:
        _, user, password = base64.b64decode(blob, validate=True).split(b"\0")
    except ValueError:
        return "", blob
    return user.decode("utf-8", "replace"), password


class TokenCheck:
    """Is this token good for this mailbox over this protocol?"""

    def __init__(self, world, protocol):
        self.world, self.protocol = world, protocol
        self.settings = world.exchange

    def judge(self, user, token):
        digest = sha256(token)
        for refusal in self.world.refusals:
            if refusal.matches(self.protocol, user, digest):
                return self.apply(refusal, user)
        try:
            claims = self.world.tokens.read(token)
        except ValueError as error:
            return self.refused(str(error), user)
        return self.judge_claims(user, claims)

    def apply(self, refusal, user):
        refusal.hits += 1
        if refusal.times and refusal.hits >= refusal.times:
            self.world.refusals.remove(refusal)
        kinds = {"refuse": Outcome.REFUSED, "not-connected": Outcome.NOT_CONNECTED, "limit": Outcome.LIMIT,
                 "unavailable": Outcome.UNAVAILABLE}
        return Verdict(kinds.get(refusal.kind, Outcome.CLOSED), "control:" + refusal.kind, user, refusal.text,
                       delay=self.settings["fail_delay"])

    def refused(self, reason, user, outcome=Outcome.REFUSED):
        box = self.world.directory.user(user)
        return Verdict(outcome, reason, user, delay=(box and box.fail_delay) or self.settings["fail_delay"])

    def judge_claims(self, user, claims):
        box, now = self.world.directory.user(user), time.time()
        checks = (
            (self.settings["check_audience"] and claims["aud"] not in EXCHANGE_AUDIENCES, "wrong-audience"),
            (claims["exp"] <= now, "expired"),
            (claims["nbf"] > now, "not-yet-valid"),
            (box is None, "unknown-user"),
            (not self.is_registered(claims), "not-registered"),
            (self.settings["check_tenant"] and box is not None and claims["tid"] != box.tenant, "wrong-tenant"))
        for bad, reason in checks:
            if bad:
                return self.refused(reason, user)
        for bad, reason in self.rights(box, claims):
            if bad:
                return self.refused(reason, user, Outcome.NOT_CONNECTED)
        if self.open_sessions(user) >= self.settings[self.protocol + "_cap"]:
            return self.refused("connection-limit", user, Outcome.LIMIT)
        return Verdict(Outcome.OK, "ok", box.upn, claims=claims)

    def is_registered(self, claims):
        """Does Exchange know the service principal of an app-only token?"""
        app = self.world.directory.apps.get(claims["appid"])
        return claims.get("idtyp") != "app" or app is None or app.registered

    def rights(self, box, claims):
        """(is it missing?, its name) for everything that makes Exchange say "authenticated but not connected"."""
        delegated, application = RIGHTS[self.protocol]
        if claims.get("idtyp") == "app":
            app = self.world.directory.apps.get(claims["appid"])
            allowed = app.mailboxes if app else []
            yield application not in claims.get("roles", ()), "no-role"
            yield "*" not in allowed and box.upn not in allowed, "not-allowed"
        else:
            owner = self.world.directory.user(claims["upn"])
            yield delegated not in claims.get("scp", "").split(), "no-scope"
            yield (claims["upn"].lower() != box.upn and
                   (owner is None or box.upn not in [name.lower() for name in owner.full_access])), "not-allowed"
        yield not box.mailbox, "no-mailbox"
        yield not getattr(box, FEATURES[self.protocol]), "protocol-disabled"
        yield box.not_connected, "not-connected"

    def open_sessions(self, user):
        return self.world.open_by_mailbox.get((self.protocol, user.lower()), 0)


class Session:
    """One connection of a client. Subclasses speak the protocol in run()."""

    protocol = ""

    def __init__(self, world, reader, writer, tls, context, listener):
        self.world, self.settings = world, world.exchange
        self.reader, self.writer, self.tls, self.context = reader, writer, tls, context
        self.user, self.claims, self.expiry, self.failures = None, None, None, 0
        peer = writer.get_extra_info("peername")
        self.record = world.sessions.new(
            protocol=self.protocol, listener=listener, peer="%s:%d" % peer[:2], tls=tls, starttls=False,
            attempts=[], mech=None, user=None, token_sha256=None, result=None, logged_in=False,
            not_connected=False, commands=0, verbs=[], ended=None, closed=None)

    # -- lines

    async def readline(self):
        """The next line without its end; None at the end of the connection."""
        line = await self.reader.readline()
        return line.rstrip(b"\r\n") if line.endswith(b"\n") else None

    def send(self, text):
        self.writer.write((text + "\r\n").encode("utf-8", "surrogateescape"))

    def count(self, verb):
        self.record["commands"] += 1
        if len(self.record["verbs"]) < 200:
            self.record["verbs"].append(verb)

    async def start_tls(self):
        """Everything that came in the clear behind STARTTLS is thrown away (CVE-2011-0411)."""
        self.reader._buffer.clear()
        await self.writer.start_tls(self.context)
        # Python 3.11 leaves these two behind: flow control and end-of-file would go to the plain transport.
        self.reader._transport = self.writer.transport
        self.writer._protocol._over_ssl = True
        self.tls, self.record["tls"], self.record["starttls"] = True, True, True

    # -- logging in

    async def login(self, blob, form):
        """Judges an XOAUTH2 blob; waits as long as the settings want. form: "initial" or "two-step"."""
        user, token = "", ""
        check = TokenCheck(self.world, self.protocol)
        try:
            if blob == b"*":
                raise ValueError("cancelled")
            user, token = parse_xoauth2(blob)
            verdict = check.judge(user, token)
        except ValueError as error:
            reason = "cancelled" if str(error) == "cancelled" else "malformed-blob"
            verdict = check.refused(reason, user)
        self.note("XOAUTH2", form, user, verdict, token)
        # Before the wait, or logins that wait together would slip past the connection limit.
        if verdict.outcome in (Outcome.OK, Outcome.NOT_CONNECTED):
            self.accept(verdict)
        else:
            self.failures += 1
        await asyncio.sleep(verdict.delay or self.settings["auth_delay"])
        if verdict.outcome is Outcome.CLOSED:
            await self.vanish(verdict.reason)
        return verdict

    async def login_basic(self, mech, user, secret):
        """Judges a password: refused, but for users who may still have it taken over this protocol."""
        if mech == "PLAIN":
            user, secret = parse_plain(secret)
        secret = secret if isinstance(secret, bytes) else secret.encode("utf-8", "surrogateescape")
        box = self.world.directory.user(user)
        allowed = box is not None and self.protocol in box.basic
        if not allowed:
            verdict = Verdict(Outcome.REFUSED, "basic-disabled", user)
        elif box.password_sha256 != sha256(secret):
            verdict = Verdict(Outcome.REFUSED, "wrong-password", user)
        elif self.open_sessions(box.upn) >= self.settings[self.protocol + "_cap"]:
            verdict = Verdict(Outcome.LIMIT, "connection-limit", user)
        else:
            verdict = Verdict(Outcome.OK, "ok", box.upn)
        self.note(mech, "basic", user, verdict, secret)
        if verdict.outcome is Outcome.OK:
            self.accept(verdict)
            await asyncio.sleep(self.settings["auth_delay"])
            return verdict
        self.failures += 1
        await asyncio.sleep(self.settings["fail_delay"] or self.settings["auth_delay"])
        return verdict

    def open_sessions(self, user):
        return self.world.open_by_mailbox.get((self.protocol, user.lower()), 0)

    def note(self, mech, form, user, verdict, secret):
        attempt = {"mech": mech, "form": form, "user": user, "result": verdict.reason, "time": time.time(),
                   "outcome": verdict.outcome.value, "tls": self.tls,
                   "token_sha256" if mech == "XOAUTH2" else "password_sha256": sha256(secret) if secret else None}
        self.record["attempts"].append(attempt)
        self.record.update(mech=mech, user=user, result=verdict.reason, token_sha256=attempt.get("token_sha256"))

    def accept(self, verdict):
        self.user, self.claims = verdict.user.lower(), verdict.claims
        self.record["logged_in"] = True
        self.record["not_connected"] = verdict.outcome is Outcome.NOT_CONNECTED
        if verdict.claims:
            self.record.update(token_upn=verdict.claims.get("upn"), token_appid=verdict.claims.get("appid"),
                               token_exp=verdict.claims["exp"])
        key = (self.protocol, self.user)
        self.world.open_by_mailbox[key] = self.world.open_by_mailbox.get(key, 0) + 1
        if verdict.claims and self.settings["kill_at_exp"]:
            left = verdict.claims["exp"] - time.time()
            self.expiry = asyncio.get_running_loop().call_later(max(0, left), self.expire)

    async def vanish(self, reason):
        if reason == "control:hang":
            while await self.reader.read(65536):
                pass
        elif reason == "control:reset":
            reset(self.writer)

    # -- ends

    def expire(self):
        """The token's life is over."""
        self.end("expired")

    def kick(self, text):
        """The control API wants this session to end."""
        self.end("kicked")

    def end(self, why, farewell=""):
        if self.record["ended"] is None:
            self.record["ended"] = why
            if farewell:
                self.send(farewell)
            self.writer.close()

    def abort(self):
        self.record["ended"] = self.record["ended"] or "aborted"
        self.writer.transport.abort()

    def finish(self):
        if self.expiry:
            self.expiry.cancel()
        if self.user is not None:
            key = (self.protocol, self.user)
            self.world.open_by_mailbox[key] -= 1
        self.record["ended"] = self.record["ended"] or "eof"
        self.record["closed"] = time.time()

    async def run(self):
        raise NotImplementedError


def listener(world, session_class, context, implicit_tls, name):
    """The callback for asyncio.start_server()."""
    async def serve(reader, writer):
        session = session_class(world, reader, writer, implicit_tls, context, name)
        number = session.record["seq"]
        world.live[number] = session
        try:
            if world.exchange["greeting_delay"]:
                await asyncio.sleep(world.exchange["greeting_delay"])
            await session.run()
            await writer.drain()
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
            session.record["ended"] = session.record["ended"] or type(error).__name__
        finally:
            del world.live[number]
            session.finish()
            writer.close()
    return serve

