"""Stored layers as a data set of torch; torch is imported when it is made."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cvbench.api.stores import Store

if TYPE_CHECKING:
    from cvbench.jobs.catalogue.torch_features import TorchFeatures


def torch_dataset(
    store: Store | str | os.PathLike[str],
    layers: str | Sequence[str],
    *,
    dataset: str | None = None,
    backbone: str | None = None,
    view: str = "pooled",
    batch_size: int | None = None,
    shuffle: bool = True,
    seed: int = 0,
    drop_last: bool = False,
) -> TorchFeatures:
    """Stored layers as a `torch.utils.data.IterableDataset`, shuffled by chunk.

    Each item is a dict: `features` (a tensor, or layer -> tensor for several layers), `label` (-1 for none) and `row`,
    the place in the store, which `Store.samples` knows. With `batch_size` the items are batches, for
    `DataLoader(data, batch_size=None)`: as fast as the store is read. Without, they are samples. `len` counts items.

    Each pass is the next epoch, from 0 on, also with persistent workers; `set_epoch(epoch, start)` says which the next
    one is, and how many of its items were taken before. With `batch_size` the batches of an epoch are the same for any
    number of workers, which hand them out in turns. `state_dict` and `load_state_dict` are for torchdata's
    `StatefulDataLoader`.

    Args:
        store: A store, or its path or URL.
        layers: One layer, or several of the same backbone.
        dataset: Such as "digits/test"; None: the only one of the store.
        backbone: As the store or as `extract` names it; None: the only one.
        view: One of `Store.views`.
        batch_size: Samples of a batch; one of an epoch may be smaller.
        shuffle: Chunks, and the rows of each; another order for every epoch.
        seed: Of the orders.
        drop_last: Leave a smaller batch out.

    Returns:
        The data set; `samples` says how many there are.

    Raises:
        UnknownNameError, DataUnavailableError: The store has no such data set, backbone, view or layer.
        UsageError: Several fit, or a layer is named twice.
    """
    from cvbench.jobs.catalogue.torch_features import torch_features

    opened = store if isinstance(store, Store) else Store(store)
    return torch_features(
        opened._features,
        dataset,
        backbone,
        layers,
        view,
        batch_size=batch_size,
        shuffle=shuffle,
        seed=seed,
        drop_last=drop_last,
    )
