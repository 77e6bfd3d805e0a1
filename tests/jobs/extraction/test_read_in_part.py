"""What a data set's reader left out is said by `extract` and kept in the store; a row without an image is a row."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cvbench.errors import DataUnavailableError, IncompleteError, UsageError
from cvbench.jobs.catalogue import store as store_job
from cvbench.jobs.catalogue.datasets import describe_dataset, verify
from cvbench.jobs.extraction.extract import extract
from cvbench.jobs.extraction.options import ExtractOptions, check_keys
from cvbench.jobs.running.cluster import Cluster
from cvbench.jobs.running.progress import Event, Note
from cvbench.storage.features import FeatureStore
from cvbench.storage.features.ledger import seal
from tests.jobs.images import write_folder
from tests.storage.datasets.dataset_suite import jpeg
from tests.storage.datasets.shard_trees import write_parquet

LOOP = Cluster(address="none")


def options(tmp_path: Path, dataset: str, **changes: object) -> ExtractOptions:
    sizes = {"batch_size": 8, "unit": 8, "image_size": 64}
    return ExtractOptions(
        dataset=dataset,
        backbones=("test_vit",),
        store=str(tmp_path / "store.zarr"),
        weights=("random",),
        taps=("blocks.0",),
        **{**sizes, **changes},  # type: ignore[arg-type]
    )


def notes(events: list[Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, Note)]


def test_extract_says_what_is_left_out_and_the_store_keeps_it(tmp_path: Path) -> None:
    pets = write_folder(tmp_path / "pets", 8)
    (pets / "class-0" / "new.avif").write_bytes(b"x")
    (pets / "stray.png").write_bytes((pets / "class-0" / "000.png").read_bytes())
    events: list[Event] = []
    extract(options(tmp_path, f"folder:{pets}"), LOOP, events.append)
    lines = [
        "files that are no images by their extension: 1 (avif 1): class-0/new.avif",
        "images beside the class folders: 1: stray.png",
    ]
    assert notes(events) == [f"folder-pets/all: {line}" for line in lines]
    found = store_job.info(str(tmp_path / "store.zarr"))
    assert found.splits[0].left_out == tuple(lines)
    assert json.loads(json.dumps(found.as_dict()))["splits"][0]["left_out"] == lines
    report = verify(f"folder:{pets}")
    assert report.ok
    assert [entry.text for entry in report.splits[0].left_out] == lines
    described = describe_dataset(f"folder:{pets}")
    assert [(split.images, len(split.left_out)) for split in described.splits] == [(8, 2)]


def test_a_store_that_says_nothing_of_it_goes_on(tmp_path: Path) -> None:
    """Stores written earlier have no such field; and what lies beside the samples may change between two runs."""
    pets = write_folder(tmp_path / "pets", 16)
    (pets / "class-0" / "notes.txt").touch()
    job = options(tmp_path, f"folder:{pets}")
    extract(ExtractOptions(**{**job.__dict__, "limit": 8}), LOOP)
    path = tmp_path / "store.zarr" / "ledger" / "folder-pets" / "all" / "split.json"
    record = json.loads(path.read_bytes())["record"]
    assert record.pop("left_out")[0]["count"] == 1
    path.write_bytes(seal(record))
    (pets / "class-0" / "more.txt").touch()
    assert extract(job, LOOP).computed == 8
    assert FeatureStore.open(tmp_path / "store.zarr").split("folder-pets", "all").left_out == ()


def test_a_row_without_an_image_is_a_row_of_nan(tmp_path: Path) -> None:
    images = [jpeg(k, size=(64, 64)) if k != 5 else None for k in range(16)]
    write_parquet(tmp_path / "train-00000-of-00001.parquet", images, [0] * 16)
    job = options(tmp_path, f"parquet:{tmp_path}/train-00000-of-00001.parquet", max_unreadable=0.1)
    report = extract(job, LOOP)
    assert [(bad.id, bad.reason) for bad in report.unreadable] == [("train-00000-of-00001/000005", "empty")]
    store = FeatureStore.open(tmp_path / "store.zarr")
    group = next(group for group in store.groups() if group.view == "pooled")
    nan = np.isnan(store.layer(group, "blocks.0").read(0, 16)).all(axis=1)
    ids = store.samples(group.dataset, "train")["id"]
    assert [str(ids[row]) for row in np.flatnonzero(nan)] == ["train-00000-of-00001/000005"]
    with pytest.raises(IncompleteError, match="1 of 16"):
        extract(ExtractOptions(**{**job.__dict__, "max_unreadable": 0.01}), LOOP)


def test_missing_shards_are_a_problem_to_verify_and_refused_by_extract(tmp_path: Path) -> None:
    write_parquet(tmp_path / "hub" / "train-00000-of-00005.parquet", [jpeg(k) for k in range(8)], [0] * 8)
    report = verify(f"parquet:{tmp_path}/hub")
    assert [(problem.kind, "4" in problem.message) for problem in report.problems] == [("shards", True)]
    with pytest.raises(DataUnavailableError, match="train-00001-of-00005"):
        extract(options(tmp_path, f"parquet:{tmp_path}/hub"), LOOP)
    assert not (tmp_path / "store.zarr").exists()
    events: list[Event] = []
    named = f"parquet:{tmp_path}/hub/train-00000-of-00005.parquet"
    extract(options(tmp_path, named), LOOP, events.append)
    assert any("shards of the same numbered set" in text for text in notes(events))


def test_two_data_sets_of_one_name_are_refused_before_anything_is_computed(tmp_path: Path) -> None:
    specs = [f"folder:{tmp_path}/birds/images", f"folder:{tmp_path}/cars/images"]
    with pytest.raises(UsageError, match="folder-images") as caught:
        check_keys(specs, None)
    assert "birds/images" in str(caught.value)
    assert "cars/images" in str(caught.value)
    check_keys([specs[0], specs[0], "digits", "digits+scale=2", "dtd:2", "dtd"], None)
    check_keys(["folder:birds/images", f"folder:{tmp_path}/birds/images"], str(tmp_path))
