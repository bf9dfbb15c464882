"""How commands show what they found: tables and progress on a terminal, plain text everywhere else.

What servers and clients have said is theirs, and may hold orders to a terminal: ``printable`` takes them out.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import click
from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table as RichTable
from rich.text import Text

T = TypeVar("T")

_KEPT = "\n\t"


@dataclass(frozen=True, slots=True)
class Table:
    """``empty`` is said in the place of one without rows."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    empty: str


def printable(text: str, kept: str = "") -> str:
    """``text`` without what a terminal would obey; characters of ``kept`` stay."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in kept else f"\\x{ord(char):02x}" for char in text)


def paragraphs(text: str) -> str:
    """The same of a text with lines."""
    return printable(text, _KEPT)


def show(tables: Sequence[Table]) -> None:
    """On standard output."""
    console = _console()
    if console.is_terminal:
        console.print(_rendered(tables))
    else:
        click.echo("\n\n".join(map(_plain, tables)))


def show_each(versions: Iterable[Sequence[Table]]) -> None:
    """One in the place of the other on a terminal, one after the other elsewhere."""
    console = _console()
    if not console.is_terminal:
        for tables in versions:
            click.echo("\n\n".join(map(_plain, tables)) + "\n")
        return
    with Live(console=console, auto_refresh=False, screen=True) as live:
        for tables in versions:
            live.update(_rendered(tables), refresh=True)


def tracked(items: Sequence[T], name: Callable[[T], str]) -> Iterator[T]:
    """``items``, with a bar of progress on standard error while they are gone through, where that is a terminal."""
    with _progress(MofNCompleteColumn()) as bar:
        task = bar.add_task("", total=len(items))
        for item in items:
            bar.update(task, description=printable(name(item)))
            yield item
            bar.advance(task)


@contextmanager
def downloading(name: str) -> Iterator[Callable[[int, int], None]]:
    """A bar for one download; whoever does it says how many bytes of how many have come."""
    with _progress(DownloadColumn()) as bar:
        task = bar.add_task(printable(name), total=None)
        yield lambda done, size: bar.update(task, completed=done, total=size)


def _progress(amount: ProgressColumn) -> Progress:
    """Bars on standard error; nothing where that is no terminal. They are gone afterwards."""
    console = Console(stderr=True)
    description = TextColumn("{task.description}", markup=False)
    return Progress(
        description, BarColumn(), amount, TimeElapsedColumn(),
        console=console, transient=True, disable=not console.is_terminal,
    )  # fmt: skip


def _console() -> Console:
    return Console(file=sys.stdout, markup=False, highlight=False, emoji=False)


def _rendered(tables: Sequence[Table]) -> Group:
    return Group(*(_rich(table) if table.rows else Text(f"\n{table.empty}") for table in tables))


def _rich(table: Table) -> RichTable:
    made = RichTable(*table.columns, box=box.SIMPLE_HEAD)
    for row in table.rows:
        made.add_row(*(Text(printable(cell)) for cell in row))
    return made


def _plain(table: Table) -> str:
    """Columns of spaces; every row is one line, however long, so that other programs can read it."""
    if not table.rows:
        return table.empty
    lines = [table.columns, *([printable(cell) or "-" for cell in row] for row in table.rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = ("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
    return "\n".join(line.rstrip() for line in padded)
