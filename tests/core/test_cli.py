"""`python -m core` as a person types it: what it answers, and that no mistake of theirs gives a traceback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from core.__main__ import app
from core.components import load_component
from core.reporting.event_log import EventLog, read_events
from core.run.lock import run_lock
from tests.core.jobs import component, expert, fusion, run


def call(*words: object, stdin: bytes = b"") -> tuple[int, str, str]:
    """Exit code, standard output, standard error; whatever was not foreseen is raised."""
    done = CliRunner().invoke(app, [str(word) for word in words], input=stdin, catch_exceptions=False)
    return done.exit_code, done.stdout, done.stderr


def write(folder: Path, spec: object) -> Path:
    file = folder / "spec.json"
    file.write_text(spec if isinstance(spec, str) else json.dumps(spec))
    return file


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short fusion run."""
    folder = tmp_path_factory.mktemp("trained")
    run(fusion(epochs=1), folder)
    return folder


def test_plan_prints_a_table_and_json(tmp_path: Path) -> None:
    file = write(tmp_path, fusion(count=4))
    code, out, _ = call("plan", file)
    assert code == 0
    assert "fusion" in out
    assert "learning" in out or "lr" in out
    code, out, _ = call("plan", file, "--json", "--set", "training.epochs=7")
    planned = json.loads(out)
    assert code == 0
    assert planned["epochs"] == 7
    assert planned["feature_dims"] == [16] * 4
    assert planned["parameters"]["total"] == sum(
        count for name, count in planned["parameters"].items() if name != "total"
    )
    assert set(planned["learning_rates"]) == {"experts", "fusion", "head"}


def test_plan_reads_yaml_and_standard_input() -> None:
    code, out, _ = call(
        "plan", "-", "--json", stdin=b"kind: expert\nexpert: {arch: resnet18}\ndataset: {name: cifar100}\n"
    )
    assert code == 0
    assert json.loads(out)["parameters"]["expert_0"] == 11_220_132


def test_export_writes_a_complete_model_with_some_experts_only(tmp_path: Path) -> None:
    file = write(tmp_path, fusion(count=3, epochs=1))
    assert call("train", file, "--run-dir", tmp_path / "run", "--device", "cpu")[0] == 0
    target = tmp_path / "small.safetensors"
    code, out, printed = call("export", tmp_path / "run", "complete", "--experts", "0,2", "-o", target)
    assert (code, out.strip()) == (0, str(target))
    accuracy = json.loads((tmp_path / "run/result.json").read_text())["subsets"]["0,2"]
    assert load_component(target).config["test_accuracy"] == accuracy
    assert printed.strip() == f"fused test accuracy with experts 0,2: {accuracy:.4f}"
    for experts, message in (("0,5", "choose from 0, 1, 2"), ("x", "numbers from 0")):
        code, _, said = call("export", tmp_path / "run", "complete", "--experts", experts, "-o", target)
        assert code == 2
        assert message in " ".join(said.split())


def test_train_can_be_repeated_and_export_writes_every_format(tmp_path: Path) -> None:
    file = write(tmp_path, expert(epochs=1))
    code, out, said = call("train", file, "--run-dir", tmp_path / "run", "--device", "cpu")
    assert code == 0, said
    assert "Measured on the test set" in out
    assert "epoch 1/1" in said
    again, out, _ = call("train", file, "--run-dir", tmp_path / "run", "--json")
    assert again == 0
    assert json.loads(out)["state"] == "succeeded"
    for ending in ("pth", "safetensors"):
        target = tmp_path / f"mine.{ending}"
        code, out, _ = call("export", tmp_path / "run", "expert_0", "-o", target, "--format", ending)
        assert (code, out.strip()) == (0, str(target))
        assert load_component(target).role == "expert"
    content = torch.load(tmp_path / "mine.pth", weights_only=True)
    assert set(content) == {"state_dict", "config"}


def test_evaluate_measures_components_of_any_run(trained: Path, tmp_path: Path) -> None:
    spec = {
        "kind": "evaluate",
        "experts": [{"from": {"path": str(component(trained, f"expert_{k}"))}} for k in (0, 1)],
        "fusion": {"from": {"path": str(component(trained, "fusion"))}},
        "head": {"from": {"path": str(component(trained, "head"))}},
        "dataset": fusion()["dataset"],
        "resources": {"cpus": 1},
    }
    code, out, said = call("evaluate", write(tmp_path, spec), "--run-dir", tmp_path / "run", "--json")
    assert code == 0, said
    metrics = json.loads(out)["metrics"]
    assert (
        metrics["test/accuracy_fused"]
        == json.loads((trained / "result.json").read_text())["metrics"]["test/accuracy_fused"]
    )
    code, _, said = call("evaluate", write(tmp_path, fusion()), "--run-dir", tmp_path / "other")
    assert code == 2
    assert "kind is fusion; evaluate needs a specification of kind evaluate" in said


BAD: list[tuple[Any, str]] = [
    ("", "must be an object such as"),
    ("{", "JSON"),
    ("[1, 2]", "must be an object such as {name: value, ..} (given: [1, 2])"),
    ("name: no kind", "choose one of expert, fusion, head, evaluate (given: nothing)"),
    ("kind: [", "YAML"),
    ({"kind": "fuse"}, "choose one of expert, fusion, head, evaluate"),
    ({"kind": "expert"}, "expert"),
    ({"kind": "expert", "expert": {"arch": "resnet81"}}, "did you mean resnet18?"),
    (expert() | {"epochs": 3}, "epochs"),
    (expert(epochs="3"), "training.epochs"),
    (expert(epochs=0), "training.epochs"),
    (expert(epochs=True), "training.epochs"),
    (expert(shard=4), "expert.shard: is 4, but the split has 4 shards"),
    (expert(seed=-1), "training.seed"),
    ('{"kind": "expert", "expert": {"arch": "resnet18"}, "training": {"seed": NaN}}', "training.seed"),
    (fusion() | {"experts": []}, "experts"),
    (fusion(components={name: {"frozen": True} for name in ("experts", "fusion", "head")}), "nothing to train"),
    (expert(components={"experts": {"frozen": True}}), "nothing to train"),
    (fusion() | {"num_experts": 65}, "num_experts"),
    (fusion(fusion={"type": "sum"}), "fusion.type"),
    (fusion(fusion={"type": "TransformerBase", "heads": 5}), "choose fusion.heads from 1, 2, 4, 8, 16"),
    (fusion(dataset={"name": "mnist"}), "choose one of digits, cifar10, cifar100"),
    (fusion(dataset={"name": "npz:/etc/passwd"}), "no data at /etc/passwd under the data roots"),
    (fusion(dataset={"name": "imagefolder:../../etc"}), "under the data roots"),
    (
        expert(dataset={"name": "digits", "split": {"regime": "class_shards", "num_shards": 11}}),
        "11 shards of 10 classes",
    ),
    (expert(dataset={"name": "digits", "split": {"regime": "iid", "num_shards": 4, "holdout": 0.0}}), "holdout 0"),
    (fusion() | {"experts": [{"from": {"path": "nowhere.pth"}}]}, "component file nowhere.pth does not exist"),
    (fusion() | {"experts": [{"from": {"job": "job_1"}}]}, "name a component as"),
    (
        fusion() | {"experts": [{"from": {"job": "job_" + "0" * 26, "component": "expert_0"}}]},
        "only the service can look up a component by job or id",
    ),
    (fusion() | {"resources": {"slurm": {"partition": "a b; rm -rf"}}}, "resources.slurm.partition"),
    (expert() | {"expert": {"arch": "timm:resnet_nothing"}}, "timm has no model"),
]


@pytest.mark.parametrize(("given", "says"), BAD, ids=[says[:40] for _, says in BAD])
@pytest.mark.parametrize("command", ["plan", "train"])
def test_a_mistake_is_one_line_and_exit_2(command: str, given: Any, says: str, tmp_path: Path) -> None:
    words = [command, write(tmp_path, given)]
    code, out, said = call(*words, *(["--run-dir", tmp_path / "run"] if command == "train" else []))
    assert code == 2, said
    assert out == ""
    assert says in said
    assert said.startswith("Error: ")
    assert "Traceback" not in said
    assert "pydantic" not in said


def test_missing_files_and_folders_are_named(tmp_path: Path, trained: Path) -> None:
    for words, says in [
        (["plan", tmp_path / "none.yaml"], "none.yaml cannot be read: No such file"),
        (["plan", tmp_path], "cannot be read: Is a directory"),
        (["train", write(tmp_path, expert(epochs=1)), "--run-dir", tmp_path / "spec.json"], "is a file: give a folder"),
        (["export", tmp_path, "fusion"], "has no component fusion; it has none yet"),
        (["export", trained, "expert_9"], "it has complete, expert_0, expert_1, fusion, head"),
        (["export", trained, "../../etc"], "has no component"),
        (["export", trained, "fusion", "--format", "onnx"], "choose pth or safetensors"),
        (["train", tmp_path / "spec.json", "--run-dir", tmp_path / "r", "--device", "tpu"], "tpu"),
        (["train", tmp_path / "spec.json", "--run-dir", tmp_path / "r", "--set", "training.epochs"], "="),
        (["train", tmp_path / "spec.json", "--run-dir", tmp_path / "r", "--set", "training.epoch=1"], "training.epoch"),
        (["train", tmp_path / "spec.json", "--run-dir", tmp_path / "r", "--set", "tags.²=1"], "tags"),
        (["train", tmp_path / "spec.json", "--run-dir", tmp_path / "r", "--set", "tags=!!int ''"], "cannot be read"),
        (["train", tmp_path / "spec.json", "--run-dir", ""], "a run needs a folder of its own"),
        (["export", trained, "head", "-o", tmp_path / "h.pth", "--format", "safetensors"], "ends in .pth"),
        (["export", trained, "head", "-o", tmp_path / "none/h.pth"], "does not exist: create it first"),
    ]:
        code, _, said = call(*words)
        assert (code, says in said) == (2, True), (words, said)


def test_a_run_directory_is_not_shared_by_two_jobs(trained: Path, tmp_path: Path) -> None:
    run(fusion(epochs=2), tmp_path / "run", should_stop=lambda: True)
    code, _, said = call("train", write(tmp_path, fusion(epochs=2, seed=7)), "--run-dir", tmp_path / "run")
    assert code == 2
    assert "holds a run of another specification, which differs in training.seed" in said


def test_a_finished_run_is_not_passed_off_as_another(trained: Path, tmp_path: Path) -> None:
    code, out, said = call("train", write(tmp_path, fusion(epochs=3)), "--run-dir", trained)
    assert (code, out) == (2, "")
    assert "differs in training.epochs" in said


def test_a_source_that_was_replaced_is_noticed(trained: Path, tmp_path: Path) -> None:
    call("export", trained, "expert_0", "-o", tmp_path / "source.pth")
    spec = fusion(epochs=2) | {"experts": [{"from": {"path": str(tmp_path / "source.pth")}}]}
    run(spec, tmp_path / "run", should_stop=lambda: True)
    call("export", trained, "expert_1", "-o", tmp_path / "source.pth")
    code, _, said = call("train", write(tmp_path, spec), "--run-dir", tmp_path / "run")
    assert code == 2
    assert "began with another component for experts.0, experts.1" in said


def test_two_processes_do_not_share_a_run_directory(tmp_path: Path) -> None:
    with run_lock(tmp_path / "run"):
        code, _, said = call("train", write(tmp_path, expert(epochs=1)), "--run-dir", tmp_path / "run")
    assert code == 2
    assert "another process is using" in said
    assert not (tmp_path / "run/events.jsonl").exists()


@pytest.mark.parametrize("name", ["result.json", "spec.json", "events.jsonl"])
def test_a_damaged_file_of_the_run_is_named(name: str, tmp_path: Path) -> None:
    spec = fusion(epochs=2)
    log = EventLog(tmp_path / "run/events.jsonl")
    run(spec, tmp_path / "run", reporter=log, should_stop=lambda: True)
    log.close()
    for content in ("[]\n", '{"x": 1}\n', '{"cut'):
        (tmp_path / "run" / name).write_text(content + "\n")
        code, _, said = call("train", write(tmp_path, spec), "--run-dir", tmp_path / "run")
        assert (code, name in said, said.count("\n")) == (2, True, 1), (content, said)


def test_a_run_that_fails_says_so_in_its_log(tmp_path: Path) -> None:
    policy = {"lr": 1e9, "clip_norm": 0}
    spec = fusion(epochs=3, components={"experts": policy, "fusion": policy, "head": policy})
    call("train", write(tmp_path, spec), "--run-dir", tmp_path / "run")
    last = read_events(tmp_path / "run/events.jsonl")[-1]
    assert (last["kind"], last["data"]["state"]) == ("state", "failed")


def test_a_damaged_component_is_named(trained: Path, tmp_path: Path) -> None:
    call("export", trained, "fusion", "-o", tmp_path / "bad.safetensors", "--format", "safetensors")
    content = bytearray((tmp_path / "bad.safetensors").read_bytes())
    content[-5] ^= 1
    (tmp_path / "bad.safetensors").write_bytes(content)
    spec = fusion() | {"fusion": {"from": {"path": str(tmp_path / "bad.safetensors")}}}
    code, _, said = call("train", write(tmp_path, spec), "--run-dir", tmp_path / "run")
    assert code == 2
    assert "bad.safetensors: was changed after it was written" in said


def test_numbers_that_explode_end_with_exit_1_and_one_line(tmp_path: Path) -> None:
    policy = {"lr": 1e9, "clip_norm": 0}
    spec = fusion(epochs=3, components={"experts": policy, "fusion": policy, "head": policy})
    code, out, said = call("train", write(tmp_path, spec), "--run-dir", tmp_path / "run")
    assert (code, out) == (1, "")
    assert "training stopped" in said
    assert "first non-finite values: " in said


def test_a_bare_call_shows_the_commands() -> None:
    code, out, said = call()
    assert code == 2
    assert all(name in out + said for name in ("plan", "train", "evaluate", "export"))
