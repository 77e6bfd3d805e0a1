"""The shipped studies: as files, as plans, and the smallest one as a whole run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import timm
from typer.testing import CliRunner, Result

from cvbench.cli.app import app
from cvbench.engine.models.specs import resolve_spec
from cvbench.errors import IncompleteError, ResourceError
from cvbench.jobs.registry import ENTRIES
from cvbench.jobs.results.cells import crossed
from cvbench.jobs.study.budget import check_budget
from cvbench.jobs.study.reference import lacking, reference_study
from cvbench.jobs.study.states import states_of
from cvbench.jobs.study.steps import Computation, steps_of
from cvbench.jobs.study.study import Study, read_study
from tests.jobs.study.studies import study_of, write_study

FIGURES = {
    *("cam", "similarity", "cka", "spectra", "maps", "tsne", "silhouette"),
    *("imagenet-x", "robustness", "pug", "shape-bias", "invariance", "calibration", "accuracy", "probe"),
}
"""Analyses of Figures 3 to 12 and of Table 1."""
CLAIMED = {"attention", "residual"}
"""Analyses for claims of other papers."""
BEYOND = {
    "dense",
    "faithfulness",
    "randomisation",
    "receptive-field",
    "norms",
    "factorial",
    "two-way",
    "corruptions",
}
"""Analyses that the study has no figure of."""


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


@pytest.mark.parametrize("scale", ["smoke", "small", "full"])
def test_every_figure_and_table_is_in_every_scale(scale: str) -> None:
    study = reference_study(scale)  # type: ignore[arg-type]
    assert {one.name for one in study.asked} == FIGURES | CLAIMED
    assert {name for name in ENTRIES if ENTRIES[name].group} == FIGURES | CLAIMED | BEYOND
    names = [step.name for step in steps_of(study)]
    assert len(names) == len({*names})


def test_the_two_architectures_have_the_same_five_objectives() -> None:
    models = [model for model, _, _ in reference_study("full", "objectives").backbones]
    assert len(models) == 10
    assert {*models} <= {*timm.list_pretrained()}
    assert [model.partition("_")[0] for model in models] == ["convnext"] * 5 + ["vit"] * 5
    for words in (("in1k",), ("in21k", "in22k"), ("clip", "laion2b"), ("dinov3",), ("eupe",)):
        found = [model for model in models if any(word in model for word in words)]
        assert len({model.partition("_")[0] for model in found}) == 2, words


def test_what_is_architecture_and_what_is_objective_come_apart() -> None:
    study = reference_study("full", "objectives")
    steps = steps_of(study)
    names = [step.name for step in steps]
    for dataset in ("cub200", "dtd"):
        at = names.index(f"eval factorial {dataset}/test")
        assert at > names.index(f"transfer probe {dataset}"), "its logits are the probe's"
        step = steps[at]
        assert isinstance(step, Computation)
        _, options = step.asked
        cells = crossed(options.cells, options.factors)
        assert cells.shape == (2, 5)
        keys = [resolve_spec(model, image_size=224).key for model, _, _ in study.backbones]
        assert cells.backbones == tuple(f"{key}+probe" for key in keys)


def test_folders_are_moved_together(tmp_path: Path) -> None:
    study = reference_study("full", data_root="/images", out=str(tmp_path), store="s3://bucket/x.zarr")
    assert study.store == "s3://bucket/x.zarr"
    assert study.out == f"{tmp_path}/report"
    assert {one.typed["data_root"] for one in study.images} == {"/images"}
    assert [one.options["annotations"] for one in study.asked if one.name == "imagenet-x"] == ["/images/imagenet-x"]
    moved = reference_study("smoke", out=str(tmp_path))
    assert {one.options.out for one in moved.trainings} == {f"{tmp_path}/weights"}
    assert moved.store == f"{tmp_path}/scenes.zarr"


def test_what_is_missing_is_named_with_the_command_that_gets_it(tmp_path: Path) -> None:
    study = reference_study("small", data_root=str(tmp_path), out=str(tmp_path / "out"))
    found = {one.spec: one.fix for one in lacking(study)}
    assert {"imagenet-val", "cub200", "pug-imagenet", "cue-conflict", "dtd"} <= {*found}
    assert "cvbench datasets download dtd" in found["dtd"]
    assert f"cvbench datasets download imagenet-x --data-root {tmp_path}  #" in found["imagenet-x"]
    assert not list(lacking(reference_study("smoke")))


def test_the_plan_with_nothing_there_names_it_and_makes_nothing(tmp_path: Path) -> None:
    only = ["--set", "datasets=[{dataset: dtd, split: [train, test]}, {dataset: digits, split: test, limit: 8}]"]
    only += ["--set", "evaluations=[]", "--set", "analyses=[silhouette]", "--set", "transfer=[]"]
    words = ["reproduce", "--scale", "small", "--data-root", str(tmp_path), "--out", str(tmp_path / "out"), "--plan"]
    result = run(*words, *only)
    assert result.exit_code == 0, result.output
    assert "extract dtd/train: missing; 0 of 4 units of 1,024 samples, as published: they are not here" in result.stdout
    assert "extract digits/test: missing" in result.stdout
    (absent,) = (line for line in result.stdout.splitlines() if line.startswith("not there: "))
    assert absent.startswith("not there: dtd is not under the data root; ")
    assert "cvbench datasets download dtd" in absent
    assert not list(tmp_path.iterdir())


def small(folder: Path, *given: str) -> list[str]:
    """Words of the smallest study at scale smoke: one epoch of few digits, and one analysis of each kind."""
    training = f"{{dataset: digits, train_split: val, epochs: 1, batch_size: 50, lr: 0.003, out: {folder}/weights}}"
    backbones = ", ".join(
        f"{{model: {model}, weights: random, image_size: 64, train: {training}}}"
        for model in ("test_convnext3", "test_vit")
    )
    views = "[pooled, maps, head, logits]"
    test = f"{{dataset: digits, split: test, maps: 16, view: {views}}}"
    datasets = f"[{test}, {{dataset: digits, split: val, view: head}}]"
    analyses = "[{cam: {dataset: digits, split: test, limit: 8}}, {spectra: {split: test, resamples: 20}}]"
    put = {
        "backbones": f"[{backbones}]",
        "datasets": datasets,
        "extract": "{taps: blocks}",
        "analyses": analyses,
        "evaluations": "[{accuracy: {split: test, allow_chance: true}}]",
        "transfer": "[{probe: {train_split: val, recipe: clip_lbfgs}}]",
    }
    words = ["reproduce", "--scale", "smoke", "--out", str(folder)]
    return [*words, *(word for key, value in put.items() for word in ("--set", f"{key}={value}")), *given]


def test_networks_are_trained_and_a_map_an_accuracy_and_a_probe_are_made_of_them(tmp_path: Path) -> None:
    result = run(*small(tmp_path))
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    done = [line for line in lines if line.startswith("done ")]
    for name in ("transfer finetune test_vit digits", "analyze cam", "eval accuracy", "transfer probe", "report"):
        assert any(name in line for line in done), name
    assert (tmp_path / "weights" / "test_vit@64-digits.safetensors").is_file()
    assert (tmp_path / "report" / "report.html").is_file()
    (said,) = (line for line in lines if line.startswith("Result: "))
    assert re.fullmatch(r"Result: of \d+ answers .*: (\d+ (holds|does not hold|not resolved|not run)(, )?)+\.", said)
    assert "What to look at:" in lines
    plan = json.loads(run(*small(tmp_path), "--plan", "--format", "json").stdout)
    assert {step["name"]: step["state"] for step in plan["steps"]} == dict.fromkeys(
        [step["name"] for step in plan["steps"]], "done"
    )


def test_weights_that_are_not_there_yet_are_waited_for(tmp_path: Path) -> None:
    found = {one.name: one for one in states_of(reference_study("smoke", out=str(tmp_path)))}
    assert found["transfer finetune test_vit scenes-varied"].state == "missing"
    waiting = found["extract scenes/test"]
    assert waiting.said.startswith("0 of 2 units of 500 samples, ")
    assert waiting.waits == tuple(f"transfer finetune {name} scenes-varied" for name in ("test_convnext3", "test_vit"))
    assert waiting.words == f"{waiting.said}; after {', '.join(waiting.waits)}"
    assert found["report"].hours is None
    assert found["analyze cka scenes/test"].said == "to be computed"
    assert not list(tmp_path.iterdir())


def test_a_failing_part_ends_with_code_5(tmp_path: Path) -> None:
    words = [
        "--set",
        f"datasets=[{{dataset: 'folder:{tmp_path}/none'}}]",
        "--set",
        "transfer=[]",
        "--set",
        "analyses=[cka]",
    ]
    result = run(
        *small(tmp_path, *words, "--set", "evaluations=[]", "--set", "backbones=[{model: test_vit, weights: random}]")
    )
    assert isinstance(result.exception, IncompleteError)
    assert result.exception.exit_code == 5


def _study(folder: Path, **budget: object) -> Study:
    return read_study(str(write_study(folder, budget=budget)))


def test_a_budget_is_looked_at_before_the_first_step(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match=r"the budget is 1\.0 kB") as caught:
        check_budget(_study(tmp_path, bytes="1KB"))
    assert "extract digits/test" in str(caught.value.as_dict())
    with pytest.raises(ResourceError, match="hours of extraction"):
        check_budget(_study(tmp_path, hours=1e-9))
    check_budget(_study(tmp_path, bytes="1GB", hours=10))
    path = write_study(tmp_path, budget={"bytes": "1KB"})
    assert isinstance(run("run", str(path)).exception, ResourceError)
    assert not (tmp_path / "study.zarr").exists()


def test_a_budget_is_checked_as_all_keys_are() -> None:
    from cvbench.errors import UsageError

    for text in ("budget: {bytes: much}", "budget: {hours: -1}", "budget: {byte: 1GB}"):
        with pytest.raises(UsageError):
            study_of(f"datasets: [digits]\nanalyses: [cka]\n{text}\n")
