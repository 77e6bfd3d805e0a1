"""Downstream of the store, with nothing but xarray, dask and NumPy: cvbench is not imported.

    python docs/downstream.py d.zarr digits/all test_vit@64 head head

For one layer: class centroids from one half of the samples, the accuracy of the nearest centroid on the other half, and
the principal components of all. The features are read a chunk at a time; what stays in memory is (classes, features)
and (features, features).
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import dask
import numpy as np
import xarray


def layer_of(store: str, split: str, backbone: str, view: str, tap: str) -> xarray.DataArray:
    """Features (sample, channel) in chunks, with `label` as a coordinate; rows that were never computed left out."""
    features = xarray.open_zarr(store, group=f"{split}/{backbone}/{view}", consolidated=False)[tap]
    samples = xarray.open_zarr(store, group=f"{split}/samples", consolidated=False)
    features = features.rename({features.dims[1]: "channel"}).assign_coords(label=samples["label"])
    there = features.notnull().all("channel").compute()
    return features.isel(sample=np.flatnonzero(there.values)).astype("float64")


def centroids(features: xarray.DataArray) -> xarray.DataArray:
    """(label, channel): the mean of each class."""
    labels = np.unique(features["label"].values)
    member = xarray.DataArray(
        (features["label"].values[:, None] == labels).astype("float64"),
        dims=("sample", "label"),
        coords={"label": labels},
    )
    return xarray.dot(member, features.drop_vars("label"), dim="sample") / member.sum("sample")


def nearest_centroid(features: xarray.DataArray, means: xarray.DataArray) -> xarray.DataArray:
    """(sample,): the label of the nearest centroid. |x - m|^2 without |x|^2, which is the same for every centroid."""
    plain = features.drop_vars("label")
    distance = (means**2).sum("channel") - 2 * xarray.dot(plain, means, dim="channel")
    return means["label"].isel(label=distance.argmin("label"))


def principal_components(features: xarray.DataArray, k: int) -> tuple[xarray.DataArray, np.ndarray[Any, Any]]:
    """Scores (sample, component), lazily, and the share of the variance (component,), by the covariance."""
    centred = features.drop_vars("label") - features.mean("sample")
    covariance = (
        xarray.dot(centred, centred.rename(channel="other"), dim="sample") / features.sizes["sample"]
    ).compute()
    values, vectors = np.linalg.eigh(covariance.values)
    axes = xarray.DataArray(vectors[:, ::-1][:, :k], dims=("channel", "component"))
    return xarray.dot(centred, axes, dim="channel"), values[::-1][:k] / values.sum()


def main() -> None:
    """Print the numbers as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store")
    parser.add_argument("split", help="data set and split, such as digits/all")
    parser.add_argument("backbone")
    parser.add_argument("view", help="pooled, head or logits")
    parser.add_argument("tap")
    options = parser.parse_args()
    features = layer_of(options.store, options.split, options.backbone, options.view, options.tap)
    # The order of a store is a random permutation of the data set: any halves are fair.
    half = features.sizes["sample"] // 2
    means = centroids(features.isel(sample=slice(None, half)))
    test = features.isel(sample=slice(half, None))
    scores, share = principal_components(features, 2)
    guess, spread = dask.compute(nearest_centroid(test, means), scores.std("sample"))
    found = {
        "samples": features.sizes["sample"],
        "classes": means.sizes["label"],
        "nearest_centroid_accuracy": float((guess.values == test["label"].values).mean()),
        "variance_of_first_components": share.tolist(),
        "sd_of_first_components": spread.values.tolist(),
    }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
