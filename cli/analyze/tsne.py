"""How `cvbench analyze tsne` shows its results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cvbench.cli import options as shared
from cvbench.cli.say import say

if TYPE_CHECKING:
    from cvbench.jobs.results.keep import Analysed

SHOWN = ("trustworthiness_10", "recall_10", "purity_features_10", "purity_map_10", "silhouette_map")


def document(found: Sequence[Analysed]) -> dict[str, Any]:
    """The JSON form."""
    from cvbench.jobs.analyses.tsne import tsne_json

    (analysed,) = found
    names = {key: getattr(analysed.selected, key) for key in ("dataset", "split", "view")}
    return {**names, **tsne_json(analysed.result), "stored": analysed.path}


def records(found: Sequence[Analysed]) -> list[dict[str, Any]]:
    """The rows of the CSV."""
    from cvbench.jobs.analyses.tsne import measure_rows

    return list(measure_rows(found[0].result))


def table(found: Sequence[Analysed]) -> None:
    """Print the numbers, and what is to be said of them."""
    from cvbench.jobs.analyses.tsne import difference_rows, measure_rows, measure_text
    from cvbench.jobs.results.words import cell, classes_said, difference, interval

    (analysed,) = found
    result = analysed.result
    rows = list(measure_rows(result))
    cells = []
    for row in rows:
        if row["measure"] in SHOWN:
            classes = interval(row["class_low"], row["class_high"]) or "-"
            numbers = [cell(row), classes, shared.number(row["sd_over_runs"]), str(row["n"])]
            cells.append([row["backbone"], row["tap"], row["measure"], *numbers])
    shared.echo_table(["backbone", "tap", "measure", "value", "over classes", "sd of runs", "images"], cells)
    attrs = result.attrs
    say(
        f"{attrs['backend']} {attrs['backend_version']}, perplexity {attrs['perplexity']:g}, "
        f"{attrs['iterations']} iterations, {attrs['repeats']} runs"
    )
    of_classes = any(row["class_low"] is not None for row in rows)
    classes = classes_said(len(attrs["labels"])) if of_classes else ""
    say(f"[]: {attrs['confidence']:.0%} interval over images, given the map{classes}")
    if attrs["chance_purity"] is not None:
        say(f"purity by chance: {attrs['chance_purity']:.4f}; --format csv has all measures")
    for row in difference_rows(result):
        if row["measure"] in SHOWN and row["value"] is not None:
            pair = f"{row['backbone_a']} {row['tap_a']} less {row['backbone_b']} {row['tap_b']}"
            say(f"{pair}: {measure_text(row['measure'])} {difference(row)}")
    if attrs["pairs"]:
        say(attrs["family"])
    for note in attrs["notes"]:
        say(f"note: {note}")
    say(f"result: {analysed.path} in the store")
