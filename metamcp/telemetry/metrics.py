"""Every family of metrics that ``/metrics`` has, declared once (docs/metrics.md; Prometheus, Metric and label naming).

The values of labels are names of the configuration, or words of the gateway's own: whatever else a client writes counts
as ``(other)``, so that nobody outside can make the page grow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

OTHER = "(other)"

_FAST = (0.0001, 0.00025, 0.0005)
_USUAL = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class Family:
    """``buckets``: the upper bounds of a histogram, in seconds; the one of infinity is not among them."""

    name: str
    type: Literal["counter", "gauge", "histogram", "info"]
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


Labels = tuple[str, ...]
Value = float | list[float]
"""Of a histogram: how many were in each bucket, with the one of infinity, and their sum at last."""

Samples = dict[str, list[tuple[Labels, Value]]]
"""By the name of their family. The values of the labels are in the order of their names."""

# --- the supervisor: calls ---------------------------------------------------------------------------------

CALLS = Family(
    "metamcp_calls_total", "counter",
    "Requests of clients that have ended, but ping. rule: why it was refused; empty for every other outcome.",
    ("endpoint", "server", "kind", "outcome", "rule"),
)  # fmt: skip
CALL_SECONDS = Family(
    "metamcp_call_duration_seconds", "histogram",
    "From a request's arrival in the supervisor to its end; without those that were refused, and those that listen.",
    ("endpoint", "server", "kind"), (*_USUAL, 30.0, 60.0, 300.0),
)  # fmt: skip
UPSTREAM_SECONDS = Family(
    "metamcp_upstream_duration_seconds", "histogram",
    "From writing a request to an instance of the server to its answer.",
    ("server", "kind"), (*_FAST, *_USUAL, 30.0, 60.0, 300.0),
)  # fmt: skip
IN_FLIGHT = Family(
    "metamcp_calls_in_flight", "gauge", "Calls that wait for the server, or for its start.", ("server",)
)  # fmt: skip
SESSIONS = Family("metamcp_sessions", "gauge", "Sessions of clients.", ("endpoint", "transport"))
STREAMS = Family(
    "metamcp_streams", "gauge", "Standing streams of clients: HTTP+SSE, GET, and subscriptions/listen.",
    ("endpoint", "transport"),
)  # fmt: skip

# --- the supervisor: servers and their instances -----------------------------------------------------------

SERVER_STATE = Family("metamcp_server_state", "gauge", "1 for the state that the server is in.", ("server", "state"))
CHILDREN = Family("metamcp_children", "gauge", "Instances that have not ended.", ("server", "state"))
STARTS = Family(
    "metamcp_child_starts_total", "counter", "Instances that were asked for, also to ask the server what it has.",
    ("server",),
)  # fmt: skip
RESTARTS = Family(
    "metamcp_child_restarts_total", "counter", "Those of them that were the first after an end that nobody wanted.",
    ("server",),
)  # fmt: skip
START_SECONDS = Family(
    "metamcp_child_start_duration_seconds", "histogram",
    "A cold start: from the launch of an instance to its answer to initialize, or server/discover.",
    ("server",), (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0),
)  # fmt: skip
EXITS = Family("metamcp_child_exits_total", "counter", "Instances that ended, and why.", ("server", "reason"))
STARTS_REFUSED = Family(
    "metamcp_starts_refused_total", "counter", "Starts that allowlist or policy refused.", ("server", "rule")
)  # fmt: skip
MIDDLEWARE_FAILURES = Family(
    "metamcp_middleware_failures_total", "counter", "Hooks of middleware that failed, each with its call or list.",
    ("namespace", "middleware"),
)  # fmt: skip
ORPHANS = Family("metamcp_orphans_removed_total", "counter", "Containers that nobody living stood for, removed.")
CONTAINER_MEMORY = Family(
    "metamcp_container_memory_bytes", "gauge", "Memory of a running container without reclaimable cache.",
    ("server", "container"),
)  # fmt: skip
CONTAINER_LIMIT = Family(
    "metamcp_container_memory_limit_bytes", "gauge", "The limit of its memory.", ("server", "container")
)  # fmt: skip
CONTAINER_CPU = Family(
    "metamcp_container_cpu_seconds_total", "counter", "CPU time of a running container.", ("server", "container")
)  # fmt: skip

# --- the supervisor: itself --------------------------------------------------------------------------------

BUILD = Family(
    "metamcp_build_info", "info", "The gateway's version, and the Python that runs it.", ("version", "python")
)  # fmt: skip
STARTED = Family("metamcp_supervisor_start_time_seconds", "gauge", "When the supervisor started, in Unix seconds.")
LOADED = Family(
    "metamcp_configuration_loaded_timestamp_seconds", "gauge",
    "When the configuration in force was read, in Unix seconds.",
)  # fmt: skip
PROBLEMS = Family(
    "metamcp_configuration_problems", "gauge", "Mistakes of configuration files that came later and are not in force."
)  # fmt: skip
ENGINE = Family("metamcp_engine_connected", "gauge", "1 while the engine tells what happens to its containers.")
QUEUE = Family("metamcp_queue_length", "gauge", "What waits in a bounded queue of the supervisor.", ("queue",))
QUEUE_LIMIT = Family("metamcp_queue_limit", "gauge", "How much may wait there.", ("queue",))
QUEUE_BYTES = Family(
    "metamcp_queue_bytes", "gauge", "Bytes that wait for the reader who takes least, of all of its kind.", ("queue",)
)  # fmt: skip
QUEUE_BYTES_LIMIT = Family(
    "metamcp_queue_bytes_limit", "gauge", "Bytes that may wait there before the reader is given up.", ("queue",)
)  # fmt: skip
AUDIT_LOST = Family("metamcp_audit_lines_lost_total", "counter", "Lines of the audit log that could not be written.")
LINKS = Family("metamcp_link_connections", "gauge", "Web workers that are connected to the supervisor.")

# --- the web tier ------------------------------------------------------------------------------------------

SUPERVISOR_UP = Family(
    "metamcp_supervisor_up", "gauge", "1 when the supervisor answered; else all that it knows is absent."
)  # fmt: skip
WORKERS = Family("metamcp_web_workers", "gauge", "Web workers that live.")
REQUESTS = Family(
    "metamcp_http_requests_total", "counter", "Responses that were begun, by kind of route and class of status.",
    ("route", "status"),
)  # fmt: skip
REFUSED = Family(
    "metamcp_http_refused_total", "counter", "Requests and connections that the web tier itself refused.",
    ("rule", "status"),
)  # fmt: skip
CONNECTIONS = Family(
    "metamcp_http_connections", "gauge", "Open connections of clients; idle ones wait for a next request.", ("state",)
)  # fmt: skip
LINK_LOSSES = Family("metamcp_link_losses_total", "counter", "Times that a web worker lost the supervisor.")
LINK_SECONDS = Family(
    "metamcp_link_round_trip_seconds", "histogram",
    "From a web worker to the supervisor and back, tried once with each scrape.",
    (), (*_FAST, *_USUAL),
)  # fmt: skip

# --- every process -----------------------------------------------------------------------------------------

PROCESS_MEMORY = Family(
    "metamcp_process_resident_memory_bytes", "gauge", "Resident memory of a process of the gateway.",
    ("process", "worker"),
)  # fmt: skip
PROCESS_CPU = Family(
    "metamcp_process_cpu_seconds_total", "counter", "CPU time of a process of the gateway.", ("process", "worker")
)  # fmt: skip

FAMILIES: tuple[Family, ...] = tuple(value for value in tuple(globals().values()) if isinstance(value, Family))
"""In the order of this file."""

# --- words for labels --------------------------------------------------------------------------------------

_KINDS = {
    "tools/call": "tool", "prompts/get": "prompt", "resources/read": "resource", "completion/complete": "completion",
    "tools/list": "list", "prompts/list": "list", "resources/list": "list", "resources/templates/list": "list",
    "initialize": "opening", "server/discover": "opening",
    "resources/subscribe": "subscription", "resources/unsubscribe": "subscription", "subscriptions/listen": "listen",
}  # fmt: skip
LISTEN = "listen"
"""The kind that has no duration: its request lasts as long as its client likes."""

KINDS = (*dict.fromkeys(_KINDS.values()), OTHER)


def kind_of(method: str) -> str:
    return _KINDS.get(method, OTHER)


EXIT_REASONS = (
    "stopped", "exited", "failed", "signal", "oom", "killed", "engine", "misbehaved", "not-started", "refused",
    "no-place",
)  # fmt: skip
"""Why an instance ended (docs/metrics.md)."""


def merged(*parts: Samples) -> Samples:
    """All samples of all ``parts``."""
    found: Samples = {}
    for part in parts:
        for name, samples in part.items():
            found.setdefault(name, []).extend(samples)
    return found


def lone(value: Value) -> list[tuple[Labels, Value]]:
    """The one sample of a family without labels."""
    return [((), value)]


def histogram(counts: Sequence[int], total: float) -> Value:
    return [*counts, total]
