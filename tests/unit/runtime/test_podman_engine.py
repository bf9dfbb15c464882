"""Where the API of a Podman answers differently."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from scripted_engine import Asked, ScriptedEngine, scripted_engine

from metamcp.runtime.engine import Engine
from metamcp.runtime.facts import engine_event


def ping(version: str) -> bytes:
    head = f"HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nLibpod-Api-Version: {version}\r\n"
    return f"{head}Server: Libpod/{version} (linux)\r\nContent-Length: 2\r\n\r\nOK".encode()


@pytest.fixture
def podman(tmp_path: Path) -> Iterator[ScriptedEngine]:
    with scripted_engine(tmp_path) as engine:
        engine.script["_ping"] = lambda asked: asked.say(ping("4.3.1"))
        engine.script["version"] = lambda asked: asked.answer(500)  # it takes some seconds to find its packages
        yield engine


def network(asked: Asked) -> None:
    pools = [{"Subnet": "fd00::/64", "Gateway": "fd00::1"}, {"Subnet": "10.88.0.0/16", "Gateway": "10.88.0.1"}]
    asked.answer(200, {"Name": "podman", "IPAM": {"Config": pools}})


def test_its_version_is_in_its_answer_to_a_ping(podman: ScriptedEngine) -> None:
    with Engine(podman.host) as engine:
        version = engine.version()
        assert (version.version, version.api_version) == ("4.3.1", "1.41")
        assert engine.api_version() == "1.41"


@pytest.mark.parametrize(
    ("version", "address"), [("4.3.1", "10.88.0.1"), ("4.6.2", "10.88.0.1"), ("4.7.0", ""), ("5.4.2-rc1", "")]
)
def test_the_address_of_its_machine_is_asked_for_where_the_keyword_is_not_known(
    podman: ScriptedEngine, version: str, address: str
) -> None:
    podman.script |= {"_ping": lambda asked: asked.say(ping(version)), "podman": network}
    with Engine(podman.host) as engine:
        assert engine.host_gateway() == address


def test_docker_needs_no_address(tmp_path: Path) -> None:
    with scripted_engine(tmp_path) as docker, Engine(docker.host) as engine:
        assert engine.host_gateway() == ""


def test_a_container_is_killed_before_it_is_removed(podman: ScriptedEngine) -> None:
    with Engine(podman.host) as engine:
        assert engine.remove("c0ffee")
    assert podman.requests() == ["POST /containers/c0ffee/kill", "DELETE /containers/c0ffee"]


def test_one_that_does_not_run_any_more_is_removed_all_the_same(podman: ScriptedEngine) -> None:
    podman.script["kill"] = lambda asked: asked.answer(409, {"message": "can only kill running containers"})
    with Engine(podman.host) as engine:
        assert engine.remove("c0ffee")


def test_events_are_asked_for_by_its_own_names_and_told_by_dockers(podman: ScriptedEngine) -> None:
    podman.script["events"] = lambda asked: asked.answer(200)
    with Engine(podman.host) as engine:
        assert list(engine.events({}, None, ("image",), {"die", "delete", "load"})) == []
    (asked,) = [item for item in list(podman.asked.queue) if item.path == "/events"]
    wanted = set(json.loads(parse_qs(asked.query)["filters"][0])["event"])
    assert wanted == {"die", "died", "delete", "remove", "load", "loadfromarchive"}
    told = {"remove": "delete", "loadfromarchive": "load", "tag": "tag"}
    for theirs, ours in told.items():
        assert engine_event({"Type": "image", "Action": theirs}).action == ours
    assert engine_event({"Type": "container", "Action": "remove"}).action == "remove"


def test_the_death_of_its_container_is_understood() -> None:
    said = {
        "Type": "container", "Action": "die", "timeNano": 5_000_000_000,
        "Actor": {"ID": "f00d", "Attributes": {"name": "n", "exitCode": "137", "containerExitCode": "137"}},
    }  # fmt: skip
    event = engine_event(said)
    assert (event.name, event.action, event.exit_code, event.signal, event.time) == ("n", "die", 137, None, 5.0)
