"""The console in a real browser, at a real gateway whose servers are plain processes."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from browser import Browser, browser, undisturbed
from gateway_process import ROOT, GatewayProcess, eventually, process_server, running_gateway
from operators import IN_TIME, audited, keys
from selenium.webdriver import Keys

from metamcp.web.console.formats import shown

HOSTILE = str(ROOT / "tests" / "servers" / "hostile.py")
SERVERS = {
    "good": process_server("good", isolation="shared"),
    "hostile": {"command": sys.executable, "args": ["-I", "-S", HOSTILE], "isolation": "shared"},
    "broken": process_server("exit-at-start", "3"),
}
ENDPOINTS = {"default": {"namespace": "default"}, "closed": {"namespace": "default", "auth": "api-key"}}
PAGES = [
    "/", "/console/servers/good", "/console/servers/hostile", "/console/sessions", "/console/calls",
    "/console/endpoints", "/console/endpoints/default", "/console/endpoints/default/tools/hostile__everything",
    "/console/diagnostics",
]  # fmt: skip
GOOD, BROKEN = '#servers [data-key="good"]', '#servers [data-key="broken"]'


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """Open at first; the last tests make keys."""
    folder = tmp_path_factory.mktemp("console")
    with running_gateway(folder, SERVERS, endpoints=ENDPOINTS, ready=False) as running:
        eventually(lambda: {"good", "hostile"} <= listed(running), "lists are read")
        yield running


def listed(gateway: GatewayProcess) -> set[str]:
    return {server["name"] for server in gateway.status()["servers"] if server["listed"]}


@pytest.fixture(scope="module")
def window(gateway: GatewayProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("browser"), gateway.url) as opened:
        yield opened


@pytest.fixture(autouse=True)
def no_page_complains_or_is_taken_over(window: Browser) -> Iterator[None]:
    with undisturbed(window):
        yield


def live(window: Browser) -> None:
    window.wait(lambda: window.text("#connection") == "live", "the stream of events is open")


def called(gateway: GatewayProcess, tool: str, **arguments: Any) -> Any:
    return gateway.call_alone(tool, arguments)


def kill_good(gateway: GatewayProcess) -> None:
    """The instance for clients, once there is no other one."""
    called(gateway, "good__whoami")
    eventually(lambda: len(good(gateway)) == 1, "nobody asks it what it has")
    (pid,) = good(gateway)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: pid not in good(gateway), "it is dead")


def good(gateway: GatewayProcess) -> list[int]:
    return [child["pid"] for child in gateway.status()["children"] if child["server"] == "good"]


# --- what is going on --------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_loads_in_both_color_schemes_and_fits_a_telephone(window: Browser, scheme: str) -> None:
    window.prefer(scheme)
    try:
        for path in PAGES:
            window.open(path)
            assert window.text("h1"), path
            ground = window.look("getComputedStyle(document.body).backgroundColor")
            assert (ground == "rgb(15, 19, 24)") == (scheme == "dark"), path
            window.resize(390, 844)
            assert window.look("document.documentElement.scrollWidth") <= 390, path
            window.resize(1280, 800)
    finally:
        window.prefer("")


@IN_TIME
def test_a_server_that_dies_shows_within_two_seconds_and_says_how(gateway: GatewayProcess, window: Browser) -> None:
    eventually(lambda: "result" in called(gateway, "good__whoami"), "it can be started", 30)
    window.open("/")
    live(window)
    window.driver.execute_script("window.same = true")
    window.wait(lambda: "READY" in window.text(GOOD), "it runs")
    called(gateway, "good__crash", code=7)
    window.wait(lambda: "code 7" in window.text(f"{GOOD} .exit summary"), "the page names the exit code", 2)
    kill_good(gateway)
    window.wait(lambda: "SIGKILL" in window.text(f"{GOOD} .exit summary"), "the page names the signal", 2)
    assert window.look("window.same"), "without loading the page anew"


def test_a_server_that_cannot_start_says_why_and_what_it_said_last(window: Browser) -> None:
    window.open("/")
    window.wait(lambda: "code 3" in window.text(BROKEN), "the reason is shown")
    window.find(f"{BROKEN} .exit summary").click()
    assert "the settings lack a key" in window.text(f"{BROKEN} .exit pre")
    window.find(f"{BROKEN} .more summary").click()
    assert "misbehaving.py exit-at-start 3" in window.text(f"{BROKEN} .command")


def test_calls_and_sessions_come_and_go_without_loading_the_page_anew(gateway: GatewayProcess, window: Browser) -> None:
    session = gateway.open_session()
    window.open("/console/sessions")
    live(window)
    assert session[:8] in window.text("#sessions")
    gateway.end_session(session)
    window.wait(lambda: session[:8] not in window.text("#sessions"), "the session is gone")
    window.open("/console/calls")
    live(window)
    called(gateway, "hostile__everything", text="x", count=1)
    window.wait(lambda: "everything" in window.text("#recent tbody tr:first-child"), "the call is shown")
    assert "result" in window.text("#recent tbody tr:first-child .outcome")


def test_graphs_say_in_words_what_they_show(gateway: GatewayProcess, window: Browser) -> None:
    eventually(lambda: bool(gateway.get("/api/history").json()["calls"]), "the first step of the history is over", 20)
    window.open("/console/calls")
    window.wait(lambda: len(window.all(".chart svg")) == 2, "both are drawn")
    for picture in window.all(".chart svg"):
        assert picture.get_attribute("role") == "img" and ": " in str(picture.get_attribute("aria-label"))
    called(gateway, "good__whoami")
    window.open("/console/servers/good")
    window.wait(lambda: bool(window.text('[data-chart="memory"] .summary')), "the memory is told")


def test_scripts_show_values_as_the_pages_do(window: Browser) -> None:
    window.open("/")
    values: list[tuple[Any, str]] = [(0, ""), ("x", ""), (1_800_000_000.9, "time"), (["a", "b"], "lines")]
    values += [(["a b", "c'd", "", "x=1", "é"], "command"), (["docker", *(f"--{n}=a b" for n in range(6))], "command")]
    values += [(count, "bytes") for count in (0, 1023, 1024, 1536, 5 * 2**30, 2**60)]
    values += [(seconds, "seconds") for seconds in (0.0, 0.00042, 0.0214, 0.099, 0.25, 0.9994, 1.0, 59.9, 90, 4000)]
    script = """
        const [values, done] = arguments;
        import("/console/static/formats.js").then(({shown}) => done(values.map(([value, form]) => shown(value, form))));
    """
    texts = window.driver.execute_async_script(script, values)
    assert texts == [shown(value, form) for value, form in values]


def test_standard_error_goes_on_after_a_lost_connection_with_nothing_lost_or_twice(
    gateway: GatewayProcess, window: Browser
) -> None:
    def lines() -> list[str]:
        return window.text("#stderr .text").splitlines()

    kept = gateway.get("/api/servers/hostile/stderr?follow=false").text
    before = sum(line.startswith("data:") for line in kept.splitlines())
    window.open("/console/servers/hostile")
    live(window)
    window.wait(lambda: len(lines()) == before, "all of them have come again, with their numbers")
    called(gateway, "hostile__everything", text="x", count=1)
    window.wait(lambda: len(lines()) == before + 1, "one more line")
    assert lines()[-1].startswith("called <img src=x")
    (worker,) = gateway.worker_pids
    os.kill(worker, signal.SIGKILL)
    called_meanwhile = False

    def call_again() -> bool:
        nonlocal called_meanwhile
        if not called_meanwhile and gateway.get("/health").ok:
            called(gateway, "hostile__everything", text="x", count=1)
            called_meanwhile = True
        return called_meanwhile

    eventually(lambda: _quietly(call_again), "another worker serves")
    window.wait(lambda: len(lines()) == before + 2, "the line that was written meanwhile")
    live(window)
    window.errors()  # of the connection that was lost


def _quietly(true: Any) -> bool:
    try:
        return bool(true())
    except OSError:
        return False  # nobody accepts connections for a moment


# --- what can be done --------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", ["restart", "stop", "wake", "reset"])
def test_every_action_works_with_the_keyboard_and_is_audited(
    gateway: GatewayProcess, window: Browser, action: str
) -> None:
    before = len(audited(gateway))
    window.open("/console/servers/good")
    live(window)
    window.tab_to(f".action-{action} button")
    window.press(Keys.ENTER)
    window.wait(lambda: "good" in window.text("#messages"), "it says what it did")
    assert window.look("document.activeElement.closest('form')?.className").endswith(action), "the focus stays"
    eventually(lambda: len(audited(gateway)) > before, "the audit log has it")
    assert [(it["action"], it["about"]) for it in audited(gateway)[before:]] == [(action, "good")]


def test_what_cannot_be_done_says_so(window: Browser) -> None:
    window.open("/console/servers/good")
    window.tab_to(".action-accept-image button")
    window.press(Keys.ENTER)
    window.wait(lambda: bool(window.text("#messages .bad")), "it says why not")
    assert any("accept-image" in message for message in window.errors()), "the browser notes every refusal"


def test_the_configuration_is_reloaded_and_its_mistakes_are_shown_as_text(
    gateway: GatewayProcess, window: Browser
) -> None:
    file = gateway.folder / "config" / "servers.json"
    kept = file.read_text()
    window.open("/")
    live(window)
    try:
        file.write_text(kept.replace('"isolation"', '"<img src=x onerror=alert(1)>"', 1))
        window.wait(lambda: "<img src=x" in window.text("#problems li"), "the mistakes are shown")
    finally:
        file.write_text(kept)
    window.find('form[action="/console/reload"] button').click()
    window.wait(lambda: not window.text("#problems li"), "there is no mistake any more")


def test_who_does_not_see_the_page_hears_of_a_server_that_cannot_be_used(
    gateway: GatewayProcess, window: Browser
) -> None:
    file = gateway.folder / "config" / "servers.json"
    kept = file.read_text()
    document = json.loads(kept)
    document["mcpServers"]["good"]["enabled"] = False
    window.open("/")
    live(window)
    assert window.find("#news").get_attribute("aria-live") == "polite"
    try:
        file.write_text(json.dumps(document))
        window.wait(lambda: "good: DISABLED" in window.text("#news"), "it is said")
    finally:
        file.write_text(kept)
    window.wait(lambda: "good: READY" in window.text("#news"), "it is said when it can be used again")


def test_without_scripts_pages_are_read_and_forms_are_sent(gateway: GatewayProcess, window: Browser) -> None:
    window.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        window.open("/console/servers/good")
        page = window.driver.page_source
        assert "good" in page and "UTC" in page
        window.find(".action-reset button").click()
        eventually(lambda: ">Done</h1>" in window.driver.page_source, "a page says what was done")
        window.open("/console/servers/hostile")
        assert "&lt;img src=x" in window.driver.page_source
    finally:
        window.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    window.open("/")


def test_a_tool_is_called_with_the_keyboard_alone(window: Browser) -> None:
    window.open("/")
    window.press(Keys.TAB)
    assert window.focus() == "A Skip to content"
    window.press(Keys.ENTER)
    assert window.look("document.activeElement.id") == "main"
    window.open("/console/endpoints/default")
    window.tab_to('a[href$="/tools/hostile__everything"]')
    window.press(Keys.ENTER)
    window.wait(lambda: "Call it" in window.text("h2"), "the form is there")
    window.tab_to("#field-1")
    window.press("<b>text</b>", Keys.TAB, Keys.TAB, "12345678901234567890")
    window.tab_to("#field-7")
    window.press("[1, 2", Keys.TAB)
    assert "not JSON" in window.text("#field-7-problem")
    assert window.find("#field-7").get_attribute("aria-invalid") == "true"
    window.driver.execute_script("document.getElementById('field-7').focus()")
    window.press(Keys.END, "]")
    assert window.text("#field-7-problem") == ""
    window.tab_to("form.try button.main")
    window.press(Keys.ENTER)
    window.wait(lambda: "The tool answered." in window.text("#result"), "there is a result")
    assert window.look("document.activeElement.id") == "result"
    shown = window.text("#result")
    assert "<img src=x onerror" in shown and '"count": 12345678901234567890' in shown and '"list": [' in shown
    assert " ms" in window.text("#result .since") or " s" in window.text("#result .since")
    assert window.find("#field-1").get_attribute("value") == "<b>text</b>", "to be called again"


def test_a_tool_that_fails_and_a_form_with_mistakes_say_so(window: Browser) -> None:
    window.open("/console/endpoints/default/tools/hostile__fail")
    window.find("form.try button.main").click()
    window.wait(lambda: "The tool reports an error." in window.text("#result"), "the error is shown")
    window.open("/console/endpoints/default/tools/hostile__everything")
    window.find("form.try button.main").click()
    window.wait(lambda: "required" in window.text(".problem"), "what is lacking is told")
    assert any("400" in message for message in window.errors())


def test_diagnostics_are_made_at_a_click(window: Browser) -> None:
    window.open("/console/diagnostics")
    window.find("form button.main").click()
    window.wait(lambda: bool(window.all(".checks li, #result .advice")), "there is a report", 60)
    assert window.look("document.activeElement.id") == "result"


# --- signing in --------------------------------------------------------------------------------------------


def refused(window: Browser, status: int) -> None:
    """The browser notes what was refused on purpose."""
    messages = window.errors()
    assert messages and all(f"status of {status}" in message for message in messages), messages


def test_a_key_signs_in_once_and_its_end_ends_everything(gateway: GatewayProcess, window: Browser) -> None:
    key = keys(gateway, "create", "operator", "--scope", "admin")
    window.open("/console/calls")
    assert window.text("h1") == "Sign in"
    window.press("mmcp_wrong", Keys.ENTER)  # the field has the focus
    window.wait(lambda: "not known" in window.text("#problem"), "it is refused")
    refused(window, 401)
    window.press(key, Keys.ENTER)
    window.wait(lambda: window.text("h1") == "Calls", "it leads to where one wanted to go")
    live(window)
    assert window.text(".who span") == "operator"
    cookie = next(it for it in window.driver.get_cookies() if it["name"] == "metamcp_console")
    assert cookie["httpOnly"] and cookie["sameSite"] == "Strict" and key not in cookie["value"]
    assert window.look("document.cookie") == ""
    window.open("/console/servers/good")
    before = len(audited(gateway))
    window.find(".action-wake button").click()
    window.wait(lambda: "good" in window.text("#messages"), "an action works")
    eventually(lambda: len(audited(gateway)) > before, "the audit log has it")
    assert audited(gateway)[-1]["principal"] == "operator"
    assert {"sign-in", "wake"} <= {it["action"] for it in audited(gateway) if it.get("principal") == "operator"}
    window.open("/console/endpoints/closed/tools/hostile__fail")
    window.find("form.try button.main").click()
    window.wait(lambda: "The tool reports an error." in window.text("#result"), "tools are called by name")
    window.find(".who button").click()
    window.wait(lambda: window.text("h1") == "Sign in", "signed out")
    window.open("/")
    assert window.text("h1") == "Sign in"
    window.press(key, Keys.ENTER)
    window.wait(lambda: window.text("h1") == "Servers", "signed in again")
    live(window)
    keys(gateway, "revoke", "operator")
    session = gateway.open_session()  # what happens next is not told any more
    window.wait(lambda: window.text("h1") == "Sign in", "the open page notices that the key is revoked", 20)
    gateway.end_session(session)
    refused(window, 401)
