"""One namespace at work: its merged view of the catalog, and why a name leads nowhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from metamcp.config.model import NamespaceSpec
from metamcp.errors import InvalidParams, MetaMCPError, server_unavailable
from metamcp.gateway.listings import PROMPTS, RESOURCES, TEMPLATES, Entry, Kind
from metamcp.gateway.merging import Route, StackOf, differing, heard, merge
from metamcp.gateway.naming import SEPARATOR
from metamcp.telemetry import logs

_log = logs.get("gateway.namespace")

_RESOURCE_NOT_FOUND = -32002  # of every handshake-era revision (Resources, Error Handling)


class ResourceUnknown(InvalidParams):
    code = _RESOURCE_NOT_FOUND


class Namespace:
    """A namespace at work. ``entry`` and ``problem`` read the catalog; ``stacks``: the middleware of each namespace.
    ``servers``: whose things it may show, those of the namespaces within it among them; ``hearing``: what goes through
    which middleware of what each of them says by itself. Owned by the reactor's thread."""

    def __init__(
        self,
        spec: NamespaceSpec,
        entry: Callable[[str], Entry | None],
        problem: Callable[[str], MetaMCPError | None],
        stacks: StackOf = lambda _spec: None,
    ) -> None:
        self.stacks = stacks
        self._entry = entry
        self._problem = problem
        self._adopt(spec)
        self.view = merge(spec, ())

    def rebuild(self) -> tuple[Kind, ...]:
        """Merge anew; the kinds whose listing is different now."""
        before = self.view
        self.view = merge(self.spec, [entry for name in self.servers if (entry := self._entry(name))], self.stacks)
        for problem in self.view.problems:
            if problem not in before.problems:
                _log.warning("name-collision", extra=logs.fields(namespace=self.spec.name, problem=problem))
        return differing(before, self.view)

    def follow(self, spec: NamespaceSpec) -> tuple[Kind, ...]:
        """Be ``spec`` from now on; the kinds whose listing is different now."""
        self._adopt(spec)
        return self.rebuild()

    def listing(self, kind: Kind) -> bytes:
        """The complete raw ``result`` of its list method. Raises MiddlewareFailed when its own middleware could not
        make it; what is missing because of a namespace within it is among ``problems``."""
        failure = self.view.failures.get(kind.name)
        if failure is not None and failure.data["namespace"] == self.spec.name:
            raise failure.again()
        return self.view.listings[kind.name]

    @property
    def problems(self) -> list[str]:
        """For the operator: names that collide, and middleware that fails."""
        return [*self.view.problems, *(f"{kind}: {failure.text}" for kind, failure in self.view.failures.items())]

    def missing(self) -> dict[str, str]:
        """The servers that are not in the listings, each with its reason."""
        return {
            name: problem.told if (problem := self._problem(name)) else "it has not been asked yet"
            for name in self.servers
            if self._entry(name) is None
        }

    def resolve(self, kind: Kind, name: str) -> Route:
        """Where ``name`` leads. Raises InvalidParams for an unknown name; when its server is one whose list is not
        known, RefusedByPolicy or ServerUnavailable with the reason; MiddlewareFailed where middleware could not say
        what there is."""
        route = self.view.routes[kind.name].get(name)
        if route is not None:
            return route
        for server, reason in self.missing().items():
            if not self._prefixed or name.startswith(server + SEPARATOR):
                problem = self._problem(server)
                if problem is not None and ("state" in problem.data or problem.fault == "operator"):
                    raise problem.again()
                raise server_unavailable(server, "BACKOFF", reason)
        if failure := self.view.failures.get(kind.name):
            raise failure.again()
        raise self._unknown(kind, name)

    def resolve_resource(self, uri: str) -> Route:
        """By the listed address, else by the longest template whose literal beginning fits."""
        routes = self.view.routes
        if route := routes[RESOURCES.name].get(uri):
            return route
        fitting = [(len(head), route) for text, route in routes[TEMPLATES.name].items()
                   if uri.startswith(head := text.split("{", 1)[0])]
        if fitting:
            return replace(max(fitting, key=lambda pair: pair[0])[1], name=uri)
        return self.resolve(RESOURCES, uri)

    def _adopt(self, spec: NamespaceSpec) -> None:
        self.spec = spec
        self.servers = spec.reach
        self.hearing = heard(spec, self.stacks)
        self._prefixed = spec.prefixed

    def _unknown(self, kind: Kind, name: str) -> MetaMCPError:
        if kind is RESOURCES:
            return ResourceUnknown(f"no server has the resource {name!r}", uri=name)
        what = "prompt" if kind is PROMPTS else "tool"
        return InvalidParams(f"unknown {what}: {name!r}")
