"""What an extraction is asked for: its options, and what is refused of them before anything runs."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from cvbench.errors import UnknownNameError, UsageError
from cvbench.jobs.extraction.decoding.choice import DecodeIn
from cvbench.jobs.reading.views import either, stored_views
from cvbench.jobs.running.hardware import Hardware
from cvbench.jobs.running.places import absolute
from cvbench.options import BYTES, COMMA_SEPARATED, NAMES, Form, Option, count_or

if TYPE_CHECKING:
    from cvbench.engine.pictures.geometry import Geometry

CPU_BATCH = 32  # on a CPU the batch hardly matters for speed; a constant keeps stores comparable


COLUMNS = "What the columns of a table are: label=species,path=file; see `datasets info table`."
AUTO = "auto"
"""The precision that the store has, else the one that suits the device."""


PAIR = ("convnext-base", "vit-base-16")
"""The pair of the reference study."""


@dataclass(frozen=True)
class ExtractOptions:
    """Options of an extraction. Everything that changes bytes goes into the fingerprint of the features.

    Attributes:
        maps: None is all.
        limit: None is all; else every view covers a prefix of the store's order.
        batch_size: None is calibrated once and frozen in the store.
        decode_threads: How many decode; None: as many as the cores suggest.
    """

    dataset: Annotated[str, Option("Data set, as for extract: the images are read.", short="-d")]
    backbones: Annotated[
        tuple[str, ...],
        Option(
            "timm model, alias, hf:, torchvision: or open_clip: model, module:function, or NAME=MODEL. Repeat.",
            "--backbone",
            "-m",
        ),
    ] = PAIR
    store: Annotated[str, Option("Path or URL of the feature store.")] = "./cvbench.zarr"
    split: Annotated[str | None, Option("Split of the data set; the default is the data set's own.")] = None
    data_root: Annotated[str | None, Option("Folder that holds the data sets.", variable="CVBENCH_DATA")] = None
    weights: Annotated[
        tuple[str, ...],
        Option(
            "pretrained, random, FILE (.safetensors, .pth, ...), or NAME=FILE for one.",
            such_as=("pretrained", "random"),
        ),
    ] = ("pretrained",)
    taps: Annotated[
        tuple[str, ...], Option("blocks, paper, branches, a module name or a glob; 'list' prints what there is.")
    ] = ("blocks",)
    views: Annotated[
        tuple[str, ...],
        Option(f"{either(stored_views())}. Repeat, or a,b.", "--view", text=NAMES, values=stored_views()),
    ] = ("pooled",)
    maps: Annotated[
        int | None, Option("Samples that the maps view covers: a number or 'all'.", text=count_or("all"))
    ] = 1024
    limit: Annotated[
        int | None, Option("Samples to cover, rounded up to whole units.", text=count_or("all", shown=False))
    ] = None
    batch_size: Annotated[
        int | None, Option("Images per forward pass, or 'auto'.", short="-b", text=count_or("auto"))
    ] = None
    image_size: Annotated[int | None, Option("Input size in pixels, if not the model's own.", least=8)] = None
    unit: Annotated[int | None, Option("Samples of one unit of work; frozen in the store.", least=4)] = None
    precision: Annotated[
        str,
        Option(
            "auto: the store's, else bf16 or fp16 on a GPU that has it and fp32 on a CPU.",
            values=("auto", "fp32", "bf16", "fp16"),
        ),
    ] = AUTO
    compile: Annotated[
        bool, Option("Compile each network first (torch.compile); see what `plan` says of it. Part of the fingerprint.")
    ] = False
    dtype: Annotated[str, Option("Stored type of pooled and maps.", values=("float16", "float32"))] = "float16"
    keep_bits: Annotated[int | None, Option("Round mantissas to this many bits, on the device.", least=1, most=10)] = (
        None
    )
    codec: Annotated[
        str,
        Option(
            "none, zstd, blosc-zstd, blosc-lz4, or with a filter: bitround5+zstd.",
            such_as=("none", "zstd", "blosc-zstd", "blosc-lz4", "bitround5+zstd"),
        ),
    ] = "none"
    decoder: Annotated[
        Literal["fast", "pil"],
        Option(
            "fast: turned by EXIF, alpha on white; pil: timm's pixels, EXIF ignored, alpha dropped (as --preprocess)."
        ),
    ] = "fast"
    preprocess: Annotated[
        Literal["model", "beyond_inet", "pug"],
        Option("model: each its own; beyond_inet or pug: the rules of those studies, shared by all."),
    ] = "model"
    seed: Annotated[int, Option("Seed of the sample order.")] = 0
    decode_in: Annotated[
        DecodeIn,
        Option("threads or processes that decode, the same bytes; auto: processes beside a GPU with many cores."),
    ] = "auto"
    decode_threads: int | None = None
    analyses: Annotated[
        tuple[str, ...],
        Option(
            "cka, spectra, similarity, norms: measured live on whole maps, none is stored. Repeat.",
            "--analyze",
            text=COMMA_SEPARATED,
        ),
    ] = ()
    max_unreadable: Annotated[float, Option("Share of unreadable samples that is tolerated.", least=0, most=1)] = 0.01
    max_bytes: Annotated[int | None, Option("Refuse to write more than this, e.g. 20GB.", text=BYTES)] = None
    columns: Annotated[str | None, Option(COLUMNS)] = None

    def __post_init__(self) -> None:
        if self.columns and self.dataset:  # they are part of the data set's name: whoever opens it needs no other word
            from cvbench.storage.datasets import with_columns

            object.__setattr__(self, "dataset", with_columns(self.dataset, self.columns))
            object.__setattr__(self, "columns", None)


@dataclass(frozen=True)
class Rates:
    """Rates that a plan reckons with."""

    rate: Annotated[float | None, Option("For the plan: images/s per GPU or core, all backbones.", least=0.001)] = None
    card: Annotated[
        str | None, Option("For the plan; default this machine's.", values=("h200", "h100", "a100", "v100"))
    ] = None
    disk_mb_s: Annotated[float, Option("For the plan: write bandwidth of the store in MB/s.", least=0.1)] = 1000.0


_DATASET = "A name of `datasets ls`, folder:PATH, table:FILE, @paper; NAME+scale=2 transforms. Repeat."
EXTRACT: tuple[Form, type[Hardware]] = (Form(ExtractOptions, each="dataset", help={"dataset": _DATASET}), Hardware)
PLAN: tuple[Form, type[Hardware], type[Rates]] = (*EXTRACT, Rates)


def jobs_of(asked: Sequence[ExtractOptions]) -> list[ExtractOptions]:
    """One extraction for each data set, groups taken apart.

    Args:
        asked: What the form makes: the same but for the data set.

    Raises:
        UnknownNameError: There is no such group or transform.
        UsageError: A store would keep two data sets under the same name.
    """
    datasets = datasets_of([options.dataset for options in asked])
    check_keys(datasets, asked[0].data_root)
    return [replace(asked[0], dataset=dataset) for dataset in datasets]


def resolved(options: ExtractOptions) -> ExtractOptions:
    """Absolute paths, so that actors with another working directory mean the same files; and early checks."""
    from cvbench.storage.datasets import absolute_spec

    known = stored_views()
    for view in options.views:
        if view not in known:
            raise UnknownNameError.among("view", view, known, fix=f"views: {', '.join(known)}")
    if options.limit is not None and options.limit < 1:
        raise UsageError(f"--limit {options.limit} leaves no sample", fix="give a positive number")
    if not options.backbones:
        raise UsageError("no backbone given", fix="--backbone convnext-base --backbone vit-base-16")
    _check_formats(options)
    return replace(
        options,
        dataset=absolute_spec(options.dataset, data_root=options.data_root),
        store=absolute(options.store),
        data_root=absolute_root(options.data_root),
    )


def _check_formats(options: ExtractOptions) -> None:
    """Refuse what no array could be declared with, before anything is written."""
    from cvbench.engine.models.precision import PRECISIONS, STORE_DTYPES
    from cvbench.engine.models.specs import PRESETS
    from cvbench.engine.models.views import find_view
    from cvbench.storage.features.codecs import parse_codec

    for kind, given, known in (
        ("precision", options.precision, (AUTO, *PRECISIONS)),
        ("dtype", options.dtype, STORE_DTYPES),
        ("decoder", options.decoder, ("fast", "pil")),
        ("decode-in", options.decode_in, get_args(DecodeIn)),
        ("preprocess", options.preprocess, PRESETS),
    ):
        if given not in known:
            raise UnknownNameError.among(kind, given, known, fix=f"--{kind} {' or '.join(known)}")
    for dtype in {find_view(view).dtype or options.dtype for view in options.views}:
        parse_codec(options.codec, dtype)


def datasets_of(specs: Iterable[str]) -> list[str]:
    """The data sets asked for, each once: "@robustness" means its members, "digits+scale" the variants of its grid.

    Raises:
        UnknownNameError: There is no such group or transform.
    """
    from cvbench.storage.datasets.groups import expand
    from cvbench.storage.datasets.variant import expand_grid

    return list(dict.fromkeys(spec for one in expand(specs) for spec in expand_grid(one)))


def check_keys(specs: Sequence[str], data_root: str | None) -> None:
    """Refuse data sets that a store would keep under the same name, before anything is computed.

    Raises:
        UsageError: Naming both: of a folder the name has only the last part of the path.
    """
    from cvbench.storage.datasets import absolute_spec, key_of_spec

    seen: dict[str, str] = {}
    for spec in specs:
        key, place = key_of_spec(spec), absolute_spec(spec, data_root=data_root)
        if seen.setdefault(key, place) != place:
            raise UsageError(
                f"two data sets would both be {key} in the store",
                where=f"{seen[key]} and {place}",
                fix="give one of them a name of your own, "
                + shlex.quote(f"NAME={place}")
                + ", or each its own --store",
            )


def transform_record(dataset: str, geometry: Geometry) -> dict[str, Any]:
    """Fields of the fingerprint for the transform of a variant; none for other data sets.

    Raises:
        UsageError: Images of this geometry cannot be transformed so.
    """
    from cvbench.engine.pictures.transforms import check_transform
    from cvbench.storage.datasets.variant import split_transform

    transform = split_transform(dataset)[1]
    if transform is None:
        return {}
    check_transform(transform, geometry)
    return {"transform": {"name": transform[0], **transform[1]}}


def absolute_root(given: str | None) -> str | None:
    """A data root made absolute; None stays, and each process takes its own."""
    from cvbench.storage.datasets.roots import data_root

    return str(data_root(given)) if given else None
