"""Embedded mode, for development: web tier and gateway in one process, on Flask's own server.

    python app.py

Needs no gunicorn and no second process; a debugger sees everything. Not for production: see wsgi.py.
"""

import os
import sys
import threading

from metamcp.config.settings import Settings
from metamcp.errors import ConfigInvalid
from metamcp.factory.core import build_core
from metamcp.factory.web import build_web
from metamcp.telemetry import logs

_STOP_SECONDS = 10.0


def main() -> int:
    """Serve until Ctrl-C. Returns the exit status."""
    try:
        settings = Settings.from_env(os.environ)
        logs.configure(settings.log_level, settings.log_format)
        core = build_core(settings)
    except ConfigInvalid as error:
        print(error.report(), file=sys.stderr)  # noqa: T201  a terminal is all there is yet
        return error.exit_status
    core.reactor.start()
    host, _, port = settings.bind.rpartition(":")
    try:
        build_web(settings, core.gateway()).run(host.strip("[]"), int(port), threaded=True)
    finally:
        stopped = threading.Event()
        core.reactor.call_soon(lambda: core.stop(stopped.set))
        stopped.wait(_STOP_SECONDS)
        core.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
