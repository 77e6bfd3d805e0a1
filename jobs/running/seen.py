"""Whether a worker, which may be on another node, sees the store that the driver has."""

from __future__ import annotations

import socket

from cvbench.errors import ClusterError, DataUnavailableError
from cvbench.storage.features import FeatureStore


def seen_store(url: str, dataset: str, split: str) -> FeatureStore:
    """The store of a run, opened by a worker: the driver has made it and begun the split. Nothing is made here.

    Raises:
        ClusterError: On this node there is no such store, or another one.
    """
    try:
        store = FeatureStore.open(url, mode="r+")
    except DataUnavailableError as error:
        raise _unseen(url, "there is no store") from error
    check_seen(store, dataset, split)
    return store


def check_seen(store: FeatureStore, dataset: str, split: str) -> None:
    """Refuse a store in which the split is not begun that the driver has.

    Raises:
        ClusterError: It is not.
    """
    try:
        store.split(dataset, split)
    except DataUnavailableError as error:
        raise _unseen(store.url, f"the store there has no {dataset}/{split}") from error


def _unseen(url: str, why: str) -> ClusterError:
    return ClusterError(
        "this node does not see the driver's store",
        where=f"{url} on {socket.gethostname()}",
        why=why,
        fix="--store in a folder that every node mounts at the same path, or in an object store (s3://BUCKET/NAME); "
        "`cvbench cluster doctor` looks on every node",
    )
