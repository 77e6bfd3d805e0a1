"""Write small WebDataset shards and Hugging Face Parquet files in their real formats."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.storage.datasets.dataset_suite import jpeg

NAMES = ("heron", "owl", "wren")


def write_tar(path: Path, files: Iterable[tuple[str, bytes]]) -> None:
    """A plain tar of these files, in order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in files:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))


def sample(key: str, seed: int, label: int | None) -> list[tuple[str, bytes]]:
    """The files of one sample."""
    own = [(f"{key}.jpg", jpeg(seed))]
    return own if label is None else [*own, (f"{key}.cls", str(label).encode())]


def write_shards(folder: Path, labels: Sequence[Sequence[int]] = ((0, 1, 2), (2, 0))) -> None:
    """Shards val-000000.tar, val-000001.tar, ... and their class names."""
    for number, shard in enumerate(labels):
        files = [file for k, label in enumerate(shard) for file in sample(f"{k:04d}", 10 * number + k, label)]
        write_tar(folder / f"val-{number:06d}.tar", files)
    (folder / "classes.txt").write_text("\n".join(NAMES))


def write_parquet(
    path: Path,
    images: Sequence[bytes | None],
    labels: Sequence[int | None] | None,
    *,
    names: Mapping[str, Sequence[str]] | None = None,
    rows_per_group: int = 2,
    **columns: Any,
) -> None:
    """A file as Hugging Face's libraries write it; `names`, class names by column, go into the schema's metadata."""
    image = pa.array(
        [{"bytes": data, "path": f"{k}.jpg"} for k, data in enumerate(images)],
        pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
    )
    data = {"image": image, **({} if labels is None else {"label": pa.array(labels, pa.int64())}), **columns}
    table = pa.table(data)
    if names is not None:
        features = {column: {"names": list(known), "_type": "ClassLabel"} for column, known in names.items()}
        info = {"info": {"features": {"image": {"_type": "Image"}, **features}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(info)})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=rows_per_group)


def write_hub(folder: Path) -> None:
    """A data set as a repository of the hub has it: data/<split>-NNNNN-of-NNNNN.parquet."""
    names = {"label": NAMES}
    for number, labels in enumerate(([0, 1, 2], [2, 1])):
        images = [jpeg(20 * number + k) for k in range(len(labels))]
        write_parquet(folder / "data" / f"train-{number:05d}-of-00002.parquet", images, labels, names=names)
    write_parquet(
        folder / "data" / "test-00000-of-00001.parquet", [jpeg(50 + k) for k in range(5)], [2, 0, 1, 0, 2], names=names
    )
