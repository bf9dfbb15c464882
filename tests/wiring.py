"""The gateway's rooms put together as the factory does it, over fakes: a clock that stands still, scripted servers."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping
from typing import Any

from fake_upstream import FakeReactor, FakeSupervisor, Json, Script

from metamcp.config.live import Live
from metamcp.config.loader import Loaded
from metamcp.config.model import Allowlist, EndpointSpec, GatewayConfig, NamespaceSpec, ServerSpec
from metamcp.config.plan import Plan, plan
from metamcp.downstream.quota import Quota
from metamcp.downstream.registry import SessionRegistry
from metamcp.errors import EngineUnavailable
from metamcp.gateway.admission import Admission
from metamcp.gateway.audit import Audit
from metamcp.gateway.calls import Calls
from metamcp.gateway.catalog import Catalog, Sources
from metamcp.gateway.catalog_memory import Kept
from metamcp.gateway.interface import Is, Outbound, Reply
from metamcp.gateway.namespaces import Namespaces
from metamcp.gateway.reconfiguration import Reconfiguration
from metamcp.gateway.router import Operator, Router
from metamcp.gateway.snapshot import Snapshot
from metamcp.gateway.subscriptions import Subscriptions
from metamcp.runtime.command.effective import image_of
from metamcp.runtime.image_ids import ImageIds
from metamcp.runtime.memory_use import reading
from metamcp.runtime.stderr import StderrLog
from metamcp.telemetry.audit_log import Entry
from metamcp.telemetry.tally import Tally
from metamcp.upstream.era import Eras, Verdict
from metamcp.upstream.pool import UpstreamPool

NOW = 1_800_000_000.0
_streams = itertools.count(1)


def stream_name() -> str:
    """As the web tier names the stream of a POST whose client takes events."""
    return f"stream-{next(_streams)}"


class Got:
    """Everything that one request was answered with."""

    def __init__(self) -> None:
        self.items: list[Outbound] = []
        self.reply = Reply(self.items.append)

    @property
    def final(self) -> Outbound:
        assert [item.final for item in self.items].count(True) == 1 and self.items[-1].final
        return self.items[-1]

    @property
    def answer(self) -> Json:
        found: Json = json.loads(self.final.data)
        return found

    @property
    def result(self) -> Json:
        assert "result" in self.answer, self.answer
        found: Json = self.answer["result"]
        return found

    @property
    def error(self) -> Json:
        assert "error" in self.answer, self.answer
        found: Json = self.answer["error"]
        return found

    @property
    def events(self) -> list[Json]:
        return [json.loads(item.data) for item in self.items if item.kind == Is.EVENT]

    @property
    def messages(self) -> list[bytes]:
        return [item.data for item in self.items if item.kind in (Is.EVENT, Is.ANSWER, Is.FAILED)]

    @property
    def kinds(self) -> list[int]:
        return [item.kind for item in self.items]

    @property
    def session(self) -> str:
        return next(item.session for item in self.items if item.session)


class AtOnce:
    """Workers that are done before they are asked; what they found comes with the reactor's next turn."""

    def submit(self, job: Callable[[], None]) -> bool:
        job()
        return True


class Upstream:
    """Servers, the pool, their images, eras and the catalog. ``kept`` is what was remembered of eras, ``memory`` of
    lists, ``engine`` the image ids that the engine has, by reference; one that is an error cannot be asked for."""

    def __init__(
        self,
        servers: Mapping[str, ServerSpec],
        script: Script | None,
        remembered: Mapping[str, Verdict] | None = None,
        memory: Mapping[str, Kept] | None = None,
        engine: Mapping[str, str | EngineUnavailable] | None = None,
    ) -> None:
        self.reactor = FakeReactor()
        self.supervisor = FakeSupervisor(self.reactor, script)
        self.changes: list[str] = []
        self.retired: list[str] = []
        self.kept: dict[str, Verdict] = dict(remembered or {})
        self.memory: dict[str, Kept] = dict(memory or {})
        self.engine: dict[str, str | EngineUnavailable] = dict(engine or {})
        reactor: Any = self.reactor
        supervisor: Any = self.supervisor
        workers: Any = AtOnce()
        self.tally = Tally()
        self.pool = UpstreamPool(reactor, servers, supervisor, lambda: 0.5, self.tally)
        self.images = ImageIds(
            reactor, workers, image_of, self._image, servers.values(),
            lambda server: self.catalog.meet(server), lambda server: self.catalog.image_changed(server),
        )  # fmt: skip
        self.eras = Eras(reactor, self.pool, self.images.key, self.wall, self.kept, self.kept.update)
        self.subscriptions = Subscriptions(lambda connection: self.catalog.changed(connection), self.pool.renew)
        self.catalog = Catalog(
            Sources(reactor, self.pool, self.eras, self.images, self.retired.append, self.wall, lambda: 0.5),
            servers, self.memory, self.subscriptions, self.on_change, self._keep,
        )  # fmt: skip

    def begin(self) -> None:
        """As the factory schedules it."""
        self.images.recheck()
        self.catalog.refresh_all()
        self.reactor.turn()

    def _image(self, reference: str) -> str | None:
        found = self.engine.get(reference)
        if isinstance(found, EngineUnavailable):
            raise found
        return found

    def _keep(self, kept: tuple[Kept, ...]) -> None:
        self.memory = {item.fingerprint: item for item in kept}

    def wall(self) -> float:
        return NOW + self.reactor.now

    def on_change(self, servers: frozenset[str]) -> None:
        self.changes += sorted(servers)


class Gateway(Upstream):
    """All of it: one namespace ``all``, reached by every endpoint."""

    def __init__(
        self,
        servers: Mapping[str, ServerSpec],
        script: Script | None,
        endpoints: Mapping[str, EndpointSpec],
        operators: Mapping[str, Operator] | None = None,
        prefix: bool = True,
    ) -> None:
        super().__init__(servers, script)
        namespaces = {"all": NamespaceSpec("all", tuple(servers), prefix=prefix)}
        self.live = Live(Loaded(GatewayConfig(dict(servers), namespaces, dict(endpoints)), Allowlist()), NOW)
        reactor: Any = self.reactor
        workers: Any = AtOnce()
        self.admission = Admission(reactor, workers, self.live, lambda _issuer, _source: [])
        self.registry = SessionRegistry(self.reactor.clock, lambda session: self.router.session_closed(session))
        self.namespaces = Namespaces(self.live, self.catalog)
        (self.namespace,) = self.namespaces
        names = (f"unique-{number}" for number in itertools.count())
        self.audited: list[dict[str, Any]] = []
        self.asked: list[tuple[float, bool]] = []
        self.calls = Calls(float, lambda seconds, failed: self.asked.append((seconds, failed)))
        self.stderr = StderrLog()
        self.router = Router(
            reactor, self.live, self.registry, self.pool, self.eras, self.catalog, self.subscriptions,
            self.namespaces, operators or {}, Audit(self._audited, self.reactor.clock, self.calls),
            Quota(1000, "streams", "streams"), self.wall, lambda: next(names), workers,
        )  # fmt: skip
        self.reconfiguration = Reconfiguration(
            self.live, self.pool, self.images, self.eras, self.catalog, self.namespaces, self.router, self.admission,
            self.stderr,
        )  # fmt: skip

    def _audited(self, entry: Entry) -> None:
        self.audited.append(entry.said())

    def snapshot(self, memory_of: Callable[[str], int | None] = lambda _container: None) -> Snapshot:
        supervisor: Any = self.supervisor
        return Snapshot(
            "i", 0.0, self.live, self.namespaces, self.registry, self.pool, supervisor, self.catalog, self.images,
            image_of, lambda _reference: None, reading(memory_of), float,
        )  # fmt: skip

    def reload(
        self,
        servers: Mapping[str, ServerSpec] | None = None,
        namespaces: Mapping[str, NamespaceSpec] | None = None,
        endpoints: Mapping[str, EndpointSpec] | None = None,
    ) -> Plan:
        """Another configuration; what is not given stays, except that ``all`` has all servers."""
        old = self.live.config
        servers = old.servers if servers is None else servers
        whole = {"all": NamespaceSpec("all", tuple(servers), prefix=self.namespace.spec.prefix)}
        config = GatewayConfig(
            dict(servers), dict(namespaces or whole), dict(old.endpoints if endpoints is None else endpoints)
        )
        loaded = Loaded(config, Allowlist())
        changes = plan(self.live.loaded, loaded, lambda _spec, _allowlist: None)
        self.reconfiguration.apply(loaded, changes, self.wall())
        return changes

    def on_change(self, servers: frozenset[str]) -> None:
        super().on_change(servers)
        self.router.catalog_changed(servers)
