"""The pages of the dashboard, one module each."""

from __future__ import annotations

from app.web.pages import about, components, login, new, new_sweep, tokens

# `/ui/sweeps/new` comes before the page of one sweep, which would take `new` for an id.
ROUTERS = [login.router, tokens.router, about.router, new.router, new_sweep.router, components.router]
