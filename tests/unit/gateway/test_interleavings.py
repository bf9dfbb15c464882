"""Two clients that use the same ids and the same progress tokens: whatever the order, everybody gets what is theirs."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from examples import share
from fake_core import Core, Got, WireClient
from fake_upstream import FakeChild, ScriptedServer, tool
from hypothesis import example, given
from hypothesis import strategies as st

from metamcp.config.model import ServerSpec
from metamcp.gateway.interface import Is
from metamcp.protocol import jsonrpc

IDS = (b"0", b"1", b'"1"', b'"0"')
TOKENS = (*IDS, b"")
SERVERS = {"own": ServerSpec("own"), "common": ServerSpec("common", isolation="shared")}


@dataclass
class Call:
    """One call, and all that its client has to hear of it."""

    client: int
    id: bytes
    token: bytes
    serial: int
    got: Got
    child: FakeChild
    upstream: bytes
    expected: list[bytes] = field(default_factory=list)
    done: bool = False


class Scene:
    """A client of each transport; ``calls`` in the order in which they were made."""

    def __init__(self) -> None:
        self.core = Core(SERVERS, ScriptedServer({"tools/list": [[tool("t")]]}))
        self.clients = (WireClient(self.core, "http"), WireClient(self.core, "sse"))
        self.calls: list[Call] = []
        self.told: list[bytes] = []  # what the stream of HTTP+SSE has to carry, in this order

    def open_calls(self, client: int | None = None) -> list[Call]:
        return [call for call in self.calls if not call.done and client in (None, call.client)]

    def begin(self, client: int, identifier: bytes, token: bytes, server: str) -> None:
        if identifier in [call.id for call in self.open_calls(client)]:
            return
        serial = len(self.calls)
        meta = b',"_meta":{"progressToken":%s}' % token if token else b""
        params = b'{"name":"%s__t","arguments":%d%s}' % (server.encode(), serial, meta)
        got = self.clients[client].post(jsonrpc.request(identifier, "tools/call", params))
        child, upstream = self._where(serial)
        self.calls.append(Call(client, identifier, token, serial, got, child, upstream))

    def _where(self, serial: int) -> tuple[FakeChild, bytes]:
        """The child that got this call, and the id under which it did."""
        ((child, line),) = [
            (child, line) for child in self.core.supervisor.started for line in child.written
            if b'"arguments":%d' % serial in line
        ]  # fmt: skip
        return child, bytes(jsonrpc.parse(line).id)

    def progress(self, call: Call, step: int) -> None:
        """The server of ``call`` tells how far it is; of one that has ended nobody hears."""
        body = b'{"progressToken":%s,"progress":%d,"message":"%d"}'
        call.child.say(jsonrpc.notification("notifications/progress", body % (call.upstream, step, call.serial)))
        if call.token and not call.done:
            self._hears(call, jsonrpc.notification("notifications/progress", body % (call.token, step, call.serial)))

    def answer(self, call: Call) -> None:
        result = b'{"serial":%d}' % call.serial
        call.child.say(jsonrpc.result_response(call.upstream, result))
        if not call.done:
            self._hears(call, jsonrpc.result_response(call.id, result))
            call.done = True

    def cancel(self, call: Call) -> None:
        params = b'{"requestId":%s}' % call.id
        self.clients[call.client].post(jsonrpc.notification("notifications/cancelled", params))
        if call.client == 0:  # the stream of its POST has to end; over HTTP+SSE a cancelled call is not answered
            error = {"code": -32800, "message": "the client cancelled this request"}
            self._hears(call, jsonrpc.error_response(call.id, error))
        call.done = True

    def _hears(self, call: Call, message: bytes) -> None:
        call.expected.append(message)
        if call.client == 1:
            self.told.append(message)

    def check(self) -> None:
        for call in self.calls:
            if call.client == 0:
                assert call.got.messages == call.expected
                assert call.got.kinds == [Is.EVENT] * (len(call.expected) - 1) + [Is.ANSWER]
            else:
                assert call.got.kinds == [Is.ACCEPTED]
        assert self.clients[1].heard == self.told
        audited = [line["result"] for line in self.core.audited if line.get("method") == "tools/call"]
        assert len(audited) == len(self.calls)
        assert set(audited) <= {"result", "cancelled"}


Step = tuple[str, int, bytes, bytes, str, int]
steps = st.tuples(
    st.sampled_from(["begin", "begin", "progress", "answer", "cancel", "late"]), st.integers(0, 1),
    st.sampled_from(IDS), st.sampled_from(TOKENS), st.sampled_from(tuple(SERVERS)), st.integers(0, 7),
)  # fmt: skip


def play(scene: Scene, number: int, step: Step) -> None:
    what, client, identifier, token, server, pick = step
    alive, ended = scene.open_calls(), [call for call in scene.calls if call.done]
    if what == "begin":
        scene.begin(client, identifier, token, server)
    elif what == "late" and ended:  # a server that goes on after the end of a call, and answers it again
        scene.progress(ended[pick % len(ended)], number)
        scene.answer(ended[pick % len(ended)])
    elif what == "progress" and alive:
        scene.progress(alive[pick % len(alive)], number)
    elif what == "answer" and alive:
        scene.answer(alive[pick % len(alive)])
    elif what == "cancel" and alive:
        scene.cancel(alive[pick % len(alive)])


def both(what: str, identifier: bytes, server: str, pick: int = 0) -> list[Step]:
    return [(what, client, identifier, identifier, server, pick + client) for client in (0, 1)]


@share(1.5)
@given(st.lists(steps, max_size=30))
@example([*both("begin", b"0", "common"), *both("progress", b"", "", 0), *both("answer", b"", "", 1)])
@example([*both("begin", b"1", "own"), *both("begin", b'"1"', "own"), *both("progress", b"", "", 2)])
@example([*both("begin", b"1", "own"), *both("cancel", b"", ""), *both("begin", b"1", "own"), *both("late", b"", "")])
def test_each_answer_and_each_progress_reaches_its_owner_once_in_value_and_type(story: list[Step]) -> None:
    scene = Scene()
    for number, step in enumerate(story):
        play(scene, number, step)
    for call in scene.open_calls():
        scene.answer(call)
    scene.check()


@pytest.mark.parametrize("server", SERVERS)
def test_questions_of_two_servers_under_equal_ids_are_answered_by_their_own_clients(server: str) -> None:
    """On a shared instance there is nobody to ask: the server gets its refusal under its own id."""
    core = Core(SERVERS, ScriptedServer({"tools/list": [[tool("t")]]}))
    hello = b'{"protocolVersion":"2025-11-25","capabilities":{"roots":{}},"clientInfo":{"name":"t","version":"1"}}'
    clients = (WireClient(core, "http", hello), WireClient(core, "sse", hello))
    for number, client in enumerate(clients):
        client.post(jsonrpc.request(b"1", "tools/call", b'{"name":"%s__t"}' % server.encode()))
        child = core.child(server)
        child.say(jsonrpc.request(b'"0"', "roots/list", b""))
        if server == "common":
            assert b'"id":"0","error":{"code":-32601' in child.written[-1]
            continue
        asked = bytes(jsonrpc.parse(client.heard[-1]).id)
        client.post(jsonrpc.result_response(asked, b'{"roots":[],"of":%d}' % number))
        assert child.written[-1] == jsonrpc.result_response(b'"0"', b'{"roots":[],"of":%d}' % number) + b"\n"
