"""Where the commands that write files put them, and what they say where they cannot."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.app.api import Service
from tests.app.cli.conftest import Cli
from tests.app.results.predictions.trained import logits_of, with_predictions

LABELS = np.arange(60) % 3
# By command, the file that it writes into a folder; `{job}` is the id of the job.
FILES = {"report": "{job}.md", "predictions": "test.npz"}


@pytest.fixture
def job(service: Service) -> str:
    arrays = {"labels": LABELS, "logits_expert_0": logits_of(LABELS)}
    return with_predictions(service, "one", {"test": arrays}, kind="expert")


@pytest.mark.parametrize("command", FILES)
def test_a_folder_is_created_and_gets_a_file_with_a_name_of_its_own(
    cli: Cli, job: str, tmp_path: Path, command: str
) -> None:
    folder = tmp_path / "new" / "folder"
    # The second time the folder is there, and needs no slash.
    for output in (f"{folder}/", str(folder)):
        result = cli(command, job, "-o", output)
        assert result.exit_code == 0, result.output
        file = folder / FILES[command].format(job=job)
        assert str(file) in result.stdout
        assert file.stat().st_size > 0
        file.unlink()


def test_a_report_names_its_picture_beside_it(cli: Cli, job: str, tmp_path: Path) -> None:
    printed = json.loads(cli("report", job, "-o", f"{tmp_path}/out/", "--json").stdout)
    file, picture = Path(printed["file"]), Path(printed["picture"])
    assert (file.name, picture.name) == (f"{job}.md", f"{job}.svg")
    assert f"({job}.svg)" in file.read_text()
    assert picture.read_text().startswith("<svg")


@pytest.mark.parametrize("command", FILES)
def test_a_target_that_cannot_be_written_is_a_message(cli: Cli, job: str, tmp_path: Path, command: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder" / FILES[command].format(job=job)).mkdir(parents=True)
    for target, code, message in (
        ("file/", 1, "file cannot be written: File exists"),
        ("folder/", 1, "cannot be written: Is a directory"),
        ("n" * 300, 1, "cannot be written: File name too long"),
        ("none/x", 2, f"there is no folder {tmp_path}/none: create it, or name a folder ending in /"),
    ):
        result = cli(command, job, "-o", f"{tmp_path}/{target}")
        assert (result.exit_code, message in result.stderr) == (code, True), result.output
        assert isinstance(result.exception, SystemExit)


def test_a_report_is_not_written_where_its_picture_would_be(cli: Cli, job: str, tmp_path: Path) -> None:
    result = cli("report", job, "-o", str(tmp_path / "a.svg"))
    assert (result.exit_code, "such as " in result.stderr, list(tmp_path.glob("a.*"))) == (2, True, [])
