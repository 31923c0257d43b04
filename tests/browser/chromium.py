"""Debian's Chromium, driven by selenium: no window, and no way to any network."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

_WAIT_SECONDS = 60


@contextmanager
def chromium(*, scripts: bool = True) -> Iterator[Any]:
    """A browser; the test is skipped where selenium or Chromium is not installed.

    Args:
        scripts: Whether pages may run scripts.
    """
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs the extra `browser`")
    programs = shutil.which("chromium"), shutil.which("chromedriver")
    if None in programs:
        pytest.skip("needs chromium and chromedriver (Debian: chromium, chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = programs[0]
    for argument in (
        "--headless=new",
        "--no-sandbox",  # as root, in a container
        "--disable-gpu",
        "--force-prefers-reduced-motion",
        "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    if not scripts:
        blocked = {"profile.managed_default_content_settings.javascript": 2}
        options.add_experimental_option("prefs", blocked)
    service = webdriver.ChromeService(executable_path=programs[1])
    driver = webdriver.Chrome(options=options, service=service)
    try:
        yield driver
    finally:
        driver.quit()


@dataclass
class Page:
    """One page in the browser."""

    driver: Any
    address: str

    @classmethod
    def opened(cls, driver: Any, file: Path, *, drawn: bool = True) -> Page:
        """Open a file, and wait until its first curves are drawn."""
        driver.get_log("browser")
        driver.get_log("performance")
        page = cls(driver, file.as_uri())
        page.resize(1200, "light")
        driver.get(page.address)
        if drawn:
            page.wait_until("return document.querySelector('figure canvas') !== null")
        return page

    def wait_until(self, script: str) -> None:
        """Wait until a script in the page returns true."""
        from selenium.webdriver.support.ui import WebDriverWait

        WebDriverWait(self.driver, _WAIT_SECONDS).until(lambda _: self.script(script))

    def script(self, text: str, *arguments: Any) -> Any:
        """What a script in the page returns."""
        return self.driver.execute_script(text, *arguments)

    def count(self, selector: str) -> int:
        """Number of elements."""
        return len(self.driver.find_elements("css selector", selector))

    def text(self) -> str:
        """All that can be read."""
        return str(self.driver.find_element("css selector", "body").text)

    def complaints(self) -> list[str]:
        """Errors and warnings of the page so far, refusals by its policy among them."""
        return [line["message"] for line in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """Addresses that the page asked for so far."""
        events = [json.loads(line["message"]) for line in self.driver.get_log("performance")]
        sent = [
            e["message"] for e in events if e["message"]["method"] == "Network.requestWillBeSent"
        ]
        return [one["params"]["request"]["url"] for one in sent]

    def resize(self, width: int, scheme: str, height: int = 900) -> None:
        """A window of that width in `light` or `dark`."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        features = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", features)

    def choose(self, name: str, value: str) -> None:
        """Choose an entry of a list."""
        self.set_value(name, value, "change")

    def set_value(self, name: str, value: str, event: str = "input") -> None:
        """Give an element a value, as a person does."""
        self.script(
            "const e = document.getElementById(arguments[0]); e.value = arguments[1];"
            "e.dispatchEvent(new Event(arguments[2], { bubbles: true }))",
            name,
            value,
            event,
        )

    def key(self, selector: str, key: str, times: int = 1) -> None:
        """Press a key in the first element that the selector finds."""
        element = self.driver.find_element("css selector", selector)
        from selenium.webdriver.common.keys import Keys

        names = {"ArrowLeft": Keys.ARROW_LEFT, "ArrowRight": Keys.ARROW_RIGHT}
        for _ in range(times):
            element.send_keys(names[key])

    def legend(self, panel: int = 0) -> list[str]:
        """Values at the cursor of one panel: of the axis, then of each curve."""
        found = self.script(
            "return [...document.querySelectorAll('figure')[arguments[0]]"
            ".querySelectorAll('.u-legend .u-value')].map(e => e.textContent)",
            panel,
        )
        return [str(value) for value in found]
