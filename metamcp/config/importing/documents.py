"""From configurations of others to ``servers.json``: MetaMCP's exports of servers and of namespaces, Claude Desktop,
Cursor, VS Code, and lists. Pure; no text repeats a value, which may be a secret.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from metamcp.config.fields import key_names
from metamcp.config.importing import namespaces, servers
from metamcp.config.importing.outcome import Imported, Notes
from metamcp.config.schema import ServersSchema, servers_from
from metamcp.errors import ConfigInvalid

_OURS = ("namespaces", "endpoints", "oauth")


def import_documents(documents: Iterable[Any]) -> Imported:
    """One configuration out of all of them. Raises ConfigInvalid where that would be none."""
    notes = Notes()
    whole: dict[str, Any] = {"mcpServers": {}}
    names: dict[str, str] = {}
    exports = []
    for document in documents:
        if namespaces.is_namespace(document):
            exports.append(document)
        else:
            _take_servers(document, whole["mcpServers"], names, notes)
            whole |= {key: document[key] for key in _OURS if isinstance(document, Mapping) and key in document}
    for document in exports:
        _expose(whole, *namespaces.convert(document, names, notes))
    if not whole["mcpServers"]:
        raise ConfigInvalid([*notes.left_out, ("(document)", "holds no server that can be taken over")])
    servers_from(whole)
    return Imported(whole, notes)


def _take_servers(document: Any, taken: dict[str, Any], names: dict[str, str], notes: Notes) -> None:
    for original, body in _servers_in(document, notes):
        name = servers.fitting_name(original)
        if not name or name in taken:
            why = "is there twice: only the first one is taken" if name else "leaves no usable name"
            notes.left_out.append((f"mcpServers.{original}", why))
            continue
        if (made := servers.convert(name, body, notes)) is not None:
            taken[name] = made
            names |= {original: name, name: name}
            if name != original:
                notes.changed.append((f"mcpServers.{name}", f"is called so here, instead of {original!r}"))


def _servers_in(document: Any, notes: Notes) -> list[tuple[str, Any]]:
    """Names and bodies, in whatever form they are written."""
    if isinstance(document, list):
        return _listed(document)
    if not isinstance(document, Mapping):
        return []
    known = (*key_names(ServersSchema), "inputs")
    notes.left_out += [(key, "has no meaning here") for key in document if key not in known]
    found: list[tuple[str, Any]] = []
    for key in ("mcpServers", "servers"):
        body = document.get(key)
        found += _listed(body) if isinstance(body, list) else list(body.items()) if isinstance(body, Mapping) else []
    return found


def _listed(items: list[Any]) -> list[tuple[str, Any]]:
    return [(str(item.get("name", "")), item) if isinstance(item, Mapping) else ("", item) for item in items]


def _expose(whole: dict[str, Any], name: str, namespace: dict[str, Any]) -> None:
    """An endpoint of the same name, with a key, as MetaMCP makes them: its exports do not hold endpoints."""
    whole.setdefault("namespaces", {})[name] = namespace
    whole.setdefault("endpoints", {})[name] = {"namespace": name, "auth": "api-key"}
