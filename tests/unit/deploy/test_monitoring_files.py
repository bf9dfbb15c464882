"""The dashboard and the alerts ask for metrics and labels that there are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from promql import SAMPLES, names, problems

ROOT = Path(__file__).parents[3]
DASHBOARD = json.loads((ROOT / "deploy/grafana/metamcp.json").read_text(encoding="utf-8"))
ALERTS = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text(encoding="utf-8"))
RULES: list[dict[str, Any]] = [rule for group in ALERTS["groups"] for rule in group["rules"]]
PANELS: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def queries() -> Iterator[tuple[str, str]]:
    for panel in PANELS:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


@pytest.mark.parametrize(("title", "query"), list(queries()))
def test_every_query_of_the_dashboard_asks_for_what_there_is(title: str, query: str) -> None:
    assert problems(query) == [] and names(query)


def test_every_variable_of_the_dashboard_is_declared_and_asks_for_what_there_is() -> None:
    variables = DASHBOARD["templating"]["list"]
    of_grafana = {"__rate_interval", "__range", "__all"}
    used = {name or other for name, other in re.findall(r"\$(?:\{(\w+)\}|(\w+))", json.dumps(DASHBOARD))}
    assert used - of_grafana == {variable["name"] for variable in variables}
    for variable in variables:
        if variable["type"] == "query":
            ((selector, label),) = re.findall(r"^label_values\((.*), (\w+)\)$", variable["query"]["query"])
            (name,) = names(selector)
            assert problems(selector) == [] and label in SAMPLES[name] | {"instance"}


def test_panels_have_identities_and_places_of_their_own() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    cells = [
        (x, y)
        for at in (panel["gridPos"] for panel in DASHBOARD["panels"])
        for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])
    ]  # fmt: skip
    assert len(set(cells)) == len(cells) and max(x for x, _ in cells) < 24


def test_the_dashboard_shows_every_family() -> None:
    shown = {name for _, query in queries() for name in names(query)}
    families = {re.sub(r"_(bucket|sum|count)$", "", name) if name.endswith("_bucket") else name for name in shown}
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in SAMPLES} - families == set()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_every_alert_asks_for_what_there_is_and_says_what_to_do(rule: dict[str, Any]) -> None:
    assert problems(rule["expr"]) == []
    assert names(rule["expr"]) or rule["expr"].startswith("up{")
    assert re.fullmatch(r"MetaMCP(?:[A-Z][a-z]+)+", rule["alert"])
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert rule["annotations"].keys() == {"summary", "description"}
    labels = set(re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"])))
    known = {"instance"}.union(*(SAMPLES[name] for name in names(rule["expr"])))
    assert labels <= known
    if grouped := re.search(r"by \(([^)]*)\)", rule["expr"]):
        assert labels <= {label.strip() for label in grouped[1].split(",")}


def test_each_alert_has_a_name_of_its_own() -> None:
    assert len({rule["alert"] for rule in RULES}) == len(RULES) > 10


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("rate(metamcp_cals_total[5m])", "no such metric"),
        ("metamcp_calls_total{tool=\"x\"}", "no such label"),
        ("metamcp_call_duration_seconds > 1", "no such metric"),
        ("sum by (tool) (metamcp_calls_total)", "has the label 'tool'"),
        ("metamcp_calls_total{server=x}", "is no matcher"),
        ("sum(metamcp_calls_total", "parentheses"),
    ],
)
def test_a_wrong_query_is_found(query: str, problem: str) -> None:
    assert [found for found in problems(query) if problem in found]
