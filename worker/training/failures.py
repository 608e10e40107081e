"""What went wrong in training, as a reason code and one sentence for the user."""

from __future__ import annotations

import errno
import os
import re
import socket

from core.run.protocol import Outcome, OutcomeKind
from core.run.reasons import Reason
from worker.hardware_faults import is_hardware_fault

# How a process notices that another one of its attempt is gone.
_PEER_GONE = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "remote process exited")
# How PyTorch reports that a process which reads images has ended by itself.
_READER_GONE = "DataLoader worker (pid"

# The file of a component in the run directory of its job, whose path says nothing to a user.
_COMPONENT_FILE = re.compile(
    r"(?<![\w.])/(?:[^/]*/)*?(?P<job>job_[0-9A-Z]{26})/components/(?:[\w-]+/)?"
    r"(?P<name>expert_\d+|complete|fusion|head|global_head)(?:_fusion|_module)?(?:_best)?(?:-[0-9a-f]+)?"
    r"\.(?:pth|safetensors|missing|json)"
)


def classify_error(error: BaseException) -> Outcome:
    """The outcome of an attempt that ended with an exception."""
    from core.model.assemble import ComponentError
    from core.run.durable import DamagedFileError
    from core.train.non_finite import NonFiniteLossError

    text = _COMPONENT_FILE.sub(_component, " ".join(str(error).split()))[:1000]
    if os.environ.get("WORLD_SIZE", "1") != "1" and any(sign in text for sign in _PEER_GONE):
        # The other process reports the cause.
        return Outcome(OutcomeKind.lost, message=f"another process of this job is gone: {text[:200]}")
    if isinstance(error, RuntimeError) and text.startswith(_READER_GONE):
        # Killed from outside, mostly for its memory: a resume may well get further, as after a kill of this process.
        return Outcome(OutcomeKind.lost, message=f"a process that reads images was killed: {text[:200]}")
    if isinstance(error, NonFiniteLossError):
        return _failed(Reason.loss_not_finite, text)
    if isinstance(error, ComponentError | DamagedFileError):
        return _failed(Reason.invalid_component, text)
    if _is_disk_full(error, text):
        return _failed(Reason.no_space, f"no space left for checkpoints or components: {text}")
    if isinstance(error, MemoryError) or _is_out_of_memory(error, text):
        advice = "out of memory: use a smaller training.batch_size or a smaller model"
        return _failed(Reason.out_of_memory, f"{advice} ({text[:200]})")
    if isinstance(error, RuntimeError) and is_hardware_fault(text):
        return Outcome(OutcomeKind.failed, Reason.hardware_fault, f"the device failed: {text}", host=host_name())
    if isinstance(error, ValueError):
        # A missing data set, an impossible split: the message says what to do, and the log would add nothing.
        return Outcome(OutcomeKind.failed, Reason.code_error, text, is_user_error=True)
    return _failed(Reason.code_error, f"{type(error).__name__}: {text}")


def _component(match: re.Match[str]) -> str:
    return f"{match['name'].removeprefix('global_')} of {match['job']}"


def host_name() -> str:
    """The name of this machine, as Slurm calls it if Slurm runs this process."""
    return os.environ.get("SLURMD_NODENAME") or socket.gethostname()


def _failed(reason: Reason, message: str) -> Outcome:
    return Outcome(OutcomeKind.failed, reason, message)


def _is_disk_full(error: BaseException, text: str) -> bool:
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    # The writer of safetensors raises errors of its own.
    return full or "No space left on device" in text


def _is_out_of_memory(error: BaseException, text: str) -> bool:
    return (
        type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in text or "out of memory" in text.lower()
    )
