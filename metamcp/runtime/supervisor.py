"""Makes the children that exist equal the children wanted: starts, stops, and knows every one of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from metamcp.concurrency.reactor import Reactor
from metamcp.concurrency.tasks import Workers
from metamcp.config.model import ServerSpec
from metamcp.errors import AtCapacity, MetaMCPError, ServerUnavailable
from metamcp.runtime.child import Child, Exit, Grace
from metamcp.runtime.command.launch import LaunchPlan
from metamcp.runtime.diagnosis.relaxing import relaxing
from metamcp.runtime.facts import ContainerFacts, EngineEvent
from metamcp.runtime.inquest import Inquest
from metamcp.runtime.places import Caps, Place, Scope
from metamcp.runtime.process.interface import ENGINE_REFUSED, REFUSED, NotStarted, Runtime, Start
from metamcp.runtime.starts import Starts
from metamcp.runtime.states import ChildState
from metamcp.runtime.stderr import StderrLog
from metamcp.runtime.teardown import Teardown
from metamcp.telemetry import logs

Launcher = Callable[[ServerSpec, str], LaunchPlan]
"""(server, session) -> what to run. Blocks; asked right before each start, so that a changed allowlist counts.
Raises MetaMCPError."""

Elsewhere = Callable[[ServerSpec, str], Child]
"""(server, session) -> the child that speaks for a server that runs elsewhere; it begins by itself."""

_VERIFY_SECONDS = 1.0  # for the last containers to be verified at the end
_LATE_SECONDS = 2.0  # what was asked of the engine, and cut short, may be done so much later


class Supervisor:
    """Owned by the reactor's thread. At most ``most_starts`` are under way at once (``Starts``). ``stderr``: what the
    children of each server say."""

    def __init__(
        self,
        reactor: Reactor,
        starters: Workers,
        launch: Launcher,
        runtime: Runtime,
        teardown: Teardown,
        inquest: Inquest,
        grace: Grace,
        elsewhere: Elsewhere,
        most_starts: int,
        caps: Caps,
    ) -> None:
        self._reactor = reactor
        self._starters = starters
        self._launch = launch
        self._runtime = runtime
        self._teardown = teardown
        self._inquest = inquest
        self._grace = grace
        self._elsewhere = elsewhere
        self._starts = Starts(reactor, most_starts, caps)
        self.stderr = StderrLog()
        self._children: dict[int, Child] = {}
        self._containers: dict[str, Child] = {}  # by name, from before it is started
        self._empty: Callable[[], None] | None = None

    @property
    def free_starts(self) -> int:
        """Starts that could begin at once."""
        return self._starts.free

    @property
    def waiting(self) -> int:
        """Children that wait for their turn or a place."""
        return self._starts.waiting

    @property
    def children(self) -> tuple[Child, ...]:
        """Every child that has not ended."""
        return tuple(self._children.values())

    @property
    def containers(self) -> frozenset[str]:
        """The names of the containers that may exist: of living children, and those that are being removed."""
        return frozenset(self._containers) | self._teardown.names

    @property
    def lacking(self) -> list[tuple[Child, Scope]]:
        """Children that wait because too many others exist, and where."""
        return self._starts.lacking

    def lacks(self, place: Place) -> bool:
        """Whether a child at ``place`` would have to wait for somebody else's end."""
        return self._starts.lacks(place)

    def place(self, child: Child) -> Place | None:
        """What ``child`` counts for; None for a server that runs elsewhere, and for one that has ended."""
        return self._starts.place(child)

    def full_for(self, principal: str) -> bool:
        """``principal`` has as many children as it may have."""
        return self._starts.full_for(principal)

    def assign(self, child: Child, session: str, principal: str) -> None:
        """A child that served nobody is for ``session`` now."""
        child.session = session
        self._starts.move(child, principal)

    def start(self, spec: ServerSpec, session: str, place: Place) -> Child:
        """A child in STARTING, which begins when it is its turn and there is a place for it; set its callbacks before
        the next turn. Raises AtCapacity."""
        child = self._begin(spec, session, place) if self._empty is None else None
        if child is None:
            raise _too_many(spec)
        self._children[id(child)] = child
        return child

    def _begin(self, spec: ServerSpec, session: str, place: Place) -> Child | None:
        """None when too many wait already."""
        if spec.url:
            return self._elsewhere(spec, session)
        child = Child(self._reactor, spec.name, session, self._grace, self._remove)
        child.stderr.on_lines = lambda lines, left_out: self.stderr.add(
            child.server, child.container_name, child.short_session, lines, left_out
        )
        return child if self._starts.add(child, place, lambda: self._launch_soon(child, spec)) else None

    def _launch_soon(self, child: Child, spec: ServerSpec) -> None:
        if not self._starters.submit(lambda: self._spawn(child, spec)):
            self._reactor.call_soon(lambda: child.fail(_too_many(spec)))

    def gone(self, child: Child) -> None:
        """To be called when ``child`` has ended, by whoever took its ``on_exit``."""
        self._children.pop(id(child), None)
        if child.is_container:
            self._bury(child)
        if self._empty is not None and not self._children:
            self._finish(self._empty)

    def stop_all(self, reason: str, on_done: Callable[[], None]) -> None:
        """End every child; no child can be started any more. ``on_done`` when their containers are gone, too, as far
        as the engine says so in time."""
        self._empty = on_done
        for child in self.children:
            child.stop(reason)
        if not self._children:
            self._finish(on_done)

    # --- containers ------------------------------------------------------------------------------------

    def hear(self, event: EngineEvent) -> None:
        """What the engine says about a container of this instance."""
        child = self._containers.get(event.name)
        if child is not None:
            child.container_id = child.container_id or event.id
            self._inquest.hear(event)

    def see(self, found: ContainerFacts) -> None:
        """A container of this generation that the engine has; its events may have been missed."""
        child = self._containers.get(found.name)
        if child is not None:
            child.container_id = found.id

    def _planned(self, child: Child, plan: LaunchPlan, start: Start) -> None:
        """Before it is started: from now on nobody takes its container for a stray."""
        child.plan, child.give_up = plan, start.give_up
        child.command = [logs.redact(word) for word in plan.masked_argv]
        if child.state is ChildState.STOPPING:
            start.give_up()
        if child.is_container:
            self._containers[plan.container_name] = child
            self._inquest.open(plan.container_name)
            child.explain = lambda ended, tell: self._inquest.explain(
                plan, ended, lambda found: tell(_hinted(plan, found))
            )

    def _remove(self, child: Child) -> None:
        if child.plan is not None:
            self._teardown.verify(child.server, child.plan.container_name)

    def _bury(self, child: Child) -> None:
        name = child.container_name
        self._containers.pop(name, None)
        self._inquest.close(name)
        self._remove(child)
        if _was_cut_short(child.exit):
            self._reactor.call_later(_LATE_SECONDS, lambda: self._remove(child))

    def _finish(self, on_done: Callable[[], None]) -> None:
        self._teardown.when_idle(_VERIFY_SECONDS, on_done)

    # --- worker threads --------------------------------------------------------------------------------

    def _spawn(self, child: Child, spec: ServerSpec) -> None:
        try:
            plan = self._launch(spec, child.session)
            start = self._start(child, plan)
            self._runtime.start(plan, start)
        except (NotStarted, MetaMCPError) as error:
            self._fail_soon(child, error)
        except (OSError, ValueError) as error:  # ValueError: a NUL, or half a character, in an argument
            text = f"cannot start {spec.command!r}: {getattr(error, 'strerror', None) or error}"
            self._fail_soon(child, ServerUnavailable(text, server=spec.name, reason=text))

    def _start(self, child: Child, plan: LaunchPlan) -> Start:
        start = Start(
            lambda process: self._reactor.call_soon(lambda: child.adopt(plan, process)),
            lambda error: self._fail_soon(child, error),
        )
        self._reactor.call_soon(lambda: self._planned(child, plan, start))
        return start

    def _fail_soon(self, child: Child, error: NotStarted | MetaMCPError) -> None:
        if isinstance(error, NotStarted):
            self._reactor.call_soon(lambda: child.not_started(error))
        else:
            self._reactor.call_soon(lambda: child.fail(error))


def _hinted(plan: LaunchPlan, ended: Exit) -> Exit:
    """Where nobody else is to blame for its end, it may have been the way we confine it."""
    if plan.confinement is None or ended.code in (0, *ENGINE_REFUSED) or ended.reason:
        return ended
    return replace(ended, hint=relaxing(plan.confinement, ended.stderr, ended.code))


def _was_cut_short(ended: Exit | None) -> bool:
    """Whoever asked the engine for the container was ended, or did not hear the answer."""
    return ended is not None and (ended.code == REFUSED or (ended.code is None and ended.signal is not None))


def _too_many(spec: ServerSpec) -> AtCapacity:
    return AtCapacity(f"too many servers are starting; try {spec.name!r} again", server=spec.name)

