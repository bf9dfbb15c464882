"""What a client's own configuration has to say to use an endpoint, ready to be copied."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass

YOUR_KEY = "YOUR_KEY"


@dataclass(frozen=True, slots=True)
class Snippet:
    """``where`` it belongs: a file, or a shell."""

    client: str
    where: str
    text: str


def snippets(name: str, url: str, needs_key: bool) -> list[Snippet]:
    """For the endpoint ``name``, whose Streamable HTTP is at ``url``. Who needs a key sends it in ``Authorization``."""
    name = "metamcp" if name == "default" else f"metamcp-{name}"
    bearer = f"Bearer {YOUR_KEY}"
    remote = {"url": url} | ({"headers": {"Authorization": bearer}} if needs_key else {})
    bridge = ["--transport", "streamablehttp", *(["--headers", "Authorization", bearer] if needs_key else []), url]
    header = ["--header", f"Authorization: {bearer}"] if needs_key else []
    return [
        Snippet("Claude Code", "shell", f"claude mcp add --transport http {shlex.join([name, url, *header])}"),
        Snippet(
            "Claude Desktop", "claude_desktop_config.json",
            _json({"mcpServers": {name: {"command": "uvx", "args": ["mcp-proxy", *bridge]}}}),
        ),
        Snippet("Cursor", "~/.cursor/mcp.json", _json({"mcpServers": {name: remote}})),
        Snippet("VS Code", ".vscode/mcp.json", _json({"servers": {name: {"type": "http", **remote}}})),
        Snippet("mcp-proxy", "shell", shlex.join(["uvx", "mcp-proxy", *bridge])),
    ]  # fmt: skip


def _json(document: object) -> str:
    return json.dumps(document, indent=2)
