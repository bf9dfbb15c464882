"""What an idle container costs the gateway, with a docker process for each and without."""

from __future__ import annotations

from pathlib import Path

import census
from docker_engine import Engine
from gateway_process import GatewayProcess, eventually, running_gateway

CONTAINERS = 4


def held(gateway: GatewayProcess) -> float:
    """MiB of the supervisor and of every process that it has started."""
    supervisor = gateway.supervisor_pid
    return sum(census.proportional(pid) for pid in (supervisor, *census.descendants(supervisor)))


def per_container(engine: Engine, runtime: str, folder: Path) -> float:
    """MiB that each further idle container adds; the first one has loaded what is loaded once."""
    args = ["run", "-i", engine.image, "/misbehaving.py", "good"]
    servers = {"good": {"command": "docker", "args": args, "network": "none", "isolation": "session"}}
    env = {**engine.env, "METAMCP_RUNTIME": runtime}
    with running_gateway(folder, servers, images=[engine.image], env=env) as gateway:
        sessions = [gateway.open_session() for _ in range(CONTAINERS + 1)]
        assert gateway.text(sessions[0], "good__echo", {"text": "x"}, timeout=60) == "x"
        eventually(lambda: len(gateway.status()["children"]) == 1, "the catalog's own container is gone", 40)
        before = held(gateway)
        for session in sessions[1:]:
            assert gateway.text(session, "good__echo", {"text": "x"}, timeout=60) == "x"
        assert [child["state"] for child in gateway.status()["children"]] == ["READY"] * (CONTAINERS + 1)
        cost = (held(gateway) - before) / CONTAINERS
        for session in sessions:
            gateway.end_session(session)
        eventually(lambda: not gateway.status()["children"], "no container is left", 60)
        return cost


def test_an_idle_container_costs_less_without_a_process_of_its_own(engine: Engine, tmp_path: Path) -> None:
    costs = {}
    for runtime in ("docker-cli", "docker-api"):
        (tmp_path / runtime).mkdir()
        costs[runtime] = per_container(engine, runtime, tmp_path / runtime)
    print("MiB for each idle container:", ", ".join(f"{name} {cost:.2f}" for name, cost in costs.items()))
    assert costs["docker-api"] < costs["docker-cli"] / 4
