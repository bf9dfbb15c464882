"""Checks that need more than one key of ``servers.json`` or ``allowlist.json``. Pure, on the document as read.

They run beside the schemas, not after them, so that one run reports every mistake; therefore each looks only at
what has the right type and leaves the rest to the schemas.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from metamcp.config import images
from metamcp.config.document import Problem, did_you_mean
from metamcp.config.model import Allowlist, ImageRule
from metamcp.config.nesting import nesting_problems, texts
from metamcp.errors import ConfigInvalid

SEPARATOR = "__"
DEFAULT = "default"


def servers_problems(document: Any) -> Iterator[Problem]:
    """Everything about ``servers.json`` that concerns names: defined once, and known where they are used."""
    if not isinstance(document, dict):
        return
    yield from _form(document)
    yield from _repeated_servers(document)
    servers = server_names(document)
    namespaces = _mapping(document, "namespaces")
    for name, body in namespaces.items():
        if isinstance(body, dict):
            yield from _namespace(("namespaces", name), body, servers, tuple(namespaces))
    yield from nesting_problems(namespaces)
    yield from _endpoints(document)


def server_names(document: Mapping[str, Any]) -> tuple[str, ...]:
    listed = document.get("servers")
    bodies = listed if isinstance(listed, list) else []
    named = [body["name"] for body in bodies if isinstance(body, dict) and isinstance(body.get("name"), str)]
    return (*_mapping(document, "mcpServers"), *named)


def shadowed_rules(allowlist: Allowlist) -> Iterator[Problem]:
    """A rule that pins or widens but is never reached, because an earlier one matches the same images."""
    for index, rule in enumerate(allowlist.rules):
        if replace(rule, pattern="*") == ImageRule("*"):
            continue
        at = next((at for at, other in enumerate(allowlist.rules[:index]) if _hides(other, rule)), None)
        if at is not None:
            yield ("images", index), f"never applies, because images[{at}] matches the same image: put it before that"


def pattern_problem(text: str) -> str | None:
    try:
        images.parse_pattern(text)
    except ConfigInvalid as invalid:
        return f"is no image pattern: {invalid.problems[0][1]}"
    return None


def _hides(earlier: ImageRule, rule: ImageRule) -> bool:
    if images.parse_pattern(rule.pattern).wild:
        return earlier.pattern in ("*", rule.pattern)
    plain = images.parse_reference(rule.pattern.partition("@")[0])
    exact = replace(plain, digest=rule.digest)
    return images.matches(earlier, exact) or (earlier.digest is None and images.matches(earlier, plain))


def _form(document: Mapping[str, Any]) -> Iterator[Problem]:
    both = "mcpServers" in document and "servers" in document
    neither = "mcpServers" not in document and "servers" not in document
    if both:
        yield ("servers",), "cannot stand beside mcpServers: put all servers into one of them"
    if neither:
        yield (), 'needs "mcpServers", an object of servers by name: {"mcpServers": {"git": {"command": "…"}}}'
    if "namespaces" in document and "endpoints" not in document:
        yield ("endpoints",), "is missing: with namespaces of your own, say at which endpoints they are served"


def _repeated_servers(document: Mapping[str, Any]) -> Iterator[Problem]:
    listed = document.get("servers")
    first: dict[str, int] = {}
    for index, body in enumerate(listed if isinstance(listed, list) else []):
        name = body.get("name") if isinstance(body, dict) else None
        if isinstance(name, str) and first.setdefault(name, index) != index:
            yield ("servers", index, "name"), f"is the name of servers[{first[name]}] already: names must differ"


def _namespace(
    at: tuple[str, str], body: Mapping[str, Any], servers: tuple[str, ...], namespaces: tuple[str, ...]
) -> Iterator[Problem]:
    if "servers" not in body and "namespaces" not in body:
        yield (*at, "servers"), "is required, where there is no namespaces"
    yield from _members(at, "servers", body, servers, "configured server")
    yield from _members(at, "namespaces", body, namespaces, "configured namespace")
    members = {name for key in ("servers", "namespaces") for name in texts(body, key)}
    yield from _members(at, "disabled", body, tuple(sorted(members)), "member of this namespace")
    if "namespaces" not in body and isinstance(body.get("servers"), list) and body.get("prefix", True) is True:
        yield from _tools(at, body, set(texts(body, "servers")))


def _members(
    at: tuple[str, str], key: str, body: Mapping[str, Any], known: tuple[str, ...], what: str
) -> Iterator[Problem]:
    """What a list names exists, and stands there once."""
    listed = body.get(key)
    seen: set[str] = set()
    for index, name in enumerate(listed if isinstance(listed, list) else []):
        if not isinstance(name, str):
            continue
        if name in seen:
            yield (*at, key, index), "is in the list already"
        elif name not in known:
            yield (*at, key, index), f"names no {what}{did_you_mean(name, known)}"
        seen.add(name)


def _tools(at: tuple[str, str], body: Mapping[str, Any], servers: set[str]) -> Iterator[Problem]:
    for key in _mapping(body, "tools"):
        server, separator, tool = key.partition(SEPARATOR)
        if not separator or not tool:
            yield (*at, "tools", key), "must be <server>__<tool>, because this namespace puts the server's name first"
        elif server not in servers:
            yield (*at, "tools", key), f"names no server of this namespace{did_you_mean(server, servers)}"


def _endpoints(document: Mapping[str, Any]) -> Iterator[Problem]:
    namespaces = tuple(_mapping(document, "namespaces")) if "namespaces" in document else (DEFAULT,)
    for name, body in _mapping(document, "endpoints").items():
        wanted = body.get("namespace") if isinstance(body, dict) else None
        if isinstance(wanted, str) and wanted not in namespaces:
            yield ("endpoints", name, "namespace"), f"names no configured namespace{did_you_mean(wanted, namespaces)}"
        if isinstance(body, dict):
            yield from _oauth(document, ("endpoints", name), body)


def _oauth(document: Mapping[str, Any], at: tuple[str, str], body: Mapping[str, Any]) -> Iterator[Problem]:
    """Who issues the tokens is said where they are needed, and nowhere else."""
    if body.get("auth") == "oauth" and "oauth" not in body and "oauth" not in document:
        yield (*at, "oauth"), 'is required with "auth": "oauth", here or beside endpoints: {"issuer": "https://…"}'
    if body.get("auth", "none") in ("none", "api-key") and "oauth" in body:
        yield (*at, "oauth"), 'has no use without "auth": "oauth": remove it'


def _mapping(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = document.get(key)
    return value if isinstance(value, dict) else {}
