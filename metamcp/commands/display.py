"""How commands show what they found: tables and progress on a terminal (``terminal.py``), plain text everywhere else.

What servers and clients have said is theirs, and may hold orders to a terminal: ``printable`` takes them out.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from types import ModuleType
from typing import TypeVar, cast

import click

T = TypeVar("T")

Told = Callable[[int, int], None]
"""(bytes that have come, of how many)"""

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
    if sys.stdout.isatty():
        _terminal().show(tables)
    else:
        click.echo(_plain(tables))


def show_each(versions: Iterable[Sequence[Table]]) -> None:
    """One in the place of the other on a terminal, one after the other elsewhere."""
    if sys.stdout.isatty():
        _terminal().show_each(versions)
        return
    for tables in versions:
        click.echo(_plain(tables) + "\n")


def tracked(items: Sequence[T], name: Callable[[T], str]) -> Iterable[T]:
    """``items``, with a bar of progress on standard error while they are gone through, where that is a terminal."""
    return cast("Iterator[T]", _terminal().tracked(items, name)) if sys.stderr.isatty() else items


def downloading(name: str) -> AbstractContextManager[Told]:
    """Likewise a bar for one download; whoever does it says how far it is."""
    if sys.stderr.isatty():
        return cast("AbstractContextManager[Told]", _terminal().downloading(name))
    return nullcontext(lambda _done, _size: None)


def _terminal() -> ModuleType:
    from metamcp.commands import terminal  # noqa: PLC0415  3 MiB, which the supervisor's process would hold for nothing

    return terminal


def _plain(tables: Sequence[Table]) -> str:
    return "\n\n".join(map(_columns, tables))


def _columns(table: Table) -> str:
    """Every row is one line, however long, so that other programs can read it."""
    if not table.rows:
        return table.empty
    lines = [table.columns, *([printable(cell) or "-" for cell in row] for row in table.rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = ("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
    return "\n".join(line.rstrip() for line in padded)
