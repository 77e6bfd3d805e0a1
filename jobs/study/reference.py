"""The study files that are shipped: the reference study at three scales, and architecture against objective."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import PurePosixPath
from typing import Any, Literal

from cvbench.errors import DataUnavailableError
from cvbench.jobs.study.document import Document, parse
from cvbench.jobs.study.study import Study, make_study

Scale = Literal["smoke", "small", "full"]
Design = Literal["pair", "objectives"]
DATA = "data"
"""The data root that the files name."""


def shipped(name: str) -> str:
    """The text of a shipped file, with comments."""
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def reference_study(
    scale: Scale,
    design: Design = "pair",
    *,
    data_root: str | None = None,
    store: str | None = None,
    out: str | None = None,
    given: Sequence[str] = (),
) -> Study:
    """The reference study at a scale, or at any the study of five objectives by two architectures.

    Args:
        data_root: Folder that holds the data sets, instead of "data".
        store: Instead of the file's.
        out: Folder for the store, the weights and the report, instead of the file's.
        given: What `--set` puts over it.

    Raises:
        UsageError: As `read_study`.
    """
    name = f"reference-{scale}.yaml" if design == "pair" else "objectives.yaml"
    document = parse(shipped(name), name)
    folder = str(PurePosixPath(document.value["report"]["out"]).parent)
    moved = {folder: out, DATA: data_root}
    value = _moved(document.value, {old: new for old, new in moved.items() if new is not None})
    value |= {} if store is None else {"store": store}
    return make_study(Document(document.file, value, document.places), given)


def _moved(value: Any, folders: dict[str, str]) -> Any:
    """With every path that begins with one of these folders in another."""
    if isinstance(value, dict):
        return {key: _moved(one, folders) for key, one in value.items()}
    if isinstance(value, list):
        return [_moved(one, folders) for one in value]
    first, slash, rest = value.partition("/") if isinstance(value, str) else ("", "", "")
    return f"{folders[first].rstrip('/') or '/'}{slash}{rest}" if first in folders else value


@dataclass(frozen=True)
class Lacking:
    """A data set or annotations of a study that are not there.

    Attributes:
        what: In words.
        fix: What gets it, such as a command.
    """

    spec: str
    what: str
    fix: str


def lacking(study: Study) -> Iterator[Lacking]:
    """The data sets and annotations of a study that are not there, each once, with the command that gets it."""
    from cvbench.jobs.evaluation.imagenet_x import NAME
    from cvbench.storage.annotations import load_imagenet_x
    from cvbench.storage.datasets import open_dataset

    seen: set[str] = set()
    for images in study.images:
        if images.base in seen:
            continue
        try:
            open_dataset(images.base, data_root=images.typed.get("data_root"), split=images.split)
        except DataUnavailableError as error:
            seen.add(images.base)
            yield Lacking(images.base, error.what, error.fix or error.why or "")
    for asked in study.asked:
        if asked.name == NAME and "annotations" in asked.options:
            try:
                load_imagenet_x(asked.options["annotations"])
            except DataUnavailableError as error:
                yield Lacking(NAME, error.what, error.fix or "")
