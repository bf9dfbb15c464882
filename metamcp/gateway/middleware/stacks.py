"""Whose lists and calls go through what: the middleware of each namespace, made once for each configuration of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from metamcp.config.model import MiddlewareSpec, NamespaceSpec
from metamcp.gateway.middleware.call_log import CallLog
from metamcp.gateway.middleware.filtering import Filter
from metamcp.gateway.middleware.interface import Middleware
from metamcp.gateway.middleware.overriding import Overrides
from metamcp.gateway.middleware.redaction import Redact
from metamcp.gateway.middleware.result_size import ResultSize
from metamcp.gateway.middleware.stack import Link, Stack
from metamcp.gateway.middleware.time_budget import TimeBudget

BUILT_IN: Mapping[str, type[Middleware]] = {
    "filter": Filter,
    "overrides": Overrides,
    "call-log": CallLog,
    "result-size": ResultSize,
    "redact": Redact,
    "time-budget": TimeBudget,
}
"""Under the names of ``config.middleware_schema``."""


class Stacks:
    """Owned by the reactor's thread. ``count`` hears of each failure: (namespace, middleware)."""

    def __init__(self, count: Callable[[str, str], None] = lambda _namespace, _middleware: None) -> None:
        self._count = count
        self._made: dict[str, tuple[tuple[MiddlewareSpec, ...], Stack]] = {}

    def of(self, spec: NamespaceSpec) -> Stack | None:
        """None for a namespace without middleware. Equal configurations have the same one."""
        if not spec.middleware:
            return None
        known = self._made.get(spec.name)
        if known is None or known[0] != spec.middleware:
            known = self._made[spec.name] = (spec.middleware, self._make(spec))
        return known[1]

    def keep(self, namespaces: Collection[str]) -> None:
        """Forget those of all others."""
        self._made = {name: made for name, made in self._made.items() if name in namespaces}

    def _make(self, spec: NamespaceSpec) -> Stack:
        stack = Stack(spec.name, (), self._count)
        stack.take(tuple(self._link(stack, one) for one in spec.middleware))
        return stack

    def _link(self, stack: Stack, spec: MiddlewareSpec) -> Link:
        made = spec.plugin or BUILT_IN[spec.use]
        try:
            return Link(spec.use, made(spec.options))
        except Exception as error:  # noqa: BLE001  whatever a package's code raises, this namespace alone has it
            return stack.made_in_vain(spec.use, error)
