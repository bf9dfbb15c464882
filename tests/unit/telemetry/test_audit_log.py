"""The audit log's file: whole lines, whatever the operator and the disk do."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gateway_process import eventually

from metamcp.telemetry import audit_log
from metamcp.telemetry.audit_log import AuditLog, Entry


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


@pytest.fixture
def opened(request: pytest.FixtureRequest) -> Callable[[Path], AuditLog]:
    def make(path: Path, size: int = 100) -> AuditLog:
        log = AuditLog(path, wall=lambda: 1.5, size=size)
        request.addfinalizer(log.close)
        return log

    return make


def test_each_line_is_one_object_whatever_its_texts_hold(tmp_path: Path, opened: Callable[[Path], AuditLog]) -> None:
    path = tmp_path / "audit.jsonl"
    log = opened(path)
    log.write(Entry(event="request", tool="a\nb\r\x1b[31m\u2028", code=0, session="", seconds=None))
    log.close()
    assert path.read_bytes().count(b"\n") == 1 and path.read_bytes().isascii()
    assert lines(path) == [{"time": 1.5, "event": "request", "tool": "a\nb\r\x1b[31m\u2028", "code": 0}]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_half_a_character_costs_no_line(tmp_path: Path, opened: Callable[[Path], AuditLog]) -> None:
    path = tmp_path / "audit.jsonl"
    log = opened(path)
    log.write(Entry(event="request", tool="\ud83d", about="plain"))
    log.close()
    assert path.read_bytes() == b'{"time":1.5,"event":"request","tool":"\\ud83d","about":"plain"}\n'


@pytest.mark.parametrize("about", ["plain", "\u00e9"])
def test_each_member_has_its_place_and_its_value(
    tmp_path: Path, opened: Callable[[Path], AuditLog], about: str
) -> None:
    texts = [name for name in Entry.__struct_fields__[2:] if getattr(Entry(event=""), name) == ""]
    said: dict[str, Any] = {name: f"{name} x" for name in texts}
    numbers: dict[str, Any] = {"code": 0, "seconds": 0.5, "status": 403, "omitted": 2}
    path = tmp_path / "audit.jsonl"
    log = opened(path)
    log.write(Entry(event="edge", **(said | numbers | {"about": about})))
    log.close()
    (line,) = lines(path)
    assert line == {"time": 1.5, "event": "edge"} | said | numbers | {"about": about}
    assert sorted(line, key=Entry.__struct_fields__.index) == list(line) and len(line) == len(Entry.__struct_fields__)


def test_lines_that_come_together_are_written_together(
    tmp_path: Path, opened: Callable[[Path], AuditLog], monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[bytes] = []

    def append(_file: object, data: bytes) -> None:
        written.append(data)

    monkeypatch.setattr(audit_log._File, "append", append)
    monkeypatch.setattr(audit_log, "GATHER_SECONDS", 30.0)
    log = opened(tmp_path / "audit.jsonl")
    for number in range(50):
        log.write(Entry(event="request", code=number))
    log.close()  # ends the wait
    assert len(written) == 1 and written[0].count(b"\n") == 50


def test_a_line_is_written_while_others_go_on_coming(tmp_path: Path, opened: Callable[[Path], AuditLog]) -> None:
    path = tmp_path / "audit.jsonl"
    log = opened(path)

    def has_come() -> bool:
        log.write(Entry(event="more"))
        return b'"first"' in path.read_bytes()

    log.write(Entry(event="first"))
    eventually(has_come, "the first line")


def test_a_file_that_is_moved_away_is_made_anew(tmp_path: Path, opened: Callable[[Path], AuditLog]) -> None:
    path, old = tmp_path / "audit.jsonl", tmp_path / "audit.jsonl.1"
    log = opened(path)
    log.write(Entry(event="one"))
    eventually(lambda: bool(path.read_bytes()), "the first line")
    path.rename(old)
    log.write(Entry(event="two"))
    log.close()
    assert [line["event"] for line in lines(old)] == ["one"]
    assert [line["event"] for line in lines(path)] == ["two"]


def test_a_full_disk_loses_lines_counts_them_and_says_so_once(
    tmp_path: Path, opened: Callable[[Path], AuditLog], caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "audit.jsonl"
    path.symlink_to("/dev/full")
    log = opened(path)
    for number in range(10):
        log.write(Entry(event="request", code=number))
    eventually(lambda: log.lost == 10, "all lines are lost")
    path.unlink()
    log.write(Entry(event="after"))
    log.close()
    assert (log.lost, log.lost_ever) == (0, 10)
    assert [line["event"] for line in lines(path)] == ["after"]
    said = [record.message for record in caplog.records]
    assert said == ["audit-not-written", "audit-written-again"]


def test_a_queue_that_is_full_loses_lines_rather_than_time(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.jsonl", size=1)
    log.close()  # nobody takes lines out any more
    log.write(Entry(event="one"))
    log.write(Entry(event="two"))
    log.write(Entry(event="three"))
    assert (log.lost, log.lost_ever, log.waiting) == (2, 2, 1)


def test_a_path_that_cannot_be_opened_is_told_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        AuditLog(tmp_path / "nowhere" / "audit.jsonl")


def test_no_path_means_no_thread_and_no_file() -> None:
    log = AuditLog(None)
    log.write(Entry(event="request"))
    log.close()
