"""A stream that was begun with an API key ends when the key is revoked: nothing more is delivered on it."""

from __future__ import annotations

from metamcp.access.keyfile import KeyFile
from metamcp.access.keys import Keys, KeysUnusable, Record
from metamcp.errors import Unauthorized
from metamcp.gateway.interface import Exchange, Is, Outbound, failure

_TEXT = "the API key was revoked"


class Revocable:
    """An exchange that looks for its key before each item that it gives. A key that expires ends nothing that has
    begun; it begins nothing new."""

    def __init__(self, exchange: Exchange, keys: KeyFile, known: Keys, record: Record) -> None:
        self._exchange = exchange
        self._keys = keys
        self._record = record
        self._known = known  # most looks find that nothing has changed
        self._begun = False

    def next(self, timeout: float) -> Outbound | None:
        item = self._exchange.next(timeout)
        if self._revoked():
            self.close()
            return Outbound(Is.ENDED, _TEXT.encode()) if self._begun else failure(Unauthorized(_TEXT))
        self._begun = True
        return item

    def close(self) -> None:
        self._exchange.close()

    def _revoked(self) -> bool:
        try:
            now = self._keys.keys()
        except KeysUnusable:
            return True
        if now is not self._known and not now.holds(self._record):
            return True
        self._known = now
        return False
