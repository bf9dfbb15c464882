"""What operators order happens, and what cannot be done now says what to do."""

from __future__ import annotations

from typing import Any

import pytest
from fake_core import Core, WireClient
from fake_upstream import ScriptedServer, tool
from wiring import Got

from metamcp.config.model import ServerSpec
from metamcp.errors import RefusedByPolicy
from metamcp.factory.orders import Orders
from metamcp.gateway.interface import Ask
from metamcp.protocol import jsonrpc

CALL = jsonrpc.request(b"7", "tools/call", b'{"name":"git__run","arguments":{}}')


class House:
    def __init__(self, **spec: Any) -> None:
        servers = {"git": ServerSpec("git", era="legacy", **spec), "off": ServerSpec("off", enabled=False)}
        self.core = Core(servers, ScriptedServer({"tools/list": [[tool("run")]]}))
        self.orders = Orders(self.core.live, self.core.pool, self.core.catalog)

    def order(self, what: Any, server: str = "git") -> Got:
        got = Got()
        self.orders.operators()[what](got.reply, Ask(what, server))
        self.core.reactor.turn()
        return got

    def call(self) -> Got:
        self.client = WireClient(self.core, "http")
        return self.client.post(CALL)

    @property
    def alive(self) -> int:
        return len([child for child in self.core.supervisor.children if not child.reason])


def test_a_restart_ends_what_runs_and_reads_the_lists_of_a_new_instance() -> None:
    house = House(isolation="shared")
    got = house.call()
    old = house.core.child("git")
    before = house.core.catalog.listed("git")
    house.core.reactor.advance(5)
    answer = house.order("restart")
    assert answer.answer["done"] and "1 instance " in answer.answer["text"]
    assert old.reason == "an operator restarted it"
    old.die(0)
    house.core.reactor.turn()
    assert "an operator restarted it" in got.error["message"]
    new = house.core.child("git")
    assert new is not old and new.sent("tools/list")
    assert (house.core.catalog.listed("git") or 0) > (before or 0)


def test_a_restart_while_it_is_being_read_ends_with_a_reading_of_a_new_one() -> None:
    house = House()
    house.core.supervisor.script = None
    house.core.catalog.refresh("git")
    reading = house.core.child("git")
    house.order("restart")
    assert reading.reason
    house.core.supervisor.script = ScriptedServer({"tools/list": [[tool("another")]]})
    reading.die(0)
    house.core.reactor.advance(1)
    assert house.core.child("git") is not reading and house.core.catalog.problem("git") is None


def test_a_server_that_was_stopped_starts_with_the_next_call_and_keeps_no_spare_before() -> None:
    house = House(warm=1)
    house.core.pool.sweep()
    house.call()
    house.core.pool.sweep()
    assert house.alive == 2, "one of the client, and a spare"
    answer = house.order("stop")
    assert answer.answer["done"] and "the next call starts it again" in answer.answer["text"]
    for child in tuple(house.core.supervisor.children):
        child.die(0)
    house.core.pool.sweep()
    assert house.alive == 0
    house.client.post(CALL.replace(b"7", b"8"))
    house.core.pool.sweep()
    assert house.alive == 2


def test_a_wish_to_wake_starts_one_and_one_that_backs_off_says_how() -> None:
    house = House()
    count = len(house.core.supervisor.started)
    assert house.order("wake").answer["done"] and len(house.core.supervisor.started) == count + 1
    house.core.child("git").die(0)
    house.core.supervisor.script = None
    house.core.catalog.refresh("git")
    house.core.child("git").die(1, stderr=("boom",))
    refused = house.order("wake")
    assert refused.final.status == 409
    assert "boom" in refused.answer["error"] and "reset 'git'" in refused.answer["error"]


def test_a_reset_forgets_failures_and_asks_at_once() -> None:
    house = House()
    house.core.supervisor.script = None
    house.core.catalog.refresh("git")
    house.core.child("git").fail(RefusedByPolicy("no", server="git"))
    assert house.core.pool.refusal("git") is None and house.core.pool.views()[0].state == "FATAL"
    count = len(house.core.supervisor.started)
    assert house.order("reset").answer == {"done": True, "text": "server 'git' is asked again"}
    assert len(house.core.supervisor.started) == count + 1 and house.core.pool.views()[0].state != "FATAL"


@pytest.mark.parametrize("what", ["restart", "stop", "wake", "reset"])
def test_servers_that_there_are_not_and_that_are_disabled_are_refused(what: str) -> None:
    house = House()
    unknown, disabled = house.order(what, "nobody"), house.order(what, "off")
    assert unknown.final.status == 404 and "configured: git, off" in unknown.answer["error"]
    assert disabled.final.status == 409 and "servers.json" in disabled.answer["error"]
