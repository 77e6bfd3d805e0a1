"""Tables fit a terminal: no name is broken inside a word, no number is cut, and nothing is left out."""

from __future__ import annotations

import re

import pytest

from cvbench.cli.table import table_lines

NAME = "vit_base_patch16_224.augreg_in21k/blocks.11 less convnext_base.fb_in22k/stages.3.blocks.2"
COLUMNS = ["of", "where", "value", "interval", "p", "verdict", "n"]
ROWS = [
    [NAME, "common grid 14x14, centred maps", "0.1071", "[0.1040, 0.1101]", "1.00e-04", "resolved", "50000"],
    [NAME.partition(" ")[0], "own grid 14x14", "-0.9997", "[-1.0000, -0.9812]", "", "not resolved", "50000"],
]


@pytest.mark.parametrize("width", [60, 80, 100, 140, 200])
def test_names_and_numbers_stay_whole(width: int) -> None:
    lines = table_lines(COLUMNS, ROWS, width)
    words = [word for line in lines for word in line.split()]
    text = "\n".join(lines)
    for row in ROWS:
        for cell in row:
            assert all(word in words for word in cell.split()), cell
        assert row[2] in text
        assert row[3] in text  # an interval stands in one line
    assert all(len(line) <= width for line in lines)


@pytest.mark.parametrize("width", [20, 40])
def test_only_a_word_longer_than_the_line_goes_beyond_it(width: int) -> None:
    for line in table_lines(COLUMNS, ROWS, width):
        assert len(line) <= width or max(map(len, re.findall(r"\S+", line))) + 2 > width - len("interval ") - 2


def test_in_a_pipe_a_row_is_a_line() -> None:
    lines = table_lines(COLUMNS, ROWS, None)
    assert len(lines) == 3
    assert re.split("  +", lines[1]) == ROWS[0]


def test_sentences_are_wrapped_before_a_row_is_taken_apart() -> None:
    lines = table_lines(["name", "title"], [["cub200", "Caltech-UCSD Birds 200, 2011, with boxes"]], 30)
    assert lines[0] == "name    title"
    assert len(lines) > 2
    assert all(len(line) <= 30 for line in lines)
