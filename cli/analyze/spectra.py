"""How `cvbench analyze spectra` shows its results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cvbench.cli import options as shared
from cvbench.cli.say import say

if TYPE_CHECKING:
    from cvbench.jobs.results.keep import Analysed


def document(found: Sequence[Analysed]) -> dict[str, Any]:
    """The JSON form."""
    from cvbench.jobs.analyses.spectra import spectra_json

    return spectra_json(found[0].result, found[0].selected.dataset)


def records(found: Sequence[Analysed]) -> list[dict[str, Any]]:
    """The rows of the CSV."""
    from cvbench.jobs.analyses.spectra import spectra_rows

    return list(spectra_rows(found[0].result))


def table(found: Sequence[Analysed]) -> None:
    """Print the numbers, and what is to be said of them."""
    from cvbench.jobs.analyses.spectra import spectra_json
    from cvbench.jobs.results.words import cell, classes_said, difference, interval

    (analysed,) = found
    selected = analysed.selected
    report = spectra_json(analysed.result, selected.dataset)
    rows = []
    for layer in report["layers"]:
        measures = {measure["name"]: measure for measure in layer["measures"]}
        high = measures["share_above_0.5"]
        top = {key: values[-1] for key, values in layer["profile"].items()}
        cells = [cell(high), shared.number(high["white_noise"])]
        cells += [interval(high["class_low"], high["class_high"]) or "-"] if report["classes"] else []
        cells += [cell(found) for found in (measures["centroid"], measures["dc_share"], top)]
        names = [layer["backbone"], layer["tap"], "x".join(map(str, layer["grid"]))]
        rows.append([*names, *cells, str(measures["dc_share"]["n_undefined"])])
    columns = ["share above 0.5 pi", "of noise", *(["over classes"] if report["classes"] else [])]
    columns += ["centroid (pi)", "DC share", f"log amplitude at {report['frequency'][-1]:.3f} pi", "undefined"]
    shared.echo_table(["backbone", "tap", "grid", *columns], rows)
    say(f"{selected.dataset}/{selected.split}: {len(rows)} layers, {report['samples']} images")
    say(f"[]: {report['confidence']:.0%} interval over images{classes_said(report['classes'])}")
    say(f"log amplitude is relative to DC (nat); white noise is at +{report['null_level']:.3f}, not at 0")
    for row in report["differences"]:
        if row["measure"] in ("share_above_0.5", "dc_share") and row["value"] is not None:
            pair = f"{row['backbone_a']} {row['tap_a']} less {row['backbone_b']} {row['tap_b']}"
            say(f"{pair}: {row['measure'].replace('_', ' ')} {difference(row)}")
    if report["differences"]:
        say(report["family"])
    for note in report["notes"]:
        say(f"note: {note}")
    say(f"result: {analysed.path} in the store")
