"""Every namespace at work, and which of them an endpoint shows. Follows the configuration in force."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from metamcp.access.principal import proves
from metamcp.config.live import Live
from metamcp.config.model import Discovery, NamespaceSpec
from metamcp.errors import EndpointUnknown, MetaMCPError, Unauthorized
from metamcp.gateway.catalog import Catalog
from metamcp.gateway.merging import View
from metamcp.gateway.middleware.stacks import Stacks
from metamcp.gateway.namespace import Namespace


class Namespaces:
    """Owned by the reactor's thread. A namespace that stays configured stays the same object, whatever its servers
    are: sessions and requests in flight hold it."""

    def __init__(self, live: Live, catalog: Catalog, stacks: Stacks | None = None) -> None:
        self._stacks = stacks or Stacks()
        self._live = live
        self._catalog = catalog
        self._all: dict[tuple[str, Discovery], Namespace] = {}
        self.follow()

    def __iter__(self) -> Iterator[Namespace]:
        return iter(self._all.values())

    def at(self, endpoint: str) -> Namespace | None:
        """What ``endpoint`` shows; None when there is no such endpoint (any more)."""
        spec = self._live.config.endpoints.get(endpoint)
        return self._all[spec.namespace, spec.discovery] if spec is not None else None

    def enter(self, endpoint: str, principal: str) -> Namespace:
        """Raises EndpointUnknown, or Unauthorized for whom the web tier cannot have let in by what is configured."""
        spec = self._live.config.endpoints.get(endpoint)
        if spec is None:
            raise EndpointUnknown("there is no such endpoint")
        if not proves(principal, spec.auth, spec.oauth.issuer if spec.oauth else ""):
            raise Unauthorized(f"this endpoint requires authentication ({spec.auth})")
        return self._all[spec.namespace, spec.discovery]

    def admits(self, endpoint: str, principal: str) -> bool:
        try:
            self.enter(endpoint, principal)
        except MetaMCPError:
            return False
        return True

    def views(self) -> dict[str, View]:
        """What each endpoint shows at this moment."""
        endpoints = self._live.config.endpoints.items()
        return {name: self._all[spec.namespace, spec.discovery].view for name, spec in endpoints}

    def follow(self) -> None:
        """Be what is configured now. A namespace that is gone, or that no endpoint shows in this way any more, leads
        nowhere, whoever still holds it."""
        wanted = self._wanted()
        former = [self._all.pop(key) for key in self._all.keys() - wanted.keys()]
        for namespace in former:
            namespace.follow(replace(namespace.spec, servers=(), namespaces=()))
        self._stacks.keep(self._live.config.namespaces)
        known, self._all = self._all, {}
        for key, spec in wanted.items():
            self._all[key] = known.get(key) or self._namespace(spec)
            self._all[key].follow(spec)

    def _wanted(self) -> dict[tuple[str, Discovery], NamespaceSpec]:
        """Each namespace, and once more where an endpoint shows it in another way."""
        config = self._live.config
        searched = {spec.namespace for spec in config.endpoints.values() if spec.discovery == "search"}
        found: dict[tuple[str, Discovery], NamespaceSpec] = {}
        for name, spec in config.namespaces.items():
            if name in searched:
                found[name, "search"] = replace(spec, discovery="search")
            found[name, "list"] = spec
        return found

    def _namespace(self, spec: NamespaceSpec) -> Namespace:
        return Namespace(spec, self._catalog.entry, self._catalog.problem, self._stacks.of)
