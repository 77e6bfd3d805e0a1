"""Layers as files for other tools: .npy, .npz or .safetensors, and samples.csv. In memory is one object at a time."""

from __future__ import annotations

import csv
import json
import os
import struct
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from cvbench.errors import DataUnavailableError
from cvbench.storage.features.keys import GroupKey
from cvbench.storage.features.layer import FeatureLayer
from cvbench.storage.features.store import FeatureStore
from cvbench.texts import csv_cell

Format = Literal["npy", "npz", "safetensors"]
_SAFETENSORS = {"float16": "F16", "float32": "F32", "float64": "F64"}


@dataclass(frozen=True)
class Exported:
    """One written file."""

    path: str
    taps: tuple[str, ...]
    rows: int
    bytes: int


def export(
    store: FeatureStore, group: GroupKey, out: str | Path, *, taps: Sequence[str] = (), format: Format = "npy"
) -> list[Exported]:
    """Write layers of a group into the folder `out`, and samples.csv with the row order that all files share.

    Rows are the samples that are committed and readable in every exported layer.

    Args:
        taps: The layers; all if empty.
        format: "npy" (one file per layer), "npz" or "safetensors" (one file).

    Raises:
        DataUnavailableError: Nothing of these layers is committed.
    """
    layers = [store.layer(group, tap) for tap in (taps or store.taps(group))]
    rows = layers[0].rows if layers else np.empty(0, np.int64)
    for layer in layers[1:]:
        rows = np.intersect1d(rows, layer.rows, assume_unique=True)
    if not len(rows):
        raise DataUnavailableError(f"no sample of {group.path} is extracted", where=store.url)
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    write = {"npy": _npy, "npz": _npz, "safetensors": _safetensors}[format]
    written = write(folder, group, layers, rows)
    return [*written, _samples(store, group, folder / "samples.csv", rows)]


def _parts(layer: FeatureLayer, rows: NDArray[np.int64]) -> Iterator[NDArray[Any]]:
    """The wanted rows, one stored object at a time."""
    for start, stop in layer.pieces():
        wanted = rows[np.searchsorted(rows, start) : np.searchsorted(rows, stop)]
        if len(wanted):
            yield layer.read(start, stop)[wanted - start]


@contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """A file that takes its name only when it is complete."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(temporary, "wb") as file:
            yield file
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _write_npy(file: Any, layer: FeatureLayer, rows: NDArray[np.int64]) -> None:
    header = {"descr": layer.dtype.str, "fortran_order": False, "shape": (len(rows), *layer.shape[1:])}
    np.lib.format.write_array_header_1_0(file, header)
    for part in _parts(layer, rows):
        file.write(part.tobytes())


def _npy(folder: Path, group: GroupKey, layers: Sequence[FeatureLayer], rows: NDArray[np.int64]) -> list[Exported]:
    written = []
    for layer in layers:
        path = folder / f"{group.backbone}.{group.view}.{layer.tap}.npy"
        with _replacing(path) as file:
            _write_npy(file, layer, rows)
        written.append(Exported(str(path), (layer.tap,), len(rows), path.stat().st_size))
    return written


def _npz(folder: Path, group: GroupKey, layers: Sequence[FeatureLayer], rows: NDArray[np.int64]) -> list[Exported]:
    path = folder / f"{group.backbone}.{group.view}.npz"
    with _replacing(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for layer in layers:
            with archive.open(f"{layer.tap}.npy", "w", force_zip64=True) as member:
                _write_npy(member, layer, rows)
    return [Exported(str(path), tuple(layer.tap for layer in layers), len(rows), path.stat().st_size)]


def _safetensors(
    folder: Path, group: GroupKey, layers: Sequence[FeatureLayer], rows: NDArray[np.int64]
) -> list[Exported]:
    # The format is a length, a JSON table and the bytes; written here since the library wants all arrays in memory.
    table: dict[str, Any] = {"__metadata__": {"group": group.path}}
    at = 0
    for layer in layers:
        shape = (len(rows), *layer.shape[1:])
        size = int(np.prod(shape)) * layer.dtype.itemsize
        kind = _SAFETENSORS[layer.dtype.name]
        table[layer.tap] = {"dtype": kind, "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    header = json.dumps(table).encode()
    header += b" " * (-len(header) % 8)
    path = folder / f"{group.backbone}.{group.view}.safetensors"
    with _replacing(path) as file:
        file.write(struct.pack("<Q", len(header)) + header)
        for layer in layers:
            for part in _parts(layer, rows):
                file.write(part.tobytes())
    return [Exported(str(path), tuple(layer.tap for layer in layers), len(rows), path.stat().st_size)]


def _samples(store: FeatureStore, group: GroupKey, path: Path, rows: NDArray[np.int64]) -> Exported:
    table = store.samples(group.dataset, group.split)
    classes = store.split(group.dataset, group.split).classes
    with _replacing(path) as file:
        lines: list[list[object]] = [["row", "position", *table, "class"]]
        for row, position in enumerate(rows):
            label = int(table["label"][position])
            name = classes[label] if 0 <= label < len(classes) else ""
            cells = [csv_cell(values[position]) for values in table.values()]
            lines.append([str(row), str(position), *cells, csv_cell(name)])
        csv.writer(_Text(file), lineterminator="\n").writerows(lines)
    return Exported(str(path), (), len(rows), path.stat().st_size)


class _Text:
    """The one method csv needs, on a binary file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, text: str) -> int:
        return self._file.write(text.encode(errors="backslashreplace"))
