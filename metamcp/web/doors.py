"""What the endpoints ask of those who enter, as this worker was told last.

The supervisor tells it at once and with each change; nothing is known, and nobody let in, while it is away.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol

from metamcp.access import policy
from metamcp.access.policy import Policy
from metamcp.errors import SupervisorAway
from metamcp.gateway.interface import Ask, Exchange, Gateway, Is

if TYPE_CHECKING:
    from metamcp.access.tokens import PublicKey

FIRST_SECONDS = 2.0
"""For the first word after the link is there."""

RENEWAL_SECONDS = 6.0
"""For the keys of an issuer, which the supervisor asks for; above its own deadline."""


class Doors(Protocol):
    def policy(self) -> Policy:
        """Raises SupervisorAway."""

    def keys(self, source: str) -> tuple[PublicKey, ...] | None:
        """Of an issuer of tokens; None while they could not be had."""

    def renew(self, source: str) -> None:
        """Have them asked for anew, which is bounded, and wait for it."""


class ToldDoors:
    """By the supervisor, over the link. For any thread."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._lock = threading.Lock()
        self._exchange: Exchange | None = None
        self._policy: Policy | None = None
        self._keys: dict[str, tuple[PublicKey, ...]] = {}

    def policy(self) -> Policy:
        with self._lock:
            return self._current()

    def keys(self, source: str) -> tuple[PublicKey, ...] | None:
        from metamcp.access import tokens  # noqa: PLC0415  20 MiB, for those alone who take tokens

        with self._lock:
            jwks = self._current().jwks.get(source)
            if jwks is None:
                return None
            if source not in self._keys:
                self._keys[source] = tokens.public_keys(jwks)
            return self._keys[source]

    def renew(self, source: str) -> None:
        exchange = self._gateway.exchange(Ask("issuer-keys", source))
        try:
            exchange.next(RENEWAL_SECONDS)
        finally:
            exchange.close()

    def close(self) -> None:
        with self._lock:
            if self._exchange is not None:
                self._exchange.close()
            self._exchange = None

    def _current(self) -> Policy:
        self._take_in()
        if self._exchange is None:
            self._take_in()  # the supervisor that it was is gone; there may be another one
        if self._policy is None:
            text = "the supervisor is not reachable; it is being restarted, try again in a second"
            raise SupervisorAway(text, state="STARTING", reason=text, retryAfterMs=1000)
        return self._policy

    def _take_in(self) -> None:
        """What came since the last time; waits only for the first word of a supervisor."""
        patience = 0.0
        if self._exchange is None:
            self._exchange = self._gateway.exchange(Ask("access"))
            patience = FIRST_SECONDS
        while self._exchange is not None and (item := self._exchange.next(patience)) is not None:
            patience = 0.0
            self._policy = policy.decode(item.data) if item.kind == Is.EVENT else None
            self._keys = {}
            if item.final:
                self._exchange = None
