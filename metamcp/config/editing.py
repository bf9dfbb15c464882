"""One server, namespace, endpoint or rule of the documents of the configuration: found, put, changed, taken out. Pure.

The order of keys stays, and what is not meant stays as it is written. Documents are valid ones; what an edit makes of
them is for the schemas to judge.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from metamcp.config.crosschecks import DEFAULT, server_names
from metamcp.config.document import Part, config_invalid, read_json, show_path
from metamcp.config.loader import ALLOWLIST_FILE, SERVERS_FILE, in_file
from metamcp.config.veiling import unveiled, veiled
from metamcp.errors import ConfigInvalid

Collection = Literal["servers", "namespaces", "endpoints", "images"]
How = Literal["create", "replace", "change", "delete"]

FILES: Mapping[Collection, str] = {
    "servers": SERVERS_FILE, "namespaces": SERVERS_FILE, "endpoints": SERVERS_FILE, "images": ALLOWLIST_FILE,
}  # fmt: skip
ONE: Mapping[Collection, str] = {
    "servers": "server", "namespaces": "namespace", "endpoints": "endpoint", "images": "rule for the image",
}  # fmt: skip

Body = dict[str, Any]


class Unknown(Exception):
    """There is nothing of this name. The text says what there is."""


class Taken(Exception):
    """There is one of this name already, or more than one."""


@dataclass(frozen=True, slots=True)
class Edit:
    """``body``: of a change a merge patch (RFC 7396), None to take it out. ``before``: of a rule that is new, in front
    of which one it stands, for the first one that matches an image counts; "" for the end."""

    of: Collection
    name: str
    how: How
    body: Body | None = None
    before: str = ""


def items(document: Any, of: Collection) -> dict[str, Body]:
    """By name, without the names, in the order of the file. What is there without being written, too."""
    return _Shelf(copy.deepcopy(document), of).items()


def shown(name: str, body: Mapping[str, Any], of: Collection) -> Body:
    """As operators see it and may send it back."""
    return {key_of(of): name, **veiled(body)}


def path(document: Any, of: Collection, name: str) -> str:
    """Where it stands, as problems have it."""
    return in_file(FILES[of], show_path(_Shelf(copy.deepcopy(document), of).path(name)))


def key_of(of: Collection) -> str:
    """What the name is called within a body."""
    return "image" if of == "images" else "name"


def body_of(text: str) -> Body:
    """Raises ConfigInvalid."""
    found, problems = read_json(text)
    if not isinstance(found, dict):
        problems = [((), "must be an object")]
    if problems:
        raise config_invalid(found, problems)
    return dict(found)


def edited(document: Any, edit: Edit) -> Any:
    """Another document. Raises Unknown, Taken, and ConfigInvalid for a body that cannot be meant."""
    shelf = _Shelf(copy.deepcopy(document), edit.of)
    there = shelf.items()
    if edit.name not in there and edit.how in ("change", "delete"):
        known = ", ".join(sorted(there)) or "none"
        raise Unknown(f"there is no {ONE[edit.of]} {edit.name!r}; configured: {known}")
    if edit.name in there and edit.how == "create":
        raise Taken(f"there is a {ONE[edit.of]} {edit.name!r} already")
    if shelf.times(edit.name) > 1:
        raise Taken(f"{edit.name!r} is written more than once in {FILES[edit.of]}: keep one of them")
    if edit.how == "delete":
        shelf.remove(edit.name)
    else:
        shelf.put(edit.name, _meant(edit, there.get(edit.name, {}), shelf.path(edit.name)), edit.before)
    return shelf.document


def merged(target: Any, patch: Any) -> Any:
    """RFC 7396, section 2."""
    if not isinstance(patch, dict):
        return patch
    made = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            made.pop(key, None)
        else:
            made[key] = merged(made.get(key), value)
    return made


def _meant(edit: Edit, former: Body, at: tuple[Part, ...]) -> Body:
    given = dict(edit.body or {})
    called = given.pop(key_of(edit.of), edit.name)
    body, problems = unveiled(given, former, at)
    if called != edit.name:
        problems.append(((*at, key_of(edit.of)), "cannot be changed: create another one, and delete this one"))
    if problems:
        raise ConfigInvalid([(in_file(FILES[edit.of], show_path(parts)), text) for parts, text in problems])
    return dict(merged(former, body)) if edit.how == "change" else body


class _Shelf:
    """Where the things of one kind stand in ``document``, which it changes: an object by names, or a list of bodies
    that have theirs."""

    def __init__(self, document: Any, of: Collection) -> None:
        self.document = document
        self._of = of
        self._key = key_of(of)
        self._listed: list[Any] | None = None
        self._at: tuple[Part, ...] = (of,)
        if isinstance(document, list):
            self._listed = document
            if of != "servers":
                self.document = {"servers": document}
                self._listed = None
        elif of == "servers" and "servers" in document:
            self._listed = document["servers"]
        elif of == "images":
            self._listed = document.setdefault("images", [])
        elif of == "servers":
            self._at = ("mcpServers",)
        if self._listed is None:
            self._named = self._mapping()

    def items(self) -> dict[str, Body]:
        """Of several with one name the first."""
        if self._listed is None:
            return {name: dict(body) for name, body in self._named.items()}
        found: dict[str, Body] = {}
        for entry in self._listed:
            body = dict(_whole(entry, self._key))
            found.setdefault(body.pop(self._key), body)
        return found

    def times(self, name: str) -> int:
        return sum(_whole(entry, self._key)[self._key] == name for entry in self._listed or ())

    def path(self, name: str) -> tuple[Part, ...]:
        """Of one that is there, or of the next one."""
        if self._listed is None:
            return (*self._at, name)
        return (*self._at, self._place(name, len(self._listed)))

    def remove(self, name: str) -> None:
        self._explicit()
        if self._listed is None:
            del self._named[name]
        else:
            del self._listed[self._place(name, len(self._listed))]

    def put(self, name: str, body: Body, before: str) -> None:
        self._explicit()
        if self._listed is None:
            self._named[name] = _in_order_of(self._named.get(name, {}), body)
            return
        end = len(self._listed)
        place = self._place(name, end)
        whole: Any = {self._key: name, **body}
        if place < end:
            former = self._listed[place]
            short = isinstance(former, str) and not body
            self._listed[place] = name if short else _in_order_of(_whole(former, self._key), whole)
            return
        place = self._place(before, end) if before else end
        if before and place == end:
            raise Unknown(f"there is no {ONE[self._of]} {before!r} to stand before")
        self._listed.insert(place, whole if body or self._of != "images" else name)

    def _place(self, name: str, otherwise: int) -> int:
        found = (at for at, entry in enumerate(self._listed or ()) if _whole(entry, self._key)[self._key] == name)
        return next(found, otherwise)

    def _mapping(self) -> dict[str, Any]:
        """The object itself, or what counts in its place."""
        (key,) = self._at
        if key in self.document:
            return self.document[key]  # type: ignore[no-any-return]
        if key == "namespaces":
            return {DEFAULT: {"servers": list(server_names(self.document))}}
        return {DEFAULT: {"namespace": DEFAULT}} if key == "endpoints" else {}

    def _explicit(self) -> None:
        """What counts unwritten is written before it is changed; whoever writes namespaces writes endpoints, too."""
        if self._listed is None:
            (key,) = self._at
            self.document.setdefault(key, self._named)
            if key == "namespaces":
                self.document.setdefault("endpoints", {DEFAULT: {"namespace": DEFAULT}})


def _in_order_of(former: Mapping[str, Any], body: Body) -> Body:
    """Keys that were there come first, as they stood."""
    return {key: body[key] for key in former if key in body} | body


def _whole(entry: Any, key: str) -> Body:
    return {key: entry} if isinstance(entry, str) else entry
