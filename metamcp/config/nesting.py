"""Namespaces within namespaces: none within itself, and none too deep. Pure, on the document as read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from metamcp.config.document import Problem

MOST_LEVELS = 5
"""Of namespaces within each other, the outermost counted."""

_Graph = Mapping[str, list[str]]


def nesting_problems(namespaces: Mapping[str, Any]) -> Iterator[Problem]:
    """``namespaces`` as they stand in the file. A cycle is told once, where it leaves the first of its namespaces."""
    graph = {name: texts(body, "namespaces") for name, body in namespaces.items() if isinstance(body, dict)}
    graph = {name: [within for within in inner if within in graph] for name, inner in graph.items()}
    for _ in range(MOST_LEVELS):
        graph = _without_innermost(graph)
    cycles = list(_cycles(graph))
    for name, way in cycles:
        place = namespaces[name]["namespaces"].index(way[0])
        shown = " > ".join((name, *way))
        yield ("namespaces", name, "namespaces", place), f"leads back to this namespace ({shown}): remove it"
    for name in graph.keys() - _without_innermost(graph).keys() if not cycles else ():
        yield ("namespaces", name, "namespaces"), f"go deeper than {MOST_LEVELS} levels: name inner ones directly"


def texts(body: Mapping[str, Any], key: str) -> list[str]:
    """The texts of a list; none where it is no list."""
    listed = body.get(key)
    return [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []


def _without_innermost(graph: _Graph) -> dict[str, list[str]]:
    """Those that have others within them, and what of these has again."""
    return {name: [within for within in inner if graph[within]] for name, inner in graph.items() if inner}


def _cycles(graph: _Graph) -> Iterator[tuple[str, tuple[str, ...]]]:
    """(a name, the shortest way from one within it back to it), without names that stand before it in the file."""
    order = {name: at for at, name in enumerate(graph)}
    for name, at in order.items():
        later = {one: [it for it in inner if order[it] >= at] for one, inner in graph.items() if order[one] >= at}
        for within in dict.fromkeys(later[name]):
            way = _way(within, name, later)
            if way is not None:
                yield name, way


def _way(start: str, goal: str, graph: _Graph) -> tuple[str, ...] | None:
    """The shortest one, both ends included."""
    ways: list[tuple[str, ...]] = [(start,)]
    seen = {start}
    for way in ways:
        if way[-1] == goal:
            return way
        new = [within for within in dict.fromkeys(graph[way[-1]]) if within not in seen]
        seen.update(new)
        ways += [(*way, within) for within in new]
    return None
