"""Commands that manage API tokens."""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli.arguments import AsJson, check_id
from app.cli.tables import tokens_table
from app.cli.terminal import connected, out, print_json


def create_token(
    name: Annotated[str, typer.Argument(help="What the token is for, for example laptop.")],
    role: Annotated[str, typer.Option(help="viewer, member or admin.")] = "member",
    owner: Annotated[str | None, typer.Option(help="User whom the token stands for.", show_default="you")] = None,
    expires_at: Annotated[str | None, typer.Option(help="Time of expiry, for example 2030-01-31T00:00:00Z.")] = None,
    as_json: AsJson = False,
) -> None:
    """Create a token and print it. It cannot be shown again."""
    fields = {"name": name, "role": role, "owner": owner, "expires_at": expires_at}
    with connected() as api:
        created = api.post("/tokens", {key: value for key, value in fields.items() if value is not None})
    print_json(created) if as_json else out.print(created["token"])


def list_tokens(as_json: AsJson = False) -> None:
    """List tokens, without their secrets."""
    with connected() as api:
        page = api.get("/tokens")
    print_json(page) if as_json else out.print(tokens_table(page["items"]))


def revoke_token(
    token_id: Annotated[str, typer.Argument(metavar="ID", help="A token id.", callback=check_id)],
) -> None:
    """Revoke a token: it is refused from now on."""
    with connected() as api:
        api.delete(f"/tokens/{token_id}")
    out.print(f"{token_id} is revoked.")
