"""Tables on narrow and wide terminals."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from rich.cells import cell_len
from rich.table import Table

from app.cli.formatting import format_duration, format_status
from app.cli.sweep_tables import leaderboard_table, sweeps_table
from app.cli.tables import components_table, jobs_table, tokens_table
from app.cli.terminal import SafeConsole
from app.jobs.wording import format_bytes
from tests.app.cli.streams import make_job

JOB_ID = "job_01M87F5VA6DDRR9MKNWACAVRQK"
STATES = ("waiting", "queued", "starting", "running", "pausing", "paused", "cancelling", "cancelled", "succeeded")


def render(monkeypatch: pytest.MonkeyPatch, width: int, make: Any) -> str:
    monkeypatch.setenv("COLUMNS", str(width))
    table: Table = make()
    console = SafeConsole(file=StringIO(), width=width)
    console.print(table)
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


@pytest.mark.parametrize("width", [80, 100, 140, 200])
def test_ids_and_states_are_never_cut(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    metrics = {"test/accuracy_fused": 0.5}
    jobs = [make_job(JOB_ID, state, name="a name that is rather long", metrics=metrics) for state in STATES]
    lines = render(monkeypatch, width, lambda: jobs_table(jobs)).splitlines()[1:]
    assert len(lines) == len(STATES)
    for state, line in zip(STATES, lines, strict=True):
        assert [word in line for word in (JOB_ID, state, "test 0.500", "25 %")] == [True] * 4, line
        assert len(line) <= width


LONG = "日本 a name that is longer than any terminal is wide " * 8


@pytest.mark.parametrize("width", [40, 80, 100, 139, 140, 160, 200])
def test_long_names_are_shortened_and_ids_are_not(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    message = "a message that is longer than its column " * 2
    jobs = [make_job(JOB_ID, state, name=LONG, message=message) for state in ("queued", "failed", "succeeded")]
    lines = render(monkeypatch, width, lambda: jobs_table(jobs)).splitlines()
    assert len(lines) == 4
    for line, job in zip(lines[1:], jobs, strict=True):
        assert JOB_ID in line
        assert width < 80 or (cell_len(line) <= width and job["state"] in line), line
    # What fits is used.
    if width >= 80:
        assert max(map(cell_len, lines)) > width - 20
        assert "日本 " in lines[1]
        assert "…" in lines[1]


@pytest.mark.parametrize("width", [40, 80, 100, 200])
def test_long_names_leave_the_ids_of_sweeps_and_tokens_whole(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    counts = {"queued": 120, "running": 4, "succeeded": 3, "failed": 2}
    counted = {"count": 129, "counts": counts, "missing": 0, "stopped_early": 0, "reused": 0}
    sweep: dict[str, Any] = {
        "id": "swp_01M87F5VA6DDRR9MKNWACAVRQK",
        "name": LONG,
        "owner": "o" * 60,
        "count": 9,
        "counts": counts,
    }
    shown = render(monkeypatch, width, lambda: sweeps_table([sweep | counted]))
    assert sweep["id"] in shown
    token = {"id": "tok_01M87F5TBGPKHK35NBF1DGYYWS", "name": LONG, "owner": "o" * 60, "role": "viewer"}
    shown = render(monkeypatch, width, lambda: tokens_table([token | {"expires_at": "2030-01-31T00:00:00Z"}]))
    assert token["id"] in shown
    assert width < 100 or "viewer" in shown


@pytest.mark.parametrize("width", [80, 200])
def test_components_and_tokens_fit(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    metrics = {"accuracy_expert_12": 0.5}
    component = {"name": "expert_12", "id": "cmp_01M87FA14Q1ETEW15708341234", "epoch": 14, "bytes": 135_100}
    component |= {"selected_by": "accuracy_expert_12", "metrics": metrics, "sha256": "3282a436" * 8}
    shown = render(monkeypatch, width, lambda: components_table([component]))
    assert [str(word) in shown for word in (component["id"], "accuracy_expert_12", "135.1 kB")] == [True] * 3, shown
    token = {"id": "tok_01M87F5TBGPKHK35NBF1DGYYWS", "name": "laptop", "owner": "admin", "role": "viewer"}
    shown = render(monkeypatch, width, lambda: tokens_table([token | {"expires_at": None}]))
    assert [word in shown for word in (token["id"], "viewer", "never")] == [True] * 3, shown


def test_markup_and_emoji_codes_in_names_are_printed_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "x [/b] :x: [red]"
    assert name in render(monkeypatch, 200, lambda: jobs_table([make_job(JOB_ID, name=name)]))


LAST = {"metric": "test/accuracy_fused", "mode": "max", "better": "max", "run_value": "last"}
BEST = {"metric": "val/accuracy_fused", "mode": "max", "better": "max", "run_value": "best"}


@pytest.mark.parametrize(
    ("sweep", "footer"),
    [
        (BEST, "Of each run the best value of val/accuracy_fused over all epochs; higher is better"),
        (LAST, "Of each run the last value of test/accuracy_fused; higher is better"),
        (
            LAST | {"metric": "val/disagreement", "mode": "min", "better": None},
            "Of each run the last value of val/disagreement; neither higher nor lower is better: lowest first",
        ),
    ],
)
def test_a_leaderboard_says_which_value_of_each_run_counts(
    monkeypatch: pytest.MonkeyPatch, sweep: dict[str, Any], footer: str
) -> None:
    row = {"values": {"a": "x" * 40}, "n": 1, "mean": 0.5, "std": None, "stopped_early": 0, "best": JOB_ID}
    shown = render(monkeypatch, 200, lambda: leaderboard_table(sweep | {"leaderboard": [row]}))
    assert footer in " ".join(shown.split())


def test_a_leaderboard_names_each_path_by_its_last_part_where_that_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"fusion.type": "sum", "training.components.experts.lr": 0.1, "training.components.fusion.lr": 1.0}
    row = {"values": values, "n": 2, "mean": 0.5, "std": 0.1, "stopped_early": 0, "best": JOB_ID}
    sweep = LAST | {"leaderboard": [row]}
    header, line, *_ = render(monkeypatch, 200, lambda: leaderboard_table(sweep)).splitlines()
    assert header.split()[:4] == ["type", "training.components.experts.lr", "training.components.fusion.lr", "n"]
    assert line.split() == ["1", "sum", "0.1", "1.0", "2", "0.5000", "±", "0.1000", JOB_ID]


def test_a_leaderboard_shows_differences_and_how_they_were_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"values": {"a": 1}, "n": 3, "mean": 0.9, "std": 0.1, "best": JOB_ID, "stopped_early": False}
    difference = {"value": -0.0233, "low": -0.0612, "high": 0.0146, "p": 0.1181, "method": "seeds", "n": 3}
    others = [row | {"difference": difference}, row | {"difference": difference | {"method": "images", "n": 1}}]
    sweep = BEST | {"leaderboard": [row | {"is_baseline": True}, *others, row]}
    lines = render(monkeypatch, 200, lambda: leaderboard_table(sweep)).splitlines()
    assert "minus baseline" in lines[0]
    assert " baseline " in lines[1]
    assert "-2.3 (-6.1 to 1.5), p = 0.12, 3 seeds" in lines[2]
    assert "p = 0.12, 1 image " in lines[3]
    assert "paired t test over seeds" in " ".join(lines[5:])


def test_a_leaderboard_shows_intervals_and_test_accuracy_where_there_are_any(monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"values": {}, "n": 2, "mean": 0.5, "std": 0.1, "low": 0.4, "high": 0.6, "test_accuracy": 0.45}
    rows = [row | {"stopped_early": False, "best": JOB_ID}]
    sweep = BEST | {"leaderboard": rows}
    header, line, *_ = render(monkeypatch, 200, lambda: leaderboard_table(sweep)).splitlines()
    assert "95 % interval" in header
    assert "test accuracy" in header
    assert line.split()[-5:] == ["0.4000", "to", "0.6000", "0.4500", JOB_ID]


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1_500, "1.5 kB"), (2_500_000, "2.5 MB"), (3e12, "3000.0 GB")]
)
def test_bytes_have_a_unit(count: int, text: str) -> None:
    assert format_bytes(count) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0s"), (65, "1m 05s"), (3700, "1h 01m")])
def test_durations_have_two_units_at_most(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"state": "waiting", "waits_for": ["a"]}, "for 1 job"),
        ({"state": "waiting", "waits_for": ["a", "b"]}, "for 2 jobs"),
        ({"state": "paused"}, "`mcn resume ID`"),
        ({"state": "cancelled", "reason": "user"}, "by a user"),
        ({"state": "failed", "reason": "lost", "message": "killed\nmore"}, "killed"),
        ({"state": "queued", "message": "x" * 99}, "x" * 59 + "…"),
    ],
)
def test_the_status_explains_the_state(fields: dict[str, Any], text: str) -> None:
    assert format_status(make_job(JOB_ID, **fields)) == text
