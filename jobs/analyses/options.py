"""What the analyses are asked for, and the forms of their commands. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal, get_args

from cvbench.engine.analyses.silhouette.options import SilhouetteOptions
from cvbench.engine.analyses.tsne.options import TsneOptions
from cvbench.engine.statistics.options import USUAL, IntervalOptions
from cvbench.errors import UnknownNameError
from cvbench.jobs.analyses.cam.options import METHOD_NAMES, METHODS, CamOptions
from cvbench.jobs.extraction.options import ExtractOptions
from cvbench.jobs.reading.options import layers
from cvbench.jobs.results.cells import CELL, FACTORS, crossed
from cvbench.jobs.running.hardware import HERE, SIDE_BY_SIDE, Hardware
from cvbench.options import COMMA_SEPARATED, NAMES, Form, Option, count_or

AUTO = "auto"
_CKA_VIEW = (
    "maps (all positions), pooled (their mean), cls, head, or auto: all positions where the store has them or `extract "
    "--analyze cka` measured them, as in the study's Figure 5, else pooled."
)


@dataclass(frozen=True)
class CkaOptions:
    """Options of the CKA estimate.

    Attributes:
        estimator: "minibatch" (HSIC1 summed over batches, with intervals), "debiased" or "biased" (all rows at once).
        batch: None chooses so that there are enough for the interval, see `choose_batch`.
    """

    estimator: Annotated[
        str,
        Option(
            "minibatch has intervals; debiased and biased take all rows at once.",
            values=("minibatch", "debiased", "biased"),
        ),
    ] = "minibatch"
    batch: Annotated[
        int | None,
        Option("Samples per CKA batch, at least 4, or 'auto'.", "--cka-batch", text=count_or("auto"), settled=True),
    ] = None


@dataclass(frozen=True)
class SimilarityOptions:
    """Whose own matrices are kept too, and how the means are estimated.

    Attributes:
        images: Sample ids.
    """

    images: Annotated[
        tuple[str, ...], Option("Sample ids whose own matrices are kept and drawn too. Repeat.", "--image")
    ] = ()
    intervals: IntervalOptions = USUAL


_SOURCE = Option("Where the images are, for a data set of your own: folder:PATH.")
_DATA_ROOT = Option("Folder that holds the data sets.", variable="CVBENCH_DATA")


@dataclass(frozen=True)
class MapsOptions:
    """Options of the maps: the images to draw, and the intervals.

    Attributes:
        images: Sample ids; empty for the first readable ones.
        measure: Which kind of map the figure shows; the result has all.
        source: The data set as `extract` was given it; None if the store's name says it, as "folder:PATH" needs.
        intervals: How they are made.
    """

    images: Annotated[
        tuple[str, ...], Option("Sample ids to draw; default the first four of the store. Repeat.", "--image")
    ] = ()
    measure: Annotated[
        str,
        Option(
            "Which map to draw; pc1: first principal component, pca and pca-own: three in colour.",
            values=("mean", "abs", "norm", "pc1", "pca", "pca-own"),
        ),
    ] = "mean"
    source: Annotated[str | None, _SOURCE] = None
    data_root: Annotated[str | None, _DATA_ROOT] = None
    intervals: IntervalOptions = USUAL


@dataclass(frozen=True)
class ReceptiveOptions:
    """Options of receptive fields: what of a position the gradient is of, and how the means are estimated.

    Attributes:
        output: "sum" of its channels (Luo et al. 2016), or "signs": each with a random sign.
    """

    output: Annotated[
        Literal["sum", "signs"],
        Option("What is made of a position's channels: sum, or signs (each with a random one), as behind a norm."),
    ] = "sum"
    intervals: IntervalOptions = USUAL


@dataclass(frozen=True)
class FaithfulnessOptions:
    """Options of deletion and insertion: along which maps, in which parts and steps."""

    method: Annotated[str, Option(METHODS, values=METHOD_NAMES)] = "gradcam"
    targets: Annotated[
        tuple[str, ...], Option("Target layer, a name or glob; default by family. Repeat.", "--target")
    ] = ()
    cells: Annotated[int, Option("Parts of the image on each side.", least=2, most=64)] = 14
    steps: Annotated[int, Option("Steps from nothing to all; four forward passes each.", least=2, most=4096)] = 28
    intervals: IntervalOptions = USUAL


@dataclass(frozen=True)
class RandomisationOptions:
    """Options of the randomisation test: of which maps, and in how many steps."""

    method: Annotated[str, Option(METHODS, values=METHOD_NAMES)] = "gradcam"
    targets: Annotated[
        tuple[str, ...], Option("Target layer, a name or glob; default by family. Repeat.", "--target")
    ] = ()
    steps: Annotated[
        int,
        Option("Steps from the classifier alone to all parameters; one network in memory for each.", least=1, most=64),
    ] = 4
    intervals: IntervalOptions = USUAL


@dataclass(frozen=True)
class NormsOptions:
    """Options of norms: from which on tokens are counted, and how the means are estimated."""

    cutoff: Annotated[
        float | None, Option("Also count the tokens above this norm, such as 150 (Darcet et al. 2024).", least=0)
    ] = None
    intervals: IntervalOptions = USUAL


@dataclass(frozen=True)
class SpaceOptions:
    """In which spaces silhouettes are taken.

    Attributes:
        spaces: Empty: that of `SilhouetteOptions`.
        map_name: Of space "tsne".
    """

    spaces: Annotated[
        tuple[str, ...],
        Option(
            "features, standardised, pca50 or tsne (a map of `analyze tsne`); default standardised. Repeat.",
            "--space",
            text=NAMES,
            values=("features", "standardised", "pca50", "tsne"),
            apart=True,
            meant=(SilhouetteOptions.space,),
        ),
    ] = ()
    map_name: Annotated[
        str | None,
        Option(
            "Of --space tsne: a result of `analyze tsne`, by its path in the store or the last part of it. "
            "Default: that of its default options, else the only one; if there is none, it is made.",
            "--map",
            settled=True,
        ),
    ] = None


MeasuredBy = Literal["spectra", "similarity", "maps"]
MEASURED = get_args(MeasuredBy)


@dataclass(frozen=True)
class TwoWayOptions:
    """Options of two crossed factors inside networks.

    Attributes:
        of: Which analysis measures every image.
        factors: Their names.
        cells: "BACKBONE=LEVEL,LEVEL", see `cvbench.jobs.results.cells`.
        source, data_root: As of `MapsOptions`; only maps are measured beside the images' boxes.
    """

    of: Annotated[MeasuredBy, Option("What is measured of every image: spectra, similarity or maps.")] = "spectra"
    cells: Annotated[tuple[str, ...], Option(CELL, "--cell")] = ()
    factors: Annotated[tuple[str, ...], Option(FACTORS, text=COMMA_SEPARATED)] = ("architecture", "objective")
    source: Annotated[str | None, _SOURCE] = None
    data_root: Annotated[str | None, _DATA_ROOT] = None

    def __post_init__(self) -> None:
        if self.of not in MEASURED:
            raise UnknownNameError.among("--of", self.of, MEASURED, fix=f"--of {' or '.join(MEASURED)}")
        crossed(self.cells, self.factors)


_READ = (
    *("dataset", "backbone", "store", "split", "data_root", "weights", "limit", "batch_size", "image_size", "unit"),
    *("precision", "decoder", "max_unreadable"),
)
"""What of an extraction has a meaning where images are read once more: how they are read and backbones loaded."""
_OWN_BACKBONES = {
    "backbone": "As in the store, or as for extract; default: those that the store has of these images. Repeat.",
    "weights": "As for extract; default: those of the features in the store, else pretrained.",
}
_SEED = {"seed": "Seed of the sample and of the intervals."}

CKA = (layers(AUTO, _CKA_VIEW, views=("auto", "maps", "pooled", "cls", "head")), CkaOptions, Hardware)
SIMILARITY = (layers(), SimilarityOptions, Hardware)
SPECTRA = (layers(), IntervalOptions, Hardware)
MAPS = (layers(), MapsOptions, Hardware)
_IMAGES = Form(
    ExtractOptions,
    _READ,
    help={**_OWN_BACKBONES, "precision": "fp32, bf16 or fp16 (autocast)."},
    values={"precision": ("fp32", "bf16", "fp16")},
    defaults={"backbone": [], "weights": [], "precision": "fp32"},
)
"""Images that are read once more, and the backbones that they are run through."""
CAM = (_IMAGES, CamOptions, Hardware)
NORMS = (layers(), NormsOptions, Hardware)
RANDOMISATION = (
    _IMAGES,
    Form(RandomisationOptions, help={"seed": "Seed of the shuffling and of the intervals."}),
    Hardware,
)
FAITHFULNESS = (_IMAGES, FaithfulnessOptions, Hardware)
ATTENTION = (_IMAGES, IntervalOptions, Hardware)
RESIDUAL = (_IMAGES, IntervalOptions, Hardware)
RECEPTIVE_FIELD = (
    replace(_IMAGES, only=(*(key for key in _READ if key != "precision"), "taps")),
    ReceptiveOptions,
    Hardware,
)
_LAST = {"taps": "Names or globs of layers, of which each backbone's last is measured; default all. Repeat."}
TWO_WAY = (replace(layers(), only=("store", "dataset", "split", "taps"), help=_LAST), TwoWayOptions, Hardware)
TSNE = (layers("head"), TsneOptions, SIDE_BY_SIDE)
SILHOUETTE = (layers("head", each="dataset"), SpaceOptions, Form(SilhouetteOptions, help=_SEED), HERE)
