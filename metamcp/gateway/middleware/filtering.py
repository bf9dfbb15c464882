"""``filter``: what is left out by patterns of names. Also the address that a call names, which a template may fit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metamcp.errors import InvalidParams
from metamcp.gateway.middleware.interface import Call, Context, Listed, Middleware
from metamcp.gateway.middleware.patterns import fits, kind_of


class Filter(Middleware):
    def __init__(self, options: Mapping[str, Any]) -> None:
        super().__init__(options)
        self._kinds = frozenset(options["kinds"])
        self._allowed = fits(("*",) if options["allow"] is None else options["allow"])
        self._denied = fits(options["deny"])

    def on_list(self, kind: str, items: list[Listed], context: Context) -> list[Listed]:
        if kind_of(kind) not in self._kinds:
            return items
        return [item for item in items if self._lets_through(item)]

    def on_call(self, call: Call, context: Context) -> None:
        """Tools and prompts that are not listed have no way here."""
        if call.method.startswith("resources/") and "resources" in self._kinds and not self._passes(call.name):
            raise InvalidParams(f"no server has the resource {call.name!r}", uri=call.name)

    def _lets_through(self, item: Listed) -> bool:
        """Allowed by the name that clients see; denied by each that it has or had on the way here."""
        return self._passes(item.name) and not any(map(self._denied, (item.own, *item.known_as)))

    def _passes(self, name: str) -> bool:
        return self._allowed(name) and not self._denied(name)
