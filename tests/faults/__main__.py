"""`make faults`: every fault with many seeds, and a table of what came of them."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table

from tests.faults import freezes, outages, soak
from tests.faults.fault import Fault
from tests.faults.quantiles import quantile
from tests.faults.round import Outcome
from tests.faults.servers import missing_programs
from tests.faults.service import Service
from tests.faults.stack import Form
from tests.faults.table import FAULTS

console = Console(width=max(120, Console().width))


@dataclass
class Row:
    """What came of the rounds of one fault."""

    name: str
    outcomes: list[Outcome] = field(default_factory=list)
    skipped: str | None = None

    @property
    def survived(self) -> int:
        """The number of rounds without a problem."""
        return sum(not outcome.problems for outcome in self.outcomes)

    def cells(self) -> list[str]:
        """The row of the table."""
        if self.skipped is not None:
            return [self.name, "0", self.skipped]
        recovery = [outcome.recovery_s for outcome in self.outcomes if outcome.recovery_s is not None]
        p50, p95 = (f"{quantile(recovery, q):.1f} s" if recovery else "" for q in (0.5, 0.95))
        longest = max(outcome.longest_wait_s for outcome in self.outcomes)
        refused = sum(outcome.num_refused for outcome in self.outcomes)
        resumed = sum(outcome.num_resumed for outcome in self.outcomes)
        counts = [str(len(self.outcomes)), str(self.survived)]
        return [self.name, *counts, p50, p95, f"{longest:.1f} s", str(refused), str(resumed)]


def run(name: str, fault: Fault, service: Service, first_seed: int, seeds: int) -> Row:
    """Every round of one fault."""
    row = Row(name, skipped=fault.lacks(service.stack))
    for seed in range(first_seed, first_seed + seeds) if row.skipped is None else ():
        began = time.monotonic()
        outcome, folder = service.round(fault, f"{name}-{seed}")
        row.outcomes.append(outcome)
        recovery = "none" if outcome.recovery_s is None else f"{outcome.recovery_s:.1f} s"
        took_s = time.monotonic() - began
        console.print(f"{name}, seed {seed}: recovery {recovery}, {took_s:.0f} s, {_verdict(outcome)}")
        for problem in outcome.problems:
            console.print(f"    {problem}", markup=False, highlight=False)
        if folder is not None:
            console.print(f"    what happened is in {folder}", markup=False, highlight=False)
    return row


def _verdict(outcome: Outcome) -> str:
    return f"[red]{len(outcome.problems)} problems[/]" if outcome.problems else "fine"


def _say(line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("only", nargs="*", help="names of faults; all if none is given")
    parser.add_argument("--seeds", type=int, default=20, help="rounds of each fault")
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    parser.add_argument("--list", action="store_true", help="print the faults and what they are")
    parser.add_argument("--freezes", action="store_true", help="measure waits while workers are stopped or cut off")
    parser.add_argument(
        "--outages", type=float, nargs="?", const=60.0, metavar="S", help="train while each part is away for S seconds"
    )
    parser.add_argument(
        "--soak", type=float, nargs="?", const=10.0, metavar="MIN", help="kill a random part every 5 s for MIN minutes"
    )
    given = parser.parse_args()
    unknown = sorted(set(given.only) - FAULTS.keys())
    if unknown:
        parser.error(f"there is no {', '.join(unknown)}; choose from {', '.join(FAULTS)}")
    if given.list:
        for name, fault in FAULTS.items():
            console.print(f"{name:28} {fault.what}", markup=False, highlight=False)
        return 0
    if missing := missing_programs():
        console.print(f"Not here: {', '.join(missing)}; only the embedded form can be tested.")
    if given.freezes:
        return min(1, freezes.run(given.seed, stops=20, cuts=10, aimed=5, control_s=20.0, say=_say))
    if given.outages is not None:
        return outages.run(given.outages, _say)
    if given.soak is not None:
        jobs = max(1, round(10 * given.soak))
        return min(1, soak.run(given.seed, jobs=jobs, length_s=60 * given.soak, every_s=5.0, say=_say))
    console.print(f"Seeds {given.seed} to {given.seed + given.seeds - 1} of each fault")
    rows = []
    for form in Form:
        if form is not Form.embedded and missing:
            continue
        chosen = {name: FAULTS[name] for name in given.only or FAULTS if FAULTS[name].form is form}
        if chosen:
            with Service(form) as service:
                rows += [run(name, fault, service, given.seed, given.seeds) for name, fault in chosen.items()]
    columns = ("runs", "survived", "recovery p50", "p95", "longest wait", "refused", "resumed")
    table = Table("fault", *columns, title="Faults")
    for row in rows:
        table.add_row(*row.cells())
    console.print(table)
    console.print(
        "Recovery: from the cure to the start of a new job. Longest wait: of a request. Refused: requests without"
    )
    console.print("an answer, or with 503. Resumed: attempts after the first one of a job.")
    return 1 if any(row.survived < len(row.outcomes) for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
