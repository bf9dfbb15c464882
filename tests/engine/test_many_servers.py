"""Many servers on a real engine, some of them broken; restarts; and images that change under their tags."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from docker_engine import Engine
from gateway_process import GatewayProcess, eventually, running_gateway

SMALL = {"limits": {"memory": "64m", "cpus": 1, "pids": 32}, "era": "legacy", "network": "none"}
MOST_STARTS, START_SECONDS = 4, 3.0  # metamcp/runtime/starts.py
ABSENT, FORBIDDEN = "metamcp-absent:local", "metamcp-forbidden:local"
CHANGING = "metamcp-changing:local"
REASONS = {
    "absent": "The image is not on the engine",
    "forbidden": "no rule of the allowlist",
    "silent": "initialize",
    "leaves": "code 3",
    "secretless": "SECRET_THAT_NOBODY_SET",
}


def container(image: str, *args: str, **keys: Any) -> dict[str, Any]:
    return {"command": "docker", "args": ["run", "-i", image, *args], **SMALL, **keys}


def many(engine: Engine, good_ones: int) -> dict[str, Any]:
    """So many good servers, and one that is broken in each way between them."""

    def good(number: int) -> dict[str, Any]:
        return container(engine.image, "/misbehaving.py", "good", f"number-{number}")

    broken = {
        "absent": container(ABSENT),
        "forbidden": container(FORBIDDEN),
        "silent": container(engine.image, "/misbehaving.py", "never-initialises", timeouts={"start": 4}),
        "leaves": container(engine.image, "/misbehaving.py", "exit-at-start", "3"),
        "secretless": container(engine.image, "/misbehaving.py", "good", env={"TOKEN": "${SECRET_THAT_NOBODY_SET}"}),
    }
    return broken | {f"good{number}": good(number) for number in range(good_ones)}


@contextmanager
def running(folder: Path, engine: Engine, good_ones: int) -> Iterator[GatewayProcess]:
    servers = many(engine, good_ones)
    namespaces = {
        "good": {"servers": [name for name in servers if name.startswith("good")]},
        "broken": {"servers": list(REASONS)},
    }
    endpoints = {"default": {"namespace": "good"}, "broken": {"namespace": "broken"}}
    more = {"namespaces": namespaces, "endpoints": endpoints, "images": [engine.image, ABSENT]}
    with running_gateway(folder, servers, env=engine.env, ready=False, **more) as gateway:
        yield gateway


class Watch:
    """Samples how many starts are under way; of those that surely count, whatever the load of the machine."""

    def __init__(self, gateway: GatewayProcess) -> None:
        self.most = 0
        self._gateway = gateway
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(0.2):
            children = self._gateway.status()["children"]
            now = time.time()
            counting = [
                child for child in children
                if child["state"] == "STARTING" and child["pid"] and now - child["since"] < START_SECONDS
            ]  # fmt: skip
            self.most = max(self.most, len(counting))


def unavailable(gateway: GatewayProcess) -> dict[str, str]:
    return {name.removeprefix("server "): text for name, text in gateway.get("/ready").json()["reasons"].items()}


def all_asked(gateway: GatewayProcess) -> bool:
    """Nobody has still to be asked."""
    reasons = unavailable(gateway)
    return set(reasons) == set(REASONS) and all("not been asked" not in reason for reason in reasons.values())


def shows_the_broken(gateway: GatewayProcess) -> None:
    reasons = unavailable(gateway)
    servers = {server["name"]: server for server in gateway.status()["servers"]}
    for name, said in REASONS.items():
        assert said in reasons[name], reasons
        assert servers[name]["reason"] and servers[name]["listed"] is None
        assert servers[name]["state"] in ("BACKOFF", "FATAL", "STARTING"), servers[name]
        assert f"server={name}" in gateway.log or f'"server": "{name}"' in gateway.log
    assert servers["forbidden"]["state"] == servers["secretless"]["state"] == "FATAL"


def started(engine: Engine, since: float) -> set[str]:
    """The servers of which a container was started since then (Unix seconds)."""
    label = '{{index .Actor.Attributes "metamcp.server"}}'
    filters = ["--filter", "type=container", "--filter", "event=start"]
    return set(engine.docker("events", "--since", f"{since:.3f}", "--until", f"{time.time():.3f}", *filters,
                             "--format", label).split())  # fmt: skip


@pytest.mark.timeout(600)  # many starts, on a machine that may have other work
@pytest.mark.parametrize("good_ones", [25, pytest.param(95, marks=pytest.mark.nightly)])
def test_many_servers_are_read_within_the_bound_and_after_a_restart_served_without_a_start(
    engine: Engine, tmp_path: Path, good_ones: int
) -> None:
    with running(tmp_path, engine, good_ones) as gateway, Watch(gateway) as watch:
        eventually(lambda: all_asked(gateway), "every server was asked", 400)
        shows_the_broken(gateway)
    assert 2 <= watch.most <= MOST_STARTS
    begun = time.time()
    with running(tmp_path, engine, good_ones) as gateway:
        asked = time.monotonic()
        session = gateway.open_session()
        listed = gateway.rpc("tools/list", session=session).json()["result"]["tools"]
        took = time.monotonic() - asked
        assert {f"good{number}__echo" for number in range(good_ones)} <= {tool["name"] for tool in listed}
        assert took < 1, took
        eventually(lambda: all_asked(gateway), "the broken ones were asked again", 60)
        shows_the_broken(gateway)
        assert started(engine, begun) <= {"silent", "leaves"}
        digests = {server["digest"] for server in gateway.status()["servers"] if server["name"].startswith("good")}
        assert digests == {engine.docker("image", "inspect", "--format", "{{.Id}}", engine.image)}


# --- images that change ------------------------------------------------------------------------------------

PROGRAM = "import sys; sys.path.insert(0, '/'); import misbehaving as m\n{more}m.MODES['good']().run()\n"
MORE = "m.TOOLS['more'] = m.TOOLS['echo']\n"


@pytest.fixture
def build(engine: Engine, tmp_path: Path) -> Iterator[Callable[[str], None]]:
    """Builds the image CHANGING, which adds ``more`` to the program of the good server."""
    folder = tmp_path / "image"
    folder.mkdir()

    def make(more: str) -> None:
        (folder / "server.py").write_text(PROGRAM.format(more=more))
        entry = '["python3", "-I", "-S", "/server.py"]'
        (folder / "Dockerfile").write_text(f"FROM {engine.image}\nCOPY server.py /server.py\nENTRYPOINT {entry}\n")
        subprocess.run(["docker", "build", "-q", "-t", CHANGING, str(folder)], check=True, capture_output=True,
                       env={**engine.env, "DOCKER_BUILDKIT": "0"}, timeout=60)  # fmt: skip

    yield make
    engine.docker("rmi", "-f", *engine.docker("images", "-q", CHANGING).split())
    engine.docker("image", "prune", "-f", "--filter", "dangling=true")


def names(gateway: GatewayProcess, session: str) -> set[str]:
    return {tool["name"] for tool in gateway.rpc("tools/list", session=session).json()["result"]["tools"]}


def test_an_image_that_is_built_anew_under_its_tag_reaches_the_client_without_a_restart(
    engine: Engine, tmp_path: Path, build: Callable[[str], None]
) -> None:
    build("")
    with running_gateway(tmp_path, {"s": container(CHANGING)}, images=[CHANGING], env=engine.env) as gateway:
        session = gateway.open_session()
        assert "s__echo" in names(gateway, session) and "s__more" not in names(gateway, session)
        before = gateway.status()["servers"][0]["digest"]
        stream = gateway.http.get(
            f"{gateway.url}/metamcp/default/mcp", stream=True, timeout=60,
            headers={"Accept": "text/event-stream", "Mcp-Session-Id": session},
        )  # fmt: skip
        build(MORE)
        heard = next(line for line in stream.iter_lines() if b"list_changed" in line)
        stream.close()
        assert json.loads(heard.removeprefix(b"data: "))["method"] == "notifications/tools/list_changed"
        assert {"s__echo", "s__more"} <= names(gateway, session)
        assert gateway.status()["servers"][0]["digest"] not in (before, None)
    since = time.time()
    with running_gateway(tmp_path, {"s": container(CHANGING)}, images=[CHANGING], env=engine.env) as gateway:
        assert "s__more" in names(gateway, gateway.open_session())
        assert started(engine, since) == set()
