"""What an extraction is asked for: options, and what they mean in backbones, arrays and units. Computes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cvbench.errors import DataUnavailableError, UnknownNameError, UsageError
from cvbench.options import BYTES, COMMA_SEPARATED, ONCE_EACH, Option, count_or

if TYPE_CHECKING:
    from cvbench.engine.backbones import BackboneSpec, Description
    from cvbench.engine.geometry import Geometry
    from cvbench.storage.datasets import Dataset
    from cvbench.storage.features import ArraySpec, FeatureStore, SplitInfo
    from cvbench.storage.units import Unit

CPU_BATCH = 32  # on a CPU the batch hardly matters for speed; a constant keeps stores comparable
VIEWS = ("pooled", "maps", "head", "logits")
DIMS = {"pooled": ("sample", "channel"), "cls": ("sample", "channel"), "maps": ("sample", "row", "column", "channel")}


PAIR = ("convnext-base", "vit-base-16")
"""The pair of the reference study."""


@dataclass(frozen=True)
class ExtractOptions:
    """What to extract. Everything that changes bytes goes into the fingerprint of the features.

    Attributes:
        maps: None is all.
        limit: None is all; else every view covers a prefix of the store's order.
        batch_size: None is calibrated once and frozen in the store.
        decode_threads: None: as many as there are cores.
    """

    dataset: Annotated[str, Option("Data set, as for extract: the images are read.", short="-d")]
    backbones: Annotated[tuple[str, ...], Option("timm model or alias. Repeat.", "--backbone", "-m")] = PAIR
    store: Annotated[str, Option("Path or URL of the feature store.")] = "./cvbench.zarr"
    split: Annotated[str | None, Option("Split of the data set; the default is the data set's own.")] = None
    data_root: Annotated[str | None, Option("Folder that holds the data sets.", variable="CVBENCH_DATA")] = None
    weights: Annotated[tuple[str, ...], Option("pretrained, random, FILE.safetensors, or MODEL=FILE.safetensors.")] = (
        "pretrained",
    )
    taps: Annotated[tuple[str, ...], Option("blocks, paper, a module name or a glob; 'list' prints what there is.")] = (
        "blocks",
    )
    views: Annotated[tuple[str, ...], Option("pooled, maps, head or logits. Repeat.", "--view", text=ONCE_EACH)] = (
        "pooled",
    )
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
    precision: Annotated[str, Option("fp32, bf16 or fp16 (autocast).")] = "fp32"
    dtype: Annotated[str, Option("Stored type of pooled and maps: float16 or float32.")] = "float16"
    keep_bits: Annotated[int | None, Option("Round mantissas to this many bits, on the device.", least=1, most=10)] = (
        None
    )
    codec: Annotated[str, Option("none, zstd, blosc-zstd, blosc-lz4, or with a filter: bitround5+zstd.")] = "none"
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
    decode_threads: int | None = None
    analyses: Annotated[
        tuple[str, ...],
        Option(
            "cka, spectra, similarity: measured live on whole maps, none is stored. Repeat.",
            "--analyze",
            text=COMMA_SEPARATED,
        ),
    ] = ()
    max_unreadable: Annotated[float, Option("Share of unreadable samples that is tolerated.", least=0, most=1)] = 0.01
    max_bytes: Annotated[int | None, Option("Refuse to write more than this, e.g. 20GB.", text=BYTES)] = None


def resolved(options: ExtractOptions) -> ExtractOptions:
    """Absolute paths, so that actors with another working directory mean the same files; and early checks."""
    from cvbench.storage.datasets import absolute_spec

    for view in options.views:
        if view not in VIEWS:
            raise UnknownNameError.among("view", view, VIEWS, fix=f"views: {', '.join(VIEWS)}")
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
    from cvbench.engine.precision import PRECISIONS, STORE_DTYPES
    from cvbench.engine.specs import PRESETS
    from cvbench.storage.codecs import parse_codec

    for kind, given, known in (
        ("precision", options.precision, PRECISIONS),
        ("dtype", options.dtype, STORE_DTYPES),
        ("decoder", options.decoder, ("fast", "pil")),
        ("preprocess", options.preprocess, PRESETS),
    ):
        if given not in known:
            raise UnknownNameError.among(kind, given, known, fix=f"--{kind} {' or '.join(known)}")
    for dtype in {"float32" if view in ("head", "logits") else options.dtype for view in options.views}:
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
        UsageError: Naming both: of a folder the store keeps only the last part of the path.
    """
    from cvbench.storage.datasets import absolute_spec, key_of_spec

    seen: dict[str, str] = {}
    for spec in specs:
        key, whole = key_of_spec(spec), absolute_spec(spec, data_root=data_root)
        if seen.setdefault(key, whole) != whole:
            raise UsageError(
                f"two data sets would both be {key} in the store",
                where=f"{seen[key]} and {whole}",
                fix="rename or link one of them to a folder of another name, or extract each into its own --store",
            )


def transform_record(dataset: str, geometry: Geometry) -> dict[str, Any]:
    """What the fingerprint says of the transform of a variant; nothing for other data sets.

    Raises:
        UsageError: Images of this geometry cannot be transformed so.
    """
    from cvbench.engine.transforms import check_transform
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


def absolute(store: str) -> str:
    """A store path made absolute; URLs stay."""
    return store if "://" in store else str(Path(store).expanduser().resolve())


def specs_of(options: ExtractOptions) -> list[BackboneSpec]:
    """The backbones asked for, with their weights.

    Raises:
        UnknownNameError: No such model; or weights for a backbone that is not asked for.
        UsageError: A backbone twice, or two weights for the same.
    """
    from cvbench.engine.backbones import resolve_spec

    own = weights_of(options.weights)
    default = own.pop("", "pretrained")
    for name in own:
        if name not in options.backbones:
            raise UnknownNameError.among("backbone in --weights", name, options.backbones)
    specs = [
        resolve_spec(
            name,
            weights=weights_path(own.get(name, default)),
            head="logits" in options.views,
            image_size=options.image_size,
            decoder=options.decoder,
            preset=options.preprocess,
        )
        for name in options.backbones
    ]
    twice = [key for key, count in Counter(spec.key for spec in specs).items() if count > 1]
    if twice:
        raise UsageError(f"backbone {twice[0]} is given twice", fix="name each backbone once")
    return specs


def weights_of(entries: Iterable[str]) -> dict[str, str]:
    """Backbone -> its weights, from entries such as "test_vit=FILE"; "" for those of all others.

    Raises:
        UsageError: Two for the same backbone, or two for all others.

    >>> weights_of(["random", "test_vit=own.safetensors"])
    {'': 'random', 'test_vit': 'own.safetensors'}
    """
    found: dict[str, str] = {}
    for entry in entries:
        name, equals, file = entry.partition("=")
        if not equals or "/" in name:  # a path may hold an equals sign; a backbone's name holds no slash
            name, file = "", entry
        if name in found:
            raise UsageError(
                f"{name or 'every backbone'} is given two weights: {found[name]} and {file}",
                fix="--weights FILE once for all, --weights BACKBONE=FILE for single ones",
            )
        found[name] = file
    return found


def descriptions_of(options: ExtractOptions) -> list[Description]:
    """The backbones with the taps that the patterns name.

    Families name their modules differently: a pattern must match in one backbone at least, and leave each with a tap.

    Raises:
        UnknownNameError: A pattern that matches nowhere; names its neighbours.
        UsageError: A backbone in which no pattern matches.
    """
    from cvbench.engine.backbones import describe

    specs = specs_of(options)
    matching: dict[str, list[str]] = {spec.key: [] for spec in specs}
    for pattern in options.taps:
        errors = []
        for spec in specs:
            try:
                describe(spec, taps=[pattern])
            except UnknownNameError as error:
                errors.append(error)
            else:
                matching[spec.key].append(pattern)
        if len(errors) == len(specs):
            raise errors[0]
    for key, patterns in matching.items():
        if not patterns:
            raise UsageError(f"no tap of {key} fits {', '.join(options.taps)}", fix="--taps list shows what there is")
    return [describe(spec, taps=matching[spec.key]) for spec in specs]


def weights_path(weights: str) -> str:
    """Weights with the path of a file made absolute; words and URLs stay (`resolve_spec` refuses the latter)."""
    return absolute(weights) if weights.endswith(".safetensors") else weights


def arrays_of(backbone: Description, options: ExtractOptions) -> dict[str, list[ArraySpec]]:
    """The arrays of one backbone, by view."""
    from cvbench.engine.views import expand_views
    from cvbench.storage.features import ArraySpec

    heads = backbone.head_sizes
    arrays: dict[str, list[ArraySpec]] = {}
    for request in expand_views(options.views, backbone.layouts):
        if request.view in ("head", "logits"):
            if request.view not in heads:
                raise UsageError(
                    f"{backbone.spec.key} has no classifier, so no {request.view}",
                    fix="leave --view logits out, or take a model with a head",
                )
            shape: tuple[int, ...] = (heads[request.view],)
            spec = ArraySpec(request.tap, shape, "float32", ("sample", "channel"), {})
        else:
            layout = backbone.layouts[request.tap]
            grid = (layout.height, layout.width)
            shape = (*grid, layout.channels) if request.view == "maps" else (layout.channels,)
            # Names do not sort by depth ("blocks.10" before "blocks.2"): the position among all taps does.
            depth = backbone.tap_names.index(request.tap)
            attrs = {"grid": list(grid), "prefix_tokens": layout.prefix, "position": depth}
            spec = ArraySpec(request.tap, shape, options.dtype, DIMS[request.view], attrs)
        arrays.setdefault(request.view, []).append(spec)
    return arrays


def list_taps(options: ExtractOptions) -> dict[str, dict[str, str]]:
    """For each backbone, everything that can be tapped and its shape; no weights are loaded."""
    from cvbench.engine.backbones import describe

    listed: dict[str, dict[str, str]] = {}
    for spec in specs_of(options):
        description = describe(spec, taps=["*"])
        listed[spec.key] = {
            tap: f"{layout.height}x{layout.width}x{layout.channels}" for tap, layout in description.layouts.items()
        }
    return listed


def units_of(options: ExtractOptions, n: int, size: int, view: str) -> list[Unit]:
    """The units that a view covers: all, or the prefix that --limit and --maps leave, in whole units."""
    from cvbench.storage.units import plan_units

    limits = [options.limit]
    if view == "maps" or (view == "cls" and "pooled" not in options.views):
        limits.append(options.maps)
    given = [limit for limit in limits if limit is not None]
    return plan_units(n, size, min(given) if given else None)


def existing_store(url: str) -> FeatureStore | None:
    """The store for reading, or None if there is none yet: what only looks must not make one."""
    from cvbench.storage.features import FeatureStore

    try:
        return FeatureStore.open(url, mode="r")
    except DataUnavailableError:
        return None


def frozen_split(store: FeatureStore | None, dataset: Dataset) -> SplitInfo | None:
    """What the store has frozen of this split, or None if it was never begun."""
    if store is None or (dataset.name, dataset.split) not in store.splits():
        return None
    return store.split(dataset.name, dataset.split)
