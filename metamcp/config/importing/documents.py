"""From configurations of others to ``servers.json``: of MetaMCP, of clients, of Docker's MCP toolkit. Pure; no text
repeats a value, which may be a secret.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from metamcp.config.document import show_path
from metamcp.config.importing import clients, namespaces, servers, toolkit, toolkit_server
from metamcp.config.importing.outcome import Imported, Notes, Source
from metamcp.config.schema import servers_from
from metamcp.errors import ConfigInvalid

_BY_NAME = ("namespaces", "endpoints")
_TWICE = "is written more than once: the last one counts"


@dataclass(slots=True)
class _Whole:
    """What was taken so far. ``names``: of servers, as they were and as they are now."""

    document: dict[str, Any] = field(default_factory=lambda: {"mcpServers": {}})
    names: dict[str, str] = field(default_factory=dict)

    def take_server(self, original: str, body: Any, notes: Notes, inputs: Mapping[str, str] | None = None) -> str:
        """Its name here, or "", with the reason among ``notes``."""
        taken, name = self.document["mcpServers"], servers.fitting_name(original)
        if not name or name in taken:
            why = "is there twice: only the first one is taken" if name else "leaves no usable name"
            notes.left_out.append((f"mcpServers.{original}", why))
            return ""
        made = servers.convert(name, body, notes, inputs)
        if made is None:
            return ""
        taken[name] = made
        self.names |= {original: name, name: name}
        if name != original:
            notes.changed.append((f"mcpServers.{name}", f"is called so here, instead of {original!r}"))
        return name

    def take_named(self, kind: str, name: str, body: Any, notes: Notes) -> None:
        """A namespace or an endpoint."""
        if name in self.document.setdefault(kind, {}):
            notes.left_out.append((f"{kind}.{name}", "is there twice: only the first one is taken"))
        else:
            self.document[kind][name] = body


def import_documents(sources: Iterable[Source]) -> Imported:
    """One configuration out of all of them. Raises ConfigInvalid where that would be none."""
    notes, whole = Notes(), _Whole()
    read = [Source(namespaces.rows_in(source.document), source.file, source.twice) for source in sources]
    kinds = [toolkit.kind_of(source.document) for source in read]
    ours = {"catalog", "profile", "entry"}.intersection(kinds)
    settings = [source.document for source, kind in zip(read, kinds, strict=True) if kind == "settings" and ours]
    configured = toolkit.settings_from(settings)
    for source, kind in zip(read, kinds, strict=True):
        of_file = Notes()
        of_file.left_out += [(show_path(path), _TWICE) for path, _ in source.twice]
        if kind in ours:
            _take_toolkit(source.document, kind, configured, whole, of_file)
        elif kind == "settings" and not ours and "registry" in source.document:
            of_file.left_out.append(("registry", "only says which servers are enabled: give the catalog, too"))
        elif kind is None or not ours:
            _take_client(source.document, whole, of_file)
        notes.add(source.file, of_file)
    catalogs = [source.document for source, kind in zip(read, kinds, strict=True) if kind == "catalog"]
    notes.left_out += toolkit.not_found(catalogs, configured)
    _take_namespaces(read, whole, notes)
    if not whole.document["mcpServers"]:
        raise ConfigInvalid([*notes.left_out, ("(document)", "holds no server that can be taken over")])
    servers_from(whole.document)
    _hide(whole.document, notes)
    notes.left_out += _nowhere(whole.document)
    servers_from(whole.document)
    return Imported(whole.document, notes)


def _take_client(document: Any, whole: _Whole, notes: Notes) -> None:
    if namespaces.is_row(document):
        return
    inputs = clients.inputs_in(document)
    for original, body in clients.servers_in(document, notes):
        if not namespaces.is_row(body):
            whole.take_server(original, body, notes, inputs)
    if not isinstance(document, Mapping):
        return
    for kind in _BY_NAME:
        body = document.get(kind)
        if isinstance(body, Mapping):
            whole.document.setdefault(kind, {})  # none at all is not the same as the usual one
            for name, one in body.items():
                whole.take_named(kind, name, one, notes)
        elif kind in document and not isinstance(body, list):
            notes.left_out.append((kind, "is no object"))
    if "oauth" in document:
        if "oauth" in whole.document:
            notes.left_out.append(("oauth", "is there twice: only the first one is taken"))
        whole.document.setdefault("oauth", document["oauth"])


def _take_toolkit(
    document: Mapping[str, Any], kind: toolkit.Kind, settings: toolkit.Settings, whole: _Whole, notes: Notes
) -> None:
    members = []
    for entry in toolkit.entries_in(document, kind, settings, notes):
        made = toolkit_server.convert(entry, notes)
        if made is not None and (name := whole.take_server(entry.name, made, notes)):
            members.append(name)
    if kind == "profile" and (name := toolkit.profile_name(document)) and members:
        _expose(whole, name, {"servers": members}, notes)


def _take_namespaces(sources: Iterable[Source], whole: _Whole, notes: Notes) -> None:
    """After all servers, to which they refer. A namespace gets an endpoint of its own name, with a key, where no
    endpoints are imported."""
    found = [(source.file, source.document) for source in sources]
    endpoints = [(file, row) for file, document in found for row in namespaces.endpoints_in(document)]
    for file, document in found:
        for body in namespaces.namespaces_in(document):
            of_file = Notes()
            name, made = namespaces.convert(body, whole.names, of_file)
            if endpoints:
                whole.take_named("namespaces", name, made, of_file)
            else:
                _expose(whole, name, made, of_file)
            notes.add(file, of_file)
    for file, row in endpoints:
        of_file = Notes()
        name, made = namespaces.convert_endpoint(row, of_file)
        if made["namespace"] in whole.document.get("namespaces", {}):
            whole.take_named("endpoints", name, made, of_file)
        else:
            of_file.left_out.append((f"endpoints.{name}", "its namespace is not imported"))
        notes.add(file, of_file)


def _expose(whole: _Whole, name: str, namespace: dict[str, Any], notes: Notes) -> None:
    whole.take_named("namespaces", name, namespace, notes)
    whole.take_named("endpoints", name, {"namespace": name, "auth": "api-key"}, notes)


def _hide(document: dict[str, Any], notes: Notes) -> None:
    """What was switched off in a client is off in every namespace that has the server."""
    if not notes.hidden:
        return
    if "namespaces" not in document:
        document["namespaces"] = {"default": {"servers": list(document["mcpServers"])}}
        document.setdefault("endpoints", {"default": {"namespace": "default"}})
    for name, namespace in document["namespaces"].items():
        for server, seen, tool in _seen(namespace, notes.hidden):
            override = namespace.setdefault("tools", {}).setdefault(seen, {})
            if "enabled" not in override:
                override["enabled"] = False
                notes.changed.append((f"namespaces.{name}.tools.{seen}", f"is off, as {tool!r} of {server!r} was"))


def _nowhere(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """With namespaces of its own a configuration serves what is in them."""
    groups = document.get("namespaces")
    if groups is not None:
        members = {server for namespace in groups.values() for server in namespace["servers"]}
        yield from (
            (f"mcpServers.{server}", "is in no namespace, so nobody sees it: add it to one")
            for server in document["mcpServers"]
            if server not in members
        )


def _seen(namespace: Mapping[str, Any], hidden: Mapping[str, list[str]]) -> Iterator[tuple[str, str, str]]:
    """(server, tool as clients see it, tool) for what is hidden."""
    for server in namespace["servers"]:
        for tool in hidden.get(server, ()):
            yield server, tool if namespace.get("prefix") is False else f"{server}__{tool}", tool
