"""Which of 500 tools is the right one: tasks told in other words than the tools' own."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from json_texts import values

from metamcp.config.model import NamespaceSpec
from metamcp.gateway.listings import TOOLS, Entry, Item
from metamcp.gateway.merging import View, merge
from metamcp.gateway.tool_index import ToolIndex, groups
from metamcp.protocol import jsonrpc
from metamcp.protocol.jsonrpc import JsonObject

HERE = Path(__file__).parent
TOOL = re.compile(r"([^(]+)\(([^)]*)\): (.*)")


def lines(file: str) -> list[str]:
    return [line for line in (HERE / file).read_text().splitlines() if line and not line.startswith("#")]


def tools() -> Iterator[tuple[str, dict[str, Any]]]:
    """Server and tool of each line of the file."""
    server = ""
    for line in lines("five_hundred_tools.txt"):
        if line.startswith("["):
            server = line[1:-1]
            continue
        found = TOOL.fullmatch(line)
        assert found is not None, line
        properties = {name: {"type": "string"} for name in found[2].split(", ") if name}
        schema = {"type": "object", "properties": properties}
        yield server, {"name": found[1], "description": found[3], "inputSchema": schema}


def entries() -> list[Entry]:
    items: dict[str, list[Item]] = {}
    for server, body in tools():
        items.setdefault(server, []).append(Item(body["name"], jsonrpc.decode_object(jsonrpc.encode(body))))
    capabilities = jsonrpc.decode_object(b'{"tools":{}}')
    return [Entry(server, capabilities, "", {TOOLS.name: tuple(found)}) for server, found in items.items()]


@functools.cache
def whole_view() -> View:
    """Of 50 servers, each with ten tools, as an endpoint with search shows them."""
    known = entries()
    return merge(NamespaceSpec("all", tuple(it.server for it in known), discovery="search"), known)


def best(query: str, limit: int) -> list[str]:
    index = whole_view().index
    assert index is not None
    return names(index.best(query, limit))


def names(found: list[JsonObject]) -> list[str]:
    return [json.loads(bytes(body["name"])) for body in found]


def missed(tasks: list[str]) -> list[str]:
    """Those of which the tool is not among the first five."""
    found = []
    for line in tasks:
        task, _, tool = line.partition(" => ")
        assert tool in whole_view().routes["tools"], line
        if tool not in best(task, 5):
            found.append(line)
    return found


def test_there_are_500_tools_of_50_servers_and_the_list_of_a_client_is_under_2_kb() -> None:
    view = whole_view()
    assert len(view.routes["tools"]) == 500 and len({route.server for route in view.routes["tools"].values()}) == 50
    assert [tool["name"] for tool in json.loads(view.listings["tools"])["tools"]] == ["search_tools", "call_tool"]
    assert len(view.listings["tools"]) < 2048


@pytest.mark.parametrize(
    ("file", "enough"), [("fifty_tasks.txt", (50, 45)), ("thirty_tasks.txt", (30, 27)), ("twenty_tasks.txt", (20, 15))]
)
def test_the_right_tool_is_among_the_first_five(file: str, enough: tuple[int, int]) -> None:
    tasks = lines(file)
    wrong = missed(tasks)
    assert len(tasks) == enough[0] and len(tasks) - len(wrong) >= enough[1], "\n".join(wrong)


def test_a_tool_is_found_by_its_own_name_however_that_is_written() -> None:
    for query in ("zones_list", "zones list", "cloudflare zones"):
        assert "cloudflare__zones_list" in best(query, 5)
    assert best("getNowPlaying", 1) == ["spotify__getNowPlaying"]


def test_nothing_is_found_where_no_word_means_anything() -> None:
    for query in ("", "...", "the of and", "xyzzy", '"', "' OR 1", "^", "\x00", "\ud800"):
        assert best(query, 5) == []


@given(query=st.text(max_size=200), limit=st.integers(1, 20))
def test_no_query_is_an_error_and_no_more_is_found_than_wanted(query: str, limit: int) -> None:
    found = best(query, limit)
    assert len(found) <= limit and len(set(found)) == len(found)


@given(body=st.dictionaries(st.sampled_from(["title", "description", "inputSchema", "x"]), values))
def test_no_body_of_a_tool_is_an_error(body: Mapping[str, Any]) -> None:
    whole = {name: jsonrpc.Raw(text.encode()) for name, text in body.items()} | {"name": jsonrpc.Raw(b'"git__push"')}
    assert ToolIndex([("git", whole)]).best("push", 5) == [whole]


def test_an_argument_is_found_by_its_description() -> None:
    schema = {"properties": {"x": {"description": "the colour of the bicycle"}, "y": 1}}
    tool = {"name": jsonrpc.Raw(b'"a__t"'), "inputSchema": jsonrpc.Raw(jsonrpc.encode(schema))}
    other = {"name": jsonrpc.Raw(b'"a__u"')}
    assert ToolIndex([("a", other), ("a", tool)]).best("bicycles", 5) == [tool]


def test_the_thesaurus_is_of_plain_words() -> None:
    assert groups() and all(re.fullmatch(r"[a-z0-9-]+( [a-z0-9-]+)+", group) for group in groups())
