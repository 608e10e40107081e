"""The command-line reference, from the tree of commands that Typer builds."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import typer

from docs.generate.markdown import code, table


def mcn_reference() -> str:
    """Every command of `mcn`."""
    from app.cli.main import app

    return reference(app, "mcn")


def core_reference() -> str:
    """Every command of `python -m core`."""
    from core.__main__ import app

    return reference(app, "python -m core")


def reference(app: typer.Typer, program: str) -> str:
    """A section for every command: usage, purpose, arguments and options."""
    return "\n".join(_section(path, command) for path, command in commands(typer.main.get_command(app), program))


def commands(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Every command of a tree that is not a group, with the words that call it."""
    if not hasattr(command, "commands"):
        yield path, command
        return
    for name, inner in command.commands.items():
        yield from commands(inner, f"{path} {name}")


def _section(path: str, command: Any) -> str:
    parameters = [parameter for parameter in command.params if parameter.name != "help"]
    arguments = [parameter for parameter in parameters if parameter.param_type_name == "argument"]
    usage = [path, *(["[OPTIONS]"] if len(arguments) < len(parameters) else []), *map(_metavar, arguments)]
    text = f"### `{path}`\n\n{inspect.cleandoc(command.help or '')}\n\n```text\n{' '.join(usage)}\n```\n"
    rows = [[code(_name(parameter)), _help(parameter)] for parameter in parameters if _help(parameter)]
    return text + ("\n" + table(["argument or option", "meaning"], rows) if rows else "")


def _metavar(parameter: Any) -> str:
    name = str(parameter.metavar or parameter.name.upper())
    return name if parameter.required else f"[{name}]"


def _name(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return _metavar(parameter)
    names = " / ".join([", ".join(parameter.opts), *parameter.secondary_opts])
    return names if getattr(parameter, "is_flag", False) else f"{names} {parameter.metavar or _type(parameter)}"


def _type(parameter: Any) -> str:
    name = str(parameter.bare_type()).upper()
    return {"STR": "TEXT", "INT": "INTEGER"}.get(name, name)


def _help(parameter: Any) -> str:
    text = str(getattr(parameter, "help", None) or "").replace("<", "&lt;")
    text += "" if not text or text.endswith((".", "]")) else "."
    default = parameter.default
    shown = isinstance(default, str | int | float) and not isinstance(default, bool) and default not in ("", None)
    return f"{text} Default: {code(default)}." if shown and "[default" not in text else text
