"""What messages between a process and those that decode for it carry: samples, and errors."""

from __future__ import annotations

import traceback
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench import errors
from cvbench.jobs.running.messages import Buffer


def packed(payload: bytes | NDArray[np.uint8]) -> tuple[list[Any] | None, Buffer]:
    """A sample as it travels: the dtype and shape of pixels, None for an encoded image; and its bytes."""
    if isinstance(payload, np.ndarray):
        return [payload.dtype.str, *payload.shape], np.ascontiguousarray(payload).tobytes()
    return None, payload


def unpacked(shape: list[Any] | None, data: memoryview) -> bytes | NDArray[np.uint8]:
    """The reverse of `packed`."""
    if shape is None:
        return bytes(data)
    pixels: NDArray[np.uint8] = np.frombuffer(data, shape[0]).reshape(shape[1:])
    return pixels


def told(error: BaseException) -> dict[str, Any]:
    """An error as it travels: what cvbench raises by its class and fields, anything else by its class and traceback."""
    if isinstance(error, errors.CvbenchError):
        return {"class": type(error).__name__, "fields": {**error.as_dict(), "code": None}}
    return {"class": type(error).__name__, "text": "".join(traceback.format_exception(error))}


def raised(error: dict[str, Any]) -> BaseException:
    """The reverse of `told`; what neither cvbench nor memory is the cause of is a RuntimeError, with the traceback."""
    if "fields" in error:
        fields = {name: value for name, value in error["fields"].items() if name != "code"}
        kind: Any = getattr(errors, error["class"], errors.CvbenchError)
        made: BaseException = kind(fields.pop("what"), **fields)
        return made
    text = f"a decoding process failed\n{error['text']}"
    return MemoryError(text) if error["class"] == "MemoryError" else RuntimeError(text)
