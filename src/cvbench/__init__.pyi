# Made by `python -m cvbench.api.stubs` from the options of the commands: change those.
import os
from collections.abc import Sequence
from typing import Literal

from cvbench import analyze as analyze
from cvbench import errors as errors
from cvbench import evaluate as evaluate
from cvbench import transfer as transfer
from cvbench.api.extraction import Extracted as Extracted
from cvbench.api.extraction import Plan as Plan
from cvbench.api.extraction import datasets as datasets
from cvbench.api.extraction import taps as taps
from cvbench.api.kept import Claims as Claims
from cvbench.api.kept import claims as claims
from cvbench.api.kept import report as report
from cvbench.api.kept import results as results
from cvbench.api.result import Result as Result
from cvbench.api.result import Rows as Rows
from cvbench.api.stores import Layer as Layer
from cvbench.api.stores import Store as Store
from cvbench.api.stores import open_store as open_store
from cvbench.api.studies import Step as Step
from cvbench.api.studies import Study as Study
from cvbench.api.studies import reproduce as reproduce
from cvbench.api.studies import run as run
from cvbench.api.studies import status as status
from cvbench.api.torch_data import torch_dataset as torch_dataset

__version__: str
__all__: list[str]

def extract(
    dataset: str | Sequence[str],
    *,
    backbones: str | Sequence[str] = ("convnext-base", "vit-base-16"),
    store: str | os.PathLike[str] | Store = "./cvbench.zarr",
    split: str | None = None,
    data_root: str | None = None,
    weights: str | Sequence[str] = ("pretrained",),
    taps: str | Sequence[str] = ("blocks",),
    views: str | Sequence[str] = ("pooled",),
    maps: int | str | None = 1024,
    limit: int | str | None = None,
    batch_size: int | str | None = None,
    image_size: int | None = None,
    unit: int | None = None,
    precision: str = "auto",
    compile: bool = False,
    dtype: str = "float16",
    keep_bits: int | None = None,
    codec: str = "none",
    decoder: Literal["fast", "pil"] = "fast",
    preprocess: Literal["model", "beyond_inet", "pug"] = "model",
    seed: int = 0,
    decode_in: Literal["auto", "threads", "processes"] = "auto",
    analyses: str | Sequence[str] | None = None,
    max_unreadable: float = 0.01,
    max_bytes: int | str | None = None,
    columns: str | None = None,
    address: str | None = None,
    device: str = "auto",
    gpus: int | None = None,
    threads: int | None = None,
    wait: float = 1200.0,
    wheel: str | None = None,
    progress: bool = False,
) -> Extracted:
    """Stream data sets through backbones and keep layerwise features. The same call again resumes.

    `cvbench extract` on the command line.

    Args:
        dataset: A name of `cvbench datasets ls`, folder:PATH, table:FILE, @paper; NAME+scale=2 transforms. One or
            several.
        backbones: timm model, alias, hf:, torchvision: or open_clip: model, module:function, or NAME=MODEL. One or
            several.
        store: Path or URL of the feature store.
        split: Split of the data set; the default is the data set's own.
        data_root: Folder that holds the data sets.
        weights: pretrained, random, FILE (.safetensors, .pth, ...), or NAME=FILE for one.
        taps: blocks, paper, module names or globs; `cvbench.taps` lists what there is.
        views: pooled, cls, maps, head, logits or registers. Repeat, or a,b.
        maps: Samples that the maps view covers: a number or 'all'.
        limit: Samples to cover, rounded up to whole units.
        batch_size: Images per forward pass, or 'auto'.
        image_size: Input size in pixels, if not the model's own.
        unit: Samples of one unit of work; frozen in the store.
        precision: auto: the store's, else bf16 or fp16 on a GPU that has it and fp32 on a CPU.
        compile: Compile each network first (torch.compile); see what `plan` says of it. Part of the fingerprint.
        dtype: Stored type of pooled and maps.
        keep_bits: Round mantissas to this many bits, on the device.
        codec: none, zstd, blosc-zstd, blosc-lz4, or with a filter: bitround5+zstd.
        decoder: fast: turned by EXIF, alpha on white; pil: timm's pixels, EXIF ignored, alpha dropped (as
            --preprocess).
        preprocess: model: each its own; beyond_inet or pug: the rules of those studies, shared by all.
        seed: Seed of the sample order.
        decode_in: threads or processes that decode, the same bytes; auto: processes beside a GPU with many cores.
        analyses: cka, spectra, similarity, norms: measured live on whole maps, none is stored. One or several.
        max_unreadable: Share of unreadable samples that is tolerated.
        max_bytes: Refuse to write more than this, e.g. 20GB.
        columns: What the columns of a table are: label=species,path=file; see `datasets info table`.
        address: "none" runs in this process, "local" starts a private Ray, "auto" chooses as the command line does,
            else the address of a Ray cluster; default: the variable CVBENCH_ADDRESS, else "none".
        device: auto: a GPU if there is one.
        gpus: How many GPUs (actors) to use; default all.
        threads: CPU cores of one actor; of one with a GPU, those that it decodes on.
        wait: Seconds to wait for nodes that a cluster starts.
        wheel: Wheel of cvbench that the actors of a joined cluster are to run.
        progress: Print how far the work is, to stderr.

    Returns:
        What was done, and the store.
    """

def plan(
    dataset: str | Sequence[str],
    *,
    backbones: str | Sequence[str] = ("convnext-base", "vit-base-16"),
    store: str | os.PathLike[str] | Store = "./cvbench.zarr",
    split: str | None = None,
    data_root: str | None = None,
    weights: str | Sequence[str] = ("pretrained",),
    taps: str | Sequence[str] = ("blocks",),
    views: str | Sequence[str] = ("pooled",),
    maps: int | str | None = 1024,
    limit: int | str | None = None,
    batch_size: int | str | None = None,
    image_size: int | None = None,
    unit: int | None = None,
    precision: str = "auto",
    compile: bool = False,
    dtype: str = "float16",
    keep_bits: int | None = None,
    codec: str = "none",
    decoder: Literal["fast", "pil"] = "fast",
    preprocess: Literal["model", "beyond_inet", "pug"] = "model",
    seed: int = 0,
    decode_in: Literal["auto", "threads", "processes"] = "auto",
    analyses: str | Sequence[str] | None = None,
    max_unreadable: float = 0.01,
    max_bytes: int | str | None = None,
    columns: str | None = None,
    address: str | None = None,
    device: str = "auto",
    gpus: int | None = None,
    threads: int | None = None,
    wait: float = 1200.0,
    wheel: str | None = None,
    rate: float | None = None,
    card: str | None = None,
    disk_mb_s: float = 1000.0,
) -> Plan:
    """Say bytes, hours and the bottleneck of an extraction. Nothing runs, no weights are loaded.

    `cvbench plan` on the command line.

    Args:
        dataset: A name of `cvbench datasets ls`, folder:PATH, table:FILE, @paper; NAME+scale=2 transforms. One or
            several.
        backbones: timm model, alias, hf:, torchvision: or open_clip: model, module:function, or NAME=MODEL. One or
            several.
        store: Path or URL of the feature store.
        split: Split of the data set; the default is the data set's own.
        data_root: Folder that holds the data sets.
        weights: pretrained, random, FILE (.safetensors, .pth, ...), or NAME=FILE for one.
        taps: blocks, paper, module names or globs; `cvbench.taps` lists what there is.
        views: pooled, cls, maps, head, logits or registers. Repeat, or a,b.
        maps: Samples that the maps view covers: a number or 'all'.
        limit: Samples to cover, rounded up to whole units.
        batch_size: Images per forward pass, or 'auto'.
        image_size: Input size in pixels, if not the model's own.
        unit: Samples of one unit of work; frozen in the store.
        precision: auto: the store's, else bf16 or fp16 on a GPU that has it and fp32 on a CPU.
        compile: Compile each network first (torch.compile); see what `plan` says of it. Part of the fingerprint.
        dtype: Stored type of pooled and maps.
        keep_bits: Round mantissas to this many bits, on the device.
        codec: none, zstd, blosc-zstd, blosc-lz4, or with a filter: bitround5+zstd.
        decoder: fast: turned by EXIF, alpha on white; pil: timm's pixels, EXIF ignored, alpha dropped (as
            --preprocess).
        preprocess: model: each its own; beyond_inet or pug: the rules of those studies, shared by all.
        seed: Seed of the sample order.
        decode_in: threads or processes that decode, the same bytes; auto: processes beside a GPU with many cores.
        analyses: cka, spectra, similarity, norms: measured live on whole maps, none is stored. One or several.
        max_unreadable: Share of unreadable samples that is tolerated.
        max_bytes: Refuse to write more than this, e.g. 20GB.
        columns: What the columns of a table are: label=species,path=file; see `datasets info table`.
        address: "none" runs in this process, "local" starts a private Ray, "auto" chooses as the command line does,
            else the address of a Ray cluster; default: the variable CVBENCH_ADDRESS, else "none".
        device: auto: a GPU if there is one.
        gpus: How many GPUs (actors) to use; default all.
        threads: CPU cores of one actor; of one with a GPU, those that it decodes on.
        wait: Seconds to wait for nodes that a cluster starts.
        wheel: Wheel of cvbench that the actors of a joined cluster are to run.
        rate: For the plan: images/s per GPU or core, all backbones.
        card: For the plan; default this machine's.
        disk_mb_s: For the plan: write bandwidth of the store in MB/s.

    Returns:
        The forecast.
    """
