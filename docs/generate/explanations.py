"""One sentence for every edge of the state graph and for every reason. A test holds both to the code."""

from __future__ import annotations

from app.models import Reason, State

_S = State
EDGES: dict[tuple[State, State], str] = {
    (_S.waiting, _S.queued): "Every job whose components it names has succeeded.",
    (_S.waiting, _S.failed): "A job whose component it names failed or was cancelled (`dependency_failed`).",
    (_S.waiting, _S.cancelled): "A user cancelled it before it could start.",
    (_S.queued, _S.starting): "A worker claimed it and recorded a new attempt.",
    (_S.queued, _S.failed): "No worker and no partition can ever provide the resources that it requests.",
    (_S.queued, _S.cancelled): "A user cancelled it while it waited for a device.",
    (_S.starting, _S.running): "The training process reported its first event.",
    (
        _S.starting,
        _S.queued,
    ): "The process did not start or was lost before it reported anything; a new attempt follows.",
    (_S.starting, _S.pausing): "A user paused it before the process reported anything.",
    (_S.starting, _S.cancelling): "A user cancelled it before the process reported anything.",
    (_S.starting, _S.failed): "The process could not start, for a reason that would be the same next time.",
    (_S.starting, _S.succeeded): "The process finished before its first report was read.",
    (_S.running, _S.pausing): "A user paused it; the process is writing a checkpoint.",
    (_S.running, _S.cancelling): "A user cancelled it, or early stopping ended a point of a sweep.",
    (_S.running, _S.queued): (
        "The process was lost or preempted, its node failed or its time limit passed; "
        "a new attempt resumes from the latest checkpoint."
    ),
    (_S.running, _S.succeeded): "The process finished and wrote `result.json`.",
    (_S.running, _S.failed): "The process reported an error, or `max_attempts` attempts have failed.",
    (
        _S.pausing,
        _S.paused,
    ): "The process wrote its checkpoint and exited, or the grace period ended and it was killed.",
    (_S.pausing, _S.cancelling): "A user cancelled it before it was paused.",
    (_S.pausing, _S.succeeded): "The process finished before it noticed the request.",
    (_S.pausing, _S.failed): "The process failed before it could write its checkpoint.",
    (_S.paused, _S.queued): "A user resumed it, on the same resources or on others.",
    (_S.paused, _S.cancelled): "A user cancelled it; no process is left to stop.",
    (_S.cancelling, _S.cancelled): "The whole process group has ended.",
    (_S.cancelling, _S.succeeded): "The process finished before it noticed the request.",
    (_S.cancelling, _S.failed): "The process failed before it noticed the request.",
    (_S.failed, _S.waiting): "A user retried it, and a job whose component it names has not ended.",
    (_S.failed, _S.queued): "A user retried it; it resumes from its latest checkpoint if it has one.",
    (_S.cancelled, _S.waiting): "A user retried it, and a job whose component it names has not ended.",
    (_S.cancelled, _S.queued): "A user retried it; it resumes from its latest checkpoint if it has one.",
}

REASONS: dict[Reason, str] = {
    Reason.dependency_failed: "A job whose component it names did not succeed. Retry that job first.",
    Reason.invalid_component: "A named component does not fit; the message has both numbers.",
    Reason.preempted: "Another job needed the device. It resumes from its latest checkpoint.",
    Reason.node_failure: "The node failed. It resumes elsewhere from its latest checkpoint.",
    Reason.hardware_fault: "The device failed. It is retried; on Slurm, without the faulty node.",
    Reason.out_of_memory: "Memory ran out. Retry with a smaller batch or more `resources.memory_gb`.",
    Reason.time_limit: "The time limit passed. It resumes from the checkpoint it wrote before.",
    Reason.loss_not_finite: "Training produced NaN or infinity; the message names the component.",
    Reason.no_space: "The disk of the run directory is full. Free some space, then retry.",
    Reason.code_error: "The training process raised an error; the last lines of the log are in the message.",
    Reason.lost: "The process disappeared without reporting an outcome.",
    Reason.user: "A person, or the early stopping of a sweep, asked for it.",
}
