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
from metamcp.runtime.child import Child, Exit, Grace
from metamcp.runtime.command.launch import LaunchPlan
from metamcp.runtime.places import Caps, Place
from metamcp.runtime.states import ChildState
from metamcp.runtime.supervisor import Supervisor

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
        self.removed: queue.Queue[str] = queue.Queue()
        self.ends: queue.Queue[Child] = queue.Queue()
        self.supervisor = Supervisor(
            self.reactor, self.starters, self.chores,
            lambda spec, session: self.launch(spec, session), self._remove, grace, self._elsewhere,
            STARTERS, Caps(),
        )
        self.reactor.start()

    def _elsewhere(self, spec: ServerSpec, session: str) -> Child:
        return Child(self.reactor, f"{spec.name} elsewhere", session, Grace(), lambda _child: None)

    def _remove(self, name: str) -> bool:
        self.removed.put(name)
        if self.engine_away:
            raise EngineUnavailable("no engine")
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


def test_the_container_of_a_killed_cli_is_removed_by_name(house: House) -> None:
    house.launch = lambda _spec, _session: container("echo up; exec cat")
    child = house.start()
    assert house.heard.get(timeout=SECONDS) == b"up\n"
    os.kill(child.pid or 0, signal.SIGKILL)
    assert house.removed.get(timeout=SECONDS) == "metamcp-git-1"


def test_a_container_that_ended_by_itself_is_left_to_the_engine(house: House) -> None:
    house.launch = lambda _spec, _session: container("exit 1")
    house.start()
    assert house.ends.get(timeout=SECONDS).exit == Exit(1, None, (), "")
    turn = threading.Event()
    house.chores.submit(turn.set)  # behind any removal
    assert turn.wait(SECONDS)
    assert house.removed.empty()


def test_an_engine_that_is_away_does_not_hinder_the_end() -> None:
    with closing(House(Grace(0.05, 0.05, 0.05))) as house:
        house.engine_away = True
        house.launch = lambda _spec, _session: container("trap '' TERM; echo up; while :; do sleep 0.01; done")
        child = house.start()
        assert house.heard.get(timeout=SECONDS) == b"up\n"
        house.do(child.stop)
        assert house.ends.get(timeout=SECONDS) is child
        assert house.removed.get(timeout=SECONDS) == "metamcp-git-1"
