"""Names that could be typed next, for a shell: found without importing torch, timm or zarr."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

_MODEL = re.compile(r"@register_model\s+def (\w+)")
_TAGGED = re.compile(r"^\s+['\"](\w+\.\w+)['\"]\s*:", re.MULTILINE)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@=+-]{0,199}")
ALIASES = ("convnext-base", "convnext-b", "vit-base-16", "vit-b16")


def stored(store: str, depth: int) -> list[str]:
    """Names at a depth below a local store's ledger: 0 data sets, 1 splits, 2 backbones, 3 views, 4 layers; sorted."""
    if "://" in store:
        return []
    ledger = Path(store) / "ledger"
    if depth == 4:
        return sorted({path.name.removesuffix(".json") for path in ledger.glob("*/*/*/*/arrays/*.json")})
    inside = [path for path in ledger.glob("/".join("*" * (depth + 1))) if path.is_dir()]
    return sorted({path.name for path in inside if _is_place(path.relative_to(ledger).parts[0], 1)})


def places(store: str, prefix: str) -> list[str]:
    """Places in a local store that begin so, as "digits/test/test_vit": of the depth of what is typed, else the next.

    Below a view are its layers.
    """
    if "://" in store:
        return []
    ledger, parts = Path(store) / "ledger", prefix.split("/")
    above = parts[:-1]
    if not all(map(_NAME.fullmatch, above)):
        return []
    if len(parts) == 5:
        names = [path.name.removesuffix(".json") for path in ledger.joinpath(*above, "arrays").glob("*.json")]
    else:
        names = [path.name for path in ledger.joinpath(*above).glob("*") if path.is_dir()]
    found = sorted("/".join([*above, name]) for name in names if _is_place(name, len(parts)))
    fitting = [name for name in found if name.startswith(prefix)]
    return places(store, f"{prefix}/") if fitting == [prefix] and len(parts) < 5 else fitting


def _is_place(name: str, depth: int) -> bool:
    return _NAME.fullmatch(name) is not None and not (depth == 1 and name in ("partials", "results"))


def results(store: str, prefix: str) -> list[str]:
    """Results of a local store that begin so: their digits, or their paths if a path is typed."""
    if "://" in store:
        return []
    root = Path(store) / "ledger"
    found = [path.relative_to(root).with_suffix("") for path in root.glob("results/*/*/*/*.json")]
    names = [path.as_posix() if "/" in prefix else path.name for path in found]
    return sorted(name for name in names if name.startswith(prefix))


def runs(store: str, prefix: str) -> list[str]:
    """Runs on a local store that begin so, the latest first."""
    there = [] if "://" in store else [path.name for path in (Path(store) / "ledger" / "_runs").glob("*")]
    return sorted((name for name in there if name.startswith(prefix)), reverse=True)


def models(prefix: str) -> list[str]:
    """timm's models that begin so, with and without tag, and the aliases; read off its sources, which takes 0.1 s."""
    found = importlib.util.find_spec("timm")
    names = {*ALIASES}
    if found is not None and found.origin is not None:
        for path in (Path(found.origin).parent / "models").glob("*.py"):
            text = path.read_text(encoding="utf-8")
            names.update(_MODEL.findall(text), _TAGGED.findall(text))
    return sorted(name for name in names if name.startswith(prefix))


def datasets(prefix: str) -> list[str]:
    """Data sets of the registry and groups of them that begin so; after `folder:` the folders."""
    head, colon, path = prefix.partition(":")
    if colon:
        return [f"{head}:{folder}" for folder in folders(path)]
    from cvbench.storage.datasets import dataset_names
    from cvbench.storage.datasets.groups import GROUPS

    names = [*dataset_names(), *GROUPS, "folder:"]
    return [name for name in names if name.startswith(prefix)]


def folders(prefix: str) -> list[str]:
    """Folders that begin so."""
    head, slash, _ = prefix.rpartition("/")
    base = Path(head or ("/" if slash else "."))
    there = sorted(path.name for path in base.glob("*") if path.is_dir() and not path.name.startswith("."))
    return [name for one in there if (name := f"{head}{slash}{one}").startswith(prefix)]


def stores(prefix: str) -> Iterator[str]:
    """Stores that begin so, else folders on the way to one."""
    there = folders(prefix)
    held = [folder for folder in there if (Path(folder) / "ledger").is_dir()]
    yield from held or (f"{folder}/" for folder in there)
