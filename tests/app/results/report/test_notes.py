"""What a report cannot claim: how the controls were trained, and how the job was."""

from __future__ import annotations

from typing import Any

import pytest

from app.db import transaction
from app.models import Job
from tests.app.api import EXPERT, FUSION, Service
from tests.app.results.predictions.trained import with_predictions
from tests.app.results.report.test_report import arrays, fusion_job, report, trained_control
from tests.app.results.report.test_single_networks import single


def change_training(service: Service, job_id: str, changes: dict[str, Any]) -> None:
    """Gives a job other settings than it was submitted with."""
    with transaction(service.app.state.engine) as session:
        job = session.get(Job, job_id)
        assert job is not None
        job.spec = job.spec | {"training": job.spec["training"] | changes}


def test_controls_of_another_length_are_said_to_be_that(service: Service) -> None:
    job_id = fusion_job(service)
    trained_control(service, job_id, "single_0", 4)
    notes = report(service, job_id)["notes"]
    assert "This job trained for 100 epochs; one network on all the data for 30." in notes


def test_settings_of_experts_that_a_single_network_does_not_share_are_noted(service: Service) -> None:
    job_id = fusion_job(service)
    with transaction(service.app.state.engine) as session:
        job = session.get(Job, job_id)
        assert job is not None
        job.plan = {"learning_rates": {"experts": 0.0007}}
    spec = {"components": {"experts": {"lr": 1e-6, "optimizer": "sgd"}}}
    other = service.submit(EXPERT | {"training": spec})
    stored = service.get(f"/jobs/{other}").json()["spec"]["training"]
    single(service, job_id, 0, 120, training=stored)
    notes = report(service, job_id)["notes"]
    expected = (
        "This job trains its experts with learning rate 0.0007, optimizer adamw, schedule CosineAnnealingWarmRestarts, "
        "label smoothing 0.1; one network on all the data was trained with learning rate 1e-06, optimizer sgd, "
    )
    assert any(note.startswith(expected) for note in notes), notes


def test_the_settings_of_experts_that_are_frozen_are_not_compared(service: Service) -> None:
    job_id = fusion_job(service)
    trained_control(service, job_id, "single_0", 4)
    assert any("trains its experts with" in note for note in report(service, job_id)["notes"])
    other = service.submit(FUSION | {"training": {"components": {"experts": {"frozen": True}}}})
    change_training(service, job_id, service.get(f"/jobs/{other}").json()["spec"]["training"])
    assert not any("trains its experts with" in note for note in report(service, job_id)["notes"])


def test_experts_without_a_loss_of_their_own_say_nothing_in_an_ensemble(service: Service) -> None:
    job_id = fusion_job(service)
    expected = "lambda_individual is 0, so that no labels train the heads"
    assert not any(expected in note for note in report(service, job_id)["notes"])
    other = service.submit(FUSION | {"training": {"loss": {"lambda_individual": 0}}})
    change_training(service, job_id, service.get(f"/jobs/{other}").json()["spec"]["training"])
    assert any(note.startswith(expected) for note in report(service, job_id)["notes"])


@pytest.mark.parametrize(("wrong", "is_noted"), [(130, True), (100, False)])
def test_a_control_that_only_guesses_proves_nothing(service: Service, wrong: int, is_noted: bool) -> None:
    job_id = fusion_job(service)
    trained_control(service, job_id, "single_0", wrong)
    expected = (
        "One network on all the data is no better than guessing (one of 3 classes: 33.3 %); a control that was not"
    )
    assert any(note.startswith(expected) for note in report(service, job_id)["notes"]) is is_noted


def test_augmentations_that_differ_are_not_both_called_their_own(service: Service) -> None:
    job_id = fusion_job(service)
    change_training(service, job_id, {"augmentation": {"mixup_alpha": 0.2}})
    single(service, job_id, 0, 20, training={"augmentation": {"mixup_alpha": 0.4}})
    notes = report(service, job_id)["notes"]
    assert "The augmentation of this job is not that of one network on all the data." in notes


def test_a_checkpoint_that_the_test_images_chose_is_the_first_thing_said(service: Service) -> None:
    job_id = fusion_job(service)
    source = service.submit()
    single(service, job_id, 0, 20, training={"select_on": "test"})
    expected = (
        "The test images chose the checkpoints (training.select_on: test), so that accuracies on them are too high"
    )
    notes = report(service, job_id)["notes"]
    assert notes[0].startswith(expected)
    assert notes[0].endswith(": one network on all the data.")
    for one in (job_id, source):
        change_training(service, one, {"select_on": "test"})
    with transaction(service.app.state.engine) as session:
        job = session.get(Job, job_id)
        assert job is not None
        job.spec = job.spec | {"experts": [{"from": {"job": source, "component": "expert_0"}}]}
    notes = report(service, job_id)["notes"]
    assert notes[0].endswith(f": this job, expert 0 ({source}), one network on all the data.")


def test_a_job_of_one_expert_says_what_chose_its_checkpoint_too(service: Service) -> None:
    job_id = with_predictions(service, "alone", {"test": arrays(expert_0=20)}, kind="expert")
    assert report(service, job_id)["notes"] == []
    change_training(service, job_id, {"select_on": "test"})
    [note] = report(service, job_id)["notes"]
    assert note.endswith("not known: this job.")


def test_a_verdict_says_that_it_rests_on_one_seed(service: Service) -> None:
    expected = (
        "The verdict rests on one training seed: other seeds can change it; a sweep over training.seed says by how"
    )
    assert any(note.startswith(expected) for note in report(service, fusion_job(service))["notes"])
