# SPDX-License-Identifier: MIT
"""Exchange Online's POP3 service. AUTH XOAUTH2 takes two lines; the one-line form closes the connection."""

from .exchange_common import SERVER_ID, Outcome, Session

BAD_TOKEN = "-ERR Authentication failure: unknown user name or bad password."
BAD_PASSWORD = "-ERR Logon failure: unknown user name or bad password."
UNAVAILABLE = "-ERR Server Unavailable. 21"
PROTOCOL_ERROR = "-ERR Protocol error. Connection is closed. 10"


class Pop3Session(Session):
    protocol = "pop3"

    def __init__(self, *args):
        super().__init__(*args)
        self.name, self.folder, self.messages, self.deleted = "", None, [], set()
        self.expired = False

    async def run(self):
        self.send("+OK The Microsoft Exchange POP3 service is ready. [%s]" % SERVER_ID)
        while self.record["ended"] is None:
            line = await self.readline()
            if line is None:
                return
            await self.command(line.decode("utf-8", "surrogateescape"))
            await self.writer.drain()

    async def command(self, line):
        verb, _, argument = line.partition(" ")
        verb = verb.upper()
        self.count(verb)
        if self.expired:
            return self.end("expired", "-ERR Session invalidated - AccessTokenExpired")
        if self.record["not_connected"] and verb != "QUIT":
            return self.send(UNAVAILABLE)
        before = {"CAPA", "QUIT", "AUTH", "STLS", "USER", "PASS", "NOOP"}
        after = {"CAPA", "QUIT", "STAT", "LIST", "UIDL", "RETR", "TOP", "DELE", "RSET", "NOOP"}
        if verb not in (before if self.user is None else after):
            known = verb in before | after
            return self.send("-ERR Command is not valid in this state." if known else PROTOCOL_ERROR)
        try:
            return await getattr(self, "do_" + verb.lower())(argument)
        except (ValueError, IndexError):
            return self.send("-ERR The specified message is out of range.")

    def expire(self):
        """POP3 has no way to say so unasked; the next command hears it."""
        self.expired = True

    def kick(self, text):
        self.end("kicked", "-ERR " + text if text else UNAVAILABLE)

    def multi(self, lines):
        for line in lines:
            self.send(line)
        self.send(".")

    # -- before the login

    async def do_capa(self, _):
        self.send("+OK")
        secure = ["SASL PLAIN XOAUTH2", "USER"] if self.tls else ["STLS"]
        self.multi(["TOP", "UIDL", *secure])

    async def do_stls(self, _):
        if self.tls:
            return self.send("-ERR Command is not valid in this state.")
        self.send("+OK Begin TLS negotiation.")
        return await self.start_tls()

    async def do_user(self, argument):
        if not self.tls:
            return self.send("-ERR Command is not valid in this state.")
        self.name = argument
        return self.send("+OK")

    async def do_pass(self, argument):
        self.answer(await self.login_basic("USER", self.name, argument), BAD_PASSWORD)

    async def do_auth(self, argument):
        words = argument.split(" ")
        mech = words[0].upper()
        if not self.tls or mech not in ("XOAUTH2", "PLAIN"):
            return self.send(PROTOCOL_ERROR if argument else "-ERR Unrecognized authentication type.")
        blob = words[1].encode() if len(words) > 1 else None
        if blob is not None and not self.settings["pop_one_line"]:
            self.record["result"] = "one-line-auth"
            self.record["attempts"].append({"mech": mech, "form": "initial", "result": "one-line-auth"})
            return self.end("one-line-auth", PROTOCOL_ERROR)
        if blob is None:
            self.send("+" if self.settings["bare_plus"] else "+ ")
            await self.writer.drain()
            blob = await self.readline()
            if blob is None:
                return None
        if mech == "PLAIN":
            return self.answer(await self.login_basic("PLAIN", "", blob), BAD_PASSWORD)
        return self.answer(await self.login(blob, "initial" if len(words) > 1 else "two-step"))

    def answer(self, verdict, refusal=BAD_TOKEN):
        if verdict.outcome in (Outcome.OK, Outcome.NOT_CONNECTED):
            if verdict.outcome is Outcome.OK:
                self.folder = self.world.mailboxes.of(self.user)["INBOX"]
                self.messages = list(self.folder.messages)
            return self.send("+OK User successfully authenticated.")
        if verdict.outcome is Outcome.CLOSED:
            return self.end(verdict.reason)
        own = {Outcome.UNAVAILABLE: UNAVAILABLE, Outcome.LIMIT: "-ERR Connection is closed. 13"}
        text = "-ERR " + verdict.text if verdict.text else own.get(verdict.outcome, refusal)
        if verdict.outcome is Outcome.LIMIT:
            return self.end("limit", text)
        self.send(text)
        return self.too_many_failures()

    def too_many_failures(self):
        if self.failures >= self.settings["auth_failure_limit"]:
            self.end("failures")

    # -- the mailbox

    def present(self):
        return [(number, message) for number, message in enumerate(self.messages, 1)
                if message not in self.deleted]

    def message(self, text):
        number = int(text)
        if number < 1 or self.messages[number - 1] in self.deleted:
            raise ValueError
        return number, self.messages[number - 1]

    async def do_noop(self, _):
        self.send("+OK")

    async def do_stat(self, _):
        present = self.present()
        self.send("+OK %d %d" % (len(present), sum(len(message.data) for _, message in present)))

    async def listing(self, argument, describe):
        if argument:
            return self.send("+OK %d %s" % (self.message(argument)[0], describe(self.message(argument)[1])))
        self.send("+OK")
        return self.multi("%d %s" % (number, describe(message)) for number, message in self.present())

    async def do_list(self, argument):
        await self.listing(argument, lambda message: len(message.data))

    async def do_uidl(self, argument):
        await self.listing(argument, lambda message: "%d-%d" % (self.folder.validity, message.uid))

    def send_text(self, data):
        stuffed = b"\r\n".join(b"." + line if line.startswith(b".") else line for line in data.split(b"\r\n"))
        self.writer.write(stuffed + (b"" if stuffed.endswith(b"\r\n") else b"\r\n") + b".\r\n")

    async def do_retr(self, argument):
        _, message = self.message(argument)
        self.send("+OK")
        self.send_text(message.data)
        message.flags.add("\\Seen")

    async def do_top(self, argument):
        number, lines = argument.split(" ")
        header, text = self.message(number)[1].split()
        self.send("+OK")
        self.send_text(header + b"\r\n".join(text.split(b"\r\n")[:int(lines)]))

    async def do_dele(self, argument):
        self.deleted.add(self.message(argument)[1])
        self.send("+OK")

    async def do_rset(self, _):
        self.deleted.clear()
        self.send("+OK")

    async def do_quit(self, _):
        if self.deleted:
            self.folder.remove(self.deleted)
        self.end("quit", "+OK Microsoft Exchange Server POP3 server signing off.")
