"""What a silhouette is asked for."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Any

from cvbench.engine.statistics.options import IntervalOptions
from cvbench.errors import UnknownNameError
from cvbench.options import NAMES, Option, Text, count_or

METRICS = ("euclidean", "cosine", "sqeuclidean")
SPACES = {
    "features": "features",
    "standardised": "features standardised",
    "pca50": "features standardised, PCA-50",
    "tsne": "t-SNE map",
}
"""Where distances can be taken, and how a result says so. The ranking of backbones may depend on it."""
USUAL = ("euclidean",)
_METRICS = Text(lambda typed: NAMES.read(typed) or USUAL, lambda value: [] if value == USUAL else list(value))


@dataclass(frozen=True)
class SilhouetteOptions(IntervalOptions):
    """Options of the silhouette.

    Attributes:
        metrics: Of `METRICS`.
        space: Of `SPACES`: what `read` gives. Only the standardisation is done here: z-score of each feature, where a
            constant one becomes 0.
        sample: None is all.
        seed: Of the sample, of the groups of the jackknife, and of the bootstrap.
    """

    metrics: Annotated[
        tuple[str, ...],
        Option("Distances; default euclidean. Repeat.", "--metric", text=_METRICS, values=METRICS),
    ] = USUAL
    space: str = "standardised"
    sample: Annotated[
        int | None, Option("Samples to score against all, each class in proportion, or 'all'.", text=count_or("all"))
    ] = None

    def __post_init__(self) -> None:
        for metric in self.metrics:
            if metric not in METRICS:
                raise UnknownNameError.among("metric", metric, METRICS, fix=f"--metric {', '.join(METRICS)}")
        if self.space not in SPACES:
            raise UnknownNameError.among("space", self.space, SPACES, fix=f"--space {', '.join(SPACES)}")

    def as_dict(self) -> dict[str, Any]:
        """Every field, as plain JSON."""
        return {**asdict(self), "metrics": list(self.metrics)}
