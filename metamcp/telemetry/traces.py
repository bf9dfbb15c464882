"""Spans go to an OpenTelemetry collector (OTLP over HTTP), in batches, by a thread of the library's own.

What it does where, and how often, say the ``OTEL_…`` variables, which the library reads itself. This file is loaded
only where traces are wanted: the packages of requirements-otel.txt may be absent.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Link, SpanKind, Status, StatusCode, get_current_span, set_span_in_context
from opentelemetry.trace import Span as LibrarySpan
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.re import parse_env_headers

from metamcp.telemetry import logs
from metamcp.telemetry.masking import mask_address
from metamcp.telemetry.spans import NOWHERE, Attributes, Carrier, Kind, Span

_BATCH = 64
"""Spans that are encoded at once: it takes 20 ms for the library's usual 512, and holds up a web worker for so long."""

_LONGEST = 256  # characters of a value
_REASON = 300  # of what the library says about a failure
_KINDS = {"server": SpanKind.SERVER, "internal": SpanKind.INTERNAL, "client": SpanKind.CLIENT}
_SECRET_VARIABLES = ("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS")

_propagator = TraceContextTextMapPropagator()
_log = logs.get("telemetry.traces")


class OtlpTraces:
    """``tier``: of the gateway, ``web`` or ``supervisor``. Raises ValueError for what the library refuses."""

    def __init__(self, tier: str, version: str) -> None:
        for name in _SECRET_VARIABLES:
            for value in parse_env_headers(os.environ.get(name, ""), liberal=True).values():
                logs.redact.add([value, *value.split()[1:]])  # of ``Bearer TOKEN``, too, what is secret
        self._heard = _Heard()
        try:
            self._provider = _provider(tier, version, self._heard)
        except ValueError:
            self._heard.close()
            raise
        self._tracer = self._provider.get_tracer("metamcp", version)
        self._heard.starting = False

    def begin(self, name: str, kind: Kind, parent: Carrier, attributes: Attributes, link: Carrier = NOWHERE) -> Span:
        linked = get_current_span(_context(link)).get_span_context()
        links = [Link(linked)] if linked.is_valid else []
        return self.start(name, kind, _context(parent), attributes, parent[2], links)

    def start(
        self, name: str, kind: Kind, context: Context, attributes: Attributes, baggage: str, links: Sequence[Link] = ()
    ) -> Span:
        span = self._tracer.start_span(_whole(name), context, _KINDS[kind], _all_whole(attributes), links)
        return _Span(self, span, baggage)

    def close(self, seconds: float) -> None:
        # The library's own bound is 30 s for a collector that hangs.
        closing = threading.Thread(target=self._provider.shutdown, name="traces-close", daemon=True)
        closing.start()
        closing.join(seconds)
        self._heard.close()


class _Span:
    def __init__(self, traces: OtlpTraces, span: LibrarySpan, baggage: str) -> None:
        self._traces = traces
        self._span = span
        self._baggage = baggage

    @property
    def carrier(self) -> Carrier:
        own = self._span.get_span_context()
        parent = f"00-{own.trace_id:032x}-{own.span_id:016x}-{int(own.trace_flags) & 0xFF:02x}"
        return parent, own.trace_state.to_header(), self._baggage

    def child(self, name: str, kind: Kind, attributes: Attributes) -> Span:
        return self._traces.start(name, kind, set_span_in_context(self._span, Context()), attributes, self._baggage)

    def set(self, attributes: Attributes) -> None:
        self._span.set_attributes(_all_whole(attributes))

    def end(self, failure: str = "", text: str = "") -> None:
        if failure:
            self._span.set_attribute("error.type", failure)
            self._span.set_status(Status(StatusCode.ERROR, _whole(logs.redact(text))[:_LONGEST] or None))
        self._span.end()


class _Heard(logging.Handler):
    """What the library says of its failures: it would say it for each batch, and not in our form. ``why`` is the first
    that the exporter has said since it was asked last: what follows only repeats that it gives up. ``starting``: what
    is said now is about a variable, and nobody would hear it otherwise."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.starting = True
        self._said = ""
        self._library = logging.getLogger("opentelemetry")
        self._before = (self._library.handlers[:], self._library.propagate)
        self._library.handlers[:], self._library.propagate = [self], False

    def emit(self, record: logging.LogRecord) -> None:
        text = mask_address(record.getMessage())[:_REASON]
        if self.starting:
            _log.warning("traces-setting", extra=logs.fields(reason=text))
        elif record.name.startswith("opentelemetry.exporter"):
            self._said = self._said or text

    def why(self) -> str | None:
        said, self._said = self._said, ""
        return said or None

    def close(self) -> None:
        self._library.handlers[:], self._library.propagate = self._before
        super().close()


class _Told(SpanExporter):
    """Says once that spans are lost, and once that they are not any more. On the thread of the processor alone."""

    def __init__(self, inner: SpanExporter, heard: _Heard) -> None:
        self._inner = inner
        self._heard = heard
        self._lost = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._inner.export(spans)
        reason = self._heard.why()
        if result is not SpanExportResult.SUCCESS:
            if not self._lost:
                _log.warning("traces-not-sent", extra=logs.fields(reason=reason))
            self._lost += len(spans)
        elif self._lost:
            _log.warning("traces-sent-again", extra=logs.fields(lost=self._lost))
            self._lost = 0
        return result

    def shutdown(self) -> None:
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._inner.force_flush(timeout_millis)


def _provider(tier: str, version: str, heard: _Heard) -> TracerProvider:
    limits = SpanLimits(max_attribute_length=_LONGEST)
    made = TracerProvider(resource=_resource(tier, version), shutdown_on_exit=False, span_limits=limits)
    exporter = _Told(OTLPSpanExporter(), heard)
    made.add_span_processor(BatchSpanProcessor(exporter, max_export_batch_size=_BATCH))
    return made


def _resource(tier: str, version: str) -> Resource:
    """The operator's ``OTEL_SERVICE_NAME`` and ``OTEL_RESOURCE_ATTRIBUTES`` count; a name there is in any case."""
    ours: dict[str, str | int] = {SERVICE_VERSION: version, "metamcp.tier": tier, "process.pid": os.getpid()}
    found = Resource.create(ours)
    named = not str(found.attributes.get(SERVICE_NAME, "unknown_service")).startswith("unknown_service")
    return found if named else found.merge(Resource({SERVICE_NAME: "metamcp"}))


def _all_whole(attributes: Attributes) -> Attributes:
    return {name: _whole(value) if isinstance(value, str) else value for name, value in attributes.items()}


def _whole(text: str) -> str:
    """Half a character, as a name of a tool may have one, cannot be sent, and would take its whole batch with it."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _context(carrier: Carrier) -> Context:
    return _propagator.extract({"traceparent": carrier[0], "tracestate": carrier[1]}, Context())
