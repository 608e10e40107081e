"""`mcn usage` and `mcn quota`."""

from __future__ import annotations

import csv
import io
import json

import pytest

from app.db import transaction
from app.models import DeviceTime
from tests.app.api import Service
from tests.app.cli.conftest import Cli


def test_quotas_are_set_listed_and_deleted(cli: Cli) -> None:
    assert cli("quota", "list").stdout == "There are no quotas: nobody is limited.\n"
    result = cli("quota", "set", "alice", "--max-running", "2", "--device-hours", "100.5", "--max-gb", "1.5")
    assert result.stdout.splitlines()[1].split() == ["alice", "2", "100.5", "1.5", "GB"]
    assert cli("quota", "set", "*", "--max-running", "1").exit_code == 0
    lines = [line.split("  ")[0].strip() for line in cli("quota", "list").stdout.splitlines()]
    assert lines == ["user", "*", "alice"]
    items = json.loads(cli("quota", "list", "--json").stdout)["items"]
    assert items[1] == {"owner": "alice", "max_running": 2, "device_hours_per_month": 100.5, "max_bytes": 1_500_000_000}
    assert cli("quota", "delete", "alice").stdout == "alice has no quota of their own any more.\n"
    again = cli("quota", "delete", "alice")
    assert (again.exit_code, "this user has no quota" in again.stderr) == (2, True)


def test_names_of_users_with_slashes_and_blanks_are_passed_on(cli: Cli) -> None:
    assert json.loads(cli("quota", "set", "a/b c?", "--json").stdout)["owner"] == "a/b c?"
    assert cli("quota", "delete", "a/b c?").exit_code == 0


@pytest.mark.parametrize(
    "option", [("--device-hours", "nan"), ("--max-gb", "inf"), ("--max-gb", "1e300"), ("--max-running", "-1")]
)
def test_a_limit_that_is_no_number_is_wrong_usage(cli: Cli, option: tuple[str, str]) -> None:
    result = cli("quota", "set", "alice", *option)
    assert result.exit_code == 2
    assert result.exception is None or isinstance(result.exception, SystemExit)


def test_usage_is_printed_as_a_table_csv_or_json(cli: Cli, service: Service) -> None:
    with transaction(service.app.state.engine) as session:
        session.add(DeviceTime(owner="=alice", month="2025-03", gpu_s=5400.0, cpu_s=1800.0))
    table = cli("usage", "--month", "2025-03").stdout.splitlines()
    assert table[1].split() == ["=alice", "1.50", "0.50", "0", "0", "0", "0", "0", "B"]
    assert table[2] == "2.00 device-hours in 2025-03 (UTC)."
    [row] = csv.DictReader(io.StringIO(cli("usage", "--month", "2025-03", "--csv").stdout))
    assert (row["month"], row["user"], row["gpu_hours"], row["stored_bytes"]) == ("2025-03", "'=alice", "1.5", "0")
    assert json.loads(cli("usage", "--month", "2025-03", "--json").stdout)["owners"][0]["cpu_hours"] == 0.5
    assert cli("usage").stdout.startswith("0.00 device-hours in ")
    assert cli("usage", "--csv", "--json").exit_code == 2
    assert cli("usage", "--month", "2025-3").exit_code == 2
