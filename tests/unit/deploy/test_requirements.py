"""What requirements.txt brings is all that the gateway needs: the packages of its tests must not hide a lack."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[3]

_IMPORTS = """
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder

HIDDEN = frozenset(sys.argv[1].split())

class Hide(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in HIDDEN:
            raise ModuleNotFoundError(f"{name} is not among what requirements bring", name=name)
        return None

sys.meta_path.insert(0, Hide())
for name in sys.argv[2:]:
    __import__(name)
"""


TRACES = "metamcp.telemetry.traces"
"""Loaded only where traces are wanted."""


def test_gateway_loads_with_what_requirements_txt_brings() -> None:
    brought = _closure(_named(ROOT / "requirements.txt"))
    assert {"gunicorn", "gevent", "flask", "werkzeug"} <= brought
    assert loads(brought, [name for name in _modules() if name != TRACES]) == ""
    assert "is not among what requirements bring" in loads(brought, [TRACES])


def test_traces_load_with_what_their_requirements_bring_besides() -> None:
    named = [*_named(ROOT / "requirements.txt"), *_named(ROOT / "requirements-otel.txt")]
    assert loads(_closure(named), [TRACES]) == ""


def loads(brought: set[str], modules: list[str]) -> str:
    """What a process says that loads ``modules`` and has no other distributions than ``brought``."""
    owners = metadata.packages_distributions()
    hidden = [top for top, names in owners.items() if not {_plain(name) for name in names} & brought]
    assert "pytest" in hidden
    argv = [sys.executable, "-c", _IMPORTS, " ".join(hidden), *modules]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=60)
    return done.stderr


def _modules() -> list[str]:
    """Of all files but those that run when they are loaded."""
    files = (path.relative_to(ROOT) for path in (ROOT / "metamcp").rglob("*.py") if path.stem != "__main__")
    return sorted(".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in files)


def _named(path: Path) -> list[str]:
    lines = (line.partition("#")[0].strip() for line in path.read_text().splitlines())
    return [line for line in lines if line]


def _closure(requirements: list[str]) -> set[str]:
    """The names of the distributions, and of all that they need, with the extras that are asked for."""
    found: set[tuple[str, str]] = set()
    waiting = [asked for line in requirements for asked in _asked(line, "")]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in found:
            continue
        found.add((name, extra))
        try:
            needs = metadata.requires(name) or []
        except metadata.PackageNotFoundError:  # of another system or Python
            continue
        waiting += [asked for line in needs for asked in _asked(line, extra)]
    return {name for name, _ in found}


def _asked(line: str, extra: str) -> list[tuple[str, str]]:
    """Each extra of one requirement, and the package itself; nothing when it is for another extra than ``extra``."""
    wanted = re.search(r"extra\s*==\s*['\"]([^'\"]+)['\"]", line)
    if wanted and wanted[1] != extra:
        return []
    parsed = re.match(r"([A-Za-z0-9._-]+)\s*(?:\[([^\]]*)\])?", line)
    assert parsed is not None, line
    extras = [part.strip() for part in (parsed[2] or "").split(",") if part.strip()]
    return [(_plain(parsed[1]), each) for each in ["", *extras]]


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
