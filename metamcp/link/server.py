"""The supervisor's end of the link: accepts web workers on a Unix socket and runs their exchanges."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable
from pathlib import Path

from metamcp.concurrency.outflow import Outflow
from metamcp.concurrency.reactor import Reactor
from metamcp.gateway.interface import Outbound, Reply, Request
from metamcp.link.frames import Close, FrameInvalid, FrameReader, Item, Open, encode
from metamcp.telemetry import logs

_BACKLOG = 64
_CHUNK = 65536
_OUT_LIMIT = 256 * 1024 * 1024
"""Bytes that may wait for one web worker. It reads at once whatever its clients do, so it is dead or stuck."""

_ENDED = "the web worker ended it"

_log = logs.get("link.server")


class LinkServer:
    """Owned by the reactor's thread."""

    def __init__(self, reactor: Reactor, path: Path, open_request: Callable[[Request, Reply], None]) -> None:
        self._reactor = reactor
        self._path = path
        self._open = open_request
        self._workers: set[_Worker] = set()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)

    def start(self, mode: int = 0o600, group: int = -1) -> None:
        """Bind and listen; ``group`` is a group id, -1 for our own. The path is replaced: the caller holds the state
        directory's lock."""
        self._path.unlink(missing_ok=True)
        self._socket.bind(str(self._path))
        # Nobody can connect before we listen.
        os.chown(self._path, -1, group)
        self._path.chmod(mode)
        self._socket.listen(_BACKLOG)
        self._socket.setblocking(False)
        self._reactor.watch_read(self._socket.fileno(), self._accept)

    def close(self) -> None:
        """End every connection and remove the socket."""
        self._reactor.forget(self._socket.fileno())
        self._socket.close()
        self._path.unlink(missing_ok=True)
        for worker in tuple(self._workers):
            worker.close("the supervisor is ending")

    @property
    def limit(self) -> int:
        """Bytes that may wait for one web worker."""
        return _OUT_LIMIT

    @property
    def connections(self) -> int:
        """Web workers that have said something."""
        return sum(worker.spoke for worker in self._workers)

    @property
    def waiting(self) -> int:
        """Bytes that wait for the web worker that takes least."""
        return max((worker.waiting for worker in self._workers), default=0)

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            connection, _ = self._socket.accept()
            connection.setblocking(False)
            self._workers.add(_Worker(self._reactor, connection, self._open, self._workers.discard))


class _Worker:
    """One connection: one web worker. Who only looks whether somebody listens, as a health check does, says nothing,
    and the log says nothing of it."""

    def __init__(
        self,
        reactor: Reactor,
        connection: socket.socket,
        open_request: Callable[[Request, Reply], None],
        on_closed: Callable[[_Worker], None],
    ) -> None:
        self._reactor = reactor
        self._socket = connection
        self._fd = connection.fileno()
        self._open = open_request
        self._on_closed = on_closed
        self._frames = FrameReader()
        self._out = Outflow(reactor, self._fd, _OUT_LIMIT, self.close)
        self._replies: dict[int, Reply] = {}
        self.spoke = self._closed = False
        reactor.watch_read(self._fd, self._readable)

    @property
    def waiting(self) -> int:
        return self._out.pending

    def close(self, reason: str) -> None:
        """The worker is gone: so are its exchanges."""
        if self._closed:
            return
        self._closed = True
        self._out.close()
        self._reactor.forget(self._fd)
        self._socket.close()
        replies, self._replies = list(self._replies.values()), {}
        for reply in replies:
            reply.close()
        self._on_closed(self)
        if self.spoke or reason != _ENDED:
            _log.info("link-closed", extra=logs.fields(reason=reason, exchanges=len(replies)))

    def _readable(self) -> None:
        try:
            chunk = os.read(self._fd, _CHUNK)
            frames = self._frames.feed(chunk)
        except BlockingIOError:
            return
        except (OSError, FrameInvalid) as error:
            self.close(str(error))
            return
        if not chunk:
            self.close(_ENDED)
        if frames and not self.spoke:
            self.spoke = True
            _log.info("link-opened")
        for frame in frames:
            self._on_frame(frame)

    def _on_frame(self, frame: object) -> None:
        if self._closed:
            return  # by an earlier frame of the same chunk
        if isinstance(frame, Open):
            self._begin(frame.stream, frame.request)
        elif isinstance(frame, Close) and (reply := self._replies.pop(frame.stream, None)):
            reply.close()

    def _begin(self, stream: int, request: Request) -> None:
        def deliver(outbound: Outbound) -> None:
            if outbound.final:
                self._replies.pop(stream, None)
            self._out.write(encode(Item(stream, outbound)))

        reply = Reply(deliver)
        self._replies[stream] = reply
        self._open(request, reply)
