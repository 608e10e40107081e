"""Which metrics share a chart, and the label and the look of each of their lines."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from app.results.metrics.directions import Mode, known_direction

NUM_SLOTS = 8
_EXPERT = re.compile(r"expert_(\d+)$")
# Lines that belong to no expert. They are dim, and their dashes tell them apart.
_AUXILIARY = {
    "val/accuracy_ensemble": "aux-0",
    "val/accuracy_ensemble_logits": "aux-0",
    "val/accuracy_ensemble_probabilities": "aux-1",
    "val/accuracy_oracle": "aux-2",
}
_MAIN = {"val/accuracy_fused", "train/accuracy_fused", "train/loss_total"}
_MAJOR = ("accuracy", "losses")


@dataclass(frozen=True)
class Line:
    """A line of a chart. `look` is the class that gives it colour and dashes; `series-main` is the text colour."""

    job: str
    key: str
    label: str
    look: str

    @property
    def is_ranked(self) -> bool:
        """Whether it can be the best; the oracle is a bound, not a model."""
        return not self.key.endswith("accuracy_oracle")


@dataclass(frozen=True)
class Panel:
    """Lines that share axes. `better` says which values are better, where that can be said.

    `is_comparable`: all lines measure the same, so that one of them can be the best. `is_minor`: it does not say by
    itself how good a model is. `is_share`: all values are from 0 to 1.
    """

    id: str
    title: str
    unit: str = ""
    better: Mode | None = None
    lines: list[Line] = field(default_factory=list)
    is_comparable: bool = True
    is_minor: bool = False
    is_share: bool = False


@dataclass(frozen=True)
class _Group:
    id: str
    title: str
    pattern: re.Pattern[str]
    unit: str = ""
    is_share: bool = False


_GROUPS = [
    _Group("accuracy", "Validation accuracy", re.compile(r"val/accuracy_(.+)"), is_share=True),
    _Group("losses", "Losses", re.compile(r"(?:train|val)/loss_(.+)")),
    _Group("train_accuracy", "Training accuracy", re.compile(r"train/accuracy_(.+)"), is_share=True),
    _Group("rates", "Learning rates", re.compile(r"lr/(.+)")),
    _Group("gradient", "Gradient norm", re.compile(r"grad_norm/(.+)")),
    _Group("clipped", "Clipped gradients", re.compile(r"clipped/(.+)"), unit="share", is_share=True),
    _Group("disagreement", "Disagreement of experts", re.compile(r"val/(disagreement)"), is_share=True),
    _Group("winning", "Winning share of experts", re.compile(r"train/winning_share_(.+)"), is_share=True),
    _Group("temperature", "Temperature of the individual loss", re.compile("(temperature)")),
    _Group("ambiguity", "Ambiguity of experts", re.compile(r"(?:train|val)/(ambiguity|collusion)")),
    _Group("ensemble", "Losses of the ensemble", re.compile(r"(?:train|val)/(average_loss|ensemble_loss)")),
    _Group("paths", "Gradients of both paths", re.compile(r"train/gradient_(cosine|conflicts)")),
    _Group("stage", "Stage", re.compile(r"train/(stage)")),
    _Group("throughput", "Throughput", re.compile(r"throughput/(.+)"), unit="images/s"),
    _Group("memory", "Memory", re.compile(r"system/(.+)_gb"), unit="GiB"),
    _Group("utilization", "GPU utilization", re.compile(r"system/(gpu_util)"), unit="%"),
    _Group("lambda", "Weight of the individual loss (lambda)", re.compile("(lambda)")),
]
# Groups with values of training and of validation.
_ON_BOTH = ("losses", "ambiguity", "ensemble")
_LABELS = {
    "images_per_s": "images/s",
    "ensemble_probabilities": "ens. prob.",
    "ensemble_logits": "ensemble",
    "rss": "process",
    "gpu_mem": "GPU",
    "gpu_util": "GPU",
}


def series_look(slot: int) -> str:
    """The classes of a slot: eight colours, then the same dashed, then dotted."""
    colour, turn = slot % NUM_SLOTS, slot // NUM_SLOTS
    return f"series-{colour}" + ("", " dashed", " dotted")[min(turn, 2)]


def is_charted(key: str) -> bool:
    """Whether a metric has a course; those of the test images are single values."""
    return not key.startswith("test/")


def job_panels(job: str, keys: Iterable[str]) -> list[Panel]:
    """The charts of one job: metrics of a kind together, experts in the colours of their index."""
    left = [key for key in keys if is_charted(key)]
    if "val/accuracy_ensemble" in left:
        # Another name for the same values.
        left = [key for key in left if key != "val/accuracy_ensemble_logits"]
    panels: list[Panel] = []
    for group in _GROUPS:
        members = [key for key in left if group.pattern.fullmatch(key)]
        left = [key for key in left if key not in members]
        if members:
            lines = _lines(job, sorted(members, key=_order), group)
            better = known_direction(members[0])
            is_comparable = group.id not in (*_ON_BOTH, "paths")
            panels.append(
                Panel(group.id, group.title, group.unit, better, lines, is_comparable, is_share=group.is_share)
            )
    for prefix in dict.fromkeys(key.rpartition("/")[0] for key in left):
        members = [key for key in left if key.rpartition("/")[0] == prefix]
        panels.append(_other(job, prefix, members))
    if any(panel.id in _MAJOR for panel in panels):
        return [replace(panel, is_minor=panel.id not in _MAJOR) for panel in panels]
    return panels


def comparison_panels(jobs: Sequence[tuple[str, str, int]], keys: Iterable[str]) -> list[Panel]:
    """A chart for each metric, with a line for each job, given as id, name and slot."""
    return [
        Panel(
            f"key-{number}",
            key,
            better=known_direction(key),
            lines=[Line(id, key, name, series_look(s)) for id, name, s in jobs],
            is_share=any(group.is_share and group.pattern.fullmatch(key) for group in _GROUPS),
        )
        for number, key in enumerate(keys)
    ]


def label_of(key: str) -> str:
    """A metric as a person would call it, without the group that its chart names."""
    for group in _GROUPS:
        match = group.pattern.fullmatch(key)
        if match:
            name = _LABELS.get(match[1], match[1].replace("_", " "))
            return f"{name} (val)" if group.id in _ON_BOTH and key.startswith("val/") else name
    return key.rpartition("/")[2]


def _order(key: str) -> tuple[int, int, str]:
    """Fused first, then experts by index, ensembles, the oracle; losses with the total first."""
    expert = _EXPERT.search(key)
    if key in _MAIN:
        return (0, 0, key)
    if expert:
        return (1, int(expert[1]), key)
    return (2 + any(word in key for word in ("oracle",)), 0, key)


def _lines(job: str, keys: Sequence[str], group: _Group) -> list[Line]:
    lines: list[Line] = []
    free = 0
    for key in keys:
        expert = _EXPERT.search(key)
        if key in _MAIN:
            look = "series-main"
        elif key in _AUXILIARY:
            look = _AUXILIARY[key]
        elif expert:
            look = series_look(int(expert[1]))
        else:
            look, free = series_look(free), free + 1
        lines.append(Line(job, key, label_of(key), look))
    return lines


def _other(job: str, prefix: str, keys: Sequence[str]) -> Panel:
    lines = [Line(job, key, key.rpartition("/")[2], series_look(number)) for number, key in enumerate(keys)]
    return Panel(f"other-{re.sub('[^A-Za-z0-9]+', '-', prefix) or 'metrics'}", prefix or "Other metrics", lines=lines)
