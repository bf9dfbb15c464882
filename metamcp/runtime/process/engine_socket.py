"""Connections to the engine that are ours alone: for requests that last as long as a container, and for those that
must be cut short when nobody waits for them any more."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from metamcp.config.engine_address import EngineAddress
from metamcp.runtime.diagnosis.advice import socket_path
from metamcp.runtime.process.http_answer import Answer, BadAnswerError
from metamcp.runtime.process.interface import REFUSED, NotStarted, Start

_READ = 65536


def can_reach(address: EngineAddress) -> bool:
    """Unix sockets and plain TCP. A TLS connection has no descriptor that the reactor could wait for alone: bytes may
    wait within the TLS layer."""
    plain = urlsplit(address.host).scheme == "tcp" and address.tls is None
    return plain or socket_path(address.host) is not None


class EngineSocket:
    """One connection. Blocks; raises NotStarted (125) for whatever goes wrong with it, in the docker CLI's words."""

    def __init__(self, docker_host: str, version: str, start: Start, seconds: float) -> None:
        self._host = docker_host
        self._version = version
        self._start = start
        self._deadline = time.monotonic() + seconds
        self.socket = self._connected()

    def ask(self, method: str, path: str, query: Mapping[str, str], body: Any = None) -> Answer:
        """The whole answer, whatever its status."""
        with self._told():
            answer = self._begin(method, path, query, body, {})
            while not answer.complete:
                self._read(answer)
        return answer

    def open(self, path: str, query: Mapping[str, str], upgrade: bool = False) -> Answer:
        """POST; returns with the head, if that says that the rest is to come, else with the whole answer."""
        fields = {"Connection": "Upgrade", "Upgrade": "tcp"} if upgrade else {}
        with self._told():
            answer = self._begin("POST", path, query, None, fields, upgrade)
            while not answer.has_head or (answer.status >= 400 and not answer.complete):
                self._read(answer)
        return answer

    def close(self) -> None:
        self.socket.close()

    # --- inside ----------------------------------------------------------------------------------------

    def _connected(self) -> socket.socket:
        path = socket_path(self._host)
        address = urlsplit(self._host)
        try:
            if path is None:
                place = (address.hostname or "localhost", address.port or 2375)
                return _kept_alive(socket.create_connection(place, self._left()))
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                sock.settimeout(self._left())
                sock.connect(path)
            except OSError:
                sock.close()
                raise
            return sock
        except OSError as error:
            text = f"docker: Cannot connect to the Docker daemon at {self._host}: {_why(error)}"
            raise NotStarted(REFUSED, text) from error

    def _begin(
        self, method: str, path: str, query: Mapping[str, str], body: Any, fields: Mapping[str, str],
        upgrade: bool = False,
    ) -> Answer:  # fmt: skip
        data = b"" if body is None else json.dumps(body).encode()
        own = {"Host": "docker", "User-Agent": "metamcp", "Content-Length": str(len(data))}
        if body is not None:
            own["Content-Type"] = "application/json"
        head = "".join(f"{name}: {value}\r\n" for name, value in {**own, **fields}.items())
        target = f"/v{self._version}{quote(path)}" + (f"?{urlencode(query)}" if query else "")
        self.socket.settimeout(self._left())
        self.socket.sendall(f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode() + data)
        return Answer(upgrade)

    def _read(self, answer: Answer) -> None:
        self.socket.settimeout(self._left())
        chunk = self.socket.recv(_READ)
        if chunk:
            answer.feed(chunk)
        else:
            answer.end()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            with self._start.abortable(self._cut):
                yield
        except (OSError, BadAnswerError) as error:
            if self._start.given_up:
                raise NotStarted(REFUSED, "") from error  # the engine is not to blame
            raise NotStarted(REFUSED, f"docker: error during connect: {_why(error)}") from error

    def _cut(self) -> None:
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)

    def _left(self) -> float:
        return max(0.001, self._deadline - time.monotonic())


def _kept_alive(sock: socket.socket) -> socket.socket:
    """A server that is silent for hours must not lose its connection to a firewall unnoticed."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time (timed out)"
    return getattr(error, "strerror", None) or str(error)
