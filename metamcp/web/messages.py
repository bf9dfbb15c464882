"""The body of a POST of the handshake era: one message, or, in 2025-03-26, an array of them."""

from __future__ import annotations

from dataclasses import dataclass

from metamcp.errors import InvalidParams, InvalidRequest, MetaMCPError, ParseError
from metamcp.gateway.interface import Batch, Client, Post
from metamcp.protocol import jsonrpc
from metamcp.protocol.jsonrpc import Message


@dataclass(frozen=True, slots=True)
class Parts:
    """``bodies`` are the raw ``messages``; ``refused`` the error responses to members of an array that are none."""

    messages: tuple[Message, ...]
    bodies: tuple[bytes, ...]
    refused: tuple[bytes, ...] = ()
    batch: bool = False

    @property
    def traced(self) -> tuple[str | None, bytes]:
        """Method and raw params of the request that a span is about, the first one of an array; None for no request."""
        for message in self.messages:
            if message.kind == "request":
                return message.method, bytes(message.params)
        return None, b""

    def request(self, client: Client, stream: str) -> Post | Batch:
        """For the gateway."""
        posts = [_post(client, message, body, stream) for message, body in zip(self.messages, self.bodies, strict=True)]
        return Batch(client, posts, list(self.refused), stream) if self.batch else posts[0]


def read(body: bytes) -> Parts:
    """Raises ParseError, or InvalidRequest for what is no message and no array with any."""
    if body.lstrip(b" \t\r\n")[:1] != b"[":
        return Parts((jsonrpc.parse(body),), (body,))
    messages, bodies, refused = [], [], []
    for raw in _members(body):
        try:
            messages.append(jsonrpc.parse(raw))
            bodies.append(raw)
        except MetaMCPError as error:
            refused.append(jsonrpc.error_response(b"", error.as_jsonrpc()))
    if not messages:
        raise InvalidRequest("an array of messages must hold at least one")
    return Parts(tuple(messages), tuple(bodies), tuple(refused), batch=True)


def _members(body: bytes) -> list[bytes]:
    try:
        return [bytes(raw) for raw in jsonrpc.decode_array(body, "the body")]
    except InvalidParams as error:
        raise ParseError(f"the body is not JSON: {error.text}") from error


def _post(client: Client, message: Message, body: bytes, stream: str) -> Post:
    payload = body if message.kind == "response" else bytes(message.params)
    return Post(client, message.kind, message.method or "", bytes(message.id), payload, stream)
