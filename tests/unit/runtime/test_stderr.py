"""The last words of a child, and the last lines of a server: bounded, masked, none lost and none twice."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metamcp.runtime import stderr as stderr_module
from metamcp.runtime.stderr import BURST, KEPT_BYTES, KEPT_LINES, PER_SECOND, StderrLine, StderrLog, StderrRing

WALL = 1_800_000_000.0
FIRST = int(WALL * 1000)


class Heard:
    """A ring, and what it told; ``now`` is its clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self.lines: list[str] = []
        self.left_out = 0
        self.ring = StderrRing(lambda: self.now)
        self.ring.on_lines = self._hear

    def _hear(self, lines: list[str], left_out: int) -> None:
        self.lines += lines
        self.left_out += left_out


# --- of one child ------------------------------------------------------------------------------------------


def test_the_last_lines_only_are_kept() -> None:
    ring = StderrRing()
    for number in range(1000):
        ring.feed(b"line %d\n" % number)
    assert ring.tail(3) == ("line 997", "line 998", "line 999")
    assert len(ring.tail(10_000)) == 50


def test_lines_without_an_end_are_bounded() -> None:
    ring = StderrRing()
    for _ in range(100):
        ring.feed(b"x" * 65536)
    assert sum(map(len, ring.tail(100))) <= 16 * 1024
    ring.feed(b"\n" + b"y" * 10)
    assert ring.tail(1) == ("y" * 10,)


def test_lines_cut_by_chunks_are_whole_and_foreign_bytes_replaced() -> None:
    ring = StderrRing()
    for chunk in (b"one t", b"wo\nthr", b"ee\n\xff\n"):
        ring.feed(chunk)
    assert ring.tail() == ("one two", "three", "\ufffd")


@given(st.lists(st.text(st.characters(codec="ascii", categories=["L", "N"]), max_size=30), max_size=30), st.data())
def test_every_line_is_told_once_however_it_comes(lines: list[str], data: st.DataObject) -> None:
    heard, rest = Heard(), "".join(f"{line}\n" for line in lines).encode()
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        heard.ring.feed(rest[:size])
        rest = rest[size:]
    assert (heard.lines, heard.left_out) == (lines, 0)


def test_what_has_no_end_of_line_is_told_at_the_end_once() -> None:
    heard = Heard()
    heard.ring.feed(b"one\nand no m")
    heard.ring.feed(b"ore")
    assert heard.lines == ["one"]
    heard.ring.end()
    heard.ring.end()
    assert heard.lines == ["one", "and no more"] and heard.ring.tail() == ("one", "and no more")


def test_of_a_flood_some_lines_are_read_and_the_others_counted() -> None:
    heard, chunk = Heard(), (b"x" * 63 + b"\n") * 1000
    affordable = BURST // len(chunk)
    for _ in range(affordable + 1):
        heard.ring.feed(chunk)
    assert (len(heard.lines), heard.left_out) == (affordable * 1000 + 50, 950)
    heard.now += len(chunk) / PER_SECOND + 1
    heard.ring.feed(chunk)
    assert (len(heard.lines), heard.left_out) == (affordable * 1000 + 1050, 950), "a moment later all is read again"


@given(st.lists(st.sampled_from([b"\n", b"x\n", b"y" * 70_000, b"\n" * 65_536, b"z" * 100 + b"\n"]), max_size=40))
def test_no_flood_is_more_than_the_bounds(chunks: list[bytes]) -> None:
    heard = Heard()
    for chunk in chunks:
        before = len(heard.lines)
        heard.ring.feed(chunk)
        assert len(heard.lines) - before <= KEPT_LINES
    assert all(len(line) <= 2000 for line in heard.lines)
    assert len(heard.lines) + heard.left_out == b"".join(chunks).count(b"\n")


def test_line_is_masked_before_it_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the half that is left would be shown."""
    monkeypatch.setattr(stderr_module.logs, "redact", stderr_module.logs.Redactor())
    stderr_module.logs.redact.add(["canary-in-two-halves"])
    heard = Heard()
    heard.ring.feed(b"canary-in-two-halves" + b"x" * 1990 + b"\ncanary-in-two-halves" + b"y" * 1990 + b"\n")
    assert len(heard.lines) == 2 and not [line for line in heard.lines if "halves" in line]


# --- of a server -------------------------------------------------------------------------------------------


def log() -> StderrLog:
    kept = StderrLog(lambda: WALL)
    kept.keep(["git", "other"])
    return kept


def texts(lines: list[StderrLine]) -> list[str]:
    return [line.text for line in lines]


def test_a_line_says_when_who_and_for_whom() -> None:
    kept = log()
    kept.add("git", "metamcp-git-1", "session1", ["one"])
    assert kept.last("git", 10) == [StderrLine(FIRST, WALL, "metamcp-git-1", "session1", "one")]
    assert kept.last("other", 10) == [] and kept.last("git", 0) == []


@given(st.lists(st.tuples(st.integers(0, 3), st.text(max_size=3000)), max_size=200))
def test_what_is_kept_is_bounded_and_the_newest(steps: list[tuple[int, str]]) -> None:
    kept = log()
    for left_out, text in steps * 10:
        kept.add("git", "", "", [text], left_out)
    lines = kept.last("git", 1_000_000)
    assert len(lines) <= KEPT_LINES and sum(sys.getsizeof(line.text) for line in lines) <= KEPT_BYTES
    numbers = [line.number for line in lines]
    assert numbers == sorted(set(numbers))
    if steps:
        total = sum(left_out + 1 for left_out, _ in steps) * 10
        assert numbers[-1] == FIRST + total - 1, "those that were left out have their numbers"


@given(st.lists(st.integers(0, 5), max_size=30), st.data())
def test_whoever_comes_back_has_each_line_once(bursts: list[int], data: st.DataObject) -> None:
    """Follows, breaks off anywhere, and comes back with the last number that was seen."""
    kept, seen = log(), list[StderrLine]()
    stop = kept.follow("git", seen.append, lambda: None)
    count = 0
    for burst in bursts:
        kept.add("git", "", "", [f"{count + number}" for number in range(burst)])
        count += burst
        if data.draw(st.booleans()):
            stop()
            kept.add("git", "", "", [f"{count}"])
            count += 1
            seen += kept.since("git", seen[-1].number if seen else 0)
            stop = kept.follow("git", seen.append, lambda: None)
    assert texts(seen) == [f"{number}" for number in range(count)]


def test_a_number_of_another_life_has_seen_nothing() -> None:
    kept = log()
    kept.add("git", "", "", ["one", "two"])
    assert texts(kept.since("git", FIRST - 1000)) == ["one", "two"], "of a life before"
    assert texts(kept.since("git", FIRST + 1000)) == ["one", "two"], "of a clock that was set back"
    assert texts(kept.since("git", FIRST)) == ["two"]


def test_a_server_that_is_gone_is_forgotten_and_its_numbers_are_not_given_again() -> None:
    kept, gone = log(), list[bool]()
    kept.add("git", "", "", ["one", "two"])
    kept.follow("git", lambda _line: None, lambda: gone.append(True))
    kept.keep(["git"])
    assert not gone
    kept.keep([])
    kept.add("git", "", "", ["its last words"])
    kept.keep(["git"])
    assert gone == [True] and kept.last("git", 10) == []
    kept.add("git", "", "", ["three"])
    assert texts(kept.since("git", FIRST + 1)) == ["three"]


def test_a_follower_that_has_stopped_hears_no_more() -> None:
    kept, heard = log(), list[StderrLine]()
    stop = kept.follow("git", heard.append, lambda: None)
    stop()
    stop()
    kept.add("git", "", "", ["one"])
    assert heard == []
