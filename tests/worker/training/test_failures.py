"""The reason code and the message of each failure of training."""

from __future__ import annotations

import errno

import pytest

from core.model.assemble import ComponentError
from core.train.non_finite import NonFiniteLossError
from worker.training.failures import classify_error

ECC = "CUDA error: uncorrectable ECC error encountered"
FAILURES: list[tuple[BaseException, str, str]] = [
    (NonFiniteLossError(7, "fusion", "the loss"), "loss_not_finite", "step 7"),
    (ComponentError("features of 16, not 24"), "invalid_component", "16, not 24"),
    (OSError(errno.ENOSPC, "No space left on device"), "no_space", "no space left"),
    (OSError(errno.EDQUOT, "Disk quota exceeded"), "no_space", "no space left"),
    (RuntimeError("Error while serializing: I/O error: No space left on device"), "no_space", "no space left"),
    (MemoryError(), "out_of_memory", "batch_size"),
    (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "out_of_memory", "batch_size"),
    (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "out_of_memory", "batch_size"),
    (RuntimeError(ECC), "hardware_fault", "the device failed"),
    (RuntimeError("CUDA error: unknown error"), "hardware_fault", "the device failed"),
    (RuntimeError("CUDA error: unspecified launch failure"), "hardware_fault", "the device failed"),
    (ValueError("there is no data set there: put it here"), "code_error", "put it here"),
    (RuntimeError("maxid of the batch is wrong"), "code_error", "RuntimeError: maxid"),
    (KeyError("weight"), "code_error", "KeyError"),
    (OSError(errno.EACCES, "Permission denied"), "code_error", "Permission denied"),
]


@pytest.mark.parametrize(
    ("error", "reason", "message"), FAILURES, ids=[f"{row[1]}-{k}" for k, row in enumerate(FAILURES)]
)
def test_a_failure_has_a_reason_and_a_sentence(error: BaseException, reason: str, message: str) -> None:
    outcome = classify_error(error)
    assert (outcome.kind, outcome.reason) == ("failed", reason)
    assert message in (outcome.message or "")
    assert "\n" not in (outcome.message or "")


@pytest.mark.parametrize(
    "text",
    ["DataLoader worker (pid 7) is killed by signal: Killed. ", "DataLoader worker (pid(s) 7, 8) exited unexpectedly"],
)
def test_a_killed_reader_is_a_loss_that_a_resume_may_mend(text: str) -> None:
    outcome = classify_error(RuntimeError(text))
    assert (outcome.kind, outcome.reason) == ("lost", None)
    assert "a process that reads images was killed" in (outcome.message or "")


def test_a_fault_names_the_node_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURMD_NODENAME", "n2")
    assert classify_error(RuntimeError(ECC)).host == "n2"
    assert classify_error(KeyError("weight")).host is None


JOB = "job_01M8Q8422G8VTMC78JF9AKBPTN"


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("fusion/fusion_module_best.pth", "fusion"),
        ("global/global_head_best.pth", "head"),
        ("complete_fusion_best.pth", "complete"),
        ("experts/expert_11_best.safetensors", "expert_11"),
        ("blobs/expert_0-0123456789abcdef01234567.pth", "expert_0"),
        ("expert_3.missing", "expert_3"),
    ],
)
def test_a_message_names_a_component_and_not_its_file(file: str, name: str) -> None:
    error = ComponentError(f"fusion: /srv/data dir/runs/{JOB}/components/{file} is for 4 experts; this has 2")
    assert classify_error(error).message == f"fusion: {name} of {JOB} is for 4 experts; this has 2"
