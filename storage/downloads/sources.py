"""Where the official archives are. To offer a data set, add a row to SOURCES.

Checksums are those that the authors, torchvision, TensorFlow Datasets or other public loaders publish; where there is
none, the digest of the first download is recorded under the data root and later ones are compared with it. Sizes are
those of TensorFlow Datasets, or those that downloads with the same checksum were seen to have. A later URL serves the
same bytes as the first: often it is where the first redirects to. ImageNet itself has to be asked for.
"""

from __future__ import annotations

from cvbench.storage.downloads.archive import About, Archive, Source

__all__ = ["SOURCES", "About", "Archive", "Source"]

_CALTECH = "https://data.caltech.edu"
_CUB = (f"{_CALTECH}/records/65de6-vp158/files", "http://www.vision.caltech.edu/visipedia-data/CUB-200-2011")
_KRIZ = ("https://www.cs.toronto.edu/~kriz", "https://cave.cs.toronto.edu/kriz")
_OXFORD, _THOR = "https://www.robots.ox.ac.uk/~vgg/data", "https://thor.robots.ox.ac.uk"
_DTD = (f"{_OXFORD}/dtd/download", f"{_THOR}/dtd")
_FLOWERS = (f"{_OXFORD}/flowers/102", f"{_THOR}/flowers/102")
_PETS = (f"{_OXFORD}/pets/data", f"{_THOR}/pets")
_SUN = ("https://vision.princeton.edu/projects/2010/SUN", "https://3dvision.princeton.edu/projects/2010/SUN")
_HUGGING_FACE = "https://huggingface.co/datasets"
_EUROSAT = (
    f"{_HUGGING_FACE}/torchgeo/eurosat/resolve/c877bcd43f099cd0196738f714544e355477f3fd",
    "https://madm.dfki.de/files/sentinel",
)
_SKETCH = f"{_HUGGING_FACE}/songweig/imagenet_sketch/resolve/main/data"
_V2 = f"{_HUGGING_FACE}/vaishaal/ImageNetV2/resolve/main"
_BERKELEY = "https://people.eecs.berkeley.edu/~hendrycks"
_RAW = "https://raw.githubusercontent.com"
_PUG = f"{_RAW}/facebookresearch/PUG/d6b98fae92081366e20c79b4086c219c866fda4c/PUG_ImageNet"
_STANFORD = "http://ufldl.stanford.edu/housenumbers"
_NORB = "https://cs.nyu.edu/~ylclab/data/norb-v1.0-small"
_NORB_TRAINING, _NORB_TESTING = (
    "smallnorb-5x46789x9x18x6x2x96x96-training",
    "smallnorb-5x01235x9x18x6x2x96x96-testing",
)
_KITTI = "https://s3.eu-central-1.amazonaws.com/avg-kitti"
_DSPRITES = f"{_RAW}/google-deepmind/dsprites-dataset/master"
_X = f"{_RAW}/facebookresearch/imagenetx/HEAD/imagenet_x/annotations"


def _file(
    file: str,
    *places: str,
    md5: str | None = None,
    sha256: str | None = None,
    size: int | None = None,
    unpack: bool = True,
    beside: str | None = None,
) -> Archive:
    """An archive that lies at each of the places under its own name."""
    urls = tuple(f"{place}/{file}" for place in places)
    return Archive(file, urls, md5=md5, sha256=sha256, size=size, unpack=unpack, beside=beside)


def _v2(name: str, file: str, *, sha256: str, size: int) -> Source:
    """One of the three sets of ImageNetV2."""
    archive = _file(f"imagenetv2-{file}.tar.gz", _V2, sha256=sha256, size=size)
    return Source(f"imagenetv2-{name}", f"imagenetv2-{file}-format-val", (archive,))


def _source(dataset: str, *archives: Archive, folder: str | None = None, about: About | None = None) -> Source:
    """Make the source of a data set; its folder has its name unless another is given."""
    return Source(dataset, folder or dataset, archives, about)


_ROWS = (
    _source(
        "caltech101",
        Archive(
            "caltech-101.zip",
            (
                f"{_CALTECH}/records/mzrjq-6wc02/files/caltech-101.zip",
                f"{_CALTECH}/api/records/mzrjq-6wc02/files/caltech-101.zip/content",
            ),
            md5="3138e1922a9193bfa496528edbbc45d0",
            size=137_414_764,
            inner=("caltech-101/101_ObjectCategories.tar.gz",),
        ),
    ),
    _source(
        "cifar10", _file("cifar-10-python.tar.gz", *_KRIZ, md5="c58f30108f718f92721af3b95e74349a", size=170_498_071)
    ),
    _source(
        "cifar100", _file("cifar-100-python.tar.gz", *_KRIZ, md5="eb9058c3a382ffc7106e4002c42a8d85", size=169_001_437)
    ),
    _source("cub200", _file("CUB_200_2011.tgz", *_CUB, md5="97eceeb196236b17998738112f37df78", size=1_150_585_339)),
    _source("dtd", _file("dtd-r1.0.1.tar.gz", *_DTD, md5="fff73e5086ae6bdbea199a49dfb8a4c1", size=625_239_812)),
    _source("eurosat", _file("EuroSAT.zip", *_EUROSAT, md5="c8fa014336c82ac7804f0398fcb19387", size=94_280_567)),
    _source(
        "flowers102",
        _file("102flowers.tgz", *_FLOWERS, md5="52808999861908f626f3c1f4e79d11fa", size=344_862_509),
        _file("imagelabels.mat", *_FLOWERS, md5="e0620be6f572b9609742df49c70aed4d", size=502, unpack=False),
        _file("setid.mat", *_FLOWERS, md5="a5357ecc9cb78c4bef273ce3793fc85c", size=14_989, unpack=False),
        folder="flowers-102",
    ),
    _source(
        "pets",
        _file("images.tar.gz", *_PETS, md5="5c4f3ee8e5d25df40f4fd59a7f44e54c", size=791_918_971),
        _file("annotations.tar.gz", *_PETS, md5="95a8c909bbe2e81eed6a22bccdf3f68f", size=19_173_078),
        folder="oxford-iiit-pet",
    ),
    _source(
        "sun397",
        _file("SUN397.tar.gz", *_SUN, md5="8ca2778205c41d23104230ba66911c7a", size=39_077_296_924),
        _file(
            "Partitions.zip",
            *(f"{place}/download" for place in _SUN),
            sha256="e3311ea5f812d4cc6faef194688343d1111f6cd6f70f2c62f393c2b8d6ba1ec9",
            size=18_293_705,
        ),
    ),
    _v2(
        "matched-frequency",
        "matched-frequency",
        sha256="f0c37fdf925916b19ea1323cd9a2208cdb6959ba2c32eef2a7fc393835c9ca7c",
        size=1_264_079_360,
    ),
    _v2(
        "threshold-0.7",
        "threshold0.7",
        sha256="32142bfe998f9cfa4141be691f6a80eeb1e27b24bd532a668eb08c26d98897a2",
        size=1_249_906_176,
    ),
    _v2(
        "top-images",
        "top-images",
        sha256="85e4ace30f3f0d660152062254b8759dda66267b27f7ec0fd8d5768f1073a04b",
        size=1_245_927_936,
    ),
    _source(
        "imagenet-a",
        _file(
            "imagenet-a.tar",
            _BERKELEY,
            md5="c3e55429088dc681f30d81f4726b6595",
            sha256="3bb3632277e6ba6392ea64c02ddbf4dd2266c9caffd6bc09c9656d28f012589e",
            size=687_552_512,
        ),
    ),
    _source(
        "imagenet-r",
        _file(
            "imagenet-r.tar",
            _BERKELEY,
            md5="a61312130a589d0ca1a8fca1f2bd3337",
            sha256="18c6bf493b39a0d975d48e587437f562caab9c52ae6327dcfa9dd8eb54aa1b52",
            size=2_191_079_936,
        ),
    ),
    _source("imagenet-sketch", _file("ImageNet-Sketch.zip", _SKETCH)),
    _source(
        "pug-imagenet",
        _file("PUG_IMAGENET.tar.gz", "https://dl.fbaipublicfiles.com/large_objects/pug"),
        _file("class_to_imagenet_idx.json", _PUG, unpack=False, beside="labels_pug_imagenet.csv"),
        folder="PUG",
    ),
    _source(
        "cue-conflict",
        _file("cue-conflict.tar.gz", "https://github.com/bethgelab/model-vs-human/releases/download/v0.1"),
    ),
    _source(
        "svhn",
        *(
            _file(f"{split}_32x32.mat", _STANFORD, sha256=sha256, size=size, unpack=False)
            for split, sha256, size in (
                ("train", "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8", 182_040_794),
                ("test", "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b", 64_275_384),
                ("extra", "a133a4beb38a00fcdda90c9489e0c04f900b660ce8a316a5e854838379a71eb3", 1_329_278_602),
            )
        ),
    ),
    _source(
        "smallnorb",
        *(
            _file(f"{file}.mat.gz", _NORB, sha256=sha256, size=size, unpack=False)
            for file, sha256, size in (
                (
                    f"{_NORB_TRAINING}-dat",
                    "5ffd6272a07d32695ee1082a26a41a93a37aab8c28da047f8c34ed348d214873",
                    131_896_188,
                ),
                (f"{_NORB_TRAINING}-cat", "2784e542c1922060691090952b6cd6278879a216c90f81476f0f00256d42cdaa", 348),
                (f"{_NORB_TRAINING}-info", "de7eb932ebe7a4ee16217fead60660d0eb3d23632c2f4d1c51f88c501c17bf32", 71_052),
                (
                    f"{_NORB_TESTING}-dat",
                    "cf7104eed3e51174d2f65b66d1e5878b9da233b886f161b0d88f4510ba2c7474",
                    130_799_817,
                ),
                (f"{_NORB_TESTING}-cat", "ecaf6d5bb8c3bc5eab9cf0258f6d2198dd474e016e374836fc097f2e5ff509ff", 347),
                (f"{_NORB_TESTING}-info", "16adf314226327ee006d1a44db8cfef52773c06c829951d5653a9f6f310248a2", 10_428),
            )
        ),
    ),
    _source(
        "clevr",
        _file(
            "CLEVR_v1.0.zip",
            "https://dl.fbaipublicfiles.com/clevr",
            sha256="5cd61cf1096ed20944df93c9adb31e74d189b8459a94f54ba00090e5c59936d1",
            size=19_021_600_724,
        ),
    ),
    _source("dsprites", _file("dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz", _DSPRITES, unpack=False)),
    _source(
        "kitti",
        _file(
            "data_object_image_2.zip",
            _KITTI,
            sha256="351c5a2aa0cd9238b50174a3a62b846bc5855da256b82a196431d60ff8d43617",
            size=12_569_945_557,
        ),
        _file(
            "data_object_label_2.zip",
            _KITTI,
            sha256="4efc76220d867e1c31bb980bbf8cbc02599f02a9cb4350effa98dbb04aaed880",
            size=5_601_213,
        ),
        _file(
            "devkit_object.zip",
            _KITTI,
            sha256="cfde67e531832618ea0fd4844f91e34a45068025e2bef79e278cb812dc2537d0",
            size=63_778,
        ),
    ),
    _source(
        "imagenet-real",
        _file(
            "real.json",
            f"{_RAW}/google-research/reassessed-imagenet/master",
            sha256="d83e9bff374c631aae8439eb064c7019acc56e1b3bc3f56b8380c2a710b0220b",
            size=388_478,
            unpack=False,
        ),
        about=About(
            "ReaL labels of ImageNet's validation images (Beyer et al. 2020)",
            "see the homepage",
            "https://github.com/google-research/reassessed-imagenet",
        ),
    ),
    _source(
        "imagenet-x",
        _file("imagenet_x_val_top_factor.jsonl", _X, unpack=False),
        _file("imagenet_x_val_multi_factor.jsonl", _X, unpack=False),
        _file("prototypical_paths.csv", _X, unpack=False),
        _file("imagenet_1k_classes_to_100_metaclasses.csv", _X, unpack=False),
        about=About(
            "ImageNet-X, factor annotations of ImageNet's validation images (Idrissi et al. 2022)",
            "CC BY-NC",
            "https://github.com/facebookresearch/imagenetx",
        ),
    ),
)

SOURCES: dict[str, Source] = {source.dataset: source for source in _ROWS}
