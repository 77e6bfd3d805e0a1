"""The row of the one schema of all tables."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TidyRow:
    """One number of a result, in the one schema of all tables.

    Attributes:
        run: Which result: its path in the store.
        backbone: One, or "A vs B" for a number of a pair.
        metric: What the number is, such as "linear CKA" or "top1".
        factor: Of which layer, class, frequency or shift, as text; "" for the whole.
        value, low, high: None where undefined; low and high are the ends of the interval that the result states.
        n: Sampling units behind it (images, batches or classes, as the metric says).
        n_failed: Samples left out: unreadable, or undefined for this metric.
    """

    run: str
    dataset: str
    split: str
    backbone: str
    metric: str
    factor: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    n_failed: int
