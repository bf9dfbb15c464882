"""The console in a real browser, at servers that are containers."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator

import httpx2
import pytest
from browser import Browser, browser
from containers import container_server
from docker_engine import Engine
from gateway_process import GatewayProcess, eventually, running_gateway
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client
from operators import IN_TIME, keys
from selenium.webdriver import Keys

OTHER = "registry.example.com/other:1"
ROW = '#servers [data-key="good"]'


@pytest.fixture(scope="module")
def gateway(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    servers = {"good": container_server(engine, "good", isolation="shared", idleSeconds=600)}
    env = {**engine.env, "METAMCP_TEST_IMAGE": engine.image}
    with running_gateway(tmp_path_factory.mktemp("console"), servers, images=[engine.image], env=env) as running:
        yield running


@pytest.fixture(scope="module")
def window(gateway: GatewayProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("browser"), gateway.url) as opened:
        yield opened


@IN_TIME
def test_a_tool_in_a_container_is_called_and_the_death_of_the_container_is_seen(
    engine: Engine, gateway: GatewayProcess, window: Browser
) -> None:
    eventually(lambda: gateway.status()["servers"][0]["state"] != "BACKOFF", "it can be started", 30)
    window.open("/console/endpoints/default/tools/good__whoami")
    window.find("form.try button.main").click()
    window.wait(lambda: "The tool answered." in window.text("#result"), "there is a result", 30)
    host = window.text("#result pre").partition(":")[0]
    window.open("/")
    window.wait(lambda: window.text("#connection") == "live", "the stream of events is open")
    window.wait(lambda: "READY" in window.text(ROW), "it runs")
    assert engine.image in str(window.find(f"{ROW} .facts").get_attribute("textContent"))
    assert "--memory" in str(window.find(f"{ROW} .command").get_attribute("textContent"))
    (container,) = (child["containerId"] for child in gateway.status()["children"])
    assert container.startswith(host)
    engine.docker("kill", container)
    died = time.monotonic()
    window.wait(lambda: "SIGKILL" in window.text(f"{ROW} .exit summary"), "the page says of what it died", 2)
    assert time.monotonic() - died < 2
    assert window.errors() == []
    eventually(lambda: not gateway.status()["children"], "nothing is left of it")


def test_every_check_is_shown_with_what_to_do(window: Browser) -> None:
    window.open("/console/diagnostics")
    window.find("form button.main").click()
    window.wait(lambda: len(window.all(".checks li")) > 10, "the report is there", 90)
    for check in window.all('.checks li[data-state="fail"]'):
        assert check.find_elements("css selector", ".advice"), check.text
    assert window.errors() == []


def test_a_server_in_a_container_is_added_and_called_and_another_image_is_refused_with_its_rule(
    engine: Engine, gateway: GatewayProcess, window: Browser
) -> None:
    window.open("/console/configuration")
    key = keys(gateway, "create", "operator", "--scope", "admin", "--scope", "team")
    window.open("/console/configuration/servers")
    window.press(key, Keys.ENTER)
    window.wait(lambda: bool(window.all("#edit-fields .field")), "signed in, and the form is there")
    spec = container_server(engine, "good")
    write(window, name="added", command=spec["command"], args=json.dumps(spec["args"]).replace(engine.image, OTHER))
    assert "rule image-allowlist" in preview(window) and OTHER in window.text("#plan")
    assert any("status of 422" in message for message in window.errors())
    write(window, args=json.dumps(spec["args"]))
    assert "servers: added is added" in preview(window)
    apply(window)
    for kind, fields in (
        ("namespaces", {"name": "team", "servers": '["added"]'}),
        ("endpoints", {"name": "team", "namespace": "team", "auth": "api-key"}),
    ):
        window.open(f"/console/configuration/{kind}")
        window.wait(lambda: bool(window.all("#edit-fields .field")), "the form is there")
        write(window, **fields)
        assert f"{kind}: team is added" in preview(window)
        apply(window)
    assert "from a container" in asyncio.run(called(gateway, key))
    assert window.errors() == []


async def called(gateway: GatewayProcess, key: str) -> str:
    """By the client of the SDK."""
    async with (
        httpx2.AsyncClient(headers={"X-API-Key": key}, timeout=60) as http,
        streamable_http_client(f"{gateway.url}/metamcp/team/mcp", http_client=http) as (read, send, *_),
        ClientSession(read, send) as session,
    ):
        await session.initialize()
        result = await session.call_tool("added__echo", {"text": "from a container"})
        return str(result.content[0].text)  # type: ignore[union-attr]


def write(window: Browser, **fields: str) -> None:
    for key, text in fields.items():
        field = window.find(f'#edit [name="argument:{key}"]')
        if field.tag_name != "select":
            field.clear()
        field.send_keys(text)


def preview(window: Browser) -> str:
    window.find("#edit button.main").click()
    window.wait(lambda: window.look("document.activeElement.id") == "plan-title", "there is an answer")
    return window.text("#plan")


def apply(window: Browser) -> None:
    window.find("#apply").click()
    window.wait(lambda: "Done" in window.text("#plan-title"), "it is done")
