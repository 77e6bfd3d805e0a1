"""The claims, by paper. Sentences are our own words; a value stands here only if it is known for certain.

The reference study compares ConvNeXt-Base with ViT-B/16. Its figures 11 and 12 are not here: what it says of them is
not known to us. The smallest effects that count are chosen here, in the units of the metrics.
"""

from __future__ import annotations

from collections.abc import Iterator

from cvbench.jobs.claims.claim import Claim

STUDY = "reference study of ConvNeXt-B and ViT-B/16"
RAGHU = "Raghu et al. 2021"
PARK = "Park and Kim 2022"
VISHNIAKOV = "Vishniakov et al. 2024"
DARCET = "Darcet et al. 2024"
NASEER = "Naseer et al. 2021"
TULI = "Tuli et al. 2021"
PAUL = "Paul and Chen 2022"
BAI = "Bai et al. 2021"
MINDERER = "Minderer et al. 2021"

FINE_GRAINED = ("cub200", "scenes-fine", "scenes-fine-[0-9]*")
COARSE = ("cifar10", "scenes", "scenes-[0-9]*")
SHIFTED = ("imagenet*", "scenes-*")
"""Data sets of the papers, and rendered ones that stand in for them."""
CENTRED = "common grid *, centred maps"
CAM = "analyze cam --dataset imagenet-val"
OF_CENTRED = (
    "On one grid, and with each map's mean taken off: a network that pools before its last norm has maps that sum to "
    "0, which alone makes them look concentrated."
)
ALL_POSITIONS = "mean linear CKA (all positions)"
QUARTERS = "first quarter against last quarter"
OF_CKA = "Unbiased HSIC over all positions; pooled features answer another question, and can answer it the other way."
ONE_GRID = "On layers of one grid: the stride of the stages explains most of a difference between grids."
SUPERVISED = "Said of supervised networks of like accuracy; other training is another question."


def _study() -> Iterator[Claim]:
    for name, metric, direction, smallest, sentence in (
        (
            "area",
            "effective area, share of the grid",
            -1,
            0.02,
            "ConvNeXt's class activation maps rest on less of the image than ViT's.",
        ),
        (
            "radius",
            "RMS radius, share of the diagonal",
            -1,
            0.01,
            "ConvNeXt's class activation maps lie closer around their centre than ViT's.",
        ),
        (
            "gini",
            "sparseness (Gini)",
            1,
            0.02,
            "ConvNeXt's class activation maps are more concentrated: few positions hold most of them.",
        ),
        (
            "gaussian",
            "R² of one Gaussian",
            1,
            0.02,
            "ConvNeXt's class activation maps look like one Gaussian, more than ViT's.",
        ),
    ):
        yield Claim(
            f"study-cam-{name}",
            sentence,
            STUDY,
            "Fig. 3",
            "study",
            "cam",
            metric,
            CENTRED,
            direction=direction,  # type: ignore[arg-type]
            smallest=smallest,
            estimator=OF_CENTRED,
            command=CAM,
        )
    yield Claim(
        "study-neighbours",
        "Local features resemble their neighbours' more than distant ones': bright lines beside the diagonal.",
        STUDY,
        "Fig. 4",
        "study",
        "similarity",
        "neighbour contrast, raw",
        "grid *",
        contrast="each",
        smallest=0.01,
        command="analyze similarity",
    )
    yield Claim(
        "study-shallow-deep",
        "ViT's shallow and deep layers are more alike than ConvNeXt's.",
        STUDY,
        "Fig. 5",
        "study",
        "cka",
        ALL_POSITIONS,
        QUARTERS,
        direction=-1,
        smallest=0.05,
        estimator=OF_CKA,
        command="analyze cka --view maps",
    )
    yield Claim(
        "study-high-frequency",
        "ViT's feature maps keep more high-frequency energy than ConvNeXt's.",
        STUDY,
        "Fig. 6",
        "study",
        "spectra",
        "energy share above 0.5 π",
        direction=-1,
        smallest=0.01,
        estimator=f"{ONE_GRID} A share of energy without DC does not depend on the mean activation.",
        command="analyze spectra",
    )
    yield Claim(
        "study-high-amplitude",
        "ViT's amplitude at the highest frequencies, relative to DC, is above ConvNeXt's.",
        STUDY,
        "Fig. 6",
        "study",
        "spectra",
        "relative log amplitude of the corners (nat)",
        direction=-1,
        smallest=0.1,
        estimator=ONE_GRID,
        command="analyze spectra",
    )
    for name, metric, sentence in (
        (
            "foreground",
            "foreground share less the box's",
            "ViT's feature maps lie on the background more than ConvNeXt's.",
        ),
        (
            "contrast",
            "foreground-background contrast",
            "ConvNeXt's feature maps set the object off from the background more than ViT's.",
        ),
    ):
        yield Claim(
            f"study-maps-{name}",
            sentence,
            STUDY,
            "Fig. 7",
            "study",
            "maps",
            metric,
            "common grid *",
            smallest=0.01,
            estimator="On one grid, of the channels' norm; outlier tokens of a ViT look like attention to the "
            "background and are not.",
            command="analyze maps --dataset cub200",
        )
    yield Claim(
        "study-fine-silhouette",
        "ConvNeXt separates the classes of a fine-grained data set better than ViT.",
        STUDY,
        "Table 1",
        "study",
        "silhouette",
        "silhouette, mean over samples",
        "euclidean, features*",
        datasets=FINE_GRAINED,
        smallest=0.005,
        published="0.130 against 0.113",
        estimator="In feature space; the study does not say in which space its silhouette is.",
        command="analyze silhouette --dataset cub200",
    )
    yield Claim(
        "study-fine-purity",
        "On the t-SNE map of a fine-grained data set ConvNeXt's classes are more apart than ViT's.",
        STUDY,
        "Fig. 8",
        "study",
        "tsne",
        "kNN purity, map",
        "k = 10",
        datasets=FINE_GRAINED,
        smallest=0.01,
        estimator="By the classes of the nearest neighbours: gaps and areas of such a map say nothing.",
        command="analyze tsne --dataset cub200",
    )
    yield Claim(
        "study-coarse-silhouette",
        "Both networks separate the classes of CIFAR-10 clearly.",
        STUDY,
        "Fig. 8",
        "study",
        "silhouette",
        "silhouette, mean over samples",
        "euclidean, features*",
        datasets=COARSE,
        contrast="each",
        smallest=0.05,
        command="analyze silhouette --dataset cifar10",
    )
    yield Claim(
        "study-style",
        "ViT is less sensitive to style than ConvNeXt.",
        STUDY,
        "Fig. 9",
        "study",
        "imagenet-x",
        "error ratio",
        "style",
        smallest=0.05,
        estimator="Of the images that annotators marked; some 40 have this factor, so the interval is wide.",
        command="eval imagenet-x",
    )
    for factor, side, words in (
        ("camera", 1, "the point of view"),
        ("orientation", 1, "the orientation of the object"),
        ("size", 1, "the size of the object"),
        ("texture", 1, "texture"),
        ("background", -1, "the background"),
        ("light", -1, "light"),
    ):
        better, worse = ("ConvNeXt", "ViT") if side > 0 else ("ViT", "ConvNeXt")
        yield Claim(
            f"study-pug-{factor}",
            f"{better} is more often right than {worse} where {words} varies.",
            STUDY,
            "Fig. 10",
            "study",
            "pug",
            "factor accuracy",
            factor,
            direction=side,  # type: ignore[arg-type]
            smallest=0.01,
            estimator="Over the 3D objects: renders of one object are alike.",
            command="eval pug",
        )


def _representations() -> Iterator[Claim]:
    yield Claim(
        "raghu-shallow-deep",
        "A ViT's lower and higher layers are more alike than those of a convolutional network.",
        RAGHU,
        "Fig. 1",
        "raghu-2021",
        "cka",
        ALL_POSITIONS,
        QUARTERS,
        direction=-1,
        smallest=0.05,
        estimator=OF_CKA,
        command="analyze cka --view maps",
    )
    yield Claim(
        "raghu-uniform",
        "A ViT's layers are more alike throughout than those of a convolutional network.",
        RAGHU,
        "Fig. 1",
        "raghu-2021",
        "cka",
        command="analyze cka --view maps",
        missing="the mean over all layers has a row for each backbone and none for their difference",
    )
    yield Claim(
        "raghu-global-attention",
        "A ViT takes in global information in its lowest layers already.",
        RAGHU,
        "Fig. 3",
        "raghu-2021",
        "attention-distance",
        missing="no analysis measures the distance of attention",
    )
    yield Claim(
        "park-low-pass",
        "Attention lowers the high frequencies of feature maps, convolutions raise them.",
        PARK,
        "Fig. 2",
        "park-2022",
        "spectra",
        "energy share above 0.5 π",
        smallest=0.01,
        estimator=ONE_GRID,
        command="analyze spectra",
    )
    yield Claim(
        "park-amplitude",
        "At the highest frequency a convolutional network's relative log amplitude is above a transformer's.",
        PARK,
        "Fig. 8",
        "park-2022",
        "spectra",
        "relative log amplitude of the corners (nat)",
        smallest=0.1,
        estimator=ONE_GRID,
        command="analyze spectra",
    )
    yield Claim(
        "park-variance",
        "Attention lowers the variance of feature maps, convolutions raise it.",
        PARK,
        "Fig. 9",
        "park-2022",
        "spectra",
        "spatial variance of a channel",
        estimator="Of whole networks, whose activations have scales of their own; the paper follows it from block to "
        "block.",
        command="analyze spectra",
    )
    yield Claim(
        "park-noise",
        "Transformers withstand high-frequency noise better than convolutional networks.",
        PARK,
        "Fig. 2",
        "park-2022",
        "accuracy",
        missing="no data set here adds noise of a band of frequencies",
    )
    yield Claim(
        "darcet-outliers",
        "Among a ViT's patch tokens some have far larger norms than the others.",
        DARCET,
        "Sec. 2",
        "darcet-2024",
        "maps",
        "outlier-token rate",
        "own grid *",
        contrast="transformer",
        smallest=0.005,
        estimator="By the median and its deviation within an image, in the place of a fixed norm.",
        command="analyze maps",
    )
    yield Claim(
        "darcet-background",
        "A ViT's outlier tokens lie where the image has little to tell.",
        DARCET,
        "Sec. 2",
        "darcet-2024",
        "maps",
        command="analyze maps",
        missing="the share of outliers outside the box has a row, its difference to the box's share of the area none",
    )


def _behaviours() -> Iterator[Claim]:
    yield Claim(
        "vishniakov-robust",
        "A supervised ConvNeXt is more robust than a ViT on variants of ImageNet.",
        VISHNIAKOV,
        "robustness",
        "vishniakov-2024",
        "robustness",
        "top1",
        datasets=SHIFTED,
        smallest=0.005,
        estimator=SUPERVISED,
        command="eval robustness",
    )
    for name, words in (("scale", "enlarged"), ("shift", "shifted"), ("resolution", "shown at another resolution")):
        yield Claim(
            f"vishniakov-{name}",
            f"A supervised ConvNeXt loses less accuracy than a ViT when images are {words}.",
            VISHNIAKOV,
            "transformation invariance",
            "vishniakov-2024",
            "invariance",
            "top1 less reference",
            f"{name}=*",
            smallest=0.005,
            estimator="Difference of the two losses on the same images, at each setting.",
            command=f"eval invariance --transform {name}",
        )
    yield Claim(
        "vishniakov-synthetic",
        "A supervised ConvNeXt is more often right on rendered images than a ViT.",
        VISHNIAKOV,
        "synthetic data",
        "vishniakov-2024",
        "pug",
        "top1",
        smallest=0.01,
        estimator="Over the 3D objects: renders of one object are alike.",
        command="eval pug",
    )
    yield Claim(
        "vishniakov-calibration",
        "A supervised ConvNeXt is better calibrated than a ViT.",
        VISHNIAKOV,
        "calibration",
        "vishniakov-2024",
        "calibration",
        command="eval calibration",
        missing="the calibration error has a row for each backbone and none for their difference",
    )
    yield Claim(
        "vishniakov-transfer",
        "A supervised ConvNeXt's features transfer better than a ViT's.",
        VISHNIAKOV,
        "transferability",
        "vishniakov-2024",
        "probe",
        command="transfer probe --dataset @transfer",
        missing="the probe has a row for each backbone and none for their difference",
    )
    for name, source in (("naseer", NASEER), ("tuli", TULI)):
        yield Claim(
            f"{name}-shape",
            "Transformers decide by shape more often than convolutional networks do.",
            source,
            "shape bias",
            f"{name}-2021",
            "shape-bias",
            "shape bias",
            direction=-1,
            smallest=0.02,
            command="eval shape-bias",
        )
    for name in ("imagenet-a", "imagenet-r"):
        yield Claim(
            f"paul-{name}",
            f"Transformers are more often right than convolutional networks on {name}.",
            PAUL,
            "robustness",
            "paul-2022",
            "robustness",
            "top1",
            datasets=(name,),
            direction=-1,
            smallest=0.01,
            estimator="The paper's convolutional networks are BiT; a ConvNeXt is younger.",
            command=f"eval robustness --dataset {name}",
        )
    yield Claim(
        "bai-out-of-distribution",
        "Transformers are more often right out of distribution than convolutional networks, trained alike.",
        BAI,
        "out-of-distribution generalisation",
        "bai-2021",
        "robustness",
        "top1",
        datasets=("imagenet-a",),
        direction=-1,
        smallest=0.01,
        estimator="The paper's networks are DeiT-S and ResNet-50.",
        command="eval robustness --dataset imagenet-a",
    )
    yield Claim(
        "minderer-calibration",
        "Networks without convolutions are among the best calibrated.",
        MINDERER,
        "calibration",
        "minderer-2021",
        "calibration",
        command="eval calibration",
        missing="the calibration error has a row for each backbone and none for their difference",
    )


CLAIMS: tuple[Claim, ...] = (*_study(), *_representations(), *_behaviours())
"""All, in the order of a report: the reference study's by figure, then those of other papers."""
