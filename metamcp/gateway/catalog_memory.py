"""The file that remembers over restarts what servers have: ``catalog.jsonl`` in the state directory, a line each.

Every member that came raw is kept as a text of its own, so that it comes back byte for byte whatever is in it, and
so that a line of the file is never nested deeper than the reader goes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metamcp.concurrency.saving import replace_file
from metamcp.errors import InvalidParams
from metamcp.gateway.listings import KINDS, Entry, Item, Kind
from metamcp.protocol import jsonrpc
from metamcp.protocol.jsonrpc import JsonObject, Raw
from metamcp.telemetry import logs

FILE_NAME = "catalog.jsonl"
MOST_BYTES = 64 * 1024 * 1024
"""Of the whole file. Servers that find no room in it are asked again at the next start."""

_KINDS = {kind.name: kind for kind in KINDS}
_log = logs.get("gateway.catalog_memory")


@dataclass(frozen=True, slots=True)
class Kept:
    """``key``: what the server was when it was asked (``ImageIds.key``). ``at``: Unix seconds."""

    key: str
    at: float
    entry: Entry

    @property
    def fingerprint(self) -> str:
        """Of the server's configuration, which holds its name: no two servers have the same."""
        return self.key.rpartition(" ")[2]


def recall(state_dir: Path) -> dict[str, Kept]:
    """What was kept, by fingerprint. Servers whose line cannot be used are only asked again, so that is no error.
    Blocks."""
    path = state_dir / FILE_NAME
    found: dict[str, Kept] = {}
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size > MOST_BYTES:
                raise ValueError(f"it is larger than {MOST_BYTES} bytes")
            for kept in filter(None, map(_usable, file)):
                found[kept.fingerprint] = kept
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        _log.warning("catalog-not-recalled", extra=logs.fields(file=FILE_NAME, error=str(error)))
    return found


def _usable(line: bytes) -> Kept | None:
    try:
        return _kept(line)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, InvalidParams) as error:
        _log.warning("catalog-not-recalled", extra=logs.fields(file=FILE_NAME, error=repr(error)[:200]))
        return None


def keep(state_dir: Path, memory: Iterable[Kept]) -> None:
    """Replace the file as a whole. Blocks."""
    try:
        replace_file(state_dir / FILE_NAME, _bounded(memory))
    except OSError as error:
        _log.warning("catalog-not-kept", extra=logs.fields(file=FILE_NAME, error=str(error)))


def _bounded(memory: Iterable[Kept]) -> Iterator[bytes]:
    room = MOST_BYTES
    for kept in memory:
        line = _line(kept)
        if len(line) <= room:
            room -= len(line)
            yield line
        else:
            _log.warning("catalog-not-kept", extra=logs.fields(server=kept.entry.server, bytes=len(line), room=room))


# --- one line ----------------------------------------------------------------------------------------------


def _line(kept: Kept) -> bytes:
    entry = kept.entry
    document = {
        "server": entry.server, "key": kept.key, "at": kept.at,
        "instructions": entry.instructions,
        "capabilities": _texts(entry.capabilities),
        "items": {name: [_texts(item.body) for item in items] for name, items in entry.items.items()},
    }  # fmt: skip
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"


def _kept(line: bytes) -> Kept:
    document: dict[str, Any] = json.loads(line)
    items = {name: _items(_KINDS[name], bodies) for name, bodies in document["items"].items()}
    capabilities = _members(document["capabilities"])
    entry = Entry(_text(document["server"]), capabilities, _text(document["instructions"]), items)
    return Kept(_text(document["key"]), float(document["at"]), entry)


def _items(kind: Kind, bodies: list[dict[str, str]]) -> tuple[Item, ...]:
    members = [_members(body) for body in bodies]
    return tuple(Item(jsonrpc.decode_string(body.get(kind.identity), kind.identity), body) for body in members)


def _texts(members: JsonObject) -> dict[str, str]:
    """Bytes that are no UTF-8 would survive, too."""
    return {name: bytes(raw).decode("utf-8", "surrogateescape") for name, raw in members.items()}


def _members(texts: dict[str, str]) -> JsonObject:
    return {name: Raw(text.encode("utf-8", "surrogateescape")) for name, text in texts.items()}


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"not a text: {value!r:.100}")
    return value
