"""Namespaces of MetaMCP: as it exports them (version 1: servers and tools by name, without their definitions), and as
its API and a database answer; endpoints, which it does not export, from there alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metamcp.config.fields import key_names
from metamcp.config.hints import AnnotationsSchema
from metamcp.config.importing.outcome import Notes
from metamcp.config.rates import UNITS

_SECONDS = dict(zip((1, 60, 3600, 86400), UNITS, strict=True))
_OVERRIDES = {"name": "overrideName", "title": "overrideTitle", "description": "overrideDescription"}


def rows_in(document: Any) -> Any:
    """What an answer of the API (tRPC) is about; any other document as it is."""
    for key in ("result", "data", "data"):
        if isinstance(document, Mapping) and isinstance(document.get(key), (Mapping, list)):
            wrapped = {"result", "data", "success", "message"}.issuperset(document)
            document = document[key] if wrapped else document
    return document


def is_row(item: Any) -> bool:
    """Whether it is a namespace or an endpoint: they have names, too, and a namespace has servers."""
    return isinstance(item, Mapping) and (_is_endpoint(item) or _is_namespace(item) or _is_export(item))


def namespaces_in(document: Any) -> list[Mapping[str, Any]]:
    if isinstance(document, Mapping) and _is_export(document):
        return [document["namespace"]]
    return [row for row in _rows(document, "namespaces") if _is_namespace(row)]


def endpoints_in(document: Any) -> list[Mapping[str, Any]]:
    return [row for row in _rows(document, "endpoints") if _is_endpoint(row)]


def convert(body: Mapping[str, Any], names: Mapping[str, str], notes: Notes) -> tuple[str, dict[str, Any]]:
    """(its name, the namespace). ``names``: of the imported servers, as they were and as they are now."""
    name, place = str(body.get("name", "")), f"namespaces.{body.get('name', '')}"
    servers, off = [], []
    for server in _objects(body, "servers"):
        ours = names.get(str(server.get("name", "")))
        if ours is None:
            notes.left_out.append((f"{place}.servers", f"{server.get('name')!r} is no imported server"))
        elif ours not in servers:
            servers.append(ours)
            off += [ours] if _inactive(server) else []
    tools: dict[str, Any] = {}
    for tool in _objects(body, "tools"):
        seen, made = _tool(place, tool, names, notes)
        if made and seen.partition("__")[0] not in servers:
            notes.left_out.append((f"{place}.tools.{seen}", "is of no server of this namespace"))
        elif made:
            tools[seen] = made
    return name, {"servers": servers, **({"disabled": off} if off else {}), **({"tools": tools} if tools else {})}


def convert_endpoint(row: Mapping[str, Any], notes: Notes) -> tuple[str, dict[str, Any]]:
    """(its name, the endpoint). Who was let in by OAuth needs a key, until an issuer is named."""
    name, place = str(row.get("name", "")), f"endpoints.{row.get('name', '')}"
    namespace = row.get("namespace")
    target = str(namespace.get("name", "")) if isinstance(namespace, Mapping) else str(row.get("namespace_name", ""))
    oauth = row.get("enable_oauth") is True
    if oauth:
        notes.left_out.append((f"{place}.oauth", 'tokens come from an issuer of yours here: "auth": "oauth"'))
    if row.get("enableClientMaxRate") is True:
        notes.left_out.append((f"{place}.clientMaxRate", "each client has METAMCP_RATE_LIMIT, whatever the endpoint"))
    keyed = oauth or row.get("enable_api_key_auth") is not False
    return name, {"namespace": target, "auth": "api-key" if keyed else "none", **_rate(place, row, notes)}


def _rate(place: str, row: Mapping[str, Any], notes: Notes) -> dict[str, str]:
    count, seconds = row.get("maxRate"), row.get("maxRateSeconds", 60)
    if row.get("enableMaxRate") is not True or not isinstance(count, int) or count < 1:
        return {}
    if seconds in _SECONDS:
        return {"rateLimit": f"{count}/{_SECONDS[seconds]}"}
    notes.left_out.append((f"{place}.maxRate", f"must be for one {', '.join(UNITS)} here: set rateLimit"))
    return {}


def _tool(place: str, tool: Mapping[str, Any], names: Mapping[str, str], notes: Notes) -> tuple[str, dict[str, Any]]:
    """(the name that clients see, what is changed). MetaMCP puts the server's name before an overridden name, too."""
    original, name = str(tool.get("server", tool.get("serverName", ""))), str(tool.get("name", ""))
    server = names.get(original)
    seen = f"{server or original}__{name}"
    made: dict[str, Any] = {"enabled": False} if _inactive(tool) else {}
    override = _override(tool)
    made |= {"title": override["title"]} if isinstance(override.get("title"), str) and override["title"] else {}
    made |= {"description": override["description"]} if isinstance(override.get("description"), str) else {}
    made |= {"name": f"{server}__{override['name']}"} if override.get("name") else {}
    made |= _annotations(f"{place}.tools.{seen}", override.get("annotations"), notes)
    if made and (server is None or not name):
        notes.left_out.append((f"{place}.tools.{seen}", "is of no imported server"))
        return seen, {}
    return seen, made


def _override(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    """In exports an object; in rows a column for each, null where nothing is changed."""
    if isinstance(override := tool.get("override"), Mapping):
        return override
    found = {key: tool[theirs] for key, theirs in _OVERRIDES.items() if tool.get(theirs) is not None}
    return {**found, "annotations": tool.get("overrideAnnotations")}


def _annotations(place: str, given: Any, notes: Notes) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        return {}
    known = key_names(AnnotationsSchema)
    notes.left_out += [(f"{place}.annotations.{key}", "is no annotation of MCP") for key in given if key not in known]
    kept = {key: value for key, value in given.items() if key in known}
    return {"annotations": kept} if kept else {}


def _rows(document: Any, key: str) -> list[Mapping[str, Any]]:
    """Alone, in a list, or in a list under ``key``."""
    if isinstance(document, Mapping):
        document = document[key] if isinstance(document.get(key), list) else [document]
    return [item for item in document if isinstance(item, Mapping)] if isinstance(document, list) else []


def _is_export(document: Mapping[str, Any]) -> bool:
    return isinstance(document.get("namespace"), Mapping) and not _is_endpoint(document)


def _is_namespace(row: Mapping[str, Any]) -> bool:
    return "uuid" in row and isinstance(row.get("servers"), list)


def _is_endpoint(row: Mapping[str, Any]) -> bool:
    return "enable_api_key_auth" in row


def _objects(body: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    items = body.get(key)
    return [item for item in items if isinstance(item, Mapping)] if isinstance(items, list) else []


def _inactive(item: Mapping[str, Any]) -> bool:
    return str(item.get("status", "")).upper() == "INACTIVE"
