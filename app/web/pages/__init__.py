"""The pages of the dashboard, one module each."""

from __future__ import annotations

from app.web.pages import (
    about,
    cluster,
    compare,
    compare_pair,
    components,
    curves,
    job,
    job_actions,
    job_log,
    job_report,
    jobs,
    login,
    new,
    new_sweep,
    sweep,
    sweeps,
    tokens,
)

# A sweep's page takes any address below /ui/sweeps, so `/ui/sweeps/new` comes before it.
ROUTERS = [
    login.router,
    jobs.router,
    job.router,
    job_actions.router,
    job_log.router,
    job_report.router,
    curves.router,
    new.router,
    compare.router,
    compare_pair.router,
    new_sweep.router,
    sweeps.router,
    sweep.router,
    components.router,
    cluster.router,
    tokens.router,
    about.router,
]
