# Made by `python -m cvbench.api.stubs` from the options of the commands: change those.
import os
from collections.abc import Sequence

from cvbench.api.result import Result
from cvbench.api.stores import Store

def probe(
    store: str | os.PathLike[str] | Store = "./cvbench.zarr",
    *,
    datasets: str | Sequence[str],
    backbones: str | Sequence[str] | None = None,
    view: str = "head",
    taps: str | Sequence[str] | None = None,
    train: str | None = None,
    val: str | None = None,
    test: str = "test",
    partial: bool = False,
    keep_logits: bool = False,
    recipe: str = "clip_benchmark",
    solver: str = "lbfgs",
    seeds: int = 3,
    first_seed: int = 0,
    shots: int | None = None,
    hold_out: float | None = None,
    epochs: int = 10,
    batch: int = 64,
    rate: float = 0.1,
    device: str = "auto",
    progress: bool = False,
) -> Result:
    """Fit linear classifiers on one split, test them on another.

    On stored features, with 95 % intervals.

    `cvbench transfer probe` on the command line.

    Args:
        store: Path or URL of the feature store.
        datasets: Such as dtd, dtd:2, or a group: @transfer. One or several.
        backbones: Backbones; default all. One or several.
        view: head, pooled, cls or logits.
        taps: Layers, names or globs; default all. One or several.
        train: Split to fit on; default train, else trainval.
        val: Split that chooses the penalty; default val, else VTAB's share of train.
        test: Split to test on, once.
        partial: Accept a part of the samples: fewer than published, extracted or readable.
        keep_logits: Keep what the probe says of the test samples as logits of BACKBONE+probe, for eval.
        recipe: How a classifier is fitted.
        solver: Of clip_lbfgs; lbfgs is ours.
        seeds: How many seeds.
        first_seed: The first seed.
        shots: Training samples per class.
        hold_out: Share of train to validate on, drawn by the seed, if no split does.
        epochs: Of clip_benchmark.
        batch: Of clip_benchmark.
        rate: Of clip_benchmark; above 0.
        device: auto: a GPU if there is one.
        progress: Print how far the work is, to stderr.

    Returns:
        The result, which is kept in the store too; what was computed before is not computed again.
    """

def dense(
    store: str | os.PathLike[str] | Store = "./cvbench.zarr",
    *,
    datasets: str | Sequence[str],
    backbones: str | Sequence[str] | None = None,
    taps: str | Sequence[str] | None = None,
    train: str | None = None,
    val: str | None = None,
    test: str = "test",
    images: str | Sequence[str] | None = None,
    source: str | None = None,
    data_root: str | None = None,
    resolution: int = 64,
    positions: int = 65536,
    hold_out: float = 0.1,
    resamples: int = 2000,
    seed: int = 0,
    device: str = "auto",
    progress: bool = False,
) -> Result:
    """Fit a linear classifier of positions, test it on masks.

    Of the positions of stored maps: IoU with 95 % intervals. It needs maps (`extract --view maps`) of two splits of
    a data set with masks: scenes and its kin, or a table with a column `mask`.

    `cvbench transfer dense` on the command line.

    Args:
        store: Path or URL of the feature store.
        datasets: Such as scenes: it must have masks. One or several.
        backbones: Backbones; default all. One or several.
        taps: Layers, names or globs; default all. One or several.
        train: Split to fit on; default train, else trainval.
        val: Split that chooses the penalty; default a share of the images of train.
        test: Split to test on, once.
        images: Test samples to draw, by id; default the first four of the store. One or several.
        source: Where the images are, for a data set of your own: table:FILE.
        data_root: Folder that holds the data sets.
        resolution: Cells a side at which predictions are compared with the masks.
        positions: Training positions at most: of more, as many of each image, drawn by the seed.
        hold_out: Share of the training images that chooses the penalty, if no split does.
        resamples: Resamples, for the intervals that draw any.
        seed: Seed of all that is drawn at random.
        device: auto: a GPU if there is one.
        progress: Print how far the work is, to stderr.

    Returns:
        The result, which is kept in the store too; what was computed before is not computed again.
    """

def finetune(
    dataset: str,
    backbone: str,
    out: str,
    *,
    weights: str = "pretrained",
    recipe: str = "modern",
    epochs: int | None = None,
    batch_size: int | None = None,
    rate: float | None = None,
    average: float | None = None,
    mixup: float | None = None,
    image_size: int | None = None,
    seed: int = 0,
    precision: str = "fp32",
    train: str | Sequence[str] | None = None,
    test: str = "test",
    validate: bool = False,
    data_root: str | None = None,
    checkpoint_seconds: float = 30.0,
    partial: bool = False,
    columns: str | None = None,
    address: str | None = None,
    device: str = "auto",
    gpus: int | None = None,
    threads: int | None = None,
    wait: float = 1200.0,
    wheel: str | None = None,
    progress: bool = False,
) -> Result:
    """Fine-tune a whole backbone on a data set and test it. The same call again resumes.

    `cvbench transfer finetune` on the command line.

    Args:
        dataset: A name of `datasets ls`, folder:PATH or table:FILE.
        backbone: timm model or alias.
        out: Folder for weights, curve and figure.
        weights: pretrained, random or FILE (.safetensors, .pth, ...).
        recipe: How it is trained.
        epochs: Instead of the recipe's.
        batch_size: Over all processes.
        rate: Peak rate, above 0, instead of the recipe's.
        average: Average the weights, e.g. 0.999.
        mixup: Mixup's alpha; off by default.
        image_size: Input size in pixels, if not the model's own.
        seed: Seed of all that is drawn at random.
        precision: fp32, bf16 or fp16 (autocast).
        train: Splits to train on; default train and val. One or several.
        test: Split to test the last weights on.
        validate: Test on val, or VTAB's share of train, after every epoch; do not train on it.
        data_root: Folder that holds the data sets.
        checkpoint_seconds: Between checkpoints.
        partial: Accept a part of the samples: fewer than published, extracted or readable.
        columns: What the columns of a table are: label=species,path=file; see `datasets info table`.
        address: "none" runs in this process, "local" starts a private Ray, "auto" chooses as the command line does,
            else the address of a Ray cluster; default: the variable CVBENCH_ADDRESS, else "none".
        device: auto: a GPU if there is one.
        gpus: Processes, each with a GPU; default 1.
        threads: CPU cores of a process; default all.
        wait: Seconds to wait for nodes that a cluster starts.
        wheel: Wheel of cvbench that the actors of a joined cluster are to run.
        progress: Print how far the work is, to stderr.

    Returns:
        The numbers of the test; `paths` has the file of the weights, `attrs` the curve and all else.
    """
