# SPDX-License-Identifier: MIT
"""HTTP/2 for httpd.py, on python3-h2. Every stream has its own task, so a slow answer delays no other."""

import asyncio

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings

from . import httpd

MAX_STREAMS = 250
# Connection-level headers of HTTP/1.1 that HTTP/2 forbids.
FORBIDDEN = {"connection", "keep-alive", "transfer-encoding", "upgrade", "proxy-connection"}


class _Connection:
    def __init__(self, application, connections, reader, writer, number, peer):
        self.application, self.connections = application, connections
        self.reader, self.writer = reader, writer
        self.number, self.peer = number, peer
        config = h2.config.H2Configuration(client_side=False, header_encoding="latin-1")
        self.h2 = h2.connection.H2Connection(config)
        self.streams = {}        # id -> (headers, bytearray) while the request comes in
        self.tasks = {}          # id -> task that answers
        self.window_grew = asyncio.Event()

    def flush(self):
        self.writer.write(self.h2.data_to_send())

    async def run(self):
        self.h2.initiate_connection()
        self.h2.update_settings({h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: MAX_STREAMS})
        self.flush()
        try:
            while not self.writer.is_closing():
                data = await self.reader.read(65536)
                if not data:
                    return
                for event in self.h2.receive_data(data):
                    self.handle(event)
                self.flush()
                await self.writer.drain()
        except h2.exceptions.ProtocolError:
            self.flush()
        finally:
            for task in list(self.tasks.values()):
                task.cancel()

    def handle(self, event):
        if isinstance(event, h2.events.RequestReceived):
            self.streams[event.stream_id] = (dict(event.headers), bytearray())
        elif isinstance(event, h2.events.DataReceived):
            body = self.streams[event.stream_id][1]
            body.extend(event.data)
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            if len(body) > httpd.BODY_MAX:
                self.h2.reset_stream(event.stream_id, h2.errors.ErrorCodes.CANCEL)
        elif isinstance(event, h2.events.StreamEnded):
            task = asyncio.ensure_future(self.answer(event.stream_id))
            self.tasks[event.stream_id] = task
            task.add_done_callback(lambda _, stream=event.stream_id: self.tasks.pop(stream, None))
        elif isinstance(event, h2.events.StreamReset):
            self.streams.pop(event.stream_id, None)
            if event.stream_id in self.tasks:
                self.tasks[event.stream_id].cancel()
        elif isinstance(event, (h2.events.WindowUpdated, h2.events.RemoteSettingsChanged)):
            self.window_grew.set()
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.writer.close()

    async def answer(self, stream):
        headers, body = self.streams.pop(stream)
        plain = {name: value for name, value in headers.items() if not name.startswith(":")}
        request = httpd.Request(headers.get(":method", ""), headers.get(":path", "/"), plain, bytes(body), "2",
                                headers.get(":authority", plain.get("host", "")), self.number, self.peer)
        response = await self.connections.answer(self.application, request)
        try:
            await self.send(stream, response)
        except (h2.exceptions.ProtocolError, OSError):
            pass    # the peer closed the stream or the connection meanwhile

    async def send(self, stream, response):
        if response.mode == httpd.HANG:
            await asyncio.Event().wait()
        if response.mode == httpd.RESET:
            return httpd.reset(self.writer)
        if response.mode == httpd.CLOSE:
            return self.writer.close()
        if response.mode == httpd.REFUSE_STREAM:
            self.h2.reset_stream(stream, h2.errors.ErrorCodes.REFUSED_STREAM)
            return self.flush()
        if response.mode == httpd.GOAWAY:
            self.h2.close_connection(h2.errors.ErrorCodes.NO_ERROR, last_stream_id=stream - 2 if stream > 1 else 0)
            self.flush()
            await self.writer.drain()
            return self.writer.close()
        headers = [(":status", str(response.status))]
        headers += [(name.lower(), value) for name, value in httpd.all_headers(response)
                    if name.lower() not in FORBIDDEN]
        broken = response.mode in (httpd.SHORT, httpd.RESET_MID)
        body = response.body[:len(response.body) // 2] if broken else response.body
        self.h2.send_headers(stream, headers)
        await self.send_body(stream, body, end=not broken)
        if not broken:
            return None
        await asyncio.sleep(0.05)
        if response.mode == httpd.RESET_MID:
            return httpd.reset(self.writer)
        self.h2.reset_stream(stream, h2.errors.ErrorCodes.INTERNAL_ERROR)
        return self.flush()

    async def send_body(self, stream, body, end):
        view = memoryview(body)
        while view:
            room = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size)
            if room <= 0:
                self.window_grew.clear()
                self.flush()
                await self.window_grew.wait()
                continue
            self.h2.send_data(stream, bytes(view[:room]))
            view = view[room:]
        if end:
            self.h2.end_stream(stream)
        self.flush()
        await self.writer.drain()


async def serve(application, connections, reader, writer, number, peer):
    await _Connection(application, connections, reader, writer, number, peer).run()
