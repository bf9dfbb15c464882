from __future__ import annotations

import queue
from collections.abc import Iterator

import pytest

from metamcp.concurrency.reactor import Reactor
from metamcp.concurrency.tasks import Workers
from metamcp.errors import EngineUnavailable
from metamcp.gateway.interface import Outbound, Reply
from metamcp.gateway.operators import Body, Question


class Asker:
    def __init__(self) -> None:
        self.reactor = Reactor()
        self.reactor.start()
        self.workers = Workers("asker", 1)

    def ask(self, question: Question) -> Outbound:
        answers: queue.SimpleQueue[Outbound] = queue.SimpleQueue()
        self.reactor.call_soon(lambda: question(Reply(answers.put)))
        return answers.get(timeout=5)

    def close(self) -> None:
        self.workers.close()
        self.reactor.close()


@pytest.fixture
def asker() -> Iterator[Asker]:
    opened = Asker()
    yield opened
    opened.close()


def test_answer_has_its_status_and_document(asker: Asker) -> None:
    answer = asker.ask(Question(asker.reactor, asker.workers, lambda: (200, {"ok": True})))
    assert (answer.status, answer.data) == (200, b'{"ok":true}')


def test_engine_that_is_away_is_503_with_its_hint(asker: Asker) -> None:
    def find() -> Body:
        raise EngineUnavailable("no engine", "start it")

    answer = asker.ask(Question(asker.reactor, asker.workers, find))
    assert (answer.status, answer.data) == (503, b'{"error":"no engine","hint":"start it"}')


def test_unforeseen_error_answers_and_the_next_question_is_asked_anew(asker: Asker) -> None:
    found: list[int] = []

    def find() -> Body:
        found.append(1)
        raise RuntimeError("unforeseen")

    question = Question(asker.reactor, asker.workers, find)
    assert asker.ask(question).status == 500
    assert asker.ask(question).status == 500
    assert len(found) == 2
