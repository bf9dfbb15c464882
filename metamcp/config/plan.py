"""What a new configuration changes in the gateway that runs. Pure: two configurations in, names out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from metamcp.config.loader import Loaded
from metamcp.config.model import Allowlist, ServerSpec

Licence = Callable[[ServerSpec, Allowlist], object]
"""What the allowlist lets the container of a server do; equal ones need no other container."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Changes:
    """Names of one kind of thing, each list in alphabetical order; ``unchanged`` ones need not be touched."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()

    @property
    def retired(self) -> tuple[str, ...]:
        """What must not go on as it is."""
        return tuple(sorted((*self.removed, *self.changed)))

    @property
    def empty(self) -> bool:
        return not (self.added or self.removed or self.changed)

    def as_json(self) -> dict[str, list[str]]:
        return {"added": list(self.added), "changed": list(self.changed), "removed": list(self.removed)}


@dataclass(frozen=True, slots=True)
class Plan:
    servers: Changes = Changes()
    namespaces: Changes = Changes()
    endpoints: Changes = Changes()

    @property
    def empty(self) -> bool:
        return self.servers.empty and self.namespaces.empty and self.endpoints.empty

    def as_json(self) -> dict[str, dict[str, list[str]]]:
        """By the keys of ``servers.json``, for operators."""
        return {
            "servers": self.servers.as_json(),
            "namespaces": self.namespaces.as_json(),
            "endpoints": self.endpoints.as_json(),
        }


def plan(old: Loaded, new: Loaded, licence: Licence) -> Plan:
    """A server is another one when its specification is, or when the allowlist says something else about it: a
    container must not go on running by a rule that is gone."""

    def same_server(before: ServerSpec, after: ServerSpec) -> bool:
        if before.fingerprint() != after.fingerprint():
            return False
        return licence(before, old.allowlist) == licence(after, new.allowlist)

    return Plan(
        _changes(old.config.servers, new.config.servers, same_server),
        _changes(old.config.namespaces, new.config.namespaces, _equal),
        _changes(old.config.endpoints, new.config.endpoints, _equal),
    )


def _changes(old: Mapping[str, T], new: Mapping[str, T], same: Callable[[T, T], bool]) -> Changes:
    both = sorted(old.keys() & new.keys())
    unchanged = {name for name in both if same(old[name], new[name])}
    return Changes(
        added=tuple(sorted(new.keys() - old.keys())),
        removed=tuple(sorted(old.keys() - new.keys())),
        changed=tuple(name for name in both if name not in unchanged),
        unchanged=tuple(name for name in both if name in unchanged),
    )


def _equal(before: object, after: object) -> bool:
    return before == after
