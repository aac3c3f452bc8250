# SPDX-License-Identifier: MIT
"""Exchange Online's client submission (587 with STARTTLS, and 465 for clients that cannot)."""

import base64
import email.utils
import re
import time

from .exchange_common import LITERAL_MAX, SERVER_FQDN, Outcome, Session
from .entra_errors import guid

HOST = SERVER_FQDN.lower()
BASIC_DISABLED = "535 5.7.139 Authentication unsuccessful, basic authentication is disabled. [{host} {time} {id}]"
REPLIES = {
    "refused": "535 5.7.3 Authentication unsuccessful [{host}]",
    "tenant-disabled": "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the "
                       "Tenant. Visit https://aka.ms/smtp_auth_disabled for more information. "
                       "[{host} {time} {id}]",
    "mailbox-disabled": "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the "
                        "Mailbox. Visit https://aka.ms/smtp_auth_disabled for more information. "
                        "[{host} {time} {id}]",
    "basic-disabled": BASIC_DISABLED,
    "criteria": "535 5.7.139 Authentication unsuccessful, the request did not meet the criteria to be "
                "authenticated successfully. Contact your administrator. [{host} {time} {id}]",
    "security-defaults": "535 5.7.139 Authentication unsuccessful, user is locked by your organization's security "
                         "defaults policy. Contact your administrator. [{host} {time} {id}]",
    "credentials": "535 5.7.139 Authentication unsuccessful, the user credentials were incorrect. "
                   "[{host} {time} {id}]",
    "limit": "432 4.3.2 Concurrent connections limit exceeded. Visit https://aka.ms/concurrent_sending for more "
             "information. [Hostname={host}]",
    "busy": "421 4.3.2 The maximum number of concurrent server connections has exceeded a limit, closing "
            "transmission channel",
    "expiring": "501 5.5.127 Invalid XOAUTH2 auth data - Token will expire soon",
    "removed": "550 5.7.30 Basic authentication is not supported for Client Submission.",
}
ADDRESS = re.compile(r"<([^>]*)>")
SIZE = 157286400
CLOSING = {"limit", "busy"}


def reply(name):
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
    return REPLIES[name].format(host=HOST, time=stamp, id="08DD" + guid().replace("-", "")[:12].upper())


class SmtpSession(Session):
    protocol = "smtp"

    def __init__(self, *args):
        super().__init__(*args)
        self.greeted, self.sender, self.recipients, self.chunks = False, None, [], b""

    async def run(self):
        if self.settings["smtp_busy"]:
            return self.end("busy", reply("busy"))
        self.send("220 %s Microsoft ESMTP MAIL Service ready at %s [%s]" %
                  (HOST, email.utils.formatdate(), guid().upper()[:16]))
        while self.record["ended"] is None:
            line = await self.readline()
            if line is None:
                return None
            verb, _, argument = line.decode("utf-8", "surrogateescape").partition(" ")
            self.count(verb.upper())
            handler = getattr(self, "do_" + verb.lower(), None) if verb.isalpha() else None
            if handler is None:
                self.send("500 5.3.3 Unrecognized command '%s'" % verb[:40])
            else:
                await handler(argument)
            await self.writer.drain()
        return None

    def expire(self):
        """Nothing is known of submission sessions that end with their token."""

    def kick(self, text):
        self.end("kicked", text or reply("busy"))

    # -- before the login

    async def do_ehlo(self, argument):
        self.greeted = True
        lines = ["%s Hello [%s]" % (HOST, self.record["peer"].rpartition(":")[0]), "SIZE %d" % SIZE, "PIPELINING",
                 "DSN", "ENHANCEDSTATUSCODES"]
        lines.append("AUTH LOGIN XOAUTH2" if self.tls else "STARTTLS")
        lines.append("8BITMIME")
        if self.settings["smtp_chunking"]:
            lines += ["BINARYMIME", "CHUNKING"]
        lines.append("SMTPUTF8")
        for line in lines[:-1]:
            self.send("250-" + line)
        self.send("250 " + lines[-1])

    async def do_helo(self, argument):
        self.greeted = True
        self.send("250 %s Hello" % HOST)

    async def do_starttls(self, argument):
        if self.tls:
            return self.send("503 5.5.2 Only one STARTTLS command can be issued per session")
        self.send("220 2.0.0 SMTP server ready")
        self.greeted = False
        return await self.start_tls()

    async def ask(self, prompt):
        self.send("334 " + prompt if prompt else "334 ")
        await self.writer.drain()
        return await self.readline()

    async def do_auth(self, argument):
        mech, _, initial = argument.partition(" ")
        mech = mech.upper()
        if self.user is not None or not self.greeted:
            early = not self.greeted
            return self.send("503 5.5.2 Send hello first" if early else "503 5.5.1 Already authenticated")
        if not self.tls:
            return self.send("530 5.7.57 Client not authenticated to send mail. Must issue a STARTTLS command "
                             "first")
        if mech == "LOGIN":
            return await self.auth_login(initial)
        if mech != "XOAUTH2":
            return self.send("504 5.7.4 Unrecognized authentication type")
        blob = initial.encode("utf-8", "surrogateescape") if initial else await self.ask("")
        if blob is None:
            return None
        return self.answer(await self.login(blob, "initial" if initial else "two-step"))

    async def auth_login(self, initial):
        user = initial.encode() if initial else await self.ask("VXNlcm5hbWU6")
        password = await self.ask("UGFzc3dvcmQ6")
        if user is None or password is None:
            return
        try:
            user, password = (base64.b64decode(text, validate=True) for text in (user, password))
        except ValueError:
            self.send("501 5.5.4 Cannot Base64-decode")
            return
        verdict = await self.login_basic("LOGIN", user.decode("utf-8", "replace"), password)
        if verdict.outcome is Outcome.REFUSED:
            box = self.world.directory.user(verdict.user)
            name = "credentials" if verdict.reason == "wrong-password" else "basic-disabled"
            self.turn_down(box.smtp_reply if box is not None and box.smtp_reply else name, verdict)
            return
        self.answer(verdict)

    def answer(self, verdict):
        if verdict.outcome is Outcome.OK:
            box = self.world.directory.user(verdict.user)
            name = box.smtp_reply
            if verdict.claims and verdict.claims["exp"] - time.time() < self.settings["smtp_min_token_life"]:
                name = "expiring"
            if not name:
                return self.send("235 2.7.0 Authentication successful")
        elif verdict.outcome is Outcome.CLOSED:
            return self.end(verdict.reason)
        else:
            names = {Outcome.LIMIT: "limit", Outcome.UNAVAILABLE: "busy"}
            name = "mailbox-disabled" if verdict.reason == "protocol-disabled" else names.get(verdict.outcome,
                                                                                              "refused")
        return self.turn_down(name, verdict)

    def turn_down(self, name, verdict):
        """Says no with the words of that name; SMTP knows no "authenticated but not connected"."""
        if self.user is not None:
            self.release()
            self.failures += 1
        if verdict.reason == "ok":
            self.record["result"] = self.record["attempts"][-1]["result"] = "smtp:" + name
        text = verdict.text or reply(name)
        if name in CLOSING:
            return self.end(name, text)
        self.send(text)
        return self.too_many_failures()

    def release(self):
        self.world.open_by_mailbox[self.protocol, self.user] -= 1
        self.user = self.claims = None
        self.record["logged_in"] = self.record["not_connected"] = False

    def too_many_failures(self):
        if self.failures >= self.settings["auth_failure_limit"]:
            self.end("failures", "421 4.7.0 Too many errors on this connection, closing transmission channel")

    # -- mail

    def may_send_as(self, sender):
        box, sender = self.world.directory.user(self.user), sender.lower()
        return sender in ("", self.user) or box is not None and sender in [name.lower() for name in box.send_as]

    async def do_mail(self, argument):
        address = ADDRESS.search(argument)
        if self.user is None:
            return self.send("530 5.7.57 Client not authenticated to send mail. [%s]" % HOST)
        if not argument.upper().startswith("FROM:") or not address:
            return self.send("501 5.5.4 Invalid arguments")
        if not self.may_send_as(address[1]):
            return self.send("550 5.7.60 SendAsDenied; %s not allowed to send as %s" % (self.user, address[1]))
        self.sender, self.recipients, self.chunks = address[1], [], b""
        return self.send("250 2.1.0 Sender OK")

    async def do_rcpt(self, argument):
        address = ADDRESS.search(argument)
        if self.sender is None:
            return self.send("503 5.5.1 Bad sequence of commands")
        if not argument.upper().startswith("TO:") or not address:
            return self.send("501 5.5.4 Invalid arguments")
        self.recipients.append(address[1])
        return self.send("250 2.1.5 Recipient OK")

    def deliver(self, data):
        """Keeps the message, and puts it into the INBOXes of recipients that are ours."""
        self.world.outbox.append({"time": time.time(), "user": self.user, "sender": self.sender, "recipients":
                                  self.recipients, "size": len(data), "data": data.decode("utf-8", "replace")})
        for recipient in self.recipients:
            box = self.world.directory.user(recipient)
            if box is not None and box.mailbox:
                self.world.mailboxes.of(box.upn)["INBOX"].add(data)
        self.sender, self.recipients, self.chunks = None, [], b""
        self.send("250 2.0.0 OK <%s@standin.test> [Hostname=%s]" % (guid(), HOST))

    async def do_data(self, argument):
        if not self.recipients:
            return self.send("503 5.5.1 Bad sequence of commands")
        self.send("354 Start mail input; end with <CRLF>.<CRLF>")
        await self.writer.drain()
        lines, size = [], 0
        while True:
            line = await self.reader.readline()
            if not line.endswith(b"\n"):
                return self.end("eof")
            if line in (b".\r\n", b".\n"):
                return self.deliver(b"".join(lines))
            size += len(line)
            if size > LITERAL_MAX:
                return self.end("too-large", "552 5.3.4 Message size exceeds fixed maximum message size")
            lines.append(line[1:] if line.startswith(b".") else line)

    async def do_bdat(self, argument):
        size, _, last = argument.partition(" ")
        if not size.isdigit() or int(size) + len(self.chunks) > LITERAL_MAX:
            return self.end("too-large", "552 5.3.4 Message size exceeds fixed maximum message size")
        data = await self.reader.readexactly(int(size))
        if not self.recipients:
            return self.send("503 5.5.1 Bad sequence of commands")
        self.chunks += data
        if last.upper() == "LAST":
            return self.deliver(self.chunks)
        return self.send("250 2.6.0 CHUNK received OK, %d octets" % len(data))

    async def do_rset(self, argument):
        self.sender, self.recipients, self.chunks = None, [], b""
        self.send("250 2.0.0 Resetting")

    async def do_noop(self, argument):
        self.send("250 2.0.0 OK")

    async def do_vrfy(self, argument):
        self.send("252 2.1.5 Cannot VRFY user")

    async def do_quit(self, argument):
        self.end("quit", "221 2.0.0 Service closing transmission channel")
