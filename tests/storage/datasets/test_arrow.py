"""hf:FOLDER: data sets as Hugging Face's `save_to_disk` writes them."""

from __future__ import annotations

import json
import pickle
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from cvbench.errors import CvbenchError, DataUnavailableError, DecodeError, IntegrityError, UnknownNameError, UsageError
from cvbench.storage.datasets import every_split, open_dataset
from cvbench.storage.datasets.formats.arrow_files import is_compressed
from tests.storage.datasets.dataset_suite import DatasetTests, jpeg

NAMES = ("cat", "dog", "cow")
FEATURES = {
    "image": {"_type": "Image"},
    "label": {"names": list(NAMES), "_type": "ClassLabel"},
    "weather": {"dtype": "string", "_type": "Value"},
}


def batch(
    start: int, rows: int, *, label: str = "label", image: str = "image", metadata: bool = True
) -> pa.RecordBatch:
    numbers = range(start, start + rows)
    images = [{"bytes": jpeg(k), "path": f"{k}.jpg"} for k in numbers]
    columns = {
        image: pa.array(images, pa.struct({"bytes": pa.binary(), "path": pa.string()})),
        label: pa.array([k % 3 for k in numbers], pa.int64()),
        "weather": pa.array([["sun", "rain"][k % 2] for k in numbers], pa.string()),
        "age": pa.array([k + 0.5 for k in numbers], pa.float64()),
        "tags": pa.array([["a"]] * rows, pa.list_(pa.string())),
    }
    made = pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
    info = json.dumps({"info": {"features": FEATURES}})
    return made.replace_schema_metadata({"huggingface": info}) if metadata else made


def save(folder: Path, batches: list[pa.RecordBatch], files: int = 1, compression: str | None = None) -> None:
    """The batches as files of one split; what lies beside them as `save_to_disk` writes it."""
    folder.mkdir(parents=True)
    names = [f"data-{k:05d}-of-{files:05d}.arrow" for k in range(files)]
    for k, name in enumerate(names):
        options = pa.ipc.IpcWriteOptions(compression=compression)
        with (
            pa.OSFile(str(folder / name), "wb") as sink,
            pa.ipc.new_stream(sink, batches[0].schema, options=options) as out,
        ):
            for one in batches[k::files]:
                out.write_batch(one)
    (folder / "dataset_info.json").write_text(json.dumps({"features": FEATURES}))
    state: dict[str, Any] = {
        "_data_files": [{"filename": name} for name in names],
        "_fingerprint": "0123456789abcdef",
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": folder.name,
    }
    (folder / "state.json").write_text(json.dumps(state))


def save_splits(root: Path) -> None:
    save(root / "train", [batch(0, 4), batch(4, 3), batch(7, 3)], files=2)
    save(root / "test", [batch(20, 5)])
    (root / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "test"]}))


class TestSaved(DatasetTests):
    spec = "hf:beans"
    splits = ("test", "train")
    default_split = "test"

    def make(self, root: Path) -> None:
        save_splits(root / "beans")

    def change(self, root: Path, what: str) -> None:
        for path in (root / "beans/test").iterdir():
            path.unlink()
        (root / "beans/test").rmdir()
        save(root / "beans/test", [batch(21 if what == "label" else 20, 5 if what == "label" else 6)])


def test_rows_of_several_files_and_batches(tmp_path: Path) -> None:
    save_splits(tmp_path / "beans")
    train = open_dataset(f"hf:{tmp_path}/beans", split="train")
    assert every_split(f"hf:{tmp_path}/beans") == ("test", "train")
    order = [0, 1, 2, 3, 7, 8, 9, 4, 5, 6]  # the first and third batch lie in the first file
    assert [train.read(i) for i in range(10)] == [jpeg(k) for k in order]
    assert train.classes == NAMES
    assert train.labels.tolist() == [k % 3 for k in order]
    assert train.ids[0] == "data-00000-of-00002/000000"
    assert train.ids[7] == "data-00001-of-00002/000000"
    assert train.factors["age"].tolist() == [k + 0.5 for k in order]
    assert train.factors["weather"].tolist() == [["sun", "rain"][k % 2] for k in order]
    assert [(entry.kind, entry.names) for entry in train.left_out] == [("column", ("tags",))]
    copy = pickle.loads(pickle.dumps(train))  # noqa: S301
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(copy.read, range(10))) == [jpeg(k) for k in order]


def test_one_split_and_columns_of_other_names(tmp_path: Path) -> None:
    save(tmp_path / "one", [batch(0, 3, label="kind", image="photo", metadata=False)])
    (tmp_path / "one/dataset_info.json").unlink()
    with pytest.raises(IntegrityError, match="no column of images") as caught:
        open_dataset(f"hf:{tmp_path}/one")
    assert "--columns image=photo" in str(caught.value)
    dataset = open_dataset(f"hf:{tmp_path}/one@image=photo,label=kind")
    assert (dataset.split, dataset.classes, dataset.labels.tolist()) == ("all", ("0", "1", "2"), [0, 1, 2])
    assert dataset.name == "hf-one"
    assert open_dataset(dataset.spec).digest == dataset.digest
    words = open_dataset(f"hf:{tmp_path}/one@image=photo,label=weather")
    assert (words.classes, words.labels.tolist()) == (("rain", "sun"), [1, 0, 1])
    with pytest.raises(UnknownNameError, match="unknown column 'fotos'"):
        open_dataset(f"hf:{tmp_path}/one@image=fotos")


def test_a_null_image_is_unreadable_and_counted(tmp_path: Path) -> None:
    images = pa.array([{"bytes": jpeg(0), "path": None}, None, {"bytes": None, "path": "x.jpg"}],
                      pa.struct({"bytes": pa.binary(), "path": pa.string()}))  # fmt: skip
    save(tmp_path / "one", [pa.RecordBatch.from_arrays([images], names=["image"])])
    dataset = open_dataset(f"hf:{tmp_path}/one")
    assert dataset.read(0) == jpeg(0)
    for index in (1, 2):
        with pytest.raises(DecodeError, match="no image"):
            dataset.read(index)
    assert {entry.kind: entry.count for entry in dataset.left_out} == {"image": 2, "label": 3}


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_compressed_batches_are_refused_before_they_are_unpacked(tmp_path: Path, compression: str) -> None:
    save(tmp_path / "one", [batch(0, 3)], compression=compression)
    with pytest.raises(IntegrityError, match="compressed"):
        open_dataset(f"hf:{tmp_path}/one")


def test_the_header_of_a_batch_says_whether_it_is_compressed() -> None:
    for compression in (None, "lz4", "zstd"):
        sink = pa.BufferOutputStream()
        options = pa.ipc.IpcWriteOptions(compression=compression)
        table = pa.table({"a": pa.array(["x", "y"]).dictionary_encode(), "b": [1, 2]})
        with pa.ipc.new_stream(sink, table.schema, options=options) as out:
            out.write_table(table)
        messages = list(pa.ipc.MessageReader.open_stream(sink.getvalue()))
        assert [message.type for message in messages] == ["schema", "dictionary", "record batch"]
        found = [is_compressed(message.metadata.to_pybytes()) for message in messages]
        assert found == [False, compression is not None, compression is not None]
    for data in (b"", b"\xff" * 8, struct.pack("<I", 4) + b"\xff" * 4):
        with pytest.raises((ValueError, struct.error)):
            is_compressed(data)


@pytest.mark.parametrize("seed", range(60))
def test_damaged_files_end_in_an_error_of_ours(tmp_path: Path, seed: int) -> None:
    save(tmp_path / "one", [batch(0, 4)])
    path = tmp_path / "one/data-00000-of-00001.arrow"
    data, rng = bytearray(path.read_bytes()), np.random.default_rng(seed)
    for place in rng.integers(0, len(data) if seed % 2 else 1200, 3):
        data[place] = int(rng.integers(256))
    path.write_bytes(data if seed % 3 else data[: int(rng.integers(len(data)))])
    try:
        dataset = open_dataset(f"hf:{tmp_path}/one")
        for index in range(len(dataset)):
            assert isinstance(dataset.read(index), bytes)
    except CvbenchError:
        pass


def test_what_is_no_saved_data_set(tmp_path: Path) -> None:
    save_splits(tmp_path / "beans")
    with pytest.raises(DataUnavailableError, match="no data set was saved"):
        open_dataset(f"hf:{tmp_path}")
    with pytest.raises(UsageError, match="needs a folder"):
        open_dataset("hf:")
    with pytest.raises(UsageError, match="from this machine"):
        open_dataset("hf:s3://bucket/beans")
    with pytest.raises(UnknownNameError, match="unknown split"):
        open_dataset(f"hf:{tmp_path}/beans", split="dev")
    (tmp_path / "beans/test/data-00000-of-00001.arrow").unlink()
    with pytest.raises(DataUnavailableError, match="is gone"):
        open_dataset(f"hf:{tmp_path}/beans")
    state = tmp_path / "beans/test/state.json"
    for text, message in {
        '{"_data_files": [{"filename": "../x.arrow"}]}': "no path below",
        '{"_data_files": 3}': "no list of files",
        "[]": "no object",
        "{": "cannot be read",
        '{"_data_files": [{"filename": "x.arrow"}], "_indices_data_files": [{"filename": "y"}]}': "flatten_indices",
    }.items():
        state.write_text(text)
        with pytest.raises(IntegrityError, match=message):
            open_dataset(f"hf:{tmp_path}/beans")
