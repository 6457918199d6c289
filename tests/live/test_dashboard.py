"""The dashboard in a real browser: what it shows is what the API says, and its buttons do it."""

import shutil
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.live.cli_kit import Running, strategy

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
TOKEN = "t" * 40
SHOTS = Path(__file__).parents[2] / "build" / "screenshots"
"""Kept after the tests, for people to look at."""
SHOWN = {"Authorization": f"Bearer {TOKEN}"}
BODY = """
def initialize(self):
    self.spy = self.add_security('SPY', Resolution.TICK).symbol
    self.model = ModelSlot('m')
    self.ticks = 0
def fit(self):
    return self.ticks
def on_data(self, slice):
    self.ticks += 1
    if self.ticks in (5, 10):
        self.train(self.fit, into=self.model)
    if self.ticks == 20:
        self.market_order('SPY', 3)
    if self.ticks == 30:
        self.log('<b>going</b>', ticks=self.ticks)
"""

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="needs a chromium on the path"),
    pytest.mark.timeout(180),
    pytest.mark.xdist_group("browser"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number: int = free.getsockname()[1]
        return number


def start(folder: Path, port: int) -> Running:
    env = {"TIDEGATE_API_TOKEN": TOKEN}
    args = ("--rate", "100", "--api", f"127.0.0.1:{port}")
    return Running(folder, "run", strategy(folder, BODY), *args, env=env)


def opened(browser: Browser, url: str, **options: Any) -> tuple[Page, list[str]]:
    page = browser.new_context(**options).new_page()
    page.set_default_timeout(30_000)
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(url)
    return page, faults


def test_it_shows_the_run_and_steers_it(tmp_path: Path, browser: Browser, port: int) -> None:
    base = f"http://127.0.0.1:{port}"
    expect.set_options(timeout=30_000)
    with start(tmp_path, port) as running:
        running.until("<b>going</b>")
        page, faults = opened(browser, f"{base}/#token={TOKEN}")
        expect(page.locator("#link")).to_have_text("live")
        assert TOKEN not in page.url
        status = httpx.get(f"{base}/v1/status", headers=SHOWN).json()
        expect(page.locator("#name")).to_have_text(status["name"])
        expect(page.locator("#quota")).to_have_text("120/120")
        expect(page.locator("#fills")).to_have_text("1")
        expect(page.locator("#positions")).to_contain_text("SPY")
        expect(page.locator("#models")).to_contain_text("v2")
        expect(page.locator("#timeline .lane")).to_have_count(1)
        expect(page.locator("#price canvas")).to_be_visible()
        expect(page.locator("#log")).to_contain_text("<b>going</b>")  # as text, not as markup

        page.click("#off")
        expect(page.locator("#training")).to_have_text("off")
        page.click("#on")
        expect(page.locator("#training")).to_have_text("on")
        page.click("#now")
        expect(page.locator("#models")).to_contain_text("v3")
        page.click("#models button")
        page.click("#sure button[value=yes]")
        expect(page.locator("#models b + span")).to_have_text("v2")
        page.click("#halt")
        page.click("#sure button[value=no]")
        expect(page.locator("#halted")).to_be_hidden()
        page.click("#halt")
        page.click("#sure button[value=yes]")
        expect(page.locator("#halted")).to_contain_text("from the dashboard")
        page.click("#resume")
        expect(page.locator("#halted")).to_be_hidden()
        page.fill("#grep", "rolled back")
        expect(page.locator("#log div")).to_have_count(1)
        page.fill("#grep", "")
        page.evaluate("scrollTo(0, 0)")
        page.screenshot(path=SHOTS / "wide.png", full_page=True)
        running.send(signal.SIGTERM)
        assert running.end().code == 0

        expect(page.locator("#link")).to_have_text("not connected")
        with start(tmp_path, port) as again:
            again.until("<b>going</b>")
            expect(page.locator("#link")).to_have_text("live")
            again_name = httpx.get(f"{base}/v1/status", headers=SHOWN).json()["pid"]
            expect(page.locator("#run")).to_contain_text(str(again_name))
        assert faults == []


def test_without_the_token_it_asks_for_it_and_a_phone_needs_no_sideways_scrolling(
    tmp_path: Path, browser: Browser, port: int
) -> None:
    expect.set_options(timeout=30_000)
    with start(tmp_path, port) as running:
        running.until("<b>going</b>")
        small = {"width": 390, "height": 800}
        page, faults = opened(
            browser, f"http://127.0.0.1:{port}/", viewport=small, color_scheme="dark"
        )
        expect(page.locator("#login")).to_be_visible()
        expect(page.locator("#main")).to_be_hidden()
        page.fill("#token", TOKEN)
        page.keyboard.press("Enter")
        expect(page.locator("#link")).to_have_text("live")
        expect(page.locator("#login")).to_be_hidden()
        assert page.evaluate("document.documentElement.scrollWidth") <= small["width"]
        page.screenshot(path=SHOTS / "phone.png", full_page=True)
        assert faults == []


def test_by_keyboard_alone_and_the_place_is_kept_while_figures_change(
    tmp_path: Path, browser: Browser, port: int
) -> None:
    expect.set_options(timeout=30_000)
    with start(tmp_path, port) as running:
        running.until("<b>going</b>")
        page, faults = opened(browser, f"http://127.0.0.1:{port}/#token={TOKEN}")
        expect(page.locator("#models")).to_contain_text("v2")
        page.locator("#halt").focus()
        page.keyboard.press("Enter")
        expect(page.locator("#sure")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.locator("#sure")).to_be_hidden()
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")  # Yes
        expect(page.locator("#halted")).to_contain_text("from the dashboard")
        page.locator("#models button").focus()
        ticks = page.inner_text("#ticks")
        expect(page.locator("#ticks")).not_to_have_text(ticks)
        assert page.evaluate("document.activeElement.textContent") == "Roll back"
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        expect(page.locator("#models b + span")).to_have_text("v1")
        assert faults == []


LONG = """
(hours) => {
  const found = structuredClone(state.shown), from = found.snapshot.time;
  for (let n = 1; n <= hours * 3600; n++) {
    found.snapshot.time = from + n * 1e9;
    found.snapshot.status.ticks += 100;
    found.snapshot.prices = { SPY: 100 + Math.sin(n / 100) };
    if (n % 300) { grow(state.curve, from / NS + n, 1); grow(state.loop, from / NS + n, 1, 1);
      grow(state.quota, from / NS + n, 1); grow(state.prices.get("SPY"), from / NS + n, 1); }
    else show(found);
    if (n % 10 === 0) take("line", { time: from, level: "info", event: `line ${n}`, fields: {} });
  }
  return [document.querySelectorAll("*").length, state.curve[0].length, state.loop[0].length,
    state.quota[0].length, Math.max(...[...state.prices.values()].map((c) => c[0].length)),
    Object.keys(state.charts).length, at("log").childElementCount];
}
"""


def test_a_page_left_open_for_days_holds_no_more_than_one_of_hours(
    tmp_path: Path, browser: Browser, port: int
) -> None:
    """Snapshots of many hours, one after the other: what is kept is bounded, and so is the page."""
    with start(tmp_path, port) as running:
        running.until("<b>going</b>")
        page, faults = opened(browser, f"http://127.0.0.1:{port}/#token={TOKEN}")
        expect(page.locator("#models")).to_contain_text("v2")
        first, second = page.evaluate(LONG, 3), page.evaluate(LONG, 6)
        assert second[1:] == [3600, 3600, 3600, 3600, 4, 1000]
        assert abs(second[0] - first[0]) < 20  # elements
        assert faults == []


def test_trouble_with_the_log_is_shown(tmp_path: Path, browser: Browser, port: int) -> None:
    args = ("--rate", "100", "--api", f"127.0.0.1:{port}", "--log-file", "/dev/full")
    env = {"TIDEGATE_API_TOKEN": TOKEN}
    with Running(tmp_path, "run", strategy(tmp_path, BODY), *args, env=env) as running:
        running.until("<b>going</b>")
        page, faults = opened(browser, f"http://127.0.0.1:{port}/#token={TOKEN}")
        expect(page.locator("#places")).to_contain_text("file: No space left on device")
        assert faults == []
