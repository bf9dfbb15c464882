from __future__ import annotations

import datetime
import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from stdio_client import StdioClient, python_server, stdio_client

SERVER = Path(__file__).parents[2] / "demo" / "server.py"
Start = Callable[[str], StdioClient]


@pytest.fixture
def start() -> Iterator[Start]:
    with ExitStack() as stack:
        yield lambda name: stack.enter_context(stdio_client(python_server(SERVER, name)))


@pytest.mark.parametrize("revision", ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"])
def test_known_revision_is_echoed(start: Start, revision: str) -> None:
    assert start("hello").initialize(revision)["protocolVersion"] == revision


def test_unknown_revision_is_answered_with_the_latest(start: Start) -> None:
    assert start("hello").initialize("1999-01-01")["protocolVersion"] == "2025-11-25"


@pytest.mark.parametrize(
    ("name", "tools"),
    [
        ("hello", ["greet", "whoami"]),
        ("clock", ["now", "sleep", "whoami"]),
        ("notes", ["add", "list", "count"]),
    ],
)
def test_each_personality_describes_its_tools(start: Start, name: str, tools: list[str]) -> None:
    listed = start(name).ask("tools/list")["result"]["tools"]
    assert [tool["name"] for tool in listed] == tools
    for tool in listed:
        assert tool["description"]
        assert tool["inputSchema"]["type"] == "object"
        assert set(tool["inputSchema"]["required"]) <= set(tool["inputSchema"]["properties"])
        assert tool["annotations"]["readOnlyHint"] is (tool["name"] != "add")


def test_ping_is_answered_with_an_empty_result(start: Start) -> None:
    assert start("hello").ask("ping")["result"] == {}


def test_unknown_method_is_refused(start: Start) -> None:
    assert start("hello").ask("server/discover")["error"]["code"] == -32601


def test_unknown_tool_is_refused(start: Start) -> None:
    assert start("hello").ask("tools/call", {"name": "add"})["error"]["code"] == -32602


def test_line_that_is_not_json_is_answered_with_a_parse_error(start: Start) -> None:
    client = start("hello")
    client.send_bytes(b"{not json}\n")
    assert client.message()["error"]["code"] == -32700
    assert client.ask("ping")["result"] == {}


@pytest.mark.parametrize(
    "message",
    ["1", '{"id": 1, "method": "ping"}'],
)
def test_json_that_is_no_message_is_refused_and_the_server_lives(start: Start, message: str) -> None:
    client = start("hello")
    client.send_bytes(message.encode() + b"\n")
    assert client.message()["error"]["code"] == -32600
    assert client.ask("ping")["result"] == {}


@pytest.mark.parametrize("params", [[1], {"name": "greet", "arguments": [1]}, {"name": "greet", "_meta": "x"}])
def test_parameters_of_the_wrong_shape_are_refused(start: Start, params: object) -> None:
    client = start("hello")
    message = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params}
    client.send_bytes(json.dumps(message).encode() + b"\n")
    assert client.answer(7)["error"]["code"] == -32602


def test_each_message_of_an_array_is_answered(start: Start) -> None:
    client = start("hello")
    batch = [{"jsonrpc": "2.0", "id": number, "method": "ping"} for number in (1, 2)]
    client.send_bytes(json.dumps(batch).encode() + b"\n")
    assert [client.message()["id"], client.message()["id"]] == [1, 2]


def test_greet_names_the_greeted(start: Start) -> None:
    assert start("hello").text("greet", name="Zoë") == "Hello, Zoë!"


def test_whoami_is_the_host_name(start: Start) -> None:
    assert start("hello").text("whoami") == os.uname().nodename


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({}, "needs the argument 'name'"),
        ({"name": 5}, "type string"),
        ({"name": ""}, "1 to 200 characters"),
        ({"name": "x" * 201}, "1 to 200 characters"),
        ({"name": "x", "loud": True}, "no argument 'loud'"),
    ],
)
def test_bad_arguments_are_an_error_result_that_says_why(
    start: Start, arguments: dict[str, Any], complaint: str
) -> None:
    result = start("hello").call("greet", **arguments)
    assert result["isError"] is True
    assert complaint in result["content"][0]["text"]


@pytest.mark.parametrize("value", [True, 1.5, "5", -1, 600_001])
def test_number_of_the_wrong_kind_or_size_is_an_error_result(start: Start, value: object) -> None:
    assert start("clock").call("sleep", ms=value)["isError"] is True


def test_now_is_given_in_the_zone_that_was_asked_for(start: Start) -> None:
    told = datetime.datetime.fromisoformat(start("clock").text("now", timezone_offset_minutes=-90))
    assert told.utcoffset() == datetime.timedelta(minutes=-90)
    assert abs(told - datetime.datetime.now(datetime.UTC)) < datetime.timedelta(seconds=30)


def test_sleep_does_not_hold_up_another_call(start: Start) -> None:
    client = start("clock")
    client.send("tools/call", {"name": "sleep", "arguments": {"ms": 60_000}}, "long")
    assert client.text("whoami") == os.uname().nodename


def test_sleep_reports_progress_to_the_token_up_to_the_total(start: Start) -> None:
    client = start("clock")
    params = {"name": "sleep", "arguments": {"ms": 20}, "_meta": {"progressToken": "p"}}
    client.ask("tools/call", params)
    *notes, last = [json.loads(line) for line in client.lines]
    assert last["result"]["content"][0]["text"] == "Slept 20 ms."
    assert {note["params"]["progressToken"] for note in notes} == {"p"}
    assert [note["params"]["progress"] for note in notes] == list(range(11))


def test_sleep_without_a_token_reports_nothing(start: Start) -> None:
    client = start("clock")
    client.call("sleep", ms=10)
    assert len(client.lines) == 1


def test_cancelled_sleep_is_never_answered(start: Start) -> None:
    client = start("clock")
    client.send("tools/call", {"name": "sleep", "arguments": {"ms": 60_000}}, "long")
    client.send("notifications/cancelled", {"requestId": "long"})
    client.end_input()
    assert client.wait() == 0
    with pytest.raises(EOFError):
        client.line()


def test_cancel_of_something_unknown_does_no_harm(start: Start) -> None:
    client = start("clock")
    client.send("notifications/cancelled", {"requestId": {"odd": 1}})
    client.send("notifications/cancelled", {"requestId": 99})
    assert client.ask("ping")["result"] == {}


def test_notes_are_kept_in_order_and_counted(start: Start) -> None:
    client = start("notes")
    assert client.text("count") == "0"
    assert [client.text("add", text=text) for text in ("one", "two")] == ["Note 1 added.", "Note 2 added."]
    assert client.text("list") == "1. one\n2. two"
    assert client.text("count") == "2"


def test_end_of_input_ends_the_server_even_during_a_sleep(start: Start) -> None:
    client = start("clock")
    client.send("tools/call", {"name": "sleep", "arguments": {"ms": 600_000}}, 1)
    client.end_input()
    assert client.wait() == 0


def test_sigterm_ends_the_server(start: Start) -> None:
    client = start("hello")
    client.initialize()
    client.process.terminate()
    assert client.wait() == 0


def test_standard_error_carries_what_is_for_people(start: Start) -> None:
    client = start("notes")
    client.initialize()
    assert "notes" in client.stderr()


def test_unknown_personality_is_refused_with_the_known_ones(start: Start) -> None:
    client = start("parrot")
    assert client.wait() == 2
    assert "hello|clock|notes" in client.stderr()
