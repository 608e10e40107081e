"""The pages of the dashboard, one module each."""

from __future__ import annotations

from app.web.pages import about, job, job_actions, job_log, login, tokens

ROUTERS = [login.router, tokens.router, about.router, job.router, job_actions.router, job_log.router]
