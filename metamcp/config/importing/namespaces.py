"""A namespace as MetaMCP exports it (version 1): servers and tools by name, without their definitions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metamcp.config.fields import key_names
from metamcp.config.hints import AnnotationsSchema
from metamcp.config.importing.outcome import Notes


def is_namespace(document: Any) -> bool:
    return isinstance(document, Mapping) and isinstance(document.get("namespace"), Mapping)


def convert(document: Mapping[str, Any], names: Mapping[str, str], notes: Notes) -> tuple[str, dict[str, Any]]:
    """(its name, the namespace). ``names``: of the imported servers, as they were and as they are now."""
    body = document["namespace"]
    name, place = str(body.get("name", "")), f"namespaces.{body.get('name', '')}"
    servers, off = [], []
    for server in _objects(body, "servers"):
        ours = names.get(str(server.get("name", "")))
        if ours is None:
            notes.left_out.append((f"{place}.servers", f"{server.get('name')!r} is no imported server"))
        elif ours not in servers:
            servers.append(ours)
            off += [ours] if _inactive(server) else []
    tools = [made for tool in _objects(body, "tools") if (made := _tool(place, tool, names, notes))]
    return name, {"servers": servers, **({"disabled": off} if off else {}), **({"tools": dict(tools)} if tools else {})}


def _tool(place: str, tool: Mapping[str, Any], names: Mapping[str, str], notes: Notes) -> tuple[str, Any] | None:
    """MetaMCP puts the server's name before an overridden name, too."""
    server, name = names.get(str(tool.get("server", ""))), str(tool.get("name", ""))
    if server is None or not name:
        return None
    seen, override = f"{server}__{name}", tool.get("override")
    made: dict[str, Any] = {"enabled": False} if _inactive(tool) else {}
    if isinstance(override, Mapping):
        made |= {key: override[key] for key in ("title", "description") if isinstance(override.get(key), str)}
        made |= {"name": f"{server}__{override['name']}"} if override.get("name") else {}
        made |= _annotations(f"{place}.tools.{seen}", override.get("annotations"), notes)
    return (seen, made) if made else None


def _annotations(place: str, given: Any, notes: Notes) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        return {}
    known = key_names(AnnotationsSchema)
    notes.left_out += [(f"{place}.annotations.{key}", "is no annotation of MCP") for key in given if key not in known]
    kept = {key: value for key, value in given.items() if key in known}
    return {"annotations": kept} if kept else {}


def _objects(body: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    items = body.get(key)
    return [item for item in items if isinstance(item, Mapping)] if isinstance(items, list) else []


def _inactive(item: Mapping[str, Any]) -> bool:
    return str(item.get("status", "")).upper() == "INACTIVE"
