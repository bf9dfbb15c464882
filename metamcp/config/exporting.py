"""``servers.json`` as it may be shown: in the place of each secret a ``${NAME}``, and which variables those are.

A secret is what its name calls one (in ``env``, ``headers``, an option, a query), and the password in a URL. What
nothing calls a secret cannot be known for one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from metamcp.config import secrets

_TOKEN = re.compile(r"\$\$\{|\$\{([^}]*)\}", re.DOTALL)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPTION = re.compile(r"--?([A-Za-z][\w-]*)|(authorization|proxy-authorization|x-api-key|cookie)", re.IGNORECASE)
_QUERY = re.compile(r"[?&]([^=&#]*)=([^&#]+)")
_HIDDEN = "\ue000"  # stands for a character of ${…} where a pattern must not see it

Span = tuple[int, int, str]
"""(begin, end, what it is called)"""


@dataclass(slots=True)
class Variable:
    """What has to be set. ``value`` is what stood in the configuration, for whoever carries it over."""

    name: str
    value: str = field(repr=False)
    places: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Exported:
    document: dict[str, Any]
    variables: tuple[Variable, ...]


def without_secrets(document: Any) -> Exported:
    """``document``: a valid ``servers.json``, as JSON. A remote server's transport is written out: others have another
    usual one."""
    whole = dict(document) if isinstance(document, Mapping) else {"servers": document}
    variables = _Variables(_referred(whole))
    if "servers" in whole:
        listed = enumerate(whole["servers"])
        whole["servers"] = [_Server(f"servers[{at}]", body["name"], variables).made(body) for at, body in listed]
    if "mcpServers" in whole:
        named = whole["mcpServers"].items()
        whole["mcpServers"] = {name: _Server(f"mcpServers.{name}", name, variables).made(body) for name, body in named}
    return Exported(whole, tuple(variables.made.values()))


class _Variables:
    """``referred``: names that mean something in the document already."""

    def __init__(self, referred: set[str]) -> None:
        self._referred = referred
        self.made: dict[str, Variable] = {}

    def take(self, called: str, server: str, value: str, place: str) -> str:
        """``${NAME}`` for ``value``: called so, or with the server's name before it, or with a number behind it."""
        plain = re.sub(r"[^A-Za-z0-9_]", "_", called)
        base = plain if _NAME.fullmatch(plain) else f"_{plain}"
        longer = re.sub(r"[^A-Z0-9_]", "_", f"{server}_{base}".upper())
        longer = longer if _NAME.fullmatch(longer) else f"_{longer}"
        names = (base, longer, *(f"{longer}_{number}" for number in range(2, len(self.made) + len(self._referred) + 3)))
        return next(found for name in names if (found := self._taken(name, value, place)))

    def take_default(self, name: str, value: str, place: str) -> str:
        """Of ``${NAME:-value}``: whoever sets NAME needs none. Elsewhere NAME may have another one; then it stays a
        variable of its own."""
        return self._taken(name, value, place, again=True) or self.take(f"{name}_DEFAULT", "", value, place)

    def _taken(self, name: str, value: str, place: str, again: bool = False) -> str:
        found = self.made.get(name)
        if found is None and (name not in self._referred or again):
            found = self.made[name] = Variable(name, value)
        if found is None or found.value != value:
            return ""
        found.places.append(place)
        return f"${{{name}}}"


def _referred(value: Any) -> set[str]:
    if isinstance(value, str):
        return {name[0] for found in _TOKEN.finditer(value) if found[1] and (name := _NAME.match(found[1]))}
    below = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return {name for item in below for name in _referred(item)}


@dataclass(frozen=True, slots=True)
class _Server:
    """``place``: of the server in the document."""

    place: str
    name: str
    variables: _Variables

    def made(self, body: Mapping[str, Any]) -> dict[str, Any]:
        made = dict(body)
        if "env" in body:
            env = body["env"].items()
            made["env"] = {key: self._written(f"env.{key}", text, _of_value(key, key, text)) for key, text in env}
        if "headers" in body:
            headers = body["headers"].items()
            made["headers"] = {
                key: self._written(f"headers.{key}", text, _of_value(key, f"{self.name}_{key}".upper(), text))
                for key, text in headers
            }
        if "args" in body:
            pairs = enumerate(pairwise(("", *body["args"])))
            made["args"] = [
                self._written(f"args[{at}]", word, _of_word(self.name, before, word)) for at, (before, word) in pairs
            ]
        if "url" in body:
            made["url"] = self._written("url", body["url"], _of_url(self.name, body["url"]))
            made |= {} if "transport" in body or "type" in body else {"transport": "streamable-http"}
        return made

    def _written(self, key: str, text: str, spans: list[Span]) -> str:
        place, made, at = f"{self.place}.{key}", "", 0
        for begin, end, called in _apart(spans):
            made += self._usual(text[at:begin], place) + self._secret(text[begin:end], called, place)
            at = end
        return made + self._usual(text[at:], place)

    def _secret(self, text: str, called: str, place: str) -> str:
        """Every part that is literal becomes a variable; ``$${`` is literal, too."""
        made, literal = "", ""
        for piece, token in _pieces(text):
            if token is None:
                literal += piece
                continue
            name, default, value = token.partition(":-")
            made += self._variable(literal, called, place)
            made += self.variables.take_default(name, value, place) if default and value else piece
            literal = ""
        return made + self._variable(literal, called, place)

    def _variable(self, literal: str, called: str, place: str) -> str:
        return self.variables.take(called, self.name, literal, place) if literal.strip() else literal

    def _usual(self, text: str, place: str) -> str:
        """What is no secret; but the default of a variable may be a URL with its password."""

        def written(found: re.Match[str]) -> str:
            name, default, value = (found[1] or "").partition(":-")
            known = default and secrets.PASSWORD.search(value)
            return self.variables.take_default(name, value, place) if known else found[0]

        return _TOKEN.sub(written, text)


def _of_value(key: str, called: str, text: str) -> list[Span]:
    if secrets.sounds_secret(key):
        return [(secrets.scheme_ends(text), len(text), called)]
    return list(_passwords(f"{called}_PASSWORD", text))


def _of_word(server: str, before: str, word: str) -> list[Span]:
    """``before`` is the word before it: an option, or the name of a header."""
    masked = _masked(word)
    assigned, option = secrets.ASSIGNED.fullmatch(masked), _OPTION.fullmatch(before)
    if assigned and secrets.sounds_secret(assigned[1]):
        begin = assigned.start(2)
        return [(begin + secrets.scheme_ends(word[begin:]), len(word), assigned[1].upper())]
    called = (option[1] or option[2]) if option and not word.startswith("-") else ""
    if called and secrets.sounds_secret(called):
        return [(secrets.scheme_ends(word), len(word), called.upper())]
    return _of_url(server, word) if "://" in word else []


def _of_url(server: str, url: str) -> list[Span]:
    found = list(_passwords(f"{server}_PASSWORD".upper(), url))
    queries = _QUERY.finditer(_masked(url))
    return found + [
        (*match.span(2), f"{server}_{match[1]}".upper()) for match in queries if secrets.sounds_secret(match[1])
    ]


def _passwords(called: str, text: str) -> Iterator[Span]:
    yield from ((*found.span(1), called) for found in secrets.PASSWORD.finditer(_masked(text)))


def _masked(text: str) -> str:
    """Of the same length, without ``${…}``, whose parts mean nothing for a URL or an option."""
    return _TOKEN.sub(lambda found: _HIDDEN * len(found[0]), text)


def _apart(spans: list[Span]) -> list[Span]:
    """In order; those that overlap are one."""
    apart: list[Span] = []
    for begin, end, called in sorted(spans):
        if apart and begin < apart[-1][1]:
            apart[-1] = (apart[-1][0], max(end, apart[-1][1]), apart[-1][2])
        else:
            apart.append((begin, end, called))
    return apart


def _pieces(text: str) -> Iterator[tuple[str, str | None]]:
    """(what stands there, or for a literal what it says; what stands between the braces)."""
    at = 0
    for found in _TOKEN.finditer(text):
        yield text[at : found.start()], None
        yield ("${", None) if found[1] is None else (found[0], found[1])
        at = found.end()
    yield text[at:], None
