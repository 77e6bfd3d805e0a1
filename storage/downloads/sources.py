"""Where the official archives are. To offer a data set, add a line to SOURCES.

Checksums are those that the authors or torchvision publish; where there is none, the digest of the first download is
recorded under the data root and later ones are compared with it. A later URL serves the same bytes as the first.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Archive:
    """One file to fetch.

    Attributes:
        file: What it is called here.
        urls: Where it is, tried in order.
        md5: As published, or None.
        size: In bytes as published, or None.
        unpack: False for a file that is used as it is.
        inner: Archives inside of it that are unpacked too, each in its own folder.
    """

    file: str
    urls: tuple[str, ...]
    md5: str | None = None
    size: int | None = None
    unpack: bool = True
    inner: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """A data set's archives, and the folder below the data root that they are unpacked into."""

    dataset: str
    folder: str
    archives: tuple[Archive, ...]


_KRIZ = "https://www.cs.toronto.edu/~kriz"
_OXFORD = "https://www.robots.ox.ac.uk/~vgg/data"
_SUN = ("https://vision.princeton.edu/projects/2010/SUN", "https://3dvision.princeton.edu/projects/2010/SUN")
_EUROSAT = "https://huggingface.co/datasets/torchgeo/eurosat/resolve/c877bcd43f099cd0196738f714544e355477f3fd"


def _table(sources: Iterable[Source]) -> dict[str, Source]:
    return {source.dataset: source for source in sources}


SOURCES: dict[str, Source] = _table(
    (
        Source(
            "caltech101",
            "caltech101",
            (
                Archive(
                    "caltech-101.zip",
                    ("https://data.caltech.edu/records/mzrjq-6wc02/files/caltech-101.zip",),
                    md5="3138e1922a9193bfa496528edbbc45d0",
                    inner=("caltech-101/101_ObjectCategories.tar.gz",),
                ),
            ),
        ),
        Source(
            "cifar10",
            "cifar10",
            (
                Archive(
                    "cifar-10-python.tar.gz",
                    (f"{_KRIZ}/cifar-10-python.tar.gz",),
                    md5="c58f30108f718f92721af3b95e74349a",
                ),
            ),
        ),
        Source(
            "cifar100",
            "cifar100",
            (
                Archive(
                    "cifar-100-python.tar.gz",
                    (f"{_KRIZ}/cifar-100-python.tar.gz",),
                    md5="eb9058c3a382ffc7106e4002c42a8d85",
                ),
            ),
        ),
        Source(
            "cub200",
            "cub200",
            (
                Archive(
                    "CUB_200_2011.tgz",
                    (
                        "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz",
                        "http://www.vision.caltech.edu/visipedia-data/CUB-200-2011/CUB_200_2011.tgz",
                    ),
                    md5="97eceeb196236b17998738112f37df78",
                ),
            ),
        ),
        Source(
            "dtd",
            "dtd",
            (
                Archive(
                    "dtd-r1.0.1.tar.gz",
                    (f"{_OXFORD}/dtd/download/dtd-r1.0.1.tar.gz",),
                    md5="fff73e5086ae6bdbea199a49dfb8a4c1",
                ),
            ),
        ),
        Source(
            "eurosat",
            "eurosat",
            (
                Archive(
                    "EuroSAT.zip",
                    (f"{_EUROSAT}/EuroSAT.zip", "https://madm.dfki.de/files/sentinel/EuroSAT.zip"),
                    md5="c8fa014336c82ac7804f0398fcb19387",
                ),
            ),
        ),
        Source(
            "flowers102",
            "flowers-102",
            (
                Archive(
                    "102flowers.tgz", (f"{_OXFORD}/flowers/102/102flowers.tgz",), md5="52808999861908f626f3c1f4e79d11fa"
                ),
                Archive(
                    "imagelabels.mat",
                    (f"{_OXFORD}/flowers/102/imagelabels.mat",),
                    md5="e0620be6f572b9609742df49c70aed4d",
                    unpack=False,
                ),
                Archive(
                    "setid.mat",
                    (f"{_OXFORD}/flowers/102/setid.mat",),
                    md5="a5357ecc9cb78c4bef273ce3793fc85c",
                    unpack=False,
                ),
            ),
        ),
        Source(
            "pets",
            "oxford-iiit-pet",
            (
                Archive("images.tar.gz", (f"{_OXFORD}/pets/data/images.tar.gz",), "5c4f3ee8e5d25df40f4fd59a7f44e54c"),
                Archive(
                    "annotations.tar.gz",
                    (f"{_OXFORD}/pets/data/annotations.tar.gz",),
                    md5="95a8c909bbe2e81eed6a22bccdf3f68f",
                ),
            ),
        ),
        Source(
            "sun397",
            "sun397",
            (
                Archive(
                    "SUN397.tar.gz",
                    tuple(f"{base}/SUN397.tar.gz" for base in _SUN),
                    md5="8ca2778205c41d23104230ba66911c7a",
                ),
                Archive("Partitions.zip", tuple(f"{base}/download/Partitions.zip" for base in _SUN)),
            ),
        ),
    )
)
