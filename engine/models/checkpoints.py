"""Files of weights as people have them, read without running any code that is in them.

    FILE.safetensors                  of one state dict
    FILE.safetensors.index.json       of one state dict in several files beside it, as the Hugging Face hub shards them
    FILE.pth, .pt, .bin, .tar, .ckpt  what `torch.save` wrote: a state dict, or a training checkpoint with one in it

The last are pickles. torch's restricted unpickler reads them (`weights_only=True`): tensors, plain values and `ALLOWED`
(names that only hold values); anything else in a file refuses the whole file. This module is the only one that may
call `torch.load`.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import re
import threading
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cvbench.engine.models.forms import PICKLED_FILES
from cvbench.errors import CvbenchError, DataUnavailableError, IntegrityError, UsageError, lacking

NESTED = ("state_dict_ema", "model_ema", "ema", "teacher", "state_dict", "model_state_dict", "model", "network", "net")
"""Where training checkpoints keep the weights, in the order of choice: averages before what was averaged, as timm and
DINO choose; then `student`, and any other dictionary of tensors if there is only one."""
_LAST = ("student", "module", "params", "weights")


def _allowed() -> list[Any]:
    numpy_names = getattr(np, "_core", None) or np.core  # numpy 2 renamed it
    return [argparse.Namespace, pathlib.PosixPath, numpy_names.multiarray.scalar, np.dtype, *map(type, _NUMBERS)]


_NUMBERS = [np.dtype(kind) for kind in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?")]
ALLOWED: tuple[Any, ...] = tuple(_allowed())
"""What training checkpoints hold beside tensors: the arguments of the run, paths, numbers of numpy."""

_READING = threading.Lock()
"""Held while `ALLOWED` is: torch keeps what it allows for the whole process."""


@dataclass(frozen=True)
class Checkpoint:
    """The state dict of a file.

    Attributes:
        state: Name -> tensor, on the CPU.
        notes: What of the file was taken, in words; empty if it holds nothing else.
    """

    state: dict[str, Tensor]
    notes: tuple[str, ...] = ()


def read_checkpoint(path: Path) -> Checkpoint:
    """Read the weights of a file.

    Raises:
        DataUnavailableError: It, or a part that it names, is not there.
        IntegrityError: It is damaged.
        UsageError: It holds something that only running code could read, or no weights.
    """
    if path.name.endswith(PICKLED_FILES):
        return _unpickled(path)
    if path.name.endswith(".index.json"):
        return Checkpoint(_sharded(path))
    return Checkpoint(read_safetensors(path))


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file.

    Raises:
        DataUnavailableError, IntegrityError: It is not there, or damaged.
    """
    from safetensors.torch import load_file

    existing(path)
    try:
        return dict(load_file(path))
    except Exception as error:  # safetensors' own type is not part of its Python interface
        raise damaged(path, error) from error


def shapes_of(path: Path) -> dict[str, Tensor]:
    """Names and shapes of a file on the meta device; of .safetensors only the header is read.

    Raises:
        DataUnavailableError, IntegrityError, UsageError: As `read_checkpoint`.
    """
    from safetensors import safe_open

    existing(path)
    if not path.name.endswith(".safetensors"):
        return {name: tensor.to("meta") for name, tensor in read_checkpoint(path).state.items()}
    try:
        with safe_open(path, framework="pt") as file:
            return {name: torch.empty(file.get_slice(name).get_shape(), device="meta") for name in file.keys()}  # noqa: SIM118
    except Exception as error:
        raise damaged(path, error) from error


def existing(path: Path) -> Path:
    """The path, once a file is there.

    Raises:
        DataUnavailableError: There is none.
    """
    if not path.is_file():
        raise DataUnavailableError(
            "the weights file is not there", where=str(path), fix="--weights random or another file"
        )
    return path


def damaged(path: Path, error: Exception) -> CvbenchError:
    """The error for a file that cannot be read: it is damaged, or there is no memory for it."""
    if (lack := lacking(error)) is not None:
        return lack
    why = " ".join(str(error).split())[:300] or type(error).__name__
    return IntegrityError("the weights file cannot be read", where=str(path), why=why, fix="fetch or write it again")


def _sharded(path: Path) -> dict[str, Tensor]:
    try:
        found = json.loads(existing(path).read_text())["weight_map"]
        names = sorted({str(name) for name in found.values()})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise damaged(path, error) from error
    state: dict[str, Tensor] = {}
    for name in names:
        if Path(name).name != name:  # an index leads to no other folder
            raise damaged(path, ValueError(f"it names a file of another folder: {name[:100]}"))
        state.update(read_safetensors(path.parent / name))
    missing = sorted(found.keys() - state.keys())
    if missing:
        raise damaged(path, ValueError(f"its files lack {', '.join(missing[:5])}"))
    return state


def _unpickled(path: Path) -> Checkpoint:
    existing(path)
    try:
        with _READING, torch.serialization.safe_globals([*ALLOWED]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a pickle that torch did not write: an error says it
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # torch's own, and whatever a damaged file makes it raise
        raise _refused(path, error) from error
    return _weights_in(content, path)


def _refused(path: Path, error: Exception) -> CvbenchError:
    if (lack := lacking(error)) is not None:
        return lack
    ill = _ill(path)
    if ill:
        return damaged(path, ValueError(ill))
    text = " ".join(str(error).split())
    if re.search(r"Unsupported operand \d+", text):
        return UsageError(
            "the checkpoint is a pickle that torch.save did not write",
            where=str(path),
            why="what is in it could only be read by running code",
            fix="where you trust it, save the weights alone: safetensors.torch.save_file(model.state_dict(), FILE)",
        )
    found = re.search(r"(?:GLOBAL|Unsupported (?:global|class))[: ]+(?:GLOBAL )?([\w.]+)", text)
    if found is None:
        return damaged(path, error)
    return UsageError(
        f"the checkpoint holds {found[1]}, which only running code could read",
        where=str(path),
        why="tensors, plain values, argparse.Namespace, paths and numbers are read; a pickle could run anything else",
        fix="where you trust it, save the weights alone: safetensors.torch.save_file(model.state_dict(), FILE)",
    )


def _ill(path: Path) -> str:
    """Why a file is none that torch.save wrote, as its first bytes tell; "" if they do not."""
    with path.open("rb") as file:
        begin = file.read(4)
    if not begin:
        return "it is empty"
    if begin == b"PK\x03\x04":
        return (
            ""
            if zipfile.is_zipfile(path)
            else "it is cut short: its table of contents, which is at the end, is missing"
        )
    return "" if begin[:1] == b"\x80" else f"it is no file that torch.save wrote: it begins with {begin!r}"


def _weights_in(content: Any, path: Path) -> Checkpoint:
    """The state dict in what a file holds: itself, or the one that `NESTED` comes to first."""
    notes: list[str] = []
    for _ in range(3):  # {"model": {"state_dict": ...}}
        if not isinstance(content, Mapping):
            break
        tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
        inner = {str(name): value for name, value in content.items() if _holds_tensors(value)}
        if tensors and not (inner.keys() & {*NESTED, *_LAST}):
            rest = [str(name) for name in content if str(name) not in tensors]
            return Checkpoint(tensors, (*notes, *([f"left aside: {_some(rest)}"] if rest else [])))
        chosen = next((name for name in (*NESTED, *_LAST) if name in inner), None)
        if chosen is None and len(inner) == 1:
            chosen = next(iter(inner))
        if chosen is None:
            break
        others = [name for name in inner if name != chosen and name != "optimizer"]
        notes.append(f"took {chosen}" + (f", not {_some(others)}" if others else ""))
        content = inner[chosen]
    holds = _some([str(name) for name in content]) if isinstance(content, Mapping) else type(content).__name__
    raise UsageError(
        "the checkpoint holds no weights that are known",
        where=str(path),
        why=f"it holds {holds}; weights are a dictionary of tensors, or lie under {', '.join((*NESTED, *_LAST))}",
        fix="save the weights alone: safetensors.torch.save_file(model.state_dict(), FILE)",
    )


def _holds_tensors(value: Any, depth: int = 2) -> bool:
    if not isinstance(value, Mapping):
        return False
    values = [*value.values()]
    return any(isinstance(one, Tensor) for one in values) or (
        depth > 0 and any(_holds_tensors(one, depth - 1) for one in values)
    )


def _some(names: list[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
