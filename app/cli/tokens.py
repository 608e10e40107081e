"""Commands on tokens."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from app.cli.terminal import AsJson, an_id, connected, out, print_json

app = typer.Typer(no_args_is_help=True, help="Make, list and revoke tokens.")


@app.command("create")
def token_create(
    name: Annotated[str, typer.Argument(help="What it is for.")],
    role: Annotated[str, typer.Option(help="viewer, member or admin.")] = "member",
    owner: Annotated[str | None, typer.Option(help="Whose it is. [default: yours]")] = None,
    expires_at: Annotated[str | None, typer.Option(help="When it expires, such as 2030-01-31T00:00:00Z.")] = None,
) -> None:
    """Make a token; it is shown this once."""
    asked = {"name": name, "role": role, "owner": owner, "expires_at": expires_at}
    with connected() as api:
        made = api.post("/tokens", {key: value for key, value in asked.items() if value is not None})
    print(made["token"])


@app.command("list")
def token_list(as_json: AsJson = False) -> None:
    """List tokens, without their secrets."""
    with connected() as api:
        page = api.get("/tokens")
    if as_json:
        return print_json(page)
    table = Table("id", "name", "owner", "role", "expires", box=None, pad_edge=False)
    for row in page["items"]:
        table.add_row(row["id"], row["name"], row["owner"], row["role"], row["expires_at"] or "never")
    out.print(table)


@app.command("revoke")
def token_revoke(token_id: Annotated[str, typer.Argument(metavar="ID", callback=an_id)]) -> None:
    """Revoke a token: it is refused from now on."""
    with connected() as api:
        api.delete(f"/tokens/{token_id}")
    out.print(f"{token_id} is revoked.", highlight=False)
