"""`make run` on a machine without a Docker engine."""

from __future__ import annotations

from pathlib import Path

from gateway_process import eventually
from make_run import make_run


def test_without_an_engine_hello_serves_and_the_others_say_why_not(tmp_path: Path) -> None:
    with make_run(tmp_path, {"DOCKER_HOST": "unix:///nonexistent/docker.sock"}) as gateway:
        session = gateway.open_session()
        assert "Ada" in gateway.text(session, "hello__greet", {"name": "Ada"})
        eventually(lambda: len(gateway.get("/ready").json()["reasons"]) == 2, "both docker servers are named")
        reasons = gateway.get("/ready").json()["reasons"]
        assert set(reasons) == {"server clock", "server notes"}
        assert all("daemon" in reason for reason in reasons.values())
        assert gateway.get("/docker-test/check").json()["hint"]
