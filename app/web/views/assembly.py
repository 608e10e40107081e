"""The assembly basket: components of any jobs, and whether they fit together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from app.models import Component


@dataclass(frozen=True)
class Picked:
    """A component in the basket with the name of its job."""

    component: Component
    job_name: str


@dataclass
class Assembly:
    """What the components in the basket make together. `problems` say what does not fit, `notes` what will happen."""

    items: list[Picked] = field(default_factory=list)
    experts: list[str] = field(default_factory=list)
    expert_configs: list[dict[str, Any]] = field(default_factory=list)
    fusion: Component | None = None
    head: Component | None = None
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def picks(self) -> list[str]:
        """The ids of the components."""
        return [item.component.id for item in self.items]

    @property
    def kind(self) -> str:
        """The kind of job that uses all of them."""
        return "evaluate" if self.fusion and self.head else "head" if self.fusion else "fusion"

    def spec(self) -> dict[str, Any]:
        """A job that loads all of them, to be checked."""
        spec: dict[str, Any] = {"kind": self.kind, "experts": [{"from": {"component": id}} for id in self.experts]}
        for role, component in (("fusion", self.fusion), ("head", self.head)):
            if component is not None:
                spec[role] = {"from": {"component": component.id}}
        return spec

    def url(self, kind: str) -> str:
        """The address of the form of a new job of a kind with the components that it can use."""
        query = [("kind", kind), *(("experts", id) for id in self.experts)]
        if self.fusion is not None and kind != "fusion":
            query.append(("fusion", self.fusion.id))
        if self.head is not None and kind == "evaluate":
            query.append(("head", self.head.id))
        return f"/ui/new?{urlencode(query)}"


def assemble(items: Sequence[Picked]) -> Assembly:
    """Sorts components by role; a complete model has experts, and a fusion and head unless others are chosen."""
    assembly = Assembly(list(items))
    complete = None
    for item in items:
        component = item.component
        if component.role == "complete":
            complete = component
            experts = component.config.get("experts", [])
            assembly.experts += [component.id] * len(experts)
            assembly.expert_configs += experts
        elif component.role == "expert":
            assembly.experts.append(component.id)
            assembly.expert_configs.append(component.config)
        elif getattr(assembly, component.role) is not None:
            assembly.problems.append(f"there are two components with the role {component.role}: remove one")
        else:
            setattr(assembly, component.role, component)
    if complete is not None:
        assembly.fusion = assembly.fusion or complete
        assembly.head = assembly.head or complete
    _compare(assembly)
    return assembly


def part(component: Component, role: str) -> dict[str, Any]:
    """The config of a fusion module or head, which may be a part of a complete model."""
    config: dict[str, Any] = component.config[role] if component.role == "complete" else component.config
    return config


def _compare(assembly: Assembly) -> None:
    experts, problems = assembly.expert_configs, assembly.problems
    datasets = {str(config.get("dataset")) for config in experts}
    if len(datasets) > 1:
        problems.append(f"the experts are for different data sets: {', '.join(sorted(datasets))}")
    if assembly.fusion is not None:
        expected = part(assembly.fusion, "fusion").get("num_experts")
        if expected is not None and experts and len(experts) != expected:
            problems.append(f"the fusion module expects {expected} experts; there are {len(experts)}")
    if assembly.head is not None:
        head = part(assembly.head, "head")
        classes = head.get("class_names", [])
        unknown = sorted({name for config in experts for name in config.get("class_names", [])} - set(classes))
        if classes and unknown:
            problems.append(f"the head does not know the classes {', '.join(map(str, unknown[:5]))} of the experts")
    counts = [config.get("num_classes") for config in experts]
    if len({tuple(config.get("classes", ())) for config in experts}) > 1:
        assembly.notes.append(
            f"the experts know different classes ({', '.join(map(str, counts))}): a new fusion gives those that do not "
            "know all classes of the data set a new head"
        )
    dims = sorted({config["feature_dim"] for config in experts if "feature_dim" in config})
    if len(dims) > 1 and assembly.fusion is None:
        listed = ", ".join(map(str, dims))
        assembly.notes.append(f"feature dimensions {listed}: adapters map the smaller ones to D = {dims[-1]}")
