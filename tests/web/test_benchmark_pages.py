"""The benchmark of pages has an address for each that the page accepts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

from fastapi.routing import APIRoute

from app.web.pages import ROUTERS
from tests.benchmarks.dashboard import pages


def test_the_addresses_have_the_parameters_that_their_pages_require() -> None:
    data: Any = SimpleNamespace(long_job="job_1", sweep="swp_1", reported="job_2", compared=["job_1", "job_2"])
    parameters = {urlsplit(address).path: set(parse_qs(urlsplit(address).query)) for address in pages(data).values()}
    routes = [route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]
    measured = [
        (route.path.format(job_id="job_1", sweep_id="swp_1"), route)
        for route in routes
        if "GET" in (route.methods or ()) and route.path.startswith("/ui/") and not route.path.startswith("/ui/-/")
    ]
    assert len(measured) > 10
    for path, route in measured:
        required = {field.alias for field in route.dependant.query_params if field.field_info.is_required()}
        if path in parameters:
            assert required <= parameters[path], path
