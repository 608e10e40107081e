"""What goes to sbatch: plain words only, whatever is tried; and what Slurm prints, read with care."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
from pathlib import Path
from typing import Any

import pytest

from core.run.rundir import RunDir
from core.spec import SpecError, parse_spec
from core.spec.resolve import resolve
from tests.slurm.cluster import Cluster
from tests.slurm.service import on_slurm, quick
from worker.executors.base import BusyError, RefusedError, Submission
from worker.executors.slurm import queue_commands as commands
from worker.executors.slurm import submission
from worker.executors.slurm.pending_reasons import explain
from worker.executors.slurm.submission import _FixedCommandExecutor, parameters

VALUES = 20_000
FIELDS = ("partition", "account", "qos", "constraint", "gres", "exclude")
PIECES = [
    *"aZ9-_.:,[] \t\n\r\\'\"`$(){};&|<>*?!#%=~\0é\u2028\x1b",
    "gpu", "low", "$(touch {canary})", "`touch {canary}`", "; touch {canary}", "\ntouch {canary}\n", 
    "' touch {canary} '", "\\\"\"\ntouch {canary}", "#SBATCH --wrap=touch", "--wrap", "/bin/sh", "&& touch {canary}",
]  # fmt: skip


def submission_of(spec: dict[str, Any], job_name: str = "job_1-a1", **fields: Any) -> Submission:
    resources = resolve(parse_spec(spec)).model_dump(mode="json", by_alias=True)["resources"]
    return Submission(resources, job_name=job_name, **fields)


def script(requested: Submission, folder: Path) -> str:
    executor = _FixedCommandExecutor(folder)
    executor.update_parameters(**parameters(requested))
    return str(executor._make_submission_file_text("srun_was_called", "uid"))


def test_no_value_of_any_field_is_executed(slurm: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CONF", str(slurm.conf))
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    canary = tmp_path / "canary"
    stubs = tmp_path / "bin"
    stubs.mkdir()
    (stubs / "srun").write_text("#!/bin/sh\nexit 0\n")
    (stubs / "srun").chmod(0o755)
    scripts: list[str] = []
    requested = submission_of(on_slurm(quick()))
    for _ in range(VALUES):
        field = chance.choice(FIELDS)
        value = "".join(chance.choices(PIECES, k=chance.randint(1, 6))).replace("{canary}", str(canary))
        given: Any = [value] if field == "exclude" else value
        with contextlib.suppress(SpecError):
            scripts.append(script(submission_of(on_slurm(quick(), slurm={field: given})), tmp_path))
        # Past the specification the submission has a whitelist of its own.
        beyond = {**requested.resources, "slurm": requested.resources["slurm"] | {field: given}}
        try:
            text = script(Submission(beyond, job_name=requested.job_name), tmp_path)
        except RefusedError:
            continue
        assert set(value) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.:,[]-"), value
        scripts.append(text)
    assert len(scripts) > 100
    path = f"{stubs}{os.pathsep}{os.environ['PATH']}"
    for text in scripts:
        assert not [line for line in text.splitlines() if line and not line.startswith(("#", "export", "srun "))], text
    for text in chance.sample(scripts, 200):
        subprocess.run(["bash", "-c", text], env=os.environ | {"PATH": path}, capture_output=True)
    for text in chance.sample(scripts, 60):
        file = tmp_path / "script.sh"
        file.write_text(text)
        subprocess.run(["sbatch", "--test-only", str(file)], env=slurm.env, capture_output=True)
    assert not canary.exists()


def test_every_requested_resource_reaches_sbatch(tmp_path: Path, slurm: Cluster, monkeypatch: Any) -> None:
    monkeypatch.setenv("SLURM_CONF", str(slurm.conf))
    named = {"partition": "high", "account": "lab", "qos": "fast", "constraint": "a100", "gres": "gpu:a100:2"}
    spec = on_slurm(
        quick(), cpus=3, nodes=2, gpus=4, memory_gb=7, time_limit_min=90, slurm=named | {"exclude": ["n7", "n8"]}
    )
    requested = submission_of(spec, "job_1-a2", exclude=["n9"], processes_per_node=4, lead_s=33)
    flags = {
        line.removeprefix("#SBATCH --") for line in script(requested, tmp_path).splitlines() if line.startswith("#SB")
    }
    assert flags >= {
        "job-name=job_1-a2", "comment=job_1-a2", "partition=high", "account=lab", "qos=fast", "constraint=a100",
        "gres=gpu:a100:2", "exclude=n7,n8,n9", "cpus-per-task=3", "nodes=2", "gpus-per-node=4", "ntasks-per-node=4",
        "mem=7GB", "time=90", "signal=USR2@33", "no-requeue",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("output", "error"),
    [
        (
            "sbatch: error: Batch job submission failed: Socket timed out on send/recv",
            submission.InDoubtError,
        ),
        ("sbatch: error: Unable to contact slurm controller (connect failure)", submission.InDoubtError),
        ("sbatch: error: invalid partition specified: nosuch", RefusedError),
        ("sbatch: error: Batch job submission failed: Invalid account", RefusedError),
        ("sbatch: error: QOSMaxSubmitJobPerUserLimit", BusyError),
    ],
)
def test_a_refusal_is_distinguished_from_a_doubt(
    output: str, error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stubs = tmp_path / "bin"
    stubs.mkdir()
    (stubs / "sbatch").write_text(f"#!/bin/sh\necho '{output}' >&2\nexit 1\n")
    (stubs / "srun").write_text("#!/bin/sh\n")
    for stub in stubs.iterdir():
        stub.chmod(0o755)
    monkeypatch.setenv("PATH", f"{stubs}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(error):
        submission.sbatch(submission_of(on_slurm(quick())), [RunDir(tmp_path / "run").attempt(1)], tmp_path / "slurm")


def test_unknown_output_is_skipped() -> None:
    lines = [
        "slurm_load_jobs error: something",
        "",
        "12_3|swp_x.y|CANCELLED by 1000|n[1-2]|None",
        "13|name with | bars|RUNNING|n1|x",
        "14|ok|RUNNING+|(null)|Resources",
        "12_[4-6,9%2]|swp_x.y|PENDING||JobArrayTaskLimit",
        "12_[4|swp_x.y|PENDING||",
        "15|ok|NEW_STATE|n1|",
    ]
    rows = {row.id: row for row in commands.parse(lines)}
    assert set(rows) == {"12_3", "12_4", "12_5", "12_6", "12_9", "13", "14", "15"}
    assert (rows["12_3"].state, rows["12_3"].index, rows["12_3"].nodes) == ("CANCELLED", 3, "n1,n2")
    assert (rows["12_9"].state, rows["12_9"].index) == ("PENDING", 9)
    assert (rows["14"].state, rows["14"].nodes) == ("RUNNING", "")
    assert rows["15"].state not in commands.PENDING | commands.RUNNING | commands.TERMINAL


def test_a_pending_reason_is_explained_in_plain_words() -> None:
    assert explain("Resources") == "pending in Slurm: waiting for nodes to become free (Resources)"
    assert "higher priority" in explain("Priority")
    assert explain("SomethingNew") == "pending in Slurm (SomethingNew)"
