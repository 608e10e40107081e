"""The plan panel: what a job would build and cost, in words and numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from app.jobs.schemas import DryRun, Estimate, PlannedControl
from app.jobs.wording import count, device_time
from app.web.views.formulas import FORMULAS
from app.web.views.words import NOTHING, number
from core.spec import FUSION_TYPES, Augmentation
from core.spec.recipes import FusionRecipe

# D is the fused dimension, n_k the normalised features of expert k.


@dataclass(frozen=True)
class FusionChoice:
    """A fusion type with its recipe in words. The range is an expectation, never a result."""

    name: str
    formula: str
    rates: str
    augmentation: str
    expected: str


def fusion_choices() -> list[FusionChoice]:
    """All fusion types as the form shows them."""
    return [
        FusionChoice(
            name,
            FORMULAS.get(name, ""),
            _rates(info.recipe),
            _augmentation(info.recipe.augmentation),
            _range(info.recipe),
        )
        for name, info in FUSION_TYPES.items()
    ]


def _rates(recipe: FusionRecipe) -> str:
    return f"experts {recipe.lr_experts:g}, fusion and head {recipe.lr_fusion:g}"


def _augmentation(augmentation: Augmentation) -> str:
    parts = [augmentation.color, f"erasing {augmentation.erasing:g}"]
    parts += [f"MixUp {augmentation.mixup_alpha:g}"] if augmentation.mixup_alpha else []
    parts += [f"CutMix {augmentation.cutmix_alpha:g}"] if augmentation.cutmix_alpha else []
    return ", ".join(parts)


def _range(recipe: FusionRecipe) -> str:
    (low, high), (low_augmented, high_augmented) = recipe.baseline, recipe.augmented
    return f"{low} to {high} %, with augmentation {low_augmented} to {high_augmented} %"


@dataclass(frozen=True)
class RateRow:
    """A learning rate and where it comes from."""

    name: str
    value: float | None
    why: str


@dataclass(frozen=True)
class PlanView:
    """What the panel shows of a dry run."""

    facts: list[tuple[str, str]]
    parameters: list[tuple[str, int | None]]
    rates: list[RateRow]
    warnings: list[str]
    notes: list[str]
    waits_for: list[str]


def plan_view(run: DryRun) -> PlanView:
    """The panel of a valid specification."""
    outline = run.outline
    facts = []
    if outline.data:
        about = "" if outline.data.exact else " (estimated)"
        images = f"{number(outline.data.train)} training, {number(outline.data.val)} validation images{about}"
        facts.append(("Data", f"{outline.data.name}: {count(outline.data.classes, 'class')}; {images}"))
    facts.append(("Feature dimensions", _dims(outline.feature_dims)))
    if run.kind != "expert":
        facts.append(("Fused dimension D", number(outline.input_dim)))
        if outline.adapters is not None:
            facts.append(("Adapters", ", ".join(outline.adapters) or "none needed"))
    if outline.new_expert_heads:
        facts.append(("New heads", ", ".join(outline.new_expert_heads)))
    if run.controls:
        facts.append(("Controls", _controls(run.controls)))
    if run.kind != "evaluate":
        facts.append(("Individual loss", outline.individual_loss))
        per_epoch = "" if outline.steps_per_epoch is None else f" ({number(outline.steps_per_epoch)} per epoch)"
        facts.append(("Epochs", number(outline.epochs)))
        facts.append(
            ("Steps", "known when the job starts" if outline.steps is None else number(outline.steps) + per_epoch)
        )
    facts += [(f"Stage {number}", text) for number, text in enumerate(outline.stages, 1)]
    facts.append(("Cost", estimate_text(run.estimate)))
    rates = [
        RateRow(name, value, outline.learning_rates_why.get(name, "")) for name, value in outline.learning_rates.items()
    ]
    shown = rates if run.kind != "evaluate" else []
    return PlanView(facts, _parameters(outline.parameters), shown, outline.warnings, outline.notes, run.waits_for)


def _controls(controls: Sequence[PlannedControl]) -> str:
    """How many there are, and why others are not there: each reason once."""
    jobs = sum(control.name is not None for control in controls)
    absent: dict[str, list[str]] = {}
    for control in controls:
        if control.absent:
            absent.setdefault(control.absent, []).append(control.role)
    reasons = [f"no {', '.join(roles)}: {why}" for why, roles in absent.items()]
    return "; ".join([f"{count(jobs, 'more job')}, or equal ones that exist" if jobs else "none", *reasons])


def _dims(dims: Sequence[int | None]) -> str:
    """Equal dimensions together: `64 (4 experts), 128`."""
    counts = Counter("detected at start" if dim is None else str(dim) for dim in dims)
    return ", ".join(f"{dim} ({count} experts)" if count > 1 else dim for dim, count in counts.items())


def _parameters(parameters: dict[str, int | None]) -> list[tuple[str, int | None]]:
    """Experts of equal size as one row, and so more than eight; fewer by themselves."""
    experts = {name: count for name, count in parameters.items() if name.startswith("expert_")}
    others = [(name, count) for name, count in parameters.items() if name not in experts]
    sizes = set(experts.values())
    if len(experts) > 1 and len(sizes) == 1:
        return [(f"{len(experts)} experts, each", sizes.pop()), *others]
    if len(experts) <= 8:
        return list(parameters.items())
    total = None if None in sizes else sum(count or 0 for count in experts.values())
    return [(f"{len(experts)} experts", total), *others]


def estimate_text(estimate: Estimate) -> str:
    """The cost in device hours with its basis, or why it is not known."""
    if estimate.gpu_hours is None:
        return f"{NOTHING} ({estimate.why})"
    hours = estimate.gpu_hours
    if not hours and not estimate.based_on:
        return f"none ({estimate.why})"
    return f"about {device_time(hours).removeprefix('about ')} ({estimate.why})"
