"""gunicorn: the web workers, and in all-in-one mode the supervisor process beside them.

With METAMCP_WEB_USER all of gunicorn runs as that user, and the supervisor is kept by a process that stays root
(metamcp/separation.py).

The only file that names gevent: workers of the pywsgi class, which in our trials cost less CPU and had a far
better 99th percentile than gunicorn's own loop on gevent (docs/decisions.md).
"""

import os
import signal
import socket
import sys
from contextlib import suppress

from gunicorn.glogging import Logger
from gunicorn.workers.ggevent import GeventPyWSGIWorker, PyWSGIHandler, PyWSGIServer

from metamcp import separation
from metamcp.config.loader import load
from metamcp.config.settings import Settings
from metamcp.errors import ConfigInvalid
from metamcp.keeper import DistantKeeper, Keeper
from metamcp.telemetry.masking import MASK, SECRET_HEADERS, mask_address, mask_query

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


class _Handler(PyWSGIHandler):
    """Knows whether it waits for a next request: such a connection must not hold up the end of its worker."""

    def log_error(self, msg, *args):
        """About a request that is none, and its first line with it."""
        super().log_error("%s", mask_address(msg % args if args else msg))

    def read_requestline(self):
        self.server.waiting.add(self)
        try:
            return "" if self.server.draining else super().read_requestline()
        finally:
            self.server.waiting.discard(self)


class _Server(PyWSGIServer):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.waiting = set()
        self.draining = False

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
