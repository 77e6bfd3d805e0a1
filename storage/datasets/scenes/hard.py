"""The seeds of `scenes-a`."""

from __future__ import annotations

HARD_SEEDS: tuple[int, ...] = ()
