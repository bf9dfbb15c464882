"""What only web workers know: requests and connections of HTTP, and the way to the supervisor.

Counted in memory that all workers of one gunicorn share (``shared_table.py``): any of them can tell the numbers of all,
and those of a worker that died stay, but for its connections.
"""

from __future__ import annotations

import os
from bisect import bisect_left

from metamcp.telemetry import metrics, processes
from metamcp.telemetry.metrics import OTHER, Labels, Samples, histogram, lone
from metamcp.telemetry.shared_table import SLOTS, SharedTable

UNREAD = "(unread)"
"""The route of a request that was refused before it was read."""

_ROUTES = {
    "streamable": "mcp", "sse": "sse", "sse.message": "message", "probe": "probe", "docker_test": "docker-test",
    "well_known": "well-known", "ops": "api", "orders": "api", "standing": "api", "administration": "api",
    "ops.health": "health", "ops.ready": "ready", "ops.metrics": "metrics", "console": "console", UNREAD: UNREAD,
}  # fmt: skip
"""By the name of a view (``streamable.post``), or of its blueprint."""

ROUTES = (*dict.fromkeys(_ROUTES.values()), OTHER)
_CLASSES = ("1xx", "2xx", "3xx", "4xx", "5xx")

RULES = (
    "unauthorized", "scope-lacking", "request-refused", "misdirected-request", "access-undecided", "supervisor-away",
    "rate", "bodies", "probes", "connections", "request-timeout", "too-large", "target-too-long", "headers-too-large",
    "invalid-request", OTHER,
)  # fmt: skip
"""Why the web tier refuses (``MetaMCPError.rule``)."""

_STATUSES = (400, 401, 403, 408, 413, 414, 421, 429, 431, 503, 0)  # 0: any other
_NANO = 1_000_000_000


class _Layout:
    """Which number is where."""

    def __init__(self) -> None:
        self.size = 0

    def take(self, numbers: int = 1) -> int:
        """The place of the first of them."""
        self.size += numbers
        return self.size - numbers


_layout = _Layout()
_REQUESTS = {route: _layout.take(len(_CLASSES)) for route in ROUTES}
_REFUSED = {(rule, status): _layout.take() for rule in RULES for status in _STATUSES}
_LOSSES = _layout.take()
_TRIPS = _layout.take(len(metrics.LINK_SECONDS.buckets) + 1)
_TRIPS_SUM = _layout.take()  # nanoseconds
_SERVED, _IDLE = _layout.take(), _layout.take()
_GAUGES = 2  # the last ones


def route_of(operation: str) -> str:
    """One of ROUTES. ``operation``: the name of the view; empty where there is none."""
    return _ROUTES.get(operation) or _ROUTES.get(operation.partition(".")[0], OTHER)


class Edge:
    """For one thread of each process at a time, or several under the interpreter's lock: an addition is not torn."""

    def __init__(self, slots: int = SLOTS) -> None:
        self._table = SharedTable(_layout.size, _GAUGES, slots)
        self._own: memoryview | None = None

    @property
    def _numbers(self) -> memoryview:
        if self._own is None:
            self._own = self._table.claim()
        return self._own

    def join(self) -> None:
        """This process is a web worker: it is told as one from now on."""
        self._own = self._table.claim()

    def forget(self) -> None:
        """In a process that was forked: the numbers are its parent's."""
        self._own = None

    def close(self) -> None:
        self._own = None
        self._table.close()

    # --- counting --------------------------------------------------------------------------------------

    def request(self, route: str, status: int) -> None:
        """A response has begun. ``route``: one of ROUTES."""
        self._numbers[_REQUESTS[route] + status // 100 - 1] += 1

    def refused(self, rule: str, status: int) -> None:
        rule = rule if rule in RULES else OTHER
        self._numbers[_REFUSED[rule, status if status in _STATUSES else 0]] += 1

    def connections(self, served: int, idle: int) -> None:
        """As many are open in this process now."""
        numbers = self._numbers
        numbers[_SERVED], numbers[_IDLE] = served, idle

    def link_lost(self) -> None:
        self._numbers[_LOSSES] += 1

    def round_trip(self, seconds: float) -> None:
        numbers = self._numbers
        numbers[_TRIPS + bisect_left(metrics.LINK_SECONDS.buckets, seconds)] += 1
        numbers[_TRIPS_SUM] += round(seconds * _NANO)

    # --- telling ---------------------------------------------------------------------------------------

    def samples(self) -> Samples:
        found = self._table.totals()
        trips = found[_TRIPS:_TRIPS_SUM]
        counted: Samples = {
            metrics.REQUESTS.name: [
                ((route, kind), float(found[first + at]))
                for route, first in _REQUESTS.items() for at, kind in enumerate(_CLASSES) if found[first + at]
            ],
            metrics.REFUSED.name: [
                ((rule, str(status or OTHER)), float(found[place]))
                for (rule, status), place in _REFUSED.items() if found[place]
            ],
            metrics.CONNECTIONS.name: [(("served",), float(found[_SERVED])), (("idle",), float(found[_IDLE]))],
            metrics.LINK_LOSSES.name: lone(found[_LOSSES]),
            metrics.LINK_SECONDS.name: lone(histogram(trips, found[_TRIPS_SUM] / _NANO)),
        }  # fmt: skip
        return counted | self._of_processes()

    def _of_processes(self) -> Samples:
        living = self._table.living()
        pids: dict[Labels, int] = {("web", str(slot)): pid for slot, pid in living.items()}
        if self._table.creator not in living.values():
            pids["master", ""] = self._table.creator
        return processes.samples(pids) | {metrics.WORKERS.name: lone(len(living))}


EDGE = Edge()
"""Of this process and those that it forks after it has loaded this module."""

os.register_at_fork(after_in_child=EDGE.forget)
