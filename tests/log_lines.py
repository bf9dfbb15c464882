"""The log of a gateway that writes JSON, as a person reads it with nothing else at hand."""

from __future__ import annotations

import json
from typing import Any

JSON_LOG = {"METAMCP_LOG_FORMAT": "json"}


def lines(log: str, server: str = "") -> list[dict[str, Any]]:
    """Events in their order; only those about ``server``, where it is given."""
    found = [json.loads(line) for line in log.splitlines() if line.startswith('{"time"')]
    return [line for line in found if not server or line.get("server") == server]


def of(log: str, server: str, event: str) -> dict[str, Any]:
    """The first ``event`` about ``server``."""
    found = [line for line in lines(log, server) if line["event"] == event]
    assert found, f"no {event} of {server!r} in\n{log}"
    return found[0]
