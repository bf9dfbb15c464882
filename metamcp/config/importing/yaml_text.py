"""YAML as JSON would have it (YAML 1.2, core schema): mappings with keys that are texts, lists, and plain values.

Made from the events of the parser, without any constructor: no tag makes an object, and what is small stays small,
since aliases are refused. Of what was a date or an octal number in YAML 1.1 a text is made.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

import yaml

from metamcp.config.document import DOCUMENT, TWICE, Part, Problem
from metamcp.errors import ConfigInvalid

MAX_ITEMS = 500_000

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the first one is there where libyaml is
_INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
_FLOAT = re.compile(r"[-+]?(?=[0-9.]*[0-9])[0-9]{0,18}(?:\.[0-9]{0,18})?(?:[eE][-+]?[0-9]{1,2})?")
_WORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


@dataclass(slots=True)
class _Open:
    """A mapping or a list whose end has not come. ``key``: of the value that comes next; None: a key comes next."""

    made: dict[str, Any] | list[Any]
    key: str | None = None


@dataclass(slots=True)
class _Tree:
    most_depth: int
    open: list[_Open] = field(default_factory=list)
    whole: Any = None
    twice: list[Problem] = field(default_factory=list)

    def take(self, value: Any) -> None:
        if not self.open:
            self.whole = value
            return
        inner = self.open[-1]
        if isinstance(inner.made, list):
            inner.made.append(value)
        elif inner.key is not None:
            inner.made[inner.key] = value
            inner.key = None

    def wants_key(self) -> bool:
        return bool(self.open) and isinstance(self.open[-1].made, dict) and self.open[-1].key is None

    def take_key(self, key: str) -> None:
        self.open[-1].key = key
        if key in self.open[-1].made:
            self.twice.append(((*self.path(), key), TWICE))

    def path(self) -> tuple[Part, ...]:
        """Of the mapping or list that is open innermost."""
        steps = ((outer.key if isinstance(outer.made, dict) else len(outer.made)) for outer in self.open[:-1])
        return tuple(step if step is not None else "" for step in steps)

    def begin(self, made: dict[str, Any] | list[Any], at: Any) -> None:
        if len(self.open) >= self.most_depth:
            _refuse(at, f"nested more than {self.most_depth} deep")
        if self.wants_key():
            _refuse(at, "a key must be a text")
        self.open.append(_Open(made))

    def end(self) -> None:
        self.take(self.open.pop().made)


def read_yaml(text: str, most_depth: int) -> tuple[Any, list[Problem]]:
    """The document and its duplicate keys, of which the last one counts. Raises ConfigInvalid with line and column;
    no text of it repeats what stands there."""
    tree = _Tree(most_depth)
    documents = 0
    for items, event in enumerate(_events(text)):
        documents += isinstance(event, yaml.DocumentStartEvent)
        if documents > 1:
            _refuse(event, "more than one document: keep one")
        if items > MAX_ITEMS:
            _refuse(event, f"more than {MAX_ITEMS} values")
        _build(tree, event)
    return tree.whole, tree.twice


def _build(tree: _Tree, event: Any) -> None:
    if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
        _refuse(event, "anchors and aliases (& and *) are not read: write the value out")
    if getattr(event, "tag", None) not in (None, "!"):
        _refuse(event, "tags (!…) are not read")
    match event:
        case yaml.ScalarEvent() if tree.wants_key():
            tree.take_key(event.value)
        case yaml.ScalarEvent():
            tree.take(_value(event.value) if event.style in (None, "") else event.value)
        case yaml.MappingStartEvent():
            tree.begin({}, event)
        case yaml.SequenceStartEvent():
            tree.begin([], event)
        case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
            tree.end()


def _events(text: str) -> Iterator[Any]:
    """Deep nesting takes no stack here, neither ours nor that of the parser."""
    try:
        yield from yaml.parse(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as broken:
        _refuse(broken, "not YAML")
    except (yaml.YAMLError, RecursionError):
        raise ConfigInvalid([(DOCUMENT, "not YAML: a character that cannot stand there, or too deep")]) from None


def _value(text: str) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text) and not re.match(r"[-+]?0[0-9]", text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) and not _INTEGER.fullmatch(text) else text


def _refuse(at: Any, text: str) -> NoReturn:
    """``at`` has the place: an event, or an error of the parser."""
    mark = getattr(at, "problem_mark", None) or getattr(at, "start_mark", None)
    place = f"line {mark.line + 1} column {mark.column + 1}: " if mark else ""
    raise ConfigInvalid([(DOCUMENT, place + text)]) from None
