"""The pages of the dashboard, one module each."""

from __future__ import annotations

from app.web.pages import about, cluster, jobs, login, sweep, sweeps, tokens

# A sweep's page takes any address below /ui/sweeps, so other pages there have to come before it.
ROUTERS = [
    jobs.router,
    login.router,
    sweeps.router,
    cluster.router,
    tokens.router,
    about.router,
    sweep.router,
]
