"""The web worker of gunicorn: pywsgi, which in our trials cost less CPU and had a far better 99th percentile than
gunicorn's own loop on gevent (docs/decisions.md).

What names gevent (this, ``http_server.py``, ``http_handler.py``, ``parking.py``, ``alarm.py``) is loaded by gunicorn
alone. Nothing of a worker may be imported here that has to be patched first.
"""

from __future__ import annotations

from typing import Any

from gunicorn.workers.ggevent import GeventPyWSGIWorker

from metamcp.web.http_handler import Handler
from metamcp.web.http_server import Edge, Server


def worker(edge: Edge) -> type[Worker]:
    """The class for gunicorn's ``worker_class``."""
    server = type("Server", (Server,), {"edge": edge, "running": []})
    return type("Worker", (Worker,), {"server_class": server})


_LAST_SECONDS = 1.0  # for the spans that wait


class Worker(GeventPyWSGIWorker):  # type: ignore[misc]  # likewise
    """``worker`` makes the class that is complete."""

    wsgi_handler = Handler
    _serving: Any = None  # the greenlet in ``run``

    def run(self) -> None:
        import gevent  # noqa: PLC0415  after the worker has patched

        self._serving = gevent.getcurrent()
        try:
            super().run()
        finally:
            self._serving = None
            self._send_last_spans()

    def _send_last_spans(self) -> None:
        from metamcp.web.state import web_state  # noqa: PLC0415  after the worker has patched

        app = getattr(self, "wsgi", None)
        if app is not None and (traces := web_state(app).traces) is not None:
            traces.close(_LAST_SECONDS)

    def handle_exit(self, sig: int, frame: Any) -> None:
        """SIGTERM: long-lived streams end at once; calls in flight have ``graceful_timeout``."""
        import gevent  # noqa: PLC0415  likewise

        gevent.spawn(self._drain)
        super().handle_exit(sig, frame)

    def _drain(self) -> None:
        """gunicorn's own loops would look once a second whether all is over; this one knows when it is."""
        import gevent  # noqa: PLC0415  likewise

        from metamcp.web.state import web_state  # noqa: PLC0415

        if app := getattr(self, "wsgi", None):  # told to end before it had loaded the application
            web_state(app).streams.drain()
        if not self.server_class.running:
            return
        for server in self.server_class.running:
            server.close()
        with gevent.Timeout(self.cfg.graceful_timeout, exception=False):
            for server in self.server_class.running:
                server.pool.join()
            gevent.get_hub().loop.run_callback(self._leave)

    def _leave(self) -> None:
        """In the hub, as gevent's own ``kill``."""
        if self._serving is not None:
            self._serving.throw(SystemExit)
