from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tests.app.api import Service
from tests.app.cli.conftest import Cli
from tests.app.results.predictions.trained import logits_of, with_predictions

LABELS = np.arange(400) % 3


def job_with_errors(service: Service, name: str, count: int) -> str:
    predicted = np.where(np.arange(400) < count, (LABELS + 1) % 3, LABELS)
    return with_predictions(service, name, {"test": {"labels": LABELS, "logits_fused": logits_of(predicted)}})


def test_compare_says_in_plain_words_whether_one_model_is_better(cli: Cli, service: Service) -> None:
    a, b = job_with_errors(service, "small", 2), job_with_errors(service, "large", 5)
    lines = cli("compare", a, b).stdout.splitlines()
    assert lines[0].startswith("small is 0.8 points better than large, 95 % interval ")
    assert lines[0].endswith("p = 0.25: not distinguishable on 400 images.")
    assert lines[1] == "Only A is right on 3 images, only B on 0."
    assert [word in " ".join(lines) for word in ("0.9950", "0.9875", "small (fused)")] == [True] * 3, lines
    assert lines[-1].startswith("B is not temperature-scaled: ")
    assert json.loads(cli("compare", a, f"{b}:fused", "--json").stdout)["difference"]["only_a"] == 3


def test_compare_refuses_what_names_no_model(cli: Cli, service: Service) -> None:
    result = cli("compare", "a b", "c")
    assert (result.exit_code, "is not a valid model reference" in result.stderr) == (2, True)
    unknown = cli("compare", "job_none", "job_none")
    assert (unknown.exit_code, "there is no job" in unknown.stderr) == (2, True)
    waiting = service.submit()
    assert "is queued and has no predictions" in cli("compare", waiting, waiting).stderr


def test_predictions_are_downloaded_and_verified(cli: Cli, service: Service, tmp_path: Path) -> None:
    job = job_with_errors(service, "small", 2)
    done = cli("predictions", job, "--output", f"{tmp_path}/new/")
    assert "test.npz" in done.stdout
    assert "verified" in done.stdout
    with np.load(tmp_path / "new/test.npz") as arrays:
        assert (arrays["labels"] == LABELS).all()
    converted = cli("predictions", job, "-o", f"{tmp_path}/x.st", "--format", "safetensors", "--json")
    assert json.loads(converted.stdout)["bytes"] == (tmp_path / "x.st").stat().st_size
    missing = cli("predictions", job, "--split", "val", "-o", str(tmp_path))
    assert (missing.exit_code, "ended before this version" in missing.stderr) == (2, True)
