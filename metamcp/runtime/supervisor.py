"""Makes the children that exist equal the children wanted: starts, stops, and knows every one of them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

from metamcp.concurrency.reactor import Reactor
from metamcp.concurrency.tasks import Workers
from metamcp.config.model import ServerSpec
from metamcp.errors import AtCapacity, EngineUnavailable, MetaMCPError, ServerUnavailable
from metamcp.runtime.child import Child, Grace
from metamcp.runtime.command.launch import LaunchPlan
from metamcp.runtime.places import Caps, Place, Scope
from metamcp.runtime.starts import Starts
from metamcp.telemetry import logs

Launcher = Callable[[ServerSpec, str], LaunchPlan]
"""(server, session) -> what to run. Blocks; asked right before each start, so that a changed allowlist counts.
Raises MetaMCPError."""

Remover = Callable[[str], bool]
"""Removes a container by name, by force; True when it is gone. Blocks. Raises EngineUnavailable."""

Elsewhere = Callable[[ServerSpec, str], Child]
"""(server, session) -> the child that speaks for a server that runs elsewhere; it begins by itself."""

_log = logs.get("runtime.supervisor")


class Supervisor:
    """Owned by the reactor's thread. At most ``most_starts`` are under way at once (``Starts``)."""

    def __init__(
        self,
        reactor: Reactor,
        starters: Workers,
        chores: Workers,
        launch: Launcher,
        remove: Remover,
        grace: Grace,
        elsewhere: Elsewhere,
        most_starts: int,
        caps: Caps,
    ) -> None:
        self._reactor = reactor
        self._starters = starters
        self._chores = chores
        self._launch = launch
        self._remover = remove
        self._grace = grace
        self._elsewhere = elsewhere
        self._starts = Starts(reactor, most_starts, caps)
        self._children: dict[int, Child] = {}
        self._empty: Callable[[], None] | None = None

    @property
    def free_starts(self) -> int:
        """Starts that could begin at once."""
        return self._starts.free

    @property
    def children(self) -> tuple[Child, ...]:
        """Every child that has not ended."""
        return tuple(self._children.values())

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
        return child if self._starts.add(child, place, lambda: self._launch_soon(child, spec)) else None

    def _launch_soon(self, child: Child, spec: ServerSpec) -> None:
        if not self._starters.submit(lambda: self._spawn(child, spec)):
            self._reactor.call_soon(lambda: child.fail(_too_many(spec)))

    def gone(self, child: Child) -> None:
        """To be called when ``child`` has ended, by whoever took its ``on_exit``."""
        self._children.pop(id(child), None)
        ended = child.exit
        if child.is_container and ended is not None and ended.signal is not None:
            # The CLI was killed, or the container was: --rm may not have been carried out. Make sure.
            self._remove(child)
        if self._empty is not None and not self._children:
            self._empty()

    def stop_all(self, reason: str, on_done: Callable[[], None]) -> None:
        """End every child; no child can be started any more."""
        self._empty = on_done
        for child in self.children:
            child.stop(reason)
        if not self._children:
            on_done()

    # --- worker threads --------------------------------------------------------------------------------

    def _spawn(self, child: Child, spec: ServerSpec) -> None:
        try:
            plan = self._launch(spec, child.session)
            process = _popen(plan)
        except MetaMCPError as error:
            failure = error
            self._reactor.call_soon(lambda: child.fail(failure))
        except (OSError, ValueError) as error:  # ValueError: a NUL, or half a character, in an argument
            text = f"cannot start {spec.command!r}: {getattr(error, 'strerror', None) or error}"
            self._reactor.call_soon(lambda: child.fail(ServerUnavailable(text, server=spec.name, reason=text)))
        else:
            self._reactor.call_soon(lambda: child.adopt(plan, process))

    def _remove(self, child: Child) -> None:
        name = child.plan.container_name if child.plan else ""
        if name and not self._chores.submit(lambda: self._remove_now(child.server, name)):
            _log.error("container-not-removed", extra=logs.fields(server=child.server, container=name))

    def _remove_now(self, server: str, name: str) -> None:
        try:
            removed = self._remover(name)
        except EngineUnavailable as error:
            # The periodic sweep will meet it again when the engine is back.
            _log.warning("container-not-removed", extra=logs.fields(server=server, container=name, error=error.text))
        else:
            _log.info("container-removed", extra=logs.fields(server=server, container=name, gone=removed))


def _too_many(spec: ServerSpec) -> AtCapacity:
    return AtCapacity(f"too many servers are starting; try {spec.name!r} again", server=spec.name)


def _popen(plan: LaunchPlan) -> subprocess.Popen[bytes]:
    """A session of its own: a Ctrl-C at the operator's terminal is for the gateway, which then stops its children."""
    return subprocess.Popen(
        plan.argv,
        env=dict(plan.env),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        start_new_session=True,
    )
