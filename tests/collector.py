"""An OpenTelemetry collector: takes spans over HTTP (OTLP, protobuf) and keeps them, or behaves as a test wants."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Sent

SECONDS = 20.0


@dataclass(frozen=True)
class Seen:
    """One span. Ids are as ``traceparent`` writes them; ``parent`` "" is none. ``failed``: its status is an error."""

    name: str
    kind: str  # server, internal, client
    trace: str
    span: str
    parent: str
    attributes: dict[str, Any]
    resource: dict[str, Any]
    links: tuple[str, ...]
    state: str
    failed: bool
    nanoseconds: int


class Collector:
    """``spans`` are all that came; ``status`` is what it answers. While it ``hangs`` it takes all and is silent."""

    def __init__(self) -> None:
        self.spans: list[Seen] = []
        self.status = 200
        self.requests = 0
        self.authorizations: set[str] = set()
        self.hangs = threading.Event()
        self._go_on = threading.Event()
        self._came = threading.Condition()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def wait(self, found: Callable[[list[Seen]], Any], what: str) -> Any:
        """What ``found`` makes of the spans, as soon as that is something."""
        with self._came:
            assert self._came.wait_for(lambda: found(self.spans), SECONDS), (what, self.spans)
            return found(self.spans)

    def asked(self, count: int = 1) -> None:
        """Until so many requests came."""
        with self._came:
            assert self._came.wait_for(lambda: self.requests >= count, SECONDS), "it was never asked"

    def go_on(self) -> None:
        """It hangs no more; what it has taken meanwhile stays without an answer."""
        self.hangs.clear()
        self._go_on.set()

    def close(self) -> None:
        self._go_on.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(SECONDS)

    def _take(self, body: bytes, authorization: str) -> int:
        """What it answers; 0: nothing."""
        with self._came:
            status = 0 if self.hangs.is_set() else self.status
            self.requests += 1
            self.authorizations.add(authorization)
            if status == 200:
                self.spans += _spans(body)
            self._came.notify_all()
        if not status:
            self._go_on.wait(SECONDS)
        return status

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                assert (self.path, self.headers["Content-Type"]) == ("/v1/traces", "application/x-protobuf")
                if status := collector._take(body, self.headers.get("Authorization", "")):
                    self.send_response(status)
                    self.send_header("Content-Length", "0")
                    self.end_headers()

            def log_message(self, *_: Any) -> None: ...

        return Handler


@contextmanager
def collector() -> Iterator[Collector]:
    made = Collector()
    try:
        yield made
    finally:
        made.close()


def _spans(body: bytes) -> list[Seen]:
    request = ExportTraceServiceRequest.FromString(body)
    return [
        _seen(span, _values(of_process.resource.attributes))
        for of_process in request.resource_spans
        for of_scope in of_process.scope_spans
        for span in of_scope.spans
    ]


def _seen(span: Sent, resource: dict[str, Any]) -> Seen:
    kind = Sent.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower()
    return Seen(
        span.name, kind, span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex(), _values(span.attributes),
        resource, tuple(link.span_id.hex() for link in span.links), span.trace_state, span.status.code == 2,
        span.end_time_unix_nano - span.start_time_unix_nano,
    )  # fmt: skip


def _values(attributes: Any) -> dict[str, Any]:
    return {item.key: getattr(item.value, item.value.WhichOneof("value")) for item in attributes}
