"""Process trees, their CPU and memory, as /proc shows them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from bench.accounting.processes import (
    TICK,
    Process,
    cpu_between,
    descendants,
    fields_of,
    is_alive,
    memory,
    parse_stat,
    parts_of,
    processes,
    reset_peaks,
)
from bench.accounting.window import Window, parse_machine


def row(parent: int, name: str = "x") -> Process:
    return Process(parent, name, 0.0, 0.0, 0, "S")


def test_a_stat_line_is_read_whatever_the_name_is() -> None:
    text = f"7 (a ) (b) S 3 7 7 0 -1 0 0 0 0 0 {2 * TICK} {TICK} {4 * TICK} 0 20 0 1 0 12345 0 0"
    assert parse_stat(text.encode()) == Process(3, "a ) (b", 3.0, 4.0, 12345, "S")


def test_the_machine_is_busy_with_what_is_neither_idle_nor_stolen() -> None:
    line = "cpu " + " ".join(str(seconds * TICK) for seconds in (1, 2, 3, 10, 4, 0, 0, 5, 9, 9))
    assert parse_machine(line) == (6.0, 5.0, 25.0)


def test_a_tree_is_its_roots_and_all_below_without_this_process() -> None:
    table = {1: row(0), 2: row(1), 3: row(2), 4: row(1), os.getpid(): row(2)}
    assert descendants(table, [2]) == {2, 3}
    assert descendants(table, [99]) == set()


def test_cpu_between_counts_those_that_came_and_keeps_parts_apart() -> None:
    before = {"peer": {0: 1.0}, "engine": {5: 2.0}}
    after = {"peer": {0: 1.5}, "engine": {5: 2.5, 6: 1.0}, "docker-cli": {0: 0.25}}
    assert cpu_between(before, after) == {"peer": 0.5, "engine": 1.5, "docker-cli": 0.25}


def test_lines_without_a_colon_are_no_fields() -> None:
    assert fields_of("00400000-ffff rollup\nPss:   12 kB\nRss:\t8 kB") == {"Pss": "   12 kB", "Rss": "\t8 kB"}


def test_a_real_process_has_memory_a_part_and_a_window() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert child.pid in processes() and is_alive(child.pid)
        assert parts_of([child.pid]) == {"peer": [child.pid]}
        window = Window([child.pid], engine=False)
        found = memory([child.pid])
        assert found["all"] == found["peer"] and found["peer"]["processes"] == 1
        assert 0 < found["peer"]["pss"] <= found["peer"]["rss"] <= found["peer"]["peak_rss"]
        assert reset_peaks([child.pid])
        used, state = window.stop()
        assert set(used) == {"peer", "load-generator"} and set(state) == {"busy_cores", "stolen_cores"}
        assert used["peer"] == pytest.approx(0, abs=5)
        child.communicate(b"\n", timeout=30)
    assert not is_alive(child.pid)
