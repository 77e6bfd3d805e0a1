"""Whether there are samples, and memory, for a batch: looked at before the first write freezes it in a store."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cvbench.errors import ResourceError, UsageError
from cvbench.jobs.extraction.options import ExtractOptions
from cvbench.jobs.running.cluster import Cluster
from cvbench.jobs.running.memory import memory_left
from cvbench.jobs.running.sizes import human

if TYPE_CHECKING:
    from cvbench.engine.pictures.geometry import Geometry

STAGED = 3
"""Batches of uint8 images on their way, at least; on a CPU one of float32 beside them."""


def check_sizes(options: ExtractOptions, n: int) -> None:
    """Refuse a batch or a unit that is far larger than the data set: its images would be black, its arrays empty.

    Args:
        options: What a new split is asked for.
        n: Samples of the data set.

    Raises:
        UsageError: One of them is.
    """
    from cvbench.storage.features.units import LARGEST

    most = max(n, LARGEST)
    for option, asked in (("--batch-size", options.batch_size), ("--unit", options.unit)):
        if asked is not None and asked > most:
            raise UsageError(
                f"{option} {asked} is more than there is",
                where=options.dataset,
                why=f"it has {n:,} samples; sizes to {most:,} are taken, and the store would keep this one for ever",
                fix=f"leave {option} out, or give less",
            )


def check_memory(batch: int, geometries: Sequence[Geometry], cluster: Cluster, *, frozen: bool) -> None:
    """Refuse a batch for which this machine has no memory, whatever a network takes beside it.

    On a joined cluster nothing is known of the nodes.

    Args:
        batch: Images.
        geometries: What they are fitted to.
        cluster: Where.
        frozen: The store has this batch, and keeps it.

    Raises:
        ResourceError: Saying how many images fit.
    """
    left = None if cluster.joined else memory_left()
    pixels = [3 * math.prod(geometry.size) for geometry in dict.fromkeys(geometries)]
    each = STAGED * sum(pixels) + (4 * max(pixels, default=0) if cluster.device == "cpu" else 0)
    if left is None or batch * each <= left:
        return
    fits = max(1, 2 ** int(math.log2(max(left // (2 * each), 1))))  # half of it is the network's
    raise ResourceError(
        f"a batch of {batch} images takes {human(batch * each)} of memory at least, and {human(left)} are left",
        why="the store has frozen this batch" if frozen else "nothing was written",
        fix=f"--batch-size {fits}{' and another --store' if frozen else ''}, or a machine with more memory",
    )
