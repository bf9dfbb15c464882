"""``python -m fuzz TARGET [libFuzzer options] CORPUS``, with tests/ on the path: atheris drives one target."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["metamcp"]):
    from fuzz.targets import TARGETS

if __name__ == "__main__":
    name = sys.argv.pop(1)
    atheris.Setup(sys.argv, TARGETS[name])
    atheris.Fuzz()
