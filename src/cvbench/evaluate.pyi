# Made by `python -m cvbench.api.stubs` from the options of the commands: change those.
import os
from collections.abc import Sequence
from typing import Literal

from cvbench.api.result import Result
from cvbench.api.stores import Store

def accuracy(
    store: str | os.PathLike[str] | Store = "./cvbench.zarr",
    *,
    dataset: str | Sequence[str] | None = None,
    split: str | None = None,
    backbones: str | Sequence[str] | None = None,
    partial: bool = False,
    allow_chance: bool = False,
    per_class: bool = False,
    real: str | None = None,
    masked: bool = True,
    headline: str = "top1",
    progress: bool = False,
) -> Result:
    """Top-1, top-5 and mean-per-class accuracy.

    With every pair of backbones on the same samples.

    `cvbench eval accuracy` on the command line.

    Args:
        store: Path or URL of the feature store.
        dataset: Data sets, if the store holds several. One or several.
        split: Split of the data set; the default is the data set's own.
        backbones: Backbones; default all. One or several.
        partial: Accept a part of the data set; n says how much.
        allow_chance: Report an accuracy near chance (random weights), not refuse it.
        per_class: The accuracy of every class too.
        real: Score ReaL labels too: their file, or its folder.
        masked: Do not select the outputs of a class subset: argmax over all.
        headline: What comes first and decides; both are there.
        progress: Print how far the work is, to stderr.

    Returns:
        The result, which is kept in the store too; what was computed before is not computed again.
    """

def factorial(
    store: str | os.PathLike[str] | Store = "./cvbench.zarr",
    *,
    dataset: str | Sequence[str] | None = None,
    split: str | None = None,
    partial: bool = False,
    allow_chance: bool = False,
    cells: str | Sequence[str] | None = None,
    factors: str | Sequence[str] = ("architecture", "objective"),
    masked: bool = True,
    progress: bool = False,
) -> Result:
    """Two crossed factors of the backbones: what is of which.

    Such as architecture and objective: how much of the accuracy is of which.

    `cvbench eval factorial` on the command line.

    Args:
        store: Path or URL of the feature store.
        dataset: Data sets, if the store holds several. One or several.
        split: Split of the data set; the default is the data set's own.
        partial: Accept a part of the data set; n says how much.
        allow_chance: Report an accuracy near chance (random weights), not refuse it.
        cells: BACKBONE=LEVEL,LEVEL: where a backbone stands. Once for each combination of levels, which have no
            '='.
        factors: Names of the two factors, with a comma between.
        masked: Do not select the outputs of a class subset: argmax over all.
        progress: Print how far the work is, to stderr.

    Returns:
        The result, which is kept in the store too; what was computed before is not computed again.
    """

def calibration(
    store: str | os.PathLike[str] | Store = "./cvbench.zarr",
    *,
    dataset: str | Sequence[str] | None = None,
    split: str | None = None,
    backbones: str | Sequence[str] | None = None,
    partial: bool = False,
    allow_chance: bool = False,
    bins: int = 15,
    masked: bool = True,
    resamples: int = 2000,
    seed: int = 0,
    progress: bool = False,
) -> Result:
    """Calibration error, reliability, NLL and Brier score.

    Before and after a temperature fitted on a held-out half.

    `cvbench eval calibration` on the command line.

    Args:
        store: Path or URL of the feature store.
        dataset: Data sets, if the store holds several. One or several.
        split: Split of the data set; the default is the data set's own.
        backbones: Backbones; default all. One or several.
        partial: Accept a part of the data set; n says how much.
        allow_chance: Report an accuracy near chance (random weights), not refuse it.
        bins: Of equal width on [0, 1].
        masked: Do not select the outputs of a class subset: argmax over all.
        resamples: Resamples, for the intervals that draw any.
        seed: Seed of all that is drawn at random.
        progress: Print how far the work is, to stderr.

    Returns:
        The result, which is kept in the store too; what was computed before is not computed again.
    """

def imagenet_x(
    store: str | os.PathLike[str] | Store = "./cvbench.zarr",
    *,
    dataset: str | None = None,
    split: str | None = None,
    backbones: str | Sequence[str] | None = None,
    annotations: str | None = None,
    which: Literal["top", "multi"] = "top",
    overall: str = "annotated",
    error: str = "class",
    real: str | None = None,
    unlabelled: str = "leave-out",
    keep_prototypes: bool = False,
    export: str | None = None,
    partial: bool = False,
    allow_chance: bool = False,
    resamples: int = 2000,
    seed: int = 0,
    progress: bool = False,
) -> Result:
    """Error ratios of the sixteen factors of ImageNet-X.

    `cvbench eval imagenet-x` on the command line.

    Args:
        store: Path or URL of the feature store.
        dataset: Default imagenet-val.
        split: Split of the data set; the default is the data set's own.
        backbones: Backbones; default all. One or several.
        annotations: Folder of ImageNet-X's annotation files; not for `scenes`, whose own table says it.
        which: top: one per image; multi: all that were named.
        overall: What a ratio compares with; annotated is as the reference.
        error: What counts as an error.
        real: Where the ReaL labels lie, for real_class.
        unlabelled: Images without a ReaL label; wrong is as the reference.
        keep_prototypes: Count the images that annotators saw as prototypes.
        export: Folder for each backbone's predictions, in the reference's format.
        partial: Accept a part of the data set; n says how much.
        allow_chance: Report an accuracy near chance (random weights), not refuse it.
        resamples: Resamples, for the intervals that draw any.
        seed: Seed of all that is drawn at random.
        progress: Print how far the work is, to stderr.

    Returns:
        The result, which is kept in the store too; what was computed before is not computed again.
    """

def pug(
    store: str | os.PathLike[str] | Store = "./cvbench.zarr",
    *,
    dataset: str | None = None,
    split: str | None = None,
    backbones: str | Sequence[str] | None = None,
    labels: str | None = None,
    mode: Literal["set", "reference"] = "set",
    partial: bool = False,
    allow_chance: bool = False,
    progress: bool = False,
) -> Result:
    """Accuracy on PUG: ImageNet per factor, sub-factor and value.

    With intervals over objects.

    `cvbench eval pug` on the command line.

    Args:
        store: Path or URL of the feature store.
        dataset: Default pug-imagenet.
        split: Split of the data set; the default is the data set's own.
        backbones: Backbones; default all. One or several.
        labels: class_to_imagenet_idx.json, or its folder; without: the outputs are the data set's classes.
        mode: set: any ImageNet class of a label; reference: as the authors' code.
        partial: Accept a part of the data set; n says how much.
        allow_chance: Report an accuracy near chance (random weights), not refuse it.
        progress: Print how far the work is, to stderr.

    Returns:
        The result, which is kept in the store too; what was computed before is not computed again.
    """

def robustness(
    store: str | os.PathLike[str] | Store = "./cvbench.zarr",
    *,
    datasets: str | Sequence[str] | None = None,
    clean: str | None = None,
    backbones: str | Sequence[str] | None = None,
    partial: bool = False,
    allow_chance: bool = False,
    progress: bool = False,
) -> Result:
    """Accuracy on ImageNetV2, -A, -R and -Sketch.

    Beside the clean images of the same classes.

    `cvbench eval robustness` on the command line.

    Args:
        store: Path or URL of the feature store.
        datasets: Shifted data sets; default all that the store has. One or several.
        clean: What they are compared with; default imagenet-val, if it is there.
        backbones: Backbones; default all. One or several.
        partial: Accept a part of the data set; n says how much.
        allow_chance: Report an accuracy near chance (random weights), not refuse it.
        progress: Print how far the work is, to stderr.

    Returns:
        The result, which is kept in the store too; what was computed before is not computed again.
    """

def corruptions(
    store: str | os.PathLike[str] | Store = "./cvbench.zarr",
    *,
    datasets: str | Sequence[str] | None = None,
    backbones: str | Sequence[str] | None = None,
    partial: bool = False,
    allow_chance: bool = False,
    progress: bool = False,
) -> Result:
    """Errors under the corruptions of ImageNet-C.

    With the mean corruption error.

    `cvbench eval corruptions` on the command line.

    Args:
        store: Path or URL of the feature store.
        datasets: Forms of imagenet-c; default all that the store has. One or several.
        backbones: Backbones; default all. One or several.
        partial: Accept a part of the data set; n says how much.
        allow_chance: Report an accuracy near chance (random weights), not refuse it.
        progress: Print how far the work is, to stderr.

    Returns:
        The result, which is kept in the store too; what was computed before is not computed again.
    """

def shape_bias(
    store: str | os.PathLike[str] | Store = "./cvbench.zarr",
    *,
    dataset: str | None = None,
    split: str | None = None,
    backbones: str | Sequence[str] | None = None,
    partial: bool = False,
    allow_chance: bool = False,
    progress: bool = False,
) -> Result:
    """Shape bias on cue-conflict images.

    Pooled, and per shape category.

    `cvbench eval shape-bias` on the command line.

    Args:
        store: Path or URL of the feature store.
        dataset: Default cue-conflict.
        split: Split of the data set; the default is the data set's own.
        backbones: Backbones; default all. One or several.
        partial: Accept a part of the data set; n says how much.
        allow_chance: Report an accuracy near chance (random weights), not refuse it.
        progress: Print how far the work is, to stderr.

    Returns:
        The result, which is kept in the store too; what was computed before is not computed again.
    """

def invariance(
    store: str | os.PathLike[str] | Store = "./cvbench.zarr",
    *,
    dataset: str | None = None,
    split: str | None = None,
    backbones: str | Sequence[str] | None = None,
    partial: bool = False,
    allow_chance: bool = False,
    transforms: str | Sequence[str] | None = None,
    grid: str | Sequence[str] | None = None,
    reference: str | None = None,
    progress: bool = False,
) -> Result:
    """Accuracy as images are scaled, shifted or resized.

    And the probability of the true class, at each setting. Extract first, one data set per setting: `cvbench
    extract --dataset NAME+scale --view logits`, or `NAME+shift`, or `--dataset NAME --image-size 112` and so on for
    the resolution. What the store lacks is listed.

    `cvbench eval invariance` on the command line.

    Args:
        store: Path or URL of the feature store.
        dataset: Data set, if the store holds several.
        split: Split of the data set; the default is the data set's own.
        backbones: Backbones; default all. One or several.
        partial: Accept a part of the data set; n says how much.
        allow_chance: Report an accuracy near chance (random weights), not refuse it.
        transforms: scale, shift, shift-frame or resolution; default all that are there. One or several.
        grid: A value of it: 1.5, or 8,0 for shift-frame; default all there are. One or several.
        reference: The value to compare with; default scale 1, shift 0, the model's own size.
        progress: Print how far the work is, to stderr.

    Returns:
        The result, which is kept in the store too; what was computed before is not computed again.
    """

def import_predictions(
    file: str,
    dataset: str,
    backbone: str,
    *,
    store: str | os.PathLike[str] | Store = "./cvbench.zarr",
    split: str | None = None,
    data_root: str | None = None,
    values: str = "auto",
    by_order: bool = False,
    partial: bool = False,
    name_column: str | None = None,
    class_column: str | None = None,
    probability_column: str | None = None,
    classes: str = "auto",
    progress: bool = False,
) -> Store:
    """Make the predictions of another tool the logits of a backbone, so that every benchmark can score them.

    `cvbench eval import` on the command line.

    Args:
        file: csv, json, jsonl, parquet, npy or npz of predicted classes, or of all values.
        dataset: The data set that was predicted.
        backbone: The name that the predictions get.
        store: Path or URL of the feature store.
        split: Split of the data set; the default is the data set's own.
        data_root: Folder that holds the data sets.
        values: What a table holds; auto: do rows sum to 1?
        by_order: Match by the data set's order, not by file name.
        partial: Accept a part of the data set; n says how much.
        name_column: Column of the samples' names, if it is not found by its name.
        class_column: Column of the predicted class, of several or of another name.
        probability_column: Column of the predicted class's probability.
        classes: What a number in the column of classes is: an index, the name of a class, or auto.
        progress: Print how far the work is, to stderr.

    Returns:
        The store that has them now.
    """
