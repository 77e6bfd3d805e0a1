"""Where a command reads and writes: paths made absolute, folders found unfit before the work, not after it."""

from __future__ import annotations

import contextlib
import os
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from cvbench.errors import ResourceError, UsageError
from cvbench.storage.objects.keys import LEDGER


def check_folder(out: str) -> None:
    """See that files can be made in a folder, by making one that has no name; nothing stays, not even the folder.

    Raises:
        UsageError: It is a URL: figures and tables are files; or it lies in a feature store, which holds its own alone.
        ResourceError: It cannot be made, or not be written to.
    """
    if "://" in out:
        raise UsageError(
            f"--out {out} is no folder of this machine",
            why="only a --store can be a URL",
            fix="--out DIR, then copy it",
        )
    path = Path(out).expanduser()
    if store := next((one for one in (path, *path.resolve().parents) if (one / LEDGER / "zarr.json").is_file()), None):
        raise UsageError(
            f"--out {out} lies in a feature store",
            where=str(store),
            why="what is not the store's own is foreign there, and goes with it",
            fix="--out with a folder beside it",
        )
    made = _missing(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise ResourceError(
            f"the folder --out {out} cannot be written to",
            where=str(path),
            why=error.strerror or str(error),
            fix="another --out",
        ) from error
    finally:
        for folder in made:
            with contextlib.suppress(OSError):  # not made, or somebody uses it already
                os.rmdir(folder)


def _missing(path: Path) -> list[Path]:
    """The folder and those above it that are not there, the deepest first."""
    return [folder for folder in (path, *path.parents) if not os.path.lexists(folder)]


def wheel_file(wheel: str | None) -> str | None:
    """The absolute path of a wheel, for nodes that take it from here.

    Raises:
        UsageError: It is no wheel of this machine.
    """
    if wheel is None:
        return None
    path = Path(wheel).expanduser().resolve()
    if path.suffix != ".whl" or not path.is_file():
        raise UsageError(
            f"--wheel {wheel} is no wheel", where=str(path), fix="python -m build --wheel; then --wheel dist/NAME.whl"
        )
    return str(path)


@contextlib.contextmanager
def unpacked(wheel: str) -> Iterator[Path]:
    """The folder of the package that a wheel of cvbench has, as long as the context lasts.

    Raises:
        UsageError: It is no wheel, or one of another package.
    """
    with tempfile.TemporaryDirectory(prefix="cvbench-wheel-") as folder:
        try:
            with zipfile.ZipFile(wheel) as archive:
                names = [name for name in archive.namelist() if name.startswith("cvbench/")]
                archive.extractall(folder, names)
        except (OSError, zipfile.BadZipFile) as error:
            raise UsageError("the wheel cannot be read", where=wheel, why=str(error)) from error
        package = Path(folder) / "cvbench"
        if not (package / "__init__.py").is_file():
            raise UsageError("the wheel has no package cvbench", where=wheel, fix="python -m build --wheel")
        yield package


def absolute(store: str) -> str:
    """A store path made absolute; URLs stay."""
    return store if "://" in store else str(Path(store).expanduser().resolve())
