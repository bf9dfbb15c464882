"""Where servers stand in the file of a client: by name under a key of its own, or in a list."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metamcp.config.fields import key_names
from metamcp.config.importing.outcome import Notes
from metamcp.config.schema import ServersSchema

Named = tuple[str, Any]
"""(name, body of a server)"""

HOLDERS = ("mcpServers", "servers", "context_servers")
"""Zed has the last one, VS Code ``servers``."""

_SETTINGS = "mcp"  # in settings of VS Code all of it, in those of Gemini who may be used
KNOWN = (*key_names(ServersSchema), *HOLDERS, "inputs", _SETTINGS)
_OF_EDITORS = ("$schema", "version")


def servers_in(document: Any, notes: Notes) -> list[Named]:
    """Whatever form they are written in."""
    if isinstance(document, list):
        return _listed(document)
    if not isinstance(document, Mapping):
        return []
    notes.left_out += [(key, "has no meaning here") for key in document if key not in (*KNOWN, *_OF_EDITORS)]
    found = [named for key in HOLDERS for named in _held(document.get(key))]
    settings = document.get(_SETTINGS)
    if not isinstance(settings, Mapping):
        return found
    found += _held(settings.get("servers"))
    known = ("servers", "inputs", "allowed", "excluded")
    notes.left_out += [(f"{_SETTINGS}.{key}", "has no meaning here") for key in settings if key not in known]
    return [(name, _unless_excluded(name, body, settings)) for name, body in found]


def inputs_in(document: Any) -> dict[str, str]:
    """What VS Code asks for (``inputs``), by its id; "" where nothing can stand for the answer."""
    if not isinstance(document, Mapping):
        return {}
    settings = document.get(_SETTINGS)
    asked = [document.get("inputs"), settings.get("inputs") if isinstance(settings, Mapping) else None]
    inputs = [item for items in asked if isinstance(items, list) for item in items if isinstance(item, Mapping)]
    return {str(item.get("id", "")): _default(item) for item in inputs}


def _default(item: Mapping[str, Any]) -> str:
    default = item.get("default")
    return default if isinstance(default, str) and item.get("password") is not True else ""


def _held(value: Any) -> list[Named]:
    return _listed(value) if isinstance(value, list) else list(value.items()) if isinstance(value, Mapping) else []


def _listed(items: list[Any]) -> list[Named]:
    return [(str(item.get("name", "")), item) if isinstance(item, Mapping) else ("", item) for item in items]


def _unless_excluded(name: str, body: Any, settings: Mapping[str, Any]) -> Any:
    allowed, excluded = settings.get("allowed"), settings.get("excluded")
    off = (isinstance(allowed, list) and name not in allowed) or (isinstance(excluded, list) and name in excluded)
    return {**body, "disabled": True} if off and isinstance(body, Mapping) else body
