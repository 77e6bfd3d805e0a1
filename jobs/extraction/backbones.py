"""Which backbones an extraction is of, with which weights, and what their layers are called."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from typing import TYPE_CHECKING

from cvbench import hints
from cvbench.engine.models import forms
from cvbench.errors import FingerprintMismatchError, UnknownNameError, UsageError
from cvbench.jobs.extraction.options import ExtractOptions
from cvbench.jobs.running.places import absolute

if TYPE_CHECKING:
    from cvbench.engine.models.backbones import BackboneSpec, Description
    from cvbench.storage.features import GroupKey


def specs_of(options: ExtractOptions) -> list[BackboneSpec]:
    """The backbones asked for, with their weights.

    Raises:
        UnknownNameError: No such model; or weights for a backbone that is not asked for.
        UsageError: A backbone twice, or two weights for the same.
    """
    from cvbench.engine.models.backbones import resolve_spec

    own = weights_of(options.weights)
    default = own.pop("", "pretrained")
    called = [(forms.called(entry), entry) for entry in options.backbones]
    for name in own:
        if not any(name in names for names in called):
            raise UnknownNameError.among("backbone in --weights", name, [names[0] for names in called])
    specs = [
        resolve_spec(
            entry,
            weights=weights_path(next((own[name] for name in names if name in own), default)),
            head="logits" in options.views,
            image_size=options.image_size,
            decoder=options.decoder,
            preset=options.preprocess,
        )
        for entry, names in zip(options.backbones, called, strict=True)
    ]
    twice = [key for key, count in Counter(spec.key for spec in specs).items() if count > 1]
    if twice:
        model = next(spec.model for spec in specs if spec.key == twice[0])
        raise UsageError(
            f"backbone {twice[0]} is given twice",
            fix=f"name each backbone once; two trainings of it by names of your own: --backbone NAME={model}",
        )
    return specs


def offering_name(
    error: FingerprintMismatchError, group: GroupKey, options: ExtractOptions, held: Iterable[str]
) -> FingerprintMismatchError:
    """The error; where other weights are what differs, its fix keeps both, the new ones under a second name.

    Args:
        error: Of `FeatureStore.agree`.
        group: Of which it is.
        options: Asked for.
        held: Backbones of the store.
    """
    if "weights_digest: stored" not in (error.why or ""):
        return error
    spec = next(spec for spec in specs_of(options) if spec.key == group.backbone)
    first, taken = group.backbone.partition("@")[0], {one.partition("@")[0] for one in held}
    name = next(name for number in count(2) if (name := f"{first}-{number}") not in taken)
    words = hints.option_words({"backbone": f"{name}={spec.model}", "weights": f"{name}={spec.weights}"})
    error.fix = f"{shlex.join(words)} keeps them beside the first; or another --store; or the same --weights as then"
    return error


def weights_of(entries: Iterable[str]) -> dict[str, str]:
    """Backbone -> its weights, from entries such as "test_vit=FILE"; "" for those of all others.

    Raises:
        UsageError: Two for the same backbone, or two for all others.

    >>> weights_of(["random", "test_vit=own.safetensors", "hf:facebook/dinov2-small=a/b.pth"])
    {'': 'random', 'test_vit': 'own.safetensors', 'hf:facebook/dinov2-small': 'a/b.pth'}
    >>> weights_of(["folder/a=b.pth"])
    {'': 'folder/a=b.pth'}
    """
    found: dict[str, str] = {}
    for entry in entries:
        name, equals, file = entry.partition("=")
        if not equals or ("/" in name and forms.form_of(name) is None):  # a path may hold an equals sign
            name, file = "", entry
        if name in found:
            raise UsageError(
                f"{name or 'every backbone'} is given two weights: {found[name]} and {file}",
                fix="--weights FILE once for all, --weights BACKBONE=FILE for single ones",
            )
        found[name] = file
    return found


def descriptions_of(options: ExtractOptions) -> list[Description]:
    """The backbones with the taps that the patterns name.

    Families name their modules differently: a pattern must match in one backbone at least, and leave each with a tap.
    Where only the head and the logits are asked for, no tap is needed, and none is looked for.

    Raises:
        UnknownNameError: A pattern that matches nowhere; names its neighbours.
        UsageError: A backbone in which no pattern matches.
    """
    from cvbench.engine.models.backbones import describe
    from cvbench.engine.models.views import with_companions

    specs = specs_of(options)
    if not options.analyses and all(view.source != "tap" for view in with_companions(options.views)):
        return [describe(spec, taps=[]) for spec in specs]
    matching: dict[str, list[str]] = {spec.key: [] for spec in specs}
    for pattern in options.taps:
        errors = []
        for spec in specs:
            try:
                describe(spec, taps=[pattern])
            except UnknownNameError as error:
                errors.append(error)
            else:
                matching[spec.key].append(pattern)
        if len(errors) == len(specs):
            raise errors[0]
    for key, patterns in matching.items():
        if not patterns:
            raise UsageError(f"no tap of {key} fits {', '.join(options.taps)}", fix="--taps list shows what there is")
    return [describe(spec, taps=matching[spec.key]) for spec in specs]


def guessing_notes(options: ExtractOptions, described: Iterable[Description]) -> Iterator[str]:
    """Notes on backbones whose blocks no name tells, whose tokens are no grid, or whose parts run several times."""
    for one in described:
        if one.sequences:
            tokens = ", ".join(dict.fromkeys(str(one.layouts[tap].height) for tap in one.sequences))
            yield (
                f"{one.spec.key}: the {tokens} tokens of {_some(one.sequences)} are no grid of patches behind prefix "
                "tokens: they are kept as a sequence, and pooled is the mean of all"
            )
        if one.repeated:
            yield f"{one.spec.key}: {_some(one.repeated)} run several times in a pass, and are no taps"
        if one.guessed and one.layouts and "blocks" in options.taps:
            parts = ", ".join(list(one.layouts)[:4])
            yield f"{one.spec.key}: no name tells its blocks; {len(one.layouts)} parts are taken, {parts} ... (--taps)"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def weights_path(weights: str) -> str:
    """Weights with the path of a file made absolute; words and URLs stay (`resolve_spec` refuses the latter)."""
    return absolute(weights) if forms.is_weights_file(weights) else weights


def list_taps(options: ExtractOptions) -> dict[str, dict[str, str]]:
    """For each backbone, everything that can be tapped and its shape; no weights are loaded."""
    from cvbench.engine.models.backbones import describe

    listed: dict[str, dict[str, str]] = {}
    for spec in specs_of(options):
        description = describe(spec, taps=["*"])
        listed[spec.key] = {
            tap: f"{layout.height}x{layout.width}x{layout.channels}" for tap, layout in description.layouts.items()
        }
    return listed
