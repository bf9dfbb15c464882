"""The composition root of the web tier. Imports neither Docker nor anything that owns a child."""

from __future__ import annotations

from flask import Flask

from metamcp.access.keyfile import KeyFile, path_in
from metamcp.config.settings import Settings
from metamcp.factory.tracing import build_traces
from metamcp.gateway.interface import Gateway
from metamcp.link.client import LinkClient
from metamcp.telemetry.edge import EDGE
from metamcp.web.application import create_app
from metamcp.web.doors import ToldDoors
from metamcp.web.state import WebState

_START_SECONDS = 5.0


def build_web(settings: Settings, gateway: Gateway | None = None) -> Flask:
    """The WSGI application; without ``gateway`` it is linked to the supervisor process."""
    EDGE.join()
    if gateway is None:
        link = LinkClient(settings.link)
        link.start()
        # At a start of the whole, the supervisor needs a moment; a worker that waits for it here refuses nobody.
        link.wait_connected(_START_SECONDS)
        gateway = link
    hosts = frozenset(settings.allowed_hosts)
    origins = frozenset(settings.allowed_origins) or hosts
    keys = KeyFile(path_in(settings.state_dir))
    traces = build_traces(settings, "web")
    return create_app(
        WebState(
            gateway, hosts, origins, keys, ToldDoors(gateway), settings.public_url,
            trusted_proxies=settings.trusted_proxies, rate_limit=settings.rate_limit, traces=traces,
        )
    )  # fmt: skip
