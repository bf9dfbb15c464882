"""Packages with entry points, as pip leaves them in a directory that stands on PYTHONPATH."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def install(folder: Path, package: str, source: str, middleware: Mapping[str, str]) -> Path:
    """``middleware``: the entry point's name → ``module:Class``. Returns ``folder``."""
    described = folder / f"{package}-1.0.dist-info"
    described.mkdir(parents=True)
    (described / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    points = [f"{name} = {place}" for name, place in middleware.items()]
    (described / "entry_points.txt").write_text("\n".join(["[metamcp.middleware]", *points, ""]))
    (folder / f"{package}.py").write_text(source)
    return folder
