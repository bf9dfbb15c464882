"""An image that is taken off the allowlist while its container works."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from docker_engine import Engine
from gateway_process import GatewayProcess, eventually, running_gateway, write_config


def container_server(image: str, *options: str) -> dict[str, Any]:
    return {"command": "docker", "args": ["run", "-i", image, "/misbehaving.py", "good", *options], "network": "none"}


def containers_of(engine: Engine, gateway: GatewayProcess, server: str) -> list[str]:
    instance = gateway.status()["instance"]
    mine = engine.containers(f"metamcp.instance={instance}")
    return [container for container in mine if container in engine.containers(f"metamcp.server={server}")]


def test_image_off_the_allowlist_ends_its_container_after_its_call_and_others_go_on(
    engine: Engine, tmp_path: Path
) -> None:
    other = "metamcp-other:reload"
    engine.docker("tag", engine.image, other)
    servers = {"off": container_server(other), "on": container_server(engine.image)}
    try:
        with running_gateway(tmp_path, servers, images=[engine.image, other], env=engine.env) as gateway:
            session = gateway.open_session()
            gateway.text(session, "off__whoami")
            who = gateway.text(session, "on__whoami")
            answers: list[str] = []
            caller = threading.Thread(
                target=lambda: answers.append(gateway.text(session, "off__sleep", {"ms": 5000}, id="long"))
            )
            caller.start()
            eventually(lambda: any(it["state"] == "BUSY" for it in gateway.status()["children"]), "the call runs")
            write_config(tmp_path, servers, [engine.image])
            eventually(lambda: "servers_changed=off" in gateway.log, "the new allowlist is in force", 20)
            refused = gateway.call(session, "off__whoami")["error"]
            assert (refused["code"], refused["data"]["rule"]) == (-31005, "image-allowlist")
            assert gateway.text(session, "on__whoami") == who
            caller.join(30)
            assert len(answers) == 1
            eventually(lambda: containers_of(engine, gateway, "off") == [], "its container is gone", 20)
            assert gateway.text(session, "on__whoami") == who
            policy = gateway.get("/docker-test/info", timeout=30).json()["policy"]
            assert [rule["pattern"] for rule in policy["images"]] == [engine.image]
            write_config(tmp_path, servers, [engine.image, other])
            eventually(lambda: gateway.log.count("servers_changed=off") == 2, "it is allowed again", 20)
            assert gateway.text(session, "off__echo", {"text": "again"}) == "again"
    finally:
        engine.docker("rmi", other)
