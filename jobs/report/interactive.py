"""The interactive figures of a page: their data as JSON that no markup can end, the library, and the policy.

The library (Vega, Vega-Lite) is put into the page once, as vl-convert-python carries it. Its expressions are read by
the interpreter that it contains, so that no text becomes code: the policy allows two scripts by their digests, and
neither `eval` nor anything from another place.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from typing import Any

from cvbench.jobs.figures.charts.base import Samples, Twin
from cvbench.jobs.report.collect import Item, drawing
from cvbench.jobs.report.thumbnails import Sheet, sheet_of
from cvbench.storage.features import FeatureStore

MOST_BYTES = 3_000_000
"""Of the data of all interactive figures of a page."""


@dataclass(frozen=True)
class Live:
    """The interactive form of a figure in the page.

    Attributes:
        id: Of its data; "" where it is left out.
        data: JSON.
        about: How to read it, or why it is left out.
        sheet: The id of the sheet that has its images; "" if it shows none.
    """

    id: str
    data: str
    about: str
    sheet: str = ""


@dataclass(frozen=True)
class Interactive:
    """All of a page; `figures`: by the name of an item, and by analysis for several; `sheets`: id and JSON of each;
    `joint`: the names of the items that their analysis shows together, and which have none of their own.
    """

    figures: Mapping[str, Live]
    sheets: Sequence[tuple[str, str]]
    joint: frozenset[str] = frozenset()


NOTHING = Interactive({}, ())


def interactive_forms(items: Sequence[Item], store: FeatureStore, data_root: str | None = None) -> Interactive:
    """Make the interactive figures of items, in the order of the page, as far as `MOST_BYTES` has room for them.

    Args:
        items: As collected.
        store: Which they are of: says whose images points are.
        data_root: Folder with data sets, for small pictures of images.
    """
    figures: dict[str, Live] = {}
    sheets: dict[tuple[str, str], tuple[str, Sheet | None, str]] = {}
    room = MOST_BYTES
    joint: set[str] = set()
    for number, (name, twin, together) in enumerate(_twins(items)):
        if name in joint:
            continue
        data = script_json(twin.as_dict())
        if len(data) > room:
            about = f"Its interactive form ({len(data) / 1e6:.1f} MB) is left out: the page would be too large."
            figures[name] = Live("", "", about)
            continue
        room -= len(data)
        live = Live(f"twin-{number}", data, twin.about)
        if twin.samples is not None:
            sheet, found, why = _sheet(twin.samples, sheets, store, data_root)
            about = " ".join(filter(None, (twin.about, f"{why[:1].upper()}{why[1:]}." if why else "")))
            live = replace(live, about=about, sheet=sheet if found is not None else "")
        figures[name] = live
        joint |= set(together)
    kept = [(sheet, script_json(found.as_dict())) for sheet, found, _ in sheets.values() if found is not None]
    return Interactive(figures, kept, frozenset(joint))


def _sheet(
    samples: Samples,
    sheets: dict[tuple[str, str], tuple[str, Sheet | None, str]],
    store: FeatureStore,
    data_root: str | None,
) -> tuple[str, Sheet | None, str]:
    """The sheet of a split: id, pictures, and what is to be said of it; made once."""
    place = samples.dataset, samples.split
    if place not in sheets:
        found, why = sheet_of(store, *place, samples.rows, data_root) if place in store.splits() else (None, "")
        sheets[place] = f"sheet-{len(sheets)}", found, why
    return sheets[place]


def _twins(items: Sequence[Item]) -> Iterable[tuple[str, Twin, Sequence[str]]]:
    """Name, interactive form and the names of the results that it shows together: of several, then of each.

    Altair checks each chart when it is whole, not every part of it as it is put together.
    """
    from altair.utils.schemapi import debug_mode

    for analysis in dict.fromkeys(item.key.analysis for item in items):
        mine = [item for item in items if item.key.analysis == analysis and item.entry is not None]
        entry = mine[0].entry if mine else None
        if entry is None:
            continue
        if entry.charts is not None and entry.charted is not None:
            results = entry.charted([item.result for item in mine])
            with debug_mode(False):
                twin = entry.charts(results, ()) if len(results) > 1 else None
            if isinstance(twin, Twin):
                shown = set(map(id, results))
                yield analysis, twin, [item.name for item in mine if id(item.result) in shown]
        for item in mine:
            with drawing(item), debug_mode(False):
                one = None if entry.chart is None else entry.chart(item.result, item.rows)
            if isinstance(one, Twin):
                yield item.name, one, ()


def script_json(value: Any) -> str:
    """JSON for a data block in HTML: no `<` ends the block or opens a comment, in whatever a name holds."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)  # ASCII, so no separator of lines either
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


@functools.cache
def library() -> str:
    """The JavaScript of Vega, Vega-Lite and vega-embed, as `window.vegaEmbed`; about 0.9 MB."""
    import vl_convert

    return str(vl_convert.javascript_bundle("window.vegaEmbed=vegaEmbed;"))


@functools.cache
def script() -> str:
    """The page's own script."""
    return resources.files("cvbench.jobs.report").joinpath("page.js").read_text(encoding="utf-8")


def digest(text: str) -> str:
    """The digest by which a policy names a text."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def policy(style: str, scripts: Sequence[str]) -> str:
    """The policy of a page with one style and these scripts: nothing else runs, nothing is fetched or sent."""
    allowed = f"; script-src {' '.join(map(digest, scripts))}" if scripts else ""
    nothing = "base-uri 'none'; form-action 'none'"
    return f"default-src 'none'; img-src data:; style-src {digest(style)}{allowed}; {nothing}"
