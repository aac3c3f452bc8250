# SPDX-License-Identifier: MIT
"""Starts everything: python3 -m standin --dir DIR"""

import argparse
import asyncio
import json
import os
import resource
import signal
import sys

from . import ca, httpd
from .control import Control
from .entra import Entra
from .entra_tokens import TokenFactory
from .exchange_common import LINE_MAX, listener
from .exchange_imap import ImapSession
from .exchange_pop3 import Pop3Session
from .exchange_smtp import SmtpSession
from .proxy import Proxy
from .world import World

BACKLOG = 4096
# name: certificate
HTTP_PORTS = {
    "entra": "server", "entra_untrusted": "untrusted", "entra_expired": "expired", "entra_wrongname": "wrongname",
}
# name: (protocol, certificate, TLS from the start)
EXCHANGE_PORTS = {
    "imaps": (ImapSession, "server", True), "imap": (ImapSession, "server", False),
    "pop3s": (Pop3Session, "server", True), "pop3": (Pop3Session, "server", False),
    "smtp": (SmtpSession, "server", False), "smtps": (SmtpSession, "server", True),
    "imaps_untrusted": (ImapSession, "untrusted", True), "imaps_expired": (ImapSession, "expired", True),
    "imaps_wrongname": (ImapSession, "wrongname", True), "pop3s_untrusted": (Pop3Session, "untrusted", True),
    "smtp_untrusted": (SmtpSession, "untrusted", False),
}


def arguments():
    parser = argparse.ArgumentParser(prog="standin",
                                     description="Test doubles of Microsoft Entra and Exchange Online")
    parser.add_argument("--dir", required=True, help="certificates and ports.json go there")
    parser.add_argument("--ports", default="", help="NAME=PORT,...; the rest is chosen by the kernel")
    parser.add_argument("--no-h2", action="store_true", help="Entra speaks HTTP/1.1 only")
    options = parser.parse_args()
    options.ports = {name: int(port) for name, port in
                     (item.split("=") for item in options.ports.split(",") if item)}
    unknown = set(options.ports) - {*HTTP_PORTS, *EXCHANGE_PORTS, "control", "entra_silent", "proxy"}
    if unknown:
        parser.error("no such port: " + ", ".join(sorted(unknown)))
    return options


async def silent(reader, writer):
    """Takes connections and never says a word, not even TLS's."""
    while await reader.read(65536):
        pass
    writer.close()


class Stage:
    """The listening sockets."""

    def __init__(self, options):
        self.options, self.ports = options, {}
        self.pki = ca.Pki(options.dir)
        self.world = World(self.pki, TokenFactory())
        self.servers = {name: httpd.Connections() for name in HTTP_PORTS}

    async def listen(self, name, callback, context=None, limit=LINE_MAX):
        server = await asyncio.start_server(callback, "127.0.0.1", self.options.ports.get(name, 0), ssl=context,
                                            backlog=BACKLOG, limit=limit)
        self.ports[name] = server.sockets[0].getsockname()[1]

    async def open(self):
        alpn = ["http/1.1"] if self.options.no_h2 else ["h2", "http/1.1"]
        entra = Entra(self.world)
        for name, certificate in HTTP_PORTS.items():
            await self.listen(name, httpd.server(entra, self.servers[name]), self.pki.context(certificate, alpn),
                              httpd.HEAD_MAX)
        contexts = {name: self.pki.context(name) for name in ("server", "untrusted", "expired", "wrongname")}
        for name, (session, certificate, implicit) in EXCHANGE_PORTS.items():
            context = contexts[certificate]
            await self.listen(name, listener(self.world, session, context, implicit, name),
                              context if implicit else None)
        await self.listen("entra_silent", silent)
        proxy = Proxy(lambda: self.ports["entra"], lambda: set(self.ports.values()),
                      lambda: self.world.entra["proxy_status"])
        await self.listen("proxy", proxy)
        control = Control(self.world, self.servers, proxy)
        await self.listen("control", httpd.server(control, httpd.Connections()))

    def announce(self):
        ca.write_file(os.path.join(self.options.dir, "ports.json"), json.dumps(self.ports).encode())


def quiet(loop, context):
    """Refused handshakes and resets are what tests do; only real surprises are reported, without their data."""
    error = context.get("exception")
    if error is not None and not isinstance(error, (OSError, asyncio.CancelledError)):
        print("standin: %s: %r" % (context.get("message"), type(error)), file=sys.stderr)


async def main(options):
    os.makedirs(options.dir, exist_ok=True)
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(quiet)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    stage = Stage(options)
    await stage.open()
    stage.announce()
    await stop.wait()


if __name__ == "__main__":
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536) if hard > 0 else 65536, hard))
    asyncio.run(main(arguments()))
