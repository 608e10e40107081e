"""Tables of plans and results for the console."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

MIB = 1 << 20


def metrics_table(metrics: Mapping[str, float], absent: Mapping[str, str]) -> Table:
    """Test metrics, and why others are absent."""
    table = Table("metric", "value", title="Measured on the test set")
    for key in sorted(metrics):
        table.add_row(key.removeprefix("test/"), f"{metrics[key]:.4f}")
    for key in sorted(absent):
        table.add_row(key.removeprefix("test/"), f"not measured: {absent[key]}")
    return table


def plan_table(plan: Mapping[str, Any]) -> Table:
    """A plan, given as JSON data."""
    article = "an" if plan["kind"][0] in "aeiou" else "a"
    table = Table("", "", title=f"Plan of {article} {plan['kind']} job", show_header=False)
    data = plan["dataset"]
    about = "" if data["exact"] else "about "
    table.add_row(
        "data",
        f"{data['name']}: {about}{data['train']:,} to train, {data['val']:,} to validate, {data['test']:,} to test; "
        f"{data['classes']} class{'' if data['classes'] == 1 else 'es'}, "
        f"{data['channels']} x {data['image_size']} x {data['image_size']}",
    )
    adapters = f"; adapters for {', '.join(plan['adapters'])}" if plan["adapters"] else ""
    table.add_row("features", f"{plan['feature_dims']} -> D = {plan['input_dim']}{adapters}")
    table.add_row("parameters", ", ".join(f"{name} {count:,}" for name, count in plan["parameters"].items()))
    for name, rate in plan["learning_rates"].items():
        policy = plan["policies"][name]
        if policy["frozen"]:
            table.add_row(name, "frozen")
        else:
            line = _policy_line(rate, plan["learning_rates_why"][name], policy)
            table.add_row(name, f"{line}\n{plan['schedules'][name]}")
    for stage in plan["stages"]:
        table.add_row(f"stage {stage['stage']}", stage["description"])
    if plan["gradients"] != "sum":
        table.add_row("gradients", plan["gradients"])
    if plan["new_expert_heads"]:
        table.add_row("new heads", ", ".join(plan["new_expert_heads"]))
    table.add_row("individual loss", plan["individual_loss"])
    table.add_row("augmentation", ", ".join(f"{key} {value}" for key, value in plan["augmentation"].items()))
    for line in plan["augmentation_left_out"]:
        table.add_row("", line)
    if plan["expected_accuracy"] and data["name"] == "cifar100":
        low, high = plan["expected_accuracy"]["cifar100_augmented"]
        table.add_row("expected", f"{low}-{high} % on CIFAR-100 by the recipe's author: an expectation, not a result")
    table.add_row(
        "steps",
        f"{plan['steps']:,} ({plan['epochs']} epochs of {plan['steps_per_epoch']:,}), batch size {plan['batch_size']}",
    )
    table.add_row("checkpoint", f"about {plan['checkpoint_bytes'] / MIB:,.1f} MiB each")
    table.add_row("activations", f"about {plan['activation_bytes'] / MIB:,.1f} MiB per batch in float32")
    for warning in plan["warnings"]:
        table.add_row("warning", Text(warning))
    return table


def _policy_line(rate: float, why: str, policy: Mapping[str, Any]) -> str:
    clip = f"clip {policy['clip_norm']:g}" if policy["clip_norm"] else "no clipping"
    batches = policy["accumulation_steps"]
    interval = "batch" if batches == 1 else f"{batches} batches"
    return (
        f"{policy['optimizer']} lr {rate:g} ({why}), weight decay {policy['weight_decay']:g}, {clip}, "
        f"a step every {interval}"
    )
