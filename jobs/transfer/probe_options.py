"""What a linear probe is asked for: which features of which samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cvbench.engine.probe.options import ProbeOptions, Schedule
from cvbench.jobs.reading.options import DEFAULT_STORE
from cvbench.jobs.running.hardware import Hardware
from cvbench.options import Form, Option

__all__ = ["PROBE", "ProbeOptions", "ProbeRequest", "Schedule"]


@dataclass(frozen=True)
class ProbeRequest:
    """Features to probe, and the samples by role.

    Attributes:
        datasets: Specs ("dtd:2"), names as in the store ("dtd-2"), and groups such as "@transfer".
        backbones, view, taps: As for `Selection`.
        train: None: "train", or "trainval" of a data set that has no train.
        val: None: "val" if the data set has one; else a share of the training samples, where VTAB takes one; else none.
        confidence: Of the intervals.
        partial: Accept a part of the samples, and data sets that are not whole.
        keep_logits: Keep the logits of the test samples, see `cvbench.jobs.transfer.probe_logits`.
    """

    store: Annotated[str, Option("Path or URL of the feature store.")]
    datasets: Annotated[
        tuple[str, ...], Option("Such as dtd, dtd:2, or a group: @transfer. Repeat.", "--dataset", "-d")
    ]
    backbones: Annotated[tuple[str, ...], Option("Backbones; default all. Repeat.", "--backbone", "-m")] = ()
    view: Annotated[str, Option("head, pooled, cls or logits.", values=("head", "pooled", "cls", "logits"))] = "head"
    taps: Annotated[tuple[str, ...], Option("Layers, names or globs; default all. Repeat.")] = ()
    train: Annotated[
        str | None, Option("Split to fit on; default train, else trainval.", "--train-split", settled=True)
    ] = None
    val: Annotated[
        str | None, Option("Split that chooses the penalty; default val, else VTAB's share of train.", "--val-split")
    ] = None
    test: Annotated[str, Option("Split to test on, once.", "--test-split")] = "test"
    confidence: float = 0.95
    partial: Annotated[bool, Option("Accept a part of the samples: fewer than published, extracted or readable.")] = (
        False
    )
    keep_logits: Annotated[
        bool, Option("Keep what the probe says of the test samples as logits of BACKBONE+probe, for eval.")
    ] = False


PROBE = (Form(ProbeRequest, defaults={"store": DEFAULT_STORE}), ProbeOptions, Form(Hardware, only=("device",)))
