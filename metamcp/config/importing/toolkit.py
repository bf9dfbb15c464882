"""Docker's MCP toolkit: which of its files a document is, and the servers in it.

A catalog says how servers run, ``registry.yaml`` which of them are enabled, ``config.yaml`` and ``tools.yaml`` what was
configured for each; a profile has all of it in one file, and an entry is one server alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from metamcp.config.importing.clients import KNOWN
from metamcp.config.importing.outcome import Notes

Kind = Literal["catalog", "profile", "entry", "settings"]

_TYPES = ("server", "remote", "poci")
_IN_PROFILES = {"image": "image", "registry": "source", "remote": "endpoint"}


@dataclass(frozen=True, slots=True)
class Settings:
    """By server: ``config``, and the ``tools`` that are on. ``enabled``: None where every server of a catalog is."""

    config: dict[str, Any] = field(default_factory=dict)
    tools: dict[str, list[str]] = field(default_factory=dict)
    enabled: set[str] | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """A server as a catalog describes it (``body``), under ``place`` of its file. ``tools`` that are on; None: all."""

    name: str
    place: str
    body: Mapping[str, Any]
    config: Mapping[str, Any]
    tools: list[str] | None = None


def kind_of(document: Any) -> Kind | None:
    """None: nothing of the toolkit's. What ``settings`` are is only known where one of the others is there."""
    if not isinstance(document, Mapping):
        return None
    if isinstance(document.get("registry"), Mapping):
        return "catalog" if any(not _is_tile(tile) for tile in document["registry"].values()) else "settings"
    if document.get("type") in _TYPES and ("image" in document or isinstance(document.get("remote"), Mapping)):
        return "entry"
    listed = document.get("servers")
    if isinstance(listed, list) and any(map(_is_listed, listed)):
        return "profile"
    plain = bool(document) and not any(key in document for key in (*KNOWN, "namespace"))
    return "settings" if plain and all(isinstance(value, (Mapping, list)) for value in document.values()) else None


def settings_from(documents: Iterable[Mapping[str, Any]]) -> Settings:
    """Of all ``settings`` together; the last word counts."""
    config: dict[str, Any] = {}
    tools: dict[str, list[str]] = {}
    enabled: set[str] | None = None
    for document in documents:
        if isinstance(tiles := document.get("registry"), Mapping):
            enabled = (enabled or set()) | set(tiles)
            config |= {name: tile["config"] for name, tile in tiles.items() if isinstance(tile.get("config"), Mapping)}
            continue
        config |= {name: value for name, value in document.items() if isinstance(value, Mapping)}
        tools |= {name: list(map(str, value)) for name, value in document.items() if isinstance(value, list)}
    return Settings(config, tools, enabled)


def entries_in(document: Mapping[str, Any], kind: Kind, settings: Settings, notes: Notes) -> Iterator[Entry]:
    if kind == "catalog":
        yield from _of_catalog(document["registry"], settings, notes)
    elif kind == "profile":
        for at, item in enumerate(document["servers"]):
            yield from _of_profile(f"servers[{at}]", item, notes)
    elif kind == "entry":
        name = str(document.get("name", "")) or _of_image(document.get("image"))
        yield Entry(name, name, document, settings.config, settings.tools.get(name))


def not_found(documents: Iterable[Mapping[str, Any]], settings: Settings) -> Iterator[tuple[str, str]]:
    """Notes about servers that are enabled and in none of the catalogs."""
    known = {name for document in documents for name in document["registry"]}
    for name in sorted((settings.enabled or set()) - known):
        yield f"registry.{name}", "is enabled, and in no catalog"


def profile_name(document: Mapping[str, Any]) -> str:
    """A catalog that is written like a profile has none: ``""``."""
    return str(document.get("id", ""))


def _of_catalog(registry: Mapping[str, Any], settings: Settings, notes: Notes) -> Iterator[Entry]:
    left = 0
    for name, body in registry.items():
        place = f"registry.{name}"
        if settings.enabled is not None and name not in settings.enabled:
            left += 1
        elif isinstance(body, Mapping) and not _is_tile(body):
            yield Entry(name, place, body, settings.config, settings.tools.get(name))
        else:
            notes.left_out.append((place, "does not say how the server runs"))
    if left:
        notes.left_out.append(("registry", f"has {left} servers that registry.yaml does not enable"))


def _of_profile(place: str, item: Any, notes: Notes) -> Iterator[Entry]:
    if not isinstance(item, Mapping):
        notes.left_out.append((place, "is no object"))
        return
    snapshot = item.get("snapshot")
    body = snapshot.get("server") if isinstance(snapshot, Mapping) else None
    body = dict(body) if isinstance(body, Mapping) else {}
    if item.get("type") == "image" and item.get("image"):
        body |= {"image": item["image"], "type": body.get("type", "server")}
    elif item.get("type") == "remote" and item.get("endpoint"):
        body = {"type": "remote", "remote": {"url": item["endpoint"]}} | body
    if not body:
        notes.left_out.append((place, "only refers to a registry: export the profile with its snapshots"))
        return
    name = str(body.get("name", "")) or _of_image(body.get("image") or item.get("endpoint"))
    own = item.get("config")
    config = {name: own, **own} if isinstance(own, Mapping) else {}
    tools = item.get("tools")
    yield Entry(name, place, body, config, list(map(str, tools)) if isinstance(tools, list) else None)


def _is_tile(value: Any) -> bool:
    """An entry of ``registry.yaml``."""
    return isinstance(value, Mapping) and {"ref", "config"}.issuperset(value) and "ref" in value


def _is_listed(item: Any) -> bool:
    needed = _IN_PROFILES.get(str(item.get("type"))) if isinstance(item, Mapping) else None
    return needed is not None and (needed in item or "snapshot" in item)


def _of_image(reference: Any) -> str:
    """``mcp/github:latest`` is called ``github``, and a URL like its host."""
    text = str(reference or "")
    if host := re.match(r"https?://([^/:]+)", text):
        return host[1].replace(".", "-")
    return text.partition("@")[0].rpartition("/")[2].partition(":")[0]
