"""The HTTP server of a web worker: gevent's pywsgi with strict reading and deadlines, of which it has none.

Only gunicorn loads this. Nothing of a worker may be imported here that has to be patched first.
"""

from __future__ import annotations

import errno
import io
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from wsgiref.handlers import format_date_time

import gevent
from gunicorn.workers.ggevent import PyWSGIHandler, PyWSGIServer

from metamcp.errors import InvalidRequest, MetaMCPError, RequestTimeout, TooManyRequests
from metamcp.protocol import http_head
from metamcp.protocol.http_response import BODILESS, ResponseHead, ending, response_head
from metamcp.telemetry.edge import EDGE
from metamcp.telemetry.masking import mask_address
from metamcp.web.alarm import Alarm
from metamcp.web.environ import CONNECTION, variables
from metamcp.web.parking import READ, Parking
from metamcp.web.patience import LEAST_RATE, PatientReader
from metamcp.web.request_body import RequestBody

_BUFFER = 4 * 1024  # for heads; bodies are read past it
_HEAD_END = b"\r\n\r\n"
_PIECE = 256 * 1024  # bytes that a client has to take within its time
_JOINED = 64 * 1024  # bytes of a body that are copied to go out together with their head
_LEAVE_SECONDS = 2.0
_LINGER_SECONDS = 1.0  # before a connection is parked: most clients that call again do so sooner


@dataclass(frozen=True, slots=True)
class Edge:
    """What a worker asks of its clients. ``client_seconds``: for one that neither sends nor reads; ``idle_seconds``:
    for the next request of a connection, once it is parked; ``most_of_one_address``: connections; None: no bound, as
    behind a proxy."""

    client_seconds: float
    idle_seconds: float
    most_of_one_address: int | None


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
        self.refused: MetaMCPError | None = None
        self.head: http_head.Head | None = None
        self.connection = _Connection(sock)
        self.answer: ResponseHead | None = None  # what the application has begun

    def handle(self) -> None:
        try:
            super().handle()
        finally:
            self.alarm.close()

    # --- the request -----------------------------------------------------------------------------------

    def log_error(self, msg: str, *args: Any) -> None:
        """About a request that is none, and its first line with it."""
        super().log_error("%s", mask_address(msg % args if args else msg))

    def read_requestline(self) -> str:
        """Read the whole head. "" when there is none (any more): the connection then ends without a word."""
        self.refused = None
        if not self._wait_for_first_byte():
            return ""
        self.reader.allow(self.edge.client_seconds)
        try:
            return self._read_head()
        except TimeoutError:
            self.refused = RequestTimeout(f"the head of a request must come within {self.edge.client_seconds:g} s")
        except MetaMCPError as refused:
            self.refused = refused
        return "(refused)"

    def _wait_for_first_byte(self) -> bool:
        """False when there is none (any more), or none for so long that the connection is parked."""
        self.reader.allow(self.edge.client_seconds if self.head is None else _LINGER_SECONDS)
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

    def _read_head(self) -> str:
        buffered: bytes = self.rfile.peek(1)
        end = buffered.find(_HEAD_END)
        if end < 0:
            return self._read_lines()
        line, *fields = http_head.lines_of(self.rfile.read(end + len(_HEAD_END))[:end])
        if refused := http_head.too_large(line, fields, end):
            raise refused
        self.head = self.heads.read(line, fields)
        return self.head.method

    def _read_lines(self) -> str:
        """A head that comes in pieces, or is larger than the buffer."""
        line: bytes = self.rfile.readline(http_head.MAX_TARGET + 1)
        fields: list[bytes] = []
        size = 0
        while (refused := http_head.too_large(line, fields, size)) is None:
            field = self.rfile.readline(http_head.MAX_HEADER_BYTES + 1)
            if field == b"\r\n":
                self.head = self.heads.read(http_head.content(line), [http_head.content(one) for one in fields])
                return self.head.method
            if not field:
                return ""
            fields.append(field)
            size += len(field)
        raise refused

    def read_request(self, _: str) -> bool:
        """Nothing is read here any more: pywsgi's own way through ``email.parser`` costs more than all of ours."""
        if self.refused is not None or self.head is None:
            raise self.refused or InvalidRequest("the request cannot be read")
        head = self.head
        self.requestline = f"{head.method} {head.target} {head.version}"
        self.command, self.path, self.request_version = head.method, head.target, head.version
        self.content_length, self.close_connection = head.length, head.closes
        return True

    def get_environ(self) -> dict[str, Any]:
        assert self.head is not None  # noqa: S101  read before
        environ: dict[str, Any] = self.server.get_environ()
        environ.update(variables(self.head))
        address = self.client_address
        if isinstance(address, tuple):
            environ["REMOTE_ADDR"], environ["REMOTE_PORT"] = str(address[0]), str(address[1])
        self.wsgi_input = environ["wsgi.input"] = RequestBody(self.rfile, self.head.length, self._body_begins)
        environ["wsgi.input_terminated"] = True
        environ[CONNECTION] = self.connection
        return environ

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

    def handle_one_request(self) -> Any:
        result = super().handle_one_request()
        if isinstance(result, tuple):
            self._sendall(result[1])
        elif self.wsgi_input is None or self.wsgi_input.complete:
            return result
        self._leave()
        return None

    def _handle_client_error(self, error: BaseException) -> tuple[int, bytes]:
        from metamcp.web.errors import tell_unread  # noqa: PLC0415  after the worker has patched

        known = error if isinstance(error, MetaMCPError) else InvalidRequest("the request cannot be read")
        tell_unread(self.server.application, known, self.client_address[0] if self.client_address else "")
        return known.http_status, http_head.refusal(known)

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


class Server(PyWSGIServer):  # type: ignore[misc]  # likewise
    edge: Edge
    running: list[Server]
    """Of this worker's process."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.running.append(self)
        self.logs_access: bool = self.log.access_log_enabled
        self.waiting: set[Handler] = set()
        self.draining = False
        self.connections: dict[socket.socket, str] = {}
        """Those that were let in, and their addresses."""
        self.addresses: Counter[str] = Counter()
        self.parking = Parking(self.pool.size, self.edge.idle_seconds, self.do_handle, self.do_close)

    def handle(self, sock: socket.socket, address: Any) -> None:
        """A new connection, or one that was parked."""
        if sock in self.connections or self._let_in(sock, address):
            self._count()
            super().handle(sock, address)

    def do_close(self, sock: socket.socket, *address: Any) -> None:
        """After its handler, however that ended."""
        if sock in self.parking:
            return
        name = self.connections.pop(sock, None)
        if name is not None:
            self.addresses[name] -= 1
            if not self.addresses[name]:
                del self.addresses[name]
        self._count()
        super().do_close(sock, *address)

    def park(self, sock: socket.socket, address: Any) -> bool:
        """Nobody waits for the next request of this connection any more, but the event loop; False when somebody has
        to. What was decrypted already cannot be seen by it."""
        if self.draining or self.ssl_enabled:
            return False
        self.parking.park(sock, address)
        self._count()
        return True

    def _count(self) -> None:
        idle = len(self.parking)
        EDGE.connections(len(self.connections) - idle, idle)

    def _let_in(self, sock: socket.socket, address: Any) -> bool:
        """One client must not have all connections of a worker. Behind proxies all have the proxy's address."""
        name, most = address[0] if address else "", self.edge.most_of_one_address
        if most is not None and name and self.addresses[name] >= most:
            EDGE.refused("connections", TooManyRequests.http_status)
            with suppress(OSError):
                sock.sendall(http_head.refusal(TooManyRequests("too many connections from one address")))
            return False
        self.connections[sock] = name
        self.addresses[name] += 1
        if sock.family != socket.AF_UNIX:
            # Each event is written at once and whole: waiting for more to send with it would only delay it.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return True

    def close(self) -> None:
        """Stop accepting, and hang up where nobody is being served. May be called twice."""
        super().close()
        self.draining = True
        self.parking.close()
        for handler in tuple(self.waiting):
            with suppress(OSError):
                handler.socket.shutdown(socket.SHUT_RD)
