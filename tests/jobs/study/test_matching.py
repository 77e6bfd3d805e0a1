"""Pairs of what a study asks for and what a result says it was made by: equal options in another form, and others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cvbench.engine.analyses.base import Result
from cvbench.jobs.registry import entry_of
from cvbench.jobs.report.collect import Item
from cvbench.jobs.study.matching import is_of, lacking
from cvbench.jobs.study.steps import Computation, steps_of
from cvbench.storage.results.outcomes import ResultKey
from tests.jobs.study.studies import study_of

NETS = ("test_vit@32", "test_convnext@32")


def step_of(asked: str, group: str = "analyses") -> Computation:
    """The one computation of a study of digits that asks for this."""
    text = f"datasets: [{{dataset: digits, split: test}}]\n{group}: [{asked}]\nextract: {{image_size: 32}}\n"
    if group == "transfer":
        text = text.replace("split: test", "split: [train, test]")
    (found,) = (step for step in steps_of(study_of(text)) if isinstance(step, Computation))
    return found


def item(name: str, words: str, nets: tuple[str, ...] = NETS) -> Item:
    """A result of all layers, made by a command with these words."""
    layers: list[dict[str, Any]] = [{"backbone": net, "tap": "norm"} for net in nets]
    key = ResultKey("digits", "test", name, "0123456789abcdef")
    result = Result(name, {}, {}, {"layers": layers, "all_taps": True})
    return Item(key, result, entry_of(name), command=f"cvbench analyze {name} {words} --store s.zarr")


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("spectra", ""),
        ("spectra", "--resamples 2000 --seed 0"),  # defaults, written out
        ("spectra: {resamples: 2000}", ""),
        ("spectra: {seed: 3, resamples: 50}", "--resamples 50 --dataset digits --seed 3"),  # in another order
        ("norms: {cutoff: 150}", "--cutoff 150.00"),
        ("norms: {cutoff: 0.5}", "--cutoff 5e-1"),
        ("tsne: {perplexity: 20}", "--perplexity 20.0 --backend sklearn"),  # the backend is chosen
        ("tsne: {sample: all}", ""),
        ("tsne: {sample: 300}", "--sample 300"),
        ("cka", "--cka-batch 16 --view maps"),
        ("cka: {estimator: debiased}", "--estimator debiased --view pooled"),
        ("silhouette", "--space standardised"),
        ("silhouette: {space: standardised}", ""),
        ("silhouette: {space: [features, pca50]}", "--space pca50"),
        ("silhouette: {metric: [cosine, euclidean]}", "--metric cosine --metric euclidean"),
        ("maps: {image: [a.png, b.png]}", "--image a.png --image b.png"),
        (
            "cam: {limit: 8, tolerance: 2}",
            "--limit 8 --image-size 32 --weights random --tolerance 2.0 --precision auto",
        ),
        ("cam: {examples: 2}", "--image-size 32 --weights random"),  # what is drawn is not what is measured
        ("attention", "--image-size 32 --weights random"),
    ],
)
def test_equal_options_in_another_form(asked: str, words: str) -> None:
    name = asked.partition(":")[0]
    assert is_of(step_of(asked), item(name, words))


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("spectra", "--seed 1"),
        ("spectra: {seed: 1}", ""),
        ("spectra: {resamples: 50}", "--resamples 500"),
        ("norms", "--cutoff 150"),
        ("norms: {cutoff: 150}", ""),
        ("tsne", "--sample 300"),
        ("tsne: {view: pooled}", ""),
        ("tsne: {backend: opentsne}", "--backend sklearn"),
        ("cka: {cka_batch: 8}", "--cka-batch 16"),
        ("cka: {view: pooled}", "--view maps"),
        ("cka", "--estimator biased"),
        ("silhouette", "--space pca50"),
        ("silhouette: {space: [features, pca50]}", ""),
        ("silhouette: {metric: cosine}", "--metric euclidean --metric cosine"),
        ("maps: {image: a.png}", "--image a.png --image b.png"),
        ("maps", "--image a.png"),
        ("cam", "--limit 8 --image-size 32 --weights random"),
        ("cam: {limit: 8}", "--image-size 32 --weights random"),
        ("cam", "--image-size 32 --weights pretrained"),
        ("cam: {class: label}", "--image-size 32 --weights random"),
        ("cam", "--target blocks.1 --image-size 32 --weights random"),
        ("norms", "--cutoff high"),  # this version cannot read it
    ],
)
def test_another_value(asked: str, words: str) -> None:
    name = asked.partition(":")[0]
    assert not is_of(step_of(asked), item(name, words))


@pytest.mark.parametrize(
    ("asked", "words", "same"),
    [
        ("probe", "--train-split train", True),
        ("probe: {lr: 0.10, seeds: 3}", "--train-split train --lr 0.1", True),
        ("probe: {keep_logits: true}", "", True),  # no command says it
        ("probe: {train_split: train}", "--train-split trainval", False),
        ("probe", "--shots 5", False),
        ("probe", "--batch-size 32", False),
        ("probe: {recipe: clip_lbfgs}", "", False),
    ],
)
def test_probes(asked: str, words: str, same: bool) -> None:
    assert is_of(step_of(asked, "transfer"), item("probe", words)) is same


@pytest.mark.parametrize(
    ("asked", "words", "same"),
    [
        ("accuracy: {allow_chance: true}", "", True),  # it refuses a result, and changes none
        ("accuracy", "--allow-chance --headline top1", True),
        ("accuracy: {all_columns: true}", "--all-columns", True),
        ("accuracy: {all_columns: true}", "", False),
        ("accuracy", "--partial", False),
        ("calibration: {bins: 15}", "", True),
        ("calibration", "--bins 10", False),
    ],
)
def test_evaluations(asked: str, words: str, same: bool) -> None:
    assert is_of(step_of(asked, "evaluations"), item(asked.partition(":")[0], words)) is same


def test_other_layers_or_images() -> None:
    assert not is_of(step_of("spectra"), item("spectra", "", NETS[:1]))
    assert not is_of(step_of("spectra: {taps: blocks.0}"), item("spectra", ""))
    assert is_of(step_of("spectra: {taps: [norm]}"), item("spectra", ""))


def test_what_has_a_result_for_each_value_is_done_when_all_are_there() -> None:
    step = step_of("silhouette: {space: [features, pca50]}")
    one, two = item("silhouette", "--space pca50"), item("silhouette", "--space features")
    assert lacking(step, [one]) == ["features"]
    assert lacking(step, [one, two]) == []
    assert lacking(step_of("silhouette"), [item("silhouette", "")]) == []
    assert lacking(step_of("spectra"), [item("spectra", "")]) == []


def test_layers_of_a_pass_are_compared_as_they_were_typed() -> None:
    def made(words: str) -> Item:
        found = item("receptive-field", f"--image-size 32 --weights random {words}")
        attrs = {**found.result.attrs, "command": ["analyze", "receptive-field"], "all_taps": False}
        return replace(found, result=replace(found.result, attrs=attrs))

    assert is_of(step_of("receptive-field"), made(""))
    assert is_of(step_of("receptive-field: {taps: [norm]}"), made("--taps norm"))
    assert not is_of(step_of("receptive-field"), made("--taps norm"))
    assert not is_of(step_of("receptive-field: {taps: [norm]}"), made(""))
