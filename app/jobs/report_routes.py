"""The routes that report on one job: why it is in its state, where its time went, and its result."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response

from app.auth.principals import Viewer
from app.http.session import Configured, Reading
from app.jobs import explain, ledger, queries
from app.jobs.control_queries import list_controls
from app.jobs.provenance import provenance
from app.jobs.provenance_schemas import Provenance
from app.jobs.report_schemas import ControlList, ControlView, Explanation, Ledger
from app.jobs.result import stored_result
from app.jobs.routes import JobId

router = APIRouter(prefix="/jobs", tags=["jobs"])
_SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
PROVENANCE_EXAMPLE: dict[str, Any] = {
    "job": "job_01M85N3F36VFE5DRETSBRX1ADS",
    "sentence": "bit-exact: yes, the same specification, data, software and device give these bits",
    "bit_exact": True,
    "known": [
        "The environment is recorded from step 0 on",
        "1 checkpoint is kept, of step 90. Others that newer ones replaced are not recorded",
    ],
    "identity": _SHA256,
    "specification_sha256": _SHA256,
    "data": {"dataset": "npz:cells.npz", "sha256": _SHA256, "num_parts": 2, "size_bytes": 1_204_512},
    "attempts": [
        {
            "attempt": 1,
            "executor": "local",
            "host": "gpu-1",
            "started_at": "2026-01-31T12:00:00.000Z",
            "resumed_from": None,
            "environment": {
                "software": {"code": _SHA256, "libraries": {"torch": "2.15.0", "numpy": "2.4.6"}},
                "device": {"type": "cpu", "cpu": "AMD EPYC", "instructions": "avx2 fma", "gpu": None, "driver": None},
                "precision": "float32",
                "threads": 2,
                "processes": 1,
            },
        }
    ],
    "changes": {},
    "checkpoints": [{"step": 90, "epoch": 2, "sha256": _SHA256, "bytes": 81_920, "parent": None, "identity": _SHA256}],
    "removed_checkpoints": [],
    "components": [{"name": "expert_0", "epoch": 2, "content_sha256": _SHA256, "identity": _SHA256}],
}


def _example(value: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    return {200: {"content": {"application/json": {"example": value}}}}


@router.get(
    "/{job_id}/explain",
    responses=_example(
        {
            "sentence": "It is third in line; 0 on gpu-1 frees in about 6 min.",
            "evidence": ["2 jobs of higher priority, or older, are ahead."],
            "actions": [
                {
                    "label": "Cancel",
                    "method": "POST",
                    "path": "/jobs/job_01M85N3F36VFE5DRETSBRX1ADS/cancel",
                    "command": "mcn cancel job_01M85N3F36VFE5DRETSBRX1ADS",
                    "body": None,
                }
            ],
        }
    ),
)
def get_explanation(job_id: JobId, _principal: Viewer, session: Reading, settings: Configured) -> Explanation:
    """Explain why a job is in its state, from the queue, the workers and its history, and what can be done."""
    return explain.explain(session, queries.get_job(session, job_id), settings)


@router.get(
    "/{job_id}/ledger",
    responses=_example(
        {
            "attempts": [
                {
                    "attempt": 1,
                    "executor": "local",
                    "devices": 1,
                    "reason": "preempted",
                    "device_minutes": 10.0,
                    "useful": 9.0,
                    "redone": 1.0,
                    "redone_steps": 40,
                    "silent": 0.0,
                    "waiting": 2.0,
                }
            ],
            "by_cause": {
                "queued": {"redone": 0.0, "silent": 0.0, "waiting": 2.0},
                "preempted": {"redone": 1.0, "silent": 0.0, "waiting": 0.0},
            },
            "totals": {"useful": 9.0, "redone": 1.0, "silent": 0.0, "waiting": 2.0, "unknown": 0.0},
            "useful_share": 0.75,
        }
    ),
)
def get_ledger(job_id: JobId, _principal: Viewer, session: Reading) -> Ledger:
    """Show where the time of a job went: useful, done again after a resume, silent, and waiting, in device-minutes by
    cause."""
    return ledger.ledger(session, queries.get_job(session, job_id))


@router.get("/{job_id}/controls")
def get_controls(job_id: JobId, _principal: Viewer, session: Reading) -> ControlList:
    """List the jobs that a fusion job with `controls: true` is compared with."""
    queries.get_job(session, job_id)
    rows = list_controls(session, job_id)
    return ControlList(
        items=[
            ControlView(
                role=row.role,
                job=row.job_id,
                name=row.name,
                state=row.state,
                reused=row.reused,
                absent=row.absent if row.job_id or row.absent else "the job has been deleted",
            )
            for row in rows
        ]
    )


@router.get("/{job_id}/provenance", responses=_example(PROVENANCE_EXAMPLE))
def get_provenance(job_id: JobId, _principal: Viewer, session: Reading, settings: Configured) -> Provenance:
    """Show what the result of a job was computed from: data, software, device, checkpoints; and if it is bit-exact."""
    return provenance(session, settings, queries.get_job(session, job_id))


@router.get(
    "/{job_id}/result",
    response_class=Response,
    responses={200: {"content": {"application/json": {"schema": {"type": "object"}}}}},
)
def get_result(job_id: JobId, _principal: Viewer, session: Reading, settings: Configured) -> Response:
    """Get the result of a job that has succeeded: metrics, accuracy by class, what is absent and why."""
    content = stored_result(settings, queries.get_job(session, job_id)).content
    return Response(content, media_type="application/json")
