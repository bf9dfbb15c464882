"""An engine on loopback that keeps what the real docker CLI asks it to create, and creates nothing."""

from __future__ import annotations

import http.server
import os
import re
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

_ATTEMPTS = 3
_GAVE_UP = re.compile(r"Cannot connect|error during connect|deadline exceeded|timeout", re.IGNORECASE)


class FakeEngine(http.server.ThreadingHTTPServer):
    """Answers a ping and refuses every creation, after it has kept the request: (path, body)."""

    def __init__(self, api_version: str) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.api_version = api_version
        self.created: list[tuple[str, bytes]] = []

    def asked_by(self, argv: list[str], env: Mapping[str, str] | None = None) -> list[tuple[str, bytes]]:
        """The requests to create a container that one run of the CLI makes, which has to reach this engine: it waits
        for no answer as long as a busy machine may take."""
        own = {"HOME": "/nonexistent", **(env or {})}
        own |= {"PATH": os.environ["PATH"], "DOCKER_HOST": f"tcp://127.0.0.1:{self.server_port}"}
        for _ in range(_ATTEMPTS):
            self.created.clear()
            self.said = subprocess.run(argv, env=own, capture_output=True, text=True, timeout=60).stderr
            if self.created or not _GAVE_UP.search(self.said):
                return list(self.created)
        raise AssertionError(f"the docker command does not reach its engine: {self.said}")


@contextmanager
def fake_engine(api_version: str = "1.41") -> Iterator[FakeEngine]:
    engine = FakeEngine(api_version)
    thread = threading.Thread(target=engine.serve_forever)
    thread.start()
    try:
        yield engine
    finally:
        engine.shutdown()
        thread.join(10)
        engine.server_close()


class _Answers(http.server.BaseHTTPRequestHandler):
    server: FakeEngine
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(200, b"")

    def do_GET(self) -> None:
        self._answer(200, b"OK")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.created.append((self.path, body))
        self._answer(400, b'{"message": "kept"}')

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Api-Version", self.server.api_version)
        self.send_header("Ostype", "linux")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass
