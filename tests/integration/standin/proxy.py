# SPDX-License-Identifier: MIT
"""An HTTP proxy that knows CONNECT and one destination: Entra's stand-in, whatever host is asked for."""

import asyncio
import time


class Proxy:
    def __init__(self, port_of_entra, own_ports, status):
        """port_of_entra: a function, because the port is not known yet. own_ports: ports that may be asked for. status:
        what is answered instead of connecting, 0: nothing."""
        self.port_of_entra, self.own_ports, self.status = port_of_entra, own_ports, status
        self.connects = []           # {"time", "target", "authorization"}

    async def __call__(self, reader, writer):
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            verb, target, _ = head[0].split(" ")
            if verb != "CONNECT":
                writer.write(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n")
                return
            self.connects.append({"time": time.time(), "target": target})
            if self.status():
                writer.write(b"HTTP/1.1 %d Forbidden\r\nContent-Length: 0\r\n\r\n" % self.status())
                return
            asked = int(target.rpartition(":")[2])
            port = asked if asked in self.own_ports() else self.port_of_entra()
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await asyncio.gather(self.pump(reader, far_writer), self.pump(far_reader, writer))
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()

    @staticmethod
    async def pump(reader, writer):
        try:
            while True:
                data = await reader.read(65536)
                if not data:
                    break
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()
