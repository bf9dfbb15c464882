"""How a conversation with a server begins, in either era: the first request, and what counts as agreement.

Handshake era (2024-11-05 to 2025-11-25, Lifecycle): ``initialize``, then ``notifications/initialized``.
Stateless era (2026-07-28): ``server/discover``; nothing has to be agreed, but the answer shows that the server is
there and what it can do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from metamcp import __version__
from metamcp.errors import InvalidParams
from metamcp.protocol import envelope, jsonrpc
from metamcp.protocol.envelope import REVISION
from metamcp.protocol.jsonrpc import JsonObject
from metamcp.protocol.versions import LATEST

SpokenEra = Literal["legacy", "modern"]
"""As in the configuration: ``legacy`` is the handshake era, ``modern`` is 2026-07-28."""

OWN_INFO = jsonrpc.encode({"name": "metamcp", "version": __version__})
"""The gateway as a client (Implementation)."""


@dataclass(frozen=True, slots=True)
class Opening:
    """The first request of a conversation. ``agreed`` judges its result."""

    era: SpokenEra
    method: str
    params: bytes
    agreed: Callable[[JsonObject], bool]

    def same(self, other: Opening) -> bool:
        """A server that was opened with one is as good as one that was opened with the other."""
        return (self.method, self.params) == (other.method, other.params)


def handshake(hello: bytes) -> Opening:
    """``hello``: the raw params of ``initialize``, a client's own or ``own_hello``."""
    return Opening("legacy", "initialize", hello, lambda says: "protocolVersion" in says)


def stateless() -> Opening:
    """``server/discover`` in the gateway's own name (2026-07-28, Discovery)."""
    params = jsonrpc.encode(envelope.wrap({}, b"{}", OWN_INFO))
    return Opening("modern", "server/discover", params, _serves_stateless)


def own_hello(capabilities: bytes = b"{}") -> bytes:
    """``initialize`` params in the gateway's own name; by default nobody is there to be asked."""
    return jsonrpc.encode(
        {
            "protocolVersion": LATEST,
            "capabilities": jsonrpc.Raw(capabilities),
            "clientInfo": jsonrpc.Raw(OWN_INFO),
        }
    )


def supported_versions(says: JsonObject) -> tuple[str, ...]:
    """``supportedVersions`` of a DiscoverResult; empty when it is not one."""
    try:
        versions = jsonrpc.decode_array(says.get("supportedVersions", b"[]"), "supportedVersions")
        return tuple(jsonrpc.decode_string(version, "supportedVersions") for version in versions)
    except InvalidParams:
        return ()


def _serves_stateless(says: JsonObject) -> bool:
    return REVISION in supported_versions(says)
