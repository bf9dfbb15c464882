"""Sessions whose own instances changed what they list: such a session sees its instance's lists, not the catalog's.

The catalog holds what a fresh instance of a server has. A server that offers more once a client has logged in, or
switched something on, says ``list_changed`` on that client's instance: what it lists now is for that session alone,
and only until the instance ends.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from metamcp.concurrency.reactor import Reactor, Timer
from metamcp.downstream.session import ClientSession
from metamcp.errors import MetaMCPError
from metamcp.gateway.catalog import Catalog
from metamcp.gateway.listings import Entry, Kind
from metamcp.gateway.namespace import Namespace
from metamcp.gateway.reading import Reading
from metamcp.upstream.connection import UpstreamConnection

_PAUSE, _MOST_DOUBLINGS = 0.5, 6
"""Seconds between two readings; doubled for each in a row that found nothing new: many servers say ``list_changed``
whenever they are asked for a list."""

Announce = Callable[[ClientSession, tuple[Kind, ...]], None]
"""Tells a session which of its listings are other ones now."""


@dataclass(slots=True, eq=False)
class _Instance:
    """One instance of a session that said its lists changed."""

    connection: UpstreamConnection
    entry: Entry | None = None
    reading: bool = False
    again: bool = False
    vain: int = 0
    timer: Timer | None = None


@dataclass(slots=True, eq=False)
class _Own:
    session: ClientSession
    instances: dict[str, _Instance]  # by server
    namespace: Namespace


class OwnLists:
    """Owned by the reactor's thread."""

    def __init__(self, reactor: Reactor, catalog: Catalog, announce: Announce) -> None:
        self._reactor = reactor
        self._catalog = catalog
        self._announce = announce
        self._own: dict[str, _Own] = {}

    def namespace(self, session: ClientSession, shared: Namespace) -> Namespace:
        """What ``session`` sees: ``shared``, or its own view of it."""
        own = self._own.get(session.id)
        return own.namespace if own is not None else shared

    def changed(self, session: ClientSession, shared: Namespace, connection: UpstreamConnection) -> None:
        """An instance of ``session`` says that its lists changed."""
        if session.closed or connection.retired:
            return  # its instances are being stopped, or this one is
        own = self._own.get(session.id) or self._begin(session, shared)
        instance = own.instances.get(connection.spec.name)
        if instance is None or instance.connection is not connection:
            instance = own.instances[connection.spec.name] = _Instance(connection)
        if instance.reading or instance.timer is not None:
            instance.again = True
        else:
            self._read(own, instance)

    def gone(self, session: ClientSession, connection: UpstreamConnection) -> None:
        """An instance of ``session`` ended; the next one has what every fresh one has."""
        own = self._own.get(session.id)
        instance = own.instances.get(connection.spec.name) if own is not None else None
        if own is not None and instance is not None and instance.connection is connection:
            self._forget(instance)
            del own.instances[connection.spec.name]
            self._rebuild(own)

    def catalog_changed(self, servers: frozenset[str]) -> None:
        """Sessions that see the catalog's lists of ``servers`` beside their own ones."""
        for own in tuple(self._own.values()):
            if not servers.isdisjoint(own.namespace.servers):
                self._rebuild(own)

    def follow(self, shared: Callable[[ClientSession], Namespace | None]) -> None:
        """After a reload: a session's view is of what its endpoint shows now, and what retired instances list is not
        what its next call will find."""
        for own in tuple(self._own.values()):
            for server, instance in tuple(own.instances.items()):
                if instance.connection.retired:
                    self._forget(instance)
                    del own.instances[server]
            now = shared(own.session)
            kinds = own.namespace.follow(now.spec) if now is not None else own.namespace.rebuild()
            self._tell(own, kinds)

    def close(self, session: ClientSession) -> None:
        own = self._own.pop(session.id, None)
        for instance in own.instances.values() if own is not None else ():
            self._forget(instance)

    # --- inside ----------------------------------------------------------------------------------------

    def _begin(self, session: ClientSession, shared: Namespace) -> _Own:
        instances: dict[str, _Instance] = {}

        def entry(server: str) -> Entry | None:
            instance = instances.get(server)
            return instance.entry if instance is not None and instance.entry else self._catalog.entry(server)

        namespace = Namespace(shared.spec, entry, self._catalog.problem, shared.stacks)
        namespace.rebuild()
        own = self._own[session.id] = _Own(session, instances, namespace)
        return own

    def _read(self, own: _Own, instance: _Instance) -> None:
        instance.reading, instance.again, instance.timer = True, False, None

        def over(outcome: Entry | MetaMCPError) -> None:
            instance.reading = False
            server = instance.connection.spec.name
            known = self._own.get(own.session.id) is own and own.instances.get(server) is instance
            if not known or not isinstance(outcome, Entry):
                return
            before = instance.entry or self._catalog.entry(outcome.server)
            instance.vain = 0 if outcome != before else min(instance.vain + 1, _MOST_DOUBLINGS)
            instance.entry = outcome
            pause = _PAUSE * 2.0**instance.vain
            instance.timer = self._reactor.call_later(pause, lambda: self._rested(own, instance))
            self._rebuild(own)

        Reading(instance.connection, over).begin()

    def _rested(self, own: _Own, instance: _Instance) -> None:
        instance.timer = None
        if instance.again and instance.connection.alive:
            self._read(own, instance)

    def _rebuild(self, own: _Own) -> None:
        self._tell(own, own.namespace.rebuild())

    def _tell(self, own: _Own, kinds: tuple[Kind, ...]) -> None:
        if kinds:
            self._announce(own.session, kinds)

    def _forget(self, instance: _Instance) -> None:
        if instance.timer is not None:
            instance.timer.cancel()
            instance.timer = None
