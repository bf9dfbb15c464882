"""Streams that break are resumed: through the same worker, another one, or one that was born since."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests
from gateway_process import GatewayProcess, eventually, process_server, running_gateway

STEPS = 8
PAUSE = 150  # milliseconds between two reports of progress
PROGRESS = {"name": "good__progress", "arguments": {"n": STEPS, "ms": PAUSE}, "_meta": {"progressToken": "p"}}


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[GatewayProcess]:
    with running_gateway(tmp_path, {"good": process_server("good")}, workers=2) as running:
        yield running


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


def begin(gateway: GatewayProcess, session: str, params: Any) -> requests.Response:
    body = {"jsonrpc": "2.0", "id": "long", "method": "tools/call", "params": params}
    url = f"{gateway.url}/metamcp/default/mcp"
    return requests.post(url, json=body, headers=headers(session), stream=True, timeout=20)


def resume(gateway: GatewayProcess, session: str, last: str) -> requests.Response:
    url = f"{gateway.url}/metamcp/default/mcp"
    return requests.get(url, headers=headers(session, **{"Last-Event-ID": last}), stream=True, timeout=20)


def steps(messages: list[dict[str, Any]]) -> list[int]:
    return [message["params"]["progress"] for message in messages if "params" in message]


def first_event(gateway: GatewayProcess, session: str) -> tuple[str, dict[str, Any]]:
    """Begin the call, see the priming event and one report, and hang up."""
    with closing(begin(gateway, session, PROGRESS)) as response:
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


def test_a_call_whose_stream_breaks_goes_on_and_nothing_comes_twice(gateway: GatewayProcess) -> None:
    session = gateway.open_session()
    last, seen = first_event(gateway, session)
    after = rest(gateway, session, last)
    messages = [seen, *(message for _, message in after)]
    assert steps(messages) == list(range(1, STEPS + 1))
    assert messages[-1]["id"] == "long" and "result" in messages[-1]
    prefix = last.rpartition(":")[0]
    assert [identifier for identifier, _ in after] == [f"{prefix}:{number}" for number in range(2, STEPS + 2)]


def test_a_stream_survives_the_death_of_every_web_worker(gateway: GatewayProcess) -> None:
    session = gateway.open_session()
    last, seen = first_event(gateway, session)
    before = set(gateway.worker_pids)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: len(set(gateway.worker_pids) - before) == 2, "new workers are up")
    gateway.wait_up()
    messages = [seen, *(message for _, message in rest(gateway, session, last))]
    assert steps(messages) == list(range(1, STEPS + 1)) and messages[-1]["id"] == "long"


def test_what_was_delivered_already_can_be_read_again_from_any_event(gateway: GatewayProcess) -> None:
    session = gateway.open_session()
    last, _ = first_event(gateway, session)
    first = rest(gateway, session, last)
    again = rest(gateway, session, first[-3][0])
    assert again == first[-2:]


def test_older_revisions_are_never_primed(gateway: GatewayProcess) -> None:
    session = gateway.open_session("2025-06-18")
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": PROGRESS}
    older = headers(session, **{"MCP-Protocol-Version": "2025-06-18"})
    url = f"{gateway.url}/metamcp/default/mcp"
    with closing(requests.post(url, json=body, headers=older, stream=True, timeout=20)) as response:
        found = list(events(response))
    assert all(data for _, _, data in found) and not any(retry for _, retry, _ in found)
    assert steps([json.loads(data) for _, _, data in found]) == list(range(1, STEPS + 1))
