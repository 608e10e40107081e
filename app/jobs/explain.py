"""Why a job is in its state, in the words of a colleague, and what would change it."""

from __future__ import annotations

from collections.abc import Callable

from sqlmodel import Session

from app.http.errors import InvalidSpec
from app.jobs import explain_ended as ended
from app.jobs import explain_queued, queries, queue_queries, references
from app.jobs.alert_queries import latest_alerts
from app.jobs.capacity import Capacity
from app.jobs.deletion import starts_from_beginning
from app.jobs.explain_ended import log_action, post
from app.jobs.explain_silence import with_silence
from app.jobs.report_schemas import Action, Explanation
from app.jobs.schemas import progress_of
from app.jobs.wording import about, count, percent, plain
from app.models import Job, State
from app.settings import Settings
from core.spec import SpecError, parse_stored

# Jobs that a dependent job cannot use until they are retried.
DEAD = (State.failed, State.cancelled)
SHOWN_ALERTS = 3
# States in which a worker watches a process.
WATCHED = (State.starting, State.running, State.pausing, State.cancelling)
Explainer = Callable[[Session, Job], Explanation]


def explain(session: Session, job: Job, settings: Settings) -> Explanation:
    """Explains the state of a job from what is stored about it, the other jobs and the workers."""
    explanation = EXPLAINERS[State(job.state)](session, job)
    alerts = latest_alerts(session, job.id, SHOWN_ALERTS)
    # What ended the job is its message already.
    new = [plain(alert["message"]) for alert in alerts if alert["message"] != job.message]
    explanation = explanation.model_copy(update={"evidence": [*explanation.evidence, *new]})
    return with_silence(session, job, settings, explanation) if job.state in WATCHED else explanation


def _waiting(session: Session, job: Job) -> Explanation:
    needed = queue_queries.dependencies(session, job.id)
    evidence = [_progress_sentence(other) for other in needed]
    actions = [_cancel(job)]
    dead = [other for other in needed if other.state in DEAD]
    if dead:
        sentence = f"It will fail in a moment, because {_name(dead[0])} did not succeed."
        return Explanation(
            sentence=sentence,
            evidence=evidence,
            actions=[*(post("retry", other.id, f"Retry {other.name or other.id}") for other in dead), *actions],
        )
    if not needed:
        return Explanation(sentence="All that it waited for has succeeded: it is queued in a moment.", evidence=[],
                           actions=actions)  # fmt: skip
    # The one that ends last, as far as that is known.
    slowest = max(needed, key=lambda other: (progress_of(other).eta_s is None, progress_of(other).eta_s or 0.0))
    rest = len(needed) - 1
    others = f" and {count(rest, 'other job')}" if rest else ""
    sentence = f"It waits for {_name(slowest)}{_done(slowest)}{others}."
    resumable = [post("resume", other.id, f"Resume {other.name or other.id}") for other in needed if _is_paused(other)]
    return Explanation(sentence=sentence, evidence=evidence, actions=[*resumable, *actions])


def _is_paused(job: Job) -> bool:
    return job.state == State.paused


def _starting(session: Session, job: Job) -> Explanation:
    attempt = queue_queries.latest_attempt(session, job)
    host = attempt.host if attempt else ""
    if job.executor == "slurm":
        sentence = f"It is {job.message}." if job.message else "It has been submitted to Slurm."
        evidence = [f"Slurm knows it as job {attempt.slurm_job_id}."] if attempt and attempt.slurm_job_id else []
    else:
        sentence = f"Its training process is starting{f' on {host}' if host else ''}."
        evidence = [plain(job.message)] if job.message else []
    return Explanation(
        sentence=sentence, evidence=evidence, actions=[_cancel(job)]
    )  # fmt: skip


def _running(session: Session, job: Job) -> Explanation:
    progress, attempt = progress_of(job), queue_queries.latest_attempt(session, job)
    sentence = "It is training; its first report has not arrived yet."
    if progress.step is not None:
        epoch = f"epoch {progress.epoch} of {progress.epochs}, " if progress.epoch is not None else ""
        sentence = f"It is training: {epoch}{percent(progress.fraction)} done{_left(progress.eta_s)}."
    evidence = [plain(job.message)] if job.message else []
    if attempt and attempt.resumed_from_step:
        evidence.append(f"Attempt {attempt.number} resumed from step {attempt.resumed_from_step}.")
    return Explanation(
        sentence=sentence, evidence=evidence, actions=[post("pause", job.id, "Pause"), _cancel(job), log_action(job)]
    )  # fmt: skip


def _pausing(session: Session, job: Job) -> Explanation:
    sentence = "It is writing a checkpoint and frees its device once that is done."
    return Explanation(sentence=sentence, evidence=[], actions=[_cancel(job)])


def _paused(session: Session, job: Job) -> Explanation:
    step = progress_of(job).step
    where = f" at step {step}" if step else ""
    return Explanation(
        sentence=f"A user paused it{where}; it resumes from its checkpoint when you say so.",
        evidence=[plain(job.message)] if job.message else [],
        actions=[post("resume", job.id, "Resume"), _cancel(job)],
    )


def _cancelling(session: Session, job: Job) -> Explanation:
    return Explanation(sentence="Its process is being stopped.", evidence=[ended.cancelled_sentence(job)], actions=[])


def _succeeded(session: Session, job: Job) -> Explanation:
    metrics = queries.views(session, [job])[0].metrics
    path = next((path for path in ("fused", "expert_0") if metrics.get(f"test/accuracy_{path}") is not None), None)
    result = f": test accuracy {metrics[f'test/accuracy_{path}']:.4f}" if path else ""
    download = Action(
        label="Download its components",
        method="GET",
        path=f"/jobs/{job.id}/components",
        command=f"mcn components {job.id}",
    )
    # An evaluation saves no components.
    actions = [] if job.kind == "evaluate" else [download]
    return Explanation(sentence=f"It succeeded{result}.", evidence=[], actions=actions)


def _failed(session: Session, job: Job) -> Explanation:
    facts = _facts(session, job)
    return Explanation(
        sentence=ended.failed_sentence(job),
        evidence=ended.failed_evidence(job, facts),
        actions=ended.failed_actions(job, facts),
    )


def _cancelled(session: Session, job: Job) -> Explanation:
    facts = _facts(session, job)
    return Explanation(
        sentence=ended.cancelled_sentence(job),
        evidence=ended.cancelled_evidence(job, facts),
        actions=ended.cancelled_actions(job, facts),
    )


def _facts(session: Session, job: Job) -> ended.Facts:
    machines: dict[str, Capacity] = {}
    if job.executor == "local":
        machines = {worker.host: queue_queries.capacity_of(worker) for worker in queue_queries.workers(session).live}
    attempt = queue_queries.latest_attempt(session, job)
    # A local job has all the memory of its machine; Slurm enforces what was requested.
    latest = machines.get(attempt.host) if attempt else None
    return ended.Facts(
        unsuccessful=[other for other in queue_queries.dependencies(session, job.id) if other.state in DEAD],
        refusal=refusal(session, job),
        machines=list(machines.values()),
        memory_gib=int(latest.memory_gib) if latest else 0,
        starts_from_beginning=starts_from_beginning(job),
    )


def refusal(session: Session, job: Job) -> str | None:
    """Why a job cannot be retried as it is, for example because components that it names have been deleted."""
    try:
        references.check(session, parse_stored(job.spec))
    except (InvalidSpec, SpecError) as error:
        return str(error)
    return None


EXPLAINERS: dict[State, Explainer] = {
    State.waiting: _waiting,
    State.queued: explain_queued.explain,
    State.starting: _starting,
    State.running: _running,
    State.pausing: _pausing,
    State.paused: _paused,
    State.cancelling: _cancelling,
    State.succeeded: _succeeded,
    State.failed: _failed,
    State.cancelled: _cancelled,
}


def _cancel(job: Job) -> Action:
    return post("cancel", job.id, "Cancel")


def _name(job: Job) -> str:
    return f"{job.name} ({job.id})" if job.name else job.id


def _left(eta_s: float | None) -> str:
    return "" if eta_s is None else f", {about(eta_s)} left"


def _done(job: Job) -> str:
    """How far a running job is, in parentheses."""
    progress = progress_of(job)
    return f", {percent(progress.fraction)} done{_left(progress.eta_s)}" if job.state == State.running else ""


def _progress_sentence(job: Job) -> str:
    return f"{_name(job)} is {State(job.state).value}{_done(job)}."
