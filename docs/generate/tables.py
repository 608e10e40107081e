"""Tables and pictures from the settings, the errors, the routes, the state graph and the catalogue."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from app.http.errors import PROBLEMS
from app.jobs.transitions import EDGES
from app.models import TERMINAL_STATES, Reason, State
from app.settings import Settings
from core.spec.catalogue import ARCHITECTURES, DATASET_FACTS, FUSION_TYPES
from docs.generate.explanations import REASONS
from docs.generate.markdown import code, codes, table


def settings() -> str:
    """Every setting with its description."""
    fields = Settings.model_fields.items()
    return table(
        ["variable", "meaning"], [[code(f"MCN_{name.upper()}"), field.description or ""] for name, field in fields]
    )


def errors() -> str:
    """Every type of error that a route may answer."""
    rows = [[code(problem.type), str(problem.status), problem.title] for problem in PROBLEMS]
    return table(["type", "status", "title"], rows)


def routes() -> str:
    """Every documented route with its summary."""
    from app.main import create_app

    with tempfile.TemporaryDirectory() as folder:
        schema = create_app(Settings(data_dir=Path(folder))).openapi()
    rows = []
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            purpose = (operation.get("description") or operation.get("summary") or "").split("\n\n")[0]
            rows.append([code(f"{method.upper()} {path}"), purpose])
    return table(["route", "what it does"], rows)


def state_graph() -> str:
    """The graph of states for Mermaid."""
    first = [("[*]", State.waiting.value), ("[*]", State.queued.value)]
    inner = [(state.value, to.value) for state, to in EDGES]
    last = [(state.value, "[*]") for state in TERMINAL_STATES]
    lines = "".join(f"    {state} --> {to}\n" for state, to in (*first, *inner, *last))
    return f"```mermaid\nstateDiagram-v2\n{lines}```"


def edges() -> str:
    """Every edge of the state graph with the sentence that explains it."""
    return table(["from", "to", "when"], [[code(state), code(to), why] for (state, to), why in EDGES.items()])


def reasons() -> str:
    """Every reason that a job may carry, and what it means."""
    return table(["reason", "meaning"], [[code(reason), REASONS[reason]] for reason in Reason])


def architectures() -> str:
    """Every architecture for 3-channel images of 32 px and 100 classes."""
    rows = [
        [code(name), str(info.feature_dim), f"{info.parameters:,}", info.about] for name, info in ARCHITECTURES.items()
    ]
    rows.append([code("timm:<name>"), "detected", "", "any timm backbone; option pretrained"])
    return table(["arch", "feature dimension", "parameters at 100 classes", "description"], rows)


def fusion_types() -> str:
    """Every fusion type with the values that the preset `readme` gives it."""
    rows = []
    for name, info in FUSION_TYPES.items():
        recipe = info.recipe
        rates = [f"{recipe.lr_experts:g}", f"{recipe.lr_fusion:g}"]
        rows.append([code(name), *rates, recipe.augmentation.color, f"{recipe.label_smoothing:g}", codes(info.options)])
    header = ["type", "rate of experts", "rate of fusion and head", "colour policy", "label smoothing", "own options"]
    return table(header, rows)


def datasets() -> str:
    """Every data set by name, and the two forms that take a path."""
    rows = [
        [code(name), str(facts.classes), f"{facts.train:,}", f"{facts.test:,}", _place(facts)]
        for name, facts in DATASET_FACTS.items()
    ]
    rows.append([code("imagefolder:<path>"), "", "", "", "a folder of pictures for every class"])
    arrays = codes(("images", "labels"), " and ")
    rows.append([code("npz:<path>"), "", "", "", f"arrays {arrays} in one file"])
    return table(["name", "classes", "train", "test", "where it comes from"], rows)


def _place(facts: Any) -> str:
    if facts.archive is None:
        return "scikit-learn, always available"
    return f"{code(facts.folder)} or {code(facts.archive)} under a data root, or downloaded"
