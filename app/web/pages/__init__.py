"""The pages of the dashboard, one module each."""

from __future__ import annotations

from app.web.pages import about, compare, curves, login, tokens

ROUTERS = [login.router, tokens.router, about.router, curves.router, compare.router]
