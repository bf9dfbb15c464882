"""What a server says by itself, brought to the one client whose session the server belongs to.

Only a server with an instance of its own for that session may ask or tell its client something: on a shared
instance nobody could say whom it means.
"""

from __future__ import annotations

from collections.abc import Callable

from metamcp.downstream.session import ClientSession
from metamcp.protocol import jsonrpc
from metamcp.protocol.jsonrpc import Raw
from metamcp.upstream.connection import Listener, UpstreamCall, UpstreamConnection

QUESTION_SECONDS = 600.0
"""How long a client may take to answer: a person may have to be asked."""

QUESTIONS = {
    "sampling/createMessage": "sampling",
    "elicitation/create": "elicitation",
    "roots/list": "roots",
}
"""What a server may ask a client, and the capability with which the client offers to answer."""


class Relay(Listener):
    """Of one session's own connections."""

    def __init__(
        self,
        session: ClientSession,
        clock: Callable[[], float],
        changed: Callable[[UpstreamConnection], None],
        gone: Callable[[UpstreamConnection], None],
    ) -> None:
        self._session = session
        self._clock = clock
        self._changed = changed
        self._gone = gone
        members = jsonrpc.decode_object(session.hello)
        self.capabilities = bytes(members.get("capabilities", b"{}"))
        self.client_info = bytes(members.get("clientInfo", b""))
        self.declared = frozenset(jsonrpc.decode_object(self.capabilities, "capabilities"))
        self._asked: dict[tuple[UpstreamConnection, bytes], int] = {}  # the id under which the client was asked

    def on_ready(self, connection: UpstreamConnection) -> None:
        if self._session.log_level:
            tell_level(connection, self._session.log_level)

    def on_request(self, connection: UpstreamConnection, identifier: bytes, method: str, params: Raw) -> None:
        def answered(result: bytes | None, error: bytes | None) -> None:
            self._asked.pop((connection, identifier), None)
            connection.answer(identifier, result, error)

        asked = None
        if QUESTIONS.get(method) in self.declared:
            asked = self._session.ask(method, bytes(params), answered, self._clock() + QUESTION_SECONDS)
        if asked is None:
            connection.refuse(identifier, method)
        else:
            self._asked[connection, identifier] = asked

    def on_withdrawn(self, connection: UpstreamConnection, identifier: bytes) -> None:
        asked = self._asked.pop((connection, identifier), None)
        if asked is not None:
            self._session.withdraw(asked)

    def on_notification(self, connection: UpstreamConnection, method: str, params: Raw) -> None:
        if method.endswith("/list_changed"):
            # The client hears of it when the merged listing really is another one.
            if connection.started_well:
                self._changed(connection)
        else:
            self._session.send(jsonrpc.notification(method, bytes(params)), related=True)

    def on_gone(self, connection: UpstreamConnection) -> None:
        self._gone(connection)


def tell_level(connection: UpstreamConnection, level: str) -> None:
    """A server that cannot log at levels may refuse; its answer changes nothing."""
    if connection.started_well and connection.era == "legacy" and connection.capability("logging") is not None:
        params = {"level": Raw(jsonrpc.encode(level))}
        connection.call(UpstreamCall("logging/setLevel", params, lambda _result, _error: None))


def requested_version(hello: bytes) -> str:
    """The version that the client asks for in ``initialize``. Raises InvalidParams."""
    members = jsonrpc.decode_object(hello, "params")
    jsonrpc.decode_object(members.get("capabilities", Raw(b"{}")), "capabilities")
    return jsonrpc.decode_string(members.get("protocolVersion"), "protocolVersion")
