"""Every fault by its name."""

from __future__ import annotations

from tests.faults.api_faults import API_FAULTS
from tests.faults.broker_faults import BROKER_FAULTS
from tests.faults.database_faults import DATABASE_FAULTS
from tests.faults.fault import Fault
from tests.faults.outside_faults import OUTSIDE_FAULTS
from tests.faults.training_faults import TRAINING_FAULTS
from tests.faults.worker_faults import WORKER_FAULTS

FAULTS: dict[str, Fault] = (
    API_FAULTS | DATABASE_FAULTS | BROKER_FAULTS | WORKER_FAULTS | TRAINING_FAULTS | OUTSIDE_FAULTS
)
