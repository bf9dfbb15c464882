"""The rooms of the architecture: who may import whom, read from the source."""

from __future__ import annotations

import ast
import functools
import io
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "metamcp"
FILES = sorted(PACKAGE.rglob("*.py"))

# room -> the rooms and modules of ours that it may import, besides itself
ROOMS: dict[str, set[str]] = {
    "errors": set(),
    "telemetry": set(),
    "protocol": {"errors"},
    "config": {"errors", "protocol"},
    "concurrency": {"errors", "telemetry"},
    "access": {"config", "telemetry", "errors"},
    "runtime": {"config", "concurrency", "telemetry", "errors"},
    "upstream": {"runtime", "protocol", "config", "concurrency", "telemetry", "errors"},
    "downstream": {"protocol", "config", "concurrency", "telemetry", "errors"},
    "gateway": {
        "access",
        "upstream",
        "downstream",
        "runtime",
        "protocol",
        "config",
        "concurrency",
        "telemetry",
        "errors",
    },
    "link": {"gateway.interface", "gateway.local", "protocol", "concurrency", "telemetry", "errors"},
    "web": {"access", "gateway.interface", "protocol", "telemetry", "errors", "config"},
}
TOP = {
    "factory",
    "commands",
    "supervision",
    "keeper",
    "separation",
    "__main__",
}  # fmt: skip  where everything meets
NOWHERE = {"", "__init__"}  # the package itself: its version

# third party -> the rooms or modules that may import it
FOREIGN: dict[str, set[str]] = {
    "msgspec": {"access", "protocol", "gateway.interface", "link", "telemetry.audit_log", "web"},
    "marshmallow": {"config"},
    "prometheus_client": {"telemetry.exposition"},
    "opentelemetry": {"telemetry.traces"},
    "docker": {"runtime.engine", "runtime.engine_client", "runtime.pulling"},
    "jwt": {"access.tokens"},
    "cryptography": {"access.tokens"},
    "requests": {"access.fetch", "commands.call", "upstream.remote.exchange", "upstream.remote.wire"},
    "urllib3": {"access.fetch", "upstream.remote.wire"},
    "flask": {"web", "factory.web"},
    "werkzeug": {"web"},
    "gunicorn": {"web.access_log", "web.http_handler", "web.http_server", "web.worker"},
    "gevent": {"web.alarm", "web.http_handler", "web.parking", "web.worker"},
    "click": {"__main__", "commands"},
    "rich": {"commands.terminal"},
    "yaml": {"config.importing.yaml_text"},
}


def module_of(path: Path) -> str:
    """``metamcp/web/sse.py`` is ``web.sse``, ``metamcp/web/__init__.py`` is ``web``."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path) for path in FILES}


@functools.cache
def imports(path: Path) -> frozenset[str]:
    """The full names of the modules that a file imports, wherever in it the import stands."""
    return frozenset(_imports(path))


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{path}: a relative import"
            for alias in node.names:
                deeper = f"{node.module}.{alias.name}"
                yield deeper if deeper.removeprefix("metamcp.") in MODULES else node.module


def ours(path: Path) -> set[str]:
    """The modules of this package that a file imports, without ``metamcp.``"""
    found = {name for name in imports(path) if name.split(".")[0] == "metamcp"}
    return {name.removeprefix("metamcp").removeprefix(".") for name in found}


def foreign(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports(path)} - {"metamcp", "__future__"} - sys.stdlib_module_names


def within(module: str, allowed: set[str]) -> bool:
    """Is ``module`` one of ``allowed``, or in one of them?"""
    parts = module.split(".")
    return any(".".join(parts[:length]) in allowed for length in range(1, len(parts) + 1))


def test_every_file_is_in_a_room_that_the_table_knows() -> None:
    rooms = {module_of(path).split(".")[0] for path in FILES}
    assert rooms - NOWHERE - TOP == set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_what_its_row_allows(room: str) -> None:
    allowed = ROOMS[room] | {room} | NOWHERE
    wrong = {
        module_of(path): sorted(names)
        for path in FILES
        if module_of(path).split(".")[0] == room
        and (names := {name for name in ours(path) if name and not within(name, allowed)})
    }
    assert wrong == {}


def test_upstream_and_downstream_meet_only_in_the_gateway() -> None:
    assert "downstream" not in ROOMS["upstream"] and "upstream" not in ROOMS["downstream"]
    both = {
        module_of(path).split(".")[0]
        for path in FILES
        if {"upstream", "downstream"} <= {name.split(".")[0] for name in ours(path)}
    }
    assert both - TOP == {"gateway"}


def test_third_party_modules_are_imported_only_where_they_belong() -> None:
    wrong = {
        module_of(path): sorted(names)
        for path in FILES
        if (names := {name for name in foreign(path) if not within(module_of(path), FOREIGN.get(name, set()))})
    }
    assert wrong == {}


def test_nothing_below_the_top_imports_the_top() -> None:
    below = [path for path in FILES if module_of(path).split(".")[0] not in TOP]
    assert {module_of(path) for path in below if any(within(name, TOP) for name in ours(path))} == set()


@pytest.mark.parametrize("path", [path for path in FILES if module_of(path) not in FOREIGN["gevent"]], ids=module_of)
def test_gevent_is_named_by_no_other_code(path: Path) -> None:
    if b"gevent" not in (source := path.read_bytes()):
        return
    tokens = list(tokenize.tokenize(io.BytesIO(source).readline))
    quoted = {"'gevent", '"gevent'}  # of importlib; text within a docstring is not code
    assert not [token for token in tokens if token.type == tokenize.NAME and token.string.startswith("gevent")]
    assert not [token for token in tokens if token.type == tokenize.STRING and token.string[:7] in quoted]


def test_the_reader_of_imports_sees_every_kind_of_import(tmp_path: Path) -> None:
    source = tmp_path / "module.py"
    source.write_text(
        "import flask.views as views\nfrom metamcp import errors, __version__\nfrom metamcp.web import sse\n"
        "def late():\n    if True:\n        from docker import client\n        import metamcp.link.client\n"
    )
    assert ours(source) == {"errors", "", "web.sse", "link.client"}
    assert foreign(source) == {"flask", "docker"}


def test_the_web_tier_loads_neither_docker_nor_what_owns_children() -> None:
    script = "import sys, metamcp.factory.web; print('\\n'.join(sorted(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert found.returncode == 0, found.stderr
    loaded = set(found.stdout.split())
    assert "metamcp.web.application" in loaded
    forbidden = {"docker", "gevent", "gunicorn", "metamcp.runtime", "metamcp.upstream", "metamcp.downstream"}
    assert {name for name in loaded if within(name, forbidden)} == set()
