"""Files as each client and gateway documents them (``foreign/``, made by hand), and what becomes of each: the whole
document, and the place of each note (``foreign/expected/``)."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from metamcp.config.importing.documents import import_documents
from metamcp.config.importing.outcome import Imported, Source
from metamcp.config.importing.reading import read
from metamcp.config.schema import servers_from

FOLDER = Path(__file__).parent / "foreign"

SETS = {
    "metamcp": ["metamcp-servers.json", "metamcp-namespace.json"],
    "metamcp-rows": ["metamcp-rows.json"],
    "claude-desktop": ["claude_desktop_config.json"],
    "claude-code": ["claude-code.mcp.json"],
    "cursor": ["cursor-mcp.json"],
    "vscode": ["vscode-mcp.json"],
    "vscode-settings": ["vscode-settings.json"],
    "windsurf": ["windsurf-mcp_config.json"],
    "cline": ["cline_mcp_settings.json"],
    "zed": ["zed-settings.json"],
    "gemini": ["gemini-settings.json"],
    "docker": ["docker-catalog.yaml", "docker-registry.yaml", "docker-config.yaml", "docker-tools.yaml"],
    "docker-catalog": ["docker-catalog.yaml"],
    "docker-profile": ["docker-profile.yaml"],
    "docker-entry": ["docker-entry.yaml"],
    "together": ["docker-entry.yaml", "docker-profile.yaml", "cursor-mcp.json", "metamcp-servers.json"],
}


def imports(files: Sequence[str]) -> Imported:
    alone = len(files) == 1
    read_ones = [(file, *read((FOLDER / file).read_bytes())) for file in files]
    return import_documents([Source(document, "" if alone else file, twice) for file, document, twice in read_ones])


def outcome(files: Sequence[str]) -> dict[str, Any]:
    imported = imports(files)
    notes = imported.notes
    kinds = {"changed": notes.changed, "left_out": notes.left_out, "secrets": notes.secrets}
    return {"document": imported.document, **{kind: [place for place, _ in found] for kind, found in kinds.items()}}


@pytest.mark.parametrize("name", SETS)
def test_file_becomes_what_is_expected_and_every_loss_is_told(name: str) -> None:
    assert outcome(SETS[name]) == json.loads((FOLDER / f"expected/{name}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", SETS)
def test_it_is_a_configuration_and_no_note_repeats_a_secret(name: str) -> None:
    imported = imports(SETS[name])
    assert servers_from(imported.document).servers
    assert "canary" not in repr(imported.notes)


def test_every_file_has_an_expectation() -> None:
    assert {path.name for path in FOLDER.glob("*.*")} == {file for files in SETS.values() for file in files}
    assert {path.stem for path in (FOLDER / "expected").iterdir()} == set(SETS)


def test_order_of_files_does_not_matter_for_what_belongs_together() -> None:
    forwards, backwards = imports(SETS["docker"]), imports(SETS["docker"][::-1])
    assert forwards.document == backwards.document


@pytest.mark.parametrize("name", ["docker", "docker-profile"])
def test_servers_of_the_toolkit_are_containers_with_their_secrets_as_variables(name: str) -> None:
    servers = servers_from(imports(SETS[name]).document).servers
    local = [server for server in servers.values() if not server.url]
    assert local and all(server.command == "docker" and server.args[:3] == ("run", "-i", "--rm") for server in local)
    secrets = {key: value for server in local for key, value in server.env.items() if re.search("KEY|TOKEN|PASS", key)}
    assert secrets and all(value == f"${{{key}}}" for key, value in secrets.items())
