"""The forms of a new job and a new sweep say that a quota is exhausted, and keep what was entered."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import update

from app.db import transaction
from app.models import Job, Quota
from tests.app.api import EXPERT, Service
from tests.web.test_security import log_in

JOB = {"kind": "expert", "expert.arch": "convnet_small", "name": "kept"}
SWEEP = {"name": "kept", "base": json.dumps(EXPERT), "path": "training.seed", "values": "1, 2"}


@pytest.mark.parametrize(("path", "fields"), [("/ui/new", JOB), ("/ui/sweeps/new", SWEEP)])
def test_a_form_says_that_a_quota_is_exhausted(service: Service, path: str, fields: dict[str, Any]) -> None:
    service.submit(user="alice")
    with transaction(service.app.state.engine) as session:
        session.execute(update(Job).values(size_bytes=10**9))
        session.add(Quota(owner="alice", max_bytes=10**9))
    headers = log_in(service, "alice")
    answer = service.http.post(path, data=fields | {"action": "submit"}, headers=headers, follow_redirects=False)
    assert answer.status_code == 422
    assert "the jobs of alice store 1.0 GB, and the quota is 1.0 GB: delete jobs" in answer.text
    assert "kept" in answer.text
