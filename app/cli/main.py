"""Train multi-expert fusion models: submit jobs, watch them, download their components."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import typer

from app.cli import (
    backup,
    changes,
    compare,
    download,
    jobs,
    logs,
    quotas,
    report,
    reports,
    retention,
    service,
    submit,
    sweeps,
    tokens,
)

Commands = Mapping[str, Callable[..., Any]]

# Every command, by the panel of `mcn --help` that lists it.
PANELS: dict[str, Commands] = {
    "Service": {"up": service.up, "demo": service.demo, "login": service.login, "doctor": service.doctor},
    "Submit": {"submit": submit.submit, "train": submit.train, "plan": submit.plan, "sweep": sweeps.sweep},
    "Watch": {
        "jobs": jobs.jobs,
        "show": jobs.show,
        "watch": jobs.watch,
        "logs": logs.logs,
        "explain": reports.explain,
        "ledger": reports.ledger,
        "provenance": reports.provenance,
        "sweeps": sweeps.list_sweeps,
        "leaderboard": sweeps.leaderboard,
    },
    "Change": {
        "pause": changes.pause,
        "resume": changes.resume,
        "cancel": changes.cancel,
        "retry": changes.retry,
        "delete": changes.delete,
    },
    "Results": {
        "components": jobs.components,
        "download": download.download_command,
        "predictions": download.predictions_command,
        "compare": compare.compare,
        "report": report.report,
    },
    "Administration": {"usage": quotas.usage, "backup": backup.backup, "restore": backup.restore},
}
GROUPS: dict[str, tuple[str, Commands]] = {
    "db": ("Manage the database.", {"upgrade": service.upgrade_database}),
    "quota": (
        "List, set and delete the quotas of users.",
        {"list": quotas.list_quotas, "set": quotas.set_quota, "delete": quotas.delete_quota},
    ),
    "retention": (
        "Delete ended jobs automatically.",
        {"show": retention.show_policy, "set": retention.set_policy, "run": retention.run_policy},
    ),
    "token": (
        "Create, list and revoke tokens.",
        {"create": tokens.create_token, "list": tokens.list_tokens, "revoke": tokens.revoke_token},
    ),
}


def _make_app() -> typer.Typer:
    app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)
    for panel, commands in PANELS.items():
        for name, command in commands.items():
            app.command(name, rich_help_panel=panel)(command)
    for name, (summary, commands) in GROUPS.items():
        group = typer.Typer(no_args_is_help=True)
        for subname, command in commands.items():
            group.command(subname)(command)
        app.add_typer(group, name=name, help=summary, rich_help_panel="Administration")
    return app


app = _make_app()

if __name__ == "__main__":
    app(prog_name="mcn")
