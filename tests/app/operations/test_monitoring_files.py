"""The files in docs/monitoring/: every metric, label and value that they name exists in a scrape of the service."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from app.db import now, transaction
from app.models import Attempt, Reason, State, Worker
from app.operations.collectors import EXECUTORS
from core.run.protocol import OutcomeKind
from tests.app.api import Service
from tests.parts import need

FOLDER = Path(__file__).parents[3] / "docs/monitoring"
PAGE = (FOLDER.parent / "monitoring.md").read_text()
ALERTS = FOLDER / "alerts.yml"
[GROUP] = yaml.safe_load(ALERTS.read_text())["groups"]
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "dashboard.json").read_text())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
EXPRESSIONS = {
    **{rule["alert"]: rule["expr"] for rule in GROUP["rules"]},
    **{f"{panel['title']} {target['refId']}": target["expr"] for panel in PANELS for target in panel["targets"]},
}
_METRIC = re.compile(r"\b((?:mcn|process)_[a-z_]+)(?:\{([^}]*)\})?")
_MATCHER = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"')
# Those that Prometheus itself adds.
TARGET_LABELS = {"job", "instance"}
VALUES: dict[str, set[str]] = {
    "device": {"gpu", "cpu"},
    "executor": set(EXECUTORS),
    "job": {"mcn"},
    "outcome": set(OutcomeKind),
    "reason": {*Reason, ""},
    "round": {"local", "remote"},
    "state": set(State),
    "status": {"2xx", "3xx", "4xx", "5xx"},
}


def used() -> Iterator[tuple[str, str]]:
    """Every metric that an expression names, with its matchers."""
    for expression in EXPRESSIONS.values():
        for match in _METRIC.finditer(expression):
            yield match[1], match[2] or ""


@pytest.fixture(scope="module")
def scraped(shared_service: Service) -> dict[str, set[str]]:
    """The labels of every sample of a service of which every metric has one, by the sample's name."""
    job_id = shared_service.submit()
    shared_service.transition(job_id, State.starting, State.running, attempt=1)
    timings = {"local_round_s": 0.1, "remote_round_s": 0.1, "ingest_lag_s": 0.0}
    disk = {"free_bytes": 1, "starts_paused": False}
    with transaction(shared_service.app.state.engine) as session:
        values: dict[str, Any] = {"host": "a", "devices": [], "executor": "local", "outcome": "lost"}
        session.add(Attempt(job_id=job_id, number=1, ended_at=now(), **values))
        session.add(
            Worker(host="a", devices=["0"], seen_at=now(), slurm={"reachable": True}, disk=disk, timings=timings)
        )
    text = shared_service.get("/metrics").text
    families = text_string_to_metric_families(text)
    return {sample.name: set(sample.labels) for family in families for sample in family.samples}


def test_every_metric_and_every_label_of_a_matcher_exists(scraped: dict[str, set[str]]) -> None:
    assert len(set(used())) > 20
    assert {name for name, _ in used()} - set(scraped) == set()
    for name, matchers in used():
        labels = dict(_MATCHER.findall(matchers))
        assert set(labels) <= scraped[name] | TARGET_LABELS, name
        for label, pattern in labels.items():
            assert set(pattern.split("|")) <= VALUES[label], (name, label)


def test_everything_is_on_the_dashboard(scraped: dict[str, set[str]]) -> None:
    shown = {name for name, _ in used()}
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in (*shown, *scraped) if name.startswith("mcn_")}
    assert {family for family in families if not any(name.startswith(family) for name in shown)} == set()


def test_the_page_describes_every_metric_with_its_labels(scraped: dict[str, set[str]]) -> None:
    described: dict[str, set[str]] = {}
    for names, labels in re.findall(r"^\| (`mcn_[^|]*)\|([^|]*)\|", PAGE, re.MULTILINE):
        for name in re.findall(r"`(\w+)`", names):
            described[name] = set(re.findall(r"`(\w+)`", labels))
    suffixes = re.compile(r"(?<=duration_seconds)_(bucket|sum|count)$")
    ours = {suffixes.sub("", name): labels - {"le"} for name, labels in scraped.items() if name.startswith("mcn_")}
    assert described == ours


def test_labels_are_never_ids_or_paths(scraped: dict[str, set[str]]) -> None:
    # Each value of a label is a series of its own, which Prometheus keeps for weeks.
    assert set.union(*scraped.values()) == {*VALUES, "le", "method", "route", "worker"} - TARGET_LABELS


@pytest.mark.parametrize("rule", GROUP["rules"], ids=lambda rule: str(rule["alert"]))
def test_a_rule_says_how_bad_it_is_and_what_to_do(rule: dict[str, Any]) -> None:
    assert re.fullmatch(r"Mcn[A-Za-z]+", rule["alert"])
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert rule["annotations"].keys() == {"summary", "description"}
    assert len(rule["annotations"]["description"]) > 40
    assert re.fullmatch(r"\d+m", rule.get("for", "0m"))


def test_panels_do_not_overlap_and_read_the_chosen_data_source() -> None:
    cells: set[tuple[int, int]] = set()
    for panel in PANELS:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        covered = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & covered, panel["title"]
        cells |= covered
        sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
        assert {source["uid"] for source in sources} == {"${datasource}"}
    ids = [panel["id"] for panel in PANELS]
    assert len(ids) == len(set(ids))
    assert [variable["name"] for variable in DASHBOARD["templating"]["list"]] == ["datasource"]


@pytest.mark.processes
def test_promtool_accepts_the_rules_and_the_expressions_of_the_dashboard(tmp_path: Path) -> None:
    promtool = need("promtool", "promtool")
    rules = [
        {"record": f"panel:{number}", "expr": expression.replace("$__rate_interval", "5m")}
        for number, expression in enumerate(EXPRESSIONS.values())
    ]
    (tmp_path / "panels.yml").write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    command = [promtool, "check", "rules", str(ALERTS), str(tmp_path / "panels.yml")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
