# Made by `python -m cvbench.api.stubs` from the options of the commands: change those.
import os
from collections.abc import Callable, Sequence
from typing import Literal

from cvbench.api.result import Result
from cvbench.api.stores import Store

def cka(
    store: str | os.PathLike[str] | Store = "./cvbench.zarr",
    *,
    dataset: str | None = None,
    split: str | None = None,
    backbones: str | Sequence[str] | None = None,
    view: str = "auto",
    taps: str | Sequence[str] | None = None,
    estimator: str = "minibatch",
    batch: int | str | None = None,
    address: str | None = None,
    device: str = "auto",
    gpus: int | None = None,
    threads: int | None = None,
    wait: float = 1200.0,
    wheel: str | None = None,
    progress: bool = False,
) -> Result:
    """Layerwise linear CKA of every pair of layers.

    Of all layers of every backbone, from minibatches (HSIC1), with 95 % intervals.

    `cvbench analyze cka` on the command line.

    Args:
        store: Path or URL of the feature store.
        dataset: Data set, if the store holds several.
        split: Split of the data set; the default is the data set's own.
        backbones: Backbones; default all. One or several.
        view: maps (all positions), pooled (their mean), cls, head, or auto: all positions where the store has them
            or `extract --analyze cka` measured them, as in the study's Figure 5, else pooled.
        taps: Layers, names or globs; default all. One or several.
        estimator: minibatch has intervals; debiased and biased take all rows at once.
        batch: Samples per CKA batch, at least 4, or 'auto'.
        address: "none" runs in this process, "local" starts a private Ray, "auto" chooses as the command line does,
            else the address of a Ray cluster; default: the variable CVBENCH_ADDRESS, else "none".
        device: auto: a GPU if there is one.
        gpus: How many GPUs (actors) to use; default all.
        threads: CPU cores of one actor; of one with a GPU, those that it decodes on.
        wait: Seconds to wait for nodes that a cluster starts.
        wheel: Wheel of cvbench that the actors of a joined cluster are to run.
        progress: Print how far the work is, to stderr.

    Returns:
        The result, which is kept in the store too; what was computed before is not computed again.
    """

def similarity(
    store: str | os.PathLike[str] | Store = "./cvbench.zarr",
    *,
    dataset: str | None = None,
    split: str | None = None,
    backbones: str | Sequence[str] | None = None,
    taps: str | Sequence[str] | None = None,
    images: str | Sequence[str] | None = None,
    resamples: int = 2000,
    seed: int = 0,
    address: str | None = None,
    device: str = "auto",
    gpus: int | None = None,
    threads: int | None = None,
    wait: float = 1200.0,
    wheel: str | None = None,
    progress: bool = False,
) -> Result:
    """Cosine similarity between the local features of a layer.

    Of every layer, with 95 % intervals over images.

    `cvbench analyze similarity` on the command line.

    Args:
        store: Path or URL of the feature store.
        dataset: Data set, if the store holds several.
        split: Split of the data set; the default is the data set's own.
        backbones: Backbones; default all. One or several.
        taps: Layers, names or globs; default all. One or several.
        images: Sample ids whose own matrices are kept and drawn too. One or several.
        resamples: Resamples, for the intervals that draw any.
        seed: Seed of all that is drawn at random.
        address: "none" runs in this process, "local" starts a private Ray, "auto" chooses as the command line does,
            else the address of a Ray cluster; default: the variable CVBENCH_ADDRESS, else "none".
        device: auto: a GPU if there is one.
        gpus: How many GPUs (actors) to use; default all.
        threads: CPU cores of one actor; of one with a GPU, those that it decodes on.
        wait: Seconds to wait for nodes that a cluster starts.
        wheel: Wheel of cvbench that the actors of a joined cluster are to run.
        progress: Print how far the work is, to stderr.

    Returns:
        The result, which is kept in the store too; what was computed before is not computed again.
    """

def spectra(
    store: str | os.PathLike[str] | Store = "./cvbench.zarr",
    *,
    dataset: str | None = None,
    split: str | None = None,
    backbones: str | Sequence[str] | None = None,
    taps: str | Sequence[str] | None = None,
    resamples: int = 2000,
    seed: int = 0,
    address: str | None = None,
    device: str = "auto",
    gpus: int | None = None,
    threads: int | None = None,
    wait: float = 1200.0,
    wheel: str | None = None,
    progress: bool = False,
) -> Result:
    """Fourier spectra of the stored maps of every layer.

    Of every backbone, with 95 % intervals over images.

    `cvbench analyze spectra` on the command line.

    Args:
        store: Path or URL of the feature store.
        dataset: Data set, if the store holds several.
        split: Split of the data set; the default is the data set's own.
        backbones: Backbones; default all. One or several.
        taps: Layers, names or globs; default all. One or several.
        resamples: Resamples, for the intervals that draw any.
        seed: Seed of all that is drawn at random.
        address: "none" runs in this process, "local" starts a private Ray, "auto" chooses as the command line does,
            else the address of a Ray cluster; default: the variable CVBENCH_ADDRESS, else "none".
        device: auto: a GPU if there is one.
        gpus: How many GPUs (actors) to use; default all.
        threads: CPU cores of one actor; of one with a GPU, those that it decodes on.
        wait: Seconds to wait for nodes that a cluster starts.
        wheel: Wheel of cvbench that the actors of a joined cluster are to run.
        progress: Print how far the work is, to stderr.

    Returns:
        The result, which is kept in the store too; what was computed before is not computed again.
    """

def maps(
    store: str | os.PathLike[str] | Store = "./cvbench.zarr",
    *,
    dataset: str | None = None,
    split: str | None = None,
    backbones: str | Sequence[str] | None = None,
    taps: str | Sequence[str] | None = None,
    images: str | Sequence[str] | None = None,
    measure: str = "mean",
    source: str | None = None,
    data_root: str | None = None,
    resamples: int = 2000,
    seed: int = 0,
    address: str | None = None,
    device: str = "auto",
    gpus: int | None = None,
    threads: int | None = None,
    wait: float = 1200.0,
    wheel: str | None = None,
    progress: bool = False,
) -> Result:
    """Channel-mean feature maps beside the images.

    With the foreground share and outlier tokens over all images.

    `cvbench analyze maps` on the command line.

    Args:
        store: Path or URL of the feature store.
        dataset: Data set, if the store holds several.
        split: Split of the data set; the default is the data set's own.
        backbones: Backbones; default all. One or several.
        taps: Layers, names or globs; default all. One or several.
        images: Sample ids to draw; default the first four of the store. One or several.
        measure: Which map to draw; pc1: first principal component, pca and pca-own: three in colour.
        source: Where the images are, for a data set of your own: folder:PATH.
        data_root: Folder that holds the data sets.
        resamples: Resamples, for the intervals that draw any.
        seed: Seed of all that is drawn at random.
        address: "none" runs in this process, "local" starts a private Ray, "auto" chooses as the command line does,
            else the address of a Ray cluster; default: the variable CVBENCH_ADDRESS, else "none".
        device: auto: a GPU if there is one.
        gpus: How many GPUs (actors) to use; default all.
        threads: CPU cores of one actor; of one with a GPU, those that it decodes on.
        wait: Seconds to wait for nodes that a cluster starts.
        wheel: Wheel of cvbench that the actors of a joined cluster are to run.
        progress: Print how far the work is, to stderr.

    Returns:
        The result, which is kept in the store too; what was computed before is not computed again.
    """

def cam(
    store: str | os.PathLike[str] | Store = "./cvbench.zarr",
    *,
    dataset: str,
    backbones: str | Sequence[str] | None = None,
    split: str | None = None,
    data_root: str | None = None,
    weights: str | Sequence[str] | None = None,
    limit: int | str | None = None,
    batch_size: int | str | None = None,
    image_size: int | None = None,
    unit: int | None = None,
    precision: str = "fp32",
    decoder: Literal["fast", "pil"] = "fast",
    max_unreadable: float = 0.01,
    method: str = "gradcam",
    choice: str = "predicted",
    targets: str | Sequence[str] | None = None,
    correct_only: bool = False,
    tolerance: float = 0.0,
    examples: int = 6,
    images: str | Sequence[str] | None = None,
    resamples: int = 2000,
    seed: int = 0,
    address: str | None = None,
    device: str = "auto",
    gpus: int | None = None,
    threads: int | None = None,
    wait: float = 1200.0,
    wheel: str | None = None,
    progress: bool = False,
) -> Result:
    """Class activation maps: Grad-CAM and its kin.

    They are kept in the store, with what is measured on them.

    `cvbench analyze cam` on the command line.

    Args:
        store: Path or URL of the feature store.
        dataset: Data set, as for extract: the images are read.
        backbones: As in the store, or as for extract; default: those that the store has of these images. One or
            several.
        split: Split of the data set; the default is the data set's own.
        data_root: Folder that holds the data sets.
        weights: As for extract; default: those of the features in the store, else pretrained.
        limit: Samples to cover, rounded up to whole units.
        batch_size: Images per forward pass, or 'auto'.
        image_size: Input size in pixels, if not the model's own.
        unit: Samples of one unit of work; frozen in the store.
        precision: fp32, bf16 or fp16 (autocast).
        decoder: fast: turned by EXIF, alpha on white; pil: timm's pixels, EXIF ignored, alpha dropped (as
            --preprocess).
        max_unreadable: Share of unreadable samples that is tolerated.
        method: gradcam, gradcam++, layercam, hirescam, xgradcam, eigencam; of transformers rollout, legrad.
        choice: Whose evidence: predicted (each image's top-1), label, or a class index.
        targets: Target layer, a name or glob; default by family. One or several.
        correct_only: Only images that every backbone classifies as labelled.
        tolerance: Pixels that boxes grow by in the pointing game.
        examples: How many samples to draw.
        images: Sample id to draw; default the first few. One or several.
        resamples: Resamples, for the intervals that draw any.
        seed: Seed of all that is drawn at random.
        address: "none" runs in this process, "local" starts a private Ray, "auto" chooses as the command line does,
            else the address of a Ray cluster; default: the variable CVBENCH_ADDRESS, else "none".
        device: auto: a GPU if there is one.
        gpus: How many GPUs (actors) to use; default all.
        threads: CPU cores of one actor; of one with a GPU, those that it decodes on.
        wait: Seconds to wait for nodes that a cluster starts.
        wheel: Wheel of cvbench that the actors of a joined cluster are to run.
        progress: Print how far the work is, to stderr.

    Returns:
        The result, which is kept in the store too; what was computed before is not computed again.
    """

def faithfulness(
    store: str | os.PathLike[str] | Store = "./cvbench.zarr",
    *,
    dataset: str,
    backbones: str | Sequence[str] | None = None,
    split: str | None = None,
    data_root: str | None = None,
    weights: str | Sequence[str] | None = None,
    limit: int | str | None = None,
    batch_size: int | str | None = None,
    image_size: int | None = None,
    unit: int | None = None,
    precision: str = "fp32",
    decoder: Literal["fast", "pil"] = "fast",
    max_unreadable: float = 0.01,
    method: str = "gradcam",
    targets: str | Sequence[str] | None = None,
    cells: int = 14,
    steps: int = 28,
    resamples: int = 2000,
    seed: int = 0,
    address: str | None = None,
    device: str = "auto",
    gpus: int | None = None,
    threads: int | None = None,
    wait: float = 1200.0,
    wheel: str | None = None,
    progress: bool = False,
) -> Result:
    """Deletion and insertion along class activation maps.

    Beside a random order, with 95 % intervals over images.

    `cvbench analyze faithfulness` on the command line.

    Args:
        store: Path or URL of the feature store.
        dataset: Data set, as for extract: the images are read.
        backbones: As in the store, or as for extract; default: those that the store has of these images. One or
            several.
        split: Split of the data set; the default is the data set's own.
        data_root: Folder that holds the data sets.
        weights: As for extract; default: those of the features in the store, else pretrained.
        limit: Samples to cover, rounded up to whole units.
        batch_size: Images per forward pass, or 'auto'.
        image_size: Input size in pixels, if not the model's own.
        unit: Samples of one unit of work; frozen in the store.
        precision: fp32, bf16 or fp16 (autocast).
        decoder: fast: turned by EXIF, alpha on white; pil: timm's pixels, EXIF ignored, alpha dropped (as
            --preprocess).
        max_unreadable: Share of unreadable samples that is tolerated.
        method: gradcam, gradcam++, layercam, hirescam, xgradcam, eigencam; of transformers rollout, legrad.
        targets: Target layer, a name or glob; default by family. One or several.
        cells: Parts of the image on each side.
        steps: Steps from nothing to all; four forward passes each.
        resamples: Resamples, for the intervals that draw any.
        seed: Seed of all that is drawn at random.
        address: "none" runs in this process, "local" starts a private Ray, "auto" chooses as the command line does,
            else the address of a Ray cluster; default: the variable CVBENCH_ADDRESS, else "none".
        device: auto: a GPU if there is one.
        gpus: How many GPUs (actors) to use; default all.
        threads: CPU cores of one actor; of one with a GPU, those that it decodes on.
        wait: Seconds to wait for nodes that a cluster starts.
        wheel: Wheel of cvbench that the actors of a joined cluster are to run.
        progress: Print how far the work is, to stderr.

    Returns:
        The result, which is kept in the store too; what was computed before is not computed again.
    """

def randomisation(
    store: str | os.PathLike[str] | Store = "./cvbench.zarr",
    *,
    dataset: str,
    backbones: str | Sequence[str] | None = None,
    split: str | None = None,
    data_root: str | None = None,
    weights: str | Sequence[str] | None = None,
    limit: int | str | None = None,
    batch_size: int | str | None = None,
    image_size: int | None = None,
    unit: int | None = None,
    precision: str = "fp32",
    decoder: Literal["fast", "pil"] = "fast",
    max_unreadable: float = 0.01,
    method: str = "gradcam",
    targets: str | Sequence[str] | None = None,
    steps: int = 4,
    resamples: int = 2000,
    seed: int = 0,
    address: str | None = None,
    device: str = "auto",
    gpus: int | None = None,
    threads: int | None = None,
    wait: float = 1200.0,
    wheel: str | None = None,
    progress: bool = False,
) -> Result:
    """Whether class activation maps depend on the parameters.

    Maps beside those of a network whose parameters are shuffled (Adebayo et al. 2018), with 95 % intervals.

    `cvbench analyze randomisation` on the command line.

    Args:
        store: Path or URL of the feature store.
        dataset: Data set, as for extract: the images are read.
        backbones: As in the store, or as for extract; default: those that the store has of these images. One or
            several.
        split: Split of the data set; the default is the data set's own.
        data_root: Folder that holds the data sets.
        weights: As for extract; default: those of the features in the store, else pretrained.
        limit: Samples to cover, rounded up to whole units.
        batch_size: Images per forward pass, or 'auto'.
        image_size: Input size in pixels, if not the model's own.
        unit: Samples of one unit of work; frozen in the store.
        precision: fp32, bf16 or fp16 (autocast).
        decoder: fast: turned by EXIF, alpha on white; pil: timm's pixels, EXIF ignored, alpha dropped (as
            --preprocess).
        max_unreadable: Share of unreadable samples that is tolerated.
        method: gradcam, gradcam++, layercam, hirescam, xgradcam, eigencam; of transformers rollout, legrad.
        targets: Target layer, a name or glob; default by family. One or several.
        steps: Steps from the classifier alone to all parameters; one network in memory for each.
        resamples: Resamples, for the intervals that draw any.
        seed: Seed of the shuffling and of the intervals.
        address: "none" runs in this process, "local" starts a private Ray, "auto" chooses as the command line does,
            else the address of a Ray cluster; default: the variable CVBENCH_ADDRESS, else "none".
        device: auto: a GPU if there is one.
        gpus: How many GPUs (actors) to use; default all.
        threads: CPU cores of one actor; of one with a GPU, those that it decodes on.
        wait: Seconds to wait for nodes that a cluster starts.
        wheel: Wheel of cvbench that the actors of a joined cluster are to run.
        progress: Print how far the work is, to stderr.

    Returns:
        The result, which is kept in the store too; what was computed before is not computed again.
    """

def norms(
    store: str | os.PathLike[str] | Store = "./cvbench.zarr",
    *,
    dataset: str | None = None,
    split: str | None = None,
    backbones: str | Sequence[str] | None = None,
    taps: str | Sequence[str] | None = None,
    cutoff: float | None = None,
    resamples: int = 2000,
    seed: int = 0,
    address: str | None = None,
    device: str = "auto",
    gpus: int | None = None,
    threads: int | None = None,
    wait: float = 1200.0,
    wheel: str | None = None,
    progress: bool = False,
) -> Result:
    """Norms of tokens by layer, and the tokens that stand out.

    With histograms of every layer, and 95 % intervals.

    `cvbench analyze norms` on the command line.

    Args:
        store: Path or URL of the feature store.
        dataset: Data set, if the store holds several.
        split: Split of the data set; the default is the data set's own.
        backbones: Backbones; default all. One or several.
        taps: Layers, names or globs; default all. One or several.
        cutoff: Also count the tokens above this norm, such as 150 (Darcet et al. 2024).
        resamples: Resamples, for the intervals that draw any.
        seed: Seed of all that is drawn at random.
        address: "none" runs in this process, "local" starts a private Ray, "auto" chooses as the command line does,
            else the address of a Ray cluster; default: the variable CVBENCH_ADDRESS, else "none".
        device: auto: a GPU if there is one.
        gpus: How many GPUs (actors) to use; default all.
        threads: CPU cores of one actor; of one with a GPU, those that it decodes on.
        wait: Seconds to wait for nodes that a cluster starts.
        wheel: Wheel of cvbench that the actors of a joined cluster are to run.
        progress: Print how far the work is, to stderr.

    Returns:
        The result, which is kept in the store too; what was computed before is not computed again.
    """

def attention(
    store: str | os.PathLike[str] | Store = "./cvbench.zarr",
    *,
    dataset: str,
    backbones: str | Sequence[str] | None = None,
    split: str | None = None,
    data_root: str | None = None,
    weights: str | Sequence[str] | None = None,
    limit: int | str | None = None,
    batch_size: int | str | None = None,
    image_size: int | None = None,
    unit: int | None = None,
    precision: str = "fp32",
    decoder: Literal["fast", "pil"] = "fast",
    max_unreadable: float = 0.01,
    resamples: int = 2000,
    seed: int = 0,
    address: str | None = None,
    device: str = "auto",
    gpus: int | None = None,
    threads: int | None = None,
    wait: float = 1200.0,
    wheel: str | None = None,
    progress: bool = False,
) -> Result:
    """How far, how evenly and at which tokens heads look.

    Of the heads of transformers, with 95 % intervals over images. The images are read and run through the backbones
    once more; what is measured of each is kept in the store.

    `cvbench analyze attention` on the command line.

    Args:
        store: Path or URL of the feature store.
        dataset: Data set, as for extract: the images are read.
        backbones: As in the store, or as for extract; default: those that the store has of these images. One or
            several.
        split: Split of the data set; the default is the data set's own.
        data_root: Folder that holds the data sets.
        weights: As for extract; default: those of the features in the store, else pretrained.
        limit: Samples to cover, rounded up to whole units.
        batch_size: Images per forward pass, or 'auto'.
        image_size: Input size in pixels, if not the model's own.
        unit: Samples of one unit of work; frozen in the store.
        precision: fp32, bf16 or fp16 (autocast).
        decoder: fast: turned by EXIF, alpha on white; pil: timm's pixels, EXIF ignored, alpha dropped (as
            --preprocess).
        max_unreadable: Share of unreadable samples that is tolerated.
        resamples: Resamples, for the intervals that draw any.
        seed: Seed of all that is drawn at random.
        address: "none" runs in this process, "local" starts a private Ray, "auto" chooses as the command line does,
            else the address of a Ray cluster; default: the variable CVBENCH_ADDRESS, else "none".
        device: auto: a GPU if there is one.
        gpus: How many GPUs (actors) to use; default all.
        threads: CPU cores of one actor; of one with a GPU, those that it decodes on.
        wait: Seconds to wait for nodes that a cluster starts.
        wheel: Wheel of cvbench that the actors of a joined cluster are to run.
        progress: Print how far the work is, to stderr.

    Returns:
        The result, which is kept in the store too; what was computed before is not computed again.
    """

def residual(
    store: str | os.PathLike[str] | Store = "./cvbench.zarr",
    *,
    dataset: str,
    backbones: str | Sequence[str] | None = None,
    split: str | None = None,
    data_root: str | None = None,
    weights: str | Sequence[str] | None = None,
    limit: int | str | None = None,
    batch_size: int | str | None = None,
    image_size: int | None = None,
    unit: int | None = None,
    precision: str = "fp32",
    decoder: Literal["fast", "pil"] = "fast",
    max_unreadable: float = 0.01,
    resamples: int = 2000,
    seed: int = 0,
    address: str | None = None,
    device: str = "auto",
    gpus: int | None = None,
    threads: int | None = None,
    wait: float = 1200.0,
    wheel: str | None = None,
    progress: bool = False,
) -> Result:
    """How much each residual branch adds to what skips it.

    The norm of what it adds over that of its skip connection, by tokens, with 95 % intervals over images. The
    images are read and run through the backbones once more; what is measured of each is kept in the store.

    `cvbench analyze residual` on the command line.

    Args:
        store: Path or URL of the feature store.
        dataset: Data set, as for extract: the images are read.
        backbones: As in the store, or as for extract; default: those that the store has of these images. One or
            several.
        split: Split of the data set; the default is the data set's own.
        data_root: Folder that holds the data sets.
        weights: As for extract; default: those of the features in the store, else pretrained.
        limit: Samples to cover, rounded up to whole units.
        batch_size: Images per forward pass, or 'auto'.
        image_size: Input size in pixels, if not the model's own.
        unit: Samples of one unit of work; frozen in the store.
        precision: fp32, bf16 or fp16 (autocast).
        decoder: fast: turned by EXIF, alpha on white; pil: timm's pixels, EXIF ignored, alpha dropped (as
            --preprocess).
        max_unreadable: Share of unreadable samples that is tolerated.
        resamples: Resamples, for the intervals that draw any.
        seed: Seed of all that is drawn at random.
        address: "none" runs in this process, "local" starts a private Ray, "auto" chooses as the command line does,
            else the address of a Ray cluster; default: the variable CVBENCH_ADDRESS, else "none".
        device: auto: a GPU if there is one.
        gpus: How many GPUs (actors) to use; default all.
        threads: CPU cores of one actor; of one with a GPU, those that it decodes on.
        wait: Seconds to wait for nodes that a cluster starts.
        wheel: Wheel of cvbench that the actors of a joined cluster are to run.
        progress: Print how far the work is, to stderr.

    Returns:
        The result, which is kept in the store too; what was computed before is not computed again.
    """

def receptive_field(
    store: str | os.PathLike[str] | Store = "./cvbench.zarr",
    *,
    dataset: str,
    backbones: str | Sequence[str] | None = None,
    split: str | None = None,
    data_root: str | None = None,
    weights: str | Sequence[str] | None = None,
    taps: str | Sequence[str] = ("blocks",),
    limit: int | str | None = None,
    batch_size: int | str | None = None,
    image_size: int | None = None,
    unit: int | None = None,
    decoder: Literal["fast", "pil"] = "fast",
    max_unreadable: float = 0.01,
    output: Literal["sum", "signs"] = "sum",
    resamples: int = 2000,
    seed: int = 0,
    address: str | None = None,
    device: str = "auto",
    gpus: int | None = None,
    threads: int | None = None,
    wait: float = 1200.0,
    wheel: str | None = None,
    progress: bool = False,
) -> Result:
    """How far around a position of a layer the input matters.

    Of each layer, with 95 % intervals over images. One pass forward and one back for each layer: some hundred
    images and a few layers are enough.

    `cvbench analyze receptive-field` on the command line.

    Args:
        store: Path or URL of the feature store.
        dataset: Data set, as for extract: the images are read.
        backbones: As in the store, or as for extract; default: those that the store has of these images. One or
            several.
        split: Split of the data set; the default is the data set's own.
        data_root: Folder that holds the data sets.
        weights: As for extract; default: those of the features in the store, else pretrained.
        taps: blocks, paper, branches, a module name or a glob; 'list' prints what there is.
        limit: Samples to cover, rounded up to whole units.
        batch_size: Images per forward pass, or 'auto'.
        image_size: Input size in pixels, if not the model's own.
        unit: Samples of one unit of work; frozen in the store.
        decoder: fast: turned by EXIF, alpha on white; pil: timm's pixels, EXIF ignored, alpha dropped (as
            --preprocess).
        max_unreadable: Share of unreadable samples that is tolerated.
        output: What is made of a position's channels: sum, or signs (each with a random one), as behind a norm.
        resamples: Resamples, for the intervals that draw any.
        seed: Seed of all that is drawn at random.
        address: "none" runs in this process, "local" starts a private Ray, "auto" chooses as the command line does,
            else the address of a Ray cluster; default: the variable CVBENCH_ADDRESS, else "none".
        device: auto: a GPU if there is one.
        gpus: How many GPUs (actors) to use; default all.
        threads: CPU cores of one actor; of one with a GPU, those that it decodes on.
        wait: Seconds to wait for nodes that a cluster starts.
        wheel: Wheel of cvbench that the actors of a joined cluster are to run.
        progress: Print how far the work is, to stderr.

    Returns:
        The result, which is kept in the store too; what was computed before is not computed again.
    """

def two_way(
    store: str | os.PathLike[str] | Store = "./cvbench.zarr",
    *,
    dataset: str | None = None,
    split: str | None = None,
    taps: str | Sequence[str] | None = None,
    of: Literal["spectra", "similarity", "maps"] = "spectra",
    cells: str | Sequence[str] | None = None,
    factors: str | Sequence[str] = ("architecture", "objective"),
    source: str | None = None,
    data_root: str | None = None,
    address: str | None = None,
    device: str = "auto",
    gpus: int | None = None,
    threads: int | None = None,
    wait: float = 1200.0,
    wheel: str | None = None,
    progress: bool = False,
) -> Result:
    """Two crossed factors, inside: what is of which.

    Such as architecture and objective: how much of what spectra, similarity or maps measure of every image in the
    last layers is of which, with 95 % intervals over images.

    `cvbench analyze two-way` on the command line.

    Args:
        store: Path or URL of the feature store.
        dataset: Data set, if the store holds several.
        split: Split of the data set; the default is the data set's own.
        taps: Names or globs of layers, of which each backbone's last is measured; default all. One or several.
        of: What is measured of every image: spectra, similarity or maps.
        cells: BACKBONE=LEVEL,LEVEL: where a backbone stands. Once for each combination of levels, which have no
            '='.
        factors: Names of the two factors, with a comma between.
        source: Where the images are, for a data set of your own: folder:PATH.
        data_root: Folder that holds the data sets.
        address: "none" runs in this process, "local" starts a private Ray, "auto" chooses as the command line does,
            else the address of a Ray cluster; default: the variable CVBENCH_ADDRESS, else "none".
        device: auto: a GPU if there is one.
        gpus: How many GPUs (actors) to use; default all.
        threads: CPU cores of one actor; of one with a GPU, those that it decodes on.
        wait: Seconds to wait for nodes that a cluster starts.
        wheel: Wheel of cvbench that the actors of a joined cluster are to run.
        progress: Print how far the work is, to stderr.

    Returns:
        The result, which is kept in the store too; what was computed before is not computed again.
    """

def tsne(
    store: str | os.PathLike[str] | Store = "./cvbench.zarr",
    *,
    dataset: str | None = None,
    split: str | None = None,
    backbones: str | Sequence[str] | None = None,
    view: str = "head",
    taps: str | Sequence[str] | None = None,
    resamples: int = 2000,
    seed: int = 0,
    backend: str = "auto",
    perplexity: float = 30.0,
    iterations: int = 1000,
    preprocess: str = "standardise",
    components: int = 50,
    repeats: int = 5,
    sample: int | str | None = None,
    measured: int = 5000,
    address: str | None = None,
    device: str = "auto",
    threads: int | None = None,
    progress: bool = False,
) -> Result:
    """t-SNE maps of the features, and how far to believe them.

    With 95 % intervals over images. Each run of each layer is a task: one after the other in this process, side by
    side with --address local.

    `cvbench analyze tsne` on the command line.

    Args:
        store: Path or URL of the feature store.
        dataset: Data set, if the store holds several.
        split: Split of the data set; the default is the data set's own.
        backbones: Backbones; default all. One or several.
        view: pooled, cls, head or logits.
        taps: Layers, names or globs; default all. One or several.
        resamples: Resamples, for the intervals that draw any.
        seed: Seed of all that is drawn at random.
        backend: auto: sklearn; cuml or opentsne from 10,001 samples.
        perplexity: Effective number of neighbours.
        iterations: Of them 250 with exaggeration.
        preprocess: standardise, none or l2 (then distances rank as the cosine does).
        components: Principal components before t-SNE.
        repeats: Runs: one from PCA, which is shown, the others for the spread.
        sample: Samples to map, each class in proportion, or 'all'.
        measured: Samples that the measures are of.
        address: "none" runs in this process, "local" starts a private Ray, "auto" chooses as the command line does,
            else the address of a Ray cluster; default: the variable CVBENCH_ADDRESS, else "none".
        device: auto: a GPU if there is one.
        threads: CPU cores of one task (with Ray).
        progress: Print how far the work is, to stderr.

    Returns:
        The result, which is kept in the store too; what was computed before is not computed again.
    """

def silhouette(
    store: str | os.PathLike[str] | Store = "./cvbench.zarr",
    *,
    dataset: str | Sequence[str] | None = None,
    split: str | None = None,
    backbones: str | Sequence[str] | None = None,
    view: str = "head",
    taps: str | Sequence[str] | None = None,
    spaces: str | Sequence[str] | None = None,
    map_name: str | None = None,
    resamples: int = 2000,
    seed: int = 0,
    metrics: str | Sequence[str] = ("euclidean",),
    sample: int | str | None = None,
    address: str | None = None,
    device: str = "auto",
    progress: bool = False,
) -> Result:
    """Silhouette of the classes, exact, in each space.

    Per data set, backbone and space, with 95 % intervals. With the Davies-Bouldin and Calinski-Harabasz indices and
    the simplified silhouette. Two backbones or more: also their paired differences on the same samples.

    `cvbench analyze silhouette` on the command line.

    Args:
        store: Path or URL of the feature store.
        dataset: Data sets, if the store holds several. One or several.
        split: Split of the data set; the default is the data set's own.
        backbones: Backbones; default all. One or several.
        view: pooled, cls, head or logits.
        taps: Layers, names or globs; default all. One or several.
        spaces: features, standardised, pca50 or tsne (a map of `analyze tsne`); default standardised. One or
            several.
        map_name: Of --space tsne: a result of `analyze tsne`, by its path in the store or the last part of it.
            Default: that of its default options, else the only one; if there is none, it is made.
        resamples: Resamples, for the intervals that draw any.
        seed: Seed of the sample and of the intervals.
        metrics: Distances; default euclidean. One or several.
        sample: Samples to score against all, each class in proportion, or 'all'.
        address: "none" runs in this process, "local" starts a private Ray, "auto" chooses as the command line does,
            else the address of a Ray cluster; default: the variable CVBENCH_ADDRESS, else "none".
        device: auto: a GPU if there is one.
        progress: Print how far the work is, to stderr.

    Returns:
        The result, which is kept in the store too; what was computed before is not computed again.
    """

def __getattr__(name: str) -> Callable[..., Result]:
    """The analysis of a package that is installed beside cvbench."""
