"""What every test has to leave behind: nothing. And the Docker engine of those that need one."""

from __future__ import annotations

import gc
import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from docker_engine import LASTING
from engine_fixtures import MISSING, engine
from examples import register_profiles

__all__ = ["engine"]

HERE = Path(__file__).parent
WITH_ENGINE = (HERE / "engine", HERE / "conformance")
_LEAVE_SECONDS = 5.0

register_profiles()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if any(item.path.is_relative_to(folder) for folder in WITH_ENGINE):
            item.add_marker(pytest.mark.engine)


def pytest_collection_finish() -> None:
    """What was collected stays: the collector need not look at it again after each test."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if MISSING in config.stash:
        terminalreporter.section("NO TEST WITH A DOCKER ENGINE WAS RUN", red=True, bold=True)
        terminalreporter.line(config.stash[MISSING])


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """No thread, no child process and no descriptor more than before, after a bounded wait."""
    threads, children, descriptors = set(threading.enumerate()), set(_children()), _descriptors()
    yield
    pause, until = threading.Event(), time.monotonic() + _LEAVE_SECONDS
    while True:
        left = [thread.name for thread in threading.enumerate() if thread not in threads and thread.is_alive()]
        left += [f"process {pid}: {_command(pid)}" for pid in _children() if pid not in children | LASTING]
        left += sorted(_descriptors() - descriptors)
        if not left or time.monotonic() > until:
            break
        gc.collect()  # urllib3 closes its pooled connections when the pool is collected
        pause.wait(0.02)
    assert not left, f"left behind: {left}"


@pytest.fixture(autouse=True)
def log_is_as_it_was() -> Iterator[None]:
    """What one test set up of the product's log changes nothing for the next one."""
    root = logging.getLogger("metamcp")
    before = (root.handlers[:], root.level, root.propagate)
    yield
    root.handlers[:], level, root.propagate = before
    root.setLevel(level)
    for name, logger in logging.root.manager.loggerDict.items():
        if name.startswith("metamcp.") and isinstance(logger, logging.Logger):
            logger.disabled = False


def _children() -> list[int]:
    found: list[int] = []
    for task in os.scandir("/proc/self/task"):
        with suppress(FileNotFoundError):  # the thread ended meanwhile
            found += map(int, Path(task.path, "children").read_bytes().split())
    return found


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
    except FileNotFoundError:
        return "gone"


def _descriptors() -> set[str]:
    """Sockets, pipes and the like; files of the interpreter and of pytest come and go by themselves."""
    found = set()
    for entry in os.scandir("/proc/self/fd"):
        with suppress(OSError):
            target = os.readlink(entry.path)  # noqa: PTH115  twice per test, and pathlib takes three times as long
            if target.startswith(("socket:", "pipe:", "anon_inode:[event", "anon_inode:[pidfd")):
                found.add(f"descriptor {target}")
    return found


@pytest.fixture(autouse=True)
def environment_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator's own variables must not steer the tests."""
    for name in list(os.environ):
        if name.startswith(("METAMCP_", "OTEL_")) or name == "WEB_CONCURRENCY":
            monkeypatch.delenv(name)
