"""Streams that break are resumed: through the same worker, another one, or one that was born since."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import requests
from event_streams import events, first_event, headers, reporting, rest, steps
from gateway_process import GatewayProcess, eventually, process_server, running_gateway

STEPS = 8
PROGRESS = reporting("good__progress", STEPS, 150)


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[GatewayProcess]:
    with running_gateway(tmp_path, {"good": process_server("good")}, workers=2) as running:
        yield running


def test_a_call_whose_stream_breaks_goes_on_and_nothing_comes_twice(gateway: GatewayProcess) -> None:
    session = gateway.open_session()
    last, seen = first_event(gateway, session, PROGRESS)
    after = rest(gateway, session, last)
    messages = [seen, *(message for _, message in after)]
    assert steps(messages) == list(range(1, STEPS + 1))
    assert messages[-1]["id"] == "long" and "result" in messages[-1]
    prefix = last.rpartition(":")[0]
    assert [identifier for identifier, _ in after] == [f"{prefix}:{number}" for number in range(2, STEPS + 2)]


def test_a_stream_survives_the_death_of_every_web_worker(gateway: GatewayProcess) -> None:
    session = gateway.open_session()
    last, seen = first_event(gateway, session, PROGRESS)
    before = set(gateway.worker_pids)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: len(set(gateway.worker_pids) - before) == 2, "new workers are up")
    gateway.wait_up()
    messages = [seen, *(message for _, message in rest(gateway, session, last))]
    assert steps(messages) == list(range(1, STEPS + 1)) and messages[-1]["id"] == "long"


def test_what_was_delivered_already_can_be_read_again_from_any_event(gateway: GatewayProcess) -> None:
    session = gateway.open_session()
    last, _ = first_event(gateway, session, PROGRESS)
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
