"""The inspector in a real browser: a session with servers that ask, tell and go on, at a real gateway."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator

import pytest
from browser import Browser, browser, undisturbed
from gateway_process import ROOT, GatewayProcess, eventually, running_gateway
from operators import audited, keys
from selenium.webdriver import Keys

ASKING = str(ROOT / "tests" / "servers" / "inquiring.py")
HOSTILE = str(ROOT / "tests" / "servers" / "hostile.py")
SERVERS = {
    "asks": {"command": sys.executable, "args": ["-I", "-S", ASKING]},
    "hostile": {"command": sys.executable, "args": ["-I", "-S", HOSTILE], "isolation": "shared"},
}
ENDPOINTS = {"default": {"namespace": "default"}, "closed": {"namespace": "default", "auth": "api-key"}}
PAGE = "/console/endpoints/default/inspect"
MARKUP = "<img src=x onerror"
LAST = "#requests > :first-child"
DONE = f"{LAST} .since"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """Open at first; the last test makes a key."""
    with running_gateway(tmp_path_factory.mktemp("inspector"), SERVERS, endpoints=ENDPOINTS) as running:
        yield running


@pytest.fixture(scope="module")
def window(gateway: GatewayProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("browser"), gateway.url) as opened:
        yield opened


@pytest.fixture(autouse=True)
def no_page_complains_or_is_taken_over(window: Browser) -> Iterator[None]:
    with undisturbed(window):
        yield


@pytest.fixture
def session(gateway: GatewayProcess, window: Browser) -> Iterator[str]:
    """Its id; it is ended when the page is left."""
    yield opened(window)
    window.open("/console/endpoints")
    eventually(lambda: not gateway.status()["sessions"], "whoever leaves the page ends its session")


def opened(window: Browser, page: str = PAGE) -> str:
    window.open(page)
    window.find("#open button").click()
    window.wait(lambda: "note:///{name}" in window.text("#offered"), "everything is listed")
    assert window.text("#session-state") == "open"
    return window.text("#session-id")


def choose(window: Browser, name: str) -> None:
    found = next(it for it in window.all("#offered button") if it.text == name)
    window.driver.execute_script("arguments[0].focus()", found)
    window.press(Keys.ENTER)
    window.wait(lambda: window.text("#chosen-title") == name, "it is chosen")
    window.wait(lambda: window.look("document.activeElement.id") == "chosen-title", "its form is there, with the focus")


def perform(window: Browser, name: str, *written: str) -> None:
    """With the keyboard: ``written`` into the fields."""
    choose(window, name)
    for text in written:
        window.press(Keys.TAB, text)
    window.tab_to("#ask > button")
    window.press(Keys.ENTER)
    window.wait(lambda: window.text(f"{LAST} h3").endswith(name), "it is asked for")


def ping(window: Browser) -> None:
    window.driver.execute_script("document.getElementById('ping').focus()")
    window.press(Keys.ENTER)


def came(window: Browser) -> str:
    """What the last request was answered."""
    window.wait(lambda: bool(window.text(DONE)), "there is an answer")
    return window.text(LAST)


def exchanged(window: Browser) -> list[str]:
    return [line for line in window.text("#exchanged summary").splitlines() if line]


# --- a session ---------------------------------------------------------------------------------------------


def test_a_session_is_opened_shown_audited_and_ended(gateway: GatewayProcess, window: Browser) -> None:
    session = opened(window)
    (known,) = gateway.status()["sessions"]
    assert known["id"] == session[:8] and known["endpoint"] == "default"
    assert "tools" in window.text("#session-capabilities") and window.text("#session-revision") == "2025-11-25"
    eventually(lambda: bool(audited(gateway)), "it is in the audit log")
    assert (audited(gateway)[-1]["action"], audited(gateway)[-1]["about"]) == ("inspect", f"default {session[:8]}")
    window.tab_to("#ping")
    window.press(Keys.ENTER)
    assert "ping" in came(window)
    window.tab_to("#end")
    window.press(Keys.ENTER)
    window.wait(lambda: window.text("#session-state") == "ended", "it is over")
    eventually(lambda: not gateway.status()["sessions"], "and the gateway knows it no more")
    assert not window.find("#inspected").is_displayed() and window.find("#open").is_displayed()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_telephone_in_both_color_schemes(window: Browser, session: str, scheme: str) -> None:
    window.prefer(scheme)
    window.resize(390, 844)
    try:
        perform(window, "asks__ask_person")
        window.wait(lambda: "Who?" in window.text("#asked"), "the server asks")
        assert window.look("document.documentElement.scrollWidth") <= 390
        ground = window.look("getComputedStyle(document.body).backgroundColor")
        assert (ground == "rgb(15, 19, 24)") == (scheme == "dark")
    finally:
        window.resize(1280, 800)
        window.prefer("")


def test_a_revision_is_chosen(window: Browser) -> None:
    window.open(PAGE)
    window.find("#revision").send_keys("2025-03-26")
    window.find("#open button").click()
    window.wait(lambda: "asks__echo" in window.text("#offered"), "everything is listed")
    assert window.text("#session-revision") == "2025-03-26"
    perform(window, "asks__echo", "with the first revision")
    assert "with the first revision" in came(window)


# --- requests ----------------------------------------------------------------------------------------------


def test_a_tool_is_called_and_its_raw_messages_are_kept_as_they_were_sent(window: Browser, session: str) -> None:
    before = len(exchanged(window))
    perform(window, "asks__echo", f"{MARKUP} é", "12345678901234567890")
    shown = came(window)
    assert f"{MARKUP} é" in shown and "structured content" in shown
    sent, received = exchanged(window)[before:]
    assert "→ sent tools/call" in sent and "asks__echo" in sent and "← received result" in received
    for summary in window.all("#exchanged summary")[before:]:
        window.driver.execute_script("arguments[0].focus()", summary)
        window.press(Keys.ENTER)
    window.wait(lambda: window.text("#exchanged pre").count("12345678901234567890") == 2, "no digit is lost")
    assert "kept" in window.text("#messages-size") and "KiB of at most" in window.text("#messages-size")
    window.find("#messages-clear").click()
    assert window.text("#exchanged") == ""


def test_what_cannot_be_sent_is_told_at_its_field_and_a_failure_as_one(window: Browser, session: str) -> None:
    choose(window, "hostile__everything")
    window.find("#ask > button").click()
    window.wait(lambda: "required" in window.text("#ask .problem"), "what is lacking is told")
    assert window.look("document.activeElement.getAttribute('aria-invalid')") == "true"
    perform(window, "hostile__fail")
    assert "the tool reports an error" in came(window)


def test_prompts_and_resources_are_read(window: Browser, session: str) -> None:
    perform(window, "asks__greet", "Ann")
    assert f"Greet Ann {MARKUP}" in came(window) and "user: text" in window.text(LAST)
    perform(window, "note:///one")
    assert f"note note:///one {MARKUP}" in came(window)
    perform(window, "note:///{name}", Keys.END + Keys.BACKSPACE * 6 + "two")
    assert "note note:///two" in came(window)


def test_a_call_shows_its_progress_its_log_messages_and_is_cancelled(window: Browser, session: str) -> None:
    window.find("#level").send_keys("info")
    window.wait(lambda: "logging/setLevel info" in window.text("#requests"), "the level is set")
    perform(window, "asks__steps")
    window.wait(lambda: f"3 of 4 {MARKUP}" in window.text(f"{LAST} .progress"), "there is progress")
    window.wait(lambda: f"warning steps at 3 {MARKUP}" in " ".join(window.text("#logged").split()), "and a log message")
    window.tab_to(f"{LAST} button", 200)
    window.press(Keys.ENTER)
    assert "cancelled" in came(window)
    perform(window, "asks__heard")
    told = came(window)
    assert "notifications/cancelled" in told and "info" in told


def test_more_requests_than_connections_are_not_begun(window: Browser, session: str) -> None:
    for _ in range(4):
        perform(window, "asks__ask_person")
    window.wait(lambda: len(window.all("#asked .question")) == 4, "the server asks four times")
    ping(window)
    window.wait(lambda: "Too many requests" in window.text("#messages"), "it is told")
    press_in_question(window, "Decline")
    window.wait(lambda: len(window.all("#asked .question")) == 3, "questions are answered all the same")
    window.wait(lambda: window.text("#requests").count("waiting") == 3, "one request is over")
    ping(window)
    assert "ping" in came(window)


def test_a_list_that_changes_is_read_again(window: Browser, session: str) -> None:
    perform(window, "asks__grow")
    window.wait(lambda: "tools/list_changed" in window.text("#exchanged"), "the server says so")
    window.wait(lambda: window.text("#exchanged").count("sent tools/list") == 2, "it is asked for again")


def test_a_long_list_is_narrowed_to_what_one_looks_for(window: Browser, session: str) -> None:
    window.find("#filter").send_keys("ECHO")
    assert window.text("#offered li:not([hidden])").split() == ["asks__echo"]
    window.find("#filter").send_keys("no such name")
    assert window.text("#offered li:not([hidden])") == "" and window.find("#nothing").is_displayed()


def test_a_message_of_ones_own_is_sent_as_it_is_written(window: Browser, session: str) -> None:
    window.find("#own").find_element("xpath", "..").find_element("tag name", "summary").click()
    window.driver.execute_script("document.getElementById('own-text').value = arguments[0]", '{"method": "no/such"}')
    window.find("#own button").click()
    assert "no/such" in came(window) and "Error -32601" in window.text(LAST)


def test_the_page_keeps_the_last_messages_and_says_how_many_it_let_go(window: Browser, session: str) -> None:
    window.find("#messages-clear").click()
    script = """
        const [count, size, done] = arguments;
        const add = ({add}) => Array.from({length: count}, () => add("received", " ".repeat(size)));
        import("/console/static/exchanged.js").then(add).then(done);
    """
    window.driver.execute_async_script(script, 510, 10)
    assert len(window.all("#exchanged li")) == 500
    assert "500 kept" in window.text("#messages-size") and "10 older ones were let go" in window.text("#messages-size")
    window.driver.execute_async_script(script, 3, 2**21)
    assert len(window.all("#exchanged li")) == 2, "4 MiB of them"


# --- what servers ask --------------------------------------------------------------------------------------


def test_an_elicitation_is_answered_with_the_form_of_its_schema(window: Browser, session: str) -> None:
    perform(window, "asks__ask_person")
    window.wait(lambda: f"Who? {MARKUP}" in window.text("#asked"), "the server asks")
    assert "The server asks" in window.text("#news"), "those who do not see the page hear of it"
    window.tab_to("#asked textarea", 200)
    window.press("Ann")
    window.tab_to("#asked button.main")
    window.press(Keys.ENTER)
    window.wait(lambda: "required" in window.text("#asked .problem"), "what is lacking is told")
    assert window.look("document.activeElement.tagName") == "SELECT"
    window.press("large")
    window.tab_to("#asked button.main")
    window.press(Keys.ENTER)
    assert '{"action": "accept", "content": {"name": "Ann", "size": "l"}}' in came(window)
    assert not window.find("#asked").is_displayed()


@pytest.mark.parametrize(("button", "action"), [("Decline", "decline"), ("Cancel", "cancel")])
def test_an_elicitation_is_declined_or_cancelled(window: Browser, session: str, button: str, action: str) -> None:
    perform(window, "asks__ask_person")
    press_in_question(window, button)
    assert f'{{"action": "{action}"}}' in came(window)


def test_an_address_is_shown_as_text_and_opened_by_nobody(window: Browser, session: str) -> None:
    perform(window, "asks__ask_address")
    window.wait(lambda: "https://example.com/<b>" in window.text("#asked pre"), "the address is shown")
    assert window.all("#asked a") == []
    press_in_question(window, "Accept")
    assert '{"action": "accept"}' in came(window)


def test_sampling_is_answered_by_hand_or_refused(window: Browser, session: str) -> None:
    perform(window, "asks__ask_model")
    window.wait(lambda: f"user: Say {MARKUP}" in window.text("#asked pre"), "the server asks")
    window.tab_to("#asked textarea", 200)
    window.press("a word")
    press_in_question(window, "Answer")
    assert '"text": "a word"' in came(window)
    perform(window, "asks__ask_model")
    press_in_question(window, "Refuse")
    assert "refused" in came(window)


def press_in_question(window: Browser, name: str) -> None:
    window.wait(lambda: bool(window.all("#asked button")), "the server asks")
    next(it for it in window.all("#asked button") if it.text == name).click()


# --- whatever becomes of the gateway, and who one is -------------------------------------------------------


def test_a_session_goes_on_in_another_worker(gateway: GatewayProcess, window: Browser, session: str) -> None:
    perform(window, "asks__ask_person")
    window.wait(lambda: "Who?" in window.text("#asked"), "the server asks")
    (worker,) = gateway.worker_pids
    os.kill(worker, signal.SIGKILL)
    eventually(lambda: gateway.worker_pids not in ([], [worker]), "another worker is there")
    eventually(lambda: _answers(gateway), "and serves")
    press_in_question(window, "Decline")
    assert '{"action": "decline"}' in came(window), "the stream went on where it was lost"
    window.errors()  # of the connections that were lost


def _answers(gateway: GatewayProcess) -> bool:
    try:
        return gateway.get("/health").ok
    except OSError:
        return False


def test_where_keys_are_asked_for_the_operator_enters_by_name(gateway: GatewayProcess, window: Browser) -> None:
    key = keys(gateway, "create", "operator", "--scope", "admin")
    window.open("/console/endpoints/closed/inspect")
    window.press(key, Keys.ENTER)
    window.wait(lambda: "Inspect closed" in window.text("h1"), "signed in")
    session = opened(window, "/console/endpoints/closed/inspect")
    perform(window, "asks__echo", "by name")
    assert "by name" in came(window)
    last = audited(gateway)[-1]
    assert (last["action"], last["about"], last["principal"]) == ("inspect", f"closed {session[:8]}", "operator")
    keys(gateway, "revoke", "operator")
    ping(window)
    assert "API key" in came(window), "and not after the key is revoked"
    window.errors()  # of what was refused
