"""The committed example: four experts that know some of the digits each, and their fusion, which knows all."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.spec import FUSION_TYPES, parse_text
from core.train.result import Result
from tests.core.jobs import component, run, run_logged

EXAMPLES = Path(__file__).parents[2] / "examples" / "digits"


@pytest.fixture(scope="module")
def experts(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, Result]]:
    """Four experts, each trained on its own shard."""
    text = (EXAMPLES / "expert.yaml").read_text()
    folders = [tmp_path_factory.mktemp(f"expert_{shard}") for shard in range(4)]
    return [(folder, run(parse_text(text, [f"expert.shard={k}"]), folder)) for k, folder in enumerate(folders)]


def test_no_expert_alone_knows_half_of_the_digits(experts: list[tuple[Path, Result]]) -> None:
    accuracies = [result.metrics["test/accuracy_expert_0"] for _, result in experts]
    print("experts alone", accuracies)
    assert all(0.1 < accuracy < 0.5 for accuracy in accuracies)


@pytest.mark.parametrize("fusion_type", FUSION_TYPES)
def test_their_fusion_knows_them_all(fusion_type: str, experts: list[tuple[Path, Result]], tmp_path: Path) -> None:
    named = [f"experts.{k}.from.path={component(folder, 'expert_0')}" for k, (folder, _) in enumerate(experts)]
    text = (EXAMPLES / "fusion.yaml").read_text()
    # Shorter than the example, which most fusion types do not need.
    epochs = 15 if fusion_type == "multiplicative" else 8
    changes = [f"fusion.type={fusion_type}", f"training.epochs={epochs}"]
    result = run(parse_text(text, [*named, *changes]), tmp_path)
    print(fusion_type, {key: value for key, value in result.metrics.items() if "accuracy" in key})
    assert result.metrics["test/accuracy_fused"] >= 0.9
    for k, (_, alone) in enumerate(experts):
        before = result.metrics[f"test/accuracy_expert_{k}_before"]
        assert before == alone.metrics["test/accuracy_expert_0"]
        assert result.metrics[f"test/accuracy_expert_{k}"] > before


@pytest.mark.parametrize("name", ["two_stages", "warm_up_pcgrad"])
def test_the_curricula_run_as_they_are_written(name: str, experts: list[tuple[Path, Result]], tmp_path: Path) -> None:
    named = [f"experts.{k}.from.path={component(folder, 'expert_0')}" for k, (folder, _) in enumerate(experts)]
    result, events = run_logged(parse_text((EXAMPLES / f"{name}.yaml").read_text(), named), tmp_path)
    print(name, {key: value for key, value in result.metrics.items() if "accuracy" in key})
    assert result.metrics["test/accuracy_fused"] >= 0.9
    stages = [event["data"]["values"].get("train/stage") for event in events if event["kind"] == "metrics"]
    assert sorted({stage for stage in stages if stage is not None}) == [1.0, 2.0]
    # Of the epochs that train the experts, the one that fuses best.
    first = {"two_stages": 5, "warm_up_pcgrad": 1}[name]
    assert first <= result.components["complete"]["epoch"] <= 12
