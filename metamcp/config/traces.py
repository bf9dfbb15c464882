"""Whether traces are wanted: the standard variables of OpenTelemetry say so, as far as the gateway understands them."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

TRACE_VARIABLES = (
    "OTEL_SDK_DISABLED",
    "OTEL_TRACES_EXPORTER",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
)
"""Those that the gateway reads itself; all others are for the library alone."""

EXPORTERS = ("otlp", "none")
_PROTOCOL = "http/protobuf"


def wanted(text: Callable[[str], str]) -> bool:
    """``text``: the value of a variable, "" when it is unset. Off unless somebody names a collector or the exporter."""
    if text("OTEL_SDK_DISABLED").lower() == "true" or text("OTEL_TRACES_EXPORTER") == "none":
        return False
    names = ("OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    return any(map(text, names))


def problem(name: str, value: str) -> str:
    """What is wrong with ``value`` of the variable ``name``; "" when it can be used."""
    if name == "OTEL_TRACES_EXPORTER" and value not in EXPORTERS:
        return f"must be {' or '.join(EXPORTERS)}"
    if name.endswith("_PROTOCOL") and value != _PROTOCOL:
        return f"must be {_PROTOCOL}: traces are sent over HTTP, usually to port 4318"
    if name.endswith("_ENDPOINT") and not _is_address(value):
        return "must be the address of a collector, such as http://127.0.0.1:4318"
    return ""


def _is_address(value: str) -> bool:
    try:
        parts = urlsplit(value)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
