"""Why a job failed, was cancelled, succeeded or is paused, and what to do next."""

from __future__ import annotations

from typing import Any

from app.jobs.report_schemas import Action
from app.jobs.wording import plain
from app.models import Job, Reason, State

# The end of "It failed because ..".
FAILURES: dict[Reason, str] = {
    Reason.dependency_failed: "a job whose components it needs did not succeed",
    Reason.invalid_component: "a component that it names does not fit",
    Reason.preempted: "it was preempted",
    Reason.node_failure: "its node failed",
    Reason.hardware_fault: "a device failed in every attempt",
    Reason.out_of_memory: "it ran out of memory",
    Reason.time_limit: "it reached its time limit before it could write a checkpoint",
    Reason.loss_not_finite: "training produced values that are not finite",
    Reason.no_space: "the disk of its run directory is full",
    Reason.code_error: "the training process ended with an error",
    Reason.lost: "its process ended without reporting an outcome",
    Reason.user: "it ended while a user was stopping it",
}
# What to do about it.
ADVICE: dict[Reason, str] = {
    Reason.dependency_failed: "Retry that job first, then this one.",
    Reason.invalid_component: "Submit it again with components that fit; the message says what each side expects.",
    Reason.preempted: "Retry it: it resumes from its latest checkpoint.",
    Reason.node_failure: "Retry it: it resumes from its latest checkpoint.",
    Reason.hardware_fault: "Retry it, on another device if there is one: it resumes from its latest checkpoint.",
    Reason.out_of_memory: "Retry it with more memory; if a GPU ran out, submit it with a smaller training.batch_size.",
    Reason.time_limit: "Retry it with a longer time limit, or with checkpoints more often than every epoch.",
    Reason.loss_not_finite: "Submit it again with lower learning rates, or with training.precision float32.",
    Reason.no_space: "Free some space, then retry it: it resumes from its latest checkpoint.",
    Reason.code_error: "Read the last lines of its log, fix the cause, then retry it.",
    Reason.lost: "Read its log: if the process was killed for its memory, retry it with more.",
    Reason.user: "Retry it if that was not intended.",
}
# Why a queued job has been queued again.
REQUEUED: dict[Reason, str] = {
    Reason.dependency_failed: "A job that it depends on has been retried.",
    Reason.invalid_component: "It was retried after a component did not fit.",
    Reason.preempted: "Its latest attempt was preempted; the next one resumes from its latest checkpoint.",
    Reason.node_failure: "The node of its latest attempt failed; the next one resumes from its latest checkpoint.",
    Reason.hardware_fault: "A device failed in its latest attempt; the next one resumes from its latest checkpoint.",
    Reason.out_of_memory: "It was retried after it ran out of memory.",
    Reason.time_limit: "Its latest attempt reached its time limit; the next one resumes from its latest checkpoint.",
    Reason.loss_not_finite: "It was retried after values that are not finite.",
    Reason.no_space: "It was retried after the disk was full.",
    Reason.code_error: "It was retried after an error.",
    Reason.lost: "Its latest attempt was lost; the next one resumes from its latest checkpoint.",
    Reason.user: "A user resumed it; it continues from its checkpoint.",
}
# Retrying the same specification would fail in the same way.
_NEEDS_ANOTHER_SPEC = (Reason.invalid_component, Reason.loss_not_finite)
# In GiB, for jobs that requested no memory.
_FIRST_MEMORY_GIB = 32


def failed_sentence(job: Job) -> str:
    """Why a job failed."""
    return f"It failed because {FAILURES[Reason(job.reason)]}." if job.reason else "It failed; the reason is not known."


def cancelled_sentence(job: Job) -> str:
    """Who cancelled a job."""
    message = job.message or ""
    if message.startswith("stopped early"):
        return "Early stopping ended it, because it fell behind the other points of its sweep."
    return "It was cancelled in Slurm." if "scancel" in message else "A user cancelled it."


def failed_evidence(job: Job, unsuccessful: list[Job]) -> list[str]:
    """The message of a failed job, the jobs that it waited for in vain, and advice."""
    evidence = [plain(job.message)] if job.message else []
    evidence += [f"{other.name or other.id} ({other.id}) is {State(other.state).value}." for other in unsuccessful]
    return [*evidence, ADVICE[Reason(job.reason)]] if job.reason else evidence


def failed_actions(job: Job, unsuccessful: list[Job]) -> list[Action]:
    """Retries that may succeed, and the log."""
    if unsuccessful:
        return [post("retry", other.id, f"Retry {other.name or other.id}") for other in unsuccessful]
    actions = [log_action(job)] if job.attempt else []
    if job.reason in _NEEDS_ANOTHER_SPEC:
        return actions
    resources = job.spec["resources"]
    if job.reason == Reason.out_of_memory:
        memory = 2 * resources["memory_gb"] if resources["memory_gb"] else _FIRST_MEMORY_GIB
        actions.insert(0, _retry_with(job, f"Retry with {memory:g} GiB of memory", "memory_gb", memory))
    elif job.reason == Reason.time_limit and resources["time_limit_min"]:
        limit = 2 * resources["time_limit_min"]
        actions.insert(0, _retry_with(job, f"Retry with {limit} minutes", "time_limit_min", limit))
    else:
        actions.insert(0, post("retry", job.id, "Retry"))
    return actions


def _retry_with(job: Job, label: str, field: str, value: float) -> Action:
    action = post("retry", job.id, label)
    body: dict[str, Any] = {"resources": {field: value}}
    return action.model_copy(
        update={"command": f"{action.command} --set resources.{field}={value:g}", "body": body}
    )  # fmt: skip


def post(verb: str, job_id: str, label: str) -> Action:
    """A change of a job's state."""
    return Action(label=label, method="POST", path=f"/jobs/{job_id}/{verb}", command=f"mcn {verb} {job_id}")


def log_action(job: Job) -> Action:
    """Reading a job's log."""
    return Action(label="Read the log", method="GET", path=f"/jobs/{job.id}/logs", command=f"mcn logs {job.id}")
