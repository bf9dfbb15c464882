"""What commands print, on a terminal and into a pipe; nobody's text gives orders to a terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metamcp.commands import display
from metamcp.commands.display import Table

ROOT = Path(__file__).parents[3]
TABLES = [
    Table(("NAME", "WHY"), [("git", "x" * 300), ("[red]evil[/red]", "\x1b[31mred\nnext")], "none"),
    Table(("NAME",), [], "no session"),
]
SHOW = """
from metamcp.commands import display
from metamcp.commands.display import Table
display.show([Table(("NAME", "WHY"), [("git", "x" * 300), ("[red]evil[/red]", "\\x1b[31mred\\nnext")], "none"),
              Table(("NAME",), [], "no session")])
print([item for item in display.tracked([1, 2], str)])
"""


def test_into_a_pipe_each_row_is_a_line_however_long(capsys: pytest.CaptureFixture[str]) -> None:
    display.show(TABLES)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines] == [
        ["NAME", "WHY"], ["git", "x" * 300], ["[red]evil[/red]", "\\x1b[31mred\\x0anext"], [], ["no", "session"],
    ]  # fmt: skip


def test_versions_come_one_after_the_other(capsys: pytest.CaptureFixture[str]) -> None:
    display.show_each([[TABLES[1]], [TABLES[1]]])
    assert capsys.readouterr().out == "no session\n\nno session\n\n"


def test_bars_are_for_terminals_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(display.tracked(["a", "b"], str)) == ["a", "b"]
    found = capsys.readouterr()
    assert (found.out, found.err) == ("", "")


def test_on_a_terminal_a_table_fits_and_obeys_nobody() -> None:
    ours, theirs = pty.openpty()
    env = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "60", "TERM": "xterm"}
    try:
        done = subprocess.run(
            [sys.executable, "-c", SHOW], cwd=ROOT, env=env, stdin=theirs, stdout=theirs, stderr=theirs, timeout=30
        )
        os.close(theirs)
        said = b""
        while chunk := _read(ours):
            said += chunk
    finally:
        os.close(ours)
    assert done.returncode == 0, said
    text = said.decode()
    assert "[red]evil[/red]" in text and "\x1b[31mred" not in text and "[1, 2]" in text
    assert "x" * 61 not in text, "a long cell is folded"


def test_a_process_without_a_terminal_does_not_load_what_is_for_one() -> None:
    script = "import sys, metamcp.__main__; sys.exit('rich' in sys.modules)"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=env, timeout=30).returncode == 0


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # the other side is closed
        return b""


@given(st.text())
def test_what_is_printable_stays_and_the_rest_is_spelt(text: str) -> None:
    shown = display.printable(text)
    assert shown.isprintable() and (shown == text or not text.isprintable())
    assert display.paragraphs(text).count("\n") == text.count("\n")
