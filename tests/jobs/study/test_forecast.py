"""What a plan says of steps that have not run, against what they do when they have."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from cvbench.engine.models.backbones import describe, resolve_spec
from cvbench.errors import DataUnavailableError, ResourceError
from cvbench.jobs.extraction.extract import extract
from cvbench.jobs.extraction.plan import GFLOPS_PER_CORE, WRITE_SECONDS, forward_rate, plan
from cvbench.jobs.running.progress import Event, Started
from cvbench.jobs.study.budget import check_budget, costs
from cvbench.jobs.study.forecast import PASSES, STEP_SECONDS, Forecasts
from cvbench.jobs.study.states import states_of
from cvbench.jobs.study.steps import Extraction, Fitting, steps_of
from cvbench.jobs.study.study import Study, read_study
from cvbench.storage.datasets import open_dataset
from tests.jobs.study.studies import write_study


def trained(folder: Path) -> Study:
    """A study of one network that is trained on digits first."""
    training = {"dataset": "digits", "train_split": "val", "epochs": 2, "batch_size": 50, "out": f"{folder}/weights"}
    backbone = {"model": "test_vit", "weights": "random", "image_size": 32, "train": training}
    view = ["pooled", "logits"]
    asked = {"view": view, "unit": 8, "batch_size": 8}
    return read_study(str(write_study(folder, backbones=[backbone], extract=asked, analyses=[])))


def steps(study: Study) -> tuple[Fitting, Extraction]:
    fitting, extraction, *_ = steps_of(study)
    assert isinstance(fitting, Fitting)
    assert isinstance(extraction, Extraction)
    return fitting, extraction


def test_what_waits_for_a_training_is_planned_as_it_is_when_the_weights_are_there(tmp_path: Path) -> None:
    study = trained(tmp_path)
    fitting, extraction = steps(study)
    planned, absent = Forecasts(study).extraction(extraction)
    assert not absent
    images, hours = Forecasts(study).training(fitting)
    events: list[Event] = []
    fitting.run(events.append)
    (started,) = (one for one in events if isinstance(one, Started))
    assert images == started.total
    once = len(open_dataset("digits", split="val"))
    passed, of_steps = PASSES * images / 32 * planned.hours["forward"], images / 50 * STEP_SECONDS / 3600
    assert hours == pytest.approx(passed + once / 32 * planned.hours["decode"] + of_steps)
    without_memory = replace(fitting, options=replace(fitting.options, cache=0))
    _, longer = Forecasts(study).training(without_memory)
    assert longer == pytest.approx(hours + (images - once) / 32 * planned.hours["decode"])
    after = plan(extraction.options)
    assert (planned.units_total, planned.units_done, planned.bytes_total) == (after.units_total, 0, after.bytes_total)
    assert planned.layers == after.layers  # ten classes, not the thousand of the network as it is published
    assert any(layer.group.view == "logits" and layer.shape == (10,) for layer in planned.layers)
    extract(extraction.options, study.hardware.cluster())
    done, _ = Forecasts(study).extraction(extraction)
    assert (done.units_done, done.bytes_total, done.hours_expected) == (planned.units_total, 0, 0)


@pytest.mark.parametrize("name", ["test_vit", "test_convnext"])
def test_a_core_is_reckoned_with_what_a_network_writes_beside_its_products(name: str) -> None:
    described = describe(resolve_spec(name, weights="random", image_size=64), taps=[])
    each, words = forward_rate("fp32", [described, described], 0)
    products = described.work.flops / (GFLOPS_PER_CORE * 1e9)
    assert 1 / each == pytest.approx(2 * (products + described.work.elements * WRITE_SECONDS))
    assert 1 / each > 2 * 2 * products  # as measured of these: products are less than half of the time
    assert "M values per image" in words


def test_a_budget_counts_what_waits_for_a_training(tmp_path: Path) -> None:
    study = trained(tmp_path)
    training, extraction = costs(study)
    assert training.hours > 0
    assert extraction.bytes > 0
    with pytest.raises(ResourceError, match="to be written and the budget"):
        check_budget(replace(study, most_bytes=extraction.bytes - 1))
    check_budget(replace(study, most_bytes=extraction.bytes))
    most = training.hours + extraction.hours
    with pytest.raises(ResourceError, match="hours of extraction and training"):
        check_budget(replace(study, most_hours=most * 0.99))
    check_budget(replace(study, most_hours=most * 1.01))


def test_images_that_are_not_here_are_reckoned_as_published(tmp_path: Path) -> None:
    datasets = [{"dataset": "dtd", "split": "test", "data_root": str(tmp_path / "data")}]
    study = read_study(str(write_study(tmp_path, datasets=datasets, analyses=[], extract={"view": "head"})))
    state = states_of(study)[0]
    assert state.state == "missing"
    assert "1,880 samples, as published: they are not here" in state.said
    assert state.bytes
    assert state.hours
    assert state.error["code"] == DataUnavailableError.code
    assert "cvbench datasets download dtd" in state.error["fix"]


def test_images_of_which_nobody_published_a_number_are_missing_and_not_reckoned(tmp_path: Path) -> None:
    datasets = [{"dataset": f"folder:{tmp_path}/nowhere"}]
    study = read_study(str(write_study(tmp_path, datasets=datasets, analyses=[])))
    state = states_of(study)[0]
    assert (state.state, state.hours, state.bytes) == ("missing", None, None)
    assert state.error["code"] == DataUnavailableError.code
    assert not math.fsum(one.bytes for one in costs(study))
