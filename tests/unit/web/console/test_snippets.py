"""What clients' configurations say: each can be read by the client whose it is."""

from __future__ import annotations

import json
import shlex

import pytest

from metamcp.web.console.snippets import YOUR_KEY, Snippet, snippets

URL = "http://127.0.0.1:12009/metamcp/dev/mcp"


def of(client: str, needs_key: bool = False) -> Snippet:
    return next(it for it in snippets("dev", URL, needs_key) if it.client == client)


@pytest.mark.parametrize("needs_key", [False, True])
def test_each_names_the_address_and_a_key_only_where_one_is_needed(needs_key: bool) -> None:
    for snippet in snippets("dev", URL, needs_key):
        assert URL in snippet.text
        assert (YOUR_KEY in snippet.text) == needs_key, snippet.client


def test_files_are_json_in_the_form_of_their_client() -> None:
    header = {"Authorization": f"Bearer {YOUR_KEY}"}
    assert json.loads(of("Cursor", True).text) == {"mcpServers": {"metamcp-dev": {"url": URL, "headers": header}}}
    assert json.loads(of("VS Code").text) == {"servers": {"metamcp-dev": {"type": "http", "url": URL}}}
    keyed = ["--headers", "Authorization", header["Authorization"]]
    arguments = ["mcp-proxy", "--transport", "streamablehttp", *keyed, URL]
    desktop = {"mcpServers": {"metamcp-dev": {"command": "uvx", "args": arguments}}}
    assert json.loads(of("Claude Desktop", True).text) == desktop


def test_commands_are_words_of_a_shell() -> None:
    words = shlex.split(of("Claude Code", True).text)
    header = ["--header", f"Authorization: Bearer {YOUR_KEY}"]
    assert words == ["claude", "mcp", "add", "--transport", "http", "metamcp-dev", URL, *header]
    assert shlex.split(of("mcp-proxy").text) == ["uvx", "mcp-proxy", "--transport", "streamablehttp", URL]


def test_the_default_endpoint_is_called_like_the_gateway() -> None:
    assert " metamcp http" in next(it.text for it in snippets("default", URL, False) if it.client == "Claude Code")
