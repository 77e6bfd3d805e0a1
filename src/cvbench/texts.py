"""Text of others (files; names of files, classes, columns), also where a spreadsheet or a terminal would act on it."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cvbench.errors import IntegrityError

_FORMULA = (
    "=",
    "+",
    "-",
    "@",
    "\t",
    "\r",
    "\n",
    "＝",
    "＋",
    "－",
    "＠",
)  # a spreadsheet would run a cell that starts so
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def read_text(path: Path, what: str, encoding: str = "utf-8-sig") -> str:
    """The text of a file.

    Args:
        what: What it is, for the error.

    Raises:
        IntegrityError: It cannot be read, or not as text.
    """
    try:
        return path.read_text(encoding=encoding)
    except (OSError, UnicodeDecodeError) as err:
        raise IntegrityError(f"{what} cannot be read", where=str(path), why=str(err)) from err


def parse_json(text: str | bytes, what: str, where: str, *, once: bool = False) -> Any:
    """The value of somebody else's JSON.

    Args:
        what: What is wrong if it is none, for the error.
        where: Its file, and its line if it is a part of it.
        once: Whether a key that stands twice in an object is refused; else its last value counts.

    Raises:
        IntegrityError: It is no JSON, or nested too deeply.
    """
    try:
        return json.loads(text, object_pairs_hook=_once if once else None)
    except (ValueError, RecursionError) as err:
        raise IntegrityError(what, where=where, why=str(err)) from err


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError(f"the key {repeated([key for key, _ in pairs])!r} stands twice")
    return found


def read_records(path: Path, what: str) -> tuple[tuple[str, ...], list[tuple[str, dict[str, str]]]]:
    """The columns of a CSV with a header, and of each row its place and its cells by column; a cell that is not there
    is empty.

    Args:
        what: What it is, for the error.

    Raises:
        IntegrityError: It cannot be read, or is no CSV.
    """
    rows = csv.DictReader(
        io.StringIO(read_text(path, what), newline=""), restval=""
    )  # a quoted cell may hold line ends
    try:
        columns = tuple(rows.fieldnames or ())
        return columns, [(f"{path}:{rows.line_num}", {name: row[name] for name in columns}) for row in rows]
    except csv.Error as err:
        raise IntegrityError(f"{what} cannot be read", where=str(path), why=str(err)) from err


def repeated(names: Iterable[str]) -> str | None:
    """The first name that has stood before, None if there is none.

    >>> repeated(["a", "b", "b", "a"])
    'b'
    """
    seen: set[str] = set()
    return next((name for name in names if name in seen or seen.add(name)), None)  # type: ignore[func-returns-value]


def json_value(value: object) -> object:
    """A value as JSON has it: keys are text, arrays lists, and a number that is not finite is None.

    >>> json_value({1: (float("nan"), 2.0), "b": "x"})
    {'1': [None, 2.0], 'b': 'x'}
    """
    if isinstance(value, dict):
        return {str(key): json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(item) for item in value]
    if hasattr(value, "tolist"):  # of NumPy: an array, or one number
        return json_value(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def csv_cell(value: object) -> object:
    """A cell of a CSV as it is written: text that a spreadsheet would take for a formula gets an apostrophe in front.

    Every CSV that the product writes goes through it. Numbers stay as they are, None is an empty cell.

    >>> csv_cell("=1+1"), csv_cell("a=b"), csv_cell("-0.5"), csv_cell(-0.5), csv_cell(None)
    ("'=1+1", 'a=b', '-0.5', -0.5, None)
    """
    if not isinstance(value, str) or not value.startswith(_FORMULA) or _NUMBER.fullmatch(value):
        return value
    return f"'{value}"


def read_cell(text: str) -> str:
    """A cell as it was before `csv_cell`."""
    return text[1:] if text.startswith("'") and csv_cell(text[1:]) == text else text


def printable(text: str, keep: str = "") -> str:
    r"""Text without characters that a terminal, a figure or a line of a log would act on; each is written as its code.

    Control characters, marks that turn the direction of a line, lone surrogates and what is no character.

    Args:
        text: Anything.
        keep: Characters that stay, such as "\n".

    >>> printable("a\x1b[2Jb\u202ec\n", keep="\n")
    'a\\x1b[2Jb\\u202ec\n'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else ascii(c)[1:-1] for c in text)
