"""All peers by name."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from bench.peers.own import own_peers
from bench.peers.peer import DIRECT, RIVAL, Peer, Place
from bench.peers.rivals import rival_peers
from bench.server.image import SERVER

_NOTHING_BETWEEN = ("idle", "sessions", "large", "steady", "lifecycle")


def _image(place: Place) -> str:
    return place.image


def _cli(place: Place) -> str:
    return shlex.join(place.docker_run())


def _process(_: Place) -> str:
    return f"python3 -I -S {SERVER}"


def _direct() -> list[Peer]:
    """The ways without a gateway: what any gateway adds to."""
    return [
        Peer("direct-stdio", DIRECT, "stdio", _process, without=_NOTHING_BETWEEN),
        Peer("direct-cli", DIRECT, "stdio", _cli, without=_NOTHING_BETWEEN),
        Peer("direct-api", DIRECT, "docker", _image, without=_NOTHING_BETWEEN),
        Peer("direct-api-shared", DIRECT, "docker-shared", _image, without=_NOTHING_BETWEEN),
    ]


PEERS: dict[str, Peer] = {peer.name: peer for peer in (*_direct(), *own_peers(), *rival_peers())}


def chosen(names: Sequence[str], rivals: bool) -> list[Peer]:
    """Those with the names, else the usual ones. A name that ends with ``*`` stands for all that begin so.

    Raises ValueError for one that means nobody.
    """
    if not names:
        return [peer for peer in PEERS.values() if peer.default and (rivals or peer.kind != RIVAL)]
    found: dict[str, Peer] = {}
    for name in names:
        matching = {key: peer for key, peer in PEERS.items() if key == name or _begins(key, name)}
        if not matching:
            raise ValueError(f"no peer is called {name!r}; there are {', '.join(PEERS)}")
        found |= matching
    return list(found.values())


def _begins(key: str, pattern: str) -> bool:
    return pattern.endswith("*") and key.startswith(pattern[:-1])
