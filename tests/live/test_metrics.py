"""What docs/ asks of Prometheus is what a run exports, name by name; promtool agrees."""

import json
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.live.cli_kit import ROOT, Running, strategy

RULES, DASHBOARD = ROOT / "docs/prometheus-rules.yml", ROOT / "docs/grafana-dashboard.json"
PROMTOOL = shutil.which("promtool")
LIST = """events slices latency_seconds loop_lag_seconds pending_events reconnects gaps
predictions_made predictions_skipped jobs jobs_ended quota_available_minutes orders fills equity"""
"""Point 4 of what was asked for."""
BODY = """
def initialize(self):
    self.add_security('SPY', Resolution.TICK)
    self.model = ModelSlot('m')
    self.ticks = self.made = self.skipped = 0
def fit(self):
    return 1
def on_data(self, slice):
    self.ticks += 1
    if self.ticks == 5:
        self.train(self.fit, into=self.model)
        self.market_order('SPY', 1)
    if self.ticks <= 200:
        if self.model.is_ready:
            self.made += 1
        else:
            self.skipped += 1
    if self.ticks == 200:
        self.log('counted', made=self.made, skipped=self.skipped)
"""


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, dict[str, Any]]:
    """The families of a run that has traded and trained, and what its strategy has counted."""
    folder = tmp_path_factory.mktemp("run")
    with Running(folder, "run", strategy(folder, BODY), "--rate", "200") as running:
        counted = running.until("counted")
        path = str(folder / ".tidegate" / "Mine" / "api.sock")
        transport = httpx.HTTPTransport(uds=path)
        with httpx.Client(transport=transport, base_url="http://tidegate", timeout=30) as http:
            while http.get("/v1/status").json()["snapshot"]["counts"]["events"] < 200:
                time.sleep(0.1)
            text = http.get("/metrics").text
    return list(text_string_to_metric_families(text)), counted


def names(exported: Any) -> dict[str, set[str]]:
    """Each name that can be asked for, with its labels."""
    found: dict[str, set[str]] = {}
    for family in exported[0]:
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}
        for suffix in suffixes.get(family.type, [""]):
            found[family.name + suffix] = set()
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def expressions() -> dict[str, str]:
    rules = yaml.safe_load(RULES.read_text())
    found = {rule["alert"]: rule["expr"] for group in rules["groups"] for rule in group["rules"]}
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel["targets"]:
            found[f"{panel['title']} {target['refId']}"] = target["expr"]
    return found


def test_every_metric_of_the_list_is_exported(exported: Any) -> None:
    there = {family.name for family in exported[0]}
    assert {f"tidegate_{name}" for name in LIST.split()} <= there
    assert all(family.documentation for family in exported[0])


@pytest.mark.parametrize("where", expressions())
def test_rules_and_dashboard_ask_for_what_there_is(exported: Any, where: str) -> None:
    asked = re.findall(r"\btidegate_[a-z0-9_]+", expressions()[where])
    assert asked or "up{" in expressions()[where]
    assert set(asked) <= set(names(exported))


def test_legends_and_groups_use_labels_that_there_are(exported: Any) -> None:
    labels = set().union(*names(exported).values()) | {"instance", "le", "job", "cause"}
    texts = DASHBOARD.read_text() + RULES.read_text()
    used = set(re.findall(r"\{\{ ?(?:\$labels\.)?(\w+) ?\}\}", texts)) - {"value"}
    grouped = {name for by in re.findall(r"by \(([^)]*)\)", texts) for name in by.split(", ")}
    assert used | grouped <= labels


def test_every_metric_has_a_place_in_the_dashboard_or_a_rule(exported: Any) -> None:
    asked = " ".join(expressions().values()) + DASHBOARD.read_text()
    for family in exported[0]:
        if family.name not in {
            "tidegate_start_time_seconds",
            "tidegate_quota_next_refill_seconds",
            "tidegate_model_trained_time_seconds",
        }:
            assert family.name in asked, family.name


def test_predictions_made_and_skipped_are_as_the_strategy_counts_them(exported: Any) -> None:
    families, counted = exported
    found = {
        family.name: sum(s.value for s in family.samples if s.name.endswith("_total"))
        for family in families
    }
    assert found["tidegate_predictions_made"] == counted["made"] > 0
    assert found["tidegate_predictions_skipped"] == counted["skipped"] > 0


def test_panels_do_not_overlap() -> None:
    cells = [
        (x, y)
        for panel in json.loads(DASHBOARD.read_text())["panels"]
        for place in [panel["gridPos"]]
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


@pytest.mark.skipif(PROMTOOL is None, reason="needs promtool on the path")
def test_promtool_agrees(exported: Any, tmp_path: Path) -> None:
    del exported
    assert PROMTOOL is not None
    said = subprocess.run(
        [PROMTOOL, "check", "rules", RULES], capture_output=True, text=True, check=False
    )
    assert said.returncode == 0, said.stderr
    asked = tmp_path / "asked.yml"
    groups = [
        {
            "name": "panels",
            "rules": [
                {"record": f"panel:{n}", "expr": text.replace("$run", ".*")}
                for n, text in enumerate(expressions().values())
            ],
        }
    ]
    asked.write_text(yaml.safe_dump({"groups": groups}))
    said = subprocess.run(
        [PROMTOOL, "check", "rules", asked], capture_output=True, text=True, check=False
    )
    assert said.returncode == 0, said.stderr
