"""One server of Docker's MCP toolkit, as ``docker run`` with what the toolkit would give it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from metamcp.config.importing.expressions import evaluated, missing
from metamcp.config.importing.outcome import Notes
from metamcp.config.importing.toolkit import Entry

_USED = {
    "type", "image", "remote", "sseEndpoint", "secrets", "env", "command", "volumes", "user", "disableNetwork",
    "extraHosts", "tools", "config",
}  # fmt: skip
_FOR_PEOPLE = {
    "name", "description", "title", "icon", "readme", "toolsUrl", "source", "upstream", "metadata", "dateAdded",
    "longLived", "ref", "pulls", "stars", "githubStars", "category", "tags", "license", "owner", "policy", "about",
}  # fmt: skip
"""``longLived``: a session keeps its container here in any case."""

_LOST = {
    "allowHosts": "is no list of hosts that are enforced: the server reaches what its network does (network)",
    "oauth": "signing in with a browser is not done here: put a token into env or headers, as ${NAME}",
    "prefix": "has no meaning here: tools are called <server>__<tool>",
}
_REFERENCE = re.compile(r"\$(?:\{([A-Za-z_][A-Za-z0-9_]*)\}|([A-Za-z_][A-Za-z0-9_]*))")


def convert(entry: Entry, notes: Notes) -> dict[str, Any] | None:
    """As a client's file would have it, for ``servers.convert``; None, with the reason among ``notes``, for what is
    no server."""
    body = {key: value for key, value in entry.body.items() if value not in (None, "", [], {}, False)}
    if body.get("type") == "poci":
        notes.left_out.append((entry.place, "is no server, but a container for each of its tools"))
        return None
    for key in sorted(set(body) - _USED - _FOR_PEOPLE):
        notes.left_out.append((f"{entry.place}.{key}", _LOST.get(key, "has no meaning here")))
    made = _remote(body) if "image" not in body else _container(entry, body, notes)
    if hidden := _hidden(entry, body, notes):
        made["disabledTools"] = hidden
    return made


def _remote(body: Mapping[str, Any]) -> dict[str, Any]:
    """What a header refers to are secrets, by the names of their variables."""
    remote = body.get("remote")
    found = dict(remote) if isinstance(remote, Mapping) else {}
    made = {"url": found.get("url")} if found.get("url") else {"url": body.get("sseEndpoint"), "transport": "sse"}
    if transport := found.get("transport_type"):
        made["transport"] = transport
    headers = found.get("headers")
    if isinstance(headers, Mapping):
        made["headers"] = {name: _references(value) for name, value in headers.items()}
    return made


def _container(entry: Entry, body: Mapping[str, Any], notes: Notes) -> dict[str, Any]:
    options = [*_options(entry, "-v", "volumes", notes), *_options(entry, "--add-host", "extraHosts", notes)]
    words = _listed(entry, "command", notes)
    user = _listed(entry, "user", notes)
    made: dict[str, Any] = {
        "command": "docker",
        "args": ["run", "-i", "--rm", *options, body["image"], *words],
        "env": dict(_environment(entry, body, notes)),
    }
    made |= {"network": "none"} if body.get("disableNetwork") else {}
    return made | ({"user": user[0]} if user else {})


def _environment(entry: Entry, body: Mapping[str, Any], notes: Notes) -> Iterator[tuple[str, str]]:
    """A secret is a variable of the gateway's, called as the server calls it."""
    for place, item in _objects(entry, body, "secrets", notes):
        variable = str(item.get("env", ""))
        if variable:
            yield variable, f"${{{variable}}}"
        else:
            notes.left_out.append((place, "does not say in which variable the server expects it (env)"))
    for place, item in _objects(entry, body, "env", notes):
        value = item.get("value", "")
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            notes.left_out.append((place, "has no text as its value"))
        elif made := _evaluated(f"{place}.value", _references(str(value)), entry.config, notes):
            yield str(item.get("name", "")), made[0]


def _options(entry: Entry, option: str, key: str, notes: Notes) -> Iterator[str]:
    for value in _listed(entry, key, notes):
        if value.startswith("-"):
            notes.left_out.append((f"{entry.place}.{key}", "one of them looks like an option"))
            continue
        yield from (option, value)


def _listed(entry: Entry, key: str, notes: Notes) -> list[str]:
    """The texts of a list, or a text, with what was configured put in."""
    given = entry.body.get(key)
    if given in (None, "", []):
        return []
    found: list[str] = []
    for at, item in enumerate(given if isinstance(given, list) else [given]):
        place = f"{entry.place}.{key}[{at}]" if isinstance(given, list) else f"{entry.place}.{key}"
        if isinstance(item, (str, int, float)) and not isinstance(item, bool):
            found += _evaluated(place, str(item), entry.config, notes)
        else:
            notes.left_out.append((place, "is no text"))
    return found


def _evaluated(place: str, text: str, config: Mapping[str, Any], notes: Notes) -> list[str]:
    notes.left_out += [(place, f"needs {name!r}, which is not configured") for name in missing(text, config)]
    return evaluated(text, config)


def _references(value: Any) -> Any:
    """``$NAME`` and ``${NAME}`` are what a secret's variable is called."""
    return _REFERENCE.sub(lambda found: f"${{{found[1] or found[2]}}}", value) if isinstance(value, str) else value


def _objects(entry: Entry, body: Mapping[str, Any], key: str, notes: Notes) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """With their places."""
    items = body.get(key)
    for at, item in enumerate(items if isinstance(items, list) else [items] if items else []):
        if isinstance(item, Mapping):
            yield f"{entry.place}.{key}[{at}]", item
        else:
            notes.left_out.append((f"{entry.place}.{key}[{at}]", "is no object"))


def _hidden(entry: Entry, body: Mapping[str, Any], notes: Notes) -> list[str]:
    """Tools that are not among those that are on; a catalog knows them all."""
    if entry.tools is None:
        return []
    listed = body.get("tools")
    tools = listed if isinstance(listed, list) else []
    known = [str(tool.get("name", "")) for tool in tools if isinstance(tool, Mapping)]
    if not known:
        notes.left_out.append((f"{entry.place}.tools", "says which tools are on, but not which others there are"))
    return [name for name in known if name and name not in entry.tools]
