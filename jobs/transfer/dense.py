"""`cvbench transfer dense`: a linear classifier of the positions of stored maps, tested against the masks of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Layer, Result
from cvbench.engine.probe.options import ProbeOptions
from cvbench.engine.probe.overlap import INTERVAL, image_counts, overlap_estimates
from cvbench.engine.probe.parts import Part, stratified
from cvbench.engine.statistics.verdict import FAMILY
from cvbench.errors import UsageError
from cvbench.jobs.figures.charts.dense import dense_chart
from cvbench.jobs.figures.dense import dense_figure
from cvbench.jobs.reading.images import stored_key
from cvbench.jobs.reading.options import Selection
from cvbench.jobs.reading.pictures import inputs_of
from cvbench.jobs.reading.reading import Reading, last_layers, open_store
from cvbench.jobs.results.command import command_words, interval_options, selection_of
from cvbench.jobs.results.entry import Entry
from cvbench.jobs.results.keep import Analysed, keep
from cvbench.jobs.results.question import Question
from cvbench.jobs.results.table import Table, table_result, table_rows
from cvbench.jobs.running.device import choose
from cvbench.jobs.running.hardware import Hardware
from cvbench.jobs.running.progress import Advanced, Ended, Listener, Started, silent
from cvbench.jobs.transfer.dense_maps import LabelledMaps, Way, open_masked
from cvbench.jobs.transfer.dense_options import DENSE, DenseOptions, DenseRequest
from cvbench.jobs.transfer.dense_rows import BACKGROUND, NAMES, Tested, add_rows, compared_pairs, headline, told
from cvbench.jobs.transfer.probe_splits import check_same, read_split, training_split
from cvbench.storage.datasets import Dataset
from cvbench.storage.datasets.groups import expand
from cvbench.storage.features import FeatureStore

if TYPE_CHECKING:
    from cvbench.engine.probe.dense import DenseFit

__all__ = ["ENTRY", "DenseOptions", "DenseRequest", "dense"]

I64 = NDArray[np.int64]

NAME, JOB, VIEW = "dense", "transfer dense", "maps"
WANTS = "a class for each position"
FIRST = 4
"""Samples that are drawn if none is named."""


def dense(
    request: DenseRequest, options: DenseOptions, device: str = "cpu", listen: Listener = silent
) -> list[Analysed]:
    """Fit and test the probes of every data set; each result is kept in the store, with the test split.

    Memory: at most `options.positions` of one layer, about five times, whatever the number of samples; a unit of maps;
    a bit for each cell of each image; and 48 bytes for each class of each test image.

    Args:
        request: What to probe.
        options: How.
        device: "cpu" or "cuda", of torch.
        listen: Receives progress.

    Raises:
        DataUnavailableError: A split or its maps are not in the store (says which command adds them), the images are
            not there, or have no masks (says which data sets have).
        UsageError: Layers or classes that differ between the splits, a sample without a label, a layer without spatial
            extent that is named, or positions of one class only.
        UnknownNameError: A backbone, a layer or a sample that does not exist.
    """
    store = open_store(request.store)
    found = [_open(store, dataset, request, options) for dataset in expand(request.datasets)]
    return [_one(splits, request, options, device, listen) for splits in found]


@dataclass(frozen=True, eq=False)
class _Splits:
    """The labelled maps of one data set, by role: "train", "test" and perhaps "val"; and what draws the test's images.

    Attributes:
        drawn: (m,) int64 store positions of the test samples to draw.
    """

    roles: Mapping[str, LabelledMaps]
    images: Dataset
    drawn: I64

    @property
    def test(self) -> LabelledMaps:
        return self.roles["test"]


def _open(store: FeatureStore, dataset: str, request: DenseRequest, options: DenseOptions) -> _Splits:
    key = stored_key(store, dataset, {name for name, _ in store.splits()})
    train, _ = training_split(store, key, request.train)
    wanted = {"train": train, "test": request.test} | ({} if request.val is None else {"val": request.val})
    if request.test in (train, request.val):
        raise UsageError(f"{key}/{request.test} is both fitted on and tested on", fix="another split with --test-split")
    readings = {
        role: read_split(store, Selection(request.store, key, split, request.backbones, VIEW, request.taps)).with_grids(
            WANTS, request.taps
        )
        for role, split in wanted.items()
    }
    for role, reading in readings.items():
        check_same(role, reading, readings["test"])
    named = readings["test"].find(request.images)
    opened = {role: open_masked(reading, request.source, request.data_root) for role, reading in readings.items()}
    limits: dict[str, Any] = {role: {"most": options.positions} for role in readings}
    limits["test"] = {"resolution": options.resolution}
    roles = {role: LabelledMaps.read(reading, opened[role], **limits[role]) for role, reading in readings.items()}
    for role, its in roles.items():
        if not len(its):
            raise UsageError(f"no sample of {its.reading.where} has a mask", where=f"the {role} split")
    if len(lacking := np.setdiff1d(named, roles["test"].rows)):
        name = readings["test"].info.ids[lacking[0]]
        raise UsageError(f"sample {str(name)!r} has no mask, and cannot be drawn", where="--image")
    return _Splits(roles, opened["test"], named if len(named) else roles["test"].rows[:FIRST])


def _one(splits: _Splits, request: DenseRequest, options: DenseOptions, device: str, listen: Listener) -> Analysed:
    from cvbench.engine.probe.dense import RECIPE

    test, reading = splits.test, splits.test.reading
    layers = reading.selected.layers
    listen(Started(JOB, reading.where, len(layers), len(layers), 0))
    notes = [*reading.selected.notes, *_notes(splits)]
    pairs = compared_pairs(layers, [test.way(layer)[1] for layer in layers])
    tested, fits = [], []
    drawn: dict[int, I64] = {}
    shown, references = last_layers(layers), _References(test, options.resolution)
    for index, layer in enumerate(layers):
        probe, positions = _fit(splits.roles, layer, options, device)
        counts, examples = _test(test, layer, probe, options.resolution, splits.drawn)
        estimates = overlap_estimates(counts, options.intervals)
        kept = counts if any(index in pair for pair in pairs) else counts[:0]
        tested.append(Tested(layer, test.way(layer)[1], estimates, kept, *references.of(layer)))
        fits.append(_described(layer, tested[-1].grid, probe, positions))
        if layer in shown:
            drawn[index] = examples
        if not probe.converged:
            notes.append(f"{layer}: the final fit stopped before its tolerance (rounding, or the limit of iterations)")
        listen(Advanced(JOB, index, 1))
    listen(Ended(JOB))
    failed = reading.selected.samples - len(test)
    table = Table(reading.selected.dataset, reading.selected.split, failed)
    add_rows(table, tested, pairs, _names(reading), variant(splits, request, options), options.intervals)
    attrs = {
        "layers": fits,
        "samples": len(test),
        "recipe": RECIPE,
        "train_split": splits.roles["train"].reading.selected.split,
        "val_asked": request.val or "",
        "images_named": bool(request.images),
        "source": request.source,
        "device": device,
        "interval": INTERVAL,
        "family": FAMILY,
        "notes": notes,
        **{key: value for key, value in asdict(options).items() if key != "intervals"},
        **asdict(options.intervals),
    }
    result = table_result(NAME, table.rows, attrs)
    _add_pictures(result, splits, drawn, options.resolution)
    asked = [asdict(options), device, result.coords["image"], request.source]
    identity = {"dense": 1, "asked": asked, "splits": {role: _identity(its) for role, its in splits.roles.items()}}
    return Analysed(result, reading.selected, keep(reading, result, identity), 0)


def _notes(splits: _Splits) -> list[str]:
    """Notes on the samples that are not used, and on crops that differ."""
    notes = []
    for its in splits.roles.values():
        reading = its.reading
        if reading.selected.samples < reading.info.n:
            covered = f"{reading.selected.samples:,} of the {reading.info.n:,} samples of {reading.where}"
            notes.append(f"maps of {covered} are there, which were drawn at random: the others are not used")
        if its.without:
            notes.append(f"{its.without:,} samples of {reading.where} have no mask and are left out")
    seen = {(g.resize, g.crop, g.size[0] / g.size[1]) for g in splits.test.reading.geometries.values()}
    sizes = {g.size for g in splits.test.reading.geometries.values()}
    if len(seen) > 1 or len(sizes) > 1:
        notes.append(
            "the backbones see other sizes or parts of the images: each is compared with the mask as it sees it"
        )
    return notes


def _fit(roles: Mapping[str, LabelledMaps], layer: Layer, options: DenseOptions, device: str) -> tuple[DenseFit, int]:
    """The probe of one layer, and how many training positions there are."""
    from cvbench.engine.probe.dense import RECIPE, fit_positions

    seed, train = options.intervals.seed, roles["train"]
    given = train.positions(layer, options.positions, seed)
    height, width = train.way(layer)[1]
    val: Part | None = None
    if "val" in roles:
        val = roles["val"].positions(layer, options.positions, seed)
    elif options.hold_out > 0:
        held = np.zeros(len(train), dtype=np.bool_)
        held[stratified(train.labels, options.hold_out, np.random.default_rng(seed))] = True
        of_held = np.repeat(held, len(given) // len(train))
        given, val = given.rows(np.flatnonzero(~of_held)), given.rows(np.flatnonzero(of_held))
    limits = {"tolerance": options.tolerance, "max_iterations": options.max_iterations}
    fitted = fit_positions(given, val if val is not None and len(val) else None, ProbeOptions(RECIPE, **limits), device)  # type: ignore[arg-type]
    return fitted, len(train.reading.rows) * height * width


def _test(test: LabelledMaps, layer: Layer, probe: DenseFit, resolution: int, drawn: I64) -> tuple[I64, I64]:
    """(n, 3 k + 1) the counts of every image, and (m, R, R) the predictions for those drawn."""
    from cvbench.engine.probe.dense import predict_cells

    way, classes = test.way(layer, resolution), len(test.reading.info.classes) + 1
    counts, examples = [], np.zeros((len(drawn), resolution, resolution), dtype=np.int64)
    for part, maps in test.maps(layer):
        predicted = predict_cells(probe, maps, resolution)
        counts.append(image_counts(predicted, test.classes(way, part), classes))
        to, at = np.nonzero(drawn[:, None] == test.rows[part])
        examples[to] = predicted[at]
    return np.concatenate(counts), examples


@dataclass(frozen=True, eq=False)
class _References:
    """The counts that need no features, of all images together, each made once."""

    test: LabelledMaps
    resolution: int
    made: dict[Way, tuple[I64, I64]] = field(default_factory=dict)

    def of(self, layer: Layer) -> tuple[I64, I64]:
        """(3 k + 1,) each: of the labels of the layer's grid, and of the background everywhere."""
        from cvbench.engine.probe.dense import perfect_cells

        test, own = self.test, self.test.way(layer)
        if own not in self.made:
            classes, wide = len(test.reading.info.classes) + 1, test.way(layer, self.resolution)
            perfect, nothing = np.zeros((2, 3 * classes + 1), dtype=np.int64)
            for at in range(0, len(test), _BLOCK):
                part = slice(at, at + _BLOCK)
                true = test.classes(wide, part)
                best = perfect_cells(test.cells(own, part), self.resolution) * (test.labels[part][:, None, None] + 1)
                perfect += image_counts(best, true, classes).sum(axis=0)
                nothing += image_counts(np.zeros_like(true), true, classes).sum(axis=0)
            self.made[own] = perfect, nothing
        return self.made[own]


_BLOCK = 256  # images


def _described(layer: Layer, grid: tuple[int, int], probe: DenseFit, positions: int) -> dict[str, Any]:
    return {
        "backbone": layer.backbone,
        "tap": layer.tap,
        "grid": list(grid),
        "positions": positions,
        "fitted": probe.samples[2],
        "searched": list(probe.samples[:2]),
        "penalty": probe.penalty,
        "tried": [list(pair) for pair in probe.tried],
    }


def _names(reading: Reading) -> list[str]:
    """Names of the classes of positions, the background first."""
    return [BACKGROUND, *reading.info.classes]


def variant(splits: _Splits, request: DenseRequest, options: DenseOptions) -> str:
    """One line with all that a reader needs to tell this probe from another."""
    train = splits.roles["train"].reading.selected.split
    chosen = f"penalty chosen on {options.hold_out:.0%} of its images" if options.hold_out else "penalty fixed"
    fitted = f"fitted on {train}"
    if request.val is not None:
        chosen, fitted = f"penalty chosen on {request.val}", f"{fitted} + {request.val}"
    side = options.resolution
    return f"{fitted}; {chosen}; at {side}x{side} cells"


def _identity(its: LabelledMaps) -> dict[str, Any]:
    selected = its.reading.selected
    units = [(unit.start, unit.stop) for unit in selected.units]
    return {**its.reading.identity, "split": selected.split, "units": units, "masks": its.digest}


def _add_pictures(result: Result, splits: _Splits, drawn: Mapping[int, I64], resolution: int) -> None:
    """Add images, masks and predictions: `predicted_i` of layer number i, (image, row, column) int64 classes.

    Images are there once for each way of preparing them: `picture_k` (image, pixel row, pixel column, rgb) uint8 and
    `true_k` (image, row, column) int64; the attribute `drawn` says which layer goes with which.
    """
    test, reading = splits.test, splits.test.reading
    fitted, layers = reading.geometries, reading.selected.layers
    ways = list(dict.fromkeys(fitted.values()))
    result.coords.update(image=[str(reading.info.ids[row]) for row in splits.drawn], **{"class": _names(reading)})
    named = {str(k): way for k, way in enumerate(ways)}
    for name, pictures in inputs_of(splits.images, reading.info, splits.drawn, named).items():
        height, width = pictures.shape[1:3]
        result.data[f"picture_{name}"] = (("image", f"pixel_row_{height}", f"pixel_column_{width}", "rgb"), pictures)
    at = np.searchsorted(test.rows, splits.drawn)
    for k, geometry in enumerate(ways):
        every = [test.classes((geometry, (resolution, resolution)), slice(i, i + 1))[0] for i in at]
        result.data[f"true_{k}"] = (("image", "cell_row", "cell_column"), np.stack(every))
    result.attrs["drawn"] = []
    for number, predicted in drawn.items():
        result.data[f"predicted_{number}"] = (("image", "cell_row", "cell_column"), predicted)
        picture = ways.index(fitted[layers[number].backbone])
        result.attrs["drawn"].append({"layer": number, "picture": picture})


def _command(result: Result) -> list[str]:
    attrs, layers = result.attrs, selection_of(result)
    request = DenseRequest(
        store=layers.store,
        datasets=(attrs["dataset"],),
        backbones=layers.backbones,
        taps=layers.taps,
        train=attrs["train_split"],
        val=attrs["val_asked"] or None,
        test=attrs["split"],
        images=tuple(result.coords["image"]) if attrs["images_named"] else (),
        source=attrs["source"],
    )
    own = {name: attrs[name] for name in ("resolution", "positions", "hold_out")}
    return command_words("transfer dense", DENSE, request, DenseOptions(**own, intervals=interval_options(result)))


def _run(request: DenseRequest, options: DenseOptions, on: Hardware, listen: Listener) -> Sequence[Analysed]:
    return dense(request, options, choose(on.device, "none").device, listen)


ENTRY = Entry(
    name=NAME,
    title="Transfer: linear probe of positions (segmentation)",
    about=(
        "How well a linear classifier tells from the features of one position whether it is background or an object, "
        "and of which class: one multinomial logistic regression for all positions of a layer, a convolution of "
        "size 1, fitted on training images, with its penalty chosen on images held out, and tested once. The class of "
        "a position is the object's where the mask covers more than half of its cell. Predictions of all layers are "
        "compared with the masks at one resolution, logits interpolated bilinearly; as a coarse grid cannot follow an "
        "outline, there stands beside each number what the labels of the layer's own grid would reach, and what "
        "background everywhere would. IoU is over all images together; intervals are over images, given the fits. "
        "Backbones are compared on the same images, by their last layers and, where these are on different grids, by "
        "the last on the finest grid that both have, and judged together (Holm). Source: Oquab et al. 2023, 7.4."
    ),
    question=Question(NAMES["miou"], "A linear classifier of positions finds objects better in {more} than in {less}"),
    unit="images",
    rows=table_rows,
    command=_command,
    run=_run,
    headline=headline,
    figure=dense_figure,
    chart=dense_chart,
    arrays=("image", "class"),
    said=told,
)
