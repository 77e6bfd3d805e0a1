"""Tensors and plain JSON in one safetensors file, replaced as a whole: a reader sees the old file or the new one."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvbench.errors import CvbenchError, IntegrityError, ResourceError, lacking

if TYPE_CHECKING:
    from torch import Tensor

_KEY = "cvbench"


def save(path: Path, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
    """Write beside `path`, flush to the disk, and rename.

    Args:
        path: Its folder is made.
        tensors: On the host, contiguous.
        plain: JSON values, kept in the file's metadata.

    Raises:
        ResourceError: The disk is full, or not to be written to.
    """
    from safetensors.torch import save as encode

    # One key only: safetensors writes several in an order that changes from process to process.
    replace_file(path, encode(dict(tensors), metadata={_KEY: json.dumps(plain, sort_keys=True)}))


def replace_file(path: Path, data: bytes) -> None:
    """Write bytes so that a crash leaves the old file or the new one.

    Raises:
        ResourceError: As for `save`.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise ResourceError(
            "the file cannot be written", where=str(path), why=str(error), fix="make room, or another --out"
        ) from error


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the plain part.

    Raises:
        IntegrityError: The file is damaged, or not one of ours.
    """
    from safetensors.torch import load_file

    plain = read_plain(path)
    try:
        return dict(load_file(path)), plain
    except Exception as error:  # safetensors' own type is not part of its Python interface
        raise _damaged(path, error) from error


def read_plain(path: Path) -> dict[str, Any]:
    """The plain part alone, from the header.

    Raises:
        IntegrityError: As for `load`.
    """
    from safetensors import safe_open

    try:
        with safe_open(path, framework="pt") as file:
            plain: dict[str, Any] = json.loads((file.metadata() or {})[_KEY])
    except Exception as error:
        raise _damaged(path, error) from error
    return plain


def _damaged(path: Path, error: Exception) -> CvbenchError:
    if (lack := lacking(error)) is not None:
        return lack
    return IntegrityError(
        "the file is damaged, or was not written by cvbench",
        where=str(path),
        why=f"{type(error).__name__}: {error}",
        fix="delete it, or another --out",
    )
