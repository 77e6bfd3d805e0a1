"""What a dense probe is asked for: which maps of which samples, and how they are fitted and compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cvbench.engine.statistics.options import USUAL, IntervalOptions
from cvbench.errors import UsageError
from cvbench.jobs.reading.options import DEFAULT_STORE
from cvbench.jobs.running.hardware import Hardware
from cvbench.options import Form, Option

__all__ = ["DENSE", "DenseOptions", "DenseRequest"]


@dataclass(frozen=True)
class DenseRequest:
    """Maps to probe, and the samples by role.

    Attributes:
        datasets: Specs ("scenes:96"), names as in the store, and groups.
        backbones, taps: As for `Selection`.
        train: None: "train", or "trainval" of a data set that has no train.
        val: None: a share of the training images, see `DenseOptions.hold_out`.
        images: Sample ids of the test split.
        source: The data set as `extract` was given it; None if the store's name says it, as "table:FILE" needs.
    """

    store: Annotated[str, Option("Path or URL of the feature store.")]
    datasets: Annotated[tuple[str, ...], Option("Such as scenes: it must have masks. Repeat.", "--dataset", "-d")]
    backbones: Annotated[tuple[str, ...], Option("Backbones; default all. Repeat.", "--backbone", "-m")] = ()
    taps: Annotated[tuple[str, ...], Option("Layers, names or globs; default all. Repeat.")] = ()
    train: Annotated[
        str | None, Option("Split to fit on; default train, else trainval.", "--train-split", settled=True)
    ] = None
    val: Annotated[
        str | None, Option("Split that chooses the penalty; default a share of the images of train.", "--val-split")
    ] = None
    test: Annotated[str, Option("Split to test on, once.", "--test-split")] = "test"
    images: Annotated[
        tuple[str, ...], Option("Test samples to draw, by id; default the first four of the store. Repeat.", "--image")
    ] = ()
    source: Annotated[str | None, Option("Where the images are, for a data set of your own: table:FILE.")] = None
    data_root: Annotated[str | None, Option("Folder that holds the data sets.", variable="CVBENCH_DATA")] = None


@dataclass(frozen=True)
class DenseOptions:
    """Options of a dense probe.

    Attributes:
        resolution: The input is cut into so many cells a side, and predictions and masks are compared there, whatever
            the grid of a layer.
        positions: Of more training positions the same number is drawn of every image, by the seed; of more images than
            these the first in the store's order, which is drawn at random, have one each.
        hold_out: Share of the training images, of each class, that chooses the penalty where no split does, drawn by
            the seed; 0: the penalty is fixed.
        tolerance, max_iterations: As of `ProbeOptions`.
        intervals: How they are made; their seed draws all else too.
    """

    resolution: Annotated[
        int, Option("Cells a side at which predictions are compared with the masks.", least=2, most=1024)
    ] = 64
    positions: Annotated[
        int, Option("Training positions at most: of more, as many of each image, drawn by the seed.", least=100)
    ] = 65_536
    hold_out: Annotated[float, Option("Share of the training images that chooses the penalty, if no split does.")] = 0.1
    tolerance: float = 1e-4
    max_iterations: int = 1000
    intervals: IntervalOptions = USUAL

    def __post_init__(self) -> None:
        if not 0 <= self.hold_out < 1:
            raise UsageError(f"a share of {self.hold_out} cannot be held out", fix="--hold-out 0.1")


DENSE = (Form(DenseRequest, defaults={"store": DEFAULT_STORE}), DenseOptions, Form(Hardware, only=("device",)))
