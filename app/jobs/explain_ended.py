"""Why a job failed, was cancelled, succeeded or is paused, and what to do next."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from app.jobs.capacity import Capacity, change_to_fit, is_shortfall, with_unit
from app.jobs.report_schemas import Action
from app.jobs.wording import plain
from app.models import Job, Reason, State
from core.spec.resources import HANG_TIMEOUT_MIN

# The end of "It failed because ..".
FAILURES: dict[Reason, str] = {
    Reason.dependency_failed: "a job whose components it needs did not succeed",
    Reason.invalid_component: "a component that it names does not fit",
    Reason.preempted: "it was preempted, or stopped from outside",
    Reason.node_failure: "its node failed",
    Reason.hardware_fault: "a device failed in every attempt",
    Reason.out_of_memory: "it ran out of memory",
    Reason.time_limit: "it reached its time limit before it could write a checkpoint",
    Reason.loss_not_finite: "training produced values that are not finite",
    Reason.no_space: "the disk of its run directory is full",
    Reason.code_error: "the training process ended with an error",
    Reason.hang: "its training process hung: it ran and reported nothing for longer than resources.hang_timeout_min",
    Reason.lost: "its process ended without reporting an outcome",
    Reason.user: "it ended while a user was stopping it",
}
# Left out for a job that has it.
_OR_FLOAT32 = ", or with training.precision float32"
# What to do about it.
ADVICE: dict[Reason, str] = {
    Reason.dependency_failed: "Retry that job first, then this one.",
    Reason.invalid_component: "Submit it again with components that fit; the message says what each side expects.",
    Reason.preempted: "Retry it: it resumes from its latest checkpoint.",
    Reason.node_failure: "Retry it: it resumes from its latest checkpoint.",
    Reason.hardware_fault: "Retry it, on another device if there is one: it resumes from its latest checkpoint.",
    Reason.out_of_memory: "Retry it with more memory; if a GPU ran out, submit it with a smaller training.batch_size.",
    Reason.time_limit: "Retry it with a longer time limit, or with checkpoints more often than every epoch.",
    Reason.loss_not_finite: f"Submit it again with lower learning rates{_OR_FLOAT32}.",
    Reason.no_space: "Free some space, then retry it: it resumes from its latest checkpoint.",
    Reason.code_error: "Read the last lines of its log, fix the cause, then retry it.",
    Reason.hang: "Read the end of its log. If it was only slow, retry it with a longer resources.hang_timeout_min.",
    Reason.lost: "Read its log: if the process was killed for its memory, retry it with more.",
    Reason.user: "Retry it if that was not intended.",
}
# Why a queued job has been queued again.
REQUEUED: dict[Reason, str] = {
    Reason.dependency_failed: "A job that it depends on has been retried.",
    Reason.invalid_component: "It was retried after a component did not fit.",
    Reason.preempted: "Its latest attempt was interrupted; the next one resumes from its latest checkpoint.",
    Reason.node_failure: "The node of its latest attempt failed; the next one resumes from its latest checkpoint.",
    Reason.hardware_fault: "A device failed in its latest attempt; the next one resumes from its latest checkpoint.",
    Reason.out_of_memory: "It was retried after it ran out of memory.",
    Reason.time_limit: "Its latest attempt reached its time limit; the next one resumes from its latest checkpoint.",
    Reason.loss_not_finite: "It was retried after values that are not finite.",
    Reason.no_space: "It was retried after the disk was full.",
    Reason.code_error: "It was retried after an error.",
    Reason.hang: "Its latest attempt hung and was ended; the next one resumes from its latest checkpoint.",
    Reason.lost: "Its latest attempt was lost; the next one resumes from its latest checkpoint.",
    Reason.user: "A user resumed it; it continues from its checkpoint.",
}
# What advice says of a retry, unless the checkpoints were deleted; then this.
_RESUMES = ": it resumes from its latest checkpoint"
_STARTS_AGAIN = "Its checkpoints were deleted, so a retry starts from the beginning."
# Retrying the same specification would fail in the same way.
NEEDS_ANOTHER_SPEC = (Reason.invalid_component, Reason.loss_not_finite)
# In GiB, for jobs that requested no memory.
_FIRST_MEMORY_GIB = 32
# How the message about a data set that is not on the machine begins.
_MISSING_DATA = re.compile(r"the data set \S+ is not available |there is no data at ")
# What the message about data other than those that the run began with contains.
_CHANGED_DATA = re.compile(r" has changed since this run began| was changed while it was being read")
# How the message of an error that nobody foresaw begins: a class of Python, or what the worker found.
_UNFORESEEN = re.compile(r"[A-Z]\w*: |the training process could not be started|reported success without")


class Facts(NamedTuple):
    """What else is known about a job that failed or was cancelled.

    `unsuccessful` are the jobs that it waited for in vain. `refusal` is why it cannot be retried as it is. `machines`
    are those that could run it, empty if they are not known; `memory_gib` is what its latest attempt could use there.
    `starts_from_beginning` means that its checkpoints were deleted.
    """

    unsuccessful: list[Job]
    refusal: str | None
    machines: Sequence[Capacity]
    memory_gib: int
    starts_from_beginning: bool


def failed_sentence(job: Job) -> str:
    """Why a job failed."""
    if is_shortfall(job.message or ""):
        return "It did not start, because no machine was large enough for it."
    if _lacks_data(job):
        return "It failed because its data set is not on the machine."
    if _has_other_data(job):
        return "It failed because its data has changed since training began."
    if _is_fault_of_specification(job):
        return "It failed because it cannot be trained as its specification says."
    return f"It failed because {FAILURES[Reason(job.reason)]}." if job.reason else "It failed; the reason is not known."


def cancelled_sentence(job: Job) -> str:
    """Who cancelled a job."""
    message = job.message or ""
    if message.startswith("stopped early"):
        return "Early stopping ended it, because it fell behind the other points of its sweep."
    return "It was cancelled in Slurm." if "scancel" in message else "A user cancelled it."


def failed_evidence(job: Job, facts: Facts) -> list[str]:
    """The message of a failed job, the jobs that it waited for in vain, and advice."""
    evidence = [plain(job.message)] if job.message else []
    if facts.refusal and not facts.unsuccessful:
        # The message of a job whose dependency failed is about retrying that one, which may be gone.
        return [*(evidence if job.reason != Reason.dependency_failed else ()), _refused(facts.refusal)]
    if job.reason == Reason.dependency_failed and not facts.unsuccessful:
        # Its message says to retry a job that has been retried.
        return ["The jobs that it depends on have been retried or have succeeded since: retry this one too."]
    evidence += [_name(other) + f" is {State(other.state).value}." for other in facts.unsuccessful]
    if job.reason == Reason.dependency_failed and job.message:
        # The message says what to do.
        return evidence
    if is_shortfall(job.message or "") or not job.reason:
        return evidence
    if _has_other_data(job):
        # The message says what to do.
        return evidence
    if _lacks_data(job):
        advice = "Once it is there, retry the job."
    elif _is_fault_of_specification(job):
        advice = (
            "The same specification fails again: submit a changed copy. Retry it only if what the message names is not "
            "part of the specification."
        )
    elif job.reason == Reason.out_of_memory and _more_memory(job, facts) is None:
        advice = "No machine that is up has more memory: submit a copy with a smaller training.batch_size."
    else:
        advice = _advice(job, Reason(job.reason))
    if facts.starts_from_beginning and job.reason not in NEEDS_ANOTHER_SPEC:
        return [*evidence, advice.replace(_RESUMES, ""), _STARTS_AGAIN]
    return [*evidence, advice]


def _advice(job: Job, reason: Reason) -> str:
    advice = ADVICE[reason]
    if reason == Reason.loss_not_finite and job.spec["training"]["precision"] == "float32":
        return advice.replace(_OR_FLOAT32, "")
    return advice


def failed_actions(job: Job, facts: Facts) -> list[Action]:
    """What may succeed, and the log."""
    if facts.unsuccessful:
        return retries_first(facts)
    log = [log_action(job)] if job.attempt else []
    if facts.refusal or job.reason in NEEDS_ANOTHER_SPEC:
        return [clone(job), *log]
    if is_shortfall(job.message or ""):
        return [_retry_with(job, change_to_fit(job.spec["resources"], facts.machines))]
    if _has_other_data(job):
        return [post("retry", job.id, "Retry with the restored data"), clone(job, None), *log]
    if _is_fault_of_specification(job):
        return [clone(job), *log, post("retry", job.id, "Retry")]
    limit = job.spec["resources"]["time_limit_min"]
    if job.reason == Reason.out_of_memory:
        memory = _more_memory(job, facts)
        return [clone(job, _smaller_batch(job)) if memory is None else _retry_with(job, {"memory_gb": memory}), *log]
    if job.reason == Reason.time_limit and limit:
        return [_retry_with(job, {"time_limit_min": 2 * limit}), *log]
    if job.reason == Reason.hang:
        timeout = job.spec["resources"].get("hang_timeout_min") or HANG_TIMEOUT_MIN
        return [post("retry", job.id, "Retry"), _retry_with(job, {"hang_timeout_min": 2 * timeout}), *log]
    return [post("retry", job.id, "Retry"), *log]


def cancelled_evidence(job: Job, facts: Facts) -> list[str]:
    """The message of a cancelled job, and why it cannot be retried."""
    evidence = [plain(job.message)] if job.message else []
    if facts.unsuccessful:
        return evidence + [_name(other) + f" is {State(other.state).value}." for other in facts.unsuccessful]
    if facts.refusal:
        return [*evidence, _refused(facts.refusal)]
    return [*evidence, _STARTS_AGAIN] if facts.starts_from_beginning else evidence


def cancelled_actions(job: Job, facts: Facts) -> list[Action]:
    """A retry, or what has to come before one."""
    if facts.unsuccessful:
        return retries_first(facts)
    return [clone(job)] if facts.refusal else [post("retry", job.id, "Retry")]


def retries_first(facts: Facts) -> list[Action]:
    """Retries of the jobs that a job waited for in vain."""
    return [post("retry", other.id, f"Retry {other.name or other.id}") for other in facts.unsuccessful]


def _name(job: Job) -> str:
    return f"{job.name} ({job.id})" if job.name else f"The job {job.id}"


def _refused(refusal: str) -> str:
    return plain(f"it cannot be retried as it is: {refusal}")


def _lacks_data(job: Job) -> bool:
    return job.reason == Reason.code_error and _MISSING_DATA.match(job.message or "") is not None


def _has_other_data(job: Job) -> bool:
    return job.reason == Reason.code_error and _CHANGED_DATA.search(job.message or "") is not None


def _is_fault_of_specification(job: Job) -> bool:
    """Whether training refused what the specification says: the message is one line that was written for a user."""
    message = job.message or ""
    if job.reason != Reason.code_error or not job.attempt or not message or is_shortfall(message) or _lacks_data(job):
        return False
    return "\n" not in message.strip() and not _UNFORESEEN.match(message)


def _more_memory(job: Job, facts: Facts) -> int | None:
    """More memory in GiB than a job could use, as far as a machine has it; None if none has more."""
    requested = job.spec["resources"]["memory_gb"]
    memory = 2 * requested if requested else _FIRST_MEMORY_GIB
    if not facts.machines:
        return memory
    largest = int(max(machine.memory_gib for machine in facts.machines))
    had = max(requested or 0, facts.memory_gib)
    return None if largest <= had else min(max(memory, 2 * had), largest)


def _smaller_batch(job: Job) -> str:
    # Where a component decides the architecture, and with it the batch size, none is stored.
    size = job.spec["training"]["batch_size"]
    return f"training.batch_size={max(1, size // 2)}" if size else "training.batch_size=VALUE"


def _retry_with(job: Job, resources: dict[str, int]) -> Action:
    words = in_words(resources)
    return post_with(resources, "retry", job.id, f"Retry with {words}" if words else "Retry")


def in_words(resources: dict[str, int]) -> str:
    """Resources as the end of a label: `1 GPU and 4 threads`."""
    minutes = {"time_limit_min": "{} minutes", "hang_timeout_min": "a hang timeout of {} minutes"}
    words = [minutes[name].format(value) if name in minutes else with_unit(name, value) for name, value in resources.items()]  # fmt: skip  # noqa: E501
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def post_with(resources: dict[str, int], verb: str, job_id: str, label: str) -> Action:
    """A change of a job's state, with some of its resources replaced."""
    action = post(verb, job_id, label)
    if not resources:
        return action
    options = "".join(f" --set resources.{name}={value}" for name, value in resources.items())
    return action.model_copy(update={"command": action.command + options, "body": {"resources": resources}})


def clone(job: Job, change: str | None = "PATH=VALUE") -> Action:
    """Submitting a copy of a job, changed or (None) as it is."""
    command = f"mcn show {job.id} --json | mcn submit -" + (f" --set {change}" if change else "")
    return Action(
        label="Submit a changed copy" if change else "Submit a copy",
        method="GET",
        path=f"/jobs/{job.id}",
        command=command,
    )


def post(verb: str, job_id: str, label: str) -> Action:
    """A change of a job's state."""
    return Action(label=label, method="POST", path=f"/jobs/{job_id}/{verb}", command=f"mcn {verb} {job_id}")


def log_action(job: Job) -> Action:
    """Reading a job's log."""
    return Action(label="Read the log", method="GET", path=f"/jobs/{job.id}/logs", command=f"mcn logs {job.id}")
