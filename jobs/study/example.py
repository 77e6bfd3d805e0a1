"""The study file that `cvbench config init` writes."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from cvbench.errors import ResourceError, UsageError
from cvbench.hints import command

_NAME = "example.yaml"


def example() -> str:
    """Its text, with comments."""
    return files(__package__).joinpath(_NAME).read_text(encoding="utf-8")


def write_example(path: str) -> None:
    """Write it where nothing is yet.

    Raises:
        UsageError: Something is there.
        ResourceError: It cannot be written.
    """
    target = Path(path).expanduser()
    try:
        with target.open("x", encoding="utf-8") as file:
            file.write(example())
    except FileExistsError as error:
        raise UsageError(
            "there is a file already",
            where=path,
            fix=command("config init", str(target.with_name(f"{target.stem}-2.yaml"))),
        ) from error
    except OSError as error:
        raise ResourceError("the study file cannot be written", where=path, why=error.strerror) from error
