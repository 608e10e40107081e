from __future__ import annotations

import json

from sqlalchemy import update

from app.db import transaction
from app.models import Attempt, State
from tests.app.api import EXPERT, Service
from tests.app.cli.attempts import submit_with_two_attempts
from tests.app.cli.conftest import Cli
from tests.app.jobs.test_provenance import HERE, OTHER, report
from tests.app.jobs.test_provenance_sources import IDENTITY, SHA256, began_with, finished, from_component


def test_explain_prints_the_sentence_the_evidence_and_the_commands(cli: Cli, service: Service) -> None:
    job_id = service.submit()
    lines = cli("explain", job_id).stdout.splitlines()
    assert lines[0].startswith("No worker has ever been heard from")
    assert lines[-2:] == ["Start a worker: mcn up", f"Cancel: mcn cancel {job_id}"]
    assert json.loads(cli("explain", job_id, "--json").stdout)["sentence"] == lines[0]


def test_ledger_prints_attempts_causes_and_the_useful_share(cli: Cli, service: Service) -> None:
    job_id = submit_with_two_attempts(service, EXPERT)
    with transaction(service.app.state.engine) as session:
        # The first attempt did steps 7 to 27, the second one resumed at 17.
        first, second = (update(Attempt).where(Attempt.number == number) for number in (1, 2))  # type: ignore[arg-type]
        session.execute(first.values(last_step=27, ended_at=Attempt.started_at))
        session.execute(second.values(resumed_from_step=17))
    stdout = cli("ledger", job_id).stdout
    assert [word in stdout for word in ("attempt", "(10 steps)", "lost", "total", "queued")] == [True] * 5, stdout
    assert "of the device time, waiting included, was useful." in stdout
    assert [row["redone_steps"] for row in json.loads(cli("ledger", job_id, "--json").stdout)["attempts"]] == [10, 0]


def test_a_ledger_with_unknown_steps_says_so(cli: Cli, service: Service) -> None:
    job_id = submit_with_two_attempts(service, EXPERT)
    with transaction(service.app.state.engine) as session:
        ended = update(Attempt).where(Attempt.number == 1).values(ended_at=Attempt.started_at)  # type: ignore[arg-type]
        session.execute(ended)
        session.execute(update(Attempt).where(Attempt.number == 2).values(resumed_from_step=17))  # type: ignore[arg-type]
    assert "?" in cli("ledger", job_id).stdout


def test_provenance_prints_what_is_known_and_what_is_no_longer_kept(cli: Cli, service: Service) -> None:
    job_id = service.submit()
    report(service, job_id, (0, HERE), (40, HERE))
    service.transition(job_id, State.failed, reason="out_of_memory")
    output = cli("provenance", job_id).stdout
    assert output.startswith("bit-exact: not claimed, since the job failed (out_of_memory) and has no result")
    assert "no longer kept: step 40 (attempt 2 resumed from it)" in " ".join(output.split())
    assert "The environment is recorded from step 0 on." in output


def test_provenance_prints_the_components_that_a_job_started_from(cli: Cli, service: Service) -> None:
    source = finished(service, EXPERT, (0, HERE), (40, OTHER))
    job_id = finished(service, from_component(source), (0, HERE))
    began_with(service, job_id)
    output = cli("provenance", job_id).stdout
    assert [word in output for word in ("started from", SHA256[:16], IDENTITY[:16])] == [True] * 3, output
    assert f"It started from a component of {source}, which is not certified" in " ".join(output.split())


def test_json_of_a_provenance_is_all_that_is_printed(cli: Cli, service: Service) -> None:
    job_id = service.submit()
    result = cli("provenance", job_id, "--json")
    assert (result.exit_code, json.loads(result.stdout)) == (0, service.get(f"/jobs/{job_id}/provenance").json())
