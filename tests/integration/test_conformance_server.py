from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from conformance.fixture.catalog import PROMPTS, TOOLS
from stdio_client import Json, StdioClient, python_server, stdio_client

FIXTURE = Path(__file__).parents[1] / "conformance" / "fixture"
ALL: Json = {"sampling": {}, "elicitation": {}, "roots": {}}
ANSWERS: dict[str, Json] = {
    "elicitation/create": {"action": "accept", "content": {"name": "Ada"}},
    "sampling/createMessage": {"role": "assistant", "content": {"type": "text", "text": "Paris"}, "model": "m"},
    "roots/list": {"roots": [{"uri": "file:///r"}]},
}
MRTR = "test_input_required_result_"
Start = Callable[[str], StdioClient]


@pytest.fixture
def start() -> Iterator[Start]:
    with ExitStack() as stack:
        yield lambda era: stack.enter_context(stdio_client(python_server(FIXTURE, "--era", era)))


def opened(client: StdioClient, **capabilities: Json) -> StdioClient:
    hello = {"protocolVersion": "2025-11-25", "capabilities": capabilities, "clientInfo": {"name": "t", "version": "1"}}
    assert "result" in client.ask("initialize", hello)
    client.send("notifications/initialized")
    return client


def meta(**more: Any) -> Json:
    """The envelope of 2026-07-28."""
    values = {"protocolVersion": "2026-07-28", "clientCapabilities": ALL} | more
    return {"_meta": {f"io.modelcontextprotocol/{key}": value for key, value in values.items()}}


def modern(client: StdioClient, method: str, params: Json | None = None, **more: Any) -> Json:
    """The response to a request that stands alone."""
    return client.ask(method, {**(params or {}), **meta(**more)})


def retry(client: StdioClient, name: str, first: Json, /, **changes: Any) -> Json:
    """The same call again, with an answer to every question of the result ``first``."""
    responses = {key: ANSWERS[question["method"]] for key, question in first["inputRequests"].items()}
    state = {"requestState": first["requestState"]} if "requestState" in first else {}
    return modern(client, "tools/call", {"name": name, "inputResponses": responses, **state, **changes})


def respond(client: StdioClient, question: Json) -> None:
    answer = {"jsonrpc": "2.0", "id": question["id"], "result": ANSWERS[question["method"]]}
    client.send_bytes(json.dumps(answer).encode() + b"\n")


def texts(result: Json) -> str:
    return " ".join(block["text"] for block in result["content"])


def test_unknown_era_is_refused_with_the_usage(start: Start) -> None:
    client = start("future")
    assert client.wait() == 2
    assert "legacy|modern|dual" in client.stderr()


@pytest.mark.parametrize("era", ["legacy", "modern", "dual"])
def test_it_ends_with_its_input_even_in_the_middle_of_a_call(start: Start, era: str) -> None:
    client = start(era)
    client.send("tools/call", {"name": "test_reconnection", **meta()}, 1)
    client.end_input()
    assert client.wait() == 0


# --- the handshake era -------------------------------------------------------------------------------------


def test_legacy_does_not_know_the_probe_and_works_after_it(start: Start) -> None:
    client = start("legacy")
    assert modern(client, "server/discover")["error"]["code"] == -32601
    assert opened(client).text("test_simple_text")


def test_legacy_serves_nothing_before_initialize_and_no_envelope_after_it(start: Start) -> None:
    client = start("legacy")
    assert client.ask("tools/list")["error"]["code"] == -32600
    opened(client)
    assert len(client.ask("tools/list")["result"]["tools"]) == len(TOOLS)
    assert modern(client, "tools/list")["error"]["code"] == -32600


@pytest.mark.parametrize("name", sorted(PROMPTS))
def test_every_listed_prompt_gives_messages(start: Start, name: str) -> None:
    client = opened(start("legacy"), **ALL)
    arguments = dict.fromkeys(PROMPTS[name][1], "test://x")
    client.send("prompts/get", {"name": name, "arguments": arguments}, 7)
    while (message := client.message()).get("id") != 7 or "method" in message:
        respond(client, message)
    assert message["result"]["messages"]


def test_every_listed_tool_comes_to_its_end(start: Start) -> None:
    client = opened(start("legacy"), **ALL)
    for name in TOOLS:
        client.send("tools/call", {"name": name}, "call")
        while (message := client.message()).get("id") != "call":
            if "id" in message:
                respond(client, message)
        assert message["result"]["content"], name


def test_legacy_asks_three_questions_at_once_and_uses_all_answers(start: Start) -> None:
    client = opened(start("legacy"), **ALL)
    client.send("tools/call", {"name": f"{MRTR}multiple_inputs"}, "call")
    questions = [client.message() for _ in range(3)]
    assert {question["method"] for question in questions} == set(ANSWERS)
    assert [question["id"] for question in questions] == [0, 1, 2]
    for question in reversed(questions):
        respond(client, question)
    assert texts(client.answer("call")["result"]).count(":") >= 3


def test_legacy_asks_the_second_question_after_the_first_answer(start: Start) -> None:
    client = opened(start("legacy"), **ALL)
    client.send("tools/call", {"name": f"{MRTR}multi_round"}, "call")
    for step in ("Step 1", "Step 2"):
        question = client.message()
        assert question["params"]["message"].startswith(step)
        respond(client, question)
    assert "likes" in texts(client.answer("call")["result"])


def test_legacy_tool_asks_whatever_was_declared_and_fails_when_the_client_refuses(start: Start) -> None:
    client = opened(start("legacy"))
    client.send("tools/call", {"name": "test_elicitation"}, "call")
    refusal = {"jsonrpc": "2.0", "id": client.message()["id"], "error": {"code": -1, "message": "not now"}}
    client.send_bytes(json.dumps(refusal).encode() + b"\n")
    assert "not now" in texts(client.answer("call")["result"])


def test_legacy_logs_from_the_level_that_was_set_and_nothing_before(start: Start) -> None:
    def logged() -> int:
        before = len(client.lines)
        client.call("test_tool_with_logging")
        return sum(b"notifications/message" in line for line in client.lines[before:])

    client = opened(start("legacy"))
    assert logged() == 0
    for level, count in (("debug", 3), ("warning", 0)):
        assert client.ask("logging/setLevel", {"level": level})["result"] == {}
        assert logged() == count


def test_progress_carries_the_token_of_the_call_in_its_type(start: Start) -> None:
    client = opened(start("legacy"))
    for token in ("1", 0):
        client.send("tools/call", {"name": "test_tool_with_progress", "_meta": {"progressToken": token}}, "call")
        notes = [client.message()["params"] for _ in range(3)]
        assert [(note["progressToken"], note["progress"]) for note in notes] == [(token, 0), (token, 50), (token, 100)]
        client.answer("call")


@pytest.mark.parametrize("kind", ["tools", "prompts"])
def test_triggered_change_is_announced_and_seen_in_the_list(start: Start, kind: str) -> None:
    client = opened(start("legacy"))
    before = client.ask(f"{kind}/list")["result"]
    client.send("tools/call", {"name": f"test_trigger_{kind[:-1]}_change"}, "call")
    assert client.message()["method"] == f"notifications/{kind}/list_changed"
    client.answer("call")
    assert client.ask(f"{kind}/list")["result"] != before


def test_updates_of_a_resource_go_to_its_subscriber_until_it_leaves(start: Start) -> None:
    client = opened(start("legacy"))
    uri = {"uri": "test://watched-resource"}
    assert client.ask("resources/subscribe", uri)["result"] == {}
    client.call("test_trigger_resource_change")
    client.ask("resources/unsubscribe", uri)
    client.call("test_trigger_resource_change")
    updates = [json.loads(line) for line in client.lines if b"resources/updated" in line]
    assert [update["params"] for update in updates] == [uri]


def test_cancelled_call_is_not_answered(start: Start) -> None:
    client = opened(start("legacy"))
    client.send("tools/call", {"name": "test_reconnection"}, "slow")
    client.send("notifications/cancelled", {"requestId": "slow"})
    client.call("test_reconnection")
    assert not any(b'"slow"' in line for line in client.lines)


@pytest.mark.parametrize(("era", "code"), [("legacy", -32002), ("modern", -32602)])
def test_unknown_resource_has_the_code_of_the_era_and_its_uri(start: Start, era: str, code: int) -> None:
    params = {"uri": "test://nowhere"}
    client = start(era) if era == "modern" else opened(start(era))
    answer = client.ask("resources/read", params | (meta() if era == "modern" else {}))
    assert answer["error"]["code"] == code
    assert answer["error"]["data"] == params


# --- 2026-07-28 --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("era", ["modern", "dual"])
def test_discover_names_the_one_revision(start: Start, era: str) -> None:
    result = modern(start(era), "server/discover")["result"]
    assert result["supportedVersions"] == ["2026-07-28"]
    assert result["capabilities"]["tools"] == {"listChanged": True}


def test_results_say_what_they_are_and_how_long_they_keep(start: Start) -> None:
    client = start("modern")
    for method in ("server/discover", "tools/list", "prompts/list", "resources/list", "resources/templates/list"):
        result = modern(client, method)["result"]
        assert (result["resultType"], result["cacheScope"]) == ("complete", "public")
        assert result["ttlMs"] >= 0
        assert "io.modelcontextprotocol/serverInfo" in result["_meta"]
    assert "ttlMs" not in modern(client, "tools/call", {"name": "test_simple_text"})["result"]


def test_envelope_is_needed_in_full_and_of_the_right_revision(start: Start) -> None:
    client = start("modern")
    assert client.ask("tools/list")["error"]["code"] == -32602
    assert modern(client, "tools/list", clientCapabilities=None)["error"]["code"] == -32602
    error = modern(client, "tools/list", protocolVersion="v999.0.0")["error"]
    assert (error["code"], error["data"]) == (-32022, {"supported": ["2026-07-28"], "requested": "v999.0.0"})
    assert client.ask("initialize", {"protocolVersion": "2025-11-25"})["error"]["code"] == -32022


@pytest.mark.parametrize("method", ["initialize", "ping", "logging/setLevel", "resources/subscribe", "unknown/method"])
def test_removed_methods_are_unknown(start: Start, method: str) -> None:
    assert modern(start("dual"), method)["error"]["code"] == -32601


@pytest.mark.parametrize("tool", ["elicitation", "sampling", "list_roots", "request_state", "multiple_inputs"])
def test_questions_are_the_result_and_the_answers_come_with_a_retry(start: Start, tool: str) -> None:
    client, name = start("modern"), f"{MRTR}{tool}"
    first = modern(client, "tools/call", {"name": name})["result"]
    assert first["resultType"] == "input_required"
    assert retry(client, name, first)["result"]["resultType"] == "complete"


def test_second_round_has_a_new_state_that_keeps_the_first_answer(start: Start) -> None:
    client, name = start("modern"), f"{MRTR}multi_round"
    first = modern(client, "tools/call", {"name": name})["result"]
    second = retry(client, name, first)["result"]
    assert (list(first["inputRequests"]), list(second["inputRequests"])) == (["step1"], ["step2"])
    assert first["requestState"] != second["requestState"]
    assert "Ada" in texts(retry(client, name, second)["result"])


def test_state_that_was_changed_or_belongs_to_another_request_is_refused(start: Start) -> None:
    client, name = start("modern"), f"{MRTR}tampered_state"
    first = modern(client, "tools/call", {"name": name})["result"]
    for changes in (
        {"requestState": first["requestState"] + "-TAMPERED"},
        {"requestState": 5},
        {"name": f"{MRTR}request_state"},
        {"arguments": {"other": True}},
    ):
        assert retry(client, name, first, **changes)["error"]["code"] == -32602
    assert "result" in retry(client, name, first)


@pytest.mark.parametrize("responses", [{"wrong": {}}, {"user_name": 12345}, None, [], {}])
def test_unusable_answers_are_asked_for_again(start: Start, responses: object) -> None:
    params = {"name": f"{MRTR}elicitation", "inputResponses": responses}
    assert list(modern(start("modern"), "tools/call", params)["result"]["inputRequests"]) == ["user_name"]


def test_answers_without_the_state_that_belongs_to_them_are_asked_for_again(start: Start) -> None:
    params = {"name": f"{MRTR}request_state", "inputResponses": {"confirm": ANSWERS["elicitation/create"]}}
    assert modern(start("modern"), "tools/call", params)["result"]["resultType"] == "input_required"


def test_undeclared_capability_is_refused_and_named(start: Start) -> None:
    client, params = start("modern"), {"name": "test_missing_capability"}
    error = modern(client, "tools/call", params, clientCapabilities={"elicitation": {}})["error"]
    assert (error["code"], error["data"]) == (-32021, {"requiredCapabilities": {"sampling": {}}})
    assert modern(client, "tools/call", params)["result"]["resultType"] == "input_required"


def test_only_declared_kinds_are_asked_for(start: Start) -> None:
    params, declared = {"name": f"{MRTR}capabilities"}, {"sampling": {}, "elicitation": {"url": {}}}
    result = modern(start("modern"), "tools/call", params, clientCapabilities=declared)["result"]
    assert list(result["inputRequests"]) == ["sampling"]


def test_log_is_written_only_for_a_request_that_wants_it(start: Start) -> None:
    client, params = start("modern"), {"name": "test_logging_tool"}
    modern(client, "tools/call", params)
    assert not any(b"notifications/message" in line for line in client.lines)
    modern(client, "tools/call", params, logLevel="info")
    assert any(b"notifications/message" in line for line in client.lines)


def test_subscription_is_acknowledged_first_and_gets_only_what_it_wanted_under_its_id(start: Start) -> None:
    client = start("modern")
    wanted = {"promptsListChanged": True, "resourceSubscriptions": ["test://watched-resource", "test://nowhere"]}
    client.send("subscriptions/listen", {"notifications": wanted, **meta()}, "listen")
    acknowledged = client.message()
    assert acknowledged["method"] == "notifications/subscriptions/acknowledged"
    assert acknowledged["params"]["notifications"] == {**wanted, "resourceSubscriptions": ["test://watched-resource"]}
    for kind in ("tool", "prompt", "resource"):
        modern(client, "tools/call", {"name": f"test_trigger_{kind}_change"})
    notes = [json.loads(line) for line in client.lines if b'"method"' in line]
    assert [note["method"].removeprefix("notifications/") for note in notes] == [
        "subscriptions/acknowledged", "prompts/list_changed", "resources/updated",
    ]  # fmt: skip
    assert {note["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"] for note in notes} == {"listen"}


def test_cancelled_subscription_is_silent(start: Start) -> None:
    client = start("modern")
    client.send("subscriptions/listen", {"notifications": {"toolsListChanged": True}, **meta()}, 0)
    client.message()
    client.send("notifications/cancelled", {"requestId": 0})
    modern(client, "tools/call", {"name": "test_trigger_tool_change"})
    assert not any(b"list_changed" in line for line in client.lines)


def test_dual_serves_each_request_in_its_own_era(start: Start) -> None:
    client = opened(start("dual"), **ALL)
    assert modern(client, "tools/call", {"name": "test_sampling"})["result"]["resultType"] == "input_required"
    client.send("tools/call", {"name": "test_sampling"}, "call")
    respond(client, client.message())
    assert texts(client.answer("call")["result"]) == 'LLM response: {"type": "text", "text": "Paris"}'
