"""The gateway's own ``requestState``: sealed, because it comes back through a client (MCP 2026-07-28, Multi
Round-Trip Requests, Server Requirements). Signed, not secret: it holds nothing that its client may not know."""

from __future__ import annotations

import base64
import hashlib
import hmac

import msgspec

from metamcp.errors import InvalidParams
from metamcp.protocol.jsonrpc import JsonObject, encode

PREFIX = "metamcp.1."
"""Tells our state from that of a server behind us, which is passed on as it is."""

_PER_ROUND = frozenset({"_meta", "inputResponses", "requestState"})


class Claims(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """``call`` names the held call, ``round`` counts its rounds, ``expiry`` is in Unix seconds."""

    call: str
    round: int
    principal: str
    digest: str
    expiry: int


_claims = msgspec.json.Decoder(Claims)


def digest(method: str, params: JsonObject) -> str:
    """What a retry has in common with the request that it repeats, whatever the order of its members. ``params`` are
    those that the client sent."""
    lasting = {name: params[name] for name in sorted(params) if name not in _PER_ROUND}
    return hashlib.sha256(encode([method, lasting])).hexdigest()


def is_ours(token: str) -> bool:
    return token.startswith(PREFIX)


def seal(key: bytes, claims: Claims) -> str:
    """A ``requestState`` of URL-safe characters."""
    body = PREFIX + _text(encode(claims))
    return f"{body}.{_signature(key, body)}"


def unseal(key: bytes, token: str, now: float, principal: str, digest: str) -> Claims:
    """The claims of a state that this key sealed for this principal and this request, and that is not over.

    ``now`` is in Unix seconds. Raises InvalidParams. That a state is used once only is for the caller to see to.
    """
    body, _, signature = token.rpartition(".")
    # Compared as bytes: Python compares only ASCII text in constant time.
    if not is_ours(body) or not hmac.compare_digest(signature.encode(), _signature(key, body).encode()):
        raise InvalidParams("requestState is not one that this gateway gave")
    claims = _claims.decode(_data(body.removeprefix(PREFIX)))
    if claims.principal != principal or claims.digest != digest:
        raise InvalidParams("requestState belongs to another request")
    if now >= claims.expiry:
        raise InvalidParams("requestState has expired: send the request anew, without it")
    return claims


def _signature(key: bytes, body: str) -> str:
    return _text(hmac.new(key, body.encode(), hashlib.sha256).digest())


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _data(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
