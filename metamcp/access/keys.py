"""API keys, decided on paper: what one looks like, what is kept of it, and whose one that was presented is.

A key is 256 random bits. Only its SHA-256 is kept: there is nothing to guess that a slow hash would have to slow down.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from metamcp.access.principal import ANONYMOUS
from metamcp.config import names

ADMIN = names.RESERVED_ENDPOINT
"""The scope of operators; every other one is the name of an endpoint."""

PREFIX = "mmcp_"
KEY_BYTES = 32
MAX_KEYS = 1000
"""One lookup compares with each of them."""

MAX_FILE_BYTES = 1024 * 1024
YEARS = 10 * 365 * 86400

_KEY = re.compile(rf"{PREFIX}[A-Za-z0-9_-]{{43}}")
_BEARER = re.compile(r"bearer +(\S+) *", re.IGNORECASE)
_DURATION = re.compile(r"([1-9][0-9]{0,8})([smhdw])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_HASH = re.compile(r"[0-9a-f]{64}")


class KeysUnusable(Exception):
    """The file of keys cannot be read or understood. The text says why and repeats nothing of it."""


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is kept of one key. Times are Unix seconds; without ``expires`` it does not."""

    name: str
    sha256: str
    scopes: tuple[str, ...]
    created: int
    expires: int | None = None

    @property
    def id(self) -> str:
        """Tells keys of one name apart; says nothing about the key."""
        return self.sha256[:8]

    def valid(self, now: float) -> bool:
        return self.expires is None or now < self.expires


class _File(msgspec.Struct, forbid_unknown_fields=True):
    version: int
    keys: list[Record]


_file = msgspec.json.Decoder(_File)


@dataclass(frozen=True, slots=True)
class Keys:
    """Every key that is known. ``configured``: whether any was ever made; the last one may have been revoked since."""

    records: tuple[Record, ...] = ()
    configured: bool = False

    def find(self, key: str) -> Record | None:
        """The record of ``key``, expired or not. Takes the same time whichever it is, and if it is none."""
        if not looks_like_key(key):
            return None
        digest, found = hash_of(key), None
        for record in self.records:
            if hmac.compare_digest(record.sha256, digest):
                found = record
        return found

    def holder(self, ticket: str, session: str) -> Record | None:
        """The record whose key opened the stream that handed out ``ticket``."""
        if not _HASH.fullmatch(ticket):
            return None
        found = None
        for record in self.records:
            if hmac.compare_digest(ticket_of(record, session), ticket):
                found = record
        return found

    def holds(self, record: Record) -> bool:
        """Is it still there, which means not revoked?"""
        return record in self.records


def mint(random: bytes) -> str:
    """A new key from ``KEY_BYTES`` random bytes."""
    if len(random) != KEY_BYTES:
        raise ValueError(f"a key is made of {KEY_BYTES} bytes")
    return PREFIX + base64.urlsafe_b64encode(random).rstrip(b"=").decode("ascii")


def looks_like_key(text: str) -> bool:
    return _KEY.fullmatch(text) is not None


def hash_of(key: str) -> str:
    return hashlib.sha256(key.encode("ascii")).hexdigest()


def ticket_of(record: Record, session: str) -> str:
    """What a stream of HTTP+SSE that was opened with ``?api_key=`` puts into the URL for messages: good for that
    session alone and as long as its key is, and nobody learns the key from it."""
    return hmac.new(record.sha256.encode("ascii"), session.encode("utf-8", "surrogatepass"), "sha256").hexdigest()


def presented(authorization: str | None, x_api_key: str | None, query: str | None) -> str | None:
    """The key of a request, from the three places where one may stand: the first that looks like one of ours, for
    ``Authorization`` may be meant for somebody else; otherwise the first there is. None: there is none at all."""
    offered = [text for text in (bearer(authorization), x_api_key, query) if text]
    return next(filter(looks_like_key, offered), offered[0] if offered else None)


def bearer(authorization: str | None) -> str | None:
    """The token of ``Authorization: Bearer`` (RFC 6750, section 2.1)."""
    found = _BEARER.fullmatch(authorization.strip()) if authorization else None
    return found[1] if found else None


def seconds_of(duration: str) -> int | None:
    """``90d`` in seconds: a whole number of s, m, h, d or w, at most ten years. None when it is nothing of the kind."""
    found = _DURATION.fullmatch(duration)
    seconds = int(found[1]) * _UNITS[found[2]] if found else 0
    return seconds if 0 < seconds <= YEARS else None


def name_problem(name: str) -> str | None:
    if name == ANONYMOUS:
        return f"cannot be {ANONYMOUS}: that is who presents no key"
    return names.url_safe_name(name)


def scope_problem(scope: str) -> str | None:
    return None if scope == ADMIN else names.endpoint_name(scope)


def parse(content: bytes) -> Keys:
    """The file of keys. Raises KeysUnusable."""
    if len(content) > MAX_FILE_BYTES:
        raise KeysUnusable(f"it is larger than {MAX_FILE_BYTES // 1024} KiB")
    try:
        found = _file.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as broken:
        raise KeysUnusable(f"it is not as the command line writes it: {type(broken).__name__}") from None
    if found.version != 1:
        raise KeysUnusable("it was written by another version of this program")
    if len(found.keys) > MAX_KEYS:
        raise KeysUnusable(f"it holds more than {MAX_KEYS} keys")
    if any(_record_problem(record) for record in found.keys):
        raise KeysUnusable("a key in it has a name, a hash or a scope that cannot be one")
    return Keys(tuple(found.keys), configured=True)


def encode(records: Sequence[Record]) -> bytes:
    return msgspec.json.format(msgspec.json.encode(_File(1, list(records))), indent=2) + b"\n"


def without(records: Iterable[Record], name: str, identifier: str = "") -> tuple[Record, ...]:
    """What stays when every key of ``name`` is revoked, or the one of them with ``identifier``."""
    return tuple(it for it in records if it.name != name or (identifier and it.id != identifier))


def _record_problem(record: Record) -> bool:
    bad = name_problem(record.name) or not _HASH.fullmatch(record.sha256) or any(map(scope_problem, record.scopes))
    return bool(bad)
