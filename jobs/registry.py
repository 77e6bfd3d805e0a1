"""The one list of analyses and evaluations; others are added by packages that are installed beside cvbench.

Such a package names an `Entry` in the entry-point group `cvbench.analyses`. Nothing is imported until it is asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cvbench.errors import CvbenchError, UnknownNameError, UsageError
from cvbench.plugins import load_plugin, package_of
from cvbench.plugins import plugins as added

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from cvbench.jobs.results.entry import Entry, Live
    from cvbench.options import Form

PLUGINS = "cvbench.analyses"
"""The entry-point group: name of the analysis -> its `Entry`."""


@dataclass(frozen=True)
class Place:
    """Place of an entry and of its command.

    Attributes:
        entry: "module:attribute" of the `Entry`.
        forms: The same of its forms, in a module that imports nothing heavy; "": the entry has them.
        group: Of the command line: "analyze", "eval", "transfer"; "": another entry's command makes it.
        help: Of its command; the first paragraph is its line in the list.
        dataset: The data set that it is of unless another is named; "": any.
        of_variants: Whether it is of a data set's variants, or of its images at several sizes.
    """

    entry: str
    forms: str = ""
    group: str = ""
    help: str = ""
    dataset: str = ""
    of_variants: bool = False

    @property
    def line(self) -> str:
        """The entry's line in the list of commands."""
        return self.help.partition("\n\n")[0]


ENTRIES: dict[str, Place] = {
    "cka": Place(
        "cvbench.jobs.analyses.cka:ENTRY",
        "cvbench.jobs.analyses.options:CKA",
        "analyze",
        "Layerwise linear CKA of every pair of layers.\n\n"
        "Of all layers of every backbone, from minibatches (HSIC1), with 95 % intervals.",
    ),
    "similarity": Place(
        "cvbench.jobs.analyses.similarity:ENTRY",
        "cvbench.jobs.analyses.options:SIMILARITY",
        "analyze",
        "Cosine similarity between the local features of a layer.\n\nOf every layer, with 95 % intervals over images.",
    ),
    "similarity-images": Place(
        "cvbench.jobs.analyses.similarity:IMAGES_ENTRY",
    ),
    "spectra": Place(
        "cvbench.jobs.analyses.spectra:ENTRY",
        "cvbench.jobs.analyses.options:SPECTRA",
        "analyze",
        "Fourier spectra of the stored maps of every layer.\n\nOf every backbone, with 95 % intervals over images.",
    ),
    "maps": Place(
        "cvbench.jobs.analyses.maps:ENTRY",
        "cvbench.jobs.analyses.options:MAPS",
        "analyze",
        "Channel-mean feature maps beside the images.\n\nWith the foreground share and outlier tokens over all images.",
    ),
    "cam": Place(
        "cvbench.jobs.analyses.cam.cam:ENTRY",
        "cvbench.jobs.analyses.options:CAM",
        "analyze",
        "Class activation maps: Grad-CAM and its kin.\n\nThey are kept in the store, with what is measured on them.",
    ),
    "faithfulness": Place(
        "cvbench.jobs.analyses.faithfulness:ENTRY",
        "cvbench.jobs.analyses.options:FAITHFULNESS",
        "analyze",
        "Deletion and insertion along class activation maps.\n\n"
        "Beside a random order, with 95 % intervals over images.",
    ),
    "randomisation": Place(
        "cvbench.jobs.analyses.randomisation:ENTRY",
        "cvbench.jobs.analyses.options:RANDOMISATION",
        "analyze",
        "Whether class activation maps depend on the parameters.\n\n"
        "Maps beside those of a network whose parameters are shuffled (Adebayo et al. 2018), with 95 % intervals.",
    ),
    "norms": Place(
        "cvbench.jobs.analyses.norms:ENTRY",
        "cvbench.jobs.analyses.options:NORMS",
        "analyze",
        "Norms of tokens by layer, and the tokens that stand out.\n\n"
        "With histograms of every layer, and 95 % intervals.",
    ),
    "attention": Place(
        "cvbench.jobs.analyses.attention:ENTRY",
        "cvbench.jobs.analyses.options:ATTENTION",
        "analyze",
        "How far, how evenly and at which tokens heads look.\n\n"
        "Of the heads of transformers, with 95 % intervals over images. "
        "The images are read and run through the backbones once more; what is measured of each is kept in the store.",
    ),
    "residual": Place(
        "cvbench.jobs.analyses.residual:ENTRY",
        "cvbench.jobs.analyses.options:RESIDUAL",
        "analyze",
        "How much each residual branch adds to what skips it.\n\n"
        "The norm of what it adds over that of its skip connection, by tokens, with 95 % intervals over images. "
        "The images are read and run through the backbones once more; what is measured of each is kept in the store.",
    ),
    "receptive-field": Place(
        "cvbench.jobs.analyses.receptive_field:ENTRY",
        "cvbench.jobs.analyses.options:RECEPTIVE_FIELD",
        "analyze",
        "How far around a position of a layer the input matters.\n\n"
        "Of each layer, with 95 % intervals over images. "
        "One pass forward and one back for each layer: some hundred images and a few layers are enough.",
    ),
    "two-way": Place(
        "cvbench.jobs.analyses.two_way:ENTRY",
        "cvbench.jobs.analyses.options:TWO_WAY",
        "analyze",
        "Two crossed factors, inside: what is of which.\n\n"
        "Such as architecture and objective: how much of what spectra, similarity or maps measure of every image in "
        "the last layers is of which, with 95 % intervals over images.",
    ),
    "tsne": Place(
        "cvbench.jobs.analyses.tsne:ENTRY",
        "cvbench.jobs.analyses.options:TSNE",
        "analyze",
        "t-SNE maps of the features, and how far to believe them.\n\n"
        "With 95 % intervals over images. "
        "Each run of each layer is a task: one after the other in this process, side by side with --address local.",
    ),
    "silhouette": Place(
        "cvbench.jobs.analyses.silhouette:ENTRY",
        "cvbench.jobs.analyses.options:SILHOUETTE",
        "analyze",
        "Silhouette of the classes, exact, in each space.\n\n"
        "Per data set, backbone and space, with 95 % intervals. "
        "With the Davies-Bouldin and Calinski-Harabasz indices and the simplified silhouette. Two backbones or more: "
        "also their paired differences on the same samples.",
    ),
    "accuracy": Place(
        "cvbench.jobs.evaluation.accuracy:ENTRY",
        "cvbench.jobs.evaluation.options:ACCURACY",
        "eval",
        "Top-1, top-5 and mean-per-class accuracy.\n\nWith every pair of backbones on the same samples.",
    ),
    "factorial": Place(
        "cvbench.jobs.evaluation.factorial:ENTRY",
        "cvbench.jobs.evaluation.options:FACTORIAL",
        "eval",
        "Two crossed factors of the backbones: what is of which.\n\n"
        "Such as architecture and objective: how much of the accuracy is of which.",
    ),
    "calibration": Place(
        "cvbench.jobs.evaluation.calibration:ENTRY",
        "cvbench.jobs.evaluation.options:CALIBRATION",
        "eval",
        "Calibration error, reliability, NLL and Brier score.\n\n"
        "Before and after a temperature fitted on a held-out half.",
    ),
    "imagenet-x": Place(
        "cvbench.jobs.evaluation.imagenet_x:ENTRY",
        "cvbench.jobs.evaluation.options:IMAGENET_X",
        "eval",
        "Error ratios of the sixteen factors of ImageNet-X.",
        dataset="imagenet-val",
    ),
    "pug": Place(
        "cvbench.jobs.evaluation.pug:ENTRY",
        "cvbench.jobs.evaluation.options:PUG",
        "eval",
        "Accuracy on PUG: ImageNet per factor, sub-factor and value.\n\nWith intervals over objects.",
        dataset="pug-imagenet",
    ),
    "robustness": Place(
        "cvbench.jobs.evaluation.robustness:ENTRY",
        "cvbench.jobs.evaluation.options:ROBUSTNESS",
        "eval",
        "Accuracy on ImageNetV2, -A, -R and -Sketch.\n\nBeside the clean images of the same classes.",
    ),
    "corruptions": Place(
        "cvbench.jobs.evaluation.corruptions:ENTRY",
        "cvbench.jobs.evaluation.options:CORRUPTIONS",
        "eval",
        "Errors under the corruptions of ImageNet-C.\n\nWith the mean corruption error.",
    ),
    "shape-bias": Place(
        "cvbench.jobs.evaluation.shape_bias:ENTRY",
        "cvbench.jobs.evaluation.options:SHAPE_BIAS",
        "eval",
        "Shape bias on cue-conflict images.\n\nPooled, and per shape category.",
        dataset="cue-conflict",
    ),
    "invariance": Place(
        "cvbench.jobs.evaluation.invariance:ENTRY",
        "cvbench.jobs.evaluation.options:INVARIANCE",
        "eval",
        "Accuracy as images are scaled, shifted or resized.\n\n"
        "And the probability of the true class, at each setting. "
        "Extract first, one data set per setting: `cvbench extract --dataset NAME+scale --view logits`, "
        "or `NAME+shift`, or `--dataset NAME --image-size 112` and so on for the resolution. "
        "What the store lacks is listed.",
        of_variants=True,
    ),
    "probe": Place(
        "cvbench.jobs.transfer.probe:ENTRY",
        "cvbench.jobs.transfer.probe_options:PROBE",
        "transfer",
        "Fit linear classifiers on one split, test them on another.\n\nOn stored features, with 95 % intervals.",
    ),
    "dense": Place(
        "cvbench.jobs.transfer.dense:ENTRY",
        "cvbench.jobs.transfer.dense_options:DENSE",
        "transfer",
        "Fit a linear classifier of positions, test it on masks.\n\n"
        "Of the positions of stored maps: IoU with 95 % intervals. "
        "It needs maps (`extract --view maps`) of two splits of a data set with masks: scenes and its kin, or a table "
        "with a column `mask`.",
    ),
}
"""Name, as in the store -> where it is. The report's order."""


@dataclass(frozen=True)
class Plugins:
    """The analyses of other packages.

    Attributes:
        found: Name -> its entry point.
        problems: Of those that are not taken, one sentence each.
    """

    found: Mapping[str, EntryPoint]
    problems: Sequence[str]


def plugins() -> Plugins:
    """Find the entries that packages installed beside cvbench declare; nothing of them is imported.

    A name of cvbench's own, or of two packages, is nobody's.
    """
    found, problems = {}, []
    for name, points in added(PLUGINS).items():
        packages = " and ".join(sorted(map(package_of, points)))
        if name in ENTRIES:
            problems.append(f"the analysis {name!r} of {packages} is not used: cvbench has one of this name")
        elif len(points) > 1:
            problems.append(f"the analysis {name!r} is not used: {packages} both have one of this name")
        else:
            found[name] = points[0]
    return Plugins(found, problems)


def place_of(name: str) -> Place | None:
    """The place of the entry of this name; None if there is none."""
    if name in ENTRIES:
        return ENTRIES[name]
    point = plugins().found.get(name)
    return None if point is None else _declared(point)


def places(group: str) -> dict[str, Place]:
    """Name -> place of all of a group of the command line, those of plugins last."""
    own = {name: place for name, place in ENTRIES.items() if place.group == group}
    if group == "analyze":
        own |= {name: _declared(point) for name, point in plugins().found.items()}
    return own


def _declared(point: EntryPoint) -> Place:
    """A plugin's place; its line in the help is what its package says of itself."""
    said = {} if point.dist is None else point.dist.metadata.json
    summary = str(said.get("summary", point.name)).rstrip(".")
    return Place(point.value, group="analyze", help=f"{summary} ({package_of(point)})")


def entry_of(name: str) -> Entry | None:
    """The entry of this name; None if there is none.

    Raises:
        UsageError: That of a plugin cannot be imported, or is none; names the package.
    """
    if name in ENTRIES:
        entry: Entry = _load(ENTRIES[name].entry)
        return entry
    return _plugin(name) if name in plugins().found else None


def _load(place: str) -> Any:
    module, _, attribute = place.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _plugin(name: str) -> Entry:
    from cvbench.jobs.results.entry import Entry

    found = load_plugin(PLUGINS, name, Entry)
    if found.name != name:
        (point,) = added(PLUGINS)[name]
        raise UsageError(
            f"the analysis {name!r} of {package_of(point)} calls itself {found.name!r}",
            where=point.value,
            fix="the entry point's name and the entry's must be the same",
        )
    return found


def forms_of(name: str) -> Sequence[Form | type[Any]]:
    """The forms of a command.

    Raises:
        UsageError: As `entry_of`.
    """
    if name in ENTRIES and ENTRIES[name].forms:
        forms: Sequence[Form | type[Any]] = _load(ENTRIES[name].forms)
        return forms
    entry = entry_of(name)
    return () if entry is None else entry.forms


def find_live(names: Sequence[str]) -> dict[str, Live]:
    """Find the forms in which these analyses are measured while layers are computed, for `extract`.

    Raises:
        UnknownNameError: There is none of this name, or it cannot be measured so; names those that can.
        UsageError: As `entry_of`.
    """
    found: dict[str, Live] = {}
    for name in names:
        entry = entry_of(name)
        if entry is None or entry.live is None:
            known = list(_live_names())
            raise UnknownNameError.among("live analysis", name, known, fix=f"--analyze {','.join(known)}")
        found[name] = entry.live
    return found


def _live_names() -> Iterator[str]:
    for name in places("analyze"):
        try:
            entry = entry_of(name)
        except CvbenchError:
            continue
        if entry is not None and entry.live is not None:
            yield name
