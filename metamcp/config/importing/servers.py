"""One server as MetaMCP, Claude, Cursor, VS Code, Windsurf, Cline, Zed or Gemini write it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

from metamcp.config import secrets
from metamcp.config.fields import key_names
from metamcp.config.importing.outcome import Notes
from metamcp.config.importing.templates import Dialect, ours
from metamcp.config.schema import servers_from
from metamcp.config.server_schema import TRANSPORT_ALIASES, ServerSchema
from metamcp.errors import ConfigInvalid

LONGEST_NAME = 32
_UNUSABLE = re.compile(r"[^A-Za-z0-9_-]")
_TYPES = TRANSPORT_ALIASES | {"std": "stdio", "local": "stdio", "streamablehttp": "streamable-http"}
_ADDRESSES = {"url": "", "serverUrl": "", "httpUrl": "streamable-http"}
_HIDDEN = ("excludeTools", "disabledTools", "disabled_tools")
_UNDERSTOOD = {*_ADDRESSES, *_HIDDEN, "type", "transport", "disabled", "status", "bearerToken", "name", "source"}
_SAYS_NOTHING = {"description", "uuid", "created_at", "user_id", "error_status"}  # of MetaMCP
_OF_GEMINI = {"httpUrl", "trust", "includeTools", "excludeTools"}
_INSTEAD = {
    "cwd": "write paths out in args",
    "envFile": "write its variables into env, as ${NAME}",
    "timeout": "how long a call may be silent is timeouts.call, in seconds",
    "oauth": "put a token into headers, as ${NAME}",
    "auth": "put a token into headers, as ${NAME}",
    "headersHelper": "put a token into headers, as ${NAME}",
    "includeTools": "tools that are not wanted are switched off one by one, in a namespace",
    "enabledTools": "tools that are not wanted are switched off one by one, in a namespace",
    "tools": "tools that are not wanted are switched off one by one, in a namespace",
}


def fitting_name(name: str) -> str:
    """MetaMCP drops what cannot stand in a tool's name, so tools keep theirs. "" where nothing is left."""
    plain = re.sub("__+", "_", _UNUSABLE.sub("", name))
    return plain[:LONGEST_NAME].rstrip("_")


def convert(name: str, body: Any, notes: Notes, inputs: Mapping[str, str] | None = None) -> dict[str, Any] | None:
    """The server for ``servers.json``, or None, with the reason among ``notes``. ``inputs``: as ``Dialect`` has it."""
    place = f"mcpServers.{name}"
    if not isinstance(body, Mapping):
        notes.left_out.append((place, "is no object"))
        return None
    given = {key: value for key, value in _flat(body).items() if value not in (None, "", [], {})}
    dialect = Dialect(inputs or {}, bare=not _OF_GEMINI.isdisjoint(given))
    made = _translated(place, given, dialect, notes)
    try:
        servers_from({"mcpServers": {name: made}})
    except ConfigInvalid as invalid:
        notes.left_out += [(path, text) for path, text in invalid.problems]
        return None
    notes.secrets += _in_clear(place, name, made)
    if hidden := list(_hidden(place, given, notes)):
        notes.hidden[name] = hidden
    return made


def _flat(body: Mapping[str, Any]) -> dict[str, Any]:
    """Cline puts how a server is reached into an object of its own, Zed its program."""
    flat = dict(body)
    for key, first in (("transport", "type"), ("command", "path")):
        inner = flat.get(key)
        if isinstance(inner, Mapping):
            del flat[key]
            flat |= {(key if name == first else name): value for name, value in inner.items()}
    return flat


def _translated(place: str, body: Mapping[str, Any], dialect: Dialect, notes: Notes) -> dict[str, Any]:
    known = set(key_names(ServerSchema)) - _UNDERSTOOD
    made = {key: ours(f"{place}.{key}", value, dialect, notes) for key, value in body.items() if key in known}
    made |= _address(place, body, dialect, notes) | _switched_off(body)
    for kind in ("env", "headers"):
        if isinstance(made.get(kind), Mapping):
            made[kind] = {key: _as_text(value) for key, value in made[kind].items()}
    if isinstance(made.get("args"), list):
        made["args"] = [_as_text(value) for value in made["args"]]
    if token := body.get("bearerToken"):
        headers = made.get("headers", {})
        made["headers"] = {"Authorization": f"Bearer {token}", **headers} if isinstance(headers, Mapping) else headers
    for key in sorted(set(body) - known - _UNDERSTOOD - _SAYS_NOTHING):
        instead = f": {_INSTEAD[key]}" if key in _INSTEAD else ""
        notes.left_out.append((f"{place}.{key}", f"has no meaning here{instead}"))
    return made


def _address(place: str, body: Mapping[str, Any], dialect: Dialect, notes: Notes) -> dict[str, Any]:
    """``url`` and ``transport``, under whatever names they came."""
    written = body.get("transport", body.get("type"))
    made: dict[str, Any] = {}
    for key, implied in _ADDRESSES.items():
        if key in body:
            made["url"] = ours(f"{place}.url", body[key], dialect, notes)
            written = written or implied
    if isinstance(written, str) and written:
        folded = written.lower().replace("_", "-")
        made["transport"] = _TYPES.get(folded, written)
    elif written:
        made["transport"] = written
    elif _looks_like_sse(made.get("url")):
        made["transport"] = "sse"
        notes.changed.append((f"{place}.transport", "is taken for sse, because the address ends in /sse"))
    return made


def _looks_like_sse(url: Any) -> bool:
    """Clients try both transports where none is named."""
    try:
        return isinstance(url, str) and urlsplit(url).path.endswith("/sse")
    except ValueError:
        return False


def _switched_off(body: Mapping[str, Any]) -> dict[str, Any]:
    off = body.get("disabled") is True or str(body.get("status", "")).upper() == "INACTIVE"
    return {"enabled": False} if off else {}


def _hidden(place: str, body: Mapping[str, Any], notes: Notes) -> Iterator[str]:
    for key in _HIDDEN:
        tools = body.get(key)
        for at, tool in enumerate(tools if isinstance(tools, list) else []):
            if isinstance(tool, str) and re.fullmatch(r"[^\s(]+", tool):
                yield tool
            else:
                notes.left_out.append((f"{place}.{key}[{at}]", "is no name of a tool"))


def _as_text(value: Any) -> Any:
    """A number or a switch is written without quotes in many a file; a process gets texts."""
    return json.dumps(value) if isinstance(value, (int, float)) else value


def _in_clear(place: str, name: str, made: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for kind in ("env", "headers"):
        for key, value in made.get(kind, {}).items():
            if secrets.in_clear(key, value):
                variable = key if kind == "env" else f"{name}_{key}"
                yield f"{place}.{kind}.{key}", _hint(variable, value)
    for at, (before, word) in enumerate(pairwise(("", *made.get("args", ())))):
        found = secrets.ASSIGNED.fullmatch(word)
        option = before.lstrip("-") if before.startswith("-") and not word.startswith("-") else ""
        called, value = (found[1], found[2]) if found and secrets.sounds_secret(found[1]) else (option, word)
        if secrets.in_clear(called if secrets.sounds_secret(called) else "", value):
            yield f"{place}.args[{at}]", "holds a secret in clear, which process lists show: move it to env, as ${NAME}"
    if secrets.in_clear("", made.get("url", "")):
        yield f"{place}.url", _hint(f"{name}_PASSWORD", "")


def _hint(variable: str, value: str) -> str:
    called = re.sub(r"[^A-Z0-9]+", "_", variable.upper())
    scheme = f"{value.split(' ', maxsplit=1)[0]} " if value.lower().startswith(("bearer ", "basic ")) else ""
    return f'holds a secret in clear: write "{scheme}${{{called}}}" and give the gateway that variable'
