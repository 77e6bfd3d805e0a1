"""Where the official archives are. To offer a data set, add a line to SOURCES.

Checksums are those that the authors, torchvision, TensorFlow Datasets or other public loaders publish; where there is
none, the digest of the first download is recorded under the data root and later ones are compared with it. Sizes are
those of TensorFlow Datasets, or those that downloads with the same checksum were seen to have. A later URL serves the
same bytes as the first: often it is where the first redirects to.
"""

from __future__ import annotations

from collections.abc import Iterable

from cvbench.storage.downloads.archive import About, Archive, Source
from cvbench.storage.downloads.imagenet_sources import IMAGENET_SOURCES

__all__ = ["SOURCES", "About", "Archive", "Source"]

_KRIZ = "https://www.cs.toronto.edu/~kriz"
_CAVE = "https://cave.cs.toronto.edu/kriz"
_OXFORD, _THOR = "https://www.robots.ox.ac.uk/~vgg/data", "https://thor.robots.ox.ac.uk"
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
                    (
                        "https://data.caltech.edu/records/mzrjq-6wc02/files/caltech-101.zip",
                        "https://data.caltech.edu/api/records/mzrjq-6wc02/files/caltech-101.zip/content",
                    ),
                    md5="3138e1922a9193bfa496528edbbc45d0",
                    size=137_414_764,
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
                    (f"{_KRIZ}/cifar-10-python.tar.gz", f"{_CAVE}/cifar-10-python.tar.gz"),
                    md5="c58f30108f718f92721af3b95e74349a",
                    size=170_498_071,
                ),
            ),
        ),
        Source(
            "cifar100",
            "cifar100",
            (
                Archive(
                    "cifar-100-python.tar.gz",
                    (f"{_KRIZ}/cifar-100-python.tar.gz", f"{_CAVE}/cifar-100-python.tar.gz"),
                    md5="eb9058c3a382ffc7106e4002c42a8d85",
                    size=169_001_437,
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
                    size=1_150_585_339,
                ),
            ),
        ),
        Source(
            "dtd",
            "dtd",
            (
                Archive(
                    "dtd-r1.0.1.tar.gz",
                    (f"{_OXFORD}/dtd/download/dtd-r1.0.1.tar.gz", f"{_THOR}/dtd/dtd-r1.0.1.tar.gz"),
                    md5="fff73e5086ae6bdbea199a49dfb8a4c1",
                    size=625_239_812,
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
                    size=94_280_567,
                ),
            ),
        ),
        Source(
            "flowers102",
            "flowers-102",
            (
                Archive(
                    "102flowers.tgz",
                    tuple(f"{base}/flowers/102/102flowers.tgz" for base in (_OXFORD, _THOR)),
                    md5="52808999861908f626f3c1f4e79d11fa",
                    size=344_862_509,
                ),
                Archive(
                    "imagelabels.mat",
                    tuple(f"{base}/flowers/102/imagelabels.mat" for base in (_OXFORD, _THOR)),
                    md5="e0620be6f572b9609742df49c70aed4d",
                    size=502,
                    unpack=False,
                ),
                Archive(
                    "setid.mat",
                    tuple(f"{base}/flowers/102/setid.mat" for base in (_OXFORD, _THOR)),
                    md5="a5357ecc9cb78c4bef273ce3793fc85c",
                    size=14_989,
                    unpack=False,
                ),
            ),
        ),
        Source(
            "pets",
            "oxford-iiit-pet",
            (
                Archive(
                    "images.tar.gz",
                    (f"{_OXFORD}/pets/data/images.tar.gz", f"{_THOR}/pets/images.tar.gz"),
                    md5="5c4f3ee8e5d25df40f4fd59a7f44e54c",
                    size=791_918_971,
                ),
                Archive(
                    "annotations.tar.gz",
                    (f"{_OXFORD}/pets/data/annotations.tar.gz", f"{_THOR}/pets/annotations.tar.gz"),
                    md5="95a8c909bbe2e81eed6a22bccdf3f68f",
                    size=19_173_078,
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
                    size=39_077_296_924,
                ),
                Archive(
                    "Partitions.zip",
                    tuple(f"{base}/download/Partitions.zip" for base in _SUN),
                    size=18_293_705,
                    sha256="e3311ea5f812d4cc6faef194688343d1111f6cd6f70f2c62f393c2b8d6ba1ec9",
                ),
            ),
        ),
        *IMAGENET_SOURCES,
    )
)
