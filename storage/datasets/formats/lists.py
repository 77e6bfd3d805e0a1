"""What readers of list files and class folders share: lines, paths that stay inside, orders that never change."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from cvbench.errors import DataUnavailableError, IntegrityError
from cvbench.storage.datasets.formats.scan import image_files

_DIGITS = re.compile(r"(\d+)")


def lines(path: Path) -> Iterator[tuple[str, str]]:
    """(place, text) of every line that is not blank, for messages such as "test1.txt:7"; ends of lines are cut.

    Raises:
        DataUnavailableError: It cannot be opened.
        IntegrityError: It is no text.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as err:
        raise IntegrityError("a list of the data set is no text", where=str(path), why=str(err)) from err
    except OSError as err:
        raise DataUnavailableError("cannot read a list of the data set", where=str(path), why=str(err)) from err
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            yield f"{path}:{number}", line.strip()


def below(text: str, where: str) -> str:
    """A path of a list, relative and without `..`; one that leads out of the data set's folder is refused."""
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts or "\\" in text or "\0" in text or str(path) == ".":
        fix = "write folders with /, not \\" if "\\" in text else None
        raise IntegrityError(f"{text!r} is no path below the data set's folder", where=where, fix=fix)
    return str(path)


def natural(name: str) -> tuple[tuple[int, str], ...]:
    """Sort key by which runs of digits count as numbers.

    >>> sorted(["x_10.jpg", "x_2.jpg", "x_1.jpg"], key=natural)
    ['x_1.jpg', 'x_2.jpg', 'x_10.jpg']
    """
    parts = _DIGITS.split(name)
    return tuple((int(part), "") if i % 2 else (-1, part) for i, part in enumerate(parts))


def shuffled(names: Iterable[str]) -> list[str]:
    """The names in the order of the SHA-256 of each, a random one that nothing but the names themselves decides.

    No generator, no library and no listing of a folder can change it, and one name less moves no other.

    >>> shuffled(["a/1", "a/2", "a/3"])
    ['a/2', 'a/3', 'a/1']
    """
    return sorted(names, key=lambda name: (hashlib.sha256(name.encode()).digest(), name))


def last_share(names: Sequence[str], share: float) -> list[int]:
    """Rows, ascending, of the last `share` of the names in the order of `shuffled`, rounded to whole names.

    >>> last_share(["a/1", "a/2", "a/3"], 0.4)
    [0]
    """
    row_of = {name: row for row, name in enumerate(names)}
    order = shuffled(names)
    return sorted(row_of[name] for name in order[len(order) - round(share * len(order)) :])


def images_of(folder: Path) -> list[str]:
    """Names of the images directly in a folder, in natural order (2 before 10).

    Raises:
        DataUnavailableError: The folder cannot be read.
        IntegrityError: A name is not valid UTF-8.
    """
    return sorted((name for name, _ in image_files(folder)), key=lambda name: (natural(name), name))
