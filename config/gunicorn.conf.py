"""gunicorn: the web workers, and in all-in-one mode the supervisor process beside them.

With METAMCP_WEB_USER all of gunicorn runs as that user, and the supervisor is kept by a process that stays root
(metamcp/separation.py).

The only file that names gevent: workers of the pywsgi class, which in our trials cost less CPU and had a far
better 99th percentile than gunicorn's own loop on gevent (docs/decisions.md).
"""

import errno
import io
import os
import signal
import socket
import sys
from collections import Counter
from contextlib import suppress

from gunicorn.glogging import Logger
from gunicorn.workers.ggevent import GeventPyWSGIWorker, PyWSGIHandler, PyWSGIServer

import metamcp.web.counters  # noqa: F401  loaded before workers are forked: they share its memory
from metamcp import separation
from metamcp.config.loader import load
from metamcp.config.settings import Settings
from metamcp.errors import ConfigInvalid, InvalidRequest, MetaMCPError, RequestTimeout, TooManyRequests
from metamcp.keeper import DistantKeeper, Keeper
from metamcp.protocol import http_head
from metamcp.telemetry.masking import MASK, SECRET_HEADERS, mask_address, mask_query
from metamcp.web.patience import LEAST_RATE, PatientReader
from metamcp.web.request_body import RequestBody

try:
    _settings = Settings.from_env(os.environ)
    if separation.needed(_settings, os.environ):
        separation.separate(_settings, os.environ)
except ConfigInvalid as _error:
    print(_error.report(), file=sys.stderr)
    sys.exit(_error.exit_status)

bind = _settings.bind
workers = _settings.workers
worker_connections = 2000
graceful_timeout = 4
"""Seconds for calls in flight; with the supervisor's own stop the whole shutdown stays under 10 s."""
timeout = 60
keepalive = 75
control_socket_disable = True
loglevel = _settings.log_level.lower()
access_log_format = '%(h)s "%(m)s %(U)s" %(s)s %(b)s %(D)s "%(a)s"'
"""Without the query: there HTTP+SSE has the session's id, which is as good as a key."""


class MaskingLogger(Logger):
    """No access log, whatever its format, shows a key, a token or a session."""

    def atoms(self, resp, req, environ, request_time):
        atoms = super().atoms(resp, req, environ, request_time)
        return {name: self._masked(name, value) for name, value in atoms.items()}

    @staticmethod
    def _masked(name, value):
        header = name.strip("{}eio").removeprefix("http_").replace("_", "-")
        if name.startswith("{") and header in SECRET_HEADERS:
            return MASK
        if name in ("q", "{query_string}e"):
            return mask_query(value or "")
        return mask_address(value) if isinstance(value, str) else value


logger_class = MaskingLogger

_BUFFER = 16 * 1024
_PIECE = 256 * 1024  # bytes that a client has to take within its time
_LEAVE_SECONDS = 2.0


class _Handler(PyWSGIHandler):
    """Reads requests strictly and with deadlines, of which pywsgi has none, and knows whether it waits for a next one:
    such a connection must not hold up the end of its worker."""

    def __init__(self, sock, address, server):
        self.reader = PatientReader(sock)
        super().__init__(sock, address, server, rfile=io.BufferedReader(self.reader, _BUFFER))
        self.refused = None
        self.head = None

    # --- the request -----------------------------------------------------------------------------------

    def log_error(self, msg, *args):
        """About a request that is none, and its first line with it."""
        super().log_error("%s", mask_address(msg % args if args else msg))

    def read_requestline(self):
        """Read the whole head. "" when there is none (any more): the connection then ends without a word."""
        self.refused = None
        self.reader.allow(_settings.client_seconds if self.head is None else keepalive)
        if not self._wait_for_first_byte():
            return ""
        self.reader.allow(_settings.client_seconds)
        try:
            return self._read_head()
        except TimeoutError:
            self.refused = RequestTimeout(f"the head of a request must come within {_settings.client_seconds:g} s")
        except MetaMCPError as refused:
            self.refused = refused
        return "(refused)"

    def _wait_for_first_byte(self):
        self.server.waiting.add(self)
        try:
            return not self.server.draining and bool(self.rfile.peek(1))
        except OSError:
            return False
        finally:
            self.server.waiting.discard(self)

    def _read_head(self):
        line, self.fields = self.rfile.readline(http_head.MAX_TARGET + 1), []
        while (refused := http_head.too_large(line, self.fields)) is None:
            field = self.rfile.readline(http_head.MAX_HEADER_BYTES + 1)
            if field == b"\r\n":
                self.head = http_head.read(line, self.fields)
                return line.decode("latin-1")
            if not field:
                return ""
            self.fields.append(field)
        raise refused

    def read_request(self, raw_requestline):
        if self.refused is not None:
            raise self.refused
        return super().read_request(raw_requestline)

    def MessageClass(self, *_):  # noqa: N802  pywsgi's name for it
        return super().MessageClass(io.BytesIO(b"".join(self.fields) + b"\r\n"))

    def get_environ(self):
        environ = super().get_environ()
        self.wsgi_input = environ["wsgi.input"] = RequestBody(self.rfile, self.head.length, self._body_begins)
        environ["wsgi.input_terminated"] = True
        return environ

    def _body_begins(self):
        self.reader.allow(_settings.client_seconds, LEAST_RATE)
        if self.head.awaits_continue:
            self.socket.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")

    # --- the response ----------------------------------------------------------------------------------

    def start_response(self, status, headers, exc_info=None):
        """A body that was not read to its end cannot be told from the next request."""
        if not self.wsgi_input.complete:
            headers = [*headers, ("Connection", "close")]
        return super().start_response(status, headers, exc_info)

    def _sendall(self, data):
        rest = memoryview(data)
        while rest:
            self.socket.settimeout(_settings.client_seconds)
            try:
                super()._sendall(rest[:_PIECE])
            except TimeoutError:
                self.server.log.warning("%s does not read what it asked for: hung up", self.client_address)
                raise ConnectionResetError(errno.ECONNRESET, "the client does not read") from None
            finally:
                self.socket.settimeout(None)
            rest = rest[_PIECE:]

    def handle_one_request(self):
        result = super().handle_one_request()
        if isinstance(result, tuple):
            self._sendall(result[1])
        elif self.wsgi_input is None or self.wsgi_input.complete:
            return result
        self._leave()
        return None

    def _handle_client_error(self, error):
        from metamcp.web.errors import tell_unread  # noqa: PLC0415  after the worker has patched

        known = error if isinstance(error, MetaMCPError) else InvalidRequest("the request cannot be read")
        tell_unread(self.server.application, known, self.client_address[0] if self.client_address else "")
        return known.http_status, http_head.refusal(known)

    def _leave(self):
        """Close so that the client gets the answer although it still sends: a closed socket would have it lost."""
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)
            self.reader.allow(_LEAVE_SECONDS)
            while self.rfile.read1(_BUFFER):
                pass


class _Server(PyWSGIServer):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.waiting = set()
        self.draining = False
        self.addresses = Counter()

    def handle(self, sock, address):
        """One client must not have all connections of a worker. Behind proxies all have the proxy's address."""
        name = address[0] if address and not _settings.trusted_proxies else None
        if name and self.addresses[name] >= worker_connections * 3 // 4:
            with suppress(OSError), sock:
                sock.sendall(http_head.refusal(TooManyRequests("too many connections from one address")))
            return
        self.addresses[name] += 1
        try:
            super().handle(sock, address)
        finally:
            self.addresses[name] -= 1
            if not self.addresses[name]:
                del self.addresses[name]

    def close(self):
        """Called first when the worker ends: stop accepting, and hang up where nobody is being served."""
        super().close()
        self.draining = True
        for handler in tuple(self.waiting):
            with suppress(OSError):
                handler.socket.shutdown(socket.SHUT_RD)


class Worker(GeventPyWSGIWorker):
    server_class = _Server
    wsgi_handler = _Handler

    def handle_exit(self, sig, frame):
        """SIGTERM: long-lived streams end at once; calls in flight have ``graceful_timeout``."""
        import gevent  # noqa: PLC0415  after the worker has patched

        gevent.spawn(self._drain)
        super().handle_exit(sig, frame)

    def _drain(self):
        from metamcp.web.state import web_state  # noqa: PLC0415

        if app := getattr(self, "wsgi", None):  # told to end before it had loaded the application
            web_state(app).streams.drain()


worker_class = Worker


def on_starting(server):
    """Before the first worker: a broken configuration must not start anything."""
    server.keeper = None  # kept by gunicorn's master itself: a SIGHUP runs this file again
    if _settings.split:
        return
    if _settings.web_user:
        server.keeper = _distant_keeper(server.log)
        server.keeper.start()
        return
    if os.geteuid() == 0:
        server.log.warning("the web tier runs as root, as the supervisor does: set METAMCP_WEB_USER (docs/security.md)")
    try:
        load(_settings.config_dir)
    except ConfigInvalid as error:
        print(error.report(), file=sys.stderr)
        sys.exit(error.exit_status)
    server.keeper = Keeper(os.environ, server.log.warning)
    server.keeper.start()


def _distant_keeper(log):
    def lost():
        log.error("the keeper of the supervisor is gone; ending, to be started again")
        os.kill(os.getpid(), signal.SIGTERM)

    return DistantKeeper(int(os.environ[separation.SEPARATED]), lost)


def on_reload(server):
    """SIGHUP to the master is for the whole gateway: new workers, and the configuration read again."""
    if server.keeper is not None:
        server.keeper.reload()


def post_fork(server, worker):
    """A worker is not the keeper, and must not act as if it were."""
    if isinstance(server.keeper, DistantKeeper):
        server.keeper.forget()
    server.keeper = None
    signal.set_wakeup_fd(-1)


def on_exit(server):
    """After the last worker: the supervisor drains and ends its children."""
    if server.keeper is None:
        return
    server.keeper.stop()
    if server.keeper.lost:
        sys.exit(1)
