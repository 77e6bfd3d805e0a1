"""What the evaluations are asked for, and the forms of their commands. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

from cvbench.engine.statistics.options import USUAL, IntervalOptions
from cvbench.errors import UnknownNameError
from cvbench.hints import option_words
from cvbench.jobs.reading.options import DEFAULT_STORE, SEVERAL, one_dataset
from cvbench.jobs.results.cells import CELL, FACTORS, crossed
from cvbench.options import COMMA_SEPARATED, NAMES, NOT, Form, Option, typed_words

HEADLINES = ("top1", "mean-per-class")
BINS = 15
"""Of the calibration error; the reference has as many."""
_MASKED = Option("Do not select the outputs of a class subset: argmax over all.", "--all-columns", text=NOT)


@dataclass(frozen=True)
class EvalOptions:
    """Options that all evaluations share.

    Attributes:
        partial: The n of every row says how much is there.
        allow_chance: Else an accuracy near chance, of random weights say, is refused.
    """

    partial: Annotated[bool, Option("Accept a part of the data set; n says how much.")] = False
    allow_chance: Annotated[bool, Option("Report an accuracy near chance (random weights), not refuse it.")] = False

    def as_dict(self) -> dict[str, Any]:
        """All that a result depends on."""
        return {"partial": self.partial}


@dataclass(frozen=True)
class AccuracyOptions:
    """Options of accuracy.

    Attributes:
        real: Of ImageNet's validation set; None: without.
        masked: Select the columns of the data set's classes where it has a part of ImageNet's.
        headline: Of `HEADLINES`: both are always computed.
    """

    shared: EvalOptions = field(default_factory=EvalOptions)
    per_class: Annotated[bool, Option("The accuracy of every class too.")] = False
    real: Annotated[str | None, Option("Score ReaL labels too: their file, or its folder.")] = None
    masked: Annotated[bool, _MASKED] = True
    headline: Annotated[str, Option("What comes first and decides; both are there.", values=HEADLINES)] = "top1"

    @property
    def every_row(self) -> bool:
        """Whether the printed table shall have every row."""
        return self.per_class

    def __post_init__(self) -> None:
        _check("headline", self.headline, HEADLINES)


@dataclass(frozen=True)
class CalibrationOptions:
    """Options of calibration.

    Attributes:
        masked: Select the columns of the data set's classes before the softmax.
        intervals: That of a calibration error draws data sets.
    """

    shared: EvalOptions = field(default_factory=EvalOptions)
    bins: Annotated[int, Option("Of equal width on [0, 1].", least=1)] = BINS
    masked: Annotated[bool, _MASKED] = True
    intervals: IntervalOptions = USUAL


@dataclass(frozen=True)
class FactorialOptions:
    """Options of two crossed factors.

    Attributes:
        factors: Their names.
        cells: "BACKBONE=LEVEL,LEVEL", see `cvbench.jobs.results.cells`.
        masked: As of accuracy.
    """

    shared: EvalOptions = field(default_factory=EvalOptions)
    cells: Annotated[
        tuple[str, ...],
        Option(CELL, "--cell"),
    ] = ()
    factors: Annotated[tuple[str, ...], Option(FACTORS, text=COMMA_SEPARATED)] = ("architecture", "objective")
    masked: Annotated[bool, _MASKED] = True

    def __post_init__(self) -> None:
        crossed(self.cells, self.factors)


ERRORS = ("class", "real_class", "metaclass")
OVERALLS = ("annotated", "full_val")
UNLABELLED = ("leave-out", "wrong")


@dataclass(frozen=True)
class ImageNetXOptions:
    """Options of ImageNet-X: the images and errors to count, and those to compare with.

    Attributes:
        which: "top": the one factor chosen per image; "multi": all that annotators named.
        overall: Ratios compare with all "annotated" images (the reference), or with "full_val": the whole validation
            set, which is the study's wording and what its preset asks for.
        error: Right is the "class", one of the "real_class" labels, or the "metaclass" of 17.
        unlabelled: For "real_class", what becomes of images without a ReaL label: "leave-out", as those who made the
            labels do (Beyer et al. 2020), or "wrong", as the reference's tables have it.
        keep_prototypes: Keep the images that were shown to annotators as prototypes.
        export: One csv per backbone.
        intervals: Those of ratios and of calibration errors are drawn.
    """

    annotations: Annotated[
        str | None, Option("Folder of ImageNet-X's annotation files; not for `scenes`, whose own table says it.")
    ] = None
    which: Annotated[
        Literal["top", "multi"], Option("top: one per image; multi: all that were named.", "--factors")
    ] = "top"
    overall: Annotated[str, Option("What a ratio compares with; annotated is as the reference.", values=OVERALLS)] = (
        "annotated"
    )
    error: Annotated[str, Option("What counts as an error.", values=ERRORS)] = "class"
    real: Annotated[str | None, Option("Where the ReaL labels lie, for real_class.")] = None
    unlabelled: Annotated[str, Option("Images without a ReaL label; wrong is as the reference.", values=UNLABELLED)] = (
        "leave-out"
    )
    keep_prototypes: Annotated[bool, Option("Count the images that annotators saw as prototypes.")] = False
    export: Annotated[str | None, Option("Folder for each backbone's predictions, in the reference's format.")] = None
    shared: EvalOptions = field(default_factory=EvalOptions)
    intervals: IntervalOptions = USUAL

    def __post_init__(self) -> None:
        _check("factors", self.which, ("top", "multi"))
        _check("overall", self.overall, OVERALLS)
        _check("error", self.error, ERRORS)
        _check("unlabelled", self.unlabelled, UNLABELLED)


@dataclass(frozen=True)
class PugOptions:
    """Options of PUG.

    Attributes:
        mode: "set": any of a label's ImageNet classes is right; "reference": as the authors' code has it, where every
            Shirt is wrong. The other mode's subset accuracies are kept beside it.
    """

    labels: Annotated[
        str | None,
        Option("class_to_imagenet_idx.json, or its folder; without: the outputs are the data set's classes."),
    ] = None
    mode: Annotated[
        Literal["set", "reference"], Option("set: any ImageNet class of a label; reference: as the authors' code.")
    ] = "set"
    shared: EvalOptions = field(default_factory=EvalOptions)


@dataclass(frozen=True)
class RobustnessRequest:
    """Data sets of a store to compare; empty or None is all that is there."""

    store: Annotated[str, Option("Path or URL of the feature store.")]
    datasets: Annotated[
        tuple[str, ...], Option("Shifted data sets; default all that the store has. Repeat.", "--dataset", "-d")
    ] = ()
    clean: Annotated[
        str | None, Option("What they are compared with; default imagenet-val, if it is there.", settled=True)
    ] = None
    backbones: Annotated[tuple[str, ...], Option("Backbones; default all. Repeat.", "--backbone", "-m")] = ()


@dataclass(frozen=True)
class CorruptionsRequest:
    """Forms of ImageNet-C in a store; empty is all that is there."""

    store: Annotated[str, Option("Path or URL of the feature store.")]
    datasets: Annotated[
        tuple[str, ...], Option("Forms of imagenet-c; default all that the store has. Repeat.", "--dataset", "-d")
    ] = ()
    backbones: Annotated[tuple[str, ...], Option("Backbones; default all. Repeat.", "--backbone", "-m")] = ()


@dataclass(frozen=True)
class InvarianceOptions:
    """Options that choose the settings of transforms.

    Attributes:
        transforms: Empty: all that the store has.
        grid: Values as text; empty: all that the store has.
        reference: None: scale 1, shift 0, the model's own resolution.
    """

    shared: EvalOptions = field(default_factory=EvalOptions)
    transforms: Annotated[
        tuple[str, ...],
        Option(
            "scale, shift, shift-frame or resolution; default all that are there. Repeat.",
            "--transform",
            "-t",
            text=NAMES,
            values=("scale", "shift", "shift-frame", "resolution"),
            settled=True,
            apart=True,
        ),
    ] = ()
    grid: Annotated[
        tuple[str, ...],
        Option("A value of it: 1.5, or 8,0 for shift-frame; default all there are. Repeat.", settled=True),
    ] = ()
    reference: Annotated[
        str | None, Option("The value to compare with; default scale 1, shift 0, the model's own size.")
    ] = None


VALUES = ("auto", "logits", "probabilities")
HOW = ("auto", "index", "name")


@dataclass(frozen=True)
class ImportOptions:
    """Options of an import of predictions.

    Attributes:
        file: See `read_predictions`.
        dataset: One of the store, or one that can be opened.
        values: What a table of values holds.
        partial: Samples without a prediction count as failed.
        name_column, class_column, probability_column: None: found by its name.
        classes: What a number in the column of classes is: see `HOW`.
    """

    file: Annotated[
        str, Option("csv, json, jsonl, parquet, npy or npz of predicted classes, or of all values.", alone=True)
    ]
    dataset: Annotated[str, Option("The data set that was predicted.", short="-d")]
    backbone: Annotated[str, Option("The name that the predictions get.", short="-m")]
    store: Annotated[str, Option("Path or URL of the feature store.")] = "./cvbench.zarr"
    split: Annotated[str | None, Option("Split of the data set; the default is the data set's own.")] = None
    data_root: Annotated[str | None, Option("Folder that holds the data sets.", variable="CVBENCH_DATA")] = None
    values: Annotated[str, Option("What a table holds; auto: do rows sum to 1?", values=VALUES)] = "auto"
    by_order: Annotated[bool, Option("Match by the data set's order, not by file name.")] = False
    partial: Annotated[bool, Option("Accept a part of the data set; n says how much.")] = False
    name_column: Annotated[str | None, Option("Column of the samples' names, if it is not found by its name.")] = None
    class_column: Annotated[str | None, Option("Column of the predicted class, of several or of another name.")] = None
    probability_column: Annotated[str | None, Option("Column of the predicted class's probability.")] = None
    classes: Annotated[
        str, Option("What a number in the column of classes is: an index, the name of a class, or auto.", values=HOW)
    ] = "auto"

    def __post_init__(self) -> None:
        _check("classes", self.classes, tuple(HOW))
        _check("values", self.values, VALUES)


def eval_words(options: Any, *but: str) -> list[str]:
    """The options of an evaluation as they are typed, those at their default left out, and those named by `but`."""
    return option_words({key: value for key, value in typed_words(options).items() if key not in but})


def _check(name: str, given: str, known: tuple[str, ...]) -> None:
    if given not in known:
        raise UnknownNameError.among(f"--{name}", given, known, fix=f"--{name} {', '.join(known)}")


ACCURACY = (SEVERAL, AccuracyOptions)
FACTORIAL = (replace(SEVERAL, only=("store", "dataset", "split")), FactorialOptions)  # cells name the backbones
ROBUSTNESS = (Form(RobustnessRequest, defaults={"store": DEFAULT_STORE}), EvalOptions)
CORRUPTIONS = (Form(CorruptionsRequest, defaults={"store": DEFAULT_STORE}), EvalOptions)
IMAGENET_X = (one_dataset("Default imagenet-val."), ImageNetXOptions)
PUG = (one_dataset("Default pug-imagenet."), PugOptions)
INVARIANCE = (one_dataset(), InvarianceOptions)
CALIBRATION = (SEVERAL, CalibrationOptions)
SHAPE_BIAS = (one_dataset("Default cue-conflict."), EvalOptions)
