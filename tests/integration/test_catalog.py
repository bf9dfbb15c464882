"""What servers have, over restarts: real gunicorn, real supervisor, plain processes as servers."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from gateway_process import MISBEHAVING, GatewayProcess, eventually, process_server, running_gateway

GOOD = "import sys; sys.path.insert(0, {folder!r}); import misbehaving as m\n{more}m.MODES['good']().run()\n"
MORE = "m.TOOLS['more'] = m.TOOLS['echo']\n"
BROKEN = "import sys; sys.exit('the disk is full')\n"
HANGING = "import time; time.sleep(60)\n"
ENGINE_GONE = {"DOCKER_HOST": "unix:///nowhere/docker.sock"}


class Changing:
    """A server whose program can be exchanged without any change of the configuration."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "server.py"
        self.configured: dict[str, Any] = {
            "s": {"command": sys.executable, "args": ["-I", "-S", str(self.path)], "era": "legacy"}
        }

    def becomes(self, program: str, more: str = "") -> None:
        self.path.write_text(program.format(folder=str(Path(MISBEHAVING).parent), more=more))


def tools(gateway: GatewayProcess, session: str) -> set[str]:
    listed = gateway.rpc("tools/list", session=session).json()["result"]["tools"]
    return {tool["name"] for tool in listed}


def server(gateway: GatewayProcess, name: str = "s") -> dict[str, Any]:
    return next(item for item in gateway.status()["servers"] if item["name"] == name)


def kept(folder: Path) -> list[str]:
    """Names of the servers in the file of the state directory."""
    path = folder / "var" / "catalog.jsonl"
    return [json.loads(line)["server"] for line in path.read_text().splitlines()] if path.exists() else []


def test_lists_are_served_after_a_restart_before_any_server_has_answered(tmp_path: Path) -> None:
    changing = Changing(tmp_path)
    changing.becomes(GOOD)
    with running_gateway(tmp_path, changing.configured) as gateway:
        first = tools(gateway, gateway.open_session())
        eventually(lambda: kept(tmp_path) == ["s"], "it is on disk")
    changing.becomes(HANGING)
    with running_gateway(tmp_path, changing.configured) as gateway:
        assert tools(gateway, gateway.open_session()) == first and "s__echo" in first
        assert server(gateway)["listed"] is not None


def test_a_server_that_breaks_is_served_as_known_with_its_reason_shown_until_it_is_well_again(tmp_path: Path) -> None:
    changing = Changing(tmp_path)
    changing.becomes(GOOD)
    with running_gateway(tmp_path, changing.configured):
        pass
    assert kept(tmp_path) == ["s"]
    changing.becomes(BROKEN)
    with running_gateway(tmp_path, changing.configured) as gateway:
        session = gateway.open_session()
        eventually(lambda: "disk is full" in server(gateway)["reason"], "the reason is shown")
        assert server(gateway)["state"] == "BACKOFF"
        assert gateway.get("/ready").status_code == 200
        assert "s__echo" in tools(gateway, session) and "catalog-failed" in gateway.log
        stream = gateway.http.get(
            f"{gateway.url}/metamcp/default/mcp", stream=True, timeout=60,
            headers={"Accept": "text/event-stream", "Mcp-Session-Id": session},
        )  # fmt: skip
        changing.becomes(GOOD, MORE)
        heard = next(line for line in stream.iter_lines() if b"list_changed" in line)
        stream.close()
        assert b"notifications/tools/list_changed" in heard
        assert {"s__echo", "s__more"} <= tools(gateway, session)
        assert server(gateway)["reason"] == ""


def test_a_broken_memory_costs_only_the_memory(tmp_path: Path) -> None:
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "catalog.jsonl").write_bytes(b'{"server":"s"}\n\xff\x00{')
    with running_gateway(tmp_path, {"s": process_server("good")}) as gateway:
        assert "s__echo" in tools(gateway, gateway.open_session())
        assert "catalog-not-recalled" in gateway.log
    assert kept(tmp_path) == ["s"]


def test_servers_that_are_not_configured_any_more_are_forgotten(tmp_path: Path) -> None:
    both = {"s": process_server("good"), "t": process_server("good")}
    with running_gateway(tmp_path, both):
        pass
    assert sorted(kept(tmp_path)) == ["s", "t"]
    with running_gateway(tmp_path, {"t": process_server("good")}):
        eventually(lambda: kept(tmp_path) == ["t"], "s is forgotten")


def test_without_an_engine_containers_are_unavailable_with_a_reason_and_the_others_serve(tmp_path: Path) -> None:
    container = {"command": "docker", "args": ["run", "-i", "an-image:1"], "era": "legacy"}
    servers = {"inside": container, "s": process_server("good")}
    with running_gateway(tmp_path, servers, images=["an-image:1"], env=ENGINE_GONE, ready=False) as gateway:
        assert "s__echo" in tools(gateway, gateway.open_session())
        eventually(lambda: server(gateway, "inside")["reason"] != "", "the reason is shown")
        answer = gateway.get("/ready")
        assert answer.status_code == 503 and list(answer.json()["reasons"]) == ["server inside"]
        assert server(gateway, "inside")["state"] == "BACKOFF" and server(gateway, "inside")["digest"] is None
