"""The OpenAPI description as tests load it, and what it does not say: which requests follow from which answers."""

from __future__ import annotations

from typing import Any

import schemathesis

from tests.app.api import EXPERT, FUSION, Service


def load(service: Service, description: dict[str, Any]) -> Any:
    loaded = schemathesis.openapi.from_dict(description)
    loaded.app = service.app
    return loaded


NEEDING: dict[str, Any] = {
    "operationId": "post_job_jobs_post",
    "requestBody": {
        "kind": "fusion",
        "experts": [{"from": {"job": "$response.body#/id", "component": "expert_0"}}] * 2,
    },
    "x-schemathesis": {"merge_body": False},
}


def often(**link: Any) -> dict[str, dict[str, Any]]:
    return {f"Next{number}": link for number in range(5)}


# That an id in one answer is the id in the next request, the names in the schemas tell; these they do not.
LINKS: dict[tuple[str, str, str], dict[str, dict[str, Any]]] = {
    ("/jobs", "post", "201"): {
        "TheSameAgain": {
            "operationId": "post_job_jobs_post",
            "parameters": {"header.idempotency-key": "$request.header.idempotency-key"},
            "requestBody": "$request.body",
            "x-schemathesis": {"merge_body": False},
        },
        "OneThatNeedsIt": NEEDING,
    },
    ("/jobs", "get", "200"): {
        "NextPage": {
            "operationId": "get_jobs_jobs_get",
            "parameters": {"query.cursor": "$response.body#/next_cursor", "sort": "$request.query.sort"},
        }
    },
    ("/jobs/{job_id}", "get", "200"): {"OneThatNeedsIt": NEEDING},
    ("/jobs/{job_id}/events", "get", "200"): {
        "NextPage": {
            "operationId": "get_events_jobs__job_id__events_get",
            "parameters": {"job_id": "$request.path.job_id", "query.cursor": "$response.body#/next_cursor"},
        }
    },
    # Every rule is as likely as any other, and there are many: what would come about too seldom is there several times.
    ("/jobs/{job_id}/pause", "post", "202"): often(
        operationId="resume_jobs__job_id__resume_post",
        parameters={"job_id": "$response.body#/id"},
    ),
    ("/jobs/{job_id}/metrics", "get", "200"): often(
        operationId="get_series_jobs__job_id__metrics_series_get",
        parameters={"job_id": "$request.path.job_id", "key": "$response.body#/keys"},
    ),
    ("/components", "get", "200"): often(
        operationId="get_component_by_id_components__component_id__get",
        parameters={"component_id": "$response.body#/items/0/id"},
    ),
    ("/tokens", "post", "201"): often(
        operationId="delete_token_tokens__token_id__delete",
        parameters={"token_id": "$response.body#/id"},
    ),
    ("/jobs/{job_id}/components", "get", "200"): often(
        operationId="get_component_jobs__job_id__components__name__get",
        parameters={"job_id": "$request.path.job_id", "name": "$response.body#/items/0/name"},
    ),
}
# What test_schema.py sends enough of; in sequences it would keep most requests from ever naming a job.
LEFT_OUT = {
    "arch", "at", "bytes", "cursor", "dataset", "dry_run", "from_step", "kind", "last-event-id", "owner", "q", "role",
    "state", "sweep", "tag", "to_step", "type",
}  # fmt: skip
# test_schema.py draws bodies from their schema; in sequences that takes longer than all else, and most are refused.
BODIES: dict[str, list[Any]] = {
    "/jobs": [EXPERT, FUSION, EXPERT | {"name": "two"}, FUSION | {"priority": 3}, {"kind": "expert"}],
    "/tokens": [{"name": "one"}, {"name": "two", "role": "viewer"}, {"name": ""}],
    "/sweeps": [{"base": EXPERT, "grid": {"training.seed": [1, 2]}}, {"base": EXPERT, "grid": {"name": [3]}}],
}
