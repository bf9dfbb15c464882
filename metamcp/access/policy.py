"""What each endpoint asks of those who enter: what the supervisor tells the web tier of its configuration, no more.

It crosses the link as JSON; there is no secret in it, no server and no image, but the names of headers that servers
want to have.
"""

from __future__ import annotations

import msgspec

from metamcp.config.model import Auth, GatewayConfig, OAuthSpec


class Trust(msgspec.Struct, frozen=True):
    """Whose tokens, for whom, with what. ``source`` is where the issuer's keys are from: the URL of its JWK set, or
    its own, where that is discovered. Without ``audiences`` it is the URL of the resource that is asked for."""

    issuer: str
    source: str
    audiences: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()


class Door(msgspec.Struct, frozen=True):
    """``trust`` is there for ``oauth`` alone. ``rate_limit`` is for all who enter together, as in ``config.rates``.
    ``passes``: headers that go on to servers, in lower case."""

    auth: Auth
    trust: Trust | None = None
    rate_limit: str = ""
    passes: tuple[str, ...] = ()


class Policy(msgspec.Struct, frozen=True):
    """``jwks``: the keys of each source as they were fetched last; a source that could not be asked is missing."""

    endpoints: dict[str, Door]
    jwks: dict[str, list[dict[str, object]]] = {}


_decoder = msgspec.json.Decoder(Policy)


def doors(config: GatewayConfig) -> dict[str, Door]:
    return {
        name: Door(spec.auth, _trust(spec.oauth), spec.rate_limit, _passes(config, spec.namespace))
        for name, spec in config.endpoints.items()
    }


def encode(policy: Policy) -> bytes:
    return msgspec.json.encode(policy)


def decode(data: bytes) -> Policy:
    """Raises msgspec.DecodeError."""
    return _decoder.decode(data)


def _passes(config: GatewayConfig, namespace: str) -> tuple[str, ...]:
    servers = (config.servers[name] for name in config.namespaces[namespace].servers)
    return tuple(sorted({header.lower() for spec in servers for header in spec.pass_headers}))


def _trust(spec: OAuthSpec | None) -> Trust | None:
    return Trust(spec.issuer, spec.jwks_url or spec.issuer, spec.audiences, spec.scopes) if spec else None
