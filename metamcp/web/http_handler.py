"""One connection of a web worker: gevent's pywsgi with strict reading and deadlines, of which it has none.

Of pywsgi are left the life of a connection, the loop over its requests, chunks, and what it says of failures. Only
gunicorn loads this. Nothing of a worker may be imported here that has to be patched first.
"""

from __future__ import annotations

import errno
import io
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from wsgiref.handlers import format_date_time

import gevent
from gunicorn.workers.ggevent import PyWSGIHandler

from metamcp.errors import MetaMCPError, RequestTimeout
from metamcp.protocol import http_head
from metamcp.protocol.http_response import BODILESS, ResponseHead, ending, response_head
from metamcp.web.alarm import Alarm
from metamcp.web.environ import CONNECTION, variables
from metamcp.web.parking import READ
from metamcp.web.patience import LEAST_RATE, PatientReader
from metamcp.web.request_body import RequestBody

if TYPE_CHECKING:
    from metamcp.web.http_server import Server

_BUFFER = 4 * 1024  # for heads; bodies are read past it
_HEAD_END = b"\r\n\r\n"
_PIECE = 256 * 1024  # bytes that a client has to take within its time
_JOINED = 64 * 1024  # bytes of a body that are copied to go out together with their head
_LEAVE_SECONDS = 2.0
_LINGER_SECONDS = 1.0  # before a connection is parked: most clients that call again do so sooner
_MOST_LINGERING = 100  # or it is parked as soon as may be: a thousand that come at once would all have their greenlets
_HURRIED_SECONDS = 0.05


class Handler(PyWSGIHandler):  # type: ignore[misc]  # neither gevent nor gunicorn has types
    """Reads requests strictly and with deadlines, of which pywsgi has none, and knows whether it waits for a next one:
    such a connection must not hold up the end of its worker."""

    def __init__(self, sock: socket.socket, address: Any, server: Server) -> None:
        self.socket: Any
        self.result: Any
        self.alarm = Alarm()
        self.reader = PatientReader(sock, self.alarm)
        self.heads = http_head.HeadReader()
        super().__init__(sock, address, server, rfile=io.BufferedReader(self.reader, _BUFFER))
        self.edge = server.edge
        self.head: http_head.Head | None = None
        self.peer = {CONNECTION: _Connection(sock), "wsgi.input_terminated": True}
        if isinstance(address, tuple):
            self.peer |= {"REMOTE_ADDR": str(address[0]), "REMOTE_PORT": str(address[1])}
        self.answer: ResponseHead | None = None  # what the application has begun

    def handle(self) -> None:
        try:
            super().handle()
        finally:
            self.alarm.close()

    # --- the request -----------------------------------------------------------------------------------

    def handle_one_request(self) -> bool | None:
        """None when it was the last one of its connection (for pywsgi's loop)."""
        if not self._wait_for_first_byte():
            return None
        try:
            head = self._read_head()
        except MetaMCPError as refused:
            self._refuse(refused)
            self._leave()
            return None
        except OSError:
            return None
        if head is None:
            return None
        self._begin(head)
        self.handle_one_response()
        if not self.wsgi_input.complete:
            self._leave()
            return None
        return None if self.close_connection else True

    def _wait_for_first_byte(self) -> bool:
        """False when there is none (any more), or none for so long that the connection is parked."""
        self.reader.allow(self.edge.client_seconds if self.head is None else self._linger())
        self.server.waiting.add(self)
        try:
            return not self.server.draining and bool(self.rfile.peek(1))
        except TimeoutError:
            if self.head is not None and self.server.park(self.socket, self.client_address):
                self.socket = None  # or pywsgi would close it
            return False
        except OSError:
            return False
        finally:
            self.server.waiting.discard(self)

    def _linger(self) -> float:
        """Seconds."""
        return _LINGER_SECONDS if len(self.server.waiting) < _MOST_LINGERING else _HURRIED_SECONDS

    def _read_head(self) -> http_head.Head | None:
        """None when the client leaves before its end. Raises MetaMCPError."""
        self.reader.allow(self.edge.client_seconds)
        try:
            buffered: bytes = self.rfile.peek(1)
            end = buffered.find(_HEAD_END)
            if end < 0:
                return self._read_lines()
        except TimeoutError:
            text = f"the head of a request must come within {self.edge.client_seconds:g} s"
            raise RequestTimeout(text) from None
        line, *fields = http_head.lines_of(self.rfile.read(end + len(_HEAD_END))[:end])
        if refused := http_head.too_large(line, fields, end):
            raise refused
        return self.heads.read(line, fields)

    def _read_lines(self) -> http_head.Head | None:
        """A head that comes in pieces, or is larger than the buffer."""
        line: bytes = self.rfile.readline(http_head.MAX_TARGET + 1)
        fields: list[bytes] = []
        size = 0
        while (refused := http_head.too_large(line, fields, size)) is None:
            field = self.rfile.readline(http_head.MAX_HEADER_BYTES + 1)
            if field == b"\r\n":
                return self.heads.read(http_head.content(line), [http_head.content(one) for one in fields])
            if not field:
                return None
            fields.append(field)
            size += len(field)
        raise refused

    def _begin(self, head: http_head.Head) -> None:
        """What pywsgi, the application and the access log are told of the request."""
        self.head = head
        self.command, self.request_version, self.close_connection = head.method, head.version, head.closes
        self.wsgi_input = RequestBody(self.rfile, head.length, self._body_begins)
        self.application = self.server.application
        self.environ = self.server.get_environ()
        self.environ.update(variables(head))
        self.environ |= self.peer
        self.environ["wsgi.input"] = self.wsgi_input

    def _body_begins(self) -> None:
        self.reader.allow(self.edge.client_seconds, LEAST_RATE)
        if self.head is not None and self.head.awaits_continue:
            self.socket.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")

    # --- the response ----------------------------------------------------------------------------------

    def handle_one_response(self) -> None:
        """As pywsgi's own, of which this is the part that we need."""
        self.time_start = time.time()
        self.status, self.answer, self.result = "", None, None
        self.headers_sent = self.response_use_chunked = False
        self.response_length = 0
        try:
            self.run_application()
        except OSError as error:
            if error.errno not in self.ignored_socket_errors:
                self.handle_error(*sys.exc_info())
            self.close_connection = True
        except BaseException:  # noqa: BLE001  pywsgi's own bound: its log, and a 500 if nothing was sent yet
            self.handle_error(*sys.exc_info())
        finally:
            self.log_request()

    def start_response(self, status: str, headers: Sequence[tuple[str, str]], exc_info: Any = None) -> Any:
        """A body that was not read to its end cannot be told from the next request."""
        if exc_info is not None and self.headers_sent:
            raise exc_info[1].with_traceback(exc_info[2])
        if not self.wsgi_input.complete:
            headers = [*headers, ("Connection", "close")]
        self.answer = response_head(status, headers)
        self.status, self.response_headers = status, headers
        return self.write

    def process_result(self) -> None:
        for data in self.result:
            if data:
                self.write(data)
        if not self.headers_sent:
            self.write(b"")
        if self.response_use_chunked and self.command != "HEAD":
            self._sendall(b"0\r\n\r\n")

    def write(self, data: bytes) -> None:
        """The head goes out with what comes first of the body, in one write as long as that is small."""
        if self.answer is None:
            raise self.ApplicationError("the application did not call start_response")
        if data and self.answer.code in BODILESS:
            raise self.ApplicationError(f"a response of status {self.answer.code} must have no body")
        if self.headers_sent:
            self._write(data)
            return
        self.headers_sent = True
        length = sum(map(len, self.result)) if hasattr(self.result, "__len__") else None
        rest, self.response_use_chunked, self.close_connection = ending(
            self.answer, _date(int(time.time())), length, self.request_version, self.close_connection
        )
        head = self.answer.lines + rest
        if not data or len(data) > _JOINED:
            self._sendall(head)
            self._write(data)
        elif self.response_use_chunked:
            self._sendall(b"%b%x\r\n%b\r\n" % (head, len(data), data))
        else:
            self._sendall(head + data)

    def log_request(self) -> None:
        if self.server.logs_access:
            self.time_finish = time.time()
            self.headers = {} if self.head is None else self.head.fields
            super().log_request()

    def _sendall(self, data: bytes) -> None:
        """In one write where the client takes it at once, as nearly all do."""
        rest = memoryview(data)
        rest = rest[self._send_at_once(rest) :]
        while rest:
            self.socket.settimeout(self.edge.client_seconds)
            try:
                super()._sendall(rest[:_PIECE])
            except TimeoutError:
                self.server.log.warning("%s does not read what it asked for: hung up", self.client_address)
                raise ConnectionResetError(errno.ECONNRESET, "the client does not read") from None
            finally:
                self.socket.settimeout(None)
            rest = rest[_PIECE:]

    def _send_at_once(self, data: memoryview) -> int:
        """How many bytes. ``sendall`` would ask the kernel for the size of its buffer each time."""
        try:
            sent: int = self.socket.send(data, 0, 0.0)
        except OSError:
            return 0  # the kernel's buffer is full, or as the next attempt will say
        self.response_length += sent
        return sent

    def _refuse(self, error: MetaMCPError) -> None:
        """A request that never became one."""
        from metamcp.web.errors import tell_unread  # noqa: PLC0415  after the worker has patched

        tell_unread(self.server.application, error, self.client_address[0] if self.client_address else "")
        with suppress(OSError):
            self._sendall(http_head.refusal(error))

    def _leave(self) -> None:
        """Close so that the client gets the answer although it still sends: a closed socket would have it lost."""
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)
            self.reader.allow(_LEAVE_SECONDS)
            while self.rfile.read1(_BUFFER):
                pass


class _Connection:
    """For who has to know that the client hung up (``web/hangup.py``): no greenlet waits for it, and nothing is read.
    libev aborts the whole worker over a watched descriptor that was closed."""

    __slots__ = ("_socket",)

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection

    def fileno(self) -> int:
        return self._socket.fileno()

    def watch(self, on_readable: Callable[[], None]) -> Callable[[], None]:
        if self.fileno() < 0:
            raise OSError(errno.EBADF, "the connection was closed")
        watcher = gevent.get_hub().loop.io(self.fileno(), READ)

        def ready() -> None:
            watcher.stop()
            gevent.spawn(on_readable)  # what is called in the hub must not wait

        def stop() -> None:
            watcher.stop()
            watcher.close()

        watcher.start(ready)
        return stop


@lru_cache(maxsize=1)
def _date(now: int) -> bytes:
    return format_date_time(now).encode()
