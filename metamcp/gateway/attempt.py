"""One attempt to ask a server what it has: its era, an instance, its lists."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from metamcp.config.model import ServerSpec
from metamcp.errors import MetaMCPError
from metamcp.gateway.listings import Entry
from metamcp.gateway.reading import Reading
from metamcp.upstream.connection import Listener, UpstreamConnection
from metamcp.upstream.era import Eras
from metamcp.upstream.opening import handshake, own_hello, stateless
from metamcp.upstream.pool import UpstreamPool
from metamcp.upstream.roster import CATALOG, isolation_of, shared_key

_ROUNDS = 3  # readings in a row of a server whose lists change while they are read


@dataclass(frozen=True, slots=True)
class Way:
    """How to ask. ``fresh``: not an instance that is there already. ``anew``: its era, too. ``source()``: an instance
    that said that its lists changed. ``once_more()``: its lists changed while they were read."""

    fresh: bool
    anew: bool
    source: Callable[[], UpstreamConnection | None]
    once_more: Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Attempt:
    """``over`` is called once, perhaps before ``begin`` returns."""

    pool: UpstreamPool
    eras: Eras
    listener: Listener
    spec: ServerSpec
    way: Way
    over: Callable[[Entry | MetaMCPError], None]

    def begin(self) -> None:
        self.eras.find(self.spec, self._found, self.way.anew)

    def _found(self, error: MetaMCPError | None) -> None:
        if error is not None:
            self.over(error)
        else:
            self._lease()

    def _lease(self) -> None:
        source = self.way.source()
        if source is not None and source.alive and not self.way.fresh:
            self._read(source, _ROUNDS)
            return
        era = self.eras.preferred(self.spec)
        shared = isolation_of(self.spec, era) == "shared" and not self.way.fresh
        opening = stateless() if era == "modern" else handshake(own_hello())
        try:
            connection = self.pool.lease(self.spec, shared_key(era) if shared else CATALOG, opening, self.listener)
        except MetaMCPError as error:
            self.over(error)
            return
        self._read(connection, _ROUNDS)

    def _read(self, connection: UpstreamConnection, rounds: int) -> None:
        def over(outcome: Entry | MetaMCPError) -> None:
            if isinstance(outcome, Entry) and rounds > 1 and connection.alive and self.way.once_more():
                # The same instance again: many servers say "list changed" whenever they start, so asking a new
                # one each time would never come to an end.
                self._read(connection, rounds - 1)
                return
            if connection.key == CATALOG:
                connection.close("the catalog was read")
            if isinstance(outcome, Entry):
                self.eras.confirm(self.spec, connection.era)
                self.over(outcome)
            elif self.eras.objected(self.spec, connection.objection):
                self._lease()
            else:
                self.over(outcome)

        Reading(connection, over).begin()
