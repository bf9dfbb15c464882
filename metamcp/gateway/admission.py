"""What each endpoint asks of those who enter, told to every web worker: at once, and whenever it is something else.

A worker that was told nothing admits nobody, and what it hears on its link comes in order: whatever is answered after
a reload was judged by what the reload said, or is refused here (``Namespaces.enter``).
"""

from __future__ import annotations

from metamcp.access import policy
from metamcp.access.policy import Policy, Trust
from metamcp.concurrency.reactor import Reactor
from metamcp.concurrency.tasks import Workers
from metamcp.config.live import Live
from metamcp.gateway.interface import Ask, Reply
from metamcp.gateway.issuers import Fetch, Issuers
from metamcp.gateway.operators import answer


class Admission:
    """Owned by the reactor's thread. ``fetch`` runs on ``workers``, which should have nothing else to do."""

    def __init__(self, reactor: Reactor, workers: Workers, live: Live, fetch: Fetch) -> None:
        self._live = live
        self._issuers = Issuers(reactor, workers, fetch, self._tell)
        self._watching: set[Reply] = set()
        self._told = b""

    def watch(self, reply: Reply, _ask: Ask | None = None) -> None:
        """For ``Ask("access")``: an EVENT now and with each change, until it is closed."""
        self._watching.add(reply)
        reply.on_closed = lambda: self._watching.discard(reply)
        reply.event(self._document())

    def renew(self, reply: Reply, ask: Ask) -> None:
        """For ``Ask("issuer-keys")``: answered when whoever watches has been told what there is."""
        self._issuers.renew(ask.argument, lambda: answer(reply, (200, {})))

    def follow(self) -> None:
        """The configuration in force is another one, or the first one."""
        trusts: dict[str, Trust] = {}
        for door in policy.doors(self._live.config).values():
            if door.trust is not None:
                trusts[door.trust.source] = door.trust
        self._issuers.follow(trusts)
        self._tell()

    def _tell(self) -> None:
        document = self._document()
        if document == self._told:
            return
        self._told = document
        for reply in tuple(self._watching):
            reply.event(document)

    def _document(self) -> bytes:
        return policy.encode(Policy(policy.doors(self._live.config), self._issuers.jwks))
