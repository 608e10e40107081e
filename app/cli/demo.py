"""`mcn demo`: four experts that know some digits each, and their fusion, through the public API."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from app.cli.client import Api
from app.cli.download import download
from app.cli.tables import size, watch
from app.settings import Settings
from core.spec import read_mapping

EXAMPLES = Path(__file__).parents[2] / "examples" / "digits"
NUM_EXPERTS = 4


def submit_all(api: Api) -> list[str]:
    """Submits the expert jobs and the fusion job that waits for them; gives their ids."""
    expert = read_mapping((EXAMPLES / "expert.yaml").read_text())
    ids = []
    for shard in range(NUM_EXPERTS):
        spec = expert | {
            "name": f"digits expert {shard}",
            "tags": ["demo"],
            "expert": {**expert["expert"], "shard": shard},
        }
        ids.append(api.post("/jobs", spec)["id"])
    fusion = read_mapping((EXAMPLES / "fusion.yaml").read_text())
    named = [{"from": {"job": job_id, "component": "expert_0"}} for job_id in ids]
    return [*ids, api.post("/jobs", fusion | {"tags": ["demo"], "experts": named})["id"]]


def run(api: Api, settings: Settings, console: Console) -> bool:
    """Submits, watches, downloads and prints; says whether all succeeded."""
    before = api.get("/jobs", tag="demo", limit=200)["items"]
    if before:
        done = sum(job["state"] == "succeeded" for job in before)
        console.print(f"{len(before)} jobs of earlier demos are still here, {done} of them succeeded (`mcn jobs`).")
    console.print(
        "Four experts, each on images of two or three of the ten digits, then their fusion on images none has seen:"
    )
    jobs = watch(api, submit_all(api), console)
    for job in jobs:
        if job["state"] != "succeeded":
            console.print(f"{job['id']} has {job['state']}: {job['message']}", markup=False, soft_wrap=True)
            return False
    fusion = jobs[-1]
    folder = settings.data_dir / "demo" / fusion["id"]
    folder.mkdir(parents=True, exist_ok=True)
    files = [
        download(api, f"/jobs/{fusion['id']}/components/{name}", folder, format="pth")
        for name in ("expert_0", "fusion", "head", "complete")
    ]
    console.print(result_table(fusion["metrics"]))
    console.print(f"Downloaded to {folder}:", soft_wrap=True, highlight=False)
    for file in files:
        console.print(f"  {file.name}  {size(file.stat().st_size)}", highlight=False)
    return True


def result_table(metrics: dict[str, Any]) -> Table:
    """Accuracies on the 360 test images."""
    table = Table("test accuracy over all ten digits", "alone, before", "after joint training", title="What came out")
    for k in range(NUM_EXPERTS):
        before, after = metrics[f"test/accuracy_expert_{k}_before"], metrics[f"test/accuracy_expert_{k}"]
        table.add_row(f"expert {k}", f"{before:.3f}", f"{after:.3f}")
    table.add_row("ensemble of the experts", "", f"{metrics['test/accuracy_ensemble']:.3f}")
    table.add_row("fused", "", f"{metrics['test/accuracy_fused']:.3f}", style="bold")
    return table
