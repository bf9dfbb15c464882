"""An engine behind a proxy that cuts silent connections: what dies of it says so, and the gateway notices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from containers import container_server
from diagnosis import checked, failing
from gateway_process import eventually, running_gateway
from tcp_proxy import cutting_proxy

from metamcp.runtime.engine import Engine
from metamcp.runtime.labels import Identity

pytestmark = pytest.mark.engine

ME = Identity("test-cuts", "now")
SILENCE = 5.5
"""Seconds; what ends sooner is not taken for cut."""


@pytest.mark.parametrize(("held", "failed"), [(4.0, {"engine-silence"}), (1.0, set[str]())])
def test_doctor_finds_out_whether_silence_survives(engine: Any, held: float, failed: set[str]) -> None:
    with cutting_proxy(engine.host, 3.0) as proxy, Engine(proxy.host) as client:
        found = checked(client, ME, "", "engine-silence", silence=held)
    assert failing(found) == failed
    assert found["socket"].status == "skip"
    assert bool(proxy.cut) is bool(failed)
    if failed:
        assert "cut before 4 s" in found["engine-silence"].detail
        assert "timeout client and timeout server" in found["engine-silence"].hint


def test_a_server_that_dies_of_it_and_the_gateway_say_so(engine: Any, tmp_path: Path) -> None:
    servers = {"idle": container_server(engine, "good", network="none")}
    with cutting_proxy(engine.host, 600.0) as proxy:
        env = {"DOCKER_HOST": proxy.host}
        with running_gateway(tmp_path, servers, images=["metamcp-test:*"], env=env) as gateway:
            session = gateway.open_session()
            assert gateway.text(session, "idle__echo", {"text": "it runs"})
            proxy.silence = SILENCE
            error = gateway.call(session, "idle__sleep", {"ms": 60_000})["error"]
            eventually(lambda: "engine-connections-cut" in gateway.log, "two streams of events were cut", 60)
            gateway.end_session(session)
    assert error["code"] == -31004
    assert "was cut, while the engine still answers" in error["message"]
    assert "raise its time-outs" in error["message"] and "timeout server" in error["data"]["advice"]
