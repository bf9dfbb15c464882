"""What the supervisor counts. What it can see at any time is not counted, but read when somebody asks
(``gateway/gauges.py``)."""

from __future__ import annotations

from collections.abc import Iterable

from metamcp.telemetry import metrics
from metamcp.telemetry.metrics import EXIT_REASONS, LISTEN, Labels, Samples, kind_of
from metamcp.telemetry.series import Counter, Histogram, Spread

_UNASKED = frozenset(EXIT_REASONS) - {"stopped", "no-place"}


class Tally:
    """Owned by the reactor's thread. ``server`` and ``endpoint`` are names of the configuration, or empty."""

    def __init__(self) -> None:
        self._calls: dict[Labels, _Calls] = {}
        self._call_seconds = Histogram(metrics.CALL_SECONDS)
        self._answers: dict[tuple[str, str], Spread] = {}  # by server and method
        self._upstream_seconds = Histogram(metrics.UPSTREAM_SECONDS)
        self._starts = Counter(metrics.STARTS)
        self._restarts = Counter(metrics.RESTARTS)
        self._start_seconds = Histogram(metrics.START_SECONDS)
        self._exits = Counter(metrics.EXITS)
        self._refused = Counter(metrics.STARTS_REFUSED)
        self._middleware = Counter(metrics.MIDDLEWARE_FAILURES)
        self._orphans = Counter(metrics.ORPHANS)
        self._lost: set[str] = set()  # servers that an instance left unasked, and that none was started for since

    # --- calls -----------------------------------------------------------------------------------------

    def called(self, endpoint: str, server: str, kind: str, outcome: str, rule: str, seconds: float) -> None:
        """A request of a client has ended."""
        labels = (endpoint, server, kind, outcome, rule)
        calls = self._calls.get(labels)
        if calls is None:
            timed = not rule and kind != LISTEN
            calls = self._calls[labels] = _Calls(self._call_seconds.series(labels[:3]) if timed else None)
        calls.count += 1
        if calls.seconds is not None:
            calls.seconds.observe(seconds)

    def answered(self, server: str, method: str, seconds: float) -> None:
        """An instance has answered a request that was written to it so long ago. ``method``: one of the gateway's."""
        answers = self._answers.get((server, method))
        if answers is None:
            answers = self._answers[server, method] = self._upstream_seconds.series((server, kind_of(method)))
        answers.observe(seconds)

    # --- instances -------------------------------------------------------------------------------------

    def started(self, server: str) -> None:
        """An instance was asked for."""
        self._starts.add((server,))
        if server in self._lost:
            self._lost.remove(server)
            self._restarts.add((server,))

    def ready(self, server: str, seconds: float) -> None:
        """A cold start is over."""
        self._start_seconds.observe((server,), seconds)

    def ended(self, server: str, reason: str) -> None:
        """``reason``: one of EXIT_REASONS."""
        self._exits.add((server, reason))
        if reason in _UNASKED:
            self._lost.add(server)

    def start_refused(self, server: str, rule: str) -> None:
        self._refused.add((server, rule))

    def middleware_failed(self, namespace: str, middleware: str) -> None:
        self._middleware.add((namespace, middleware))

    def orphans_removed(self, count: int) -> None:
        self._orphans.add((), count)

    # --- all of it -------------------------------------------------------------------------------------

    def samples(self, servers: Iterable[str]) -> Samples:
        """``servers``: all that are configured now; what happens seldom is shown for each of them from the start."""
        for server in servers:
            self._starts.begin((server,))
            self._restarts.begin((server,))
            for reason in EXIT_REASONS:
                self._exits.begin((server, reason))
        self._orphans.begin(())
        counted = (
            self._call_seconds, self._upstream_seconds, self._starts, self._restarts, self._start_seconds, self._exits,
            self._refused, self._middleware, self._orphans,
        )  # fmt: skip
        found = {series.family.name: series.samples() for series in counted}
        found[metrics.CALLS.name] = [(labels, float(calls.count)) for labels, calls in self._calls.items()]
        return found


class _Calls:
    """What ends each call is one look into one dictionary. ``seconds``: None where they are not measured."""

    __slots__ = ("count", "seconds")

    def __init__(self, seconds: Spread | None) -> None:
        self.count = 0
        self.seconds = seconds
