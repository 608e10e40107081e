"""A queued job says what holds it up: its place in line, the devices, its sweep, or the size of the machines."""

from __future__ import annotations

from sqlalchemy import update

from app.db import transaction
from app.models import Sweep
from tests.app.api import EXPERT, Service
from tests.app.jobs.explaining import add, explain, running, set_job, worker


def test_a_job_that_no_worker_can_start_says_so(service: Service) -> None:
    job_id = service.submit()
    shown = explain(service, job_id)
    assert shown["sentence"].startswith("No worker has ever been heard from")
    assert shown["actions"][0] | {"label": ""} == {
        "label": "", "method": None, "path": None, "command": "mcn up", "body": None,
    }  # fmt: skip
    add(service, worker(age_s=300))
    assert explain(service, job_id)["sentence"].startswith("No worker has been heard from for about 5 min")
    add(service, worker("other"))
    assert explain(service, job_id)["sentence"] == "It is first in line and a device is free: it starts within seconds."
    set_job(service, job_id, executor="slurm")
    assert "a worker that reaches Slurm" in explain(service, job_id)["sentence"]
    add(service, worker("login", slurm={"reachable": True}))
    assert explain(service, job_id)["sentence"] == "It is first in line to be submitted to Slurm."


def test_a_machine_without_disk_space_holds_up_only_jobs_that_no_other_one_can_start(service: Service) -> None:
    sizes = {"free_bytes": 1e9, "total_bytes": 1e11, "min_free_bytes": 2e9, "resume_at_bytes": 2.5e9}
    add(service, worker("one", disk=sizes | {"starts_paused": True}, slurm={"reachable": True}))
    add(service, worker("two", disk=sizes | {"starts_paused": True}))
    job_id = service.submit()
    shown = explain(service, job_id)
    assert shown["sentence"] == "It waits for disk space on one and 1 other machine, where no job starts."
    set_job(service, job_id, executor="slurm")
    assert explain(service, job_id)["sentence"] == "It waits for disk space on one, where no job starts."
    set_job(service, job_id, executor="local")
    add(service, worker("three"))
    shown = explain(service, job_id)
    assert shown["sentence"] == "It is first in line and a device is free: it starts within seconds."
    assert "It needs 1 device; 1 of 1 on the machines that are up is free." in shown["evidence"]
    assert sum("below 2.0 GB no job starts" in line for line in shown["evidence"]) == 2


def test_a_queued_job_knows_its_place_and_when_a_device_frees(service: Service) -> None:
    add(service, worker(devices=["0", "1"]))
    holder = running(service, "slow", 3600, "0")
    running(service, "fast", 360, "1")
    older, job_id, urgent = service.submit(), service.submit(), service.submit(EXPERT | {"priority": 5})
    shown = explain(service, job_id)
    assert shown["sentence"] == "It is third in line; 1 on here frees in about 6 min."
    assert "2 jobs of higher priority, or older, are ahead." in shown["evidence"]
    assert "It needs 1 device; 0 of 2 on the machines that are up are free." in shown["evidence"]
    assert f"0 on here is held by slow ({holder}), which has about 60 min left." in shown["evidence"]
    assert explain(service, urgent)["sentence"].startswith("It is first in line;")
    assert explain(service, older)["sentence"].startswith("It is second in line;")
    set_job(service, job_id, executor="slurm")
    add(service, worker("login", slurm={}))
    assert explain(service, job_id)["sentence"].startswith("It is first in line to be submitted")


def test_the_limit_of_its_sweep_holds_a_job_up_and_does_not_count_for_others(service: Service) -> None:
    add(
        service,
        worker(devices=["0", "1", "2"]),
        Sweep(id="swp_1", name="", owner="a", base={}, grid={}, max_parallel=2),
    )
    for name in ("a", "b"):
        set_job(service, running(service, name, 60), sweep="swp_1")
    job_id = service.submit()
    set_job(service, job_id, sweep="swp_1")
    shown = explain(service, job_id)
    assert shown["sentence"] == "Its sweep runs 2 jobs at once, and all of these places are taken."
    assert explain(service, service.submit())["sentence"].startswith("It is first in line")
    with transaction(service.app.state.engine) as session:
        session.execute(update(Sweep).values(max_parallel=4))
    assert "2 of the 4 jobs of its sweep that may run at once are running." in explain(service, job_id)["evidence"]


def test_a_job_that_is_too_large_is_told_what_to_change(service: Service) -> None:
    add(service, worker())
    job_id = service.submit(EXPERT | {"resources": {"cpus": 99}})
    shown = explain(service, job_id)
    assert shown["sentence"] == "No machine that is up is large enough for it."
    assert "change resources.cpus, or add a larger machine" in shown["evidence"][-1]
    change = shown["actions"][0]
    assert change["command"] == f"mcn resume {job_id} --set resources.cpus=4"
    assert (change["label"], change["body"]) == ("Change it to 4 threads", {"resources": {"cpus": 4}})
    assert service.post(change["path"], change["body"]).status_code == 202
    assert explain(service, job_id)["sentence"].startswith("It is first in line")
