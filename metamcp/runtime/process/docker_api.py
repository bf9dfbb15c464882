"""Containers over the Engine API, without a ``docker`` process for each: create, attach, wait, start.

The order is that of ``docker run``: attached before the start, so that no first word is lost, and waited for before the
start, so that no end is.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass

from metamcp.concurrency.crew import Crew
from metamcp.concurrency.tasks import Job
from metamcp.errors import EngineUnavailable, MetaMCPError
from metamcp.runtime.command.create_request import CreateRequest, create_request, pulls
from metamcp.runtime.command.create_values import InvalidValueError
from metamcp.runtime.command.launch import LaunchPlan
from metamcp.runtime.engine import Engine
from metamcp.runtime.process.attached import AttachedContainer
from metamcp.runtime.process.engine_socket import EngineSocket
from metamcp.runtime.process.http_answer import Answer
from metamcp.runtime.process.interface import NOT_EXECUTABLE, NOT_FOUND, REFUSED, NotStarted, Start
from metamcp.telemetry import logs

ENGINE_SECONDS = 60.0
"""For the engine to create, attach to and start one container; ``timeouts.start`` is usually shorter."""

_CREATORS, _PULLERS, _MOST_WAITING = 32, 4, 1024
_ABSENT = 404
_OK = (200, 201, 204, 101)
_WORDS_OF_NOT_FOUND = ("executable file not found", "no such file or directory", "system cannot find the file")
_WORDS_OF_NOT_EXECUTABLE = ("permission denied", "is a directory")

_log = logs.get("runtime.docker_api")


@dataclass(frozen=True, slots=True)
class _Order:
    plan: LaunchPlan
    request: CreateRequest
    start: Start
    pulls: bool  # an image that is not there


class DockerApi:
    """``submit`` takes what blocks and is not waited for (signals)."""

    def __init__(self, engine: Engine, submit: Callable[[Job], bool]) -> None:
        self._engine = engine
        self._submit = submit
        self._creators = Crew("creator", _CREATORS, _MOST_WAITING, lambda: None)
        self._pullers = Crew("puller", _PULLERS, _MOST_WAITING, lambda: None)
        self.crews = (self._creators, self._pullers)

    def start(self, plan: LaunchPlan, start: Start) -> None:
        """Only begins it: an engine that hangs over one container must not hold up the starters."""
        assert plan.run is not None  # noqa: S101  a container's plan has one
        try:
            request = create_request(plan.run, plan.env)
        except InvalidValueError as error:
            raise NotStarted(REFUSED, f"docker: {error}") from error
        order = _Order(plan, request, start, pulls(plan.run) and _is_reference(plan.image))
        self._hand(self._creators, order, self._create)

    def close(self) -> None:
        self._creators.drop()
        self._pullers.drop()

    # --- inside ----------------------------------------------------------------------------------------

    def _hand(self, crew: Crew, order: _Order, step: Callable[[_Order], None]) -> None:
        """Raises NotStarted when too many wait."""

        def run() -> None:
            try:
                step(order)
            except (NotStarted, MetaMCPError) as error:
                order.start.failed(error)

        if not crew.submit(run):
            raise NotStarted(REFUSED, "docker: too many containers are being started")

    def _create(self, order: _Order) -> None:
        created = self._created(order)
        if created.status == _ABSENT and order.pulls:
            self._hand(self._pullers, order, self._pull_and_start)
        else:
            order.start.begun(self._started(order, created))

    def _version(self) -> str:
        try:
            return self._engine.api_version()
        except EngineUnavailable as error:
            raise NotStarted(REFUSED, f"docker: {error.text}") from error

    def _pull_and_start(self, order: _Order) -> None:
        self._pull(order)
        order.start.begun(self._started(order, self._created(order)))

    def _pull(self, order: _Order) -> None:
        image, platform = order.plan.image, order.request.query.get("platform", "")
        _log.info("pulling", extra=logs.fields(image=image))
        try:
            with self._engine.pull(image, platform) as progress, order.start.abortable(progress.cut):
                problem = progress.follow()
        except EngineUnavailable as error:
            problem = error.text
        if order.start.given_up:
            raise NotStarted(REFUSED, "")
        if problem:
            text = f"Unable to find image '{image}' locally\ndocker: Error response from daemon: {problem}"
            raise NotStarted(REFUSED, text)

    def _created(self, order: _Order) -> Answer:
        with closing(self._socket(order)) as connection:
            return connection.ask("POST", "/containers/create", order.request.query, order.request.body)

    def _started(self, order: _Order, created: Answer) -> AttachedContainer:
        identifier = _created_id(created)
        path = f"/containers/{identifier}"
        with ExitStack() as stack:
            streams = stack.enter_context(closing(self._socket(order)))
            streams_of = dict.fromkeys(("stream", "stdin", "stdout", "stderr"), "1")
            attached = _checked(streams.open(f"{path}/attach", streams_of, upgrade=True))
            waiting = stack.enter_context(closing(self._socket(order)))
            answer = _checked(waiting.open(f"{path}/wait", {"condition": "removed"}))
            with closing(self._socket(order)) as starting:
                _checked(starting.ask("POST", f"{path}/start", {}))
            stack.pop_all()  # from now on the process closes them
        return AttachedContainer(
            identifier, streams.socket, attached.rest, waiting.socket, answer, lambda: self._terminate(identifier)
        )

    def _socket(self, order: _Order) -> EngineSocket:
        return EngineSocket(self._engine.docker_host, self._version(), order.start, ENGINE_SECONDS)

    def _terminate(self, identifier: str) -> None:
        self._submit(lambda: self._send_term(identifier))

    def _send_term(self, identifier: str) -> None:
        """On a worker's thread. One that cannot be told is removed by the next rung."""
        try:
            self._engine.kill(identifier, "TERM")
        except EngineUnavailable as error:
            _log.debug("not-terminated", extra=logs.fields(id=identifier[:12], error=error.text))


def _is_reference(image: str) -> bool:
    """An id cannot be pulled."""
    return not image.startswith("sha256:")


def _created_id(answer: Answer) -> str:
    try:
        return str(json.loads(_checked(answer).body)["Id"])
    except (ValueError, TypeError, KeyError) as error:
        raise NotStarted(REFUSED, "docker: the engine's answer cannot be understood") from error


def _checked(answer: Answer) -> Answer:
    """Raises NotStarted with the exit status that ``docker run`` has for such an answer."""
    if answer.status in _OK:
        return answer
    said = _message(answer)
    lower = said.lower()
    code = REFUSED
    if any(words in lower for words in _WORDS_OF_NOT_FOUND):
        code = NOT_FOUND
    elif any(words in lower for words in _WORDS_OF_NOT_EXECUTABLE):
        code = NOT_EXECUTABLE
    raise NotStarted(code, f"docker: Error response from daemon: {said}")


def _message(answer: Answer) -> str:
    try:
        return str(json.loads(answer.body)["message"])
    except (ValueError, TypeError, KeyError):
        return f"{answer.status} {answer.body[:200].decode('utf-8', 'replace')}".strip()
