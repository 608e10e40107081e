"""The generator of the reference pages, and the tables by which it explains what the code does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.jobs.transitions import EDGES
from app.models import Reason, State
from app.settings import Settings
from docs.generate import __main__ as generator
from docs.generate import cli, spec, tables
from docs.generate.descriptions import DESCRIPTIONS
from docs.generate.explanations import REASONS
from docs.generate.markdown import table


def test_committed_pages_are_current(capsys: pytest.CaptureFixture[str]) -> None:
    assert generator.main(["--check"]) == 0, capsys.readouterr().out


def test_a_page_that_is_out_of_date_is_named_and_not_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "docs/errors.md"
    page.parent.mkdir()
    page.write_text("# Errors\n<!-- begin errors -->\nold\n<!-- end errors -->\nby hand\n")
    (tmp_path / "README.md").write_text("by hand\n")
    monkeypatch.setattr(generator, "ROOT", tmp_path)
    assert generator.main(["--check"]) == 1
    assert "docs/errors.md" in capsys.readouterr().out
    assert "old" in page.read_text()
    assert generator.main([]) == 0
    assert "| `not-found` | 404 |" in page.read_text()
    assert page.read_text().endswith("<!-- end errors -->\nby hand\n")
    assert generator.main(["--check"]) == 0


def test_every_generated_part_is_in_a_page_and_every_page_names_known_ones() -> None:
    used = {name for page in generator.pages() for name in generator.regions_of(page.read_text())}
    assert used == set(generator.REGIONS)


def test_every_edge_of_the_state_graph_is_explained_by_a_sentence() -> None:
    text = tables.edges()
    for (state, to), why in EDGES.items():
        assert why.endswith(".")
        assert f"| `{state}` | `{to}` | {why} |" in text


def test_every_reason_is_explained() -> None:
    assert set(REASONS) == set(Reason)


def test_the_picture_has_every_state() -> None:
    picture = tables.state_graph()
    assert [state.value for state in State if f" {state.value}\n" not in picture] == []
    assert picture.count("-->") == 2 + len(EDGES) + 3


def test_every_setting_has_a_description() -> None:
    text = tables.settings()
    for name, field in Settings.model_fields.items():
        assert field.description
        assert f"| `MCN_{name.upper()}` | {field.description} |" in text


def test_every_field_of_a_specification_has_a_description() -> None:
    assert [path for path, info in spec.paths() if not spec.description(path, info)] == []


def test_every_description_belongs_to_a_field() -> None:
    paths = [f".{path}" for path, _ in spec.paths()]
    assert [end for end in DESCRIPTIONS if not any(path.endswith(f".{end}") for path in paths)] == []


def test_the_reference_has_paths_types_defaults_and_limits() -> None:
    text = spec.reference()
    assert "| `training.epochs` | integer or null | `null` | at least 1, at most 100,000 |" in text
    assert "| `dataset.split.regime` | string | `full` | `full`, `iid`, `class_shards`, `dirichlet` |" in text
    assert "| `kind` | string | required | `expert`, `fusion`, `head`, `evaluate` |" in text
    assert "### `training.components.experts`, `training.components.fusion`, `training.components.head`" in text


def test_the_command_reference_has_subcommands_arguments_and_defaults() -> None:
    text = cli.mcn_reference()
    assert "### `mcn token create`" in text
    assert "mcn submit [OPTIONS] FILE" in text
    assert "`--epochs INTEGER`" in text
    assert "Default: `100`." in text


def test_a_cell_stays_one_cell() -> None:
    assert table(["a"], [["x | y\nz"]]).splitlines()[-1] == "| x \\| y z |"
