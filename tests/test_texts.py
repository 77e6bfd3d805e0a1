"""Text of others: cells that a spreadsheet runs, characters that a terminal obeys."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest

from cvbench.cli.options import echo_csv, echo_table
from cvbench.cli.say import say
from cvbench.storage.predictions import read_predictions, write_predictions
from cvbench.texts import csv_cell, printable, read_cell

FORMULAS = ("=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1", "-", "=", "+a")


@pytest.mark.parametrize("text", FORMULAS)
def test_what_a_spreadsheet_would_run_is_quoted(text: str) -> None:
    assert csv_cell(text) == "'" + text
    assert read_cell(f"'{text}") == text


@pytest.mark.parametrize("value", ["", "a=1", "'tis", "-1", "+0.5", "-1e-3", "-.5", -1, 0.5, None, True])
def test_what_it_would_not_run_stays(value: object) -> None:
    assert csv_cell(value) == value
    assert not isinstance(value, str) or read_cell(value) == value


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("bell\x07", r"bell\x07"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("\x9b2J", r"\x9b2J"),
        ("a\u202eb", r"a\u202eb"),
        ("\udcff", r"\udcff"),
        ("a\rb", r"a\rb"),
        ("grün 鳥", "grün 鳥"),
    ],
)
def test_what_a_terminal_would_obey_is_written_as_its_code(
    text: str, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert printable(text) == shown
    say(f"drawn: {text}\nnote: {text}", err=True)
    assert capsys.readouterr().err == f"drawn: {shown}\nnote: {shown}\n"
    echo_table(["name"], [[text]])
    assert capsys.readouterr().out.splitlines()[-1] == shown


def test_a_table_as_csv_holds_no_formula(capsys: pytest.CaptureFixture[str]) -> None:
    echo_csv([{"name": text, "value": -0.5} for text in FORMULAS[:4]])
    found = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["name"] for row in found] == [f"'{text}" for text in FORMULAS[:4]]
    assert {row["value"] for row in found} == {"-0.5"}


def test_quoted_names_of_predictions_come_in_as_they_were(tmp_path: Path) -> None:
    names = ["=1+1.png", "+x.png", "'y.png", "z.png"]
    write_predictions(tmp_path / "p.csv", names, np.arange(4), np.full(4, 0.5))
    assert "'=1+1.png" in (tmp_path / "p.csv").read_text()
    assert read_predictions(tmp_path / "p.csv").names == tuple(names)
