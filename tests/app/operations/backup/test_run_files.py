"""Run directories that change while they are copied."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from app.operations.backup.run_files import RunFiles
from tests.app.api import Service
from tests.app.operations.backup.services import files_below, give_files, write


def copied(run: Path, target: Path, on_bytes: Callable[[int], object], attempt: int = 1) -> RunFiles:
    files = RunFiles(run.parent.parent, run, target, attempt=attempt, by_reference=False, on_bytes=on_bytes)
    files.copy()
    return files


def test_a_checkpoint_that_is_replaced_while_it_is_copied_is_complete(service: Service, tmp_path: Path) -> None:
    run = give_files(service, "job_a")

    def replace(_: int) -> None:
        if (run / "checkpoints/step-000000003").exists():
            write(run / "checkpoints/step-000000006/state.pth", "weights of step 6")
            write(run / "checkpoints/step-000000006/manifest.json", "{}")
            shutil.rmtree(run / "checkpoints/step-000000003")

    files = copied(run, tmp_path / "copy", replace)
    checkpoint = tmp_path / "copy/runs/job_a/checkpoints/step-000000003"
    assert {file.name: file.read_text() for file in checkpoint.iterdir()} == {
        "state.pth": "weights of step 3",
        "manifest.json": "{}",
    }
    assert files.notes == []


def test_components_that_are_replaced_while_they_are_copied_fit_together(service: Service, tmp_path: Path) -> None:
    run = give_files(service, "job_a")
    components = run / "components"
    replaced: list[int] = []

    def replace(_: int) -> None:
        # When the first file of the components has been copied.
        if (tmp_path / "copy/runs/job_a/components/expert_0.json").exists() and not replaced:
            replaced.append(1)
            write(components / "blobs/expert_0-2.pth", "better weights")
            write(components / "expert_0.json", '{"version": 2}')
            (components / "expert_0.pth").unlink()
            os.link(components / "blobs/expert_0-2.pth", components / "expert_0.pth")
            (components / "blobs/expert_0-1.pth").unlink()

    files = copied(run, tmp_path / "copy", replace)
    assert (files.notes, replaced) == ([], [1])
    entries = {file.path.partition("components/")[2]: file for file in files.copied if "/components/" in file.path}
    assert entries.keys() == {"expert_0.json", "expert_0.pth", "blobs/expert_0-2.pth"}
    assert {entry.same_as for entry in entries.values()} == {None, "runs/job_a/components/expert_0.pth"}
    assert files_below(tmp_path / "copy/runs/job_a/components") == {
        "expert_0.json": b'{"version": 2}',
        "expert_0.pth": b"better weights",
    }


def test_a_result_that_is_written_while_the_rest_is_copied_is_left_out(service: Service, tmp_path: Path) -> None:
    """Else the job would count as finished, with the components of an earlier epoch."""
    run = give_files(service, "job_a")

    def finish(_: int) -> None:
        write(run / "result.json", "{}")
        write(run / "attempt-1/outcome.json", "{}")

    copied(run, tmp_path / "copy", finish)
    names = set(files_below(tmp_path / "copy/runs/job_a"))
    assert names & {"result.json", "attempt-1/outcome.json"} == set()
    assert "attempt-1/events.jsonl" in names


def test_attempts_that_the_copied_database_does_not_know_are_left_out(service: Service, tmp_path: Path) -> None:
    run = give_files(service, "job_a")
    write(run / "attempt-2/process.json")
    [note] = copied(run, tmp_path / "copy", lambda _: None).notes
    assert "job_a: started again after the database was copied" in note
    assert not (tmp_path / "copy/runs/job_a/attempt-2").exists()


def test_a_run_that_is_deleted_meanwhile_is_noted(service: Service, tmp_path: Path) -> None:
    run = give_files(service, "job_a")
    files = copied(run, tmp_path / "copy", lambda _: shutil.rmtree(run, ignore_errors=True))
    assert files.notes == ["job_a: was deleted while it was copied"]
