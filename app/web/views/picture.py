"""The model of a job as a picture and as a table: experts, adapters, fusion module, head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from app.web.views.formulas import FORMULAS
from core.spec import ComponentRef, ExpertJob, FusionSpec, HeadSpec, JobSpec
from core.spec.stage_trainings import always_frozen

# Of more experts than this, the picture shows one less and says how many more there are.
MAX_BOXES = 8
BOX_WIDTH, BOX_HEIGHT, GAP = 300, 88, 12
ADAPTER_WIDTH, FUSION_WIDTH, HEAD_WIDTH, SIDE_HEIGHT = 84, 200, 130, 108
# The bar of a contribution leaves room for its number.
BAR_WIDTH = 192
_ARROW = 28


class ComponentFacts(NamedTuple):
    """An expert, the fusion module or the head. Values that are not known yet are null."""

    name: str
    kind: str
    dim: int | None
    parameters: int | None
    rate: float | None
    is_frozen: bool
    source: ComponentRef | None
    detail: str = ""
    has_adapter: bool = False
    before: float | None = None
    after: float | None = None
    contribution: float | None = None


class Model(NamedTuple):
    """All components of a job, in the order of the table."""

    experts: list[ComponentFacts]
    fusion: ComponentFacts | None
    head: ComponentFacts | None

    @property
    def components(self) -> list[ComponentFacts]:
        """Experts, fusion module and head."""
        return [*self.experts, *(part for part in (self.fusion, self.head) if part is not None)]


class Box(NamedTuple):
    """A component with its place in the picture; `bar` is the width of its contribution bar."""

    facts: ComponentFacts
    x: float
    y: float
    width: float
    height: float
    bar: float = 0.0


class Picture(NamedTuple):
    """Boxes and lines, in pixels. `more` experts are not drawn; their note stands at `more_y`."""

    width: float
    height: float
    boxes: list[Box]
    adapters: list[tuple[float, float]]
    lines: list[str]
    more: int
    more_y: float
    bar_width: int = BAR_WIDTH


def describe_model(spec: JobSpec, figures: Mapping[str, Any], metrics: Mapping[str, float | None]) -> Model:
    """The components of a complete specification, with the figures of its plan or outline and its latest metrics."""
    specs = [spec.expert] if isinstance(spec, ExpertJob) else list(spec.experts)
    rates: Mapping[str, float | None] = figures["learning_rates"]
    counts: Mapping[str, int | None] = figures["parameters"]
    dims: Sequence[int | None] = figures["feature_dims"]
    adapters = figures["adapters"] or []
    measured = "test" if any(key.startswith("test/accuracy") for key in metrics) else "val"
    experts = []
    for k, expert in enumerate(specs):
        name = f"expert_{k}"
        experts.append(
            ComponentFacts(
                name=name,
                kind=expert.arch or "known when the job starts",
                dim=dims[k] if k < len(dims) else None,
                parameters=counts.get(name),
                rate=rates.get("experts"),
                is_frozen=_is_frozen(spec, "experts"),
                source=expert.source,
                has_adapter=name in adapters and not isinstance(spec, ExpertJob),
                before=metrics.get(f"test/accuracy_{name}_before"),
                after=metrics.get(f"{measured}/accuracy_{name}"),
                contribution=metrics.get(f"test/contribution_{name}"),
            )
        )
    if isinstance(spec, ExpertJob):
        return Model(experts, None, None)
    dim = figures["input_dim"]
    fusion = ComponentFacts(
        "fusion", spec.fusion.type or "known when the job starts", dim, counts.get("fusion"), rates.get("fusion"),
        _is_frozen(spec, "fusion"), spec.fusion.source, formula(spec.fusion),
    )  # fmt: skip
    head = ComponentFacts(
        "head", spec.head.type or "linear", dim, counts.get("head"), rates.get("head"),
        _is_frozen(spec, "head"), spec.head.source, _head_detail(spec.head, dim, figures),
        after=metrics.get(f"{measured}/accuracy_fused"),
    )  # fmt: skip
    return Model(experts, fusion, head)


def formula(fusion: FusionSpec) -> str:
    """How a fusion module combines the features n of the experts."""
    if fusion.type is None:
        return ""
    text = FORMULAS[fusion.type]
    if fusion.weights == "none":
        text = text.replace("softmax(w)ₖ ", "")
    if fusion.type == "TransformerBase" and fusion.encoder:
        text = text.replace("attention", "encoder")
    if fusion.type == "concatenation":
        return text if fusion.mlp else text.replace("MLP", "Linear")
    return f"{text}, MLP" if fusion.mlp else text


def _head_detail(head: HeadSpec, dim: int | None, figures: Mapping[str, Any]) -> str:
    data = figures.get("data") or figures.get("dataset") or {}
    sizes = [dim, head.hidden_dim or dim, data.get("classes")] if head.type == "mlp" else [dim, data.get("classes")]
    return " → ".join("?" if size is None else str(size) for size in sizes)


def _is_frozen(spec: JobSpec, group: str) -> bool:
    if spec.kind == "evaluate" or (spec.kind == "head" and group != "head"):
        return True
    return group in always_frozen(spec.training)


def draw(model: Model) -> Picture:
    """Places the boxes: experts below one another, the rest to their right."""
    count = len(model.experts)
    shown = model.experts if count <= MAX_BOXES else model.experts[: MAX_BOXES - 1]
    largest = max((abs(expert.contribution or 0.0) for expert in model.experts), default=0.0)
    boxes, adapters, lines = [], [], []
    height = len(shown) * (BOX_HEIGHT + GAP) - GAP
    more = count - len(shown)
    total = max(height + (36 if more else 0), SIDE_HEIGHT if model.fusion else 0)
    has_adapters = any(expert.has_adapter for expert in shown)
    fusion_x = BOX_WIDTH + _ARROW + (ADAPTER_WIDTH + _ARROW if has_adapters else 0)
    middle = total / 2
    for k, expert in enumerate(shown):
        y = k * (BOX_HEIGHT + GAP) + (total - height - (36 if more else 0)) / 2
        bar = BAR_WIDTH * abs(expert.contribution or 0.0) / largest if largest else 0.0
        boxes.append(Box(expert, 0.0, y, BOX_WIDTH, BOX_HEIGHT, round(bar, 1)))
        if model.fusion is None:
            continue
        center, start = y + BOX_HEIGHT / 2, float(BOX_WIDTH)
        if expert.has_adapter:
            adapters.append((start + _ARROW, center - 18))
            lines.append(f"M{start:g} {center:g}h{_ARROW}")
            start += _ARROW + ADAPTER_WIDTH
        bend = fusion_x - _ARROW / 2
        lines.append(f"M{start:g} {center:g}H{bend:g}V{middle:g}H{fusion_x}")
    width = float(BOX_WIDTH)
    if model.fusion and model.head:
        boxes.append(Box(model.fusion, fusion_x, middle - SIDE_HEIGHT / 2, FUSION_WIDTH, SIDE_HEIGHT))
        head_x = fusion_x + FUSION_WIDTH + _ARROW
        lines.append(f"M{fusion_x + FUSION_WIDTH:g} {middle:g}H{head_x:g}")
        boxes.append(Box(model.head, head_x, middle - SIDE_HEIGHT / 2, HEAD_WIDTH, SIDE_HEIGHT))
        width = head_x + HEAD_WIDTH
    return Picture(width, total, boxes, adapters, lines, more, height + 24)
