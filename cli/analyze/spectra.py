"""`cvbench analyze spectra`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cvbench.cli import options as shared
from cvbench.cli.say import say

if TYPE_CHECKING:
    from cvbench.jobs.results.keep import Analysed


def spectra(
    store: shared.Store = shared.DEFAULT_STORE,
    dataset: shared.OneDataset = None,
    split: shared.Split = None,
    backbone: shared.Backbones = [],
    taps: shared.Layers = [],
    resamples: shared.Resamples = 2000,
    seed: shared.Seed = 0,
    out: shared.Out = None,
    address: shared.Address = "local",
    device: shared.Device = "auto",
    gpus: shared.Gpus = None,
    threads: shared.Threads = None,
    output: shared.Format = "table",
) -> None:
    """Fourier spectra of the stored maps of every layer of every backbone, with 95 % intervals over images."""
    from cvbench.cli.display import progress
    from cvbench.jobs.analyses.measure import analysis_device
    from cvbench.jobs.analyses.spectra import VIEW
    from cvbench.jobs.analyses.spectra import spectra as run
    from cvbench.jobs.reading.selection import Selection

    shared.check_format(output, ("table", "json", "csv"))
    selection = Selection(store, dataset, split, tuple(backbone), VIEW, tuple(taps))
    cluster = shared.cluster(address, analysis_device(device, address), gpus, threads)
    with progress() as listen:
        analysed = run(selection, shared.intervals(resamples, seed), cluster, listen)
    _show_spectra(analysed, output)
    if out is not None:
        from pathlib import Path

        from cvbench.jobs.analyses.spectra import draw_spectra

        name = f"spectra-{analysed.selected.dataset}-{analysed.selected.split}"
        for path in draw_spectra(analysed.result, Path(out) / name):
            say(f"figure: {path}", err=True)


def _show_spectra(analysed: Analysed, output: str) -> None:
    from cvbench.jobs.analyses.spectra import spectra_json, spectra_rows
    from cvbench.jobs.results.words import cell, classes_said, difference, interval

    result, selected = analysed.result, analysed.selected
    report = spectra_json(result, selected.dataset)
    if output == "json":
        shared.echo_json({"schema_version": 1, **report})
        return
    if output == "csv":
        shared.echo_csv(list(spectra_rows(result)))
        return
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
