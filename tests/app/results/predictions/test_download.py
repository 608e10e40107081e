"""Downloads of predictions: two formats, entity tags, and why there are none."""

from __future__ import annotations

import base64
import hashlib
import io
import json

import numpy as np
import pytest
from safetensors.numpy import load

from app.db import transaction
from app.jobs import queries
from app.models import State
from app.results.predictions import download, stored
from tests.app.api import Service
from tests.app.results.predictions.trained import logits_of, run_dir_of, succeed, with_predictions

LABELS = np.array([0, 1, 2, 1])
ARRAYS = {"labels": LABELS, "logits_fused": logits_of(LABELS)}


def test_both_formats_hold_the_same_arrays(service: Service) -> None:
    job = with_predictions(service, "one", {"test": ARRAYS, "val": {**ARRAYS, "ids": np.array([3, 5, 8, 9])}})
    for split, ids in (("test", [0, 1, 2, 3]), ("val", [3, 5, 8, 9])):
        npz = service.get(f"/jobs/{job}/predictions?split={split}")
        with np.load(io.BytesIO(npz.content), allow_pickle=False) as file:
            arrays = dict(file)
        assert arrays["ids"].tolist() == ids
        converted = load(service.get(f"/jobs/{job}/predictions?split={split}&format=safetensors").content)
        assert set(arrays) == set(converted)
        assert all((arrays[name] == converted[name]).all() for name in arrays)
        assert converted["logits_fused"].dtype == np.float32


@pytest.mark.parametrize("format", ["npz", "safetensors"])
def test_a_download_has_an_entity_tag_and_a_digest(service: Service, format: str) -> None:
    job = with_predictions(service, "one", {"test": ARRAYS})
    path = f"/jobs/{job}/predictions?format={format}"
    answers = [service.get(path) for _ in range(5)]
    headers = answers[0].headers
    digest = base64.b64encode(hashlib.sha256(answers[0].content).digest()).decode()
    assert {answer.headers["repr-digest"] for answer in answers} == {f"sha-256=:{digest}:"}
    assert headers["content-disposition"] == f'attachment; filename="test.{format}"'
    unchanged = service.get(path, headers={"If-None-Match": headers["etag"]})
    assert (unchanged.status_code, unchanged.content) == (304, b"")


def test_the_stored_file_is_sent_in_ranges(service: Service) -> None:
    job = with_predictions(service, "one", {"test": ARRAYS})
    whole = service.get(f"/jobs/{job}/predictions").content
    part = service.get(f"/jobs/{job}/predictions", headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, whole[10:20])


def test_a_job_that_ended_before_predictions_were_stored_says_so(service: Service) -> None:
    job = service.submit()
    run_dir_of(service, job).mkdir(parents=True)
    (run_dir_of(service, job) / "result.json").write_text(json.dumps({"state": "succeeded", "metrics": {}}))
    succeed(service, job)
    answer = service.get(f"/jobs/{job}/predictions")
    assert answer.status_code == 404
    assert "ended before this version" in answer.json()["detail"]
    assert "evaluate job" in answer.json()["detail"]


def test_a_job_without_a_result_says_in_which_state_it_is(service: Service) -> None:
    job = service.submit()
    assert "is queued and has no predictions" in service.get(f"/jobs/{job}/predictions").json()["detail"]
    service.transition(job, State.starting, State.running)
    assert "is running and has no predictions" in service.get(f"/jobs/{job}/predictions").json()["detail"]


def test_what_was_left_out_has_the_reason_of_the_result(service: Service) -> None:
    job = with_predictions(service, "one", {})
    entry = {"predictions": {"test": {"absent": "evaluation.store_predictions is false"}}}
    (run_dir_of(service, job) / "result.json").write_text(json.dumps(entry))
    answer = service.get(f"/jobs/{job}/predictions")
    assert answer.status_code == 404
    assert "on test images: evaluation.store_predictions is false. An evaluate job" in answer.json()["detail"]


def test_missing_and_damaged_files_are_not_errors_of_the_service(service: Service) -> None:
    job = with_predictions(service, "one", {"test": ARRAYS, "val": ARRAYS})
    file = run_dir_of(service, job) / "predictions/test.npz"
    file.write_bytes(file.read_bytes()[:-40])
    damaged = service.get(f"/jobs/{job}/predictions?format=safetensors")
    assert (damaged.status_code, "damaged" in damaged.json()["detail"]) == (404, True)
    file.unlink()
    for format in ("npz", "safetensors"):
        missing = service.get(f"/jobs/{job}/predictions?format={format}")
        assert (missing.status_code, "deleted" in missing.json()["detail"]) == (404, True)
    (run_dir_of(service, job) / "result.json").write_text("{")
    assert "result.json is damaged" in service.get(f"/jobs/{job}/predictions").json()["detail"]


def test_a_defect_of_the_service_does_not_look_like_a_damaged_file(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = {f"logits_{path}": logits_of(LABELS) for path in ("expert_0", "expert_1")}
    job = with_predictions(service, "one", {"test": {"labels": LABELS, **paths}})
    with transaction(service.app.state.engine) as session:
        predictions = stored.stored_split(service.settings, queries.get_job(session, job), "test")

    def defect(*_: object) -> None:
        raise ValueError("a defect")

    monkeypatch.setattr(stored, "widen", defect)
    with pytest.raises(ValueError, match="a defect"):
        predictions.logits("ensemble_probabilities")


def test_a_conversion_of_a_large_file_is_refused(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    job = with_predictions(service, "one", {"test": ARRAYS})
    monkeypatch.setattr(download, "MAX_CONVERTED_BYTES", 100)
    answer = service.get(f"/jobs/{job}/predictions?format=safetensors")
    assert (answer.status_code, "format=npz" in answer.json()["detail"]) == (422, True)
    assert service.get(f"/jobs/{job}/predictions").status_code == 200
