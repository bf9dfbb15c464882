"""Middleware of installed packages: entry points of the group ``metamcp.middleware`` (docs/middleware.md)."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any

GROUP = "metamcp.middleware"


class PluginUnusable(ValueError):
    """An entry point whose class cannot be used; the text is for operators."""


def installed() -> dict[str, EntryPoint]:
    """By name; of two packages that have the same name the first one on the path counts. Reads files."""
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=GROUP):
        found.setdefault(point.name, point)
    return found


def load(point: EntryPoint) -> type[Any]:
    """Its class; the code of its package runs. Raises PluginUnusable."""
    try:
        found = point.load()
    except Exception as broken:
        raise PluginUnusable(f"cannot be loaded from {point.value}: {type(broken).__name__}") from broken
    if not isinstance(found, type):
        raise PluginUnusable(f"cannot be used: {point.value} is no class")
    return found
