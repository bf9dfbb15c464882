"""The documents that the pages show: those of ``/api``, asked of the supervisor."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from werkzeug.exceptions import NotFound

from metamcp.errors import SupervisorAway
from metamcp.gateway.interface import Ask, Is, Lines, Subject
from metamcp.web.operator import ask
from metamcp.web.state import web_state

_SECONDS = 5.0
_LINES = 200  # of standard error in the page; scripts get all that are kept

Document = dict[str, Any]


def status() -> Document:
    """Of ``/api/status``. This and the others raise SupervisorAway."""
    found: Document = asked("status")
    return found


def asked(subject: Subject, argument: str = "", seconds: float = _SECONDS) -> Any:
    """The document that answers ``subject``; NotFound when there is no ``argument`` (any more)."""
    found = ask(subject, seconds, argument)
    document = read(found.data)
    if found.kind == Is.FAILED:
        raise SupervisorAway(str(document["error"]["message"]))
    if found.status == 404:
        raise NotFound(str(document["error"]))
    return document


def stderr(server: str) -> list[Document]:
    """The last lines of what ``server`` wrote to its standard error, as ``/api/servers/<server>/stderr`` gives them."""
    exchange = web_state().gateway.exchange(Ask("stderr", server, lines=Lines(tail=_LINES, follow=False)))
    lines: list[Document] = []
    try:
        while (item := exchange.next(_SECONDS)) is not None and not item.final:
            if item.kind == Is.EVENT:
                lines.append(read(item.data))
    finally:
        exchange.close()
    return lines


def read(data: bytes) -> Any:
    """JSON. Halves of surrogate pairs, which servers may have written and which are no text, become "?". Raises
    ValueError, RecursionError."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        text = json.dumps(json.loads(data), ensure_ascii=False)
        return json.loads(text.encode("utf-8", "replace"))
