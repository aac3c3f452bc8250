# SPDX-License-Identifier: MIT
"""Exchange Online's IMAP4 service."""

import asyncio

from .exchange_common import LITERAL_MAX, SERVER_ID, Outcome, Session
from .exchange_imap_parse import (LITERAL, Malformed, SECTION, String, is_set, list_pattern, section, sequence,
                                  tokens)

BEFORE_LOGIN = "IMAP4 IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2%s UIDPLUS ID UNSELECT CHILDREN IDLE NAMESPACE LITERAL+"
AFTER_LOGIN = ("IMAP4 IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2%s UIDPLUS MOVE ID UNSELECT CLIENTACCESSRULES "
               "CLIENTNETWORKPRESENCELOCATION BACKENDAUTHENTICATE CHILDREN IDLE NAMESPACE LITERAL+")
IN_CLEAR = "IMAP4 IMAP4rev1 LOGINDISABLED STARTTLS UIDPLUS ID UNSELECT CHILDREN IDLE NAMESPACE LITERAL+"
FLAGS = r"(\Seen \Answered \Flagged \Deleted \Draft $MDNSent)"
NOT_CONNECTED = "User is authenticated but not connected."
FREE = {"CAPABILITY", "NOOP", "LOGOUT", "ID"}
UNAUTHENTICATED = {"AUTHENTICATE", "LOGIN", "STARTTLS"}
NEED_FOLDER = {"FETCH", "STORE", "SEARCH", "COPY", "MOVE", "EXPUNGE", "CLOSE", "UNSELECT", "CHECK"}


def text_of(token):
    if not isinstance(token, bytes):
        raise Malformed("string")
    return token.decode("utf-8", "replace")


class ImapSession(Session):
    protocol = "imap"

    def __init__(self, *args):
        super().__init__(*args)
        self.folder, self.view, self.read_only = None, [], False
        self.wake = asyncio.Event()
        self.bad_commands = 0

    # -- the loop

    async def run(self):
        self.send("* OK The Microsoft Exchange IMAP4 service is ready. [%s]" % SERVER_ID)
        try:
            while self.record["ended"] is None:
                parts = await self.read_command()
                if parts is None:
                    return
                await self.dispatch(parts)
                await self.writer.drain()
        finally:
            self.leave_folder()

    async def read_command(self):
        """Text, literal, text, ...; None at the end of the connection."""
        parts = []
        while True:
            line = await self.readline()
            if line is None:
                return None
            parts.append(line)
            literal = LITERAL.search(line)
            if not literal:
                return parts
            size = int(literal[1])
            if size > LITERAL_MAX:
                self.send("* BAD Command Error. 11")
                return None
            parts[-1] = line[:literal.start()]
            if not literal[2]:
                self.send("+ Ready for additional command text.")
            parts.append(await self.reader.readexactly(size))

    async def dispatch(self, parts):
        tag, _, rest = parts[0].partition(b" ")
        verb, _, arguments = rest.partition(b" ")
        if not tag or not verb:
            return self.send("* BAD Command Error. 12")
        tag, verb = tag.decode("latin-1"), verb.decode("latin-1").upper()
        self.count(verb)
        try:
            words = tokens([arguments, *parts[1:]])
            if verb == "UID" and words:
                verb, words = text_of(words[0]).upper(), words[1:]
                await self.command(tag, verb, words, by_uid=True)
            else:
                await self.command(tag, verb, words)
        except (Malformed, IndexError, TypeError):
            self.send(tag + " BAD Command Argument Error. 11")
        return None

    async def command(self, tag, verb, words, by_uid=False):
        if self.record["not_connected"] and verb not in FREE:
            return self.not_connected(tag)
        handler = getattr(self, "do_" + verb.lower(), None)
        if handler is None:
            return self.send(tag + " BAD Command Error. 10")
        logged_in = self.user is not None
        if verb in UNAUTHENTICATED and logged_in or verb not in FREE | UNAUTHENTICATED and not logged_in or \
                verb in NEED_FOLDER and self.folder is None:
            return self.send(tag + " BAD Command received in Invalid state.")
        self.by_uid = by_uid
        answer = await handler(tag, words)
        if answer is not None:
            if verb not in ("FETCH", "STORE", "SEARCH") or by_uid:
                self.tell_news()
            self.send("%s %s" % (tag, answer))
        return None

    def not_connected(self, tag):
        self.bad_commands += 1
        self.send("%s BAD %s" % (tag, NOT_CONNECTED))
        if self.bad_commands >= self.settings["imap_bad_limit"]:
            self.end("not-connected", "* BYE Connection closed. 14")

    def expire(self):
        self.end("expired", "* BYE Session invalidated - AccessTokenExpired")

    def kick(self, text):
        self.end("kicked", "* BYE " + (text or "Connection closed. 14"))

    # -- before the login

    async def do_capability(self, tag, words):
        ir = " SASL-IR" if self.settings["sasl_ir"] else ""
        capability = IN_CLEAR
        if self.tls:
            capability = (AFTER_LOGIN if self.user is not None else BEFORE_LOGIN) % ir
        self.send("* CAPABILITY " + capability)
        return "OK CAPABILITY completed."

    async def do_noop(self, tag, words):
        return "OK NOOP completed."

    async def do_id(self, tag, words):
        self.record["client_id"] = repr(words)
        self.send('* ID ("name" "Microsoft.Exchange.Imap4.Imap4Server" "version" "15.20")')
        return "OK ID completed"

    async def do_logout(self, tag, words):
        self.send("* BYE Microsoft Exchange Server IMAP4 server signing off.")
        self.end("logout", tag + " OK LOGOUT completed.")

    async def do_starttls(self, tag, words):
        if self.tls:
            return "BAD Command received in Invalid state."
        self.send(tag + " OK Begin TLS negotiation now.")
        await self.start_tls()
        return None

    async def do_login(self, tag, words):
        if len(words) != 2:
            raise Malformed("LOGIN")
        verdict = await self.login_basic("LOGIN", text_of(words[0]), bytes(words[1]))
        if verdict.outcome is Outcome.OK:
            return "OK LOGIN completed."
        self.send(tag + " NO LOGIN failed.")
        return self.too_many_failures()

    async def do_authenticate(self, tag, words):
        mech = text_of(words[0]).upper()
        if not self.tls or mech not in ("XOAUTH2", "PLAIN"):
            return "NO AUTHENTICATE failed."
        form = "initial" if len(words) > 1 else "two-step"
        if len(words) > 1:
            if not self.settings["sasl_ir"]:
                return "BAD Command Argument Error. 12"
            blob = words[1]
        else:
            self.send("+" if self.settings["bare_plus"] else "+ ")
            await self.writer.drain()
            blob = await self.readline()
            if blob is None:
                return None
        if mech == "PLAIN":
            verdict = await self.login_basic("PLAIN", "", blob)
            if verdict.outcome is Outcome.OK:
                return "OK AUTHENTICATE completed."
            self.send(tag + " NO AUTHENTICATE failed.")
            return self.too_many_failures()
        verdict = await self.login(blob, form)
        if verdict.outcome in (Outcome.OK, Outcome.NOT_CONNECTED):
            return "OK AUTHENTICATE completed."
        if verdict.outcome is Outcome.LIMIT:
            self.send("%s NO %s" % (tag, verdict.text or self.settings["imap_no_text"]))
            return self.end("limit", "* BYE Connection is closed. 13")
        if verdict.outcome is Outcome.CLOSED:
            return self.end(verdict.reason)
        busy = verdict.outcome is Outcome.UNAVAILABLE
        own = "Server Unavailable. 15" if busy else self.settings["imap_no_text"]
        self.send("%s NO %s" % (tag, verdict.text or own))
        return self.too_many_failures()

    def too_many_failures(self):
        if self.failures >= self.settings["auth_failure_limit"]:
            self.end("failures", "* BYE Connection is closed. 13")

    # -- folders

    def folders(self):
        return self.world.mailboxes.of(self.user)

    def named(self, token):
        name = text_of(token)
        return "INBOX" if name.upper() == "INBOX" else name

    def leave_folder(self):
        if self.folder:
            self.folder.watchers.discard(self)
        self.folder, self.view = None, []

    def news(self):
        self.wake.set()

    def tell_news(self):
        """EXPUNGE and EXISTS for what changed since this session last looked."""
        self.wake.clear()
        if self.folder is None:
            return
        present, number = set(self.folder.messages), 0
        gone = [message for message in self.view if message not in present]
        for message in gone:
            number = self.view.index(message)
            del self.view[number]
            self.send("* %d EXPUNGE" % (number + 1))
        if len(self.folder.messages) > len(self.view):
            self.view = list(self.folder.messages)
            self.send("* %d EXISTS" % len(self.view))

    async def select(self, tag, words, read_only):
        self.leave_folder()
        folder = self.folders().get(self.named(words[0]))
        if folder is None:
            return "NO %s doesn't exist." % text_of(words[0])
        self.folder, self.view, self.read_only = folder, list(folder.messages), read_only
        folder.watchers.add(self)
        self.send("* %d EXISTS" % len(self.view))
        self.send("* 0 RECENT")
        self.send("* FLAGS " + FLAGS)
        self.send("* OK [PERMANENTFLAGS %s] Permanent flags" % ("()" if read_only else FLAGS))
        unseen = [number for number, message in self.numbered() if "\\Seen" not in message.flags]
        if unseen:
            self.send("* OK [UNSEEN %d] Is the first unseen message" % unseen[0])
        self.send("* OK [UIDVALIDITY %d] UIDVALIDITY value" % folder.validity)
        self.send("* OK [UIDNEXT %d] The next unique identifier value" % folder.next_uid)
        return None

    async def do_select(self, tag, words):
        return await self.select(tag, words, False) or "OK [READ-WRITE] SELECT completed."

    async def do_examine(self, tag, words):
        return await self.select(tag, words, True) or "OK [READ-ONLY] EXAMINE completed."

    async def list_folders(self, verb, words):
        pattern = text_of(words[0]) + text_of(words[1])
        if not text_of(words[1]):
            self.send('* %s (\\Noselect) "/" ""' % verb)
        matching = list_pattern(pattern)
        for name in self.folders():
            if matching.fullmatch(name):
                self.send('* %s (\\HasNoChildren) "/" %s' % (verb, '"%s"' % name if " " in name else name))
        return "OK %s completed." % verb

    async def do_list(self, tag, words):
        return await self.list_folders("LIST", words)

    async def do_lsub(self, tag, words):
        return await self.list_folders("LSUB", words)

    async def do_namespace(self, tag, words):
        self.send('* NAMESPACE (("" "/")) NIL NIL')
        return "OK NAMESPACE completed."

    async def do_create(self, tag, words):
        self.world.mailboxes.create(self.user, self.named(words[0]).rstrip("/"))
        return "OK CREATE completed."

    async def do_subscribe(self, tag, words):
        return "OK SUBSCRIBE completed."

    async def do_unsubscribe(self, tag, words):
        return "OK UNSUBSCRIBE completed."

    async def do_delete(self, tag, words):
        self.folders().pop(self.named(words[0]), None)
        return "OK DELETE completed."

    async def do_status(self, tag, words):
        folder = self.folders().get(self.named(words[0]))
        if folder is None:
            return "NO %s doesn't exist." % text_of(words[0])
        unseen = sum("\\Seen" not in message.flags for message in folder.messages)
        values = {"MESSAGES": len(folder.messages), "RECENT": 0, "UNSEEN": unseen, "UIDNEXT": folder.next_uid,
                  "UIDVALIDITY": folder.validity}
        items = [text_of(item).upper() for item in words[1]]
        if not set(items) <= set(values):
            raise Malformed("STATUS")
        pairs = " ".join("%s %d" % (item, values[item]) for item in items)
        self.send('* STATUS "%s" (%s)' % (folder.name, pairs))
        return "OK STATUS completed."

    async def do_append(self, tag, words):
        folder = self.folders().get(self.named(words[0]))
        if folder is None:
            return "NO [TRYCREATE] %s doesn't exist." % text_of(words[0])
        if not isinstance(words[-1], String) or len(words) < 2:
            raise Malformed("APPEND")
        flags = {text_of(flag) for word in words[1:-1] if isinstance(word, list) for flag in word}
        message = folder.add(bytes(words[-1]), flags)
        return "OK [APPENDUID %d %d] APPEND completed." % (folder.validity, message.uid)

    # -- messages

    def numbered(self):
        return enumerate(self.view, 1)

    def chosen(self, token):
        """(number, message) for a sequence set, or a UID set after UID."""
        if self.by_uid:
            inside = sequence(token, self.view[-1].uid if self.view else 0)
            return [(number, message) for number, message in self.numbered() if inside(message.uid)]
        inside = sequence(token, len(self.view))
        return [(number, message) for number, message in self.numbered() if inside(number)]

    async def do_fetch(self, tag, words):
        items = words[1] if isinstance(words[1], list) else [words[1]]
        if [item.upper() for item in items] == [b"FAST"]:
            items = [b"FLAGS", b"INTERNALDATE", b"RFC822.SIZE"]
        if self.by_uid and b"UID" not in [item.upper() for item in items]:
            items = [b"UID", *items]
        for number, message in self.chosen(words[0]):
            was_seen = "\\Seen" in message.flags
            data = b" ".join(self.fetched(message, item) for item in items)
            if not was_seen and "\\Seen" in message.flags:
                data += b" " + self.fetched(message, b"FLAGS")
            self.writer.write(b"* %d FETCH (%s)\r\n" % (number, data))
            await self.writer.drain()
        return "OK FETCH completed."

    def fetched(self, message, item):
        upper = item.upper()
        simple = {b"FLAGS": lambda: "(%s)" % " ".join(sorted(message.flags)), b"UID": lambda: message.uid,
                  b"RFC822.SIZE": lambda: len(message.data),
                  b"INTERNALDATE": lambda: '"%s"' % message.internal_date()}
        if upper in simple:
            return ("%s %s" % (upper.decode(), simple[upper]())).encode()
        old = {b"RFC822": (b"", True), b"RFC822.HEADER": (b"HEADER", False), b"RFC822.TEXT": (b"TEXT", True)}
        if upper in old:
            name, marks = old[upper]
            return self.literal(message, upper, section(message, name), marks)
        match = SECTION.match(item)
        if not match:
            raise Malformed("FETCH")
        data, label = section(message, match[2]), b"BODY[" + match[2] + b"]"
        if match[3]:
            start = int(match[3])
            data, label = data[start:start + int(match[4])], label + b"<%d>" % start
        return self.literal(message, label, data, b"PEEK" not in match[1].upper())

    def literal(self, message, label, data, marks_seen):
        if marks_seen and not self.read_only:
            message.flags.add("\\Seen")
        return b"%s {%d}\r\n%s" % (label, len(data), data)

    async def do_store(self, tag, words):
        if self.read_only:
            return "NO Command disallowed in read-only state."
        action = text_of(words[1]).upper()
        flags = words[2] if isinstance(words[2], list) else words[2:]
        flags = {"\\" + text_of(flag[1:]).capitalize() if flag[:1] == b"\\" else text_of(flag) for flag in flags}
        for number, message in self.chosen(words[0]):
            if action.startswith("+"):
                message.flags |= flags
            elif action.startswith("-"):
                message.flags -= flags
            else:
                message.flags = set(flags)
            if not action.endswith(".SILENT"):
                uid = "UID %d " % message.uid if self.by_uid else ""
                self.send("* %d FETCH (%sFLAGS (%s))" % (number, uid, " ".join(sorted(message.flags))))
        return "OK STORE completed."

    async def do_search(self, tag, words):
        if words and words[0].upper() == b"CHARSET":
            words = words[2:]
        found = []
        for number, message in self.numbered():
            if self.matches(list(words), number, message):
                found.append(message.uid if self.by_uid else number)
        self.send("* SEARCH" + "".join(" %d" % number for number in found))
        return "OK SEARCH completed."

    def matches(self, keys, number, message):
        while keys:
            if not self.matches_next(keys, number, message):
                return False
        return True

    def matches_next(self, keys, number, message):
        """Takes one search key off keys; does message fit?"""
        key = keys.pop(0)
        if isinstance(key, list):
            return self.matches(list(key), number, message)
        if is_set(key):
            return sequence(key, len(self.view))(number)
        key = key.upper()
        for flag in (b"SEEN", b"ANSWERED", b"FLAGGED", b"DELETED", b"DRAFT"):
            if key in (flag, b"UN" + flag):
                return ("\\" + flag.decode().capitalize() in message.flags) == (key == flag)
        if key == b"NOT":
            return not self.matches_next(keys, number, message)
        if key == b"OR":
            first = self.matches_next(keys, number, message)
            return self.matches_next(keys, number, message) or first
        if key == b"UID":
            return sequence(keys.pop(0), self.folder.next_uid - 1)(message.uid)
        if key in (b"ALL", b"OLD"):
            return True
        if key in (b"NEW", b"RECENT"):
            return False
        if key in (b"SINCE", b"BEFORE", b"ON", b"SENTSINCE", b"SENTBEFORE", b"SENTON"):
            keys.pop(0)
            return True    # all messages of a test are of today
        return self.matches_text(key, keys, message)

    def matches_text(self, key, keys, message):
        header, text = message.split()
        if key == b"HEADER":
            key = keys.pop(0).upper()
        elif key in (b"TEXT", b"BODY"):
            return keys.pop(0).lower() in (message.data if key == b"TEXT" else text).lower()
        elif key not in (b"SUBJECT", b"FROM", b"TO", b"CC", b"BCC"):
            raise Malformed("SEARCH")
        value = keys.pop(0).lower()
        return any(value in line.lower() for line in header.split(b"\r\n") if line.upper().startswith(key + b":"))

    async def do_expunge(self, tag, words):
        doomed = [message for message in self.folder.messages if "\\Deleted" in message.flags]
        if self.by_uid:
            doomed = [message for _, message in self.chosen(words[0]) if message in doomed]
        if self.read_only:
            return "NO Command disallowed in read-only state."
        self.folder.remove(doomed)
        self.tell_news()
        return "OK EXPUNGE completed."

    async def copy(self, words, move):
        target = self.folders().get(self.named(words[1]))
        if target is None:
            return "NO [TRYCREATE] %s doesn't exist." % text_of(words[1])
        sources = [message for _, message in self.chosen(words[0])]
        copies = [target.add(message.data, message.flags, message.date) for message in sources]
        code = ""
        if copies:
            code = "[COPYUID %d %s %s] " % (target.validity, ",".join(str(message.uid) for message in sources),
                                            ",".join(str(message.uid) for message in copies))
        if not move:
            return "OK %sCOPY completed." % code
        self.send("* OK %sMoved" % code)
        self.folder.remove(sources)
        self.tell_news()
        return "OK MOVE completed."

    async def do_copy(self, tag, words):
        return await self.copy(words, move=False)

    async def do_move(self, tag, words):
        return await self.copy(words, move=True)

    async def do_check(self, tag, words):
        return "OK CHECK completed."

    async def do_close(self, tag, words):
        if not self.read_only:
            self.folder.remove([message for message in self.folder.messages if "\\Deleted" in message.flags])
        self.leave_folder()
        return "OK CLOSE completed."

    async def do_unselect(self, tag, words):
        self.leave_folder()
        return "OK UNSELECT completed."

    async def do_idle(self, tag, words):
        self.send("+ IDLE accepted, awaiting DONE command.")
        line = asyncio.ensure_future(self.readline())
        try:
            while not line.done():
                self.tell_news()
                await self.writer.drain()
                news = asyncio.ensure_future(self.wake.wait())
                await asyncio.wait((line, news), return_when=asyncio.FIRST_COMPLETED)
                news.cancel()
            done = line.result()
        finally:
            line.cancel()
        if done is None:
            self.record["ended"] = self.record["ended"] or "eof"
            return None
        return "OK IDLE completed." if done.upper() == b"DONE" else "BAD Command Argument Error. 12"
