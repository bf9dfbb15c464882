"""What sends traces, where they are wanted; nothing of the library is loaded where they are not."""

from __future__ import annotations

from importlib.util import find_spec

from metamcp import __version__
from metamcp.config.settings import Settings
from metamcp.errors import ConfigInvalid
from metamcp.telemetry.spans import Traces

LAST_SECONDS = 1.0
"""At the end of a process, for the spans that wait."""

_NEEDED = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http")


def require(settings: Settings) -> None:
    """Raises ConfigInvalid when traces are wanted, and the packages for them are absent."""
    if settings.traces and not all(map(_is_there, _NEEDED)):
        text = "traces are wanted, and their packages are absent: pip install -r requirements-otel.txt, or unset it"
        raise ConfigInvalid([("OTEL_…", text)])


def build_traces(settings: Settings, tier: str) -> Traces | None:
    """None when none are wanted. Raises as ``require``, and for a variable that the library refuses."""
    require(settings)
    if not settings.traces:
        return None
    from metamcp.telemetry.traces import OtlpTraces  # noqa: PLC0415  some 20 MiB, and its packages may be absent

    try:
        return OtlpTraces(tier, __version__)
    except ValueError as refused:
        raise ConfigInvalid([("OTEL_…", f"OpenTelemetry refuses a variable: {refused}")]) from refused


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False
