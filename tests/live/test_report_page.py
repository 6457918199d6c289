"""A report as a browser draws it: what is written into the charts is inside of them."""

import json
import shutil
from pathlib import Path

import pytest

from runtime.report.page import page
from runtime.report.record import make_report
from tests.runtime.report.books import SPY, T0, fill, record, trained

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs a chromium on the path")

LISTEN = """
window.drawn = [];
const write = CanvasRenderingContext2D.prototype.fillText;
CanvasRenderingContext2D.prototype.fillText = function (text, x, y) {
  const size = this.measureText(text);
  const left = { left: 0, start: 0, center: size.width / 2, right: size.width, end: size.width };
  window.drawn.push({
    chart: this.canvas.closest("[id]").id, text, x: x - left[this.textAlign], width: size.width,
    top: y - size.actualBoundingBoxAscent, canvas: this.canvas.width,
  });
  return write.apply(this, arguments);
};
"""


@pytest.mark.timeout(120)
@pytest.mark.parametrize("width", [1200, 390])
def test_the_version_at_the_right_edge_is_shown_whole(tmp_path: Path, width: int) -> None:
    from playwright.sync_api import sync_playwright

    rows = []
    for number, day in enumerate((0.0, 5.0, 9.99), 1):
        job = f"fit-{number}"
        rows += [
            trained(day, "started", job),
            trained(day, "model published", job, text="slot", version=number),
            trained(day, "finished", job, elapsed=1.0),
        ]
    report = record(
        [1000 + n for n in range(11)],
        [fill(0.5, "1", "100")],
        training=rows,
        prices={SPY: [(T0, 100.0)]},
    )
    file = tmp_path / "report.html"
    file.write_text(page(make_report(report)), "utf-8")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": width, "height": 900})
        tab.add_init_script(LISTEN)
        tab.goto(file.as_uri())
        tab.wait_for_function("window.drawn.some((each) => each.text === 'v1')")
        drawn = json.loads(tab.evaluate("JSON.stringify(window.drawn)"))
        browser.close()
    labels = {each["text"]: each for each in drawn if each["chart"] == "jobs"}
    assert {"v1", "v2", "v3"} <= labels.keys()
    for each in (labels[name] for name in ("v1", "v2", "v3")):
        assert each["x"] >= 0
        assert each["x"] + each["width"] <= each["canvas"]
        assert each["top"] >= 0
