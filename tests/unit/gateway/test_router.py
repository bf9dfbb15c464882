"""Clients and servers joined: sessions, ids, cancellation, and what servers ask clients."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fake_upstream import FakeChild, Json, ScriptedServer, tool
from wiring import Gateway, Got, stream_name

from metamcp.config.model import EndpointSpec, ServerSpec
from metamcp.gateway.interface import Ask, Client, Delete, Is, Listen, OpenSse, Post, Request
from metamcp.gateway.relay import QUESTION_SECONDS
from metamcp.gateway.router import SETTLE_SECONDS, Operator

GIT = ServerSpec("git", era="legacy")
ENDPOINTS = {
    "dev": EndpointSpec("dev", "all"), "other": EndpointSpec("other", "all"),
    "locked": EndpointSpec("locked", "all", auth="api-key"),
}


class Gate(Gateway):
    """A router over a real catalog, pool and registry; only the servers are scripted."""

    def __init__(self, spec: ServerSpec = GIT) -> None:
        self.script = ScriptedServer({
            "tools/list": [[tool("status"), tool("log")]], "prompts/list": [[{"name": "review"}]],
            "resources/list": [[{"uri": "file:///a"}]], "resources/templates/list": [[]],
        })
        operators: dict[str, Operator] = {"status": lambda reply, _argument: reply.answer(b'{"up":1}')}
        super().__init__({"git": spec}, self.script, ENDPOINTS, operators)

    def read_catalog(self) -> None:
        self.catalog.refresh_all()
        self.reactor.turn()
        if self.supervisor.started[-1].reason:
            self.supervisor.started[-1].die(0)

    def open(self, request: Request) -> Got:
        got = Got()
        self.router.open(request, got.reply)
        self.reactor.turn()
        return got

    @property
    def child(self) -> FakeChild:
        return self.supervisor.started[-1]


class Customer:
    """One client with one session."""

    def __init__(self, gate: Gate, client: Client) -> None:
        self.gate, self.client = gate, client

    def ask(self, method: str, params: bytes = b"", identifier: bytes = b"1") -> Got:
        return self.gate.open(Post(self.client, "request", method, identifier, params, stream_name()))

    def tell(self, method: str, params: bytes = b"") -> Got:
        return self.gate.open(Post(self.client, "notification", method, b"", params))

    def respond(self, message: bytes) -> Got:
        return self.gate.open(Post(self.client, "response", "", b"", message))

    def call(self, name: str = "git__status", identifier: bytes = b"1", more: bytes = b"") -> Got:
        return self.ask("tools/call", b'{"name":"%s"%s}' % (name.encode(), more), identifier)

    def listen(self) -> Got:
        return self.gate.open(Listen(self.client))


def hello(capabilities: bytes = b"{}", version: str = "2025-11-25") -> bytes:
    return b'{"protocolVersion":"%s","capabilities":%s,"clientInfo":{"name":"t","version":"1"}}' % (
        version.encode(), capabilities,
    )


def initialize(gate: Gate, params: bytes = hello(), endpoint: str = "dev", principal: str = "anonymous") -> Got:
    return gate.open(Post(Client(endpoint, principal, "http"), "request", "initialize", b"0", params))


def customer(gate: Gate, params: bytes = hello()) -> Customer:
    return Customer(gate, Client("dev", "anonymous", "http", initialize(gate, params).session))


def sse_customer(gate: Gate, params: bytes = hello()) -> tuple[Customer, Got]:
    """An initialized client of HTTP+SSE, and its stream."""
    stream = gate.open(OpenSse(Client("dev", "anonymous", "sse")))
    client = Customer(gate, Client("dev", "anonymous", "sse", stream.session))
    client.ask("initialize", params, b"0")
    stream.items.clear()
    return client, stream


@pytest.fixture
def gate() -> Gate:
    built = Gate()
    built.read_catalog()
    return built


# --- sessions ----------------------------------------------------------------------------------------------


def test_initialize_creates_a_session_and_starts_no_server(gate: Gate) -> None:
    started = len(gate.supervisor.started)
    got = initialize(gate)
    assert (got.final.kind, got.final.status) == (Is.ANSWER, 200)
    assert got.answer["id"] == 0
    assert got.answer["result"]["protocolVersion"] == "2025-11-25"
    assert got.answer["result"]["capabilities"]["tools"] == {"listChanged": True}
    assert len(got.session) >= 32 and len(gate.registry) == 1
    assert len(gate.supervisor.started) == started


def test_every_initialize_gets_a_session_of_its_own(gate: Gate) -> None:
    assert initialize(gate).session != initialize(gate).session


@pytest.mark.parametrize(("asked", "answered"), [("2025-03-26", "2025-03-26"), ("1999-01-01", "2025-11-25")])
def test_initialize_answers_the_clients_revision_or_the_latest(gate: Gate, asked: str, answered: str) -> None:
    assert initialize(gate, hello(version=asked)).answer["result"]["protocolVersion"] == answered


@pytest.mark.parametrize("params", [b"", b"{}", b'{"protocolVersion":1}', b'{"protocolVersion":"x","capabilities":1}'])
def test_initialize_without_a_version_is_refused_and_leaves_no_session(gate: Gate, params: bytes) -> None:
    got = initialize(gate, params)
    assert (got.final.kind, got.answer["error"]["code"], got.answer["id"]) == (Is.FAILED, -32602, 0)
    assert len(gate.registry) == 0


def test_unknown_endpoint_is_404(gate: Gate) -> None:
    assert initialize(gate, endpoint="nope").final.status == 404


def test_an_endpoint_with_authentication_refuses_an_anonymous_client(gate: Gate) -> None:
    assert initialize(gate, endpoint="locked").final.status == 401
    assert initialize(gate, endpoint="locked", principal="ann").final.status == 200


@pytest.mark.parametrize("change", [
    {"endpoint": "other"}, {"principal": "eve"}, {"transport": "sse"}, {"session": "x"}, {"session": ""},
])
def test_a_session_is_known_only_to_its_owner_at_its_endpoint(gate: Gate, change: dict[str, str]) -> None:
    mine = customer(gate).client
    stranger = Client(**{
        name: change.get(name, getattr(mine, name)) for name in ("endpoint", "principal", "transport", "session")
    })  # type: ignore[arg-type]
    requests: list[Request] = [Post(stranger, "request", "ping", b"1", b""), Listen(stranger), Delete(stranger)]
    for request in requests:
        got = gate.open(request)
        assert (got.final.kind, got.final.status) == (Is.FAILED, 404)
    assert customer(gate).ask("ping").answer["result"] == {}


def test_delete_ends_the_session_its_stream_and_its_server(gate: Gate) -> None:
    client = customer(gate)
    stream = client.listen()
    client.call()
    assert gate.open(Delete(client.client)).final.kind == Is.ACCEPTED
    assert stream.final.kind == Is.ENDED
    assert gate.child.reason == "its session ended"
    assert client.ask("ping").final.status == 404


def test_initialize_waits_for_servers_that_were_never_asked_but_not_for_ever() -> None:
    gate = Gate()
    gate.supervisor.script = None
    gate.catalog.refresh_all()
    got = initialize(gate)
    assert got.items == []
    gate.reactor.advance(SETTLE_SECONDS)
    assert got.answer["result"]["capabilities"] == {}


# --- lists and calls ---------------------------------------------------------------------------------------


def test_lists_come_from_the_catalog_on_one_page_and_start_no_server(gate: Gate) -> None:
    client, started = customer(gate), len(gate.supervisor.started)
    result = client.ask("tools/list").answer["result"]
    assert [one["name"] for one in result["tools"]] == ["git__status", "git__log"]
    assert "nextCursor" not in result
    assert client.ask("prompts/list", b"{}").answer["result"] == {"prompts": [{"name": "git__review"}]}
    assert client.ask("resources/templates/list").answer["result"] == {"resourceTemplates": []}
    assert len(gate.supervisor.started) == started


def test_a_cursor_that_nobody_gave_is_refused(gate: Gate) -> None:
    assert customer(gate).ask("tools/list", b'{"cursor":""}').answer["error"]["code"] == -32602


def test_a_call_reaches_its_server_under_its_own_name_with_the_clients_hello(gate: Gate) -> None:
    params = hello(b'{"roots":{}}')
    customer(gate, params).call("git__log", more=b',"arguments":{"n":1.50}')
    assert b'"params":' + params in gate.child.written[0]
    assert b'"params":{"name":"log","arguments":{"n":1.50}}' in gate.child.written[-1]


@pytest.mark.parametrize("identifier", [b"0", b'"1"', b"1", b"-7", b'"a\\u0062"', b"123456789012345678901234567890"])
def test_the_clients_id_comes_back_byte_for_byte(gate: Gate, identifier: bytes) -> None:
    got = customer(gate).call(identifier=identifier)
    gate.child.result(gate.child.sent("tools/call")[0]["id"], {"content": []})
    assert got.final.data == b'{"jsonrpc":"2.0","id":%s,"result":{"content": []}}' % identifier


def test_equal_ids_of_different_type_are_different_requests(gate: Gate) -> None:
    client = customer(gate)
    number, text = client.call(identifier=b"1"), client.call(identifier=b'"1"')
    for message in reversed(gate.child.sent("tools/call")):
        gate.child.result(message["id"], {"call": message["id"]})
    assert (number.answer["id"], text.answer["id"]) == (1, "1")


def test_a_duplicate_id_in_flight_is_refused_without_disturbing_the_first(gate: Gate) -> None:
    client = customer(gate)
    first, second = client.call(), client.call()
    assert (second.final.kind, second.final.status, second.answer["id"]) == (Is.FAILED, 400, 1)
    assert len(gate.child.sent("tools/call")) == 1
    gate.child.result(gate.child.sent("tools/call")[0]["id"], {})
    assert first.answer["result"] == {}
    assert client.ask("ping").answer["result"] == {}  # the id is free again


def test_an_id_may_be_used_again_after_its_answer_and_after_an_error(gate: Gate) -> None:
    client = customer(gate)
    for _ in range(2):
        assert client.call("git__nope").answer["error"]["code"] == -32602
        assert client.ask("no/such").answer["error"]["code"] == -32601


def test_an_error_of_the_server_comes_back_as_it_is(gate: Gate) -> None:
    got = customer(gate).call()
    error = {"code": -5, "message": "no", "data": {"x": 1}}
    gate.child.say({"jsonrpc": "2.0", "id": gate.child.sent("tools/call")[0]["id"], "error": error})
    assert (got.final.kind, got.answer["error"]) == (Is.ANSWER, error)


@pytest.mark.parametrize(("method", "params", "sent"), [
    ("prompts/get", b'{"name":"git__review"}', {"name": "review"}),
    ("resources/read", b'{"uri":"file:///a"}', {"uri": "file:///a"}),
    ("completion/complete", b'{"ref":{"type":"ref/prompt","name":"git__review"},"argument":{}}',
     {"ref": {"type": "ref/prompt", "name": "review"}, "argument": {}}),
    ("completion/complete", b'{"ref":{"type":"ref/resource","uri":"file:///a"}}',
     {"ref": {"type": "ref/resource", "uri": "file:///a"}}),
])
def test_what_is_not_a_tool_finds_its_server_too(gate: Gate, method: str, params: bytes, sent: Json) -> None:
    customer(gate).ask(method, params)
    assert gate.child.sent(method)[0]["params"] == sent


@pytest.mark.parametrize("params", [b"", b"{}", b'{"name":1}', b'{"name":"\xff"}', b'{"\xff":1}'])
def test_params_that_make_no_sense_are_answered_as_invalid(gate: Gate, params: bytes) -> None:
    assert customer(gate).ask("tools/call", params).answer["error"]["code"] == -32602


def test_sessions_with_isolated_servers_have_one_each(gate: Gate) -> None:
    one, other = customer(gate), customer(gate)
    before = len(gate.supervisor.started)
    for client in (one, other, one):
        client.call(identifier=b"%d" % len(gate.child.written))
    assert len(gate.supervisor.started) == before + 2


def test_a_server_for_one_call_ends_with_it() -> None:
    gate = Gate(replace(GIT, isolation="call"))
    gate.read_catalog()
    got = customer(gate).call()
    gate.child.result(gate.child.sent("tools/call")[0]["id"], {})
    assert (got.answer["result"], gate.child.reason) == ({}, "its call is over")


def test_a_server_that_dies_fails_the_call_with_what_is_known(gate: Gate) -> None:
    got = customer(gate).call()
    gate.child.die(None, "SIGSEGV", ("boom",))
    assert got.answer["error"]["data"] == {"server": "git", "signal": "SIGSEGV", "stderr": "boom"}


# --- progress and cancellation -----------------------------------------------------------------------------


def test_progress_comes_before_the_answer_under_the_clients_token(gate: Gate) -> None:
    got = customer(gate).call(more=b',"_meta":{"progressToken":"0"}')
    message = gate.child.sent("tools/call")[0]
    token = message["params"]["_meta"]["progressToken"]
    gate.child.notify("notifications/progress", progressToken=token, progress=1)
    gate.child.result(message["id"], {})
    assert [event["params"]["progressToken"] for event in got.events] == ["0"]
    assert got.answer["result"] == {}


def test_cancel_ends_the_call_and_tells_the_server_once(gate: Gate) -> None:
    client = customer(gate)
    got = client.call(identifier=b'"c"')
    upstream = gate.child.sent("tools/call")[0]["id"]
    for _ in range(2):
        assert client.tell("notifications/cancelled", b'{"requestId":"c","reason":"user"}').final.kind == Is.ACCEPTED
    gate.child.result(upstream, {"late": 1})
    assert (got.answer["id"], got.answer["error"]["code"]) == ("c", -32800)
    assert [told["params"] for told in gate.child.sent("notifications/cancelled")] == [
        {"reason": "user", "requestId": upstream}
    ]


@pytest.mark.parametrize("params", [b"", b"{}", b'{"requestId":99}', b'{"requestId":{}}', b'{"requestId":"1"}'])
def test_cancel_of_what_is_not_in_flight_changes_nothing(gate: Gate, params: bytes) -> None:
    client = customer(gate)
    got = client.call(identifier=b"1")
    assert client.tell("notifications/cancelled", params).final.kind == Is.ACCEPTED
    assert got.items == [] and gate.child.sent("notifications/cancelled") == []


def test_a_client_that_hangs_up_does_not_cancel_its_call(gate: Gate) -> None:
    client = customer(gate)
    client.call().reply.close()
    assert gate.child.sent("notifications/cancelled") == []
    gate.child.result(gate.child.sent("tools/call")[0]["id"], {})
    assert client.call(identifier=b"1").items == []  # in flight: the id had become free


# --- HTTP+SSE ----------------------------------------------------------------------------------------------


def test_sse_answers_on_the_stream_and_accepts_the_post(gate: Gate) -> None:
    client, stream = sse_customer(gate)
    post = client.call(identifier=b'"s"')
    assert [item.kind for item in post.items] == [Is.ACCEPTED]
    gate.child.result(gate.child.sent("tools/call")[0]["id"], {"content": []})
    assert stream.events == [{"jsonrpc": "2.0", "id": "s", "result": {"content": []}}]


def test_sse_reports_errors_on_the_stream_and_progress_before_the_answer(gate: Gate) -> None:
    client, stream = sse_customer(gate)
    client.call("git__nope", b"1")
    client.call(identifier=b"2", more=b',"_meta":{"progressToken":7}')
    message = gate.child.sent("tools/call")[0]
    gate.child.notify("notifications/progress", progressToken=message["params"]["_meta"]["progressToken"], progress=1)
    gate.child.result(message["id"], {})
    error, progress, answer = stream.events
    assert (error["id"], error["error"]["code"]) == (1, -32602)
    assert (progress["params"]["progressToken"], answer["id"]) == (7, 2)


def test_sse_cancel_is_not_answered(gate: Gate) -> None:
    client, stream = sse_customer(gate)
    client.call(identifier=b"5")
    client.tell("notifications/cancelled", b'{"requestId":5}')
    assert stream.events == []
    assert len(gate.child.sent("notifications/cancelled")) == 1
    assert client.ask("ping", identifier=b"5").final.kind == Is.ACCEPTED


def test_the_end_of_the_sse_stream_ends_its_session_its_calls_and_its_server(gate: Gate) -> None:
    client, stream = sse_customer(gate)
    client.call()
    stream.reply.close()
    assert len(gate.child.sent("notifications/cancelled")) == 1
    assert gate.child.reason == "its session ended"
    assert client.ask("ping").final.status == 404
    assert len(gate.registry) == 0


@pytest.mark.parametrize(("method", "params"), [
    ("tools/call", b'{"name":"git__status"}'), ("prompts/get", b'{"name":"git__review"}'),
    ("resources/read", b'{"uri":"file:///a"}'),
])
def test_what_needs_a_server_is_refused_before_initialize(gate: Gate, method: str, params: bytes) -> None:
    stream = gate.open(OpenSse(Client("dev", "anonymous", "sse")))
    client = Customer(gate, Client("dev", "anonymous", "sse", stream.session))
    client.ask(method, params)
    (event,) = stream.events
    assert event["error"] == {"code": -32600, "message": "initialize first"}


def test_a_second_initialize_in_one_session_is_refused(gate: Gate) -> None:
    client, stream = sse_customer(gate)
    client.ask("initialize", hello())
    assert stream.events[0]["error"]["code"] == -32600


# --- what servers ask their client -------------------------------------------------------------------------

QUESTIONS = {"sampling/createMessage": "sampling", "elicitation/create": "elicitation", "roots/list": "roots"}


@pytest.mark.parametrize("method", QUESTIONS)
def test_a_question_goes_to_the_client_and_its_answer_back_under_the_servers_id(gate: Gate, method: str) -> None:
    client = customer(gate, hello(b'{"%s":{}}' % QUESTIONS[method].encode()))
    got = client.call()
    gate.child.say(b'{"jsonrpc":"2.0","id":"q\\u0031","method":"%s","params":{"n":1.0}}' % method.encode())
    (question,) = got.events
    assert (question["method"], question["params"]) == (method, {"n": 1.0})
    client.respond(b'{"jsonrpc":"2.0","id":%d,"result":{"big":1.50}}' % question["id"])
    assert gate.child.written[-1] == b'{"jsonrpc":"2.0","id":"q\\u0031","result":{"big":1.50}}\n'


def test_a_refusal_by_the_client_goes_back_as_its_error(gate: Gate) -> None:
    client = customer(gate, hello(b'{"roots":{}}'))
    got = client.call()
    gate.child.say(b'{"jsonrpc":"2.0","id":0,"method":"roots/list"}')
    client.respond(b'{"jsonrpc":"2.0","id":%d,"error":{"code":-1,"message":"no"}}' % got.events[0]["id"])
    assert gate.child.written[-1] == b'{"jsonrpc":"2.0","id":0,"error":{"code":-1,"message":"no"}}\n'


def test_questions_of_two_servers_with_equal_ids_get_their_own_answers(gate: Gate) -> None:
    one, other = customer(gate, hello(b'{"roots":{}}')), customer(gate, hello(b'{"roots":{}}'))
    streams, children = [], []
    for client in (one, other):
        streams.append(client.call())
        children.append(gate.child)
        gate.child.say(b'{"jsonrpc":"2.0","id":1,"method":"roots/list"}')
    other.respond(b'{"jsonrpc":"2.0","id":%d,"result":{"of":2}}' % streams[1].events[0]["id"])
    assert children[1].messages[-1] == {"jsonrpc": "2.0", "id": 1, "result": {"of": 2}}
    assert "result" not in children[0].messages[-1]


@pytest.mark.parametrize("method", [*QUESTIONS, "no/such"])
def test_a_question_that_the_client_cannot_answer_is_refused_for_it(gate: Gate, method: str) -> None:
    got = customer(gate).call()
    gate.child.say({"jsonrpc": "2.0", "id": "q", "method": method})
    assert got.events == []
    assert (gate.child.messages[-1]["id"], gate.child.messages[-1]["error"]["code"]) == ("q", -32601)


def test_a_question_without_any_stream_is_refused(gate: Gate) -> None:
    client = customer(gate, hello(b'{"roots":{}}'))
    client.call()
    gate.child.result(gate.child.sent("tools/call")[0]["id"], {})
    gate.child.say({"jsonrpc": "2.0", "id": "q", "method": "roots/list"})
    assert gate.child.messages[-1]["error"]["code"] == -32601


def test_a_question_that_is_never_answered_ends_for_the_server(gate: Gate) -> None:
    client = customer(gate, hello(b'{"roots":{}}'))
    client.listen()
    client.call()
    gate.child.say({"jsonrpc": "2.0", "id": "q", "method": "roots/list"})
    gate.reactor.advance(QUESTION_SECONDS)
    gate.registry.sweep()
    assert (gate.child.messages[-1]["id"], "error" in gate.child.messages[-1]) == ("q", True)


def test_an_answer_that_nobody_asked_for_is_accepted_and_dropped(gate: Gate) -> None:
    client = customer(gate)
    client.call()
    before = list(gate.child.written)
    assert client.respond(b'{"jsonrpc":"2.0","id":7,"result":{}}').final.kind == Is.ACCEPTED
    assert gate.child.written == before


# --- what servers and clients tell each other --------------------------------------------------------------


def test_a_log_message_goes_to_the_call_that_is_open_else_to_the_listening_stream(gate: Gate) -> None:
    client = customer(gate)
    stream, got = client.listen(), client.call()
    gate.child.notify("notifications/message", level="info", data="during")
    gate.child.result(gate.child.sent("tools/call")[0]["id"], {})
    gate.child.notify("notifications/message", level="info", data="after")
    assert [event["params"]["data"] for event in got.events] == ["during"]
    assert [event["params"]["data"] for event in stream.events] == ["after"]


def test_what_a_server_says_reaches_its_own_session_only(gate: Gate) -> None:
    mine, other = customer(gate), customer(gate)
    streams = [mine.listen(), other.listen()]
    mine.call()
    gate.child.result(gate.child.sent("tools/call")[0]["id"], {})
    gate.child.notify("notifications/message", level="info", data="x")
    assert [len(stream.events) for stream in streams] == [1, 0]


def test_list_changed_reaches_clients_only_when_the_listing_changed(gate: Gate) -> None:
    client = customer(gate)
    stream = client.listen()
    client.call()
    gate.child.notify("notifications/tools/list_changed")
    gate.reactor.advance(1)
    assert stream.events == []
    gate.script.lists["tools/list"] = [[tool("status"), tool("new")]]
    gate.supervisor.started[1].notify("notifications/tools/list_changed")
    gate.reactor.advance(1)
    assert [event["method"] for event in stream.events] == ["notifications/tools/list_changed"]


def test_roots_changes_go_to_the_servers_of_the_session(gate: Gate) -> None:
    client = customer(gate)
    client.call()
    client.tell("notifications/roots/list_changed")
    assert len(gate.child.sent("notifications/roots/list_changed")) == 1


def test_the_log_level_is_told_to_servers_that_run_and_to_those_that_start_later(gate: Gate) -> None:
    gate.script.capabilities["logging"] = {}
    client = customer(gate)
    client.call()
    assert client.ask("logging/setLevel", b'{"level":"debug"}', b"2").answer["result"] == {}
    assert [message["params"] for message in gate.child.sent("logging/setLevel")] == [{"level": "debug"}]
    gate.child.die(0)
    client.call(identifier=b"3")
    assert [message["params"] for message in gate.child.sent("logging/setLevel")] == [{"level": "debug"}]


def test_a_log_level_set_while_a_server_starts_reaches_it_once(gate: Gate) -> None:
    gate.script.capabilities["logging"] = {}
    client = customer(gate)
    got = Got()
    call = Post(client.client, "request", "tools/call", b"1", b'{"name":"git__status"}', stream_name())
    gate.router.open(call, got.reply)
    assert not gate.child.sent("notifications/initialized")
    client.ask("logging/setLevel", b'{"level":"debug"}', b"2")
    assert [message["params"] for message in gate.child.sent("logging/setLevel")] == [{"level": "debug"}]


# --- operators and the end ---------------------------------------------------------------------------------


def test_operators_questions_are_answered_also_while_draining(gate: Gate) -> None:
    gate.router.drain()
    assert gate.open(Ask("status")).answer == {"up": 1}


def test_draining_ends_streams_and_calls_and_refuses_what_is_new(gate: Gate) -> None:
    client = customer(gate)
    stream, call = client.listen(), client.call()
    gate.router.drain()
    assert stream.final.kind == Is.ENDED
    assert call.answer["error"]["code"] == -32800
    refused = initialize(gate)
    assert (refused.final.kind, refused.final.status) == (Is.FAILED, 503)
    assert refused.answer["error"]["data"]["retryAfterMs"] == 1000
    assert len(gate.registry) == 0


# --- streams that were lost --------------------------------------------------------------------------------


def slow_call(gate: Gate, client: Customer) -> tuple[Got, str]:
    """A call that has reported progress, and the name of its stream."""
    got = Got()
    params = b'{"name":"git__status","_meta":{"progressToken":1}}'
    gate.router.open(Post(client.client, "request", "tools/call", b"7", params, "s7"), got.reply)
    gate.reactor.turn()
    token = gate.child.sent("tools/call")[-1]["params"]["_meta"]["progressToken"]
    gate.child.notify("notifications/progress", progressToken=token, progress=1)
    return got, "s7"


def resumed(client: Customer, event_id: str) -> Got:
    return client.gate.open(Listen(client.client, "fresh", event_id))


def test_a_call_goes_on_when_its_client_is_gone_and_its_answer_waits(gate: Gate) -> None:
    client = customer(gate)
    got, name = slow_call(gate, client)
    got.reply.close()
    assert gate.child.sent("notifications/cancelled") == []
    gate.child.result(gate.child.sent("tools/call")[-1]["id"], {"content": []})
    again = resumed(client, f"{name}:1")
    assert again.answer["id"] == 7 and again.items[0].data == name.encode() and again.final.number == 2


def test_a_resumed_call_that_is_not_over_goes_on_there(gate: Gate) -> None:
    client = customer(gate)
    got, name = slow_call(gate, client)
    got.reply.close()
    again = resumed(client, f"{name}:0")
    assert [event["method"] for event in again.events] == ["notifications/progress"]
    gate.child.result(gate.child.sent("tools/call")[-1]["id"], {"content": []})
    assert again.answer["id"] == 7 and not got.items[-1].final


def test_a_question_that_was_lost_is_asked_again_and_answered_once(gate: Gate) -> None:
    client = customer(gate, hello(b'{"roots":{}}'))
    got, name = slow_call(gate, client)
    got.reply.close()
    gate.child.say({"jsonrpc": "2.0", "id": "q", "method": "roots/list"})
    question = resumed(client, f"{name}:1").events[-1]
    client.respond(b'{"jsonrpc":"2.0","id":%d,"result":{"roots":[]}}' % question["id"])
    assert gate.child.messages[-1] == {"jsonrpc": "2.0", "id": "q", "result": {"roots": []}}


def test_a_standing_stream_is_resumed_with_what_was_lost_and_what_waited(gate: Gate) -> None:
    client = customer(gate)
    stream = resumed(client, "")
    session = gate.registry.sessions[0]
    session.send(b'{"jsonrpc":"2.0","method":"lost"}')
    stream.reply.close()
    session.send(b'{"jsonrpc":"2.0","method":"waited"}')
    again = resumed(client, "fresh:0")
    session.send(b'{"jsonrpc":"2.0","method":"new"}')
    assert [event["method"] for event in again.events] == ["lost", "waited", "new"]
    assert [item.number for item in again.items[1:]] == [1, 2, 3]


@pytest.mark.parametrize("event_id", ["nothing", "unknown:3", "s7:x"])
def test_an_id_that_names_nothing_opens_a_new_stream(gate: Gate, event_id: str) -> None:
    client = customer(gate)
    again = resumed(client, event_id)
    assert again.items[0].data == b"fresh" and not again.items[-1].final


def test_a_stream_of_another_session_cannot_be_resumed(gate: Gate) -> None:
    client, other = customer(gate), customer(gate)
    got, name = slow_call(gate, client)
    got.reply.close()
    assert resumed(other, f"{name}:0").items[0].data == b"fresh"


def test_a_session_that_ends_while_a_stream_is_lost_leaves_nothing(gate: Gate) -> None:
    client = customer(gate)
    got, name = slow_call(gate, client)
    got.reply.close()
    gate.open(Delete(client.client))
    assert resumed(client, f"{name}:1").error["code"] == -32001
