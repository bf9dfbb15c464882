"""The checks put together: whose images, which address, and by what right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from metamcp.access import keyfile, probing
from metamcp.access.keys import Record, hash_of, mint
from metamcp.config.engine_address import EngineAddress
from metamcp.config.loader import Loaded, load
from metamcp.config.settings import Settings
from metamcp.errors import ConfigInvalid
from metamcp.factory.diagnosing import (
    DEMO_IMAGE,
    Occasion,
    address,
    choose,
    credentials,
    images_of,
    probe_url,
    themes,
)
from metamcp.factory.starting import build_resolver
from metamcp.runtime.cuts import Cuts
from metamcp.runtime.diagnosis.checks.containers import Household
from metamcp.runtime.diagnosis.diagnostics import only
from metamcp.runtime.diagnosis.outcomes import CheckFailedError
from metamcp.runtime.diagnosis.probe import Means
from metamcp.runtime.labels import Identity

ME = Identity("unit", "now")
HERE = EngineAddress("unix:///nowhere.sock", "of the test")
SERVERS = """{"mcpServers": {
  "good": {"command": "docker", "args": ["run", "-i", "alpine"]},
  "bad": {"command": "docker", "args": ["run", "-i", "evil:1"]},
  "off": {"command": "docker", "args": ["run", "-i", "evil:2"], "enabled": false},
  "lacking": {"command": "docker", "args": ["run", "-i", "${METAMCP_UNIT_NOWHERE}"]},
  "plain": {"command": "python3", "args": ["x.py"]},
  "far": {"url": "https://mcp.example.com/mcp"}
}, "namespaces": {"all": {"servers": ["good"]}},
   "endpoints": {"dev": {"namespace": "all"}, "art": {"namespace": "all", "auth": "api-key"}}}"""


def occasion(folder: Path, servers: str = SERVERS, allowlist: str = '{"images": ["alpine"]}', **given: Any) -> Occasion:
    (folder / "servers.json").write_text(servers)
    (folder / "allowlist.json").write_text(allowlist)
    settings = Settings(config_dir=folder, state_dir=folder, public_url=given.pop("public_url", ""))

    def loaded() -> Loaded:
        return load(folder)

    return Occasion(
        settings, given.pop("engine", None), Means(), ME, lambda: build_resolver(settings, HERE, loaded(), ME),
        loaded, lambda: Household(0, ()), Cuts(), **given,
    )  # fmt: skip


def test_images_are_those_of_enabled_servers_in_containers(tmp_path: Path) -> None:
    found = {item.server: item for item in images_of(occasion(tmp_path))}
    assert set(found) == {"good", "bad", "lacking"}
    assert (found["good"].reference, found["good"].refused) == ("docker.io/library/alpine:latest", "")
    assert 'add "evil:1"' in found["bad"].refused
    assert "METAMCP_UNIT_NOWHERE is not set" in found["lacking"].refused


def test_what_a_dry_run_lets_through_is_told(tmp_path: Path) -> None:
    found = images_of(occasion(tmp_path, allowlist='{"images": ["alpine"], "dryRun": true}'))
    (bad,) = [item for item in found if item.server == "bad"]
    assert bad.refused == "" and "it would be denied" in bad.note


def test_a_configuration_with_mistakes_is_a_failure_that_names_the_command(tmp_path: Path) -> None:
    built = occasion(tmp_path, servers='{"mcpServers": 7}')
    with pytest.raises(CheckFailedError) as caught:
        images_of(built)
    assert "check-config" in caught.value.hint
    with pytest.raises(ConfigInvalid):
        built.loaded()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://mcp.example.com", "https://mcp.example.com/sse/probe"),
        ("https://mcp.example.com/", "https://mcp.example.com/sse/probe"),
        ("https://mcp.example.com/metamcp/default/", "https://mcp.example.com/metamcp/default/sse/probe"),
        ("https://mcp.example.com/metamcp/dev/sse", "https://mcp.example.com/metamcp/dev/sse/probe"),
        ("http://h:1/pre/metamcp/dev/mcp/?api_key=x#y", "http://h:1/pre/metamcp/dev/mcp/probe"),
        ("http://h:1/metamcp/dev/message?sessionId=1", "http://h:1/metamcp/dev/sse/probe"),
        ("http://h:1/mcp/probe", "http://h:1/mcp/probe"),
    ],
)
def test_the_probe_is_beside_the_stream_that_was_named(url: str, expected: str) -> None:
    assert probe_url(url) == expected


def test_without_a_url_only_the_public_address_is_tried(tmp_path: Path) -> None:
    assert address(occasion(tmp_path)) is None
    built = occasion(tmp_path, public_url="https://mcp.example.com", credentials=lambda: {"a": "b"})
    found = address(built)
    assert found is not None
    assert (found.url, found.headers) == ("https://mcp.example.com/metamcp/art/sse/probe", {"a": "b"})
    usual = occasion(tmp_path, servers='{"mcpServers": {}}', public_url="https://mcp.example.com")
    found = address(usual)
    assert found is not None and found.url == "https://mcp.example.com/metamcp/default/sse/probe"


def test_a_ticket_is_made_where_the_keys_can_be_read(tmp_path: Path) -> None:
    assert credentials(tmp_path, {}) == {}
    record = Record("ops", hash_of(mint(b"k" * 32)), ("admin",), 1)
    keyfile.rewrite(keyfile.path_in(tmp_path), lambda records: records.append(record))
    assert set(credentials(tmp_path, {})) == {probing.HEADER}
    own = credentials(tmp_path / "elsewhere", {"METAMCP_API_KEY": " mmcp_x "})
    assert own == {"Authorization": "Bearer mmcp_x"}
    keyfile.path_in(tmp_path).write_text("broken")
    assert credentials(tmp_path, {}) == {}


class Engine:
    docker_host = "unix:///nowhere.sock"

    def __init__(self, *images: str) -> None:
        self.images = images

    def image(self, reference: str) -> object | None:
        return object() if reference in self.images else None

    def inspect(self, _container_id: str) -> None:
        return None


def test_the_image_of_the_demo_servers_is_taken_where_it_is() -> None:
    engine: Any = Engine(DEMO_IMAGE)
    assert choose(engine, 5.0) == (DEMO_IMAGE, "of the demo servers")


def test_checks_can_be_chosen_with_what_they_need(tmp_path: Path) -> None:
    steps = themes(occasion(tmp_path, engine=Engine())).steps()
    assert [step.name for step in only(steps, ["removed"])] == [
        "socket", "socket-permissions", "engine", "docker-cli", "image", "round-trip", "removed",
    ]  # fmt: skip
    assert only(steps, []) == list(steps)
    with pytest.raises(KeyError):
        only(steps, ["nope"])


def test_each_check_has_a_name_of_its_own_and_comes_after_what_it_needs(tmp_path: Path) -> None:
    seen: list[str] = []
    for step in themes(occasion(tmp_path, engine=Engine())).steps():
        assert set(step.needs) <= set(seen) and step.name not in seen
        seen.append(step.name)
