"""One sentence for every reason code. A test compares them with the code."""

from __future__ import annotations

from app.models import Reason

REASONS: dict[Reason, str] = {
    Reason.dependency_failed: "A job whose component it names did not succeed. Retry that job first.",
    Reason.invalid_component: "A named component does not fit; the message has both numbers.",
    Reason.preempted: "Slurm preempted it, or its machine or container was stopped. It resumes from its checkpoint.",
    Reason.node_failure: "The node failed. It resumes elsewhere from its latest checkpoint.",
    Reason.hardware_fault: "The device failed. It is retried; on Slurm, without the faulty node.",
    Reason.out_of_memory: "Memory ran out. Retry with a smaller batch or more `resources.memory_gb`.",
    Reason.time_limit: "The time limit passed. It resumes from its checkpoint, if there was progress.",
    Reason.loss_not_finite: "Training produced NaN or infinity; the message names the component.",
    Reason.no_space: "The disk of the run directory is full. Free some space, then retry.",
    Reason.code_error: "Training raised an error (the message has the end of the log), or no machine is large enough.",
    Reason.hang: "The process ran and reported nothing for `resources.hang_timeout_min`. It was ended and resumes.",
    Reason.lost: "The process disappeared without reporting an outcome.",
    Reason.user: "A person, or the early stopping of a sweep, asked for it.",
}
