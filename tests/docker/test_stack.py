"""The image and the containers, started, stopped, killed, upgraded and restored as docs/production.md says.

`make docker-test` runs these tests, one after another on the same containers, and prints what they took. They need an
engine with Compose 2 that has, or can fetch, the images in `BASES`. On an engine whose builds reach package registries
through the network of the host only, set MCN_DOCKER_BUILD_NETWORK=host.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from typing import Any

import pytest

from tests.docker import page
from tests.docker.files import PARTS
from tests.docker.stack import IMAGE, LIMIT_S, Stack, previous_revision
from tests.e2e.running import fusion
from tests.parts import wait_until

pytestmark = pytest.mark.docker

# The limit for a start of all containers, with the image there.
HEALTHY_LIMIT_S = 60.0


def endless(**fields: Any) -> dict[str, Any]:
    """A job that trains longer than the tests need it, with a checkpoint now and then."""
    return fusion(epochs=50000) | {"checkpoint": {"every_epochs": 20}, **fields}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Stack]:
    made = Stack.for_module(tmp_path_factory, request)
    try:
        yield made
    finally:
        made.remove()


@pytest.fixture(scope="module")
def jobs() -> dict[str, str]:
    """The ids of the jobs that later tests come back to."""
    return {}


def submitted(stack: Stack, line: str) -> str:
    return stack.run(f"{line} --set training.epochs=2").split()[0]


def test_the_previous_version_trains(stack: Stack, jobs: dict[str, str]) -> None:
    revision = previous_revision()
    stack.check_out(revision)
    password, up, *_ = page.lines("Production")
    stack.run(password)
    with stack.step(f"build and start of the previous version, {revision[:12]}"):
        stack.run(up)
    with stack.step("a job of the previous version"):
        jobs["earlier"] = submitted(stack, "docker compose exec -T api mcn submit examples/digits/expert.yaml")
        assert stack.wait_ended(jobs["earlier"]) == "succeeded"
    with stack.api() as api:
        # It cannot afford a failure.
        jobs["endless"] = api.post("/jobs", endless(max_attempts=1))["id"]
    stack.wait_steps(jobs["endless"])


def test_an_upgrade_keeps_the_data_and_what_trains(stack: Stack, jobs: dict[str, str]) -> None:
    stack.check_out(None)
    pull, *upgrade = page.lines("Upgrade")
    assert pull == "git pull"
    before = set(stack.untagged_images())
    with stack.step("build of the image, with the layers of earlier builds as far as they are the same"):
        stack.run("docker compose build")
    # The image of the version before, which its containers still use.
    assert len(set(stack.untagged_images()) - before) <= 1
    step = stack.last_step(jobs["endless"])
    with stack.step("upgrade, until all containers are healthy"):
        stack.run(*upgrade)
    with stack.step("resumption of the job that trained meanwhile"):
        assert stack.wait_attempt(jobs["endless"], 2)["resumed_from_step"] >= step
    assert stack.attempts(jobs["endless"])[0]["outcome"] == "stopped"
    assert stack.job(jobs["earlier"])["state"] == "succeeded"


def test_builds_leave_no_untagged_images(stack: Stack) -> None:
    before = stack.untagged_images()
    with stack.step("the same build again"):
        stack.run("docker compose build")
    assert stack.untagged_images() == before


def test_the_image_holds_nothing_that_is_secret_or_not_needed(stack: Stack) -> None:
    [image] = json.loads(stack.run(f"docker image inspect {IMAGE}"))
    assert image["Config"]["User"] == "mcn"
    password = (stack.folder / ".env").read_text().partition("=")[2].strip()
    assert password not in json.dumps(image) + stack.run(f"docker history --no-trunc {IMAGE}")
    names = stack.run(f"docker run --rm {IMAGE} ls -A").split()
    assert {".env", ".git", "tests", "requirements.toml", "install-requirements"} & set(names) == set()
    of_developers = ("pytest", "mypy", "playwright")
    find = f"import importlib.util as u; print([name for name in {of_developers} if u.find_spec(name)])"
    assert stack.run(f"docker run --rm {IMAGE} python -c {shlex.quote(find)}") == "[]\n"
    stack.say(f"{stack.image_size_gb():6.2f} GB  image with MCN_TORCH={stack.torch}")


@pytest.mark.parametrize("part", PARTS)
def test_a_part_runs_as_a_user_who_can_write_only_to_volumes(stack: Stack, part: str) -> None:
    inside = f"docker compose exec -T {part}"
    assert stack.run(f"{inside} id -u") == "1000\n"
    assert "CapEff:\t0000000000000000" in stack.run(f"{inside} cat /proc/1/status")
    denied = " && ".join(f"! touch {path} 2> /dev/null" for path in ("/srv/mcn/x", "/home/mcn/x", "/datasets/x"))
    stack.run(f'{inside} sh -c "{denied}"')
    stack.run(f"{inside} touch /data/x /tmp/x", f"{inside} rm /data/x /tmp/x")


def test_the_lines_of_the_page_run_as_they_stand(stack: Stack, jobs: dict[str, str]) -> None:
    with stack.api() as api:
        api.post(f"/jobs/{jobs['endless']}/cancel")
    # Without a terminal, and without following the log for ever.
    written = page.lines("Production")
    _, _, submit, *others = (line.replace(" exec ", " exec -T ").replace(" -f ", " ") for line in written)
    with stack.step("a job of two epochs, from its submission to its end"):
        jobs["short"] = submitted(stack, submit)
        assert stack.wait_ended(jobs["short"]) == "succeeded"
    for line in others:
        assert stack.run(line)
    listed = stack.run("docker compose exec -T api mcn jobs")
    assert jobs["short"] in listed
    component = f"/jobs/{jobs['short']}/components/expert_0"
    with stack.step("download of its component"), stack.api() as api, api.stream(component) as response:
        jobs["bytes"] = str(len(response.read()))
    assert int(jobs["bytes"]) > 10_000


def test_a_container_that_stops_costs_no_attempt(stack: Stack, jobs: dict[str, str]) -> None:
    with stack.api() as api:
        jobs["stopped"] = api.post("/jobs", endless(max_attempts=1))["id"]
    for number in (2, 3):
        stack.wait_steps(jobs["stopped"])
        with stack.step("stop of the worker while a job trains"):
            stack.run("docker compose stop worker")
        step = stack.last_step(jobs["stopped"])
        with stack.step("start of the worker, until the job trains again"):
            stack.run("docker compose start worker")
            assert stack.wait_attempt(jobs["stopped"], number)["resumed_from_step"] >= step
    assert [one["outcome"] for one in stack.attempts(jobs["stopped"])] == ["stopped", "stopped", None]


def test_training_goes_on_without_the_other_containers(stack: Stack, jobs: dict[str, str]) -> None:
    others = "api postgres redis"
    with stack.step("all containers but the worker's killed and started while a job trains"):
        stack.run(f"docker compose kill {others}", "docker compose up -d --wait")
    stack.wait_steps(jobs["stopped"])
    assert len(stack.attempts(jobs["stopped"])) == 3
    with stack.api() as api:
        api.post(f"/jobs/{jobs['stopped']}/cancel")


def test_after_a_killed_container_training_resumes_from_the_latest_checkpoint(
    stack: Stack, jobs: dict[str, str]
) -> None:
    with stack.api() as api:
        jobs["killed"] = api.post("/jobs", endless())["id"]
    stack.wait_steps(jobs["killed"], 500)
    stack.run("docker compose kill worker")
    with stack.step("start after the worker's container was killed, until the job trains again"):
        stack.run("docker compose up -d --wait")
        assert stack.wait_attempt(jobs["killed"], 2)["resumed_from_step"] > 0
    assert stack.attempts(jobs["killed"])[0]["outcome"] == "lost"
    stack.wait_steps(jobs["killed"])


def test_a_backup_of_a_service_that_trains_is_restored_into_empty_volumes(stack: Stack, jobs: dict[str, str]) -> None:
    backup, restore = page.lines("Back up and restore"), page.lines("Back up and restore", 1)
    stack.wait_steps(jobs["killed"])
    with stack.step("backup while a job trains"):
        stack.run(*backup)
    assert stack.job(jobs["killed"])["state"] == "running"
    size = sum((stack.folder / name).stat().st_size for name in ("mcn.dump", "data.tar")) / 1e6
    stack.run("docker compose down -v")
    with stack.step(f"restoration of {size:.0f} MB into empty volumes, until all containers are healthy"):
        stack.run(*restore)
    assert stack.job(jobs["earlier"])["state"] == "succeeded"
    assert stack.job(jobs["short"])["state"] == "succeeded"
    with stack.api() as api, api.stream(f"/jobs/{jobs['short']}/components/expert_0") as response:
        assert len(response.read()) == int(jobs["bytes"])
    with stack.step("resumption of the job that trained during the backup"):
        assert stack.wait_attempt(jobs["killed"], 3)["resumed_from_step"] > 0
    stack.wait_steps(jobs["killed"])


def test_everything_is_healthy_within_a_minute(stack: Stack, jobs: dict[str, str]) -> None:
    stack.run("docker compose down")
    with stack.step("start of all containers, until they are healthy"):
        stack.run("docker compose up -d --wait")
    assert stack.steps[-1][1] < HEALTHY_LIMIT_S
    states = {name: one["State"]["Health"]["Status"] for name, one in stack.containers().items()}
    assert states == dict.fromkeys(["api", "worker", "postgres", "redis"], "healthy")
    stack.wait_steps(jobs["killed"])
    for service, used in sorted(stack.memory().items()):
        stack.say(f"{used:>9}  memory of {service} while a job trains")


def test_a_worker_that_does_not_report_becomes_unhealthy(stack: Stack) -> None:
    stack.run("docker compose stop postgres")

    def is_now(health: str) -> bool:
        return bool(stack.containers()["worker"]["State"]["Health"]["Status"] == health)

    with stack.step("the worker without its database, until it is unhealthy"):
        wait_until(lambda: is_now("unhealthy"), "an unhealthy worker", LIMIT_S)
    # Not --wait, which fails at once if a container is not healthy yet.
    stack.run("docker compose up -d")
    with stack.step("the worker with its database again, until it is healthy"):
        wait_until(lambda: is_now("healthy"), "a healthy worker", LIMIT_S)
