"""Debian's Chromium without a screen, through Selenium."""

import base64
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY

SCREENSHOTS = REPOSITORY / "screenshots"

# The colour of each text and of what is behind it, in sRGB, and their contrast by WCAG 2. The browser says colours in
# many notations; a canvas knows them all.
CONTRASTS = """
const context = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
const over = (below, colour) => {
  context.fillStyle = `rgb(${below})`;
  context.fillRect(0, 0, 1, 1);
  context.fillStyle = colour;
  context.fillRect(0, 0, 1, 1);
  return [...context.getImageData(0, 0, 1, 1).data.slice(0, 3)];
};
const linear = (part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
const luminance = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
const behind = (element) => {
  const layers = [];
  for (let each = element; each; each = each.parentElement) layers.push(getComputedStyle(each).backgroundColor);
  return layers.reverse().reduce(over, [255, 255, 255]);
};
const found = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const element = walker.currentNode.parentElement;
  const isShown = element.checkVisibility({visibilityProperty: true}) && !element.closest('script, style, option');
  if (!isShown || !walker.currentNode.data.trim()) continue;
  const style = getComputedStyle(element);
  const below = behind(element);
  const text = over(below, element.closest('svg text') ? style.fill : style.color);
  const [dark, light] = [luminance(below), luminance(text)].sort((a, b) => a - b);
  found.push([(light + 0.05) / (dark + 0.05), walker.currentNode.data.trim().slice(0, 40), text, below]);
}
return found;
"""


class Page:
    """A page in the browser, and what a test asks of it."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, path: Path) -> None:
        self.size(1400, 900)
        self.dark(False)
        self.driver.get(path.as_uri())
        self.wait("return performance.getEntriesByName('page-complete').length")

    def run(self, script: str, *arguments: object) -> Any:
        return self.driver.execute_script(script, *arguments)

    def wait(self, script: str) -> Any:
        from selenium.webdriver.support.wait import WebDriverWait

        return WebDriverWait(self.driver, 20, poll_frequency=0.05).until(lambda _: self.run(script))

    def wait_for_status(self, start: str) -> None:
        """Waits until the line above the lists starts like this: a search has had its effect."""
        self.wait(f"return document.querySelector('[role=status]').textContent.startsWith('{start}')")

    def one(self, css: str) -> Any:
        return self.driver.find_element("css selector", css)

    def texts(self, css: str) -> list[str]:
        """The text of each such element that is in the document, in order."""
        return list(self.run("return [...document.querySelectorAll(arguments[0])].map((e) => e.textContent)", css))

    def choose(self, label: str, option: str, within: str = "#solutions") -> None:
        """Chooses an option of the control with a label, as a person would."""
        from selenium.webdriver.support.select import Select

        for control in self.driver.find_elements("css selector", f"{within} label.control"):
            if control.find_element("tag name", "span").text == label:
                Select(control.find_element("tag name", "select")).select_by_visible_text(option)
                return
        raise AssertionError(f"no control {label!r}")

    def press(self, *keys: str) -> None:
        """Presses keys where the focus is."""
        from selenium.webdriver import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()

    def dark(self, wanted: bool) -> None:
        value = "dark" if wanted else "light"
        self._devtools("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": value}])

    def size(self, width: int, height: int) -> None:
        self._devtools(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )

    def screenshot(self, name: str, *, whole: bool = False) -> None:
        """Keeps what the page looks like: what is in sight, or all of it."""
        options: dict[str, object] = {}
        if whole:
            size = self._devtools("Page.getLayoutMetrics")["cssContentSize"]
            options = {"captureBeyondViewport": True, "clip": {**size, "height": min(size["height"], 8000), "scale": 1}}
        SCREENSHOTS.mkdir(exist_ok=True)
        picture = self._devtools("Page.captureScreenshot", **options)["data"]
        (SCREENSHOTS / f"{name}.png").write_bytes(base64.b64decode(picture))

    def accessible_elements(self) -> list[tuple[str, str]]:
        """Role and name of every element, as the browser tells them to a screen reader."""
        nodes = self._devtools("Accessibility.getFullAXTree")["nodes"]
        return [
            (node["role"]["value"], node.get("name", {}).get("value", ""))
            for node in nodes
            if not node["ignored"] and "role" in node
        ]

    def contrasts(self) -> list[tuple[float, str, list[int], list[int]]]:
        """Contrast, text, its colour and that behind it, of every text in the document that is shown."""
        return [(each[0], each[1], each[2], each[3]) for each in self.run(CONTRASTS)]

    def complaints(self) -> list[str]:
        """What the browser has written to its console since the last call."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def _devtools(self, command: str, **arguments: object) -> Any:
        return self.driver.execute_cdp_cmd(command, arguments)


def start_chromium() -> Any:
    """A driver of Chromium; the test is skipped where there is none."""
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if browser is None or driver is None:
        pytest.skip("needs chromium and chromedriver: apt-get install chromium chromium-driver")
    pytest.importorskip("selenium", reason="needs selenium")
    from selenium.webdriver import Chrome
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    options.binary_location = browser
    # A sandbox needs rights that containers lack; the pages are this test's own.
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return Chrome(options=options, service=Service(driver))
