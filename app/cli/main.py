"""`mcn`: the command line, over the same API that everybody uses."""

from __future__ import annotations

import typer

from app.cli import changes, jobs, service, sweeps, tokens

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)
app.add_typer(service.app)
app.add_typer(jobs.app)
app.add_typer(changes.app)
app.add_typer(sweeps.app)
app.add_typer(tokens.app, name="token")

if __name__ == "__main__":
    app(prog_name="mcn")
