"""The configuration files while the gateway runs: when they are read, and what becomes of what is in them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from fake_upstream import FakeReactor

from metamcp.config.live import Live
from metamcp.config.loader import Loaded, load, stamp
from metamcp.config.model import Allowlist, ServerSpec
from metamcp.config.plan import Plan
from metamcp.gateway.operators import Body
from metamcp.gateway.reload import LOOK_SECONDS, Reloader

GOOD = '{"mcpServers": {"git": {"command": "x"}}}'
OTHER = '{"mcpServers": {"git": {"command": "x"}, "time": {"command": "y"}}}'
BAD = '{"mcpServers": {"git": {"comand": "x"}, "time": {"command": 4}}}'
PATHS = [
    "servers.json: mcpServers.git.comand", "servers.json: mcpServers.git.command",
    "servers.json: mcpServers.time.command",
]  # fmt: skip


class Desk:
    """A reloader whose jobs run when the test says so, or at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.reactor = FakeReactor()
        self.jobs: list[Callable[[], None]] = []
        self.holding = False
        self.applied: list[Plan] = []
        self.told: list[Body] = []
        self.broken = False
        self.live = Live(load(folder), 1.0)
        reactor: Any = self.reactor
        desk: Any = self
        self.reloader = Reloader(reactor, desk, folder, self.live, stamp(folder), self.licence, self.apply)
        self.reloader.watch()

    def submit(self, job: Callable[[], None]) -> bool:
        if self.holding:
            self.jobs.append(job)
        else:
            self.run(job)
        return True

    def run(self, job: Callable[[], None]) -> None:
        """As ``Workers``: an error ends only its job."""
        with suppress(RuntimeError):
            job()

    def licence(self, _spec: ServerSpec, _allowlist: Allowlist) -> None:
        if self.broken:
            raise RuntimeError("unforeseen")

    def apply(self, loaded: Loaded, plan: Plan) -> None:
        self.live.replace(loaded, 2.0)
        self.applied.append(plan)

    def write(self, text: str, name: str = "servers.json") -> None:
        (self.folder / name).write_text(text)

    def request(self) -> None:
        self.reloader.request("test", self.told.append)
        self.reactor.turn()

    def look(self, times: int = 1) -> None:
        self.reactor.advance(LOOK_SECONDS * times)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    (tmp_path / "servers.json").write_text(GOOD)
    (tmp_path / "allowlist.json").write_text("{}")
    return Desk(tmp_path)


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    records: list[Any] = []
    logger = logging.getLogger("metamcp.gateway.reload")
    monkeypatch.setattr(logger, "handle", records.append)
    before = logger.level
    logger.setLevel(logging.DEBUG)
    yield records
    logger.setLevel(before)


def events(logged: list[Any], name: str) -> list[dict[str, Any]]:
    return [record.fields for record in logged if record.getMessage() == name]


def test_files_that_stay_as_they_are_are_not_read(desk: Desk) -> None:
    desk.look(10)
    assert desk.applied == []


def test_changed_file_is_read_once_within_two_seconds(desk: Desk) -> None:
    desk.write(OTHER)
    desk.look(int(2 / LOOK_SECONDS))
    assert [plan.servers.added for plan in desk.applied] == [("time",)]
    desk.look(10)
    assert len(desk.applied) == 1


def test_file_that_is_still_being_written_is_read_when_it_has_been_quiet(desk: Desk) -> None:
    for length in range(1, len(OTHER), 9):
        desk.write(OTHER[:length])
        desk.look()
    assert desk.applied == [] and desk.live.problems == ()
    desk.write(OTHER)
    desk.look(3)
    assert len(desk.applied) == 1


def test_mistakes_are_told_and_logged_once_and_the_configuration_stays(desk: Desk, logged: list[Any]) -> None:
    before = desk.live.loaded
    desk.write(BAD)
    desk.look(3)
    desk.request()
    assert [path for path, _ in desk.live.problems] == PATHS
    assert (desk.live.loaded, desk.live.loaded_at, desk.applied) == (before, 1.0, [])
    assert [found["path"] for found in events(logged, "configuration-mistake")] == PATHS
    assert [found["mistakes"] for found in events(logged, "configuration-kept")] == [3, 3]
    ((status, document),) = desk.told
    assert status == 422 and [problem["path"] for problem in document["problems"]] == PATHS


def test_next_good_file_clears_the_mistakes_and_says_in_one_line_what_changed(desk: Desk, logged: list[Any]) -> None:
    desk.write(BAD)
    desk.look(3)
    desk.write(OTHER)
    desk.request()
    assert desk.live.problems == () and desk.live.loaded_at == 2.0
    assert events(logged, "configuration-reloaded") == [
        {"by": "test", "servers_added": "time", "namespaces_changed": "default"}
    ]
    assert desk.told[0][0] == 200 and desk.told[0][1]["servers"]["added"] == ["time"]


def test_reading_that_finds_nothing_new_says_so(desk: Desk, logged: list[Any]) -> None:
    desk.request()
    assert events(logged, "configuration-reloaded") == [{"by": "test", "changes": "none"}]


@pytest.mark.parametrize("name", ["servers.json", "allowlist.json"])
def test_file_that_vanishes_is_a_mistake_until_it_is_back(desk: Desk, name: str) -> None:
    text = (desk.folder / name).read_text()
    (desk.folder / name).unlink()
    desk.look(3)
    assert [path for path, _ in desk.live.problems] == [name]
    desk.write(text, name)
    desk.look(3)
    assert desk.live.problems == ()


def test_allowlist_that_never_was_is_no_mistake_but_once_there_it_is_missed(tmp_path: Path) -> None:
    (tmp_path / "servers.json").write_text(GOOD)
    desk = Desk(tmp_path)
    desk.request()
    assert desk.told[0][0] == 200
    desk.write("{}", "allowlist.json")
    desk.look(3)
    (tmp_path / "allowlist.json").unlink()
    desk.look(3)
    assert [path for path, _ in desk.live.problems] == ["allowlist.json"]


def test_file_that_another_one_takes_the_place_of_is_read(desk: Desk) -> None:
    desk.write(OTHER, "next")
    (desk.folder / "next").rename(desk.folder / "servers.json")
    desk.look(3)
    assert len(desk.applied) == 1


def test_wish_during_a_reading_is_met_by_one_more(desk: Desk) -> None:
    desk.holding = True
    desk.request()
    desk.request()
    desk.request()
    assert len(desk.jobs) == 1
    desk.write(OTHER)
    desk.jobs.pop()()
    desk.reactor.turn()
    assert (len(desk.told), len(desk.jobs)) == (1, 1)
    desk.jobs.pop()()
    desk.reactor.turn()
    assert len(desk.told) == 3 and desk.told[1] == desk.told[2]


def test_look_that_hangs_is_not_followed_by_others(desk: Desk) -> None:
    desk.holding = True
    desk.look(10)
    assert len(desk.jobs) == 1


def test_unforeseen_error_is_answered_and_the_next_reading_goes_well(desk: Desk) -> None:
    desk.broken = True
    desk.request()
    assert desk.told[0][0] == 422 and desk.applied == []
    desk.broken = False
    desk.request()
    assert desk.told[1][0] == 200 and desk.live.problems == ()
