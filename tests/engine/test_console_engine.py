"""The console in a real browser, at servers that are containers."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from browser import Browser, browser
from containers import container_server
from docker_engine import Engine
from gateway_process import GatewayProcess, eventually, running_gateway
from operators import IN_TIME

ROW = '#servers [data-key="good"]'


@pytest.fixture(scope="module")
def gateway(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    servers = {"good": container_server(engine, "good", isolation="shared", idleSeconds=600)}
    env = {**engine.env, "METAMCP_TEST_IMAGE": engine.image}
    with running_gateway(tmp_path_factory.mktemp("console"), servers, images=[engine.image], env=env) as running:
        yield running


@pytest.fixture(scope="module")
def window(gateway: GatewayProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("browser")) as opened:
        opened.site = gateway.url
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
