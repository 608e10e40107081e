"""The pages of the dashboard, one module each."""

from __future__ import annotations

from app.web.pages import about, compare, curves, jobs, login, tokens

ROUTERS = [login.router, jobs.router, curves.router, compare.router, tokens.router, about.router]
