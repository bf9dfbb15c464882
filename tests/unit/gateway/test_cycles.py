"""What a call needed is freed with it: the supervisor seldom looks for cycles (docs/decisions.md)."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Literal

import pytest
from fake_core import Core, Transport, WireClient
from fake_upstream import ModernServer, ScriptedServer, tool
from stateless_client import StatelessClient

from metamcp.config.model import ServerSpec
from metamcp.gateway.turn import SessionTurn, StatelessTurn
from metamcp.protocol import jsonrpc
from metamcp.upstream.connection import UpstreamCall

CALL = jsonrpc.request(b"7", "tools/call", b'{"name":"git__run","arguments":{}}')


@pytest.fixture
def garbage() -> Iterator[Callable[[], list[object]]]:
    """Turns and calls that only the collector has found since the beginning of the test."""

    def found() -> list[object]:
        gc.collect()
        return [item for item in gc.garbage if isinstance(item, SessionTurn | StatelessTurn | UpstreamCall)]

    gc.collect()
    gc.set_debug(gc.DEBUG_SAVEALL)
    yield found
    gc.set_debug(0)
    gc.garbage.clear()


def answered(core: Core, _client: WireClient, identifier: int) -> None:
    core.child("git").result(identifier, {"content": []})


def failed(core: Core, _client: WireClient, identifier: int) -> None:
    core.child("git").say({"jsonrpc": "2.0", "id": identifier, "error": {"code": 1, "message": "no"}})


def cancelled(_core: Core, client: WireClient, _identifier: int) -> None:
    client.post(jsonrpc.notification("notifications/cancelled", b'{"requestId":7}'))


@pytest.mark.parametrize("transport", ["http", "sse"])
@pytest.mark.parametrize("end", [answered, failed, cancelled])
def test_a_call_that_is_over_is_no_cycle(
    garbage: Callable[[], list[object]], transport: Transport, end: Callable[[Core, WireClient, int], None]
) -> None:
    servers = {"git": ServerSpec("git", isolation="session", era="legacy")}
    core = Core(servers, ScriptedServer({"tools/list": [[tool("run")]]}))
    client = WireClient(core, transport)
    client.post(CALL)
    end(core, client, core.child("git").sent("tools/call")[-1]["id"])
    core.reactor.turn()
    client.forget()
    assert garbage() == []


@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_neither_is_one_of_2026_07_28(garbage: Callable[[], list[object]], era: Literal["legacy", "modern"]) -> None:
    script = ModernServer if era == "modern" else ScriptedServer
    core = Core({"git": ServerSpec("git", era=era)}, script({"tools/list": [[tool("run")]]}))
    got = StatelessClient(core).call("git__run")
    child = core.child("git")
    child.result(child.sent("tools/call")[-1]["id"], {"content": []})
    core.reactor.turn()
    assert got.messages
    del got
    assert garbage() == []
