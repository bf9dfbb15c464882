"""One real process each: how it is fed, heard, stopped, and how its end is told."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from metamcp.concurrency.reactor import Reactor
from metamcp.errors import ServerUnavailable
from metamcp.runtime import child as child_module
from metamcp.runtime.child import Child, Exit, Grace
from metamcp.runtime.command.launch import LaunchPlan
from metamcp.runtime.process.os_process import OsProcess
from metamcp.runtime.states import ChildState

SERVER = Path(__file__).parents[2] / "servers" / "misbehaving.py"
SECONDS = 10.0
PATIENT = Grace(SECONDS, SECONDS, SECONDS)  # a rung that a test must not reach
QUICK = Grace(0.05, 0.05, 0.05)
INITIALIZE = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-11-25"}}


class Watched:
    """A child on a reactor of its own, and everything that it told, in order: chunks, then its Exit."""

    def __init__(self, reactor: Reactor, grace: Grace, remove: Callable[[Child], None]) -> None:
        self.reactor = reactor
        self.child = Child(reactor, "git", "", grace, remove)
        self.told: queue.Queue[bytes | Exit] = queue.Queue()
        self.child.on_data = self.told.put
        self.child.on_exit = self.told.put
        self.heard: list[bytes] = []

    def adopt(self, *argv: str, container: str = "") -> None:
        process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            bufsize=0, start_new_session=True,
        )
        plan = LaunchPlan(argv, {}, "", container, {}, ())
        self.do(lambda: self.child.adopt(plan, OsProcess(process)))

    def do(self, call: Callable[[], Any]) -> Any:
        """Run ``call`` on the reactor's thread."""
        done: queue.Queue[Any] = queue.Queue()
        self.reactor.call_soon(lambda: done.put(call()))
        return done.get(timeout=SECONDS)

    def hear(self, wanted: bytes) -> None:
        """Wait until the server has said ``wanted``."""
        while wanted not in b"".join(self.heard):
            chunk = self.told.get(timeout=SECONDS)
            assert isinstance(chunk, bytes), chunk
            self.heard.append(chunk)

    def end(self) -> Exit:
        while isinstance(told := self.told.get(timeout=SECONDS), bytes):
            self.heard.append(told)
        return told

    def start_server(self, *mode: str, container: str = "") -> None:
        """A server that is past its start, so its signal handlers stand."""
        self.adopt(sys.executable, str(SERVER), *mode, container=container)
        self.do(lambda: self.child.write(json.dumps(INITIALIZE).encode() + b"\n"))
        self.hear(b'"serverInfo"')


@pytest.fixture
def watch() -> Iterator[Callable[..., Watched]]:
    reactor = Reactor()
    reactor.start()
    born: list[Watched] = []

    def make(grace: Grace = PATIENT, remove: Callable[[Child], None] = lambda _child: None) -> Watched:
        born.append(Watched(reactor, grace, remove))
        return born[-1]

    yield make
    for watched in born:
        if watched.child.pid is not None and watched.child.state is not ChildState.EXITED:
            os.killpg(watched.child.pid, signal.SIGKILL)
            watched.end()
    reactor.close()


Watch = Callable[..., Watched]


# --- the stop ladder ---------------------------------------------------------------------------------------


def test_a_good_server_ends_at_end_of_input_without_a_signal(watch: Watch) -> None:
    watched = watch(PATIENT)
    watched.start_server("good")
    watched.do(lambda: watched.child.stop("idle"))
    assert (ended := watched.end()).code == 0 and ended.signal is None
    assert ended.reason == ended.describe() == "idle"


def test_a_server_that_ignores_end_of_input_gets_sigterm(watch: Watch) -> None:
    watched = watch(Grace(0.05, SECONDS, SECONDS))
    watched.start_server("ignores-eof")
    watched.do(lambda: watched.child.stop())
    assert watched.end().signal == "SIGTERM"


def test_a_server_that_ignores_sigterm_too_is_killed(watch: Watch) -> None:
    watched = watch(QUICK)
    watched.start_server("ignores-eof-and-term")
    watched.do(lambda: watched.child.stop())
    ended = watched.end()
    assert (ended.code, ended.signal) == (None, "SIGKILL")


def test_a_stubborn_container_is_removed_by_the_engine_and_not_killed_first(watch: Watch) -> None:
    # A stand-in for the CLI: it ignores SIGTERM like its container, and ends with 137 once that was removed.
    removed: list[Child] = []

    def remove(child: Child) -> None:
        removed.append(child)
        os.killpg(child.pid or 0, signal.SIGUSR1)

    watched = watch(Grace(0.05, 0.05, SECONDS), remove)
    script = "trap '' TERM; trap 'exit 137' USR1; echo up; while :; do sleep 0.01; done"
    watched.adopt("sh", "-c", script, container="c")
    watched.hear(b"up\n")
    watched.do(lambda: watched.child.stop())
    ended = watched.end()
    assert (ended.code, ended.signal) == (137, "SIGKILL")
    assert removed == [watched.child]


def test_a_cli_that_survives_the_removal_of_its_container_is_killed(watch: Watch) -> None:
    watched = watch(QUICK)
    watched.start_server("ignores-eof-and-term", container="c")
    watched.do(lambda: watched.child.stop())
    assert watched.end().signal == "SIGKILL"


def test_the_first_reason_for_a_stop_stays(watch: Watch) -> None:
    watched = watch()
    watched.start_server("good")
    watched.do(lambda: (watched.child.stop("first"), watched.child.stop("second")))
    assert watched.end().reason == "first"


def test_a_child_stopped_before_its_process_exists_ends_as_soon_as_it_does(watch: Watch) -> None:
    watched = watch()
    watched.do(lambda: watched.child.stop("its session ended"))
    watched.adopt("cat")
    assert watched.end() == Exit(0, None, (), "its session ended")


# --- input and output --------------------------------------------------------------------------------------


def test_bytes_written_before_the_process_exists_arrive_first_and_in_order(watch: Watch) -> None:
    watched = watch()
    watched.do(lambda: (watched.child.write(b"one "), watched.child.write(b"two ")))
    watched.adopt("cat")
    watched.do(lambda: watched.child.write(b"three"))
    watched.hear(b"one two three")


def test_bytes_written_to_a_stopping_child_are_dropped(watch: Watch) -> None:
    watched = watch()
    watched.adopt("cat")
    watched.do(lambda: (watched.child.stop(), watched.child.write(b"late")))
    watched.end()
    assert watched.heard == []


def test_exit_is_told_once_and_after_the_last_chunk(watch: Watch) -> None:
    size = 3_000_000
    watched = watch()
    watched.adopt(sys.executable, "-c", f"import os; n = {size}\nwhile n: n -= os.write(1, b'x' * n)\nos._exit(7)")
    ended = watched.end()
    assert ended.code == 7
    assert sum(map(len, watched.heard)) == size
    watched.do(lambda: watched.child.stop())  # a turn later nothing more was told
    assert watched.told.empty()


def test_exit_is_told_although_a_grandchild_holds_the_pipes_open(watch: Watch) -> None:
    watched = watch()
    watched.adopt("sh", "-c", "sleep 30 & echo $!")
    ended = watched.end()
    os.kill(int(b"".join(watched.heard)), signal.SIGKILL)
    assert (ended.code, watched.child.state) == (0, ChildState.EXITED)


def test_a_server_that_never_reads_is_given_up(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_module, "STDIN_LIMIT", 100_000)
    watched = watch(QUICK)
    watched.adopt("sleep", "30")
    watched.do(lambda: watched.child.write(b"x" * 300_000))
    ended = watched.end()
    assert ended.signal == "SIGTERM"
    assert "no longer reads its input" in ended.reason and "limit 100000" in ended.reason


def test_input_refused_by_a_server_that_dies_leaves_its_own_exit_as_the_story(watch: Watch) -> None:
    watched = watch()
    watched.adopt("sh", "-c", "exec <&-; echo closed; read -t 1 x; exit 9")
    watched.hear(b"closed")
    watched.do(lambda: watched.child.write(b"anything"))
    assert watched.end() == Exit(9, None, watched.child.stderr.tail(), "")


# --- the end -----------------------------------------------------------------------------------------------


def test_exit_code_and_last_words_are_told(watch: Watch) -> None:
    watched = watch()
    watched.adopt(sys.executable, str(SERVER), "exit-at-start", "3")
    ended = watched.end()
    assert (ended.code, ended.signal, ended.reason) == (3, None, "")
    assert ended.stderr[-1] == "giving up"
    assert ended.describe() == "it exited with code 3"


def test_death_by_a_signal_is_told_by_its_name(watch: Watch) -> None:
    watched = watch()
    watched.adopt("sh", "-c", "kill -SEGV $$")
    ended = watched.end()
    assert (ended.code, ended.signal) == (None, "SIGSEGV")
    assert ended.describe() == "it was ended by SIGSEGV"


def test_failed_start_ends_the_child_with_the_errors_text(watch: Watch) -> None:
    watched = watch()
    watched.do(lambda: watched.child.fail(ServerUnavailable("cannot start 'nope'")))
    assert watched.end() == Exit(None, None, (), "cannot start 'nope'")
    assert watched.child.error is not None
    assert watched.child.state is ChildState.EXITED


def test_no_descriptor_and_no_zombie_is_left(watch: Watch) -> None:
    watched = watch()
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    watched.adopt("true")
    watched.end()
    assert watched.do(lambda: len(os.listdir("/proc/self/fd"))) == before  # noqa: PTH208
    assert not Path(f"/proc/{watched.child.pid}").exists()


def test_data_that_breaks_its_reader_still_ends_with_one_exit(watch: Watch) -> None:
    watched = watch()
    broke = threading.Event()

    def break_down(_chunk: bytes) -> None:
        broke.set()
        raise RuntimeError("a broken reader")

    watched.child.on_data = break_down
    watched.adopt("echo", "words")
    assert watched.end().code == 0
    assert broke.is_set()


def test_a_container_that_died_unasked_takes_no_more_until_its_end_is_explained(watch: Watch) -> None:
    watched = watch()
    asked: queue.Queue[tuple[Exit, Callable[[Exit], None]]] = queue.Queue()
    watched.child.explain = lambda ended, tell: asked.put((ended, tell))
    watched.adopt("sh", "-c", "read x; exit 137", container="c")
    watched.do(lambda: watched.child.write(b"go\n"))
    ended, tell = asked.get(timeout=SECONDS)
    assert (ended.code, watched.child.state, watched.child.exit) == (137, ChildState.STOPPING, None)
    watched.do(lambda: (watched.child.write(b"late"), watched.child.stop("late")))
    watched.do(lambda: (tell(Exit(137, "SIGKILL", oom_killed=True)), tell(Exit(137, "SIGKILL"))))
    assert watched.end().oom_killed
    watched.do(lambda: None)  # a turn later nothing more was told
    assert watched.told.empty()


def test_the_end_of_a_container_that_was_stopped_needs_no_explanation(watch: Watch) -> None:
    watched = watch()
    watched.child.explain = lambda _ended, _tell: pytest.fail("it was asked for")
    watched.adopt("cat", container="c")
    watched.do(lambda: watched.child.stop("idle"))
    assert watched.end().reason == "idle"


# --- standard error ----------------------------------------------------------------------------------------


def test_a_flood_on_stderr_does_not_block_the_server(watch: Watch) -> None:
    watched = watch()
    watched.start_server("stderr-flood", "3000000")
    assert 0 < sum(map(len, watched.child.stderr.tail(1000))) < 200_000
