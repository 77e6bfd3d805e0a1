"""How `cvbench analyze cka` shows its results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cvbench.cli import options as shared
from cvbench.cli.say import say

if TYPE_CHECKING:
    from cvbench.jobs.results.keep import Analysed


def document(found: Sequence[Analysed]) -> dict[str, Any]:
    """The JSON form."""
    from cvbench.jobs.analyses.cka import cka_json

    return cka_json(found[0].result, found[0].selected.dataset)


def records(found: Sequence[Analysed]) -> list[dict[str, Any]]:
    """The rows of the CSV."""
    from cvbench.jobs.analyses.cka import cka_rows

    return list(cka_rows(found[0].result))


def table(found: Sequence[Analysed]) -> None:
    """Print the numbers, and what is to be said of them."""
    from cvbench.jobs.analyses.cka_view import QUESTIONS
    from cvbench.jobs.reading.views import view_words
    from cvbench.jobs.results.words import verdict_of

    (analysed,) = found
    attrs = analysed.result.attrs
    rows = [
        [
            entry["name"] + (verdict_of(entry).mark if "resolved" in entry else ""),
            *(shared.number(entry[key]) for key in ("value", "low", "high")),
        ]
        for entry in attrs["summary"]
    ]
    selected = analysed.selected
    shared.echo_table([f"linear CKA, {view_words(attrs)} (view {selected.view})", "value", "low", "high"], rows)
    say(
        f"{selected.dataset}/{selected.split}, view {selected.view}: {len(attrs['layers'])} layers, "
        f"{attrs['samples']} samples in {attrs['batches']} batches of {attrs['batch_size']}, {attrs['estimator']}"
    )
    unreadable = selected.samples - attrs["samples"] - attrs["dropped"]
    if unreadable:
        say(f"note: {unreadable} unreadable samples are left out")
    for entry in attrs["undefined"]:
        say(f"undefined: {entry['backbone']}/{entry['tap']}: {entry['reason']}")
    for note in attrs["notes"]:
        say(f"note: {note}")
    if any("resolved" in entry for entry in attrs["summary"]):
        say(attrs.get("family", ""))
    say(f"note: {QUESTIONS}")
    say(f"result: {analysed.path} in the store")
