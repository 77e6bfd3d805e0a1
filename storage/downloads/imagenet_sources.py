"""The archives of the data sets that are scored by ImageNet's classes, and of annotations of its validation images.

Sizes and SHA-256 are those of TensorFlow Datasets (`checksums.tsv` of imagenet_v2, imagenet_a, imagenet_r,
imagenet2012_real), MD5 those of public loaders. Of the others none is published. ImageNet itself has to be asked for.
"""

from __future__ import annotations

from cvbench.storage.downloads.archive import About, Archive, Source

_V2 = "https://huggingface.co/datasets/vaishaal/ImageNetV2/resolve/main"
_BERKELEY = "https://people.eecs.berkeley.edu/~hendrycks"
_RAW = "https://raw.githubusercontent.com"
_PUG = "d6b98fae92081366e20c79b4086c219c866fda4c"
_X = f"{_RAW}/facebookresearch/imagenetx/HEAD/imagenet_x/annotations"
_X_FILES = (
    "imagenet_x_val_top_factor.jsonl",
    "imagenet_x_val_multi_factor.jsonl",
    "prototypical_paths.csv",
    "imagenet_1k_classes_to_100_metaclasses.csv",
)


def _v2(variant: str, file: str, folder: str, size: int, sha256: str) -> Source:
    return Source(f"imagenetv2-{variant}", folder, (Archive(file, (f"{_V2}/{file}",), size=size, sha256=sha256),))


IMAGENET_SOURCES = (
    _v2(
        "matched-frequency",
        "imagenetv2-matched-frequency.tar.gz",
        "imagenetv2-matched-frequency-format-val",
        size=1_264_079_360,
        sha256="f0c37fdf925916b19ea1323cd9a2208cdb6959ba2c32eef2a7fc393835c9ca7c",
    ),
    _v2(
        "threshold-0.7",
        "imagenetv2-threshold0.7.tar.gz",
        "imagenetv2-threshold0.7-format-val",
        size=1_249_906_176,
        sha256="32142bfe998f9cfa4141be691f6a80eeb1e27b24bd532a668eb08c26d98897a2",
    ),
    _v2(
        "top-images",
        "imagenetv2-top-images.tar.gz",
        "imagenetv2-top-images-format-val",
        size=1_245_927_936,
        sha256="85e4ace30f3f0d660152062254b8759dda66267b27f7ec0fd8d5768f1073a04b",
    ),
    Source(
        "imagenet-a",
        "imagenet-a",
        (
            Archive(
                "imagenet-a.tar",
                (f"{_BERKELEY}/imagenet-a.tar",),
                md5="c3e55429088dc681f30d81f4726b6595",
                size=687_552_512,
                sha256="3bb3632277e6ba6392ea64c02ddbf4dd2266c9caffd6bc09c9656d28f012589e",
            ),
        ),
    ),
    Source(
        "imagenet-r",
        "imagenet-r",
        (
            Archive(
                "imagenet-r.tar",
                (f"{_BERKELEY}/imagenet-r.tar",),
                md5="a61312130a589d0ca1a8fca1f2bd3337",
                size=2_191_079_936,
                sha256="18c6bf493b39a0d975d48e587437f562caab9c52ae6327dcfa9dd8eb54aa1b52",
            ),
        ),
    ),
    Source(
        "imagenet-sketch",
        "imagenet-sketch",
        (
            Archive(
                "ImageNet-Sketch.zip",
                ("https://huggingface.co/datasets/songweig/imagenet_sketch/resolve/main/data/ImageNet-Sketch.zip",),
            ),
        ),
    ),
    Source(
        "pug-imagenet",
        "PUG",
        (
            Archive("PUG_IMAGENET.tar.gz", ("https://dl.fbaipublicfiles.com/large_objects/pug/PUG_IMAGENET.tar.gz",)),
            Archive(
                "class_to_imagenet_idx.json",
                (f"{_RAW}/facebookresearch/PUG/{_PUG}/PUG_ImageNet/class_to_imagenet_idx.json",),
                unpack=False,
                beside="labels_pug_imagenet.csv",
            ),
        ),
    ),
    Source(
        "cue-conflict",
        "cue-conflict",
        (
            Archive(
                "cue-conflict.tar.gz",
                ("https://github.com/bethgelab/model-vs-human/releases/download/v0.1/cue-conflict.tar.gz",),
            ),
        ),
    ),
    Source(
        "imagenet-real",
        "imagenet-real",
        (
            Archive(
                "real.json",
                (f"{_RAW}/google-research/reassessed-imagenet/master/real.json",),
                size=388_478,
                unpack=False,
                sha256="d83e9bff374c631aae8439eb064c7019acc56e1b3bc3f56b8380c2a710b0220b",
            ),
        ),
        About(
            "ReaL labels of ImageNet's validation images (Beyer et al. 2020)",
            "see the homepage",
            "https://github.com/google-research/reassessed-imagenet",
        ),
    ),
    Source(
        "imagenet-x",
        "imagenet-x",
        tuple(Archive(file, (f"{_X}/{file}",), unpack=False) for file in _X_FILES),
        About(
            "ImageNet-X, factor annotations of ImageNet's validation images (Idrissi et al. 2022)",
            "CC BY-NC",
            "https://github.com/facebookresearch/imagenetx",
        ),
    ),
)
