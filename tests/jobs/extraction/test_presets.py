"""`extract --preprocess`: what a preset changes, what the store says of it, and what it leaves as it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from cvbench.cli.app import app
from cvbench.errors import FingerprintMismatchError, UnknownNameError
from cvbench.jobs.evaluation.accuracy import accuracy
from cvbench.jobs.evaluation.invariance import invariance
from cvbench.jobs.evaluation.options import AccuracyOptions, EvalOptions, InvarianceOptions
from cvbench.jobs.extraction.extract import extract
from cvbench.jobs.extraction.options import ExtractOptions
from cvbench.jobs.reading.selection import Selection
from cvbench.jobs.running.cluster import Cluster
from cvbench.storage.features import FeatureStore, GroupKey
from tests.jobs.digit_heads import write_heads

LOCAL = Cluster(address="none")
ANY = EvalOptions(partial=True, allow_chance=True)
KEY = GroupKey("digits", "test", "test_vit@32", "logits")


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> ExtractOptions:
    folder = tmp_path_factory.mktemp("presets")
    base = ExtractOptions(
        dataset="digits",
        backbones=("test_vit",),
        split="test",
        weights=write_heads(folder, ("test_vit",), 32, 100),
        views=("logits",),
        limit=32,
        unit=32,
        batch_size=32,
        image_size=32,
    )
    for preset in ("model", "beyond_inet", "pug"):
        extract(replace(base, store=str(folder / preset), preprocess=preset), LOCAL)
    extract(replace(base, store=str(folder / "beyond_inet"), preprocess="beyond_inet", dataset="digits+scale=2"), LOCAL)
    return replace(base, store=str(folder))


def store(options: ExtractOptions, preset: str) -> FeatureStore:
    return FeatureStore.open(f"{options.store}/{preset}")


def test_a_preset_is_in_the_fingerprint_and_the_default_is_not(options: ExtractOptions) -> None:
    records = {p: store(options, p).fingerprint(KEY)["fingerprint"] for p in ("model", "beyond_inet", "pug")}
    assert "preset" not in records["model"], "stores of older versions keep their fingerprints"
    assert [records[p]["preset"] for p in ("beyond_inet", "pug")] == ["beyond_inet", "pug"]
    geometry = records["beyond_inet"]["preprocess"]["geometry"]
    assert (geometry["resize"], geometry["size"], geometry["interpolation"]) == (36, [32, 32], "bilinear")
    assert records["beyond_inet"]["preprocess"]["mean"] == [0.485, 0.456, 0.406]
    assert records["pug"]["preprocess"]["geometry"]["crop"] == "inner"
    values = [store(options, p).layer(KEY, "logits").numpy()[:32] for p in records]
    assert not np.array_equal(values[0], values[1])
    assert not np.array_equal(values[1], values[2])


def test_one_name_is_not_given_two_preprocessings(options: ExtractOptions) -> None:
    there = replace(options, store=f"{options.store}/model")
    assert extract(there, LOCAL).computed == 0
    with pytest.raises(FingerprintMismatchError, match="preset"):
        extract(replace(there, preprocess="beyond_inet"), LOCAL)


def test_results_say_which_preset(options: ExtractOptions) -> None:
    (found,) = accuracy([Selection(f"{options.store}/pug")], AccuracyOptions(ANY))
    assert found.result.attrs["made_from"]["test_vit@32"]["preset"] == "pug"
    (scaled,) = invariance(f"{options.store}/beyond_inet", "digits", None, [], InvarianceOptions(ANY))
    assert scaled.result.attrs["preprocessing"].startswith("the preset beyond_inet")


def test_an_unknown_preset_is_refused(options: ExtractOptions) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown preprocess 'beyond-inet'[\s\S]*beyond_inet"):
        extract(replace(options, preprocess="beyond-inet"), LOCAL)  # type: ignore[arg-type]


def test_as_it_is_typed(tmp_path: Path) -> None:
    words = ["extract", "-d", "digits", "-m", "test_vit", "--weights", "random", "--limit", "16", "--address", "none"]
    words += ["--unit", "16", "-b", "16", "--store", str(tmp_path / "s.zarr"), "--taps", "blocks.0"]
    done = CliRunner().invoke(app, [*words, "--preprocess", "beyond_inet"])
    assert done.exit_code == 0, done.output
    opened = FeatureStore.open(tmp_path / "s.zarr")
    assert {opened.fingerprint(group)["fingerprint"]["preset"] for group in opened.groups()} == {"beyond_inet"}
