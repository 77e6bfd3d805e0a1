"""Files of the Hugging Face hub: of its cache on this machine, else over the network. Configs and weights, no code."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from cvbench.errors import DataUnavailableError

CONFIGS = ("config.json", "preprocessor_config.json", "processor_config.json")
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "model-*-of-*.safetensors")


def hub_file(repository: str, names: Sequence[str]) -> Path:
    """The first of some files that a repository has.

    Args:
        repository: OWNER/NAME, or OWNER/NAME@REVISION.
        names: Of files, the wanted one first.

    Raises:
        DataUnavailableError: None can be had.
    """
    from huggingface_hub import hf_hub_download

    name, _, revision = repository.partition("@")
    errors: list[Exception] = []
    for file in names:
        try:
            return Path(hf_hub_download(name, file, revision=revision or None))
        except Exception as error:  # no network, no such file, no permission: half a dozen unrelated types
            errors.append(error)
    raise _unavailable(repository, " or ".join(names), errors[0]) from errors[0]


@lru_cache(maxsize=64)
def hub_folder(repository: str, *, weights: bool) -> Path:
    """A folder with the configs of a repository of transformers, and its safetensors if they are asked for.

    One revision for each process: what is found once is not asked for again.

    Raises:
        DataUnavailableError: They cannot be had.
    """
    from huggingface_hub import snapshot_download

    name, _, revision = repository.partition("@")
    wanted = [*CONFIGS, *(WEIGHTS if weights else ())]
    try:
        return Path(snapshot_download(name, revision=revision or None, allow_patterns=wanted))
    except Exception as error:  # likewise
        raise _unavailable(repository, "its configs" + (" and weights" if weights else ""), error) from error


def revision_of(path: Path) -> str | None:
    """The commit that a file or folder of the hub's cache is of; None for any other."""
    for folder in (path, *path.parents):
        if folder.parent.name == "snapshots":
            return folder.name
    return None


def _unavailable(repository: str, what: str, error: Exception) -> DataUnavailableError:
    return DataUnavailableError(
        f"{what} of {repository} cannot be had from the Hugging Face hub",
        where=repository,
        why=" ".join(str(error).split())[:300],
        fix="once with a network: the files then stay in the cache; or a folder of this machine",
    )
