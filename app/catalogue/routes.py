"""What there is to choose from, and what the machines are doing."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from sqlalchemy import case, func
from sqlmodel import Session, col, select

from app.auth import Viewer
from app.db import iso, now
from app.jobs.states import Reason, State
from app.models import SILENT, Attempt, Job, Lease, Worker
from app.session import Configured, Reading
from app.settings import Settings
from core.spec import FusionSpec
from core.spec.catalogue import ARCHITECTURE_FACTS, DATASET_FACTS
from core.spec.recipes import EXPERT_RECIPES, FUSION_RECIPES, dimension_factors

router = APIRouter()


@router.get("/catalogue", tags=["catalogue"])
def get_catalogue(_asks: Viewer, settings: Configured) -> dict[str, Any]:
    """Architectures, fusion types and data sets."""
    options = [name for name in FusionSpec.model_fields if name not in ("type", "source")]
    return {
        "architectures": {
            name: {
                "feature_dim": facts.feature_dim,
                "parameters_at_100_classes": facts.parameters,
                "about": facts.about,
                "recipe": _recipe(name),
            }
            for name, facts in ARCHITECTURE_FACTS.items()
        }
        | {"timm:<name>": {"about": "any timm backbone; its feature dimension is detected"}},
        "fusion_types": {
            name: {
                "options": [o for o in options if o not in ("encoder", "heads") or name == "TransformerBase"],
                "learning_rates": {"experts": recipe.lr_experts, "fusion": recipe.lr_fusion, "head": recipe.lr_fusion},
                "weight_decay": recipe.weight_decay,
                "label_smoothing": recipe.label_smoothing,
                "augmentation": recipe.augmentation.model_dump(mode="json"),
            }
            for name, recipe in FUSION_RECIPES.items()
        },
        "dimension_rule": {
            "below 100": dict(zip(("experts", "fusion_and_head"), dimension_factors(99), strict=True)),
            "above 1000": dict(zip(("experts", "fusion_and_head"), dimension_factors(1001), strict=True)),
        },
        "datasets": {name: _dataset(name, settings) for name in DATASET_FACTS}
        | {
            kind: {"available": True, "about": f"`{kind}:<path>` under {', '.join(map(str, settings.roots))}"}
            for kind in ("imagefolder", "npz")
        },
    }


def _recipe(arch: str) -> dict[str, Any]:
    recipe = EXPERT_RECIPES[arch]
    return {
        "optimizer": recipe.optimizer,
        "lr": recipe.lr,
        "epochs": recipe.epochs,
        "batch_size": recipe.batch_size,
        "weight_decay": recipe.weight_decay,
        "augmentation": recipe.augmentation.model_dump(mode="json"),
    }


def _dataset(name: str, settings: Settings) -> dict[str, Any]:
    facts = DATASET_FACTS[name]
    about = {"classes": facts.classes, "train": facts.train, "test": facts.test}
    if facts.place is None or facts.archive is None:
        return {"available": True, **about}
    places = [root / part for root in settings.roots for part in (facts.place, facts.archive)]
    if any(place.exists() for place in places):
        return {"available": True, **about}
    where = " or ".join(str(root) for root in settings.roots)
    return {
        "available": False,
        "put": f"{facts.archive} into {where} (it is downloaded if the network allows)",
        **about,
    }


@router.get("/cluster", tags=["cluster"])
def get_cluster(_asks: Viewer, session: Reading) -> dict[str, Any]:
    """Workers, their devices, what each runs, and how many jobs wait."""
    held = {(lease.host, lease.device): lease for lease in session.exec(select(Lease))}
    counts = dict(session.exec(select(Job.state, func.count()).group_by(col(Job.state))).all())
    workers = [
        {
            "host": worker.host,
            "seen_at": iso(worker.seen_at),
            "cpus": worker.cpus,
            "memory_gb": round(worker.memory_gb, 1),
            "alive": now() - worker.seen_at < SILENT,
            "devices": [
                {"device": device, "job": held[worker.host, device].job_id if (worker.host, device) in held else None}
                for device in worker.devices
            ],
        }
        for worker in session.exec(select(Worker).order_by(col(Worker.host)))
    ]
    return {
        "workers": workers,
        "queue_length": counts.get(State.queued.value, 0),
        "jobs": {state.value: counts.get(state.value, 0) for state in State},
        "slurm": _slurm(session),
    }


def _slurm(session: Session) -> dict[str, Any] | None:
    """What a worker saw of Slurm last, why jobs pend there, and how often each node's hardware failed."""
    seen = select(Worker).where(col(Worker.slurm).is_not(None)).order_by(col(Worker.seen_at).desc())
    worker = session.exec(seen).first()
    if worker is None or worker.slurm is None:
        return None
    here = (col(Attempt.job_id) == col(Job.id)) & (col(Attempt.number) == col(Job.attempt))
    pending = select(Job.id, Attempt.slurm_job_id, Job.message).join(Attempt, here)
    pending = pending.where(Job.state == State.starting, Job.executor == "slurm").order_by(Job.id).limit(200)
    return {
        **worker.slurm,
        "pending": [{"job": job, "slurm_job_id": slurm, "why": why} for job, slurm, why in session.exec(pending)],
        "nodes": _nodes(session),
    }


def _nodes(session: Session) -> list[dict[str, Any]]:
    """The record of each node; an attempt on several counts for each."""
    fault = case((col(Attempt.reason) == Reason.hardware_fault, 1))
    query = select(Attempt.host, func.count(), func.count(fault), func.max(case((fault == 1, Attempt.ended_at))))
    query = query.where(Attempt.executor == "slurm", Attempt.host != "").group_by(Attempt.host)
    found: dict[str, dict[str, Any]] = {}
    for hosts, count, faults, last in session.exec(query):
        for host in hosts.split(","):
            row = found.setdefault(host, {"node": host, "attempts": 0, "hardware_faults": 0, "last_fault_at": None})
            row["attempts"] += count
            row["hardware_faults"] += faults
            row["last_fault_at"] = max(filter(None, (row["last_fault_at"], iso(last))), default=None)
    return [found[host] for host in sorted(found)]
