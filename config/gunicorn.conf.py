"""gunicorn: the web workers, and in all-in-one mode the supervisor process beside them.

With METAMCP_WEB_USER all of gunicorn runs as that user, and the supervisor is kept by a process that stays root
(metamcp/separation.py).
"""

import os
import signal
import sys

import metamcp.telemetry.edge
import metamcp.web.counters  # noqa: F401  both are loaded before workers are forked: they share their memory
from metamcp import separation
from metamcp.config.engine_address import locate
from metamcp.config.loader import load
from metamcp.config.settings import Settings
from metamcp.errors import ConfigInvalid
from metamcp.factory import tracing
from metamcp.keeper import DistantKeeper, Keeper
from metamcp.web.access_log import FORMAT, MaskingLogger
from metamcp.web.http_server import Edge
from metamcp.web.worker import worker

try:
    _settings = Settings.from_env(os.environ)
    tracing.require(_settings)
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
access_log_format = FORMAT
logger_class = MaskingLogger
worker_class = worker(
    Edge(
        client_seconds=_settings.client_seconds,
        idle_seconds=keepalive,
        most_of_one_address=None if _settings.trusted_proxies else worker_connections * 3 // 4,
    )
)


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
        locate(os.environ)
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
