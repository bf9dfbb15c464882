"""An HTTP server on loopback whose every byte a test decides, for what only real connections can show."""

from __future__ import annotations

import queue
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

Handler = Callable[["Line"], None]
SECONDS = 10.0


class Line:
    """One accepted connection with its first request. ``closed`` waits until the client has hung up."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        connection.settimeout(SECONDS)
        head = b""
        while b"\r\n\r\n" not in head:
            chunk = connection.recv(65536)
            if not chunk:
                break
            head += chunk
        self.head, _, self.body = head.decode("latin-1").partition("\r\n\r\n")
        length = re.search(r"(?i)content-length: *(\d+)", self.head)
        wanted = int(length[1]) if length else 0
        while len(self.body) < wanted and (chunk := connection.recv(65536)):
            self.body += chunk.decode("latin-1")
        self.whole = bool(self.head) and len(self.body) >= wanted  # or the client hung up before

    def say(self, data: bytes) -> None:
        self.socket.sendall(data)

    def stream(self, data: bytes = b"", status: str = "200 OK") -> None:
        """The head of an event stream that lasts until it is closed."""
        self.say(f"HTTP/1.1 {status}\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n".encode() + data)

    def answer(self, status: str, body: bytes = b"", *headers: str) -> None:
        head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers, "", ""]
        self.say("\r\n".join(head).encode() + body)

    def closed(self) -> bool:
        try:
            while self.socket.recv(65536):
                pass
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False
        return True


class Loopback:
    """``lines`` gets every connection as it comes; each is handled on a thread of its own."""

    def __init__(self, handler: Handler) -> None:
        self.lines: queue.Queue[Line] = queue.Queue()
        self._handler = handler
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}/mcp"
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):  # the client went away
            line = Line(connection)
            if line.whole:
                self.lines.put(line)
                self._handler(line)

    def next(self) -> Line:
        return self.lines.get(timeout=SECONDS)

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for thread in self._threads:
            thread.join(SECONDS)


@contextmanager
def loopback(handler: Handler) -> Iterator[Loopback]:
    server = Loopback(handler)
    try:
        yield server
    finally:
        server.close()
