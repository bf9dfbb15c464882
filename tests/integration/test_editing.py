"""The configuration and the keys changed in a real browser, at a real gateway."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from browser import Browser, browser, undisturbed
from gateway_process import MISBEHAVING, GatewayProcess, eventually, process_server, running_gateway
from operators import audited, keys
from selenium.webdriver import Keys

CONFIGURATION = "/console/configuration"
IMAGE = "ghcr.io/example/*"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    servers = {"good": process_server("good", env={"A_TOKEN": "canary-in-clear"})}
    namespaces = {"default": {"servers": ["good"]}}
    folder = tmp_path_factory.mktemp("editing")
    more: dict[str, Any] = {"namespaces": namespaces, "endpoints": {"default": {"namespace": "default"}}}
    with running_gateway(folder, servers, images=[IMAGE], **more) as running:
        yield running


@pytest.fixture(scope="module")
def window(gateway: GatewayProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Nobody has signed in at first: the first test makes the first key."""
    with browser(tmp_path_factory.mktemp("browser"), gateway.url) as opened:
        yield opened


@pytest.fixture(scope="module")
def operator(gateway: GatewayProcess, window: Browser) -> None:
    key = keys(gateway, "create", "operator", "--scope", "admin")
    window.open(CONFIGURATION)
    window.press(key, Keys.ENTER)
    window.wait(lambda: window.text("h1") == "Configuration", "signed in")


@pytest.fixture(autouse=True)
def no_page_complains_or_is_taken_over(window: Browser) -> Iterator[None]:
    with undisturbed(window):
        yield


def edited(window: Browser, path: str) -> None:
    """A form is there, with what stands in the file."""
    window.open(f"{CONFIGURATION}/{path}")
    window.wait(lambda: bool(window.all("#edit-fields .field")), "the form is there")


def write(window: Browser, key: str, text: str) -> None:
    field = window.find(f'#edit [name="argument:{key}"]')
    if field.tag_name != "select":
        field.clear()
    field.send_keys(text)


def preview(window: Browser) -> str:
    """What would come of it; or why nothing would."""
    window.find("#edit button.main").click()
    return planned(window)


def planned(window: Browser) -> str:
    window.wait(lambda: window.look("document.activeElement.id") == "plan-title", "there is an answer, with the focus")
    return window.text("#plan")


def apply(window: Browser) -> None:
    window.find("#apply").click()
    window.wait(lambda: "Done" in window.text("#plan-title"), "it is done")


def refused(window: Browser, status: int) -> None:
    """The browser notes what was refused on purpose."""
    assert any(f"status of {status}" in message for message in window.errors())


def document(gateway: GatewayProcess, file: str = "servers.json") -> Any:
    return json.loads((gateway.folder / "config" / file).read_text())


def test_without_any_key_nothing_is_changed_and_it_says_what_to_do(gateway: GatewayProcess, window: Browser) -> None:
    before = document(gateway)
    edited(window, "servers/good")
    assert "keys create" in preview(window)
    refused(window, 403)
    assert document(gateway) == before


@pytest.mark.usefixtures("operator")
class TestAsOperator:
    def test_everything_that_is_configured_is_listed(self, window: Browser) -> None:
        window.open(CONFIGURATION)
        window.wait(lambda: "operator" in window.text("#keys .things"), "the keys are listed")
        listed = {kind: window.text(f'[data-kind="{kind}"] .things a') for kind in ("servers", "namespaces", "images")}
        assert listed == {"servers": "good", "namespaces": "default", "images": IMAGE}

    def test_a_server_is_added_with_the_keyboard_put_into_a_namespace_and_called(
        self, gateway: GatewayProcess, window: Browser
    ) -> None:
        edited(window, "servers")
        window.tab_to('[name="argument:name"]')
        window.press("added", Keys.TAB, sys.executable, Keys.TAB, json.dumps(["-I", "-S", MISBEHAVING, "good"]))
        window.tab_to("#edit button.main")
        window.press(Keys.ENTER)
        assert "servers: added is added" in planned(window)
        assert "added" not in document(gateway)["mcpServers"], "it is only looked at"
        window.tab_to("#apply")
        window.press(Keys.ENTER)
        window.wait(lambda: "Done" in window.text("#plan-title"), "it is done")
        edited(window, "namespaces/default")
        window.wait(lambda: "good__echo" in window.text(".switches"), "servers and tools can be chosen")
        assert marked(window) == {"good", *(name for name in tools(gateway) if name.startswith("good__"))}
        mark(window, "added")
        assert json.loads(value(window, "servers")) == ["good", "added"]
        mark(window, "good__crash")
        assert json.loads(value(window, "tools")) == {"good__crash": {"enabled": False}}
        assert "namespaces: default is changed" in preview(window)
        apply(window)
        eventually(lambda: "added__echo" in tools(gateway), "its tools are listed")
        assert "good__crash" not in tools(gateway)
        session = gateway.open_session()
        assert "hello" in gateway.text(session, "added__echo", {"text": "hello"})
        gateway.end_session(session)
        done = [(it["action"], it.get("about")) for it in audited(gateway) if it.get("principal") == "operator"]
        assert done[-2:] == [("create", "servers/added"), ("replace", "namespaces/default")]

    def test_check_marks_and_what_is_written_say_the_same(self, window: Browser) -> None:
        edited(window, "namespaces/default")
        window.wait(lambda: "good__crash" in window.text(".switches"), "what is hidden can be shown again")
        assert "good__crash" not in marked(window)
        mark(window, "good__crash")
        assert json.loads(value(window, "tools")) == {}
        write(window, "tools", '{"good__echo": {"title": "Echo", "enabled": false}}')
        assert "good__echo" not in marked(window) and "good__crash" in marked(window)
        mark(window, "good__echo")
        assert json.loads(value(window, "tools")) == {"good__echo": {"title": "Echo"}}
        write(window, "tools", "{")
        assert not window.find('.switches input[value="good__echo"]').is_enabled()

    def test_mistakes_are_told_at_their_fields(self, gateway: GatewayProcess, window: Browser) -> None:
        before = document(gateway)
        edited(window, "servers")
        write(window, "name", "other")
        write(window, "command", "x")
        write(window, "limits", '{"memory": 1}')
        write(window, "url", "http://127.0.0.1:1/mcp")
        assert "mistakes" in preview(window)
        wrong = {it.get_attribute("name") for it in window.all('#edit [aria-invalid="true"]')}
        assert wrong == {"argument:limits", "argument:url"}
        assert "memory: must be at least" in window.text("#edit .problem")
        refused(window, 422)
        assert document(gateway) == before

    def test_a_secret_is_not_shown_and_stays(self, gateway: GatewayProcess, window: Browser) -> None:
        edited(window, "servers/good")
        assert "canary" not in window.driver.page_source
        assert '"A_TOKEN": "***"' in str(window.find('[name="argument:env"]').get_attribute("value"))
        write(window, "idleSeconds", "77.5")
        preview(window)
        apply(window)
        stored = document(gateway)["mcpServers"]["good"]
        assert (stored["idleSeconds"], stored["env"]) == (77.5, {"A_TOKEN": "canary-in-clear"})

    def test_what_somebody_else_has_changed_meanwhile_is_no_ones_loss(
        self, gateway: GatewayProcess, window: Browser
    ) -> None:
        edited(window, "servers/good")
        file = gateway.folder / "config" / "servers.json"
        file.write_text(file.read_text().replace("77.5", "78.5"))
        write(window, "idleSeconds", "1")
        assert "somebody else has changed it" in preview(window)
        refused(window, 409)
        window.find("#reload").click()
        window.wait(lambda: value(window, "idleSeconds") == "78.5", "it is loaded again")

    def test_an_endpoint_and_an_image_are_added_and_deleted(self, gateway: GatewayProcess, window: Browser) -> None:
        edited(window, "endpoints")
        write(window, "name", "team")
        write(window, "namespace", "default")
        assert "endpoints: team is added" in preview(window)
        apply(window)
        assert document(gateway)["endpoints"]["team"] == {"namespace": "default"}
        edited(window, f"images/{IMAGE}")
        write(window, "user", "1000")
        assert f"images: {IMAGE} is changed" in preview(window)
        apply(window)
        assert document(gateway, "allowlist.json")["images"] == [{"image": IMAGE, "user": "1000"}]
        for path, gone in (("endpoints/team", "endpoints: team"), (f"images/{IMAGE}", f"images: {IMAGE}")):
            edited(window, path)
            window.find("#delete").click()
            assert f"{gone} is removed" in planned(window) and "Delete it" in window.text("#apply")
            apply(window)
        assert "team" not in document(gateway)["endpoints"]
        assert document(gateway, "allowlist.json")["images"] == []

    def test_a_key_is_shown_once_and_revoked(self, gateway: GatewayProcess, window: Browser) -> None:
        window.open(CONFIGURATION)
        window.find("#create-key button").click()
        window.wait(lambda: bool(window.text("#key-problem")), "what is lacking is told")
        refused(window, 400)
        window.find("#key-name").send_keys("laptop")
        window.find("#key-scopes").send_keys("default team")
        window.find("#create-key button").click()
        window.wait(lambda: window.text("#new-key-text").startswith("mmcp_"), "it is shown")
        key = window.text("#new-key-text")
        assert gateway.get("/api/status", headers={"X-API-Key": key}).status_code == 403, "it has not the scope admin"
        window.find("#new-key-hide").click()
        window.wait(lambda: "laptop" in window.text("#keys .things"), "it is listed")
        assert key not in window.driver.page_source
        row = next(it for it in window.all("#keys .things li") if "laptop" in it.text)
        row.find_element("tag name", "button").click()
        row.find_element("tag name", "button").click()
        window.wait(lambda: "laptop" not in window.text("#keys .things"), "it is revoked")
        assert gateway.get("/api/status", headers={"X-API-Key": key}).status_code == 401


@pytest.mark.usefixtures("operator")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_pages_fit_a_telephone_in_both_color_schemes(window: Browser, scheme: str) -> None:
    window.prefer(scheme)
    window.resize(390, 844)
    try:
        for path in ("", "/servers/good", "/images"):
            window.open(CONFIGURATION + path)
            window.wait(lambda: bool(window.all("#keys .things li, #edit-fields .field")), "it is filled")
            assert window.look("document.documentElement.scrollWidth") <= 390, path
    finally:
        window.resize(1280, 800)
        window.prefer("")


def mark(window: Browser, name: str) -> None:
    window.tab_to(f'.switches input[value="{name}"]', 200)
    window.press(Keys.SPACE)


def marked(window: Browser) -> set[str]:
    return set(window.look("[...document.querySelectorAll('.switches :checked')].map((it) => it.value)"))


def value(window: Browser, key: str) -> str:
    return str(window.look("document.querySelector(arguments[0])?.value", f'[name="argument:{key}"]'))


def tools(gateway: GatewayProcess) -> set[str]:
    session = gateway.open_session()
    try:
        return {tool["name"] for tool in gateway.rpc("tools/list", session=session).json()["result"]["tools"]}
    finally:
        gateway.end_session(session)
