# SPDX-License-Identifier: MIT
"""Mailboxes in memory: folders, messages, and the news about them."""

import dataclasses
import email.utils
import itertools
import time

FOLDERS = ["INBOX", "Drafts", "Sent Items", "Deleted Items", "Junk Email"]
MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()


@dataclasses.dataclass(eq=False)
class Message:
    uid: int
    data: bytes
    flags: set
    date: float

    def internal_date(self):
        when = time.gmtime(self.date)
        return "%2d-%s-%04d %02d:%02d:%02d +0000" % (when.tm_mday, MONTHS[when.tm_mon - 1], when.tm_year,
                                                     when.tm_hour, when.tm_min, when.tm_sec)

    def split(self):
        """(header with its empty line, text)"""
        head, separator, text = self.data.partition(b"\r\n\r\n")
        return head + separator, text


class Folder:
    def __init__(self, name, validity):
        self.name, self.validity = name, validity
        self.messages, self.next_uid = [], 1
        self.watchers = set()        # sessions that have it selected

    def add(self, data, flags=(), date=None):
        message = Message(self.next_uid, crlf(data), set(flags), time.time() if date is None else date)
        self.next_uid += 1
        self.messages.append(message)
        self.changed()
        return message

    def remove(self, doomed):
        doomed = set(doomed)
        self.messages = [message for message in self.messages if message not in doomed]
        self.changed()

    def changed(self):
        for watcher in self.watchers:
            watcher.news()


class Mailboxes:
    """The mailboxes, each made, with one message in it, when it is first asked for."""

    def __init__(self):
        self.boxes = {}
        self.validity = itertools.count(14)

    def of(self, upn):
        upn = upn.lower()
        if upn not in self.boxes:
            box = self.boxes[upn] = {name: Folder(name, next(self.validity)) for name in FOLDERS}
            box["INBOX"].add(welcome(upn))
        return self.boxes[upn]

    def create(self, upn, name):
        return self.of(upn).setdefault(name, Folder(name, next(self.validity)))


def crlf(data):
    return data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def welcome(upn):
    return compose("Welcome to the stand-in, %s" % upn, "This message was here before you.\n.A line with a dot.\n",
                   upn, "postmaster@contoso.com")


def compose(subject, text, to, sender):
    return ("From: %s\r\nTo: %s\r\nSubject: %s\r\nDate: %s\r\nMessage-ID: %s\r\nMIME-Version: 1.0\r\n"
            "Content-Type: text/plain; charset=us-ascii\r\n\r\n%s" %
            (sender, to, subject, email.utils.formatdate(usegmt=True),
             email.utils.make_msgid(domain="standin.test"), text)).encode()
