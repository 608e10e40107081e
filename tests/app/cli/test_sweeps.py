from __future__ import annotations

import json

from tests.app.api import FUSION
from tests.app.cli.conftest import Cli

WHOLE = FUSION | {"dataset": {"name": "digits"}, "training": {"epochs": 3}, "controls": True}
SWEEP = {"base": WHOLE, "grid": {"fusion.type": ["multiplicative", "simpleAddition"], "training.seed": [1, 2]}}


def test_a_dry_run_prints_the_controls_and_their_cost(cli: Cli) -> None:
    lines = cli("sweep", "-", "--dry-run", stdin=json.dumps(SWEEP)).stdout.splitlines()
    assert "Controls beside them: 5 new, 0 reused" in lines
    assert "  control: one convnet_small on all of digits, seed 1 (of 2 points)" in lines
    assert any(line.startswith("  no frozen of 4 points: experts that start untrained") for line in lines)
    assert "9 of 9 new points and controls" in lines[-1]
    assert "0.00" not in lines[-1]
    without = cli("sweep", "-", "--dry-run", "--set", "base.controls=false", stdin=json.dumps(SWEEP)).stdout
    assert "ontrols" not in without


def test_a_dry_run_costs_nothing_where_every_point_has_a_job(cli: Cli) -> None:
    text = json.dumps(SWEEP | {"base": WHOLE | {"controls": False}})
    cli("sweep", "-", stdin=text)
    lines = cli("sweep", "-", "--dry-run", stdin=text).stdout.splitlines()
    assert lines[-1] == "Cost: none (no new jobs: every point has a job already)"
