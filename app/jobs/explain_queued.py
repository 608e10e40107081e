"""Why a queued job has not started: its place in line, the devices, limits of owner and sweep, silent workers."""

from __future__ import annotations

from collections.abc import Sequence

from sqlmodel import Session

from app.db import now
from app.jobs.capacity import change_to_fit, num_devices, shortfall
from app.jobs.deletion import starts_from_beginning
from app.jobs.disk_space import in_gb, more_than_the_disk
from app.jobs.explain_ended import REQUEUED, in_words, post, post_with
from app.jobs.explain_silence import START_WORKER
from app.jobs.queue_queries import Queue, Workers, capacity_of
from app.jobs.report_schemas import Explanation
from app.jobs.schemas import progress_of
from app.jobs.wording import about, count, ordinal, plain
from app.models import Job, Reason, Worker


def explain(session: Session, job: Job) -> Explanation:
    """The most decisive obstacle as the sentence, everything else that matters as evidence."""
    return explain_in(Queue(session), job)


def explain_in(queue: Queue, job: Job) -> Explanation:
    """The same, for several jobs of a queue that is read once."""
    workers = queue.workers
    live = [worker for worker in workers.live if job.executor == "local" or worker.slurm is not None]
    evidence: list[str] = []
    if job.reason:
        evidence.append(REQUEUED[Reason(job.reason)])
    if job.message:
        evidence.append(plain(job.message))
    if starts_from_beginning(job):
        evidence.append("It starts from the beginning, because its checkpoints were deleted.")
    places = queue.sweep_places(job.sweep) if job.sweep else None
    if places:
        evidence.append(f"{places[0]} of the {places[1]} jobs of its sweep that may run at once are running.")
    cancel = post("cancel", job.id, "Cancel")
    if not live:
        return Explanation(sentence=_no_worker(job, workers), evidence=evidence, actions=[START_WORKER, cancel])
    quota = queue.start_limits.of(job.owner)
    if quota is not None and quota.room == 0:
        return Explanation(sentence=quota.sentence(), evidence=evidence, actions=[cancel])
    if places and places[0] >= places[1]:
        sentence = f"Its sweep runs {count(places[1], 'job')} at once, and all of these places are taken."
        return Explanation(sentence=sentence, evidence=evidence, actions=[cancel])
    ahead = queue.jobs_ahead(job)
    position = ordinal(ahead + 1)
    if ahead:
        evidence.append(f"{count(ahead, 'job')} of higher priority, or older, {'is' if ahead == 1 else 'are'} ahead.")
    paused = [worker for worker in live if _has_paused_starts(worker)]
    evidence += [_disk_sentence(worker) for worker in paused]
    if job.executor != "local" and len(paused) == len(live):
        return Explanation(sentence=_no_disk(paused), evidence=evidence, actions=[cancel])
    if job.executor != "local":
        sentence = f"It is {position} in line to be submitted to Slurm."
        return Explanation(sentence=sentence, evidence=evidence, actions=[cancel])
    capacities = [capacity_of(worker) for worker in live]
    resources = job.spec["resources"]
    if not any(capacity.fits(resources) for capacity in capacities):
        fitting_resources = change_to_fit(resources, capacities)
        change = post_with(fitting_resources, "resume", job.id, f"Change it to {in_words(fitting_resources)}")
        # The advice of a job that has failed for this; a queued one can be changed in place.
        evidence.append(plain(shortfall(resources, capacities).replace(", then retry", ", or add a larger machine")))
        sentence = "No machine that is up is large enough for it."
        return Explanation(sentence=sentence, evidence=evidence, actions=[change, cancel])
    fitting = [worker for worker, capacity in zip(live, capacities, strict=True) if capacity.fits(resources)]
    if all(worker in paused for worker in fitting):
        return Explanation(sentence=_no_disk(fitting), evidence=evidence, actions=[cancel])
    fitting = [worker for worker in fitting if worker not in paused]
    obstacle, about_devices = _devices(queue, job, fitting)
    sentence = f"It is {position} in line{obstacle}."
    if not ahead and not obstacle:
        sentence = "It is first in line and a device is free: it starts within seconds."
    return Explanation(sentence=sentence, evidence=[*evidence, *about_devices], actions=[cancel])


def _no_worker(job: Job, workers: Workers) -> str:
    if workers.live:
        return "It waits for a worker that reaches Slurm: none of those that are up does."
    if workers.latest is None:
        return "No worker has ever been heard from, and only a worker can start it."
    since = about((now() - workers.latest.seen_at).total_seconds())
    return f"No worker has been heard from for {since}, and only a worker can start it."


def _has_paused_starts(worker: Worker) -> bool:
    return worker.disk is not None and bool(worker.disk["starts_paused"])


def _is_writable(worker: Worker) -> bool:
    """Workers of earlier versions do not report it."""
    return bool((worker.disk or {}).get("writable", True))


def _no_disk(workers: Sequence[Worker]) -> str:
    first, others = workers[0].host, count(len(workers) - 1, "other machine")
    missing = "disk space" if any(map(_is_writable, workers)) else "a disk that can be written"
    return f"It waits for {missing} on {first}{f' and {others}' if len(workers) > 1 else ''}, where no job starts."


def _disk_sentence(worker: Worker) -> str:
    """How much is missing on a machine that has paused starts, and what to do."""
    disk = worker.disk or {}
    if not _is_writable(worker):
        return (
            f"The run directories of {worker.host} cannot be written: their disk may be read-only, or the permissions "
            "have changed. Starts resume by themselves once they can."
        )
    free, resume_at = in_gb(disk["free_bytes"]), in_gb(disk["resume_at_bytes"])
    where = f"The data folder of {worker.host} has {free} free"
    if disk["free_bytes"] >= disk["resume_at_bytes"]:
        return f"{where}, but a start could not write: a quota may be exhausted. It tries again within about a minute."
    if disk["resume_at_bytes"] > disk["total_bytes"]:
        return f"{where}. {more_than_the_disk(disk['min_free_bytes'], disk['total_bytes'])}."
    limit = in_gb(disk["min_free_bytes"])
    return f"{where}; below {limit} no job starts. Delete old jobs: starts resume by themselves at {resume_at}."


def _devices(queue: Queue, job: Job, workers: Sequence[Worker]) -> tuple[str, list[str]]:
    """What the job still needs as the end of a sentence (empty if enough is free), and who holds the devices."""
    needed = num_devices(job.spec["resources"])
    hosts = {worker.host for worker in workers}
    held = [(lease, holder) for lease, holder in queue.holders if lease.host in hosts]
    total = sum(len(worker.devices) for worker in workers)
    free = {
        worker.host: len(worker.devices) - sum(lease.host == worker.host for lease, _ in held) for worker in workers
    }
    verb = "is" if sum(free.values()) == 1 else "are"
    evidence = [f"It needs {count(needed, 'device')}; {sum(free.values())} of {total} on the machines that are up {verb} free."]  # fmt: skip  # noqa: E501
    if max(free.values()) >= needed:
        return "", evidence
    etas: list[tuple[float, str]] = []
    for lease, holder in held:
        eta_s = progress_of(holder).eta_s
        left = "" if eta_s is None else f", which has {about(eta_s)} left"
        evidence.append(f"{lease.device} on {lease.host} is held by {holder.name or holder.id} ({holder.id}){left}.")
        if eta_s is not None:
            etas.append((eta_s, f"{lease.device} on {lease.host}"))
    if not etas:
        return "; no device that it could use is free", evidence
    first, device = min(etas)
    return f"; {device} frees in {about(first)}", evidence
