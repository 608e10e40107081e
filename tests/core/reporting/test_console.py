from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from core.plan.data_size import find_data_size
from core.plan.plan import make_plan
from core.reporting.console import ConsoleReporter, format_duration
from core.reporting.tables import metrics_table, plan_table
from core.spec import parse_spec
from tests.core.jobs import fusion


def progress(epoch: int, step: int) -> dict[str, Any]:
    return {"epoch": epoch, "epochs": 2, "step": step, "steps": 8, "images_per_s": 1234.5, "eta_s": 61.0}


def test_off_a_terminal_there_is_one_line_per_epoch() -> None:
    file = io.StringIO()
    reporter = ConsoleReporter(Console(file=file))
    reporter.emit("metrics", {"step": 1, "values": {"train/loss_total": 0.5}})
    for epoch, step in ((0, 1), (0, 2), (1, 4), (2, 8)):
        reporter.emit("progress", progress(epoch, step))
    assert file.getvalue().splitlines() == [
        "epoch 0/2  step 1/8  loss 0.500  1,234 img/s  1m 01s left",
        "epoch 1/2  step 4/8  loss 0.500  1,234 img/s  1m 01s left",
        "epoch 2/2  step 8/8  loss 0.500  1,234 img/s",
    ]


def test_warnings_of_the_plan_and_messages_are_printed_without_markup() -> None:
    file = io.StringIO()
    reporter = ConsoleReporter(Console(file=file))
    reporter.emit("config", {"warnings": ["the product [bold] degenerates"]})
    reporter.emit("log", {"level": "info", "message": "resuming [red]"})
    assert file.getvalue() == "warning: the product [bold] degenerates\ninfo: resuming [red]\n"


@pytest.mark.parametrize(("seconds", "text"), [(40.4, "40s"), (123, "2m 03s"), (3900, "1h 05m"), (0, "0s")])
def test_durations_are_formatted(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def rendered(table: object) -> str:
    file = io.StringIO()
    Console(file=file, width=200).print(table)
    return file.getvalue()


def test_the_table_of_a_plan_shows_its_warnings() -> None:
    spec = parse_spec(fusion(count=9))
    plan = make_plan(spec, find_data_size(spec, []), {}).to_json()
    text = rendered(plan_table(plan))
    assert "Plan of a fusion job" in text
    assert "Plan of an expert job" in rendered(plan_table(plan | {"kind": "expert"}))
    assert "warning" in text
    assert plan["warnings"][0][:60] in text
    assert "MiB each" in text


def test_absent_metrics_are_shown_with_their_reason() -> None:
    text = rendered(metrics_table({"test/nll": 0.25}, {"test/accuracy_ensemble": "an expert knows only some classes"}))
    assert "0.2500" in text
    assert "not measured: an expert knows only some classes" in text
