"""Making and taking back API keys: what the command line and the operators' routes have in common."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from metamcp.access import keys
from metamcp.access.keys import ADMIN, Record


class KeysRefused(Exception):
    """The list of keys cannot be changed like this. The text says what to do."""


class Wish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A key that somebody wants. ``expires``: a duration such as ``90d``; None for a key that is good until it is
    revoked."""

    name: str
    scopes: tuple[str, ...]
    expires: str | None = None

    def problems(self) -> list[tuple[str, str]]:
        """What is wrong with it, each with the member's name."""
        found = [("name", text)] if (text := keys.name_problem(self.name)) else []
        found += [("scopes", f"{scope!r} {text}") for scope in self.scopes if (text := keys.scope_problem(scope))]
        if not self.scopes:
            found.append(("scopes", f"must name an endpoint at least, or {ADMIN}"))
        if self.expires is not None and keys.seconds_of(self.expires) is None:
            found.append(("expires", "must be such as 12h, 90d or 52w: a number of s, m, h, d or w, at most ten years"))
        return found

    def issue(self, now: int, random: bytes) -> tuple[str, Record]:
        """The key, which nobody will be able to tell again, and what is kept of it. For a wish without problems.
        ``random``: ``keys.KEY_BYTES`` of them."""
        key = keys.mint(random)
        seconds = keys.seconds_of(self.expires) if self.expires is not None else None
        scopes = tuple(dict.fromkeys(self.scopes))
        return key, Record(self.name, keys.hash_of(key), scopes, now, now + seconds if seconds else None)

    def unknown_scopes(self, endpoints: Sequence[str]) -> list[str]:
        """A warning for each: a key may be made before its endpoint."""
        known = ", ".join(sorted(endpoints)) or "none"
        return [
            f"no endpoint is called {scope!r} yet; configured: {known}"
            for scope in dict.fromkeys(self.scopes) if scope != ADMIN and scope not in endpoints
        ]  # fmt: skip


_wish = msgspec.json.Decoder(Wish)


def wish_of(body: bytes) -> Wish | None:
    """From JSON; None for what is no wish."""
    try:
        return _wish.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None


def add(records: list[Record], record: Record) -> None:
    """Raises KeysRefused."""
    if len(records) >= keys.MAX_KEYS:
        raise KeysRefused(f"there are {keys.MAX_KEYS} keys, which is the most; revoke what is not in use")
    records.append(record)


def locks_out(left: Sequence[Record], now: float) -> bool:
    """Whether nobody can give orders over HTTP any more by the keys that are left."""
    return not any(ADMIN in record.scopes and record.valid(now) for record in left)
