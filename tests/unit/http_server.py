#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""HTTPS servers with good and bad manners for test_http_curl, and mail hosts for test_probe.

usage: http_server.py DIRECTORY

Writes ca.pem and other-ca.pem to DIRECTORY, prints one line "NAME=PORT ..." once everything listens, and ends when
its standard input does. What a server does is decided by the path of the request, see answer().
"""

import asyncio
import base64
import datetime
import ipaddress
import json
import os
import socket
import ssl
import struct
import sys

import h2.config
import h2.connection
import h2.errors
import h2.events
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

seen = {}               # path -> how often it was asked for
connections = {}        # listener -> accepted connections


def make_ca(name):
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.utcnow()
    cert = (x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(key, hashes.SHA256()))
    return key, cert


def make_cert(ca_key, ca_cert, host, directory):
    key = ec.generate_private_key(ec.SECP256R1())
    names = [x509.DNSName(host)]
    if host == "localhost":
        names.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
    now = datetime.datetime.utcnow()
    cert = (x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])).issuer_name(ca_cert.subject)
            .public_key(key.public_key()).serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName(names), critical=False).sign(ca_key, hashes.SHA256()))
    path = os.path.join(directory, host + ".pem")
    with open(path, "wb") as file:
        file.write(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                     serialization.NoEncryption()))
        file.write(cert.public_bytes(serialization.Encoding.PEM))
    return path


def write_ca(directory, name, cert):
    with open(os.path.join(directory, name), "wb") as file:
        file.write(cert.public_bytes(serialization.Encoding.PEM))


class Reply:
    def __init__(self, status=200, headers=None, body=b"", fault=None):
        self.status, self.headers, self.body, self.fault = status, headers or {}, body, fault


async def answer(path, headers, body):
    """What to reply to a request. A fault is something that is no reply."""
    seen[path] = seen.get(path, 0) + 1
    word = path.split("/")
    if word[1] == "ok":
        return Reply(headers={"content-type": "application/json", "x-ms-request-id": "r-1", "retry-after": "7",
                              "date": "Thu, 01 Jan 2026 00:00:00 GMT"}, body=b'{"ok":true}')
    if word[1] == "status":
        return Reply(int(word[2]))
    if word[1] == "echo":
        return Reply(body=json.dumps({"headers": headers, "body": body.decode()}).encode())
    if word[1] == "delay":
        await asyncio.sleep(int(word[2]) / 1000)
        return Reply(body=b"late")
    if word[1] == "redirect":
        return Reply(302, {"location": "/ok"})
    if word[1] == "big":
        return Reply(body=b"x" * int(word[2]))
    if word[1] == "headers":
        return Reply(headers={"x-%d" % n: "y" * 1000 for n in range(int(word[2]))})
    if word[1] == "count":
        key = "/" + "/".join(word[2:])
        return Reply(body=str(seen.get(key, 0)).encode())
    if word[1] == "connections":
        return Reply(body=str(connections.get(word[2], 0)).encode())
    if word[1] == "once":            # the fault at the first time, then a reply
        await asyncio.sleep(0.05)
        return Reply(fault=word[2]) if seen[path] == 1 else Reply(body=b"second")
    return Reply(fault=word[1])      # hang, reset, close, truncated, garbage, refuse, goaway


class Server(asyncio.Protocol):
    """One connection of either protocol."""

    def __init__(self, name):
        self.name = name
        self.buffer = b""
        self.h2 = None
        self.bodies = {}

    def connection_made(self, transport):
        self.transport = transport
        connections[self.name] = connections.get(self.name, 0) + 1
        tls = transport.get_extra_info("ssl_object")
        if tls and tls.selected_alpn_protocol() == "h2":
            self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
            self.h2.initiate_connection()
            self.flush()

    def flush(self):
        if not self.transport.is_closing():
            self.transport.write(self.h2.data_to_send())

    def data_received(self, data):
        if self.h2:
            self.h2_received(data)
        else:
            self.buffer += data
            self.h1_next()

    def reset(self):
        sock = self.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    # --- HTTP/1.1

    def h1_next(self):
        head, end, rest = self.buffer.partition(b"\r\n\r\n")
        if not end:
            return
        lines = head.decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        size = int(headers.get("content-length", 0))
        if len(rest) < size:
            return
        self.buffer = rest[size:]
        asyncio.ensure_future(self.h1_answer(lines[0].split(" ")[1], headers, rest[:size]))

    async def h1_answer(self, path, headers, body):
        reply = await answer(path, headers, body)
        if self.transport.is_closing() or reply.fault == "hang":
            return
        if reply.fault == "reset":
            self.reset()
        elif reply.fault == "garbage":
            self.transport.write(b"220 this is no web server\r\n")
        elif reply.fault == "truncated":
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort")
            self.transport.close()
        elif reply.fault:
            self.transport.close()
        else:
            text = "".join("%s: %s\r\n" % item for item in reply.headers.items())
            self.transport.write(b"HTTP/1.1 %d X\r\n%sContent-Length: %d\r\n\r\n%s" %
                                 (reply.status, text.encode(), len(reply.body), reply.body))
            self.h1_next()

    # --- HTTP/2

    def h2_received(self, data):
        try:
            events = self.h2.receive_data(data)
        except h2.exceptions.ProtocolError:
            self.transport.close()
            return
        for event in events:
            if isinstance(event, h2.events.RequestReceived):
                self.bodies[event.stream_id] = (dict(event.headers), b"")
            elif isinstance(event, h2.events.DataReceived):
                headers, body = self.bodies[event.stream_id]
                self.bodies[event.stream_id] = (headers, body + event.data)
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                headers, body = self.bodies.pop(event.stream_id)
                asyncio.ensure_future(self.h2_answer(event.stream_id, headers, body))
        self.flush()

    async def h2_answer(self, stream, headers, body):
        reply = await answer(headers[":path"], headers, body)
        if self.transport.is_closing() or reply.fault == "hang":
            return
        if reply.fault == "reset":
            self.reset()
            return
        try:
            self.h2_reply(stream, reply)
            self.flush()
        except h2.exceptions.ProtocolError:
            return              # the client has cancelled
        if reply.fault in ("goaway", "truncated", "close"):
            self.transport.close()

    def h2_reply(self, stream, reply):
        if reply.fault == "refuse":
            self.h2.reset_stream(stream, h2.errors.ErrorCodes.REFUSED_STREAM)
        elif reply.fault == "give-up":
            self.h2.reset_stream(stream, h2.errors.ErrorCodes.INTERNAL_ERROR)
        elif reply.fault == "goaway":
            self.h2.close_connection(last_stream_id=max(0, stream - 2))
        elif reply.fault == "truncated":
            self.h2.send_headers(stream, [(":status", "200"), ("content-length", "100")])
            self.h2.send_data(stream, b"short")
        elif reply.fault is None:
            self.h2.send_headers(stream, [(":status", str(reply.status))] + list(reply.headers.items()))
            self.send_body(stream, reply.body)

    def send_body(self, stream, body):
        while body:
            size = min(len(body), self.h2.max_outbound_frame_size, self.h2.local_flow_control_window(stream))
            if size == 0:
                return          # larger than any window that a test needs: the client has long given up
            self.h2.send_data(stream, body[:size])
            body = body[size:]
        self.h2.end_stream(stream)


async def proxy(reader, writer):
    """CONNECT, with the password "open sesame" if the listener wants one."""
    connections["proxy"] = connections.get("proxy", 0) + 1
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    host, _, port = head.split(" ")[1].partition(":")
    if host == "forbidden.test":
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
    elif host == "secret.test" and "Proxy-Authorization: Basic bWU6c2VzYW1l" not in head:
        writer.write(b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n\r\n")
    else:
        upstream = await asyncio.open_connection("127.0.0.1", int(port))
        writer.write(b"HTTP/1.1 200 Go\r\n\r\n")
        await asyncio.gather(pump(reader, upstream[1]), pump(upstream[0], writer))
    await writer.drain()
    writer.close()


async def pump(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    writer.close()


# What is said to a login, by the begin of the user's name, and to the command after it.
MAIL_LOGINS = {"ok": "OK", "refused": "NO", "noselect": "OK", "hang": "OK", "mute": None, "echo": "ECHO",
               "flood": "FLOOD"}


class Mail:
    """A mail host behind TLS that knows XOAUTH2, and never says goodbye nor closes a connection."""

    def __init__(self, protocol):
        self.protocol = protocol

    async def __call__(self, reader, writer):
        connections[self.protocol] = connections.get(self.protocol, 0) + 1
        greeting = {"imap": "* OK IMAP4 ready", "pop3": "+OK POP3 ready", "smtp": "220 mail.test ESMTP"}[self.protocol]
        writer.write(greeting.encode() + b"\r\n")
        user = ""
        while line := (await reader.readline()).decode().rstrip("\r\n"):
            tag, words = ("", line.split(" ")) if self.protocol != "imap" else (line.split(" ")[0], line.split(" ")[1:])
            verb = words[0].upper()
            if verb in ("AUTH", "AUTHENTICATE"):
                blob = words[2] if len(words) > 2 else ""
                if blob and self.protocol == "pop3":
                    return self.say(writer, tag, "NO", "one line")
                if not blob:
                    writer.write({"imap": b"+ \r\n", "pop3": b"+ \r\n", "smtp": b"334 \r\n"}[self.protocol])
                    blob = await reader.readline()
                user, _, token = base64.b64decode(blob).decode().partition("\x01auth=Bearer ")
                user = user.removeprefix("user=")
                self.login(writer, tag, user, token.rstrip("\x01"))
            else:
                self.command(writer, tag, verb, user)
            await writer.drain()

    def say(self, writer, tag, word, text):
        lines = {"imap": "%s %s %s" % (tag, word, text), "pop3": "%s %s" % ("+OK" if word == "OK" else "-ERR", text),
                 "smtp": "%s %s" % ("235 2.7.0" if word == "OK" else "535 5.7.3", text)}
        writer.write(lines[self.protocol].encode() + b"\r\n")

    def login(self, writer, tag, user, token):
        word = MAIL_LOGINS[user.split("@")[0]]
        if word == "ECHO":
            self.say(writer, tag, "NO", "I do not like " + token)
        elif word == "FLOOD":
            for _ in range(3000):
                writer.write(b"* untagged line of some length, again and again\r\n")
            self.say(writer, tag, "OK", "at last")
        elif word is not None:
            self.say(writer, tag, word, "login")

    def command(self, writer, tag, verb, user):
        if verb == "CAPABILITY":
            writer.write(b"* CAPABILITY IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2 SASL-IR\r\n")
            self.say(writer, tag, "OK", "done")
        elif verb == "CAPA":
            writer.write(b"+OK\r\nSASL PLAIN XOAUTH2\r\n.\r\n")
        elif verb == "EHLO":
            writer.write(b"250-mail.test\r\n250 AUTH LOGIN XOAUTH2\r\n")
        elif verb in ("SELECT", "STAT") and not user.startswith("hang"):
            self.say(writer, tag, "BAD" if user.startswith("noselect") else "OK", verb.lower())


class Dropper(asyncio.Protocol):
    """Takes a connection and drops it before TLS begins."""

    def connection_made(self, transport):
        connections["drop"] = connections.get("drop", 0) + 1
        transport.abort()


async def main(directory):
    loop = asyncio.get_running_loop()
    ca = make_ca("Test CA")
    write_ca(directory, "ca.pem", ca[1])
    write_ca(directory, "other-ca.pem", make_ca("Another CA")[1])
    ports = {}
    for name, host, alpn in (("h2", "localhost", ["h2", "http/1.1"]), ("h1", "localhost", ["http/1.1"]),
                             ("wronghost", "elsewhere.test", ["h2"]), ("proxied", "secret.test", ["h2"])):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(make_cert(*ca, host, directory))
        context.set_alpn_protocols(alpn)
        server = await loop.create_server(lambda name=name: Server(name), "127.0.0.1", 0, ssl=context, backlog=1024)
        ports[name] = server.sockets[0].getsockname()[1]
    for name, server in (("proxy", await asyncio.start_server(proxy, "127.0.0.1", 0)),
                         ("drop", await loop.create_server(Dropper, "127.0.0.1", 0)),
                         ("silent", await loop.create_server(asyncio.Protocol, "127.0.0.1", 0))):
        ports[name] = server.sockets[0].getsockname()[1]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(os.path.join(directory, "localhost.pem"))
    for name in ("imap", "pop3", "smtp"):
        server = await asyncio.start_server(Mail(name), "127.0.0.1", 0, ssl=context)
        ports[name] = server.sockets[0].getsockname()[1]
    print(" ".join("%s=%d" % item for item in ports.items()), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    os._exit(0)


main_loop = asyncio.new_event_loop()
main_loop.set_exception_handler(lambda loop, context: None)
main_loop.run_until_complete(main(sys.argv[1]))
