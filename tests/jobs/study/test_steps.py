"""The steps of a study: which there are, what each needs, and the command that does the same."""

from __future__ import annotations

import shlex

import pytest

from cvbench.errors import UsageError
from cvbench.jobs.study.steps import Computation, Step, steps_of
from tests.cli.test_process import COMMANDS
from tests.jobs.study.studies import study_of

EXTRACT = "extract: {image_size: 32}\n"


def steps(text: str) -> dict[str, Step]:
    found = steps_of(study_of(text))
    assert len({step.name for step in found}) == len(found)
    return {step.name: step for step in found}


def words(step: Step) -> list[str]:
    return shlex.split(step.command)


def test_analyses_are_of_each_data_set_and_need_its_features() -> None:
    found = steps("datasets: [digits, 'folder:./my birds']\nanalyses: [cka, cka]\nevaluations: [accuracy]\n" + EXTRACT)
    assert list(found) == [
        *("extract digits/all", "extract folder:./my birds/all"),
        *("analyze cka digits/all", "analyze cka folder:./my birds/all"),
        *("analyze cka digits/all (2)", "analyze cka folder:./my birds/all (2)"),
        *("eval accuracy digits/all", "eval accuracy folder:./my birds/all", "report"),
    ]
    assert found["analyze cka folder:./my birds/all"].needs == ("extract folder:./my birds/all",)
    assert found["eval accuracy digits/all"].needs == ("extract digits/all",)
    assert found["report"].needs == ()


def test_commands_are_whole_and_can_be_parsed() -> None:
    text = (
        "store: a b.zarr\naddress: none\ndatasets: [{dataset: 'folder:./my birds', data_root: here, unit: 8}]\n"
        "analyses: [cka: {cka_batch: 8}, maps, cam: {class: label}, tsne, silhouette: {space: [features, pca50]}]\n"
        "evaluations: [accuracy, imagenet-x: {dataset: 'folder:./my birds', annotations: x}, "
        "robustness: {clean: x}]\n"
        "report: {out: my report, pdf: true, claims: [my.toml]}\n" + EXTRACT
    )
    found = steps(text)
    assert found["extract folder:./my birds/all"].command == (
        "cvbench extract --dataset 'folder:./my birds' --backbone test_vit --backbone test_convnext --store 'a b.zarr' "
        "--split all --data-root here --weights random --image-size 32 --unit 8 --address none"
    )
    assert found["analyze cka folder:./my birds/all"].command == (
        "cvbench analyze cka --store 'a b.zarr' --dataset 'folder:./my birds' --split all --backbone test_vit@32 "
        "--backbone test_convnext@32 --cka-batch 8 --address none"
    )
    maps, cam = (words(found[f"analyze {name} folder:./my birds/all"]) for name in ("maps", "cam"))
    assert maps[maps.index("--source") + 1] == "folder:./my birds"
    assert maps[maps.index("--data-root") :][:2] == ["--data-root", "here"]
    assert cam.count("--backbone") == 2
    assert {"test_vit", "random", "label", "--unit", "--image-size"} <= {*cam}
    assert "--pdf" in words(found["report"])
    assert words(found["report"])[-2:] == ["--claims", "my.toml"]
    for step in found.values():
        _, *typed = words(step)
        own = next(COMMANDS[tuple(typed[:end])] for end in (1, 2) if tuple(typed[:end]) in COMMANDS)
        known = {name for param in own.params for name in param.opts}
        assert {word for word in typed if word.startswith("--")} <= known, step.command


def test_a_data_set_says_what_is_of_it() -> None:
    found = steps(
        "datasets: [{dataset: digits, split: [train, val], only: probe}, {dataset: digits, split: test, only: probe},"
        " {dataset: 'folder:x', limit: 8}]\nanalyses: [cka]\ntransfer: [probe]\n"
        + EXTRACT
    )  # fmt: skip
    assert [name for name in found if "cka" in name] == ["analyze cka folder:x/all"]


def test_a_probe_needs_all_splits_of_its_data_set() -> None:
    found = steps(
        "datasets: [{dataset: digits, split: [train, val, test]}, {dataset: dtd, split: test}]\n"
        "transfer: [probe: {recipe: clip_lbfgs}]\n" + EXTRACT
    )
    probe = found["transfer probe digits"]
    assert probe.needs == ("extract digits/train", "extract digits/val", "extract digits/test")
    assert words(probe)[1:5] == ["transfer", "probe", "--dataset", "digits"]
    assert "transfer probe dtd" not in found


def test_variants_are_for_what_is_of_variants() -> None:
    found = steps(
        "datasets: ['digits+scale', digits]\nanalyses: [cka]\nevaluations: [accuracy, invariance]\n" + EXTRACT
    )
    variants = [name for name in found if name.startswith("extract digits+scale")]
    assert len(variants) > 3
    assert [name for name in found if "cka" in name or "accuracy" in name] == [
        "analyze cka digits/all",
        "eval accuracy digits/all",
    ]
    assert {*found["eval invariance digits/all"].needs} == {*variants, "extract digits/all"}
    assert "+scale" not in found["eval invariance digits/all"].command


def test_backbones_of_several_sizes_are_extracted_apart() -> None:
    found = steps(
        "datasets: [digits]\nanalyses: [cka, cam]\nevaluations: [invariance]\nbackbones:\n"
        "  - {model: test_vit, image_size: 32, weights: random}\n  - {model: test_vit, image_size: 64}\n"
    )
    small, large = (found[f"extract digits/all at {size}"] for size in (32, 64))
    assert "--weights random" in small.command
    assert "--weights" not in large.command
    assert found["analyze cka digits/all"].needs == (small.name, large.name)
    assert "--backbone test_vit@32 --backbone test_vit@64" in found["analyze cka digits/all"].command
    assert found["analyze cam digits/all at 64"].needs == (large.name,)
    assert isinstance(found["eval invariance digits/all"], Computation)


def test_what_is_of_one_data_set_is_of_that_one() -> None:
    found = steps("datasets: [digits, cue-conflict]\nevaluations: [shape-bias]\n" + EXTRACT)
    (step,) = (step for name, step in found.items() if "shape-bias" in name)
    assert "--dataset cue-conflict" in step.command


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("datasets: [digits]\nevaluations:\n  - shape-bias", "it is of cue-conflict"),
        ("datasets: [digits]\nevaluations:\n  - invariance", "none has variants"),
        ("datasets: [digits]\ntransfer:\n  - probe", "none has a split to train on"),
        ("datasets: [digits]\nanalyses:\n  - cka: {dataset: digits, split: test}", "the split test"),
        ("datasets: [digits]\nanalyses:\n  - cka: {split: test}", "leave none"),
    ],
)
def test_what_is_of_no_data_set_is_refused_with_its_line(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        steps(f"{text}\n{EXTRACT}")
    assert caught.value.where == "s.yaml:3"


def test_a_split_that_is_given_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="given twice") as caught:
        steps("datasets:\n  - digits\n  - {dataset: digits, limit: 8}\n" + EXTRACT)
    assert caught.value.where == "s.yaml:3"


def test_images_at_other_sizes_are_of_what_names_them_alone() -> None:
    sized = "backbones: [{model: test_vit, weights: random, image_size: 64}]\n"
    found = steps(
        sized + "datasets: [digits, {dataset: digits, image_size: 32, only: invariance}, digits+scale=2]\n"
        "evaluations: [accuracy: {dataset: digits}, invariance: {transform: scale}, "
        "invariance: {transform: resolution, reference: '64'}]\n"
    )
    assert list(found)[:3] == ["extract digits/all", "extract digits/all at 32", "extract digits+scale=2/all"]
    assert words(found["extract digits/all at 32"]).count("32") == 1
    assert found["eval accuracy digits/all"].needs == ("extract digits/all",)
    assert "test_vit@32" not in words(found["eval accuracy digits/all"])
    assert found["eval invariance digits/all"].needs == ("extract digits/all", "extract digits+scale=2/all")
    assert "extract digits/all at 32" in found["eval invariance digits/all (2)"].needs


@pytest.mark.parametrize("named", ["[A, other]", "[A@32, 'hf:x/y=z']", "A"])
def test_backbones_that_an_analysis_names_are_those_of_the_study(named: str) -> None:
    text = (
        "datasets: [{dataset: digits, split: test}]\n"
        "backbones: [{model: test_vit, name: A, weights: random}, {model: test_convnext, weights: b.pth}, test_vit2]\n"
        f"analyses: [cka: {{backbone: {named}}}, residual: {{backbone: {named}}}]\n" + EXTRACT
    )
    found = steps(text)
    stored, loaded = words(found["analyze cka digits/test"]), words(found["analyze residual digits/test"])
    others = [name for name in ("other", "hf:x/y=z") if name in named]
    assert [word for at, word in enumerate(stored) if stored[at - 1] == "--backbone"] == ["A@32", *others]
    assert [word for at, word in enumerate(loaded) if loaded[at - 1] == "--backbone"] == ["A=test_vit", *others]
    assert [word for at, word in enumerate(loaded) if loaded[at - 1] == "--weights"] == ["A=random"]
