"""`cvbench transfer probe`: linear probes on stored features, fitted on one split and tested on another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Layer, Result
from cvbench.engine.probe.linear import Schedule
from cvbench.engine.probe.recipes import Part, ProbeOptions, ProbeRun
from cvbench.engine.probe.recipes import probe as fit
from cvbench.engine.probe.result import NUMBERS, Targets, probe_result
from cvbench.errors import DataUnavailableError, IntegrityError, UnknownNameError, UsageError
from cvbench.jobs.analyze import Analysed, Selected, Selection, features_identity, keep, select
from cvbench.jobs.matrix import Matrices
from cvbench.jobs.progress import Advanced, Ended, Listener, Note, Started, silent
from cvbench.jobs.request import absolute
from cvbench.jobs.section import Section, TidyRow
from cvbench.jobs.sections import bootstrap_options, selection_options, tidy_row
from cvbench.storage.datasets import READERS
from cvbench.storage.datasets.groups import expand
from cvbench.storage.features import FeatureStore

__all__ = ["SECTION", "ProbeOptions", "ProbeRequest", "named", "probe", "probe_json", "probe_options", "probe_rows"]

JOB = "transfer probe"


def probe_options(
    recipe: str,
    solver: str,
    seeds: int,
    first_seed: int,
    shots: int | None,
    hold_out: float | None,
    schedule: tuple[int, int, float],
) -> ProbeOptions:
    """The options from plain values; `schedule` is epochs, batch and rate."""
    return ProbeOptions(recipe, solver, seeds, first_seed, shots, hold_out, Schedule(*schedule))


@dataclass(frozen=True)
class ProbeRequest:
    """What to probe, and with which samples.

    Attributes:
        datasets: Names as in the store, and groups such as "@transfer".
        backbones, view, taps: As for `Selection`.
        train, val, test: Names of splits. `val` None: "val" if the data set has one, else none.
        resamples, confidence: Of the bootstrap over test samples.
    """

    store: str
    datasets: tuple[str, ...]
    backbones: tuple[str, ...] = ()
    view: str = "head"
    taps: tuple[str, ...] = ()
    train: str = "train"
    val: str | None = None
    test: str = "test"
    resamples: int = 2000
    confidence: float = 0.95


def probe(
    request: ProbeRequest, options: ProbeOptions, device: str = "cpu", listen: Listener = silent
) -> list[Analysed]:
    """Fit and test the probes of every data set; each result is kept in the store, with the test split.

    Memory: the features of one layer, about four times.

    Args:
        request: What to probe.
        options: How.
        device: "cpu" or "cuda", of torch.
        listen: Receives progress.

    Raises:
        DataUnavailableError: A split is not in the store; says which command adds it.
        UsageError: Classes that differ between the splits, samples without a label, or too few.
    """
    url = absolute(request.store)
    reader = FeatureStore.open(url)  # for reading: an analysis never makes a store
    datasets = expand(request.datasets)
    found = [_splits(reader, dataset, replace(request, store=url)) for dataset in datasets]
    store = FeatureStore.open(url, mode="a")
    return [_one(store, splits, request, options, device, listen) for splits in found]


def _splits(store: FeatureStore, dataset: str, request: ProbeRequest) -> dict[str, Matrices]:
    """The matrices of "train", "test" and, where there is one, "val": the same layers of each."""
    wanted = {"train": request.train, "test": request.test}
    val = request.val or _validation(dataset)
    if val is not None:
        wanted["val"] = val
    matrices = {role: Matrices(store, _select(store, dataset, split, request)) for role, split in wanted.items()}
    test = matrices["test"]
    for role, other in matrices.items():
        if other.selected.layers != test.selected.layers:
            mine, its = (", ".join(map(str, m.selected.layers)) for m in (test, other))
            raise UsageError(
                f"{other.where} and {test.where} hold other layers",
                why=f"{test.where}: {mine}; {other.where}: {its}",
                fix="--backbone and --taps that both have, or extract what is missing",
            )
        if other.samples.classes != test.samples.classes:
            raise IntegrityError(f"the classes of {other.where} are not those of {test.where}", where=request.store)
        missing = int((other.samples.labels < 0).sum())
        if missing:
            raise UsageError(f"{missing} samples of {other.where} have no label", where=f"the {role} split")
    return matrices


def _validation(dataset: str) -> str | None:
    reader = READERS.get(dataset)
    return "val" if reader is not None and "val" in reader.info.splits else None


def _select(store: FeatureStore, dataset: str, split: str, request: ProbeRequest) -> Selected:
    selection = Selection(request.store, dataset, split, request.backbones, request.view, request.taps)
    held = {name for its, name in store.splits() if its == dataset}
    try:
        if split in held:
            return select(store, selection)
    except (DataUnavailableError, UnknownNameError) as error:
        if "backbone" in error.what or "tap" in error.what:
            raise
    backbones = "".join(f" --backbone {name}" for name in request.backbones)
    raise DataUnavailableError(
        f"the store holds no {request.view} features of {dataset}/{split}",
        where=request.store,
        why=f"of {dataset} it holds {', '.join(sorted(held)) or 'nothing'}; a probe trains on one and tests on another",
        fix=f"cvbench extract --dataset {dataset} --split {split} --view {request.view}{backbones} "
        f"--store {request.store}; other splits: --train-split, --val-split, --test-split",
    )


def _one(
    store: FeatureStore,
    splits: dict[str, Matrices],
    request: ProbeRequest,
    options: ProbeOptions,
    device: str,
    listen: Listener,
) -> Analysed:
    test = splits["test"]
    layers, samples = test.selected.layers, test.samples
    runs: list[list[ProbeRun]] = []
    listen(Started(JOB, test.where, len(layers), len(layers), 0))
    for matrices in splits.values():
        for note in matrices.notes:
            listen(Note(note))
    for index, layer in enumerate(layers):
        parts = {role: Part(_read(matrices, layer), matrices.samples.labels) for role, matrices in splits.items()}
        runs.append(fit(parts["train"], parts.get("val"), parts["test"], len(samples.classes), options, device))
        listen(Advanced(JOB, index, 1))
    listen(Ended(JOB))
    names = {role: matrices.selected.split for role, matrices in splits.items()}
    attrs = {
        "recipe": options.recipe,
        "options": options.as_dict(),
        "train_split": names["train"],
        "val_split": names.get("val", ""),
        "val_asked": request.val or "",
        "variant": variant(options, names),
        "failed": sum(len(sample.bad) for sample in _commits(test)),
    }
    tested = Targets(samples.positions, samples.labels, samples.classes)
    result = probe_result(
        layers,
        runs,
        tested,
        attrs,
        resamples=request.resamples,
        confidence=request.confidence,
        seed=options.first_seed,
    )
    identity = {
        "options": options.as_dict(),
        "device": device,
        "bootstrap": [request.resamples, request.confidence],
        "splits": {
            role: {
                **features_identity(store, matrices.selected),
                "units": [(unit.start, unit.stop) for unit in matrices.selected.units],
            }
            for role, matrices in splits.items()
        },
    }
    result = replace(result, attrs={**result.attrs, "device": device})
    return Analysed(result, test.selected, keep(store, test.selected, result, identity), 0)


def _commits(matrices: Matrices) -> list[Any]:
    layer = next(iter(matrices.features.values()))
    return [layer.commit(unit) for unit in matrices.selected.units]


def _read(matrices: Matrices, layer: Layer) -> NDArray[np.float32]:
    values = np.asarray(matrices.read(layer), dtype=np.float32)
    bad = int((~np.isfinite(values).all(axis=1)).sum())
    if bad:
        raise IntegrityError(
            f"{layer} of {matrices.where} holds values that are not finite, in {bad} of {len(values)} samples",
            fix="extract this layer again with --precision fp32 or bf16",
        )
    return values


def variant(options: ProbeOptions, splits: dict[str, str]) -> str:
    """The recipe with everything a reader needs to tell it from another, as one line."""
    parts = [options.recipe]
    if options.recipe == "clip_lbfgs":
        parts.append(f"solver {options.solver}")
    else:
        schedule = options.schedule
        parts.append(f"{schedule.epochs} epochs, batch {schedule.batch}, rate {schedule.rate:g}")
    if "val" in splits:
        chosen = f"penalty chosen on {splits['val']}"
    elif options.held_out > 0:
        chosen = f"penalty chosen on {options.held_out:.0%} of {splits['train']}, held out"
    else:
        chosen = "penalty fixed, no validation"
    fitted = splits["train"] if "val" not in splits or options.shots else f"{splits['train']} + {splits['val']}"
    parts += [chosen, f"fitted on {fitted}, tested on {splits['test']}"]
    if options.shots:
        parts.append(f"{options.shots} samples per class")
    return "; ".join(parts)


LABELS = {"top1": "top-1", "top5": "top-5", "mean_per_class": "mean per class"}


def probe_rows(result: Result) -> Iterator[dict[str, Any]]:
    """One flat row per layer: names, each number with its interval and the spread of the seeds, the penalties."""
    for i, layer in enumerate(result.attrs["layers"]):
        row: dict[str, Any] = {"backbone": layer["backbone"], "tap": layer["tap"], "recipe": result.attrs["recipe"]}
        for name in NUMBERS:
            for end in ("", "_low", "_high"):
                row[f"{name}{end}"] = _plain(result.data[f"{name}{end}"][1][i])
            row[f"{name}_seed_std"] = _spread(result.data[f"seed_{name}"][1][i])
        row["penalty"] = " ".join(f"{value:.3g}" for value in result.data["penalty"][1][i])
        row["seeds"] = len(result.coords["seed"])
        row["samples"] = result.attrs["samples"]
        yield {**row, "variant": result.attrs["variant"]}


def probe_json(outcomes: Sequence[Analysed]) -> dict[str, Any]:
    """The JSON form of `cvbench transfer probe --format json`; undefined numbers are null."""
    results = []
    for outcome in outcomes:
        result = outcome.result
        recall = [result.data[f"recall{end}"][1] for end in ("", "_low", "_high")]
        for i, row in enumerate(probe_rows(result)):
            classes = [
                {"class": name, "samples": int(n), **dict(zip(("recall", "low", "high"), values, strict=True))}
                for name, n, *values in zip(
                    result.coords["class"],
                    result.data["members"][1],
                    *(part[i].tolist() for part in recall),
                    strict=True,
                )
            ]
            tried = result.attrs["tried"][i]
            seeds = {name: result.data[f"seed_{name}"][1][i].tolist() for name in NUMBERS}
            names = {
                "dataset": outcome.selected.dataset,
                "split": outcome.selected.split,
                "view": outcome.selected.view,
            }
            results.append({**names, **row, "per_seed": seeds, "tried": tried, "per_class": classes})
    attrs = outcomes[0].result.attrs
    keys = ("options", "resamples", "confidence", "interval")
    notes = [f"{outcome.selected.dataset}: {note}" for outcome in outcomes for note in outcome.result.attrs["notes"]]
    return {"results": results, **{key: attrs[key] for key in keys}, "notes": notes}


def named(outcome: Analysed) -> Result:
    """The result with the names of its data set, as one that is read back has them."""
    selected = outcome.selected
    place = {"dataset": selected.dataset, "split": selected.split, "view": selected.view, "run": outcome.path}
    return replace(outcome.result, attrs={**outcome.result.attrs, **place})


def _plain(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _spread(values: NDArray[np.float64]) -> float | None:
    return _plain(values.std(ddof=1)) if len(values) > 1 else None


def tidy_rows(result: Result) -> Iterator[TidyRow]:
    """Every layer's numbers, then the recall of every class."""
    yield from headline_rows(result)
    attrs = result.attrs
    for i, layer in enumerate(attrs["layers"]):
        for c, name in enumerate(result.coords["class"]):
            found = tuple(result.data[f"recall{end}"][1][i, c] for end in ("", "_low", "_high"))
            n = int(result.data["members"][1][c])
            factor = f"{layer['tap']}, {attrs['recipe']}: {name}"
            yield tidy_row(result, layer["backbone"], "linear probe, recall of a class", factor, found, n)


def headline_rows(result: Result) -> Iterator[TidyRow]:
    """Top-1, top-5 and mean per class of every layer."""
    attrs = result.attrs
    for i, layer in enumerate(attrs["layers"]):
        for name, label in LABELS.items():
            found = tuple(result.data[f"{name}{end}"][1][i] for end in ("", "_low", "_high"))
            factor = f"{layer['tap']}, {attrs['variant']}"
            metric = f"linear probe, {label}"
            yield tidy_row(result, layer["backbone"], metric, factor, found, attrs["samples"], attrs["failed"])


def _command(result: Result) -> list[str]:
    attrs = result.attrs
    options = attrs["options"]
    words = selection_options(result)
    at = words.index("--split")
    words[at] = "--test-split"
    words += ["--view", attrs["view"], "--train-split", attrs["train_split"]]
    words += ["--val-split", attrs["val_asked"]] if attrs["val_asked"] else []
    words += ["--recipe", options["recipe"], "--seeds", str(options["seeds"])]
    words += ["--solver", options["solver"]] if options["solver"] != "lbfgs" else []
    words += ["--shots", str(options["shots"])] if options["shots"] is not None else []
    words += ["--hold-out", str(options["hold_out"])] if options["hold_out"] is not None else []
    schedule = options["schedule"]
    for key, flag, default in (("epochs", "--epochs", 10), ("batch", "--batch-size", 64), ("rate", "--lr", 0.1)):
        words += [flag, str(schedule[key])] if schedule[key] != default else []
    return ["transfer", "probe", *words, *bootstrap_options(result)]


def _figure(result: Result, stem: Path, formats: Sequence[str]) -> list[Path]:
    from cvbench.jobs.figures.probe import probe_figure

    return probe_figure([result], stem, formats)


def _overview(results: Sequence[Result], stem: Path, formats: Sequence[str]) -> list[Path]:
    """All data sets in one figure; nothing if there is one."""
    from cvbench.jobs.figures.probe import probe_figure

    places = {result.attrs["dataset"] for result in results}
    return probe_figure(results, stem, formats) if len(places) > 1 else []


SECTION = Section(
    analysis="probe",
    title="Transfer: linear probe",
    about=(
        "How well a linear classifier on the frozen features tells the classes of a data set apart: the features stay, "
        "only the classifier is fitted, on the training split, with its penalty chosen on validation samples, and is "
        "tested once. Shown are top-1 and the mean of the classes' recalls, over the seeds; intervals are a bootstrap "
        "over the test samples, given the fitted probes. The recipe, the splits and the solver stand with each number: "
        "compare only what has the same. Sources: Radford et al. 2021 (clip_lbfgs), CLIP_benchmark (clip_benchmark)."
    ),
    rows=tidy_rows,
    options=_command,
    figure=_figure,
    headline=headline_rows,
    overview=_overview,
)
