"""What one server says and asks by itself, on its way to one client: through ``on_message`` of the middleware of every
namespace that it comes out of, the innermost first, as answers go."""

from __future__ import annotations

from functools import partial

from metamcp.errors import InvalidParams, MetaMCPError
from metamcp.gateway.middleware.interface import Context, Message, Middleware
from metamcp.gateway.middleware.stack import Stack
from metamcp.protocol import jsonrpc
from metamcp.protocol.jsonrpc import Raw

_PROGRESS = "notifications/progress"


class Hearing:
    """``stacks``: of the innermost namespace first. Nobody needs one where none of them has the hook
    (``Stack.hearing``): messages are passed on as they are."""

    __slots__ = ("_links", "_server")

    def __init__(self, stacks: tuple[Stack, ...], server: str, endpoint: str, principal: str) -> None:
        self._server = server
        self._links = [
            (stack, link, Context(stack.namespace, endpoint, principal))
            for stack in stacks
            for link in reversed(stack.hearing)
        ]

    def question(self, method: str, params: bytes) -> bytes:
        """The params with which the client is asked. Raises MetaMCPError for what it is not to be asked."""
        return self._through(Message(method, self._server, params, asks=True))

    def notification(self, method: str, params: bytes) -> bytes | None:
        """The params that the client gets; None where it gets nothing. What failed has been told by then."""
        try:
            return self._through(Message(method, self._server, params, asks=False))
        except MetaMCPError:
            return None

    def event(self, data: bytes) -> bytes:
        """A whole notification; b"" where the client gets nothing."""
        message = jsonrpc.parse(data)
        method, before = message.method or "", bytes(message.params)
        params = self.notification(method, before)
        if params is None:
            return b""
        return jsonrpc.notification(method, _with_token(params, before) if method == _PROGRESS else params)

    def _through(self, message: Message) -> bytes:
        for stack, link, context in self._links:
            stack.run(link, "on_message", partial(_message, message, context))
        return message.raw


def _message(message: Message, context: Context, middleware: Middleware) -> None:
    """Raises ValueError, or TypeError, where it leaves what no params can be."""
    before = message.raw
    middleware.on_message(message, context)
    if message.raw == before or before[:1] == b"[":
        return
    try:
        jsonrpc.decode_object(bytes(message.raw))
    except InvalidParams as invalid:
        raise ValueError("params are an object") from invalid


def _with_token(params: bytes, before: bytes) -> bytes:
    """The token is the client's own word, by which alone it knows what is said of which request."""
    try:
        token = jsonrpc.decode_object(before).get("progressToken", Raw(b""))
        members = jsonrpc.decode_object(params)
    except InvalidParams:
        return params
    if bytes(members.get("progressToken", b"")) == bytes(token):
        return params
    return jsonrpc.encode(members | {"progressToken": token})
