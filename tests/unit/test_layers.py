"""The table of rooms in docs/architecture.md, enforced."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PACKAGE = ROOT / "metamcp"

LOW = {"errors"}
ROOMS: dict[str, set[str]] = {
    "errors": set(),
    "protocol": LOW,
    "config": LOW | {"protocol"},
    "telemetry": set(),
    "concurrency": LOW | {"telemetry"},
    "runtime": LOW | {"config", "concurrency", "telemetry"},
    "upstream": LOW | {"runtime", "protocol", "config", "concurrency", "telemetry"},
    "downstream": LOW | {"protocol", "config", "concurrency", "telemetry"},
    "gateway": LOW | {"upstream", "downstream", "runtime", "protocol", "config", "concurrency", "telemetry"},
    "link": LOW | {"gateway", "protocol", "concurrency", "telemetry"},
    "web": LOW | {"gateway", "protocol", "config", "telemetry"},
}
TOP = {"factory", "supervision", "keeper", "__main__", "__init__"}
THIRD_PARTY: dict[str, set[str]] = {
    "protocol": {"msgspec"},
    "config": {"marshmallow"},
    "gateway": {"msgspec"},
    "link": {"msgspec"},
    "web": {"flask", "werkzeug", "msgspec"},
    "factory": {"flask"},
    "__main__": {"click"},
}
INTERFACE = {"gateway.interface", "gateway.local"}
"""All of the gateway that the link may know; of these the web tier knows the first alone."""

FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    """Every imported name with its dots: ``from a import b`` gives ``a.b``."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{name.name}" for name in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_file_imports_only_what_its_room_may(path: Path) -> None:
    room = room_of(path)
    for name in imports(path):
        first, _, rest = name.partition(".")
        if first == "metamcp":
            other = rest.split(".")[0]
            allowed = room in TOP or other in ROOMS[room] | {room, "__version__"}
            assert allowed, f"{room} may not import {name}"
        elif first not in sys.stdlib_module_names:
            allowed_here = THIRD_PARTY.get(room, set()) | ({"docker"} if path.name == "engine.py" else set())
            assert first in allowed_here, f"{room} may not import {first}"


@pytest.mark.parametrize("path", [path for path in FILES if room_of(path) in ("link", "web")], ids=lambda p: p.name)
def test_link_and_web_know_only_the_gateways_interface(path: Path) -> None:
    known = INTERFACE if room_of(path) == "link" else {"gateway.interface"}
    for name in imports(path):
        if name.startswith("metamcp.gateway"):
            assert ".".join(name.split(".")[1:3]) in known, name


def test_gevent_is_named_in_no_file_of_the_package() -> None:
    for path in FILES:
        assert not any(name.split(".")[0] in ("gevent", "gunicorn") for name in imports(path)), path


def test_web_tier_loads_neither_docker_nor_anything_that_owns_a_child() -> None:
    code = "import sys, metamcp.factory.web; print('\\n'.join(sys.modules))"
    command = [sys.executable, "-c", code]
    loaded = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=True)
    modules = set(loaded.stdout.split())
    assert "metamcp.web.application" in modules
    for name in ("docker", "requests", "metamcp.runtime", "metamcp.upstream", "metamcp.downstream"):
        assert name not in modules
