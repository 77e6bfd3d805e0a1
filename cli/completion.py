"""What a shell offers for the value of an option: names of the store, of the registry, of timm, or the only values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

Complete = Callable[[Any, Sequence[str], str], Iterable[str]]
"""(context, words, what is typed of the value) -> values."""


def completion_of(name: str, choices: Sequence[str]) -> Complete | None:
    """Find what completes the values of an option; None leaves it to the shell.

    Args:
        name: As Python has it: "data_root".
        choices: The only values, if its type names them.
    """
    if choices:
        return lambda ctx, args, incomplete: [one for one in choices if one.startswith(incomplete)]
    return _COMPLETED.get(name)


def _store(ctx: Any) -> str:
    from cvbench.jobs.reading.options import DEFAULT_STORE

    return str(ctx.params.get("store") or DEFAULT_STORE)


def _datasets(ctx: Any, args: Sequence[str], incomplete: str) -> list[str]:
    from cvbench.jobs.reading import known

    held = [name for name in known.stored(_store(ctx), 0) if name.startswith(incomplete)]
    return list(dict.fromkeys([*held, *known.datasets(incomplete)]))


def _backbones(ctx: Any, args: Sequence[str], incomplete: str) -> list[str]:
    from cvbench.jobs.reading import known

    held = [name for name in known.stored(_store(ctx), 2) if name.startswith(incomplete)]
    return list(dict.fromkeys([*held, *known.models(incomplete)]))


def _taps(ctx: Any, args: Sequence[str], incomplete: str) -> list[str]:
    from cvbench.jobs.reading import known

    return [name for name in ("blocks", "paper", "list", *known.stored(_store(ctx), 4)) if name.startswith(incomplete)]


def _splits(ctx: Any, args: Sequence[str], incomplete: str) -> list[str]:
    from cvbench.jobs.reading import known

    return [name for name in known.stored(_store(ctx), 1) if name.startswith(incomplete)]


def _stores(ctx: Any, args: Sequence[str], incomplete: str) -> list[str]:
    from cvbench.jobs.reading import known

    return list(known.stores(incomplete))


def _places(ctx: Any, args: Sequence[str], incomplete: str) -> list[str]:
    from cvbench.jobs.reading import known

    return known.places(_store(ctx), incomplete)


def _results(ctx: Any, args: Sequence[str], incomplete: str) -> list[str]:
    from cvbench.jobs.reading import known

    return known.results(_store(ctx), incomplete)


def _runs(ctx: Any, args: Sequence[str], incomplete: str) -> list[str]:
    from cvbench.jobs.reading import known

    return known.runs(_store(ctx), incomplete)


_COMPLETED: dict[str, Complete] = {
    "dataset": _datasets,
    "backbone": _backbones,
    "taps": _taps,
    "tap": _taps,
    "split": _splits,
    "train_split": _splits,
    "val_split": _splits,
    "test_split": _splits,
    "target": _taps,
    "store": _stores,
    "compare": _stores,
    "places": _places,
    "group": _places,
    "results": _results,
    "first": _results,
    "second": _results,
    "run": _runs,
}
