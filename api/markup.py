"""HTML that a notebook shows: tables and lines, everything escaped, readable on light and dark alike."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from cvbench.texts import printable

_CELL = "padding:2px 10px 2px 0;vertical-align:top;border-bottom:1px solid rgba(128,128,128,.3)"
_LEFT, _RIGHT = f"text-align:left;{_CELL}", f"text-align:right;{_CELL};font-variant-numeric:tabular-nums"
SHOWN = 20
"""Rows of a table."""


def escaped(text: object) -> str:
    """Text as HTML shows it: no markup, no control characters."""
    return html.escape(printable(str(text), keep="\n"))


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, numbers: Iterable[str] = ()) -> str:
    """A table of the first rows; columns that are empty everywhere are left out.

    Args:
        columns: Headings.
        rows: Cells as text.
        numbers: Columns that stand right.
    """
    every = [[str(cell) for cell in row] for row in rows]
    shown = every[:SHOWN]
    used = [at for at in range(len(columns)) if any(row[at] for row in shown)] or list(range(len(columns)))
    right = {columns.index(name) for name in numbers if name in columns}
    style = {at: _RIGHT if at in right else _LEFT for at in used}
    head = "".join(f'<th scope="col" style="{style[at]}">{escaped(columns[at])}</th>' for at in used)
    body = "".join(
        "<tr>" + "".join(f'<td style="{style[at]}">{escaped(row[at])}</td>' for at in used) + "</tr>" for row in shown
    )
    more = line(f"and {len(every) - SHOWN:,} more rows") if len(every) > SHOWN else ""
    return f'<table style="border-collapse:collapse"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}'


def line(text: object) -> str:
    """A paragraph."""
    return f'<p style="margin:4px 0">{escaped(text)}</p>'


def code(text: object) -> str:
    """A command, to copy."""
    return f'<pre style="white-space:pre-wrap;margin:4px 0"><code>{escaped(text)}</code></pre>'


def box(title: object, *parts: str) -> str:
    """A whole: its title, and the parts below it, which are HTML."""
    return f"<div><p style='margin:4px 0'><strong>{escaped(title)}</strong></p>{''.join(parts)}</div>"
