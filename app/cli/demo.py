"""`mcn demo`: four experts that know some digits each, their fusion, and the controls that fusion has to beat.

Everything goes through the public API, as a user's jobs would.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from app.cli.client import Api
from app.cli.demo_report import Report
from app.cli.download import download
from app.cli.terminal import err, out
from app.cli.watch import Job, describe_end, watch_jobs
from app.jobs.wording import format_bytes
from app.settings import Settings
from core.spec import read_mapping

EXAMPLES = Path(__file__).parents[2] / "examples" / "digits"
NUM_EXPERTS = 4
# The example files of the jobs that fuse experts, in the order in which they run.
FROZEN, CONTROL, JOINT = "fusion_frozen.yaml", "one_expert.yaml", "fusion.yaml"
# One network on all the data, which fusion has to beat where the data may be put together.
ALL_DATA = "all_data.yaml"


def submit_jobs(api: Api) -> list[str]:
    """Submits the expert jobs and the jobs that depend on them; returns all ids in the order of submission."""
    expert_ids = [_submit(api, expert_spec(shard)) for shard in range(NUM_EXPERTS)]
    single = _submit(api, read_mapping((EXAMPLES / ALL_DATA).read_text()))
    return [*expert_ids, single] + [_submit(api, fusion_spec(file, expert_ids)) for file in (FROZEN, CONTROL, JOINT)]


def _submit(api: Api, spec: dict[str, Any]) -> str:
    return str(api.post("/jobs", spec | {"tags": ["demo"]})["id"])


def expert_spec(shard: int) -> dict[str, Any]:
    """The example's expert job for one shard of the classes."""
    spec = read_mapping((EXAMPLES / "expert.yaml").read_text())
    return spec | {"name": f"digits expert {shard}", "expert": spec["expert"] | {"shard": shard}}


def fusion_spec(file: str, expert_ids: list[str]) -> dict[str, Any]:
    """An example's job with the components of expert jobs in place of the files that it names."""
    spec = read_mapping((EXAMPLES / file).read_text())
    sources = [{"job": expert_ids[k], "component": "expert_0"} for k in expert_numbers(spec)]
    return spec | {"experts": [{"from": source} for source in sources]}


def expert_numbers(spec: dict[str, Any]) -> list[int]:
    """The numbers of the experts that an example names, from paths such as `runs/digits/expert_3/..`."""
    numbers = [re.search(r"/expert_(\d+)/", expert["from"]["path"]) for expert in spec["experts"]]
    return [int(number[1]) for number in numbers if number]


def run(api: Api, settings: Settings) -> bool:
    """Submits the jobs, watches them, downloads components and prints the results; returns whether all succeeded."""
    earlier = api.get("/jobs", tag="demo", limit=200, fields="state")["items"]
    if earlier:
        succeeded = sum(job["state"] == "succeeded" for job in earlier)
        out.print(f"{len(earlier)} jobs of earlier demos are still here, {succeeded} of them succeeded (`mcn jobs`).")
    out.print("Four experts train on two or three of the ten digits each. Then, on images that no expert has seen:")
    out.print("their fusion with frozen experts, one expert with an MLP of its own as a control, and joint training.")
    out.print("Beside them, one network trains on all the data that the others see together.")
    jobs = watch_jobs(api, submit_jobs(api), out)
    if unsuccessful := [job for job in jobs if job["state"] != "succeeded"]:
        for job in unsuccessful:
            err.print(describe_end(job))
        return False
    _download_components(api, jobs[-1], settings)
    _print_report(api, *jobs[-4:])
    return True


def _download_components(api: Api, joint: Job, settings: Settings) -> None:
    folder = settings.data_dir / "demo" / joint["id"]
    folder.mkdir(parents=True, exist_ok=True)
    out.print(f"Downloaded to {folder}:")
    for name in ("expert_0", "fusion", "head", "complete"):
        file = download(api, f"/jobs/{joint['id']}/components/{name}", folder, format="pth")
        out.print(f"  {file.name}  {format_bytes(file.stat().st_size)}")


def _print_report(api: Api, single: Job, frozen: Job, control: Job, joint: Job) -> None:
    jobs = {"single": single, "frozen": frozen, "control": control, "joint": joint}
    report = Report(
        single=single["metrics"],
        frozen=frozen["metrics"],
        control=control["metrics"],
        joint=joint["metrics"],
        num_experts=NUM_EXPERTS,
        control_expert=expert_numbers(read_mapping((EXAMPLES / CONTROL).read_text()))[0],
        ids={name: str(job["id"]) for name, job in jobs.items()},
        compare=lambda a, b: api.get("/compare", a=a, b=b)["difference"],
    )
    out.print(report.table())
    out.print(report.summary(), soft_wrap=not out.is_terminal)
