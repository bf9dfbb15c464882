from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from metamcp.errors import AtCapacity, SessionUnknown
from metamcp.gateway.interface import Is, Outbound, Reply, failure


@pytest.fixture
def sent() -> list[Outbound]:
    return []


@pytest.fixture
def reply(sent: list[Outbound]) -> Reply:
    return Reply(sent.append)


def test_items_from_the_answer_on_are_final() -> None:
    assert [kind.name for kind in Is if Outbound(kind).final] == ["ANSWER", "ACCEPTED", "FAILED", "ENDED"]


def test_empty_item_still_costs_something_in_a_bounded_queue() -> None:
    assert len(Outbound(Is.EVENT)) > 0
    assert len(Outbound(Is.EVENT, b"x" * 1000)) - len(Outbound(Is.EVENT)) == 1000


def test_failure_has_the_errors_status_body_and_the_requests_id() -> None:
    item = failure(AtCapacity("full", server="git"), b'"a"')
    expected = {"jsonrpc": "2.0", "id": "a", "error": {"code": -31002, "message": "full", "data": {"server": "git"}}}
    assert (item.kind, item.status, json.loads(item.data)) == (Is.FAILED, 503, expected)


def test_events_and_answer_leave_in_their_order(reply: Reply, sent: list[Outbound]) -> None:
    reply.opened("s1")
    reply.event(b"one")
    reply.answer(b"two", "s1", 201)
    assert sent == [
        Outbound(Is.OPENED, b"", 200, "s1"), Outbound(Is.EVENT, b"one"), Outbound(Is.ANSWER, b"two", 201, "s1"),
    ]  # fmt: skip


@pytest.mark.parametrize("first", ["answer", "accepted", "failed", "end"])
def test_nothing_follows_a_final_item(reply: Reply, sent: list[Outbound], first: str) -> None:
    finals: dict[str, Callable[[], None]] = {
        "answer": lambda: reply.answer(b"{}"),
        "accepted": reply.accepted,
        "failed": lambda: reply.failed(SessionUnknown("gone")),
        "end": lambda: reply.end("over"),
    }
    finals[first]()
    for final in finals.values():
        final()
    reply.event(b"late")
    assert reply.done
    assert len(sent) == 1


def test_closing_calls_back_once_and_drops_what_comes_later(reply: Reply, sent: list[Outbound]) -> None:
    closed: list[bool] = []
    reply.on_closed = lambda: closed.append(reply.done)
    reply.close()
    reply.close()
    reply.answer(b"late")
    assert (closed, sent) == ([True], [])


def test_closing_after_the_answer_calls_nobody(reply: Reply) -> None:
    closed: list[str] = []
    reply.on_closed = lambda: closed.append("closed")
    reply.answer(b"{}")
    reply.close()
    assert closed == []
