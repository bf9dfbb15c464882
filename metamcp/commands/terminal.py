"""Tables that fit a terminal, and bars of progress. The one file that knows ``rich``; asked by ``display.py``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

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

from metamcp.commands.display import Table, Told, printable

T = TypeVar("T")


def show(tables: Sequence[Table]) -> None:
    """On standard output."""
    Console().print(_rendered(tables))


def show_each(versions: Iterable[Sequence[Table]]) -> None:
    """On a screen of their own, one in the place of the other."""
    with Live(console=Console(), auto_refresh=False, screen=True) as live:
        for tables in versions:
            live.update(_rendered(tables), refresh=True)


def tracked(items: Sequence[T], name: Callable[[T], str]) -> Iterator[T]:
    """``items``, with a bar on standard error while they are gone through."""
    with _progress(MofNCompleteColumn()) as bar:
        task = bar.add_task("", total=len(items))
        for item in items:
            bar.update(task, description=printable(name(item)))
            yield item
            bar.advance(task)


@contextmanager
def downloading(name: str) -> Iterator[Told]:
    """A bar on standard error for one download."""
    with _progress(DownloadColumn()) as bar:
        task = bar.add_task(printable(name), total=None)
        yield lambda done, size: bar.update(task, completed=done, total=size)


def _progress(amount: ProgressColumn) -> Progress:
    """It is gone afterwards."""
    description = TextColumn("{task.description}", markup=False)
    columns = (description, BarColumn(), amount, TimeElapsedColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)


def _rendered(tables: Sequence[Table]) -> Group:
    return Group(*(_rich(table) if table.rows else Text(f"\n{table.empty}") for table in tables))


def _rich(table: Table) -> RichTable:
    made = RichTable(*table.columns, box=box.SIMPLE_HEAD)
    for row in table.rows:
        made.add_row(*(Text(printable(cell)) for cell in row))
    return made
