"""What clients' configurations say: each can be read by the client whose it is."""

from __future__ import annotations

import json
import shlex

import pytest

from metamcp.config.client_files import FORMATS, YOUR_KEY, Reached, Snippet, snippets

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


# --- whole files -------------------------------------------------------------------------------------------

OPEN, KEYED = Reached("default", "http://127.0.0.1:12009/metamcp/default/mcp", False), Reached("dev", URL, True)


def test_claude_code_and_cursor_read_the_key_from_a_variable_each_in_its_way() -> None:
    for form, written in (("claude", "${METAMCP_DEV_KEY}"), ("cursor", "${env:METAMCP_DEV_KEY}")):
        made = FORMATS[form]([OPEN, KEYED])
        kind = {"type": "http"} if form == "claude" else {}
        assert made.document == {"mcpServers": {
            "metamcp": {**kind, "url": OPEN.url},
            "metamcp-dev": {**kind, "url": URL, "headers": {"Authorization": f"Bearer {written}"}},
        }}  # fmt: skip
        assert made.keys == {"dev": "set the variable METAMCP_DEV_KEY to the key"}


def test_vscode_asks_for_the_key_and_hides_it() -> None:
    made = FORMATS["vscode"]([OPEN, KEYED])
    [asked] = made.document["inputs"]
    assert (asked["type"], asked["id"], asked["password"]) == ("promptString", "metamcp-dev-key", True)
    assert made.document["servers"]["metamcp-dev"]["headers"] == {"Authorization": "Bearer ${input:metamcp-dev-key}"}
    assert made.document["servers"]["metamcp"] == {"type": "http", "url": OPEN.url}


def test_a_client_that_only_starts_programs_has_the_key_in_the_environment() -> None:
    made = FORMATS["mcp-proxy"]([OPEN, KEYED])
    servers = made.document["mcpServers"]
    assert servers["metamcp-dev"]["env"] == {"API_ACCESS_TOKEN": YOUR_KEY}
    assert servers["metamcp-dev"]["args"] == ["mcp-proxy", "--transport", "streamablehttp", URL]
    assert "env" not in servers["metamcp"] and set(made.keys) == {"dev"}


@pytest.mark.parametrize("name", ["a.b-c", "dev", "x~1"])
def test_variable_of_an_endpoint_is_one_that_a_shell_can_set(name: str) -> None:
    assert Reached(name, URL, True).variable.replace("_", "").isalnum()
