"""The pages of the dashboard, one module each."""

from __future__ import annotations

from app.web.pages import about, job, job_actions, job_log, jobs, login, tokens

ROUTERS = [
    login.router,
    jobs.router,
    job.router,
    job_actions.router,
    job_log.router,
    tokens.router,
    about.router,
]
