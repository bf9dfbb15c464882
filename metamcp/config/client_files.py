"""What a client's own configuration has to say to use an endpoint: snippets to be copied, and whole files."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

YOUR_KEY = "YOUR_KEY"


@dataclass(frozen=True, slots=True)
class Snippet:
    """``where`` it belongs: a file, or a shell."""

    client: str
    where: str
    text: str


@dataclass(frozen=True, slots=True)
class Reached:
    """An endpoint whose Streamable HTTP is at ``url``. Who needs a key sends it in ``Authorization``."""

    name: str
    url: str
    needs_key: bool

    @property
    def called(self) -> str:
        """The server's name in the client."""
        return "metamcp" if self.name == "default" else f"metamcp-{self.name}"

    @property
    def variable(self) -> str:
        """Where the client finds the key."""
        return re.sub(r"[^A-Z0-9]", "_", f"{self.called}_key".upper())


@dataclass(frozen=True, slots=True)
class ClientFile:
    """``keys``: by endpoint, what its user has to do to give it the key."""

    where: str
    document: dict[str, Any]
    keys: Mapping[str, str]


def snippets(name: str, url: str, needs_key: bool) -> list[Snippet]:
    """For one endpoint, as ``Reached`` has it."""
    it = Reached(name, url, needs_key)
    bearer = f"Bearer {YOUR_KEY}"
    remote = _remote(it, bearer)
    bridge = _bridge(it, ["--headers", "Authorization", bearer])
    header = ["--header", f"Authorization: {bearer}"] if needs_key else []
    return [
        Snippet("Claude Code", "shell", f"claude mcp add --transport http {shlex.join([it.called, url, *header])}"),
        Snippet("Claude Desktop", "claude_desktop_config.json", _json({"mcpServers": {it.called: _program(bridge)}})),
        Snippet("Cursor", "~/.cursor/mcp.json", _json({"mcpServers": {it.called: remote}})),
        Snippet("VS Code", ".vscode/mcp.json", _json({"servers": {it.called: {"type": "http", **remote}}})),
        Snippet("mcp-proxy", "shell", shlex.join(["uvx", *bridge])),
    ]


def claude(endpoints: Sequence[Reached]) -> ClientFile:
    """Claude Code reads variables of its environment."""
    servers = {it.called: {"type": "http", **_remote(it, f"Bearer ${{{it.variable}}}")} for it in endpoints}
    return ClientFile(".mcp.json", {"mcpServers": servers}, _variables(endpoints))


def cursor(endpoints: Sequence[Reached]) -> ClientFile:
    """So does Cursor, which writes them in a way of its own."""
    servers = {it.called: _remote(it, f"Bearer ${{env:{it.variable}}}") for it in endpoints}
    return ClientFile(".cursor/mcp.json", {"mcpServers": servers}, _variables(endpoints))


def vscode(endpoints: Sequence[Reached]) -> ClientFile:
    """VS Code asks, and keeps the answer among its secrets."""
    servers = {it.called: {"type": "http", **_remote(it, f"Bearer ${{input:{it.called}-key}}")} for it in endpoints}
    inputs = [
        {"type": "promptString", "id": f"{it.called}-key", "description": f"API key of {it.called}", "password": True}
        for it in _keyed(endpoints)
    ]
    keys = {it.name: "VS Code asks for the key" for it in _keyed(endpoints)}
    return ClientFile(".vscode/mcp.json", {"inputs": inputs, "servers": servers}, keys)


def mcp_proxy(endpoints: Sequence[Reached]) -> ClientFile:
    """For clients that only start programs and read no variables. In ``env``, since process lists show arguments."""
    servers = {
        it.called: _program(_bridge(it, [])) | ({"env": {"API_ACCESS_TOKEN": YOUR_KEY}} if it.needs_key else {})
        for it in endpoints
    }
    keys = {it.name: f"write the key in the place of {YOUR_KEY} of {it.called}" for it in _keyed(endpoints)}
    return ClientFile("claude_desktop_config.json", {"mcpServers": servers}, keys)


FORMATS: Mapping[str, Callable[[Sequence[Reached]], ClientFile]] = {
    "claude": claude, "cursor": cursor, "vscode": vscode, "mcp-proxy": mcp_proxy,
}  # fmt: skip


def _keyed(endpoints: Sequence[Reached]) -> list[Reached]:
    return [it for it in endpoints if it.needs_key]


def _variables(endpoints: Sequence[Reached]) -> dict[str, str]:
    return {it.name: f"set the variable {it.variable} to the key" for it in _keyed(endpoints)}


def _remote(it: Reached, authorization: str) -> dict[str, Any]:
    return {"url": it.url} | ({"headers": {"Authorization": authorization}} if it.needs_key else {})


def _bridge(it: Reached, header: list[str]) -> list[str]:
    return ["mcp-proxy", "--transport", "streamablehttp", *(header if it.needs_key else []), it.url]


def _program(words: list[str]) -> dict[str, Any]:
    return {"command": "uvx", "args": words}


def _json(document: object) -> str:
    return json.dumps(document, indent=2)
