"""Cells of CSV files that a spreadsheet must not evaluate."""

from __future__ import annotations

import pytest
from sqlmodel import Session

from app.db import transaction
from app.http.csv_cells import safe_cell
from app.results.metrics import store
from app.results.metrics.routes import _csv_blocks
from tests.app.api import Service


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\tx", "\rx"])
def test_text_that_begins_like_a_formula_gets_an_apostrophe(text: str) -> None:
    assert safe_cell(text) == f"'{text}"


@pytest.mark.parametrize("text", ["a=b", "3", ""])
def test_other_text_stays_as_it_is(text: str) -> None:
    assert safe_cell(text) == text


def test_keys_of_metrics_are_quoted_in_their_csv(service: Service) -> None:
    import numpy as np

    job_id = service.submit()

    def add(session: Session, key: str) -> None:
        store.append(session, job_id, {key: store.Block(np.array([1]), np.array([-0.5]), np.array([2.0]))})

    with transaction(service.app.state.engine) as session:
        for key in ("=evil()", 'a,"b'):
            add(session, key)
    text = service.get(f"/jobs/{job_id}/metrics.csv").text
    assert text == 'key,step,value,time\n\'=evil(),1,-0.5,2.000\n"a,""b",1,-0.5,2.000\n'


def test_a_client_that_reads_metrics_slowly_holds_no_database_connection(service: Service) -> None:
    import numpy as np

    job_id = service.submit()
    with transaction(service.app.state.engine) as session:
        point = store.Block(np.array([1]), np.array([-0.5]), np.array([2.0]))
        store.append(session, job_id, {"a": point, "b": point})
    blocks = _csv_blocks(service.app.state.engine, job_id)
    for line in ("key", "a,1", "b,1"):
        assert next(blocks).startswith(line)
        assert service.app.state.engine.pool.checkedout() == 0
