"""What a fine-tuning is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cvbench.jobs.extraction.options import COLUMNS
from cvbench.jobs.running.hardware import Hardware
from cvbench.jobs.running.places import check_folder
from cvbench.options import Form, Option


@dataclass(frozen=True)
class FinetuneOptions:
    """Options of a fine-tuning.

    Attributes:
        out: Its files are named after the backbone and the data set.
        train: Empty: those of train, trainval and val that the data set has.
        checkpoint_seconds: 0 is after every step.
        cache: Bytes of decoded images to keep in memory, per process.
        partial: Accept a data set that is not whole, and more unreadable samples than 1 %.
    """

    dataset: Annotated[str, Option("A name of `datasets ls`, folder:PATH or table:FILE.", short="-d")]
    backbone: Annotated[str, Option("timm model or alias.", short="-m")]
    out: Annotated[str, Option("Folder for weights, curve and figure.", short="-o", check=check_folder)]
    weights: Annotated[
        str, Option("pretrained, random or FILE (.safetensors, .pth, ...).", such_as=("pretrained", "random"))
    ] = "pretrained"
    recipe: Annotated[str, Option("How it is trained.", values=("modern", "vtab_finetune", "vtab_1k"))] = "modern"
    epochs: Annotated[int | None, Option("Instead of the recipe's.", least=1)] = None
    batch_size: Annotated[int | None, Option("Over all processes.", short="-b", least=1)] = None
    rate: Annotated[float | None, Option("Peak rate, above 0, instead of the recipe's.", "--lr")] = None
    average: Annotated[float | None, Option("Average the weights, e.g. 0.999.", "--ema", least=0, most=1)] = None
    mixup: Annotated[float | None, Option("Mixup's alpha; off by default.", least=0)] = None
    image_size: Annotated[int | None, Option("Input size in pixels, if not the model's own.", least=8)] = None
    seed: Annotated[int, Option("Seed of all that is drawn at random.", least=0)] = 0
    precision: Annotated[str, Option("fp32, bf16 or fp16 (autocast).", values=("fp32", "bf16", "fp16"))] = "fp32"
    train: Annotated[
        tuple[str, ...], Option("Splits to train on; default train and val. Repeat.", "--train-split")
    ] = ()
    test: Annotated[str, Option("Split to test the last weights on.", "--test-split")] = "test"
    validate: Annotated[
        bool, Option("Test on val, or VTAB's share of train, after every epoch; do not train on it.")
    ] = False
    data_root: Annotated[str | None, Option("Folder that holds the data sets.", variable="CVBENCH_DATA")] = None
    checkpoint_seconds: Annotated[float, Option("Between checkpoints.", least=0)] = 30.0
    cache: int = 2 * 10**9
    partial: Annotated[bool, Option("Accept a part of the samples: fewer than published, extracted or readable.")] = (
        False
    )
    columns: Annotated[str | None, Option(COLUMNS)] = None

    def __post_init__(self) -> None:
        if self.columns:  # as for an extraction
            from cvbench.storage.datasets import with_columns

            object.__setattr__(self, "dataset", with_columns(self.dataset, self.columns))
            object.__setattr__(self, "columns", None)


_PROCESSES = {
    "gpus": "Processes, each with a GPU; default 1.",
    "threads": "CPU cores of a process; default all.",
}
FINETUNE = (FinetuneOptions, Form(Hardware, help=_PROCESSES))
