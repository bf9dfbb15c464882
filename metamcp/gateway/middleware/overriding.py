"""``overrides``: titles, descriptions and hints of many tools, prompts or resources at once, by patterns of names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metamcp.gateway.middleware.interface import Context, Listed, Middleware
from metamcp.gateway.middleware.patterns import fits, kind_of


class Overrides(Middleware):
    def __init__(self, options: Mapping[str, Any]) -> None:
        super().__init__(options)
        self._kinds = frozenset(options["kinds"])
        self._meant = fits(options["match"])

    def on_list(self, kind: str, items: list[Listed], context: Context) -> list[Listed]:
        if kind_of(kind) in self._kinds:
            for item in items:
                if self._meant(item.name):
                    self._change(kind, item)
        return items

    def _change(self, kind: str, item: Listed) -> None:
        before, behind = self.options["description_prefix"], self.options["description_suffix"]
        if before or behind:
            item.put("description", f"{before}{item.get('description') or ''}{behind}")
        if self.options["title_prefix"] and item.get("title"):
            item.put("title", f"{self.options['title_prefix']}{item.get('title')}")
        if self.options["annotations"] and kind == "tools":
            item.put("annotations", (item.get("annotations") or {}) | self.options["annotations"])
