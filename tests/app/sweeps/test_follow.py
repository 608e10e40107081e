"""A sweep from the command line to its leaderboard, on a running service."""

from __future__ import annotations

import json
import re

from tests.app.api import EXPERT
from tests.e2e.running import ROOT, Running

TYPES_FILE = str(ROOT / "examples/digits/sweep_fusion_types.yaml")
SHORT = "base.training.epochs=1", "grid.fusion.type=[multiplicative]", "grid.training.seed=[1, 2]"


def test_the_command_line_follows_a_sweep_to_its_leaderboard(up: Running) -> None:
    def mcn(*words: str, code: int = 0, stdin: str = "") -> str:
        done = up.cli(*words, stdin=stdin)
        assert done.returncode == code, (words, done.stdout, done.stderr)
        return done.stdout + done.stderr

    short = [word for override in SHORT for word in ("--set", override)]
    output = mcn("sweep", TYPES_FILE, *short, "--follow")
    sweep_id = output.split()[0]
    assert "2 points: 2 queued" in output
    assert re.search(r"\n2 succeeded\n", output)
    assert re.search(r"1 +multiplicative +2 +0\.\d{4} ± 0\.\d{4} +-?\d\.\d{4} to \d\.\d{4} +0\.\d{4} +job_", output)
    assert "2 points: 0 new, 2 reused" in mcn("sweep", TYPES_FILE, *short, "--dry-run")
    assert "2 points: 2 new, 0 reused" in mcn("sweep", TYPES_FILE, *short, "--dry-run", "--fresh")
    assert sweep_id in mcn("sweeps")
    assert "2 succeeded" in mcn("show", sweep_id)
    assert "val/loss_global" in mcn("leaderboard", sweep_id, "--metric", "val/loss_global")
    assert mcn("leaderboard", sweep_id, "--csv").startswith(
        "rank,fusion.type,metric,n,mean,std,low,high,test_accuracy,best,stopped_early,jobs,"
    )
    assert json.loads(mcn("leaderboard", sweep_id, "--json"))["leaderboard"][0]["n"] == 2
    assert mcn("jobs", "--sweep", sweep_id).count("succeeded") == 2
    for verb in ("cancel", "retry", "watch"):
        assert "2 succeeded" in mcn(verb, sweep_id)
    # There is no CIFAR-100 here.
    failing = {"base": EXPERT | {"dataset": {"name": "cifar100"}}, "grid": {"training.seed": [1]}}
    output = mcn("sweep", "-", "--follow", code=1, stdin=json.dumps(failing))
    assert "1 of 1 points have no result" in output
    assert "grid.training.x: there is no such field" in mcn(
        "sweep", TYPES_FILE, *short, "--set", "grid.training.x=[1]", code=2
    )
    assert "there is no sweep" in mcn("leaderboard", "swp_none", code=2)
