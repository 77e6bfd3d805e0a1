"""What the benchmarks share: scores of all samples, an accuracy near chance explained, and the kept result."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np

from cvbench.engine.analyses.base import Layer, Result
from cvbench.engine.metrics.scores import Scores, join_scores, score_block
from cvbench.engine.metrics.suspect import Chance, against_chance
from cvbench.errors import EvaluationSuspectError, UsageError
from cvbench.hints import option_words
from cvbench.jobs.evaluation.labels import LabelSpace, label_space
from cvbench.jobs.evaluation.options import EvalOptions
from cvbench.jobs.evaluation.samples import VIEW, Samples
from cvbench.jobs.reading.options import DEFAULT_STORE, Selection, one_dataset
from cvbench.jobs.results.keep import keep
from cvbench.storage.datasets import registered

_NEAR_CHANCE_BY_DESIGN = ("imagenet-a", "scenes-a")
_INTERVALS = 3
"""Joins the identity of every result: raised when an interval or a verdict is computed in another way."""


@dataclass(frozen=True)
class Evaluated:
    """A result and where it is kept."""

    result: Result
    path: str

    @property
    def named(self) -> Result:
        """The result: its attributes say of what and where it is."""
        return self.result


def space_of(samples: Samples, layer: Layer, *, masked: bool = True) -> LabelSpace:
    """The map from a backbone's logits to the classes of the data set.

    Raises:
        UsageError: The number of classes differs; or predictions that cannot be masked.
    """
    where = f"{samples.where}: {layer.backbone}"
    space = label_space(samples.info.classes, samples.outputs(layer), where, masked=masked)
    if space.columns is not None and samples.kind(layer) != VIEW:
        refuse_kind(samples, layer, "a score over some of the outputs")
    return space


def refuse_kind(samples: Samples, layer: Layer, what: str) -> None:
    """Refuse what imported class predictions cannot give.

    Raises:
        UsageError: Always.
    """
    raise UsageError(
        f"{what} needs logits or probabilities of all classes",
        where=f"{samples.where}: {layer.backbone}",
        why=f"the imported predictions are of kind {samples.kind(layer)!r}: only the winner is known",
        fix="`eval import` with a file of logits or probabilities, under another --backbone name",
    )


def score_samples(samples: Samples, layer: Layer, space: LabelSpace) -> Scores:
    """The scores of every sample; memory is one block of logits and 48 bytes per sample."""
    targets = space.targets[samples.labels]
    parts = [score_block(values, targets[rows], space.columns) for rows, values in samples.blocks(layer)]
    return join_scores(parts)


def check_chance(samples: Samples, layer: Layer, space: LabelSpace, scores: Scores, options: EvalOptions) -> str | None:
    """Explain an accuracy near chance.

    Returns:
        The note to keep with the result, or None if the accuracy is plainly above chance.

    Raises:
        EvaluationSuspectError: It is near chance, and that is not allowed.
    """
    if space.width < 2:
        return None
    targets = space.targets[samples.labels]
    known = targets >= 0
    if not known.any():
        return None
    found = against_chance(scores.predicted[known], targets[known], space.width)
    return None if not found.near else suspect(samples, layer, space.width, found, options)


def suspect(samples: Samples, layer: Layer, classes: int, found: Chance, options: EvalOptions) -> str:
    """The note of an accuracy near chance, or the error.

    ImageNet-A gets a note only: it was collected so that a ResNet-50 is near 0 there (Hendrycks et al. 2021); so does
    `scenes-a`, made in the same way.

    Raises:
        EvaluationSuspectError: It is not allowed.
    """
    what = (
        f"{100 * found.accuracy:.2f} % of {len(samples.rows):,} samples are right; guessing gives {100 / classes:.2g} %"
    )
    if found.other_order:
        why = (
            f"the classes are told apart, under other names: a renaming would make {100 * found.renamed:.0f} % right. "
            "The class folders (or labels) are in another order than the classifier's outputs"
        )
        fix = "check the class folders: by WordNet id for ImageNet, by number and not by text for ImageNetV2"
    elif found.constant > max(0.5, 5 / classes):
        why = f"{100 * found.constant:.0f} % of all samples get the same class: an untrained or mismatched classifier"
        fix = "check --weights and the preprocessing; --allow-chance reports it all the same"
    else:
        why = "the classes are not told apart: random weights, other classes, or images that are adversarial by design"
        fix = "check --weights and what the classifier was trained on; --allow-chance reports it all the same"
    where = f"{samples.where}: {layer.backbone}"
    if not options.allow_chance and registered(samples.info.dataset) not in _NEAR_CHANCE_BY_DESIGN:
        raise EvaluationSuspectError(f"accuracy is near chance: {what}", where=where, why=why, fix=fix)
    return f"{where} is near chance: {what}; {why}"


def keep_table(samples: Samples, result: Result, identity: object) -> Evaluated:
    """Keep a result under the data set of `samples`."""
    result = replace(result, attrs={"made_from": samples.made_from(), **result.attrs})
    path = keep(samples.reading, result, [_INTERVALS, identity])
    attrs = {**result.attrs, "run": path, "dataset": samples.info.dataset, "split": samples.info.split}
    return Evaluated(replace(result, attrs=attrs), path)


def content_digest(*parts: object) -> str:
    """A digest of what files said, for the identity of a result: arrays by their bytes, the rest by its text."""
    digest = hashlib.sha256()
    for part in parts:
        data = np.ascontiguousarray(part).tobytes() if isinstance(part, np.ndarray) else repr(part).encode()
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def selection_words(samples: Samples, *, backbones: bool = True) -> list[str]:
    """The options that select the samples again, and the backbones where the command takes them."""
    names = tuple(layer.backbone for layer in samples.selected.layers) if backbones else ()
    selection = Selection(DEFAULT_STORE, samples.info.dataset, samples.info.split, names)
    return option_words(one_dataset().words(selection))
