"""The supervisor's part of ``/metrics``: what was counted, what can be seen, and what the kernel has to be asked."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from metamcp.concurrency.reactor import Reactor
from metamcp.concurrency.tasks import Workers
from metamcp.config.live import Live
from metamcp.gateway.audit import Write
from metamcp.gateway.gauges import Gauges
from metamcp.gateway.interface import Ask, Reply
from metamcp.gateway.operators import Body, answer, find_out
from metamcp.telemetry import metrics, processes
from metamcp.telemetry.audit_log import Entry
from metamcp.telemetry.metrics import OTHER, Labels, Samples, Value, kind_of, merged
from metamcp.telemetry.tally import Tally

Reading = Callable[[str], float | None]
"""Of a container, by its id."""


@dataclass(frozen=True, slots=True)
class _Container:
    labels: Labels
    id: str
    limit: int


@dataclass(frozen=True, slots=True)
class Measurement:
    """Answers the question ``metrics``. On the reactor's thread everything is read that it owns; files are read on a
    worker's: of some hundred containers they take as long as some thousand calls."""

    reactor: Reactor
    workers: Workers
    tally: Tally
    gauges: Gauges
    memory: Reading  # bytes
    cpu: Reading  # seconds

    def __call__(self, reply: Reply, _ask: Ask) -> None:
        seen = self.tally.samples(self.gauges.live.config.servers) | self.gauges.samples()
        containers = self._running()

        def find() -> Body:
            itself = processes.samples({("supervisor", ""): os.getpid()})
            found: dict[str, Any] = merged(seen, self._of(containers), itself)
            return (200, found)

        find_out(self.reactor, self.workers, find, lambda body: answer(reply, body))

    def _running(self) -> list[_Container]:
        return [
            _Container((child.server, child.plan.container_name), child.container_id, child.plan.memory)
            for child in self.gauges.supervisor.children
            if child.plan is not None and child.container_id and child.runs
        ]

    def _of(self, containers: list[_Container]) -> Samples:
        return {
            metrics.CONTAINER_MEMORY.name: _readings(containers, self.memory),
            metrics.CONTAINER_CPU.name: _readings(containers, self.cpu),
            metrics.CONTAINER_LIMIT.name: [(it.labels, float(it.limit)) for it in containers if it.limit],
        }


def _readings(containers: list[_Container], read: Reading) -> list[tuple[Labels, Value]]:
    found = ((it.labels, read(it.id)) for it in containers)
    return [(labels, float(value)) for labels, value in found if value is not None]


def counted(tally: Tally, live: Live, write: Write) -> Write:
    """``write``, for the lines of clients' requests, each of which is counted: the audit log knows best what became of
    them. On the reactor's thread."""

    def count(entry: Entry) -> None:
        if entry.event == "request":
            rule, endpoint = entry.rule, entry.endpoint
            if endpoint not in live.config.endpoints:
                endpoint = OTHER
            outcome = "refused" if rule else entry.result
            tally.called(endpoint, entry.server, kind_of(entry.method), outcome, rule, entry.seconds or 0.0)
        write(entry)

    return count
