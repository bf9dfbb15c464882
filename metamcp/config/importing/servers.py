"""One server as MetaMCP, Claude Desktop, Cursor, Windsurf, Gemini or VS Code write it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

from metamcp.config import secrets
from metamcp.config.fields import key_names
from metamcp.config.importing.outcome import Notes
from metamcp.config.schema import servers_from
from metamcp.config.server_schema import TRANSPORT_ALIASES, ServerSchema
from metamcp.errors import ConfigInvalid

LONGEST_NAME = 32
_UNUSABLE = re.compile(r"[^A-Za-z0-9_-]")
_FOREIGN_TEMPLATE = re.compile(r"\$\{(?:env|input):([A-Za-z_][\w.-]*)\}")
_ASSIGNMENT = re.compile(r"(?:-e|--env=)?([A-Za-z_][A-Za-z0-9_]*)=(.+)", re.DOTALL)
_TYPES = TRANSPORT_ALIASES | {"std": "stdio", "streamablehttp": "streamable-http"}
_ADDRESSES = {"url": "", "serverUrl": "", "httpUrl": "streamable-http"}
_UNDERSTOOD = {*_ADDRESSES, "type", "transport", "disabled", "status", "bearerToken", "name"}
_SAYS_NOTHING = {"description", "uuid", "created_at", "user_id", "error_status"}  # of MetaMCP


def fitting_name(name: str) -> str:
    """MetaMCP drops what cannot stand in a tool's name, so tools keep theirs. "" where nothing is left."""
    plain = re.sub("__+", "_", _UNUSABLE.sub("", name))
    return plain[:LONGEST_NAME].rstrip("_")


def convert(name: str, body: Any, notes: Notes) -> dict[str, Any] | None:
    """The server for ``servers.json``, or None, with the reason among ``notes``."""
    place = f"mcpServers.{name}"
    if not isinstance(body, Mapping):
        notes.left_out.append((place, "is no object"))
        return None
    made = _translated(place, {key: value for key, value in body.items() if value not in (None, "", [], {})}, notes)
    try:
        servers_from({"mcpServers": {name: made}})
    except ConfigInvalid as invalid:
        notes.left_out += [(path, text) for path, text in invalid.problems]
        return None
    notes.secrets += _in_clear(place, name, made)
    return made


def _translated(place: str, body: Mapping[str, Any], notes: Notes) -> dict[str, Any]:
    known = set(key_names(ServerSchema)) - _UNDERSTOOD
    made = {key: _templates(place, key, value, notes) for key, value in body.items() if key in known}
    made |= _address(place, body, notes) | _switched_off(body)
    if isinstance(made.get("env"), Mapping):
        made["env"] = {key: _as_text(value) for key, value in made["env"].items()}
    if token := body.get("bearerToken"):
        headers = made.get("headers", {})
        made["headers"] = {"Authorization": f"Bearer {token}", **headers} if isinstance(headers, Mapping) else headers
    unknown = sorted(set(body) - known - _UNDERSTOOD - _SAYS_NOTHING)
    notes.left_out += [(f"{place}.{key}", "has no meaning here") for key in unknown]
    return made


def _address(place: str, body: Mapping[str, Any], notes: Notes) -> dict[str, Any]:
    """``url`` and ``transport``, under whatever names they came."""
    written = body.get("transport", body.get("type"))
    made: dict[str, Any] = {}
    for key, implied in _ADDRESSES.items():
        if key in body:
            made["url"] = _templates(place, "url", body[key], notes)
            written = written or implied
    if isinstance(written, str) and written:
        folded = written.lower().replace("_", "-")
        made["transport"] = _TYPES.get(folded, written)
    return made


def _switched_off(body: Mapping[str, Any]) -> dict[str, Any]:
    off = body.get("disabled") is True or str(body.get("status", "")).upper() == "INACTIVE"
    return {"enabled": False} if off else {}


def _as_text(value: Any) -> Any:
    """A number or a switch is written without quotes in many a file; a process gets texts."""
    return json.dumps(value) if isinstance(value, (int, float)) else value


def _templates(place: str, key: str, value: Any, notes: Notes) -> Any:
    """``${env:NAME}`` and ``${input:NAME}`` are ``${NAME}``. What is no variable here is what it says, literally."""
    if isinstance(value, list):
        return [_templates(place, f"{key}[{at}]", item, notes) for at, item in enumerate(value)]
    if isinstance(value, Mapping):
        return {name: _templates(place, f"{key}.{name}", item, notes) for name, item in value.items()}
    if not isinstance(value, str):
        return value
    ours = _FOREIGN_TEMPLATE.sub(lambda found: f"${{{re.sub('[.-]', '_', found[1])}}}", value)
    if secrets.template_problem(ours):
        notes.changed.append((f"{place}.{key}", "a ${…} that means nothing here is taken literally: $${…}"))
        return re.sub(r"\$+\{", "$${", ours)
    return ours


def _in_clear(place: str, name: str, made: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for kind in ("env", "headers"):
        for key, value in made.get(kind, {}).items():
            if secrets.in_clear(key, value):
                variable = key if kind == "env" else f"{name}_{key}"
                yield f"{place}.{kind}.{key}", _hint(variable, value)
    for at, (before, word) in enumerate(pairwise(("", *made.get("args", ())))):
        found = _ASSIGNMENT.fullmatch(word)
        option = before if before.startswith("--") and not word.startswith("-") else ""
        if secrets.in_clear(found[1], found[2]) if found else secrets.in_clear(option, word):
            yield f"{place}.args[{at}]", "holds a secret in clear, which process lists show: move it to env, as ${NAME}"
    if secrets.in_clear("", made.get("url", "")):
        yield f"{place}.url", _hint(f"{name}_PASSWORD", "")


def _hint(variable: str, value: str) -> str:
    called = re.sub(r"[^A-Z0-9]+", "_", variable.upper())
    scheme = f"{value.split(' ', maxsplit=1)[0]} " if value.lower().startswith(("bearer ", "basic ")) else ""
    return f'holds a secret in clear: write "{scheme}${{{called}}}" and give the gateway that variable'
