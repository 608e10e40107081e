"""Commands on retention: which ended jobs are deleted automatically."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from app.cli.arguments import AsJson
from app.cli.spec_files import SpecFile, encode_spec, read_spec_file
from app.cli.tables import fitted_table, plain_table
from app.cli.terminal import connected, fail, is_interactive, out, print_json
from app.jobs.wording import format_bytes

# Lines of a report that are printed.
MAX_ROWS = 20
_NO_RULES = "There are no rules: nothing is deleted automatically."


def show_policy(as_json: AsJson = False) -> None:
    """Show the retention rules, when they are applied next, and what the latest runs deleted."""
    with connected() as api:
        shown = api.get("/retention")
    if as_json:
        return print_json(shown)
    _print_rules(shown)
    if shown["runs"]:
        table = plain_table("run", "by", "jobs", "checkpoints of", "freed")
        for run in shown["runs"]:
            freed = format_bytes(run["bytes_freed"])
            table.add_row(run["started_at"], run["started_by"], str(run["jobs"]), str(run["checkpoints"]), freed)
        out.print()
        out.print(table)


def set_policy(file: SpecFile, as_json: AsJson = False) -> None:
    """Replace the retention rules, and print what the next run would delete. The output of `show --json` will do."""
    content = read_spec_file(file, [])
    policy = content["policy"] if isinstance(content.get("policy"), dict) else content
    with connected() as api:
        shown = api.put("/retention", encode_spec(policy))
        report = api.post("/retention/run", params={"dry_run": True})
    if as_json:
        return print_json({"retention": shown, "next_run": report})
    _print_rules(shown)
    if shown["policy"]["rules"]:
        out.print()
        _print_report(report)


def run_policy(
    dry_run: Annotated[bool, typer.Option(help="Print what would be deleted, delete nothing.")] = False,
    yes: Annotated[bool, typer.Option("-y", "--yes", help="Delete without confirmation.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete now what the retention rules say, instead of when it is due."""
    confirms = not dry_run and not yes
    if confirms and not is_interactive():
        fail(
            "without a terminal nobody can confirm this: give --yes to delete, or --dry-run to see what it would be", 2
        )
    with connected() as api:
        if confirms:
            expected = api.post("/retention/run", params={"dry_run": True})
            _print_report(expected)
            if not expected["jobs"] and not expected["checkpoints"]:
                return
            typer.confirm("Delete this?", abort=True)
        report = api.post("/retention/run", params={"dry_run": dry_run})
    if as_json:
        print_json(report)
    elif confirms:
        # Its table was printed before the question.
        out.print(_summary(report))
    else:
        _print_report(report)


def _print_rules(shown: dict[str, Any]) -> None:
    policy = shown["policy"]
    if not policy["rules"]:
        out.print(_NO_RULES)
        return
    table = plain_table("rule", "deletes", "of")
    for rule in policy["rules"]:
        table.add_row(rule["name"], rule["delete"], _conditions(rule))
    out.print(table)
    if policy["protected_tags"]:
        out.print(f"Jobs with the tag {' or '.join(policy['protected_tags'])} are never touched.")
    out.print(f"Workers apply this next at {shown['next_run_at']}.")


def _conditions(rule: dict[str, Any]) -> str:
    words = [f"{' or '.join(rule['states'])} jobs", _age(rule["older_than_days"])]
    words += [f"tagged {' and '.join(rule['tags'])}"] if rule["tags"] else []
    if rule["in_sweeps"] is not None:
        words.append("in sweeps" if rule["in_sweeps"] else "in no sweep")
    if rule["keep_best_of_sweep"]:
        words.append(f"except the best {rule['keep_best_of_sweep']} of each sweep")
    return ", ".join(words)


def _age(days: float) -> str:
    if not days:
        return "of any age"
    return "older than 1 day" if days == 1 else f"older than {days:g} days"


def _print_report(report: dict[str, Any]) -> None:
    items = report["items"][:MAX_ROWS]
    if items:
        rows = [
            (
                item["job"],
                item["name"],
                item["owner"],
                item["rule"],
                item["what"],
                "" if item["bytes_freed"] is None else format_bytes(item["bytes_freed"]),
            )
            for item in items
        ]
        out.print(fitted_table(("id", "name", "owner", "rule", "what", "size"), rows, {"name": 4, "rule": 4}))
    total = report["jobs"] + report["checkpoints"]
    if total > len(items):
        out.print(f"and {total - len(items):,} more")
    out.print(_summary(report))


def _summary(report: dict[str, Any]) -> str:
    parts = [_count(report["jobs"], "job")] if report["jobs"] else []
    parts += [f"the checkpoints of {_count(report['checkpoints'], 'job')}"] if report["checkpoints"] else []
    if not parts:
        return "Nothing to delete." if report["complete"] else "Nothing was deleted; run it again."
    freed = format_bytes(report["bytes_freed"])
    if report["dry_run"]:
        return f"Would delete {' and '.join(parts)}: {'' if report['complete'] else 'at least '}{freed}."
    rest = "" if report["complete"] else " There is more: run it again, or let the workers go on when it is due."
    return f"Deleted {' and '.join(parts)}: {freed} freed.{rest}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
