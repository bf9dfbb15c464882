from __future__ import annotations

from fake_core import Core
from fake_upstream import ScriptedServer, tool
from wiring import Got

from metamcp.config.model import ServerSpec
from metamcp.gateway.endpoints import Endpoints
from metamcp.gateway.interface import Ask

SERVERS = {"git": ServerSpec("git", era="legacy"), "off": ServerSpec("off", enabled=False)}


def endpoints() -> Endpoints:
    core = Core(SERVERS, ScriptedServer({"tools/list": [[tool("run", title="<b>Run</b>")]]}))
    return Endpoints(core.live, core.namespaces)


def test_endpoints_are_listed_with_the_kind_of_what_they_ask_for() -> None:
    got = Got()
    endpoints().list(got.reply, Ask("endpoints"))
    both = ["streamable-http", "sse"]
    expected = {"name": "dev", "namespace": "all", "transports": both, "auth": "none", "discovery": "list"}
    assert got.answer == [expected]


def test_the_catalog_is_what_a_client_gets_and_what_is_missing() -> None:
    got = Got()
    endpoints().catalog(got.reply, Ask("catalog", "dev"))
    assert list(got.answer) == ["tools", "prompts", "resources", "resourceTemplates", "problems"]
    (listed,) = got.answer["tools"]
    assert (listed["name"], listed["title"]) == ("git__run", "<b>Run</b>")
    (problem,) = got.answer["problems"]
    assert "'off' is missing: " in problem and "disabled" in problem


def test_an_endpoint_that_there_is_not_is_404() -> None:
    got = Got()
    endpoints().catalog(got.reply, Ask("catalog", "prod"))
    assert got.final.status == 404 and "configured: dev" in got.answer["error"]
