"""`make run` with an engine; without a registry the demo image is made from this machine's own Python."""

from __future__ import annotations

from pathlib import Path

from docker_engine import Engine
from make_run import make_run


def test_shipped_configuration_serves_all_three_servers(engine: Engine, tmp_path: Path) -> None:
    with make_run(tmp_path, engine.env) as gateway:
        gateway.wait_ready(60)
        session = gateway.open_session()
        assert "T" in gateway.text(session, "clock__now")
        assert gateway.text(session, "notes__add", {"text": "buy milk"})
        assert "buy milk" in gateway.text(session, "notes__list")
        assert "Ada" in gateway.text(session, "hello__greet", {"name": "Ada"})
        assert len(engine.containers(f"metamcp.instance={gateway.status()['instance']}")) >= 2
