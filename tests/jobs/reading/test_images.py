"""Where the images of a store are, and what a store that others have made may not do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cvbench.errors import (
    CvbenchError,
    DataUnavailableError,
    FingerprintMismatchError,
    IntegrityError,
    UnknownNameError,
    UsageError,
)
from cvbench.jobs.evaluation.options import ImportOptions
from cvbench.jobs.evaluation.predictions import import_predictions
from cvbench.jobs.extraction.options import ExtractOptions, check_keys
from cvbench.jobs.reading.images import open_stored, stored_key
from cvbench.storage.datasets import Dataset, open_dataset, source_of
from cvbench.storage.features import FeatureStore, SplitInfo
from tests.storage.datasets.dataset_suite import jpeg


def birds(folder: Path, extra: int = 0) -> str:
    for k, name in enumerate(("wren/a.jpg", "wren/b.jpg", "owl/c.jpg")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(jpeg(k) + b"\0" * extra)
    return f"folder:{folder}"


def begin(store: FeatureStore, dataset: Dataset, **changes: object) -> SplitInfo:
    info = SplitInfo(
        dataset=dataset.name,
        split=dataset.split,
        n=len(dataset),
        dataset_digest=dataset.digest,
        seed=0,
        unit=4,
        batch=4,
        classes=dataset.classes,
        ids=np.array(dataset.ids, dtype=np.str_),
        labels=dataset.labels,
        source=source_of(dataset),
    )
    return store.begin(replace(info, **changes))  # type: ignore[arg-type]


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore.open(tmp_path / "s.zarr", mode="a")


def test_a_folder_is_found_again_by_its_recorded_path(store: FeatureStore, tmp_path: Path) -> None:
    spec = birds(tmp_path / "birds")
    begin(store, open_dataset(spec))
    again = FeatureStore.open(store.url)
    assert again.split("folder-birds", "all").source == spec
    assert again.source("folder-birds") == again.spec_to_type("folder-birds") == spec
    assert again.spec_to_type("folder-birds.scale-2") == f"{spec}+scale=2"
    assert again.spec_to_type("folder-jays") == "folder:PATH"
    opened = open_stored(again, "folder-birds", "all")
    assert (opened.spec, opened.read(0)) == (spec, jpeg(2))


def test_a_table_keeps_its_columns(store: FeatureStore, tmp_path: Path) -> None:
    birds(tmp_path / "birds")
    (tmp_path / "t.csv").write_text("file,kind\nbirds/wren/a.jpg,x\nbirds/owl/c.jpg,y\n")
    dataset = open_dataset(f"mine=table:{tmp_path}/t.csv@path=file,label=kind+scale=2")
    begin(store, dataset)
    assert store.source("table-mine.scale-2") == dataset.spec
    assert open_stored(store, "table-mine.scale-2", "all").digest == dataset.digest


def test_files_that_are_others_are_not_opened_unless_they_are_named(store: FeatureStore, tmp_path: Path) -> None:
    spec = birds(tmp_path / "birds")
    begin(store, open_dataset(spec))
    birds(tmp_path / "birds", extra=1)
    for given in (None, spec):
        with pytest.raises(FingerprintMismatchError, match="not as it was"):
            open_stored(store, "folder-birds", "all", given=given)
    moved = birds(tmp_path / "moved/birds")
    assert open_stored(store, "folder-birds", "all", given=moved).spec == moved


@pytest.mark.parametrize(
    "source", ["wds:s3://bucket/x.tar", "folder:/proc/self", "table:/etc/passwd", "nothing:x", "digits", "folder:"]
)
def test_a_store_of_others_leads_to_no_files(store: FeatureStore, tmp_path: Path, source: str) -> None:
    begin(store, open_dataset(birds(tmp_path / "birds")), source=source)
    with pytest.raises(CvbenchError):
        open_stored(store, "folder-birds", "all")


def test_without_a_recorded_path_it_is_said(store: FeatureStore, tmp_path: Path) -> None:
    begin(store, open_dataset(birds(tmp_path / "birds")), source="")
    with pytest.raises(DataUnavailableError, match="does not keep where the images"):
        open_stored(store, "folder-birds", "all")
    assert store.spec_to_type("folder-birds") == "folder:PATH"


def test_a_recorded_path_that_a_terminal_would_obey_is_refused(store: FeatureStore, tmp_path: Path) -> None:
    dataset = open_dataset(birds(tmp_path / "birds"))
    with pytest.raises(IntegrityError, match="cannot be understood"):
        begin(store, dataset, source="folder:/a\x1b[2J")
    with pytest.raises(IntegrityError, match="cannot be understood"):
        FeatureStore.open(store.url).split("folder-birds", "all")
    odd = tmp_path / "a\x07b"
    assert source_of(open_dataset(birds(odd))) == ""
    assert source_of(open_dataset("digits")) == ""


def test_two_folders_of_one_name(store: FeatureStore, tmp_path: Path) -> None:
    one, two = birds(tmp_path / "a/birds"), birds(tmp_path / "b/birds", extra=1)
    begin(store, open_dataset(one))
    with pytest.raises(FingerprintMismatchError, match="is of other files") as caught:
        begin(store, open_dataset(two))
    assert f"--dataset NAME={two}" in str(caught.value)
    begin(store, open_dataset(f"aviary={two}"))
    held = ["folder-birds", "folder-aviary"]
    assert stored_key(store, one, held) == "folder-birds"
    assert stored_key(store, two, held) == "folder-aviary"
    assert stored_key(store, f"aviary={two}", held) == "folder-aviary"
    assert stored_key(store, "aviary", held) == "folder-aviary"
    assert stored_key(store, "folder-birds", held) == "folder-birds"
    assert stored_key(store, "digits", held) == "digits"
    third = birds(tmp_path / "c/birds")
    with pytest.raises(UsageError, match="the store's folder-birds is of other files"):
        stored_key(store, third, held)
    (tmp_path / "a").rename(tmp_path / "gone")
    assert stored_key(store, third, held) == "folder-birds", "it may have been moved there"


def test_files_that_have_changed_are_told_from_others(store: FeatureStore, tmp_path: Path) -> None:
    spec = birds(tmp_path / "birds")
    begin(store, open_dataset(spec))
    birds(tmp_path / "birds", extra=3)
    with pytest.raises(FingerprintMismatchError, match="are not those that were extracted"):
        begin(store, open_dataset(spec))


def test_a_clash_in_one_command_is_told_before_anything(tmp_path: Path) -> None:
    one, two = birds(tmp_path / "birds/images"), birds(tmp_path / "cars/images")
    with pytest.raises(UsageError, match="would both be folder-images") as caught:
        check_keys([one, two], None)
    assert f"NAME={two}" in str(caught.value)
    check_keys([f"birds={one}", f"cars={two}"], None)


def test_columns_of_an_extraction_become_part_of_the_data_set() -> None:
    options = ExtractOptions("table:t.csv+scale=2", columns="label=kind")
    assert (options.dataset, options.columns) == ("table:t.csv@label=kind+scale=2", None)
    with pytest.raises(UnknownNameError, match="unknown dataset"):
        open_dataset("dtd@label=x")


def test_predictions_of_images_with_a_name_of_ones_own(store: FeatureStore, tmp_path: Path) -> None:
    spec = birds(tmp_path / "b/birds")
    begin(store, open_dataset(birds(tmp_path / "a/birds", extra=1)))
    begin(store, open_dataset(f"aviary={spec}"))
    table = tmp_path / "p.csv"
    table.write_text("file_name,predicted_class\nwren/a.jpg,wren\nwren/b.jpg,owl\nowl/c.jpg,owl\n")
    for number, named in enumerate(("aviary", spec, f"aviary={spec}", "folder-aviary")):
        done = import_predictions(ImportOptions(str(table), named, f"theirs{number}", store.url))
        assert (done.samples, done.missing) == (3, 0)
    held = {group.backbone: group.dataset for group in FeatureStore.open(store.url).groups()}
    assert held == dict.fromkeys((f"theirs{number}" for number in range(4)), "folder-aviary")
