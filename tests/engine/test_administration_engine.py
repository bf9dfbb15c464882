"""A server in a container that is made, allowed, called and forbidden again over HTTP."""

from __future__ import annotations

from pathlib import Path

from containers import container_server
from docker_engine import Engine
from gateway_process import eventually, running_gateway
from operators import Administrator


def test_an_image_runs_from_when_it_is_allowed_over_http_until_it_is_not(engine: Engine, tmp_path: Path) -> None:
    server = {"name": "boxed", **container_server(engine, "good")}
    with running_gateway(tmp_path, {}, env=engine.env) as gateway:
        key = Administrator(gateway).command("keys", "create", "chief", "--scope", "admin").strip()
        admin = Administrator(gateway, key)
        refused = admin.send("POST", "servers", server)
        assert (refused.status_code, refused.json()["rule"]) == (422, "image-allowlist")
        admin.does("POST", "images", {"image": engine.image}, status=201)
        admin.does("POST", "servers", server, status=201)
        eventually(lambda: bool(admin.server("boxed")["listed"]), "its lists are known", 30)
        session = gateway.open_session()
        assert gateway.text(session, "boxed__echo", {"text": "from a container"}) == "from a container"
        told = admin.does("DELETE", f"images/{engine.image}")
        assert told["changes"]["servers"]["changed"] == ["boxed"] and "would not start" in told["warnings"][0]
        error = gateway.call(session, "boxed__echo", {"text": "no more"})["error"]
        assert (error["code"], error["data"]["rule"]) == (-31005, "image-allowlist")
        gateway.end_session(session)
        admin.does("DELETE", "servers/boxed")
        instance = admin.get("/api/status")["instance"]
        eventually(lambda: not engine.containers(f"metamcp.instance={instance}"), "its containers are gone", 20)
