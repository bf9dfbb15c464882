"""How the console enters an endpoint for an operator: as a client of it, with all that the gateway does for clients."""

from __future__ import annotations

import copy

from metamcp.access.policy import Door
from metamcp.access.principal import ANONYMOUS
from metamcp.errors import EndpointUnknown, RequestRefused
from metamcp.web.incoming import Incoming
from metamcp.web.present import incoming


def may(name: str) -> bool:
    """An endpoint for tokens of its issuer is closed to the console, which has none. Raises EndpointUnknown."""
    return _door(name).auth != "oauth"


def as_client(asked: Incoming, name: str) -> Incoming:
    """The same request as the endpoint ``name`` sees it: of nobody in particular, or, where keys are asked for, of the
    name of the operator's. Raises EndpointUnknown, RequestRefused."""
    if not may(name):
        raise RequestRefused("this endpoint takes tokens of its issuer alone: use a client that gets one")
    seen = copy.copy(asked)
    seen.endpoint = name
    if _door(name).auth == "none":
        seen.principal = ANONYMOUS
    return seen


def _door(name: str) -> Door:
    door = incoming().state.doors.policy().endpoints.get(name)
    if door is None:
        raise EndpointUnknown(f"there is no endpoint {name!r} (any more)")
    return door
