"""Loss and hits of the steps of an epoch, added up where they were computed: no step waits for its numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from cvbench.engine.models.host_copy import sent


class Tally:
    """Sums over samples, in float64.

    Args:
        device: Where the steps are computed.
        sums: To go on from: see `fetch`.
    """

    def __init__(self, device: torch.device, sums: Sequence[float] = (0.0, 0.0, 0.0)) -> None:
        self._loss, self._right = sent(np.array(sums[:2], np.float64), device).unbind()
        self._samples = sums[2]

    def add(self, loss: Tensor, right: Tensor, samples: int) -> None:
        """Add a step; the host does not wait for it.

        Args:
            loss: () float32, the mean over its samples.
            right: () int64, how many were right.
            samples: How many there were.
        """
        self._loss += loss.double() * samples
        self._right += right
        self._samples += samples

    def fetch(self) -> list[float]:
        """The sum of the losses, of those that were right, and of samples; waits for the device."""
        loss, right = torch.stack([self._loss, self._right]).tolist()
        return [loss, right, self._samples]
