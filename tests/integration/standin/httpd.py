# SPDX-License-Identifier: MIT
"""A small HTTP server for applications that misbehave on purpose: HTTP/1.1 here, HTTP/2 in httpd2.py.

An application is an async callable that takes a Request and returns a Response. Response.mode tells how the answer
is to be spoilt on its way.
"""

import asyncio
import dataclasses
import email.utils
import http
import socket
import struct
import urllib.parse

HEAD_MAX = 128 * 1024
BODY_MAX = 4 * 1024 * 1024

NORMAL = "normal"
RESET = "reset"              # TCP reset instead of an answer
RESET_MID = "reset-mid"      # TCP reset after the headers and half of the body
CLOSE = "close"              # orderly close instead of an answer
SHORT = "short"              # Content-Length promises more than is sent before the close
HANG = "hang"                # no answer, ever
GOAWAY = "goaway"            # HTTP/2: GOAWAY that leaves this request out; HTTP/1.1: like CLOSE
REFUSE_STREAM = "refuse-stream"   # HTTP/2: RST_STREAM(REFUSED_STREAM); HTTP/1.1: like CLOSE


class HttpError(Exception):
    """The peer does not speak HTTP as we know it."""


@dataclasses.dataclass
class Request:
    method: str
    target: str
    headers: dict
    body: bytes = b""
    http_version: str = "1.1"
    authority: str = ""
    connection: int = 0
    peer: str = ""

    def __post_init__(self):
        path, _, self.raw_query = self.target.partition("?")
        self.raw_path = path
        self.path = urllib.parse.unquote(path)
        self.query = dict(urllib.parse.parse_qsl(self.raw_query, keep_blank_values=True))


@dataclasses.dataclass
class Response:
    status: int = 200
    headers: list = dataclasses.field(default_factory=list)
    body: bytes = b""
    mode: str = NORMAL


class Connections:
    """Numbers and counts connections and requests of one server."""

    def __init__(self):
        self.forget()
        self.open = self.in_flight = 0

    def forget(self):
        """Starts counting anew; connections keep their numbers unique."""
        self.accepted = getattr(self, "accepted", 0)
        self.base = self.accepted
        self.requests = self.max_in_flight = self.max_open = 0
        self.by_version = {}

    def describe(self):
        return {"connections": self.accepted - self.base, "open": self.open, "max_open": self.max_open,
                "requests": self.requests, "in_flight": self.in_flight, "max_in_flight": self.max_in_flight,
                "by_version": self.by_version}

    async def answer(self, application, request):
        self.requests += 1
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        self.by_version[request.http_version] = self.by_version.get(request.http_version, 0) + 1
        try:
            return await application(request)
        finally:
            self.in_flight -= 1


def reset(writer):
    """Closes with a TCP reset, as a crashing peer or a nervous firewall does."""
    sock = writer.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def hang(reader):
    """Waits for the peer to give up."""
    while await reader.read(65536):
        pass


def reason(status):
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return "Status"


def all_headers(response):
    present = {name.lower() for name, _ in response.headers}
    headers = list(response.headers)
    if "date" not in present:
        headers.append(("Date", email.utils.formatdate(usegmt=True)))
    if "content-length" not in present:
        headers.append(("Content-Length", str(len(response.body))))
    return headers


async def _read_chunked(reader):
    body = b""
    while True:
        size = int((await reader.readline()).split(b";")[0], 16)
        if size < 0 or len(body) + size > BODY_MAX:
            raise HttpError("body too large")
        body += await reader.readexactly(size)
        await reader.readline()
        if not size:
            return body


async def _read_request(reader, writer, number, peer):
    """The next request, or None at the end of the connection."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise HttpError("half a request") from None
        return None
    lines = head.decode("latin-1").split("\r\n")
    words = lines[0].split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        raise HttpError("no request line")
    headers = {}
    for line in lines[1:-2]:
        name, colon, value = line.partition(":")
        if not colon:
            raise HttpError("no header")
        headers[name.strip().lower()] = value.strip()
    if headers.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = await _read_chunked(reader)
    else:
        size = int(headers.get("content-length", "0"))
        if not 0 <= size <= BODY_MAX:
            raise HttpError("body too large")
        body = await reader.readexactly(size)
    return Request(words[0], words[1], headers, body, words[2][5:], headers.get("host", ""), number, peer)


def _head(response):
    lines = ["HTTP/1.1 %d %s" % (response.status, reason(response.status))]
    lines += ["%s: %s" % header for header in all_headers(response)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8")


async def _send(response, reader, writer):
    """Sends, or does what response.mode says; true if the connection may be used again."""
    if response.mode == HANG:
        await hang(reader)
        return False
    if response.mode == RESET:
        reset(writer)
        return False
    if response.mode in (CLOSE, GOAWAY, REFUSE_STREAM):
        return False
    if response.mode in (SHORT, RESET_MID):
        writer.write(_head(response) + response.body[:len(response.body) // 2])
        await writer.drain()
        if response.mode == RESET_MID:
            # Gives the kernel time to deliver: a reset may overtake and discard what was written before it.
            await asyncio.sleep(0.05)
            reset(writer)
        return False
    writer.write(_head(response) + response.body)
    await writer.drain()
    return True


async def _serve_h1(application, connections, reader, writer, number, peer):
    while True:
        request = await _read_request(reader, writer, number, peer)
        if request is None:
            return
        response = await connections.answer(application, request)
        if not await _send(response, reader, writer):
            return
        if request.headers.get("connection", "").lower() == "close" or request.http_version == "1.0":
            return


def server(application, connections):
    """The callback for asyncio.start_server()."""
    from . import httpd2    # here, because httpd2 needs the names above

    async def serve(reader, writer):
        connections.accepted += 1
        connections.open += 1
        connections.max_open = max(connections.max_open, connections.open)
        number = connections.accepted
        peer = "%s:%d" % writer.get_extra_info("peername")[:2]
        tls = writer.get_extra_info("ssl_object")
        try:
            if tls is not None and tls.selected_alpn_protocol() == "h2":
                await httpd2.serve(application, connections, reader, writer, number, peer)
            else:
                await _serve_h1(application, connections, reader, writer, number, peer)
        except (HttpError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        except OSError:
            pass
        finally:
            connections.open -= 1
            writer.close()
    return serve
