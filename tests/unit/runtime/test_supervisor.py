"""How many starts run at once, how all children end, and how a start that fails is told."""

from __future__ import annotations

import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from metamcp.concurrency.reactor import Reactor
from metamcp.concurrency.tasks import Workers
from metamcp.config.model import ServerSpec
from metamcp.errors import AtCapacity, EngineUnavailable, MetaMCPError, RefusedByPolicy, ServerUnavailable
from metamcp.runtime import starts
from metamcp.runtime import supervisor as supervisor_module
from metamcp.runtime.child import Child, Exit, Grace
from metamcp.runtime.command.launch import LaunchPlan
from metamcp.runtime.facts import ContainerFacts, EngineEvent
from metamcp.runtime.inquest import Inquest
from metamcp.runtime.places import Caps, Place
from metamcp.runtime.process.os_process import CommandLine
from metamcp.runtime.states import ChildState
from metamcp.runtime.supervisor import Supervisor
from metamcp.runtime.teardown import Teardown

SECONDS = 10.0
STARTERS = 3
MOST = 1000
PATH = {"PATH": os.environ["PATH"]}
CAT = LaunchPlan(("cat",), PATH, "", "", {}, ())
SPEC = ServerSpec("git", command="cat")


def container(script: str) -> LaunchPlan:
    """A shell script in the part of the docker CLI."""
    return LaunchPlan(("sh", "-c", script), PATH, "image", "metamcp-git-1", {}, ())


class House:
    """A real supervisor on a real reactor. ``launch`` may be exchanged; ``ends`` gets every child at its end, and
    ``heard`` what they write."""

    def __init__(self, grace: Grace) -> None:
        self.reactor = Reactor()
        self.starters, self.chores = Workers("starter", STARTERS, 16), Workers("chore", 1)
        self.launch: Callable[[ServerSpec, str], LaunchPlan] = lambda _spec, _session: CAT
        self.heard: queue.Queue[bytes] = queue.Queue()
        self.engine_away = False
        self.held: set[str] = set()  # the containers that the engine has
        self.late: set[str] = set()  # those that it has once it was asked for them
        self.removed: queue.Queue[str] = queue.Queue()
        self.verified: queue.Queue[str] = queue.Queue()
        self.ends: queue.Queue[Child] = queue.Queue()
        self.teardown = Teardown(self.reactor, self.chores, self)
        self.inquest = Inquest(self.reactor, self.chores, lambda: None)
        self.supervisor = Supervisor(
            self.reactor, self.starters, lambda spec, session: self.launch(spec, session), CommandLine(), self.teardown,
            self.inquest, grace, self._elsewhere, STARTERS, Caps(),
        )  # fmt: skip
        self.reactor.start()

    def _elsewhere(self, spec: ServerSpec, session: str) -> Child:
        return Child(self.reactor, f"{spec.name} elsewhere", session, Grace(), lambda _child: None)

    def inspect(self, container_id: str) -> dict[str, Any] | None:
        """The engine's, as ``remove``."""
        self.verified.put(container_id)
        if self.engine_away:
            raise EngineUnavailable("no engine")
        if container_id in self.late:
            self.late.discard(container_id)
            self.held.add(container_id)
            return None
        return {} if container_id in self.held else None

    def remove(self, container_id: str) -> bool:
        self.removed.put(container_id)
        self.held.discard(container_id)
        return True

    def do(self, call: Callable[[], Any]) -> Any:
        """Run ``call`` on the reactor's thread; its MetaMCPError is the caller's."""
        done: queue.Queue[Any] = queue.Queue()

        def run() -> None:
            try:
                done.put(call())
            except MetaMCPError as error:
                done.put(error)

        self.reactor.call_soon(run)
        outcome = done.get(timeout=SECONDS)
        if isinstance(outcome, MetaMCPError):
            raise outcome
        return outcome

    def start(self, session: str = "", spec: ServerSpec = SPEC) -> Child:
        def begin() -> Child:
            child = self.supervisor.start(spec, session, Place(spec.name, MOST))

            def ended(_exit: Exit) -> None:
                self.supervisor.gone(child)
                self.ends.put(child)

            child.on_exit = ended
            child.on_data = self.heard.put
            return child

        started: Child = self.do(begin)
        return started

    def stop_all(self) -> threading.Event:
        empty = threading.Event()
        self.do(lambda: self.supervisor.stop_all("the end", empty.set))
        return empty

    def close(self) -> None:
        assert self.stop_all().wait(SECONDS)
        self.starters.close()
        self.chores.close()
        self.reactor.close()


@pytest.fixture
def house() -> Iterator[House]:
    with closing(House(Grace(SECONDS, SECONDS, SECONDS))) as built:
        yield built


def alive(child: Child) -> bool:
    if child.pid is None:
        return False
    try:
        os.kill(child.pid, 0)
    except ProcessLookupError:
        return False
    return True


# --- starting ----------------------------------------------------------------------------------------------


def test_no_more_starts_run_at_once_than_there_are_starters(house: House) -> None:
    begun: queue.Queue[str] = queue.Queue()
    go_on = threading.Semaphore(0)

    def launch(_spec: ServerSpec, session: str) -> LaunchPlan:
        begun.put(session)
        assert go_on.acquire(timeout=SECONDS)
        return CAT

    house.launch = launch
    children = [house.start(str(number)) for number in range(STARTERS * 2)]
    assert [begun.get(timeout=SECONDS) for _ in range(STARTERS)] == ["0", "1", "2"]
    assert begun.empty() and house.supervisor.free_starts == 0
    go_on.release(STARTERS * 2)
    house.do(lambda: children[0].become(ChildState.READY))
    assert begun.get(timeout=SECONDS) == "3"
    assert begun.empty()  # the others have been launched, but their servers have not answered


def test_start_is_refused_when_too_many_wait(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starts, "MOST_WAITING", 5)
    for _ in range(STARTERS + 5):
        house.start()
    with pytest.raises(AtCapacity, match="too many servers are starting"):
        house.start()
    assert len(house.supervisor.children) == STARTERS + 5


def test_a_child_that_is_stopped_while_it_waits_for_its_turn_is_never_launched(house: House) -> None:
    launched: queue.Queue[str] = queue.Queue()

    def launch(_spec: ServerSpec, session: str) -> LaunchPlan:
        launched.put(session)
        return CAT

    house.launch = launch
    first = [house.start("first") for _ in range(STARTERS)]
    waiting = house.start("waiting")
    house.do(lambda: waiting.stop("nobody wants it"))
    assert house.ends.get(timeout=SECONDS) is waiting
    assert waiting.exit is not None and waiting.exit.reason == "nobody wants it" and waiting.pid is None
    house.do(lambda: first[0].become(ChildState.READY))
    house.start("last")
    assert [launched.get(timeout=SECONDS) for _ in range(STARTERS + 1)] == ["first"] * STARTERS + ["last"]


def test_a_launcher_that_refuses_shows_as_the_childs_error(house: House) -> None:
    refusal = RefusedByPolicy("the image is not allowed", server="git", rule="image-not-allowed")

    def launch(_spec: ServerSpec, _session: str) -> LaunchPlan:
        raise refusal

    house.launch = launch
    house.start()
    child = house.ends.get(timeout=SECONDS)
    assert child.error is refusal
    assert child.exit == Exit(None, None, (), "the image is not allowed")
    assert house.supervisor.children == ()


@pytest.mark.parametrize("argv", [("/no/such/program",), ("cat", "nul\0byte"), ("cat", "\ud800")])
def test_a_command_that_cannot_be_executed_shows_as_the_childs_error(house: House, argv: tuple[str, ...]) -> None:
    house.launch = lambda _spec, _session: LaunchPlan(argv, {}, "", "", {}, ())
    house.start()
    child = house.ends.get(timeout=SECONDS)
    assert isinstance(child.error, ServerUnavailable)
    assert child.error.data["server"] == "git"
    assert child.state is ChildState.EXITED


def test_a_started_child_is_listed_until_it_ends(house: House) -> None:
    child = house.start("session-1")
    assert house.supervisor.children == (child,)
    house.do(lambda: child.stop("done"))
    assert house.ends.get(timeout=SECONDS) is child
    assert house.supervisor.children == ()
    assert not alive(child)


def test_a_server_with_a_url_is_not_launched_but_listed_like_any_other(house: House) -> None:
    def launch(_spec: ServerSpec, _session: str) -> LaunchPlan:
        raise AssertionError("a command was looked for")

    house.launch = launch
    child = house.start("session-1", ServerSpec("git", transport="sse", url="https://mcp.example.com/sse"))
    assert (child.server, child.session) == ("git elsewhere", "session-1")
    assert house.supervisor.children == (child,)
    house.do(lambda: child.fail(ServerUnavailable("over")))
    assert house.ends.get(timeout=SECONDS) is child
    assert house.supervisor.children == ()


# --- ending ------------------------------------------------------------------------------------------------


def test_stop_all_ends_every_child_and_then_calls_back(house: House) -> None:
    children = [house.start() for _ in range(4)]
    assert house.stop_all().wait(SECONDS)
    assert {house.ends.get(timeout=SECONDS) for _ in children} == set(children)
    assert [child.exit.reason for child in children if child.exit] == ["the end"] * 4
    assert not any(alive(child) for child in children)


def test_stop_all_without_children_calls_back_at_once(house: House) -> None:
    assert house.stop_all().is_set()


def test_nothing_starts_after_stop_all(house: House) -> None:
    house.stop_all()
    with pytest.raises(AtCapacity):
        house.start()
    assert house.supervisor.children == ()


def test_stop_all_waits_for_a_start_that_is_under_way(house: House) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def launch(_spec: ServerSpec, _session: str) -> LaunchPlan:
        begun.set()
        assert go_on.wait(SECONDS)
        return CAT

    house.launch = launch
    child = house.start()
    assert begun.wait(SECONDS)
    empty = house.stop_all()
    assert not empty.is_set()
    go_on.set()
    assert empty.wait(SECONDS)
    assert child.exit is not None and not alive(child)


# --- containers --------------------------------------------------------------------------------------------


NAME = "metamcp-git-1"


def happened(action: str, exit_code: int | None = None) -> EngineEvent:
    return EngineEvent("container", "f00d" * 16, NAME, action, exit_code, None, {}, 1.0)


def test_the_container_of_a_killed_cli_is_removed_by_name(house: House) -> None:
    house.held.add(NAME)
    house.launch = lambda _spec, _session: container("echo up; exec cat")
    child = house.start()
    assert house.heard.get(timeout=SECONDS) == b"up\n"
    os.kill(child.pid or 0, signal.SIGKILL)
    assert house.removed.get(timeout=SECONDS) == NAME


def test_a_container_that_a_killed_cli_had_still_asked_for_is_looked_for_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor_module, "_LATE_SECONDS", 0.05)
    house.late.add(NAME)
    house.launch = lambda _spec, _session: container("echo up; exec cat")
    child = house.start()
    assert house.heard.get(timeout=SECONDS) == b"up\n"
    os.kill(child.pid or 0, signal.SIGKILL)
    assert house.removed.get(timeout=SECONDS) == NAME


@pytest.mark.parametrize("script", ["exit 0", "exit 1", "exit 137"])
def test_every_end_of_a_container_is_verified_and_what_is_gone_is_not_removed(house: House, script: str) -> None:
    house.launch = lambda _spec, _session: container(script)
    house.start()
    assert house.verified.get(timeout=SECONDS) == NAME
    assert house.ends.get(timeout=SECONDS).exit is not None
    assert house.stop_all().wait(SECONDS)
    assert house.removed.empty()


def test_the_end_of_all_waits_until_the_last_container_is_verified(house: House) -> None:
    go_on, asked = threading.Event(), threading.Event()

    def slow() -> None:
        asked.set()
        assert go_on.wait(SECONDS)

    house.held.add(NAME)
    house.launch = lambda _spec, _session: container("exec cat")
    house.start()
    house.chores.submit(slow)  # the one worker is busy
    assert asked.wait(SECONDS)
    empty = house.stop_all()
    house.ends.get(timeout=SECONDS)
    assert not empty.is_set()
    go_on.set()
    assert empty.wait(SECONDS)
    assert house.held == set()


def test_a_name_is_known_before_the_process_exists_and_until_its_container_is_verified(house: House) -> None:
    seen: queue.Queue[frozenset[str]] = queue.Queue()
    house.launch = lambda _spec, _session: container("echo up; exec cat")
    child = house.start()
    assert house.heard.get(timeout=SECONDS) == b"up\n"
    seen.put(house.do(lambda: house.supervisor.containers))
    assert seen.get(timeout=SECONDS) == {NAME}
    house.do(child.stop)
    house.ends.get(timeout=SECONDS)
    house.verified.get(timeout=SECONDS)
    assert house.stop_all().wait(SECONDS)
    assert house.do(lambda: house.supervisor.containers) == frozenset()


def test_the_engine_tells_the_id_of_a_container_by_its_event_or_in_a_list(house: House) -> None:
    house.launch = lambda _spec, _session: container("echo up; exec cat")
    child = house.start()
    assert house.heard.get(timeout=SECONDS) == b"up\n"
    assert child.container_id == ""
    house.do(lambda: house.supervisor.hear(happened("create")))
    assert child.container_id == "f00d" * 16
    house.do(lambda: house.supervisor.see(ContainerFacts("beef" * 16, NAME, {}, "running", "image", 0.0)))
    assert child.container_id == "beef" * 16


def test_a_death_of_memory_is_told_although_the_cli_ends_before_the_engine_speaks(house: House) -> None:
    house.inquest.watching = True
    house.launch = lambda _spec, _session: container("echo up; read x; exit 137")
    child = house.start()
    assert house.heard.get(timeout=SECONDS) == b"up\n"
    house.do(lambda: child.write(b"go\n"))
    ended = threading.Event()

    def look() -> None:
        if child.state is ChildState.STOPPING:
            ended.set()
        else:
            house.reactor.call_later(0.01, look)

    house.do(look)
    assert ended.wait(SECONDS) and child.exit is None
    house.do(lambda: (house.supervisor.hear(happened("oom")), house.supervisor.hear(happened("die", 137))))
    assert house.ends.get(timeout=SECONDS) is child
    assert child.exit is not None and child.exit.oom_killed and child.exit.code == 137


def test_an_engine_that_is_away_does_not_hinder_the_end_and_is_asked_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with closing(House(Grace(0.05, 0.05, 0.05))) as house:
        house.engine_away = True
        house.held.add(NAME)
        house.launch = lambda _spec, _session: container("trap '' TERM; echo up; while :; do sleep 0.01; done")
        child = house.start()
        assert house.heard.get(timeout=SECONDS) == b"up\n"
        house.do(child.stop)
        assert house.ends.get(timeout=SECONDS) is child
        assert house.stop_all().wait(SECONDS)
        house.engine_away = False
        house.do(house.teardown.retry)
        assert house.removed.get(timeout=SECONDS) == NAME
    assert "container-not-verified" not in [record.message for record in caplog.records]
