"""Does a backbone keep its answer when the image is scaled, shifted, or shown at another resolution?

Per setting: top-1 accuracy and the mean softmax probability of the true class, each beside its paired difference to
the same samples left as they were.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cvbench.engine.metrics.scores import Scores
from cvbench.engine.statistics.estimate import Estimate
from cvbench.engine.statistics.intervals import mean_share, mean_signed, moved_interval, wilson
from cvbench.engine.statistics.paired import Comparison, compare
from cvbench.errors import UsageError


@dataclass(frozen=True)
class Setting:
    """One transform at one value, over the samples that both runs could read.

    Attributes:
        top1: Wilson's interval over samples.
        probability: Mean softmax probability of the true class, see `mean_share`.
        change: Against the untransformed samples: accuracy difference, discordant samples, McNemar.
        probability_change: Mean difference of the true class's probability, paired, see `mean_signed`.
        consistency: Share of samples with the same prediction as before.
    """

    top1: Estimate
    probability: Estimate
    change: Comparison
    probability_change: Estimate
    consistency: Estimate


def setting(transformed: Scores, reference: Scores, confidence: float = 0.95) -> Setting:
    """Compare n >= 1 transformed samples with the same n untransformed ones, in the same order.

    Raises:
        UsageError: Another number of samples.
    """
    if len(transformed) != len(reference):
        raise UsageError(
            f"{len(transformed)} transformed samples cannot be paired with {len(reference)} untransformed ones",
            why="a paired difference needs the same samples on both sides",
        )
    n = len(transformed)
    return Setting(
        top1=wilson(int(transformed.correct.sum()), n, confidence),
        probability=mean_share(transformed.probability, confidence),
        change=compare(transformed.correct, reference.correct, confidence),
        probability_change=mean_signed(transformed.probability - reference.probability, confidence),
        consistency=wilson(int(np.sum(transformed.predicted == reference.predicted)), n, confidence),
    )


def change_difference(
    first: tuple[Scores, Scores], second: tuple[Scores, Scores], confidence: float = 0.95
) -> Estimate:
    """Difference of the changes in accuracy of two backbones, by `moved_interval` over samples.

    (A transformed - A untransformed) - (B transformed - B untransformed), of the same n samples throughout: negative if
    A loses more.

    Args:
        first, second: (transformed, untransformed) of A and of B.
    """
    changes = [after.correct.astype(np.int8) - before.correct.astype(np.int8) for after, before in (first, second)]
    n, signed = len(changes[0]), (changes[0] - changes[1]).astype(np.float64)
    return moved_interval(float(signed.mean()), (signed - signed.mean()) / n, 1 / n, n, n, confidence)
