"""From a request's body to a specification: what is refused, how fast, and with how many errors."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from app.http.errors import InvalidSpec
from app.jobs.validation import parse_body
from app.models import State
from tests.app.api import EXPERT, FUSION, Service

pytestmark = pytest.mark.slow

# As many unknown fields as fit into a body of 1 MiB.
JUNK = {f"u{number}": 0 for number in range(60_000)}


def refusal(service: Service, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """The problem that answers a body of junk; it takes CPU time in proportion to the size of the body."""
    assert 700_000 < len(json.dumps(body)) < 1 << 20
    began = time.process_time()
    answer = service.post(path, body)
    # A quadratic filter of the errors takes minutes.
    assert time.process_time() - began < 15
    assert answer.status_code == 422, answer.text[:300]
    return dict(answer.json())


@pytest.mark.parametrize("where", ["top", "training", "experts"])
def test_thousands_of_unknown_fields_are_refused_quickly_and_fifty_are_listed(service: Service, where: str) -> None:
    body = {"top": FUSION | JUNK, "training": FUSION | {"training": JUNK}, "experts": FUSION | {"experts": [JUNK]}}
    problem = refusal(service, "/jobs", body[where])
    assert len(problem["errors"]) == 51
    assert "more errors" in problem["errors"][-1]["msg"]
    assert {error["msg"] for error in problem["errors"][:50]} <= {
        "there is no such field",
        "an expert needs an arch, or a component to come from",
    }


@pytest.mark.parametrize("verb", ["retry", "resume"])
@pytest.mark.parametrize("where", ["top", "resources"])
def test_thousands_of_unknown_fields_in_a_change_are_refused_quickly(service: Service, verb: str, where: str) -> None:
    job_id = service.submit()
    service.transition(job_id, State.failed)
    problem = refusal(service, f"/jobs/{job_id}/{verb}", JUNK if where == "top" else {"resources": JUNK})
    assert len(problem["errors"]) <= 51
    assert "more errors" in problem["errors"][-1]["msg"]


def test_an_error_within_a_union_hides_the_other_members() -> None:
    from core.spec import SpecError, parse_spec

    with pytest.raises(SpecError) as caught:
        parse_spec(EXPERT | {"training": {"augmentation": {"mixing": 3, "nothing": 1}}})
    locs = [error.loc for error in caught.value.errors]
    assert locs
    assert all(len(loc) > 2 for loc in locs)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "latin-1"])
def test_only_utf8_is_accepted(encoding: str) -> None:
    with pytest.raises(InvalidSpec, match=r"not UTF-8|not JSON"):
        parse_body('{"name": "é"}'.encode(encoding))
    assert parse_body('{"name": "é"}'.encode()) == {"name": "é"}


def test_data_paths_stay_below_the_roots(service: Service, tmp_path: Path) -> None:
    root = service.settings.roots[0]
    (tmp_path / "secret.npz").write_bytes(b"")
    (root / "link.npz").symlink_to(tmp_path / "secret.npz")
    (root.parent / f"{root.name}-more").mkdir()
    (root.parent / f"{root.name}-more/x.npz").write_bytes(b"")
    for path in (
        "/etc/passwd",
        "../mcn.db",
        "link.npz",
        f"../{root.name}-more/x.npz",
        "nothing.npz",
        "~/x",
        "a" * 4000,
    ):
        answer = service.post("/jobs", EXPERT | {"dataset": {"name": f"npz:{path}"}})
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["loc"] == ["dataset", "name"]
    (root / "good.npz").write_bytes(b"")
    assert service.post("/jobs", EXPERT | {"dataset": {"name": "npz:good.npz"}}).status_code == 201


def test_heads_that_cannot_split_the_fused_dimension_are_refused_at_once(service: Service) -> None:
    spec = FUSION | {"fusion": {"type": "TransformerBase", "heads": 7}}
    answer = service.post("/jobs", spec)
    assert answer.status_code == 422
    [error] = answer.json()["errors"]
    assert (error["loc"], "choose fusion.heads from 1, 2, 4, 8" in error["msg"]) == (["fusion", "heads"], True)
    assert service.post("/jobs", spec | {"fusion": {"type": "TransformerBase", "heads": 4}}).status_code == 201
