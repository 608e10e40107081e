"""The pages of the dashboard, one module each."""

from __future__ import annotations

from app.web.pages import about, jobs, login, tokens

ROUTERS = [login.router, jobs.router, tokens.router, about.router]
