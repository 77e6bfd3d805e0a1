"""Bringing the weights of a file to the names of a network: prefixes, what its library renames, what it does not have.

What is left out or renamed is said, never done in silence; what the network needs and the file lacks is an error.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn

from cvbench.engine.models.checkpoints import Checkpoint
from cvbench.errors import UsageError

State = dict[str, Tensor]
_ENOUGH = 0.5
"""Share of a network's names that a prefix must explain, to be taken for one."""
_AVERAGES = ("ema", "teacher", "target")
_COUNTERS = ".num_batches_tracked"
"""Buffers that files older than them lack; evaluation does not read them."""


@dataclass(frozen=True)
class Fitted:
    """Weights under the names of a network.

    Attributes:
        state: By these names; may have more.
        notes: What was renamed or taken, in words.
    """

    state: State
    notes: tuple[str, ...]


def fitted(model: Any, found: Checkpoint, remap: Callable[[State, Any], State] | None = None) -> Fitted:
    """The weights of a file under a model's names; shapes are not compared.

    Args:
        model: Has the names; on any device.
        found: Of the file; tensors of the meta device will do.
        remap: What its library does to weights of other makes. Called only where names or shapes differ.
    """
    own: Mapping[str, Tensor] = model.state_dict()
    state, prefix, others = stripped(found.state, own)
    notes = list(found.notes)
    if prefix:
        notes.append(f"took the names behind {prefix}")
    elsewhere = [name for name in others if name.rpartition(".")[2] != "num_batches_tracked"]
    if elsewhere:
        notes.append(f"left out {some(elsewhere)}")
    if remap is not None and not _agree(state, own):
        before = set(state)
        state = dict(remap(dict(state), model))
        renamed, gone = sorted(set(state) - before), sorted(before - set(state))
        if renamed:
            notes.append(f"{len(renamed)} names are changed as its library does, such as {some(renamed, 3)}")
        if len(gone) > len(renamed):
            notes.append(f"its library leaves out {len(gone) - len(renamed)} of {some(gone)}")
    return Fitted(state, tuple(notes))


def stripped(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> tuple[State, str, list[str]]:
    """The weights without a prefix that all of the network's names have in the file, the prefix, and what is not its.

    Raises:
        UsageError: Several prefixes fit, and none is an average's.
    """
    plain = {name.replace("_orig_mod.", ""): tensor for name, tensor in state.items()}
    common = _common(plain, own)
    plain = {name.removeprefix(common): tensor for name, tensor in plain.items()}
    votes: Counter[str] = Counter()
    for name in plain:
        parts = name.split(".")
        votes.update(".".join(parts[:cut]) for cut in range(len(parts)) if ".".join(parts[cut:]) in own)
    most = max(votes.values(), default=0)
    best = [prefix for prefix, count in votes.items() if count == most]
    if not most or "" in best or most < _ENOUGH * len(own):
        return plain, common, []
    if len(best) > 1:
        averages = [prefix for prefix in best if any(word in prefix for word in _AVERAGES)]
        if len(averages) != 1:
            raise UsageError(
                "the weights file holds several networks that fit",
                why=f"behind {' and '.join(sorted(best))}",
                fix="save the one that is meant alone: safetensors.torch.save_file(model.state_dict(), FILE)",
            )
        best = averages
    prefix = f"{best[0]}."
    kept = {name.removeprefix(prefix): tensor for name, tensor in plain.items() if name.startswith(prefix)}
    return kept, common + prefix, [name for name in plain if not name.startswith(prefix)]


def _common(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> str:
    """Beginning that all names of a file have, and none of the network's."""
    firsts, prefix, names = {name.partition(".")[0] for name in own}, "", [*state]
    while names and (first := names[0].partition(".")[0]) not in firsts:
        if not all(name.startswith(f"{first}.") for name in names):
            break
        prefix += f"{first}."
        names = [name.removeprefix(f"{first}.") for name in names]
    return prefix


def _agree(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> bool:
    return state.keys() == own.keys() and all(state[name].shape == own[name].shape for name in own)


def load(
    model: nn.Module,
    state: Mapping[str, Tensor],
    key: str,
    where: str,
    *,
    ends: Sequence[str] = (),
    refused: Sequence[str] = (),
    original: Mapping[str, Tensor] = MappingProxyType({}),
) -> list[str]:
    """Load every weight that the model has; notes on what it has not.

    Args:
        model: On the CPU.
        state: By its names.
        key: What the backbone is called.
        where: The file.
        ends: Names of modules, such as a classifier, that it may lack and the file have.
        refused: What else is of another shape, in words.
        original: The weights as the file has them, for what is said.

    Returns:
        Notes on what of the file was left out.

    Raises:
        UsageError: Something is missing, of another shape, or of a part that the model has and would be cut short.
    """
    own = model.state_dict()
    missing = {name for name in own.keys() - state.keys() if not name.endswith(_COUNTERS)}
    unexpected = state.keys() - own.keys()
    parts = {name for name, part in model.named_children() if any(True for _ in part.parameters())}
    foreign = {name for name in unexpected if name.partition(".")[0] in parts and not _of(name, ends)}
    shapes = {
        *refused,
        *(
            f"{name} {tuple(original.get(name, state[name]).shape)}, not {tuple(own[name].shape)}"
            for name in own.keys() & state.keys()
            if state[name].shape != own[name].shape
        ),
    }
    if missing or foreign or shapes:
        problems = [
            f"{what}: {some(sorted(names))}"
            for what, names in (
                ("missing", missing),
                ("unexpected", unexpected),
                ("of another shape", shapes),
            )
            if names
        ]
        raise UsageError(
            f"the weights file does not fit {key}",
            where=where,
            why="; ".join([*problems, *_near(missing, unexpected)]),
            fix="name the model, and with --image-size the size, that the file was written from",
        )
    model.load_state_dict({name: state.get(name, own[name]) for name in own})
    return [f"left out {some(sorted(unexpected))}"] if unexpected else []


def _of(name: str, ends: Sequence[str]) -> bool:
    return any(name == end or name.startswith(f"{end}.") for end in ends)


def _near(missing: set[str], unexpected: set[str], most: int = 3) -> list[str]:
    pairs = ((name, get_close_matches(name, unexpected, n=1, cutoff=0.6)) for name in sorted(missing)[:most])
    near = [f"{name} is perhaps its {found[0]}" for name, found in pairs if found]
    return ["; ".join(near)] if near else []


def some(names: Sequence[str], most: int = 5) -> str:
    """The first of some names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def notes_of(key: str, file: str, notes: Sequence[str]) -> tuple[str, ...]:
    """One sentence on what a file gave a backbone; nothing where all of it fits."""
    return (f"{key}: of {Path(file).name} {'; '.join(notes)}",) if notes else ()
