"""HTML that a notebook shows: tables and lines, everything escaped.

It has no colours of its own, so that it can be read on light and dark alike.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from cvbench.texts import printable

_STYLE = (
    ".cvbench table{border-collapse:collapse}"
    ".cvbench :is(th,td){text-align:left;vertical-align:top;padding:2px 12px 2px 0;"
    "border-bottom:1px solid rgba(128,128,128,.35)}"
    ".cvbench .n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}"
    ".cvbench p{margin:4px 0}"
    ".cvbench pre{white-space:pre-wrap;margin:4px 0}"
)
SHOWN = 20
"""Rows of a table."""


def escaped(text: object) -> str:
    """Text as HTML shows it: no markup, no control characters."""
    return html.escape(printable(str(text), keep="\n"))


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, numbers: Iterable[str] = ()) -> str:
    """A table of the first rows; columns that are empty everywhere are left out.

    Args:
        columns: Headings.
        rows: Cells, shown as text.
        numbers: Columns that stand right.
    """
    every = [[str(cell) for cell in row] for row in rows]
    shown = every[:SHOWN]
    used = [at for at in range(len(columns)) if any(row[at] for row in shown)] or list(range(len(columns)))
    right = {*numbers}
    mark = {at: ' class="n"' if columns[at] in right else "" for at in used}
    head = "".join(f'<th scope="col"{mark[at]}>{escaped(columns[at])}</th>' for at in used)
    body = "".join(f"<tr>{''.join(f'<td{mark[at]}>{escaped(row[at])}</td>' for at in used)}</tr>" for row in shown)
    more = line(f"and {len(every) - SHOWN:,} more rows") if len(every) > SHOWN else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"


def line(text: object) -> str:
    """A paragraph."""
    return f"<p>{escaped(text)}</p>"


def code(text: object) -> str:
    """A command, to copy."""
    return f"<pre><code>{escaped(text)}</code></pre>"


def box(title: object, *parts: str) -> str:
    """A whole: its title, and the parts below it, which are HTML."""
    heading = f"<p><strong>{escaped(title)}</strong></p>" if title else ""
    return f'<div class="cvbench"><style>{_STYLE}</style>{heading}{"".join(parts)}</div>'
