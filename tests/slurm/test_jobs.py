"""Jobs on a real cluster: each ends as it should, with the bits of an undisturbed run."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from tests.e2e.running import Proof, Running, fusion, once
from tests.slurm.cluster import Cluster
from tests.slurm.service import lab_service, on_slurm, quick, slow_fusion


@pytest.fixture(scope="module")
def lab(slurm_cluster: Cluster) -> Iterator[Running]:
    yield from lab_service(slurm_cluster)


@pytest.fixture(scope="module")
def alone(lab: Running) -> Proof:
    """The result of the same job on this machine, without Slurm."""
    job_id = lab.submit(slow_fusion())
    assert lab.wait(job_id)["state"] == "succeeded"
    return lab.proof(job_id)


def attempts(lab: Running, job_id: str) -> list[dict[str, Any]]:
    return list(lab.api.get(f"/jobs/{job_id}/attempts")["items"])


def test_a_job_trains_in_slurm_to_the_same_bits(lab: Running, slurm: Cluster, alone: Proof) -> None:
    job_id = lab.submit(on_slurm(slow_fusion()))
    lab.wait_step(job_id, 10)
    name = slurm.run("squeue", "--noheader", "--format=%j").strip()
    assert name == f"{job_id}-a1"
    job = lab.wait(job_id)
    assert job["state"] == "succeeded", job["message"]
    assert lab.proof(job_id) == alone
    [attempt] = attempts(lab, job_id)
    assert (attempt["executor"], attempt["outcome"]) == ("slurm", "succeeded")
    assert attempt["host"] in ("n1", "n2")
    assert attempt["slurm_job_id"].isdigit()
    assert "epoch" in lab.cli("logs", job_id).stdout


def test_a_preempted_job_frees_its_node_and_resumes(lab: Running, slurm: Cluster, alone: Proof) -> None:
    job_id = lab.submit(on_slurm(slow_fusion(), cpus=1, nodes=1, slurm={"gres": "gpu:1"}))
    lab.wait_step(job_id, 10)
    node = attempts(lab, job_id)[0]["host"]
    slurm.run("sbatch", "--partition=high", f"--nodelist={node}", "--exclusive", "--wrap=sleep 3", "--output=/dev/null")
    once(lambda: len(attempts(lab, job_id)) == 2, "the second attempt", 240)
    job = lab.wait(job_id, limit_s=300)
    assert job["state"] == "succeeded", job["message"]
    assert lab.proof(job_id) == alone
    first, second = attempts(lab, job_id)
    assert (first["outcome"], first["reason"]) == ("stopped", "preempted")
    assert second["resumed_from_step"] >= 10


def test_a_job_resumes_elsewhere_after_its_node_has_failed(lab: Running, slurm: Cluster, alone: Proof) -> None:
    job_id = lab.submit(on_slurm(slow_fusion()))
    lab.wait_step(job_id, 10)
    node = attempts(lab, job_id)[0]["host"]
    slurm.kill_node(int(node.removeprefix("n")))
    job = lab.wait(job_id, limit_s=300)
    assert job["state"] == "succeeded", job["message"]
    assert lab.proof(job_id) == alone
    first, second = attempts(lab, job_id)
    assert (first["reason"], first["host"]) == ("node_failure", node)
    assert second["host"] != node


@pytest.mark.slow
def test_a_process_that_hangs_is_cancelled_and_its_job_resumes(lab: Running, slurm: Cluster, alone: Proof) -> None:
    job_id = lab.submit(on_slurm(slow_fusion(), hang_timeout_min=1))
    lab.wait_step(job_id, 10)
    for process in lab.training():
        process.suspend()
    once(lambda: len(attempts(lab, job_id)) == 2, "the second attempt", 300)
    job = lab.wait(job_id, limit_s=300)
    assert job["state"] == "succeeded", job["message"]
    assert lab.proof(job_id) == alone
    first, _ = attempts(lab, job_id)
    assert first["reason"] == "hang"
    assert first["message"] == "hung: it reported nothing for 1 min and was ended"


def test_a_cancelled_job_is_gone_from_slurm_within_thirty_seconds(lab: Running, slurm: Cluster) -> None:
    job_id = lab.submit(on_slurm(fusion(epochs=5000)))
    lab.wait_step(job_id, 5)
    lab.api.post(f"/jobs/{job_id}/cancel")
    assert lab.wait(job_id, limit_s=30)["state"] == "cancelled"
    once(lambda: not slurm.jobs() and not lab.training(), "the end of its process", 10)


def test_paused_in_slurm_and_resumed_on_this_machine_and_back(lab: Running, slurm: Cluster, alone: Proof) -> None:
    job_id = lab.submit(on_slurm(slow_fusion()))
    lab.wait_step(job_id, 10)
    lab.api.post(f"/jobs/{job_id}/pause")
    lab.wait(job_id, "paused")
    lab.api.post(f"/jobs/{job_id}/resume", {"resources": {"executor": "local"}})
    lab.wait_step(job_id, 60)
    lab.wait(job_id, "running")
    lab.api.post(f"/jobs/{job_id}/pause")
    lab.wait(job_id, "paused")
    back = lab.api.post(f"/jobs/{job_id}/resume", {"resources": {"executor": "slurm"}})
    assert back["spec"]["resources"]["slurm"]["partition"] == "low"
    assert lab.wait(job_id)["state"] == "succeeded"
    assert [attempt["executor"] for attempt in attempts(lab, job_id)] == ["slurm", "local", "slurm"]
    assert lab.proof(job_id) == alone


def test_a_pending_job_shows_its_reason_and_can_be_cancelled(lab: Running, slurm: Cluster) -> None:
    slurm.run("sbatch", "--partition=high", "--nodes=2", "--exclusive", "--wrap=sleep 300", "--output=/dev/null")
    job_id = lab.submit(on_slurm(quick()))
    once(lambda: "pending in Slurm" in (lab.job(job_id)["message"] or ""), "the reason", 120)
    [row] = lab.api.get("/cluster")["slurm"]["pending"]
    assert row["job"] == job_id
    lab.api.post(f"/jobs/{job_id}/cancel")
    assert lab.wait(job_id, limit_s=30)["state"] == "cancelled"


def test_an_unknown_partition_fails_the_job_with_slurms_message(lab: Running, slurm: Cluster) -> None:
    job_id = lab.submit(on_slurm(quick(), slurm={"partition": "nosuch"}))
    job = lab.wait(job_id, "failed")
    assert "invalid partition" in job["message"].lower()
    assert job["attempt"] == 1


def test_two_nodes_train_one_model_and_report_once(lab: Running, slurm: Cluster) -> None:
    job_id = lab.submit(on_slurm(fusion(epochs=3), nodes=2))
    job = lab.wait(job_id, limit_s=300)
    assert job["state"] == "succeeded", job["message"]
    series = lab.api.get(f"/jobs/{job_id}/metrics/series", key="train/loss_total", points=1000)["series"][0]
    assert series["steps"] == sorted(set(series["steps"]))
    [attempt] = attempts(lab, job_id)
    assert attempt["host"] == "n1,n2"
    assert {row["node"] for row in lab.api.get("/cluster")["slurm"]["nodes"]} <= {"n1", "n2"}


def test_a_job_resumes_after_its_time_limit(lab: Running, slurm: Cluster, alone: Proof) -> None:
    job_id = lab.submit(on_slurm(slow_fusion(), time_limit_min=1))
    lab.wait_step(job_id, 10)
    file = lab.settings.runs_dir / job_id / "attempt-1" / "process.json"
    pid = json.loads(file.read_text())["pid"]
    # Held until Slurm warns it, and wakes it to hear that: it comes to its limit however fast this machine trains.
    with suppress(ProcessLookupError):  # a slow machine has come to the limit by itself
        os.kill(pid, signal.SIGSTOP)
    once(lambda: len(attempts(lab, job_id)) >= 2, "the second attempt", 240)
    job = lab.wait(job_id, limit_s=300)
    assert job["state"] == "succeeded", job["message"]
    assert lab.proof(job_id) == alone
    *stopped, last = attempts(lab, job_id)
    assert {(attempt["outcome"], attempt["reason"]) for attempt in stopped} == {("stopped", "time_limit")}
    assert last["resumed_from_step"] >= 1


def test_the_doctor_looks_at_slurm_from_a_node(lab: Running, slurm: Cluster) -> None:
    output = lab.cli("doctor").stdout
    for line in (
        "ok  Slurm: slurm",
        "ok  Slurm partitions: ",
        "ok  Slurm accounting",
        "ok  Slurm preemption: preempted jobs are signalled",
        "ok  data f",
    ):
        assert line in output, output
    assert "is visible there" in output
    slurm.stop_controller()
    assert "--  Slurm: slurm" in lab.cli("doctor").stdout


def test_a_faulty_node_is_left_out_and_remembered(lab: Running, slurm: Cluster) -> None:
    job_id = lab.submit(on_slurm(slow_fusion()))
    lab.wait_step(job_id, 10)
    node = attempts(lab, job_id)[0]["host"]
    folder = lab.settings.runs_dir / job_id / "attempt-1"
    with (folder / "log.txt").open("a") as log:
        log.write("NVRM: Xid (PCI:0000:3b:00): 79, GPU has fallen off the bus.\n")
    os.kill(json.loads((folder / "process.json").read_text())["pid"], signal.SIGKILL)
    job = lab.wait(job_id, limit_s=300)
    assert job["state"] == "succeeded", job["message"]
    first, second = attempts(lab, job_id)
    assert (first["reason"], second["outcome"]) == ("hardware_fault", "succeeded")
    assert second["host"] != node
    record = {row["node"]: row["hardware_faults"] for row in lab.api.get("/cluster")["slurm"]["nodes"]}
    assert (record[node], record[second["host"]]) == (1, 0)
