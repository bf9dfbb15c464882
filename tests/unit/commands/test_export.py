"""``python -m metamcp export``: what it prints where, and what it leaves alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from metamcp.__main__ import main
from metamcp.config.loader import load

SERVERS = {
    "mcpServers": {
        "git": {"command": "docker", "args": ["run", "-i", "example/git:1"], "env": {"TOKEN": "canary-0123456789"}},
        "search": {"url": "https://a.example/mcp", "headers": {"Authorization": "Bearer canary-9876543210"}},
    },
    "namespaces": {"all": {"servers": ["git", "search"], "tools": {"git__push": {"enabled": False}}}},
    "endpoints": {
        "default": {"namespace": "all"}, "dev": {"namespace": "all", "auth": "api-key"},
        "sso": {"namespace": "all", "auth": "oauth", "oauth": {"issuer": "https://login.example.com"}},
    },
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("METAMCP_CONFIG_DIR", str(tmp_path / "config"))
    (tmp_path / "config").mkdir()
    (tmp_path / "config/servers.json").write_text(json.dumps(SERVERS))
    return tmp_path


def run(*words: str) -> Result:
    return CliRunner().invoke(main, ["export", *words])


def test_secrets_are_variables_and_which_ones_is_told_beside_the_document(folder: Path) -> None:
    result = run()
    assert result.exit_code == 0 and "canary" not in result.output
    document = json.loads(result.stdout)
    assert document["mcpServers"]["git"]["env"] == {"TOKEN": "${TOKEN}"}
    assert result.stderr.splitlines() == [
        "set TOKEN: mcpServers.git.env.TOKEN", "set SEARCH_AUTHORIZATION: mcpServers.search.headers.Authorization",
    ]  # fmt: skip


def test_export_can_be_imported_elsewhere(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = load(folder / "config").config
    assert run("--output", str(folder / "out.json")).exit_code == 0
    monkeypatch.setenv("METAMCP_CONFIG_DIR", str(folder / "other"))
    imported = CliRunner().invoke(main, ["import", str(folder / "out.json")])
    assert imported.exit_code == 0 and "left out" not in imported.output and "secret:" not in imported.output
    after = load(folder / "other").config
    assert (after.namespaces, after.endpoints) == (before.namespaces, before.endpoints)


def client(form: str, *words: str) -> tuple[dict[str, Any], str]:
    result = run("--format", form, *words)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout), result.stderr


@pytest.mark.parametrize("form", ["claude", "cursor", "vscode", "mcp-proxy"])
def test_client_is_led_to_every_endpoint_and_told_what_each_wants(folder: Path, form: str) -> None:
    document, said = client(form, "--url", "https://mcp.example.com/")
    servers = document["servers" if form == "vscode" else "mcpServers"]
    assert set(servers) == {"metamcp", "metamcp-dev", "metamcp-sso"}
    assert "https://mcp.example.com/metamcp/dev/mcp" in json.dumps(servers["metamcp-dev"])
    assert "dev: " in said and "keys create NAME --scope dev" in said and "sso: takes tokens of its issuer" in said
    assert "default:" not in said


def test_one_endpoint_at_the_gateways_own_address(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METAMCP_BIND", "0.0.0.0:4711")
    document, _ = client("cursor", "--endpoint", "default")
    assert document == {"mcpServers": {"metamcp": {"url": "http://127.0.0.1:4711/metamcp/default/mcp"}}}


def test_file_of_a_client_can_be_imported_by_another_gateway(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for form in ("claude", "cursor", "vscode"):
        (folder / "out.json").write_text(json.dumps(client(form, "--endpoint", "dev")[0]))
        monkeypatch.setenv("METAMCP_CONFIG_DIR", str(folder / form))
        assert CliRunner().invoke(main, ["import", str(folder / "out.json")]).exit_code == 0
        [server] = load(folder / form).config.servers.values()
        assert server.url == "http://127.0.0.1:12009/metamcp/dev/mcp" and "${" in server.headers["Authorization"]
        monkeypatch.setenv("METAMCP_CONFIG_DIR", str(folder / "config"))


def test_output_that_is_there_stays_unless_it_is_forced(folder: Path) -> None:
    target = folder / "out.json"
    target.write_text("mine")
    refused = run("--output", str(target))
    assert refused.exit_code == 1 and "--force" in refused.output and target.read_text() == "mine"
    assert run("--output", str(target), "--force").exit_code == 0
    assert "mcpServers" in json.loads(target.read_text())
    assert run("--output", str(target / "below")).exit_code != 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--endpoint", "default"], "say which --format"),
        (["--format", "cursor", "--endpoint", "nowhere"], "there are default, dev, sso"),
        (["--format", "telepathy"], "is not one of"),
    ],
)
def test_what_makes_no_sense_is_refused(folder: Path, words: list[str], said: str) -> None:
    result = run(*words)
    assert result.exit_code in (1, 2) and said in result.output


def test_configuration_with_mistakes_is_not_exported(folder: Path) -> None:
    (folder / "config/servers.json").write_text('{"mcpServers": {"a": {"env": {"TOKEN": "canary"}}}}')
    result = run()
    assert result.exit_code == 2 and "canary" not in result.output and "command" in result.output
