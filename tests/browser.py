"""A real browser for tests of pages: Debian's Chromium without a window, with a profile of its own."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gateway_process import eventually
from selenium import webdriver
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
    "--no-default-browser-check", "--password-store=basic", "--lang=en-US", "--window-size=1280,800",
)  # fmt: skip
PAGE_SECONDS = 30


class Browser:
    """One window. ``site`` is the address that paths belong to."""

    def __init__(self, driver: webdriver.Chrome, site: str) -> None:
        self.driver = driver
        self.site = site

    def open(self, path: str) -> None:
        self.driver.get(self.site + path)

    def find(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        """Of all elements that fit, in one look at the page, so that none of them can be gone meanwhile."""
        script = "return [...document.querySelectorAll(arguments[0])].map((one) => one.innerText).join('\\n')"
        return str(self.driver.execute_script(script, selector))

    def look(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(f"return {script}", *arguments)

    def wait(self, true: Callable[[], bool], what: str, seconds: float = 10.0) -> None:
        eventually(true, f"{what}\n{self.text('body')}", seconds)

    def press(self, *keys: str) -> None:
        """On the keyboard, wherever the focus is."""
        ActionChains(self.driver).send_keys(*keys).perform()

    def tab_to(self, selector: str, most: int = 80) -> None:
        """With the keyboard alone; fails when the focus does not come there."""
        for _ in range(most):
            if self.look("document.activeElement.matches(arguments[0])", selector):
                return
            self.press(Keys.TAB)
        raise AssertionError(f"{most} times Tab did not lead to {selector}")

    def focus(self) -> str:
        """What has it, as a tag and its text."""
        return str(self.look("document.activeElement.tagName + ' ' + document.activeElement.innerText"))

    def errors(self) -> list[str]:
        """What the browser had to say about the pages since the last time: mistakes of scripts, what the policy has
        forbidden, addresses that did not answer."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def prefer(self, scheme: str) -> None:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def resize(self, width: int, height: int) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


@contextmanager
def undisturbed(window: Browser) -> Iterator[None]:
    """A test in which no page complains, of a script, of what the policy forbids, of an address, but of what the test
    has provoked and taken; and in which no text of a server became more than text."""
    window.errors()
    yield
    assert window.errors() == []
    assert window.driver.title != "taken over"
    assert window.look("document.querySelectorAll('img:not([src^=\"/console/static/\"])').length") == 0


@contextmanager
def browser(folder: Path, site: str) -> Iterator[Browser]:
    """For as long as the tests that share it; ``folder`` holds its profile."""
    options = Options()
    options.binary_location = _program("chromium")
    for flag in (*FLAGS, f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, Service(_program("chromedriver")), keep_alive=False)
    try:
        driver.set_page_load_timeout(PAGE_SECONDS)
        driver.set_script_timeout(PAGE_SECONDS)
        yield Browser(driver, site)
    finally:
        driver.quit()


def _program(name: str) -> str:
    found = shutil.which(name)
    assert found, f"{name} is not installed (Debian: chromium, chromium-driver)"
    return found
