"""An engine of the Engine API's bytes alone, on a Unix socket: each request is kept, and answered as a test says."""

from __future__ import annotations

import json
import queue
import re
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SECONDS = 10.0


@dataclass(frozen=True)
class Asked:
    """One request. ``path`` has no version; ``body`` is decoded."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: Any
    connection: socket.socket

    def answer(self, status: int, body: Any = None) -> None:
        data = b"" if body is None else json.dumps(body).encode()
        self.say(f"HTTP/1.1 {status} X\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data)

    def say(self, data: bytes) -> None:
        with suppress(OSError):
            self.connection.sendall(data)

    def heard(self, size: int) -> bytes:
        """``size`` bytes that come after the request, fewer at its end."""
        self.connection.settimeout(SECONDS)
        data = b""
        while len(data) < size and (chunk := self.connection.recv(size - len(data))):
            data += chunk
        return data

    def hang_up(self) -> None:
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
        self.connection.close()


Script = dict[str, Callable[[Asked], None]]
"""The last word of a path -> what is done; whatever is not in it is answered as by an engine that obeys."""


class ScriptedEngine:
    def __init__(self, folder: Path) -> None:
        self.host = f"unix://{folder / 'engine.sock'}"
        self.script: Script = {}
        self.asked: queue.Queue[Asked] = queue.Queue()
        self.streams: queue.Queue[Asked] = queue.Queue()
        self.waits: queue.Queue[Asked] = queue.Queue()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(self.host.removeprefix("unix://"))
        self._listener.listen(32)
        self._connections: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def requests(self) -> list[str]:
        """``METHOD path`` of all that was asked so far, but for the search for a version."""
        found = []
        with suppress(queue.Empty):
            while True:
                asked = self.asked.get_nowait()
                found += [f"{asked.method} {asked.path}"] if asked.path not in ("/version", "/_ping") else []
        return found

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(SECONDS)
        for connection in self._connections:
            connection.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._connections.append(connection)
                thread = threading.Thread(target=self._serve, args=(connection,))
                self._threads.append(thread)
                thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError, ValueError):
            while (asked := _read(connection)) is not None:
                self.asked.put(asked)
                word = asked.path.rpartition("/")[2]
                kept = {"attach": self.streams, "wait": self.waits}.get(word)
                self.script.get(word, _OBEY.get(word, lambda asked: asked.answer(204)))(asked)
                if kept is not None:
                    kept.put(asked)
                    return  # from now on it is the test's


def _read(connection: socket.socket) -> Asked | None:
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = connection.recv(65536)
        if not chunk:
            return None
        data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    first, *fields = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
    while len(body) < int(headers.get("content-length", 0)):
        body += connection.recv(65536)
    method, target, _ = first.split(" ")
    path, _, query = target.partition("?")
    said = json.loads(body) if body else None
    return Asked(method, re.sub(r"^/v[0-9.]+", "", path), query, headers, said, connection)


_OBEY: Script = {
    "version": lambda asked: asked.answer(200, {"ApiVersion": "1.41", "MinAPIVersion": "1.12"}),
    "create": lambda asked: asked.answer(201, {"Id": "c0ffee"}),
    "attach": lambda asked: asked.say(b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"),
    "wait": lambda asked: asked.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
}


def ended(status: int, **more: Any) -> bytes:
    """The rest of an answer to ``wait``."""
    body = json.dumps({"StatusCode": status, **more}).encode()
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


def frame(stream: int, payload: bytes) -> bytes:
    return bytes([stream, 0, 0, 0]) + len(payload).to_bytes(4, "big") + payload


@contextmanager
def scripted_engine(folder: Path) -> Iterator[ScriptedEngine]:
    engine = ScriptedEngine(folder)
    try:
        yield engine
    finally:
        engine.close()
