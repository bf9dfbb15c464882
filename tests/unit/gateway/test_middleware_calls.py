"""Middleware and calls, on each way that a call can take: with a session and without one, to servers of both eras."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from middleware_house import ELICIT, WAYS, House, built_in, texts
from stateless_client import in_flight
from wiring import Got, stream_name

from metamcp.gateway.bridged import GATHER_SECONDS
from metamcp.gateway.interface import Post
from metamcp.gateway.middleware.interface import Answer, Call, Context, Middleware, Refusal


@pytest.fixture(params=WAYS, ids="-".join)
def house(request: pytest.FixtureRequest) -> House:
    return House(*request.param)


class Marks(Middleware):
    """Writes down what it sees, and marks what goes by."""

    seen: list[tuple[Any, ...]]

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        type(self).seen = []

    def on_call(self, call: Call, context: Context) -> None:
        self.seen.append((call.method, call.server, call.name, call.arguments, context))
        call.arguments = call.arguments | {"marked": True}
        call.notes["mine"] = 4

    def on_result(self, call: Call, answer: Answer, context: Context) -> None:
        self.seen.append(("result", call.notes["mine"]))
        answer.members = answer.members | {"marked": True}

    def on_error(self, call: Call, answer: Answer, context: Context) -> None:
        self.seen.append(("error", answer.members["code"]))
        answer.members = answer.members | {"message": "another one"}


class Refuses(Middleware):
    def on_call(self, call: Call, context: Context) -> None:
        raise Refusal("not today")


class Fails(Middleware):
    """In the hook that the call names."""

    def on_call(self, call: Call, context: Context) -> None:
        self._fail("call", call)

    def on_result(self, call: Call, answer: Answer, context: Context) -> None:
        self._fail("result", call)

    def on_error(self, call: Call, answer: Answer, context: Context) -> None:
        self._fail("error", call)

    def _fail(self, hook: str, call: Call) -> None:
        if call.arguments.get("fail") == hook:
            raise KeyError("s3cret of the client")


def test_call_and_result_go_through_each_hook(house: House) -> None:
    house.through(Marks)
    got = house.call(a=1)
    assert in_flight(house.child)["params"]["arguments"] == {"a": 1, "marked": True}
    house.answer(texts("done") | {"resultType": "complete"})
    assert got.result["marked"] is True and got.result["content"][0]["text"] == "done"
    if house.stateless is not None:
        assert got.result["resultType"] == "complete"
    called = ("tools/call", "git", "status", {"a": 1}, Context("all", "dev", "anonymous"))
    assert Marks.seen == [called, ("result", 4)]


def test_error_of_the_server_goes_through_its_hook(house: House) -> None:
    house.through(Marks)
    got = house.call()
    house.child.say({"jsonrpc": "2.0", "id": in_flight(house.child)["id"], "error": {"code": 5, "message": "one"}})
    assert got.error["message"] == "another one" and got.error["code"] == 5
    assert Marks.seen[-1] == ("error", 5)


def test_error_of_the_gateway_goes_through_its_hook_and_is_audited_as_it_was(house: House) -> None:
    house.through(Marks)
    got = house.call()
    house.child.die(3)
    house.reactor.turn()
    assert got.error["message"] == "another one"
    assert (house.audited[-1]["result"], house.audited[-1]["code"]) == ("died", -31004)


def test_refused_call_never_reaches_its_server_and_says_by_whom(house: House) -> None:
    house.through(Refuses)
    got = house.call()
    assert got.error["code"] == -31005 and got.error["data"]["rule"] == "Refuses"
    assert "not today" in got.error["message"] and "'Refuses'" in got.error["message"]
    assert not any(child.sent("tools/call") for child in house.supervisor.started)
    assert (house.audited[-1]["decision"], house.audited[-1]["server"]) == ("refused", "git")


@pytest.mark.parametrize("hook", ["call", "result", "error"])
def test_failing_hook_fails_that_call_alone_and_tells_no_secret(
    house: House, hook: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("metamcp"), "propagate", True)
    house.through(Fails)
    got = house.call(fail=hook)
    if hook == "result":
        house.answer(texts("a result"))
    elif hook == "error":
        house.child.say({"jsonrpc": "2.0", "id": in_flight(house.child)["id"], "error": {"code": 5, "message": "x"}})
    assert got.error["code"] == -31007 and "'Fails' of namespace 'all'" in got.error["message"]
    assert got.error["data"]["middleware"] == "Fails" and "s3cret" not in json.dumps(got.answer)
    (told,) = [record.fields for record in caplog.records if record.getMessage() == "middleware-failed"]
    assert told["error"] == "KeyError" and told["at"].startswith("test_middleware_calls.py:")
    assert "s3cret" not in str(told)
    other = house.call(b"8")
    house.answer(texts("fine"))
    assert other.result["content"][0]["text"] == "fine"


def test_list_of_failing_middleware_is_an_error_and_others_go_on(house: House) -> None:
    class Lists(Middleware):
        def on_list(self, kind: str, items: Any, context: Context) -> Any:
            return items if kind != "tools" else 1 // 0

    house.through(Lists)
    assert house.ask("tools/list", {}).error["code"] == -31007
    assert house.call().error["code"] == -31007
    assert house.ask("resources/list", {}).result["resources"][0]["uri"] == "file:///docs/a"


def test_call_has_so_long_and_its_server_is_told(house: House) -> None:
    house.through(built_in("time-budget", seconds=2))
    got = house.call()
    house.reactor.advance(1.9)
    assert not got.items or not got.items[-1].final
    house.reactor.advance(0.2)
    assert got.error["code"] == -31003 and "within 2 s" in got.error["message"]
    assert len(house.child.sent("notifications/cancelled")) == 1
    assert (house.audited[-1]["result"], house.audited[-1]["code"]) == ("deadline", -31003)
    quick = house.call(b"8")
    house.answer(texts("quick"))
    house.reactor.advance(3)
    assert quick.result["content"][0]["text"] == "quick"


def test_budget_ends_a_call_also_while_its_client_is_asked() -> None:
    house = House("session", "modern")
    house.through(built_in("time-budget", seconds=2))
    got = house.call()
    question = {"method": "elicitation/create", "params": ELICIT}
    house.answer({"resultType": "input_required", "inputRequests": {"k": question}})
    house.reactor.advance(2.1)
    assert json.loads(got.items[-1].data)["error"]["code"] == -31003
    asked = got.events[0]
    refused = json.dumps({"jsonrpc": "2.0", "id": asked["id"], "error": {"code": -1, "message": "no"}}).encode()
    count = len(got.items)
    house.router.open(Post(house.client, "response", "", b"", refused, stream_name()), Got().reply)
    assert len(got.items) == count


def test_answer_after_a_question_goes_through_the_same_middleware() -> None:
    house = House("stateless", "legacy")
    house.through(Marks, built_in("time-budget", seconds=30))
    first = house.call(a=1)
    house.child.say({"jsonrpc": "2.0", "id": "q", "method": "elicitation/create", "params": ELICIT})
    house.reactor.advance(GATHER_SECONDS)
    assert first.result["resultType"] == "input_required" and first.result["marked"] is True
    house.reactor.advance(40)  # the client takes its time
    assert house.stateless is not None
    answers = {key: {"action": "accept", "content": {}} for key in first.result["inputRequests"]}
    second = house.stateless.call(
        "git__status", arguments={"a": 1}, inputResponses=answers, requestState=first.result["requestState"],
        identifier=2,
    )  # fmt: skip
    house.answer(texts("done"))
    assert second.result["marked"] is True and second.result["content"][0]["text"] == "done"
    assert [seen[0] for seen in Marks.seen] == ["tools/call", "result", "result"]


def test_client_that_gave_up_is_not_answered_later(house: House) -> None:
    house.through(built_in("time-budget", seconds=2))
    got = house.call()
    if house.stateless is not None:
        got.reply.on_closed()
    else:
        cancelled = json.dumps({"requestId": 7}).encode()
        told = Post(house.client, "notification", "notifications/cancelled", b"", cancelled, stream_name())
        house.router.open(told, Got().reply)
    count = len(got.items)
    house.reactor.advance(5)
    assert len(got.items) == count
    assert len(house.child.sent("notifications/cancelled")) == 1


def test_filter_refuses_an_address_that_only_a_template_fits(house: House) -> None:
    house.through(built_in("filter", kinds=["resources"], deny=["file:///etc/*"]))
    for method in ("resources/read",) if house.stateless is not None else ("resources/read", "resources/subscribe"):
        got = house.ask(method, {"uri": "file:///etc/passwd"})
        assert got.error["code"] in (-32002, -32602)
    assert not any(child.sent("resources/read") for child in house.supervisor.started)
    house.ask("resources/read", {"uri": "file:///docs/b"}, b"9")
    assert any(child.sent("resources/read") for child in house.supervisor.started)


def test_filter_refuses_to_listen_to_an_address_that_only_a_template_fits() -> None:
    house = House("stateless", "modern")
    house.through(built_in("filter", kinds=["resources"], deny=["file:///etc/*"]))
    uris = ["file:///etc/passwd", "file:///docs/a"]
    assert house.stateless is not None
    got = house.stateless.ask("subscriptions/listen", notifications={"resourceSubscriptions": uris})
    assert got.events[0]["params"]["notifications"]["resourceSubscriptions"] == ["file:///docs/a"]


def test_redaction_masks_results_errors_and_what_a_dying_server_printed(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OWN_TOKEN", 'to"ken-of-mine')
    house.through(built_in("redact", patterns=["ghp_[a-z]+"], values=["${OWN_TOKEN}"]))
    got = house.call()
    house.answer({"content": [], "structuredContent": {"ghp_key": 'say to"ken-of-mine', "n": 1.50}})
    assert got.result["structuredContent"] == {"***": "say ***", "n": 1.50}
    failed = house.call(b"8")
    error = {"code": 5, "message": "ghp_abc is wrong"}
    house.child.say({"jsonrpc": "2.0", "id": in_flight(house.child)["id"], "error": error})
    assert failed.error["message"] == "*** is wrong"


def test_middleware_is_told_apart_by_namespace_and_follows_a_reload(house: House) -> None:
    house.through(Refuses)
    assert house.call().error["code"] == -31005
    house.through()
    got = house.call(b"8")
    house.answer(texts("free"))
    assert got.result["content"][0]["text"] == "free"
