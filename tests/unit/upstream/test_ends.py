"""Each end of an instance is counted by the word for it, and with each its start."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fake_upstream import HELLO, FakeChild, FakeReactor, FakeSupervisor, Hears, Outcome

from metamcp.config.model import ServerSpec
from metamcp.errors import AtCapacity, RefusedByPolicy, ServerUnavailable
from metamcp.runtime.child import Exit
from metamcp.runtime.inquest import CONNECTION_CUT, ENGINE_WENT, KILLED
from metamcp.runtime.states import ChildState
from metamcp.telemetry import metrics
from metamcp.telemetry.metrics import EXIT_REASONS, Family
from metamcp.telemetry.tally import Tally
from metamcp.upstream.connection import UpstreamCall, UpstreamConnection
from metamcp.upstream.opening import handshake
from metamcp.upstream.pool import UpstreamPool

SPEC = ServerSpec("git")


class House:
    def __init__(self) -> None:
        self.reactor = FakeReactor()
        self.tally = Tally()
        self.supervisor = FakeSupervisor(self.reactor)
        self.pool = UpstreamPool(
            self.reactor, {"git": SPEC}, self.supervisor, lambda: 0.5, self.tally  # type: ignore[arg-type]
        )

    def starting(self) -> tuple[UpstreamConnection, FakeChild]:
        connection = self.pool.lease(SPEC, "s", handshake(HELLO), Hears())
        return connection, self.supervisor.started[-1]

    def ready(self) -> tuple[UpstreamConnection, FakeChild]:
        connection, child = self.starting()
        child.initialized()
        return connection, child

    def told(self, family: Family) -> dict[tuple[str, ...], Any]:
        return dict(self.tally.samples(["git"])[family.name])


def ended(child: FakeChild, ended: Exit) -> None:
    """As the inquest explains it."""
    child.exit = ended
    child.become(ChildState.EXITED)
    child.on_exit(ended)


def stopped(house: House) -> None:
    connection, child = house.ready()
    connection.close("idle for 100 s")
    child.die(143)


def silent(house: House) -> None:
    _, child = house.ready()
    child.stop("it did not answer ping within 10 s")
    child.die(0)


ENDS: list[tuple[str, Callable[[House], None]]] = [
    ("stopped", stopped),
    ("exited", lambda house: house.ready()[1].die(0)),
    ("failed", lambda house: house.ready()[1].die(3)),
    ("signal", lambda house: house.ready()[1].die(None, "SIGSEGV")),
    ("oom", lambda house: house.ready()[1].die(137, oom_killed=True)),
    ("oom", lambda house: house.starting()[1].die(137, oom_killed=True)),
    ("killed", lambda house: ended(house.ready()[1], Exit(137, "SIGKILL", (), f"{KILLED} SIGKILL (docker kill)"))),
    ("engine", lambda house: ended(house.ready()[1], Exit(125, None, (), ENGINE_WENT))),
    ("engine", lambda house: ended(house.ready()[1], Exit(125, None, (), CONNECTION_CUT))),
    ("misbehaved", silent),
    ("not-started", lambda house: house.starting()[1].die(1)),
    ("not-started", lambda house: house.starting()[1].fail(ServerUnavailable("cannot start"))),
    ("refused", lambda house: house.starting()[1].fail(RefusedByPolicy("no", rule="image-allowlist"))),
    ("no-place", lambda house: house.starting()[1].fail(AtCapacity("too many"))),
]


@pytest.mark.parametrize(("reason", "end"), ENDS, ids=[f"{number}-{reason}" for number, (reason, _) in enumerate(ENDS)])
def test_an_end_is_counted_once_by_its_reason(reason: str, end: Callable[[House], None]) -> None:
    house = House()
    end(house)
    assert {labels[1]: count for labels, count in house.told(metrics.EXITS).items() if count} == {reason: 1}
    assert house.told(metrics.STARTS) == {("git",): 1}


def test_every_reason_can_happen() -> None:
    assert {reason for reason, _ in ENDS} == set(EXIT_REASONS)


def test_a_cold_start_is_measured_from_the_launch_to_the_answer() -> None:
    house = House()
    _, child = house.starting()
    house.reactor.advance(0.3)
    child.initialized()
    *counts, total = house.told(metrics.START_SECONDS)["git",]
    assert sum(counts) == 1 and total == pytest.approx(0.3)


def test_an_answer_is_measured_from_the_write_and_not_from_the_wait_for_a_start() -> None:
    house = House()
    connection, child = house.starting()
    connection.call(UpstreamCall("tools/call", {}, Outcome()))
    house.reactor.advance(2)
    child.initialized()
    house.reactor.advance(0.2)
    child.result(child.sent("tools/call")[0]["id"], {})
    connection.call(UpstreamCall("tools/call", {}, Outcome()))
    house.reactor.advance(0.4)
    child.say({"jsonrpc": "2.0", "id": child.sent("tools/call")[1]["id"], "error": {"code": 1, "message": "no"}})
    *counts, total = house.told(metrics.UPSTREAM_SECONDS)["git", "tool"]
    assert sum(counts) == 2 and total == pytest.approx(0.6)
    assert list(house.told(metrics.UPSTREAM_SECONDS)) == [("git", "tool")]
