"""Controls and experts that were trained on other data than the job."""

from __future__ import annotations

import hashlib
import os

import numpy as np

from core.run.content import ContentCache, find_content
from tests.app.api import Service
from tests.app.results.predictions.trained import set_data
from tests.app.results.report.test_report import LABELS, fusion_job, report, trained_control


def contents(service: Service) -> tuple[str, str]:
    """Digests of two contents of one file, of which the second has other training labels, as jobs record them."""
    cache = ContentCache(service.settings.content_cache)
    file = service.settings.roots[0] / "cells.npz"
    digests = []
    file.parent.mkdir(parents=True, exist_ok=True)
    images = np.zeros((len(LABELS), 8, 8), np.uint8)
    for time_ns, labels in enumerate((LABELS, LABELS[::-1])):
        np.savez(file, images=images, labels=labels, test_images=images, test_labels=LABELS)
        os.utime(file, ns=(time_ns, time_ns))
        content = find_content("npz:cells.npz", service.settings.roots, cache)
        assert content is not None
        digests.append(content.sha256)
    return digests[0], digests[1]


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_a_control_that_was_trained_on_other_labels_is_left_out_and_named(service: Service) -> None:
    before, after = contents(service)
    job_id = fusion_job(service)
    trained_control(service, job_id, "single_0", 120)
    trained_control(service, job_id, "single_1", 20, position=1)
    content = report(service, job_id)
    ids = {row["role"]: row["jobs"] for row in content["controls"]}["deep_ensemble"]
    for other, data in ((job_id, before), (ids[0], after), (ids[1], before)):
        set_data(service, other, data, "npz:cells.npz")
    content = report(service, job_id)
    rows = {row["role"]: row for row in content["controls"]}
    assert rows["single_1"]["model"]["accuracy"] == 0.9
    assert "single_0" not in rows
    told = f"{ids[0]} was trained on other data: labels changed"
    assert (rows["deep_ensemble"]["absent"], rows["deep_ensemble"]["same_data"]) == (told, False)
    notes = " ".join(content["notes"])
    assert "Trained on other data than this job, and so left out of the comparison: deep ensemble of 2" in notes
    assert told in notes


def test_no_verdict_rests_on_a_control_of_other_data(service: Service) -> None:
    job_id = fusion_job(service)
    trained_control(service, job_id, "single_0", 4)
    [control] = service.get("/jobs?kind=expert").json()["items"]
    set_data(service, job_id, digest("a"))
    set_data(service, control["id"], digest("b"))
    content = report(service, job_id)
    [single] = [row for row in content["controls"] if row["role"] == "single_0"]
    assert single["absent"] == f"{control['id']} was trained on other data"
    assert "one network" not in content["verdict"]
    set_data(service, control["id"], None)
    content = report(service, job_id)
    assert "one network on all the data" in content["verdict"]
    assert "Whether it was trained on the data of this job is not known" in " ".join(content["notes"])
