"""The database tables and the values that their columns may hold."""

from __future__ import annotations

from app.models.attempts import WORKER_TIMEOUT, Attempt, Component, Lease, Worker, offline_before
from app.models.jobs import Control, Dependency, Event, Job, Tag
from app.models.metrics import Chunk, ChunkData, Series
from app.models.quotas import DeviceTime, Quota
from app.models.retention import FileDeletion, Retention, RetentionRun
from app.models.roles import Role
from app.models.states import ACTIVE_STATES, TERMINAL_STATES, State
from app.models.sweeps import Sweep, SweepPoint
from app.models.tokens import BrowserSession, LoginLink, Token
from app.models.webhooks import WebhookDelivery
from core.run.reasons import Reason

__all__ = [
    "ACTIVE_STATES",
    "TERMINAL_STATES",
    "WORKER_TIMEOUT",
    "Attempt",
    "BrowserSession",
    "Chunk",
    "ChunkData",
    "Component",
    "Control",
    "Dependency",
    "DeviceTime",
    "Event",
    "FileDeletion",
    "Job",
    "Lease",
    "LoginLink",
    "Quota",
    "Reason",
    "Retention",
    "RetentionRun",
    "Role",
    "Series",
    "State",
    "Sweep",
    "SweepPoint",
    "Tag",
    "Token",
    "WebhookDelivery",
    "Worker",
    "offline_before",
]
