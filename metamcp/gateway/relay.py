"""What a server says by itself, brought to the one client whose session the server belongs to.

Only a server with an instance of its own for that session may ask or tell its client something: on a shared
instance nobody could say whom it means.
"""

from __future__ import annotations

from collections.abc import Callable

from metamcp.downstream.session import ClientSession
from metamcp.protocol import jsonrpc
from metamcp.protocol.jsonrpc import JsonObject, Raw
from metamcp.upstream.connection import UpstreamConnection

QUESTION_SECONDS = 600.0
"""How long a client may take to answer: a person may have to be asked."""

_QUESTIONS = {
    "sampling/createMessage": "sampling",
    "elicitation/create": "elicitation",
    "roots/list": "roots",
}


class Relay:
    """The Listener of one session's own connections."""

    def __init__(
        self, session: ClientSession, clock: Callable[[], float], changed: Callable[[str], None]
    ) -> None:
        self._session = session
        self._clock = clock
        self._changed = changed
        self._declared = declared_capabilities(session.hello)

    def on_request(self, connection: UpstreamConnection, identifier: bytes, method: str, params: Raw) -> None:
        def answered(result: bytes | None, error: bytes | None) -> None:
            connection.answer(identifier, result, error)

        asked = _QUESTIONS.get(method) in self._declared and self._session.ask(
            method, bytes(params), answered, self._clock() + QUESTION_SECONDS
        )
        if not asked:
            connection.refuse(identifier, method)

    def on_notification(self, connection: UpstreamConnection, method: str, params: Raw) -> None:
        if method.endswith("/list_changed"):
            # The client hears of it when the merged listing really is another one.
            if connection.started_well:
                self._changed(connection.spec.name)
        elif method != "notifications/cancelled":
            self._session.send(jsonrpc.notification(method, bytes(params)), related=True)


def declared_capabilities(hello: bytes) -> frozenset[str]:
    """The names of the capabilities that the client declared in ``initialize``."""
    members: JsonObject = jsonrpc.decode_object(hello, "params")
    return frozenset(jsonrpc.decode_object(members.get("capabilities", Raw(b"{}")), "capabilities"))


def requested_version(hello: bytes) -> str:
    """The version that the client asks for in ``initialize``. Raises InvalidParams."""
    members = jsonrpc.decode_object(hello, "params")
    jsonrpc.decode_object(members.get("capabilities", Raw(b"{}")), "capabilities")
    return jsonrpc.decode_string(members.get("protocolVersion"), "protocolVersion")
