"""The composition root of the supervisor process: the one place where its objects meet."""

from __future__ import annotations

import fcntl
import os
import random
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from metamcp.access.fetch import fetch_keys
from metamcp.concurrency.reactor import Reactor
from metamcp.concurrency.tasks import Workers
from metamcp.config.engine_address import EngineAddress, locate
from metamcp.config.live import Live
from metamcp.config.loader import Loaded, Stamp, load, stamp
from metamcp.config.plan import Licence, Plan
from metamcp.config.settings import Settings
from metamcp.downstream.quota import Quota
from metamcp.downstream.registry import SessionRegistry
from metamcp.errors import ConfigInvalid
from metamcp.factory.administering import administering
from metamcp.factory.diagnosing import Occasion, credentials, household
from metamcp.factory.engine_watch import Audience
from metamcp.factory.judging_images import accept, accepting, build_admission, judging, prepare
from metamcp.factory.measuring import answer_at_once, counting_audit, counting_refusals
from metamcp.factory.orders import Orders, noting, reloading
from metamcp.factory.questions import QUESTIONS, answers_of
from metamcp.factory.remembering import Remembering, image_id
from metamcp.factory.runtimes import build_means, tells_memory
from metamcp.factory.starting import build_resolver, launcher, resolve_remote
from metamcp.factory.tracing import LAST_SECONDS, build_traces
from metamcp.factory.views import build_views
from metamcp.gateway.admission import Admission
from metamcp.gateway.audit import Audit
from metamcp.gateway.catalog import Catalog, Sources
from metamcp.gateway.gauges import Gauges
from metamcp.gateway.history import STEP_SECONDS, History
from metamcp.gateway.interface import Gateway
from metamcp.gateway.local import LocalGateway
from metamcp.gateway.measurement import Measurement
from metamcp.gateway.namespaces import Namespaces
from metamcp.gateway.reconfiguration import Reconfiguration
from metamcp.gateway.reload import Reloader
from metamcp.gateway.router import Router
from metamcp.gateway.snapshot import Snapshot
from metamcp.gateway.subscriptions import Subscriptions
from metamcp.runtime.child import Grace
from metamcp.runtime.command.effective import Resolver, image_of
from metamcp.runtime.cpu_time import container_cpu
from metamcp.runtime.cuts import Cuts
from metamcp.runtime.diagnosis.probe import Means
from metamcp.runtime.engine import Engine
from metamcp.runtime.image_ids import RECHECK_SECONDS, ImageIds
from metamcp.runtime.inquest import Inquest
from metamcp.runtime.instance import load_instance_id
from metamcp.runtime.labels import Identity
from metamcp.runtime.memory import container_memory
from metamcp.runtime.memory_use import reading
from metamcp.runtime.places import Caps
from metamcp.runtime.reaper import Reaper
from metamcp.runtime.screening.ledger import Ledger
from metamcp.runtime.screening.programs import Programs
from metamcp.runtime.supervisor import Supervisor
from metamcp.runtime.teardown import Teardown
from metamcp.runtime.watch import Watch
from metamcp.telemetry import logs
from metamcp.telemetry.audit_log import AuditLog
from metamcp.telemetry.moments import Moments
from metamcp.telemetry.spans import Traces
from metamcp.telemetry.tally import Tally
from metamcp.upstream.era import Eras
from metamcp.upstream.pool import UpstreamPool
from metamcp.upstream.remote.child import RemoteChild

STARTERS = 4
"""Servers that may be starting at once, of all that are configured."""

_CHORES = 4
_ISSUERS = 2  # of tokens that may be asked at once; one that hangs must hold up nothing else
_CLOSE_SECONDS = 0.25  # for each thread: at the end nobody waits for an engine that does not answer
_SWEEP_SECONDS = 0.25
_ENDING = "the gateway is shutting down"
_SESSION_SWEEP_SECONDS = 30.0
_REAP_SECONDS = 60.0

_log = logs.get("factory")


@dataclass(frozen=True, slots=True)
class Core:
    """Everything of the supervisor process but its link. ``stop`` is for the reactor's thread."""

    reactor: Reactor
    router: Router
    supervisor: Supervisor
    pool: UpstreamPool
    catalog: Catalog
    images: ImageIds
    remembering: Remembering
    reloader: Reloader
    starters: Workers
    chores: Workers
    readers: Workers
    screeners: Workers
    issuers: Workers
    questions: Workers
    engine: Engine
    programs: Programs
    means: Means
    watch: Watch
    audience: Audience
    admission: Admission
    audit_log: AuditLog
    measurement: Measurement
    traces: Traces | None
    lock: int

    def gateway(self) -> Gateway:
        """The Gateway of embedded mode."""
        return LocalGateway(self.reactor, self.router.open)

    def stop(self, on_done: Callable[[], None]) -> None:
        """Take nothing new, end the sessions, then every child; ``on_done`` when none is left."""
        self.router.drain()
        self.remembering.flush()
        self.pool.end(_ENDING)
        self.supervisor.stop_all(_ENDING, on_done)

    def close(self) -> None:
        """After ``stop`` is done: threads and descriptors."""
        self.watch.close(_CLOSE_SECONDS)
        self.programs.close()
        self.means.runtime.close()
        for workers in (
            self.readers, self.issuers, self.questions, self.starters, self.chores, self.screeners,
        ):  # fmt: skip
            workers.close(_CLOSE_SECONDS)
        self.engine.close()
        self.audit_log.close()
        if self.traces is not None:
            self.traces.close(LAST_SECONDS)
        self.reactor.close()
        os.close(self.lock)


def build_core(settings: Settings, grace: Grace | None = None) -> Core:
    """Load the configuration and build the gateway; nothing runs before its reactor does. Raises ConfigInvalid."""
    engine = Engine(locate(os.environ))
    found = stamp(settings.config_dir)
    live = Live(load(settings.config_dir), time.time())
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    lock = _lock(settings.state_dir)
    identity = Identity(
        load_instance_id(settings.state_dir, lambda: secrets.token_hex(8)), f"{int(time.time())}-{os.getpid()}"
    )
    _warn_of_no_effect(settings, live.loaded)
    _tell_engine(engine.address)
    reactor = Reactor()
    starters, chores, readers = Workers("starter", STARTERS), Workers("chore", _CHORES), Workers("reader", 1)
    screeners, issuers, questions = Workers("screener", 1), Workers("issuer", _ISSUERS), Workers("question", QUESTIONS)
    means = build_means(settings, engine, chores.submit)

    def resolver() -> Resolver:
        """Of the configuration in force."""
        return build_resolver(settings, engine.address, live.loaded, identity, means.dialect)

    audit_log, tally, traces = _audit_log(settings), Tally(), build_traces(settings, "supervisor")
    ledger = Ledger(settings.state_dir)
    programs = Programs()
    image_admission = build_admission(engine, programs, ledger)

    def screened(tell: Callable[[str], None]) -> Callable[[str], None]:
        return _screened(screeners, lambda server: prepare(resolver(), live, image_admission, server), tell)

    launch = launcher(resolver, engine, image_admission, counting_refusals(audit_log, reactor, tally))
    teardown, inquest = Teardown(reactor, chores, engine), Inquest(reactor, chores, engine.ping, tells_memory(settings))
    supervisor = Supervisor(
        reactor, starters, launch, means.runtime, teardown, inquest, grace or Grace(),
        lambda spec, session: RemoteChild(reactor, spec, session, resolve_remote, traces is not None), STARTERS,
        Caps(settings.max_instances, settings.max_instances_per_principal),
    )  # fmt: skip
    servers = live.config.servers
    supervisor.stderr.keep(servers)
    pool = UpstreamPool(reactor, servers, supervisor, random.random, tally)
    remembering = Remembering(reactor, chores, settings.state_dir)
    images = ImageIds(
        reactor, chores, lambda spec: resolver().image(spec), lambda reference: image_id(engine, reference),
        servers.values(), screened(lambda server: catalog.meet(server)),
        screened(lambda server: catalog.image_changed(server)),
    )  # fmt: skip
    eras = Eras(reactor, pool, images.key, time.time, remembering.recall_eras(), remembering.eras.put)
    subscriptions = Subscriptions(lambda connection: catalog.changed(connection), pool.renew)
    catalog = Catalog(
        Sources(reactor, pool, eras, images, _retire(pool), time.time, random.random),
        servers, remembering.recall_catalog(), subscriptions,
        lambda changed: router.catalog_changed(changed), remembering.catalog.put,
    )  # fmt: skip
    namespaces = Namespaces(live, catalog)
    admission = Admission(reactor, issuers, live, fetch_keys)
    registry = SessionRegistry(
        reactor.clock, lambda session: router.session_closed(session), settings.max_sessions_per_principal
    )
    snapshot = Snapshot(
        identity.instance, time.time(), live, namespaces, registry, pool, supervisor, catalog, images,
        image_of, ledger.record, reading(container_memory), Moments(),
    )  # fmt: skip
    views, cuts = build_views(reactor, chores, snapshot), Cuts()
    occasion = Occasion(
        settings, engine, means, identity, resolver, lambda: live.loaded, lambda: household(engine, identity), cuts,
        credentials=lambda: credentials(settings.state_dir),
    )  # fmt: skip
    operators = answers_of(occasion, snapshot, judging(resolver, engine, image_admission), reactor, questions)
    audit = counting_audit(audit_log, reactor, live, tally, views.calls, traces)
    orders = Orders(live, pool, catalog)
    operators |= {
        **views.operators, **orders.operators(), **noting(),
        **administering(reactor, readers, settings, live, resolver, lambda: reloader),
        "reload": reloading(lambda: reloader),
        "accept-image": accepting(
            reactor, chores, lambda server: accept(resolver(), live, engine, ledger, server), orders.reset
        ),
        "access": admission.watch, "issuer-keys": admission.renew, "link": answer_at_once,
    }  # fmt: skip
    router = Router(
        reactor, live, registry, pool, eras, catalog, subscriptions, namespaces, operators,
        audit, Quota(settings.max_streams_per_principal, "streams or requests without a session", "streams"),
        time.time, lambda: secrets.token_urlsafe(24),
    )  # fmt: skip
    operators["metrics"] = measurement = Measurement(
        reactor, questions, tally,
        Gauges(
            snapshot.since, live, registry, router.listenings, router.held, pool, supervisor,
            (starters, chores, readers, screeners, issuers, questions, *means.runtime.crews), audit_log,
            lambda: inquest.watching,
        ),
        container_memory, container_cpu,
    )  # fmt: skip
    reconfiguration = Reconfiguration(
        live, pool, images, eras, catalog, namespaces, router, admission, supervisor.stderr
    )
    reloader = _reloader(settings, resolver().licence, reactor, readers, found, reconfiguration, audit)
    reaper = Reaper(
        reactor, chores, engine, identity, lambda: supervisor.containers, supervisor.see, tally.orphans_removed
    )  # fmt: skip
    audience = Audience(
        supervisor, inquest, teardown, reaper,
        engine_back=lambda: _engine_back(pool, catalog), images_changed=images.recheck,
    )  # fmt: skip
    watch = Watch(engine, reactor, identity.instance, audience, cuts)
    core = Core(
        reactor, router, supervisor, pool, catalog, images, remembering, reloader, starters, chores, readers,
        screeners, issuers, questions, engine, programs, means, watch, audience, admission, audit_log, measurement,
        traces, lock,
    )  # fmt: skip
    _schedule(core, registry, views.history)
    return core


def _reloader(
    settings: Settings,
    licence: Licence,
    reactor: Reactor,
    readers: Workers,
    found: Stamp,
    reconfiguration: Reconfiguration,
    audit: Audit,
) -> Reloader:
    live = reconfiguration.live

    def apply(loaded: Loaded, plan: Plan) -> None:
        reconfiguration.apply(loaded, plan, time.time())
        if not plan.empty:
            audit.ordered("configuration-reloaded")
            _warn_of_no_effect(settings, loaded)

    return Reloader(reactor, readers, settings.config_dir, live, found, licence, apply)


def _warn_of_no_effect(settings: Settings, loaded: Loaded) -> None:
    """What an operator may write already, and would be wrong to rely on (docs/configuration.md)."""
    rules = loaded.allowlist.rules
    dry = ["all images"] if loaded.allowlist.dry_run else [rule.pattern for rule in rules if rule.dry_run]
    if dry:
        _log.warning("dry-run", extra=logs.fields(images=", ".join(dry), text="images are not refused, only told"))
    unused = [f"{spec.name}.warm" for spec in loaded.config.servers.values() if spec.warm and spec.url]
    if unused:
        _log.warning("not-in-effect", extra=logs.fields(settings=", ".join(unused)))


def _tell_engine(address: EngineAddress) -> None:
    _log.info("engine-chosen", extra=logs.fields(host=address.host, because=address.because, tls=address.tls_shown))
    if address.tls and not address.tls.verify:
        _log.warning("engine-not-verified", extra=logs.fields(host=address.host, text="set DOCKER_TLS_VERIFY"))


def _engine_back(pool: UpstreamPool, catalog: Catalog) -> None:
    pool.engine_back()
    catalog.retry()


def _retire(pool: UpstreamPool) -> Callable[[str], None]:
    """Of an image that is another one now: who has a container of the old one keeps it, nobody else gets it."""
    return lambda server: pool.retire(server, "its image is another one", sessions=False)


def _audit_log(settings: Settings) -> AuditLog:
    """Raises ConfigInvalid: a gateway that should keep an audit log does not run without."""
    try:
        return AuditLog(settings.audit_log)
    except OSError as error:
        text = f"cannot be written: {error.strerror}; choose another path, or off"
        raise ConfigInvalid([("METAMCP_AUDIT_LOG", text)]) from error


def _screened(
    screeners: Workers, prepare: Callable[[str], None], tell: Callable[[str], None]
) -> Callable[[str], None]:
    """``tell`` of an image that is new, while it is looked at."""

    def both(server: str) -> None:
        screeners.submit(lambda: prepare(server))
        tell(server)

    return both


def _schedule(core: Core, registry: SessionRegistry, history: History) -> None:
    """What happens by itself: the first thing is to clear away what a former generation left behind."""
    core.reactor.call_soon(core.audience.clean_up)
    core.reactor.call_soon(core.watch.start)
    core.reactor.call_soon(core.images.recheck)
    core.reactor.call_soon(core.catalog.refresh_all)
    core.reactor.call_soon(core.reloader.watch)
    core.reactor.call_soon(core.admission.follow)
    core.reactor.call_soon(lambda: core.reactor.call_every(RECHECK_SECONDS, core.images.recheck))
    core.reactor.call_soon(lambda: core.reactor.call_every(_SWEEP_SECONDS, core.pool.sweep))
    core.reactor.call_soon(lambda: core.reactor.call_every(_SESSION_SWEEP_SECONDS, registry.sweep))
    core.reactor.call_soon(lambda: core.reactor.call_every(_REAP_SECONDS, core.audience.clean_up))
    core.reactor.call_soon(lambda: core.reactor.call_every(STEP_SECONDS, history.step))


def _lock(state_dir: Path) -> int:
    """One supervisor per state directory: two would sweep away each other's containers. Held until exit."""
    path = state_dir / "supervisor.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        text = "another supervisor uses this state directory; stop it, or set METAMCP_STATE_DIR to another one"
        raise ConfigInvalid([(str(path), text)]) from None
    return descriptor
