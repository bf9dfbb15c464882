"""``python -m metamcp import``: what it writes, what it says, and what it leaves alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from metamcp.__main__ import main
from metamcp.config.loader import load

SERVERS = {"mcpServers": {
    "git": {"command": "docker", "args": ["run", "-i", "example/git:1"], "env": {"TOKEN": "canary-0123456789"}},
    "plain": {"command": "npx", "args": ["p"]}, "allowed": {"command": "docker", "args": ["run", "alpine"]},
}}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("METAMCP_CONFIG_DIR", str(tmp_path / "config"))
    return tmp_path


def run(folder: Path, *more: str, document: Any = SERVERS) -> Result:
    source = folder / "export.json"
    source.write_text(document if isinstance(document, str) else json.dumps(document))
    return CliRunner().invoke(main, ["import", str(source), *more])


def test_configuration_is_written_for_its_owner_alone_and_is_valid(folder: Path) -> None:
    result = run(folder)
    written = folder / "config/servers.json"
    assert result.exit_code == 0, result.output
    assert written.stat().st_mode & 0o777 == 0o600
    assert set(load(folder / "config").config.servers) == {"git", "plain", "allowed"}
    assert [path.name for path in written.parent.iterdir()] == ["servers.json"]


def test_it_says_what_is_left_to_do_and_repeats_no_secret(folder: Path) -> None:
    (folder / "config").mkdir()
    (folder / "config/allowlist.json").write_text('{"images": ["alpine"]}')
    said = run(folder).output
    assert "image: example/git:1 is not allowed yet" in said
    assert 'add "docker.io/example/git:1" to "images" in allowlist.json' in said
    assert "alpine" not in said
    assert 'mcpServers.git.env.TOKEN holds a secret in clear: write "${TOKEN}"' in said
    assert "plain processes, which run unconfined as the gateway's user: plain (npx)" in said
    assert "canary" not in said
    assert (folder / "config/allowlist.json").read_text() == '{"images": ["alpine"]}'


def test_what_is_there_stays_unless_it_is_forced_and_keeps_its_mode(folder: Path) -> None:
    target = folder / "config/servers.json"
    target.parent.mkdir()
    target.write_text("mine")
    target.chmod(0o640)
    refused = run(folder)
    assert refused.exit_code == 1 and "--force" in refused.output and target.read_text() == "mine"
    assert run(folder, "--force").exit_code == 0
    assert "git" in json.loads(target.read_text())["mcpServers"]
    assert target.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("document", ["{", '{"mcpServers": {"x": {}}}', '{"mcpServers": {"git": 7}}', "\x00"])
def test_nothing_is_written_where_nothing_can_be_taken_over(folder: Path, document: str) -> None:
    result = run(folder, document=document)
    assert result.exit_code == 2
    assert not (folder / "config").exists()


def test_namespace_that_would_make_it_invalid_writes_nothing(folder: Path) -> None:
    bad = {"namespace": {"name": "no such/name", "servers": [{"name": "git"}]}}
    (folder / "namespace.json").write_text(json.dumps(bad))
    result = run(folder, str(folder / "namespace.json"))
    assert result.exit_code == 2 and "no such/name" in result.output
    assert not (folder / "config").exists()


def test_standard_input_is_a_file_too(folder: Path) -> None:
    result = CliRunner().invoke(main, ["import", "-"], input=json.dumps(SERVERS))
    assert result.exit_code == 0, result.output


def test_link_that_leads_to_the_file_is_kept(folder: Path) -> None:
    (folder / "config").mkdir()
    real = folder / "real.json"
    real.write_text("{}")
    (folder / "config/servers.json").symlink_to(real)
    assert run(folder, "--force").exit_code == 0
    assert (folder / "config/servers.json").is_symlink() and "git" in real.read_text()


def test_folder_that_cannot_be_written_is_told(folder: Path) -> None:
    (folder / "config").write_text("a file where the folder should be")
    result = run(folder)
    assert result.exit_code == 1 and "cannot be written" in result.output
    assert not list(folder.glob(".servers*"))


def test_files_of_different_kinds_are_one_configuration_and_each_loss_names_its_file(folder: Path) -> None:
    catalog, config = folder / "catalog.yaml", folder / "config.yaml"
    catalog.write_text("registry:\n  files: {image: mcp/files, volumes: ['{{files.path|volume}}'], allowHosts: [a]}\n")
    config.write_text("files:\n  path: /srv/data\n")
    result = run(folder, str(catalog), str(config))
    assert result.exit_code == 0, result.output
    assert load(folder / "config").config.servers["files"].args[3:] == ("-v", "/srv/data:/srv/data", "mcp/files")
    assert f"left out: {catalog}: registry.files.allowHosts is no list" in result.output
    assert f"secret: {folder / 'export.json'}: mcpServers.git.env.TOKEN" in result.output


@pytest.mark.parametrize("content", [b"\xff", b"a: !x y", b"a: &b c", b"[" * 9000, b"a: [", b'{"a": 1'])
def test_file_that_cannot_be_read_is_named(folder: Path, content: bytes) -> None:
    bad = folder / "bad.yaml"
    bad.write_bytes(content)
    result = run(folder, str(bad))
    assert result.exit_code == 2 and str(bad) in result.output
    assert not (folder / "config").exists()


def test_names_give_a_terminal_no_orders(folder: Path) -> None:
    servers = {"a\x1b[2J": {"command": "p", "\x1b[31m": 1}, "b": {"command": "p", "x" * 5000: 1}}
    result = run(folder, document={"mcpServers": servers})
    assert result.exit_code == 0 and "\x1b" not in result.output and len(result.output) < 2000
    assert "\x1b" not in run(folder, "--force", document={"mcpServers": {"\x1b": 7}}).output


def test_key_that_is_written_twice_is_told(folder: Path) -> None:
    result = run(folder, document='{"mcpServers": {"a": {"command": "p"}, "a": {"command": "q"}}}')
    assert "left out: mcpServers.a is written more than once: the last one counts" in result.output


def test_variables_that_have_to_be_set_are_named(folder: Path) -> None:
    env = {"A": "${input:token}", "B": "${C:-usual}", "D": "$${E}", "F": "${file:/run/f}", "G": "${H}"}
    result = run(folder, document={"mcpServers": {"a": {"command": "p", "env": env}}})
    assert "variables that the gateway needs: H, token" in result.output


def test_what_the_gateway_would_not_read_is_not_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metamcp.config.loader.MAX_FILE_BYTES", 100)
    result = run(folder)
    assert result.exit_code == 1 and "would be larger than" in result.output
    assert not (folder / "config").exists()
