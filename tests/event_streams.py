"""Calls whose answer is a stream of events: begun, broken off, and resumed behind the last event that was read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

import requests
from gateway_process import GatewayProcess

CALL_ID = "long"


def events(response: requests.Response) -> Iterator[tuple[str, str, str]]:
    """(id, retry, data) of each event as it comes."""
    fields = {"id": "", "retry": "", "data": ""}
    for line in response.iter_lines(chunk_size=1, decode_unicode=True):
        if line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            fields[name.rstrip(":")] = value
        elif not line and any(fields.values()):
            yield fields["id"], fields["retry"], fields["data"]
            fields = {"id": "", "retry": "", "data": ""}


def headers(session: str, **more: str) -> dict[str, str]:
    known = {"Mcp-Session-Id": session, "MCP-Protocol-Version": "2025-11-25"}
    return known | {"Accept": "application/json, text/event-stream"} | more


def reporting(tool: str, steps: int, milliseconds: int) -> dict[str, Any]:
    """Params of a call of the misbehaving server's ``progress`` that reports ``steps`` times."""
    return {"name": tool, "arguments": {"n": steps, "ms": milliseconds}, "_meta": {"progressToken": "p"}}


def begin(gateway: GatewayProcess, session: str, params: Mapping[str, Any]) -> requests.Response:
    body = {"jsonrpc": "2.0", "id": CALL_ID, "method": "tools/call", "params": params}
    url = f"{gateway.url}/metamcp/default/mcp"
    return requests.post(url, json=body, headers=headers(session), stream=True, timeout=20)


def resume(gateway: GatewayProcess, session: str, last: str) -> requests.Response:
    url = f"{gateway.url}/metamcp/default/mcp"
    return requests.get(url, headers=headers(session, **{"Last-Event-ID": last}), stream=True, timeout=20)


def steps(messages: list[dict[str, Any]]) -> list[int]:
    """The progress of each report."""
    return [message["params"]["progress"] for message in messages if "params" in message]


def first_event(gateway: GatewayProcess, session: str, params: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Begin the call, see the priming event and one report, and hang up."""
    with closing(begin(gateway, session, params)) as response:
        stream = events(response)
        primed, retry, data = next(stream)
        assert primed.endswith(":0") and retry.isdigit() and data == ""
        identifier, _, report = next(stream)
        assert identifier == primed.removesuffix("0") + "1"
        return identifier, json.loads(report)


def rest(gateway: GatewayProcess, session: str, last: str) -> list[tuple[str, dict[str, Any]]]:
    """Everything behind ``last``, until the stream ends."""
    with closing(resume(gateway, session, last)) as response:
        assert response.status_code == 200
        return [(identifier, json.loads(data)) for identifier, _, data in events(response) if data]
