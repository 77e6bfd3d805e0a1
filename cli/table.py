"""Tables on a terminal: names and numbers stay whole; what is too wide is wrapped between words, or set below."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

GAP = "  "
_WORDS = 3
"""From so many words on a cell is a sentence that may be wrapped; an interval or a verdict of two words is not."""


def table_lines(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int | None) -> list[str]:
    """Lay out a table; without a width each row is one line.

    Where the columns do not fit, sentences are wrapped; where that does not suffice, each row is a block: its first
    cell, and below it the others with their names. Only a word that is longer than a line goes beyond it.

    >>> print("\\n".join(table_lines(["of", "value"], [["vit/blocks.0", "0.1"]], 15)))
    vit/blocks.0
      value 0.1
    """
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    if width is None or _total(widths) <= width:
        return [_line(row, widths) for row in [columns, *rows]]
    wrapped = _narrowed(columns, rows, widths, width)
    if wrapped is not None:
        return [line for row in [columns, *rows] for line in _wrapped(row, wrapped)]
    return [line for row in rows for line in _block(columns, row, width)]


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + len(GAP) * (len(widths) - 1)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return GAP.join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _narrowed(
    columns: Sequence[str], rows: Sequence[Sequence[str]], widths: Sequence[int], width: int
) -> list[int] | None:
    """Widths that fit, if columns of sentences may be as narrow as their longest word; None if they do not."""
    least = []
    for name, cells, own in zip(columns, zip(*rows, strict=True), widths, strict=True):
        sentence = any(len(cell.split()) >= _WORDS for cell in cells)
        words = [len(word) for cell in (name, *cells) for word in cell.split()] if sentence else [own]
        least.append(max(words, default=own))
    found = [*widths]
    while _total(found) > width:
        widest = max(range(len(found)), key=lambda i: found[i] - least[i])
        if found[widest] == least[widest]:
            return None
        found[widest] -= 1
    return found


def _wrapped(cells: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    parts = [_folded(cell, width) if len(cell) > width else [cell] for cell, width in zip(cells, widths, strict=True)]
    for at in range(max(map(len, parts))):
        yield _line([part[at] if at < len(part) else "" for part in parts], widths)


def _folded(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False) or [""]


def _block(columns: Sequence[str], row: Sequence[str], width: int) -> Iterator[str]:
    """A row below its first cell: name and value of each other cell, none of them apart."""
    first, *others = row
    yield from _folded(first, width)
    line = ""
    for name, cell in zip(columns[1:], others, strict=True):
        if not cell:
            continue
        part = f"{name} {cell}"
        if line and len(line) + len(GAP) + len(part) > width:
            yield line
            line = ""
        if len(part) + 2 > width:
            yield from (f"  {one}" for one in _folded(part, width - 2))
        else:
            line = f"{line}{GAP}{part}" if line else f"  {part}"
    if line:
        yield line
