"""What the readers of shards share: the argument, the name of the data set, the names of the classes."""

from __future__ import annotations

import hashlib
import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from cvbench.errors import IntegrityError, UsageError
from cvbench.storage.datasets.base import DatasetInfo
from cvbench.storage.datasets.formats.shards import Shards
from cvbench.storage.datasets.roots import absolute_path

CLASS_FILES = ("classes.txt", "classnames.txt")


class ShardReader:
    """Base of the readers of shards, whose argument is a pattern of files.

    Attributes:
        info: What is known of the kind of data set.
        suffix: Of a shard's name.
    """

    info: DatasetInfo
    suffix: str

    def locate(self, argument: str, root: Path | None) -> Path | None:
        """The folder of local shards."""
        return place_of(argument, root)

    def every_split(self, argument: str, root: Path | None) -> tuple[str, ...]:
        """The splits that together hold every image once."""
        return ("all",)

    def key(self, argument: str) -> str:
        """The name of the data set in a store."""
        return store_key(self.info.name, argument)

    def pattern(self, argument: str, root: Path | None) -> str:
        """The absolute pattern that an argument means."""
        kind = self.info.name
        if not argument:
            raise UsageError(f"{kind} needs a path", fix=f"{kind}:PATH, a file, a folder, a pattern or a URL")
        return absolute_path(argument, root)


def place_of(argument: str, root: Path | None) -> Path | None:
    """The local folder that a pattern starts from, if it is there."""
    if not argument or "://" in argument:
        return None
    fixed = re.split(r"[{*?\[]", absolute_path(argument, root))[0]
    path = Path(fixed)
    folder = path if path.is_dir() else path.parent
    return folder if folder.is_dir() else None


def store_key(kind: str, pattern: str) -> str:
    """The data set's key in a store: "wds-val" for ".../val-{000..009}.tar", and for ".../val/*.tar" too."""
    for part in reversed(pattern.partition("://")[2].split("/") if "://" in pattern else pattern.split("/")):
        bare = re.sub(r"\.(tar|parquet)$", "", re.sub(r"\{[^}]*\}|\[[^]]*\]|[*?]", "", part)).lower()
        slug = re.sub(r"[^a-z0-9._]+", "-", bare).strip("-._")
        if re.search("[a-z]", slug) and slug != "data":
            return f"{kind}-{slug}"
    return f"{kind}-{hashlib.sha256(pattern.encode()).hexdigest()[:8]}"


def is_whole(pattern: str, suffixes: Sequence[str]) -> bool:
    """Whether a pattern names a folder, so that nobody has chosen some of its files."""
    if "://" in pattern:
        return not re.search(r"[{*?\[]", pattern) and not pattern.endswith(tuple(suffixes))
    return Path(pattern).is_dir()


def listed_classes(shards: Shards) -> tuple[str, ...]:
    """The lines of classes.txt (or classnames.txt) beside the shards or one level above; empty if there is none.

    The line says the label, so a blank line is a class without a name, but for those at the end; two classes may have
    the same name.
    """
    found = shards.beside(*CLASS_FILES)
    return () if found is None else class_lines(*found)


def class_lines(where: str, data: bytes) -> tuple[str, ...]:
    """The lines of a list of classes, as `listed_classes`."""
    try:
        text = io.StringIO(data.decode("utf-8-sig"), newline=None)  # other separators may be part of a name
        names = [line.strip() for line in text]
    except UnicodeDecodeError as err:
        raise IntegrityError("the list of classes is no text", where=where, why=str(err)) from err
    while names and not names[-1]:
        names.pop()
    return tuple(names)


def labels_of_words(words: Mapping[int, str], names: tuple[str, ...], ids: Sequence[str], where: str) -> dict[int, int]:
    """Sample -> label of samples whose label is a class's name.

    Args:
        words: Sample -> name.
        names: The classes' names by label.

    Raises:
        IntegrityError: A name that no class has, or more than one.
    """
    index = {name: label for label, name in enumerate(names)}
    twice = {name for name, count in Counter(names).items() if count > 1}
    for row, word in words.items():
        if word not in index or word in twice:
            raise IntegrityError(
                f"the label {word[:40]!r} is no number from 0, and the name of "
                + ("no class" if word not in index else "several classes"),
                where=f"{where}: {ids[row]}",
                why=f"{len(names)} classes are listed" if names else "no list of classes lies beside the files",
                fix="list the classes in classes.txt beside the files, one a line",
            )
    return {row: index[word] for row, word in words.items()}
